//! The fixture that a backend brings to be checked.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::model::error::Result;
use crate::store::contract::ProfileStore;
use crate::store::options::StoreOptions;

/// A place that stores are opened at: a file in a directory of its own, say, removed on drop.
///
/// Every check makes fixtures of its own, so that no check meets the leavings of another.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Opens the store of this place: a new and empty one for the first call, and, where the
    /// fixture [is persistent](Self::is_persistent), the same one again for every later call.
    ///
    /// The options must be heeded, the limits and the clock in particular. The checks close or
    /// drop a store before they open the next one, which must then succeed at once.
    ///
    /// # Errors
    /// Any; the check fails with it.
    async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>>;

    /// Whether the profiles outlive the store's last handle. If they do not, checks go on
    /// with the store they have instead of opening it again.
    fn is_persistent(&self) -> bool;

    /// How long a check may take, with all its fixtures, before it is given up on: two minutes, many times what any of
    /// them takes. Say more for an engine that is far away or very slow.
    ///
    /// The check of random sequences may take as long for every 64 of them.
    fn time_limit(&self) -> Duration {
        Duration::from_secs(120)
    }
}

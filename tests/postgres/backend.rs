//! The conformance suite.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use profile_store::conformance::Fixture;
use profile_store::{PostgresStore, ProfileStore, Result, StoreOptions};

use crate::server::Database;

struct Postgres(Database);

#[async_trait]
impl Fixture for Postgres {
    async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
        Ok(Arc::new(
            PostgresStore::open_with(&self.0.url(), options.with_durability(crate::options().durability()))
                .await?,
        ))
    }

    fn is_persistent(&self) -> bool {
        true
    }

    /// Each fixture is a database that the server copies first.
    fn time_limit(&self) -> Duration {
        Duration::from_secs(600)
    }
}

profile_store::conformance_suite!(|| Postgres(Database::new()));

//! The state that the commit thread and the read threads share.

use std::sync::Arc;

use crate::engine::breaker::Breaker;
use crate::engine::key_value::gate::Gate;

/// The state that the commit thread and the read threads share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    /// The writer keeps everyone out while a batch is applied, so that no read sees half of it: sled's own reads see key by
    /// key.
    pub applying: Arc<Gate>,
    /// Once it is tripped, what sled shows may not be durable: reads are refused too.
    pub breaker: Breaker,
}

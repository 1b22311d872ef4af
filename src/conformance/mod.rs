//! The conformance suite: what every backend must do, as named checks (feature `conformance`).
//!
//! A backend of your own passes it like this, in a file under `tests/`; every check becomes a test
//! of its own name:
//!
//! ```
//! use std::sync::Arc;
//! use profile_store::conformance::Fixture;
//! use profile_store::{MemoryStore, ProfileStore, Result, StoreOptions};
//!
//! struct InMemory;
//!
//! #[async_trait::async_trait]
//! impl Fixture for InMemory {
//!     async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
//!         Ok(Arc::new(MemoryStore::open_with(options)?))
//!     }
//!
//!     fn is_persistent(&self) -> bool {
//!         false
//!     }
//! }
//!
//! profile_store::conformance_suite!(|| InMemory);
//! # fn main() {}
//! ```
//!
//! A check fails by a panic, which names the check and the clauses of the [`contract`](crate::contract) that the
//! backend breaks, and says what was expected and what is there. It never hangs: it runs on a thread of its own, and is
//! given up on after [`Fixture::time_limit`]. The check `no_call_blocks_the_executor` prints the longest poll of each
//! call (`cargo test -- --show-output` shows it).
//!
//! The last check drives the store beside a [`Model`] with random sequences of calls; the environment
//! variable `PROPTEST_CASES` sets how many (64 unless set).

#[macro_use]
mod expected;

mod admission;
mod concurrency;
mod executor;
mod fixture;
mod harness;
mod isolation;
mod merge;
mod model;
mod modes;
mod names;
mod reading;
mod request;
mod response;
mod selecting;
mod sequences;
mod storing;
mod suite;
mod transfer;
mod upkeep;

pub use fixture::Fixture;
pub use model::{Ask, Held, Model};
pub use suite::{Check, checks, run};

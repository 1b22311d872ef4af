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
//! Some checks poll a future once and leave it for as long as other calls run: see [futures](crate::backend#futures).
//!
//! # What it does not check
//! These promises need tests of your own, as the suite can't break an engine from outside:
//!
//! - **Crashes**: a kill, a power cut, a full disk, a failed sync ([S1](crate::contract#s1), [S2](crate::contract#s2),
//!   [S3](crate::contract#s3), [P4](crate::contract#p4)). It only closes or drops a store and opens it again.
//! - **Damage**: checksums, [`Corrupt`](crate::ErrorKind::Corrupt), listing past and deleting a damaged record
//!   ([S12](crate::contract#s12)). It only verifies sound stores.
//! - **Opening** ([S13](crate::contract#s13)): other files, other versions, permissions. No check opens a store with
//!   erasing, for reading only, without creating, or with another durability.
//! - **Sharing**: two processes, or two open stores, at one place.
//! - **Waiting** ([P2](crate::contract#p2)): that a call gets [`Busy`](crate::ErrorKind::Busy) in time.
//! - **Panics** of clocks, wakers and observers ([P3](crate::contract#p3)).
//! - **Erasure** ([L3](crate::contract#l3)): that `compact` removes bytes from the disk.
//! - **Writes to the disk** that a retry must not make ([S5](crate::contract#s5)). It only sees that nothing has changed.
//! - **Performance**: a poll may take a second, a check two minutes. One check finds work that grows with repetition ([P1](crate::contract#p1)).
//! - **Observing** ([O1](crate::contract#o1)), and what `gauges` and the fields of `Stats` for bytes report.
//! - **Executors** other than `pollster`. It is none of tokio's, so a store that needs tokio fails.
//!
//! # Random sequences
//! The last check drives the store beside a [`Model`] with random sequences of calls; the environment
//! variable `PROPTEST_CASES` sets how many (64 unless set). It has the time limit for every 64 of them.
//!
//! # Versions
//! The names and checks of this module are not under [Semantic Versioning](crate::guide::versions#semantic-versioning):
//! a new release may add checks, so pin its version by `=`.

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

//! Profiles in a fjall database.
//!
//! | file | room |
//! |---|---|
//! | `store.rs` | the store, and what is particular about it |
//! | `open.rs` | opening and creating fjall's files |
//! | `heal.rs` | journals after a crash or a power cut |
//! | `writer.rs` | the commit thread's writes |
//! | `reader.rs` | the questions of the read threads |
//! | `shared.rs` | the database, which compaction replaces |
//! | `upkeep.rs` | compaction |
//! | `error.rs` | fjall's errors as ours |

mod error;
mod heal;
mod open;
mod reader;
mod shared;
pub(crate) mod store;
mod upkeep;
mod writer;

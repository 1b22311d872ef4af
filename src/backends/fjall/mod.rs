//! Profiles in a fjall database.
//!
//! | file | room |
//! |---|---|
//! | `store.rs` | the store, and what is particular about it |
//! | `open.rs` | opening and creating fjall's files, and the leavings of a killed process |
//! | `writer.rs` | the commit thread's writes |
//! | `reader.rs` | the questions of the read threads |
//! | `shared.rs` | the database, which compaction replaces |
//! | `upkeep.rs` | compaction |
//! | `error.rs` | fjall's errors as ours |

mod error;
mod open;
mod reader;
mod shared;
pub(crate) mod store;
mod upkeep;
mod writer;

//! Profiles in a sled database.
//!
//! | file | room |
//! |---|---|
//! | `store.rs` | the store, and what is particular about it |
//! | `open.rs` | opening: whose directory it is, its lock, the leavings of a killed process |
//! | `writer.rs` | the commit thread's batch, and making it durable |
//! | `flusher.rs` | flushing sled without waiting for ever |
//! | `reader.rs` | the questions of the read threads |
//! | `shared.rs` | the state that both share |
//! | `error.rs` | sled's errors as ours |

mod error;
mod flusher;
mod open;
mod reader;
mod shared;
pub(crate) mod store;
mod writer;

//! Profiles in a sled database.
//!
//! | file | room |
//! |---|---|
//! | `store.rs` | the store, and what is particular about it |
//! | `open.rs` | opening: whose directory it is, its lock, what a killed process left |
//! | `writer.rs` | the commit thread's batch, and what makes it durable |
//! | `flusher.rs` | flushing sled without waiting for ever |
//! | `reader.rs` | what the read threads ask |
//! | `shared.rs` | what both share |
//! | `error.rs` | sled's errors as ours |

mod error;
mod flusher;
mod open;
mod reader;
mod shared;
pub(crate) mod store;
mod writer;

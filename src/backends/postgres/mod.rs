//! Profiles in PostgreSQL, or in Citus.
//!
//! | file | room |
//! |---|---|
//! | `store.rs` | the store, and what is particular about it |
//! | `open.rs`, `schema/` | the tables, and refusals |
//! | `writer.rs` | a commit thread's transactions |
//! | `group.rs`, `statement.rs` | batches against what is stored, without I/O; the SQL that writes them |
//! | `receipt.rs` | the proof of a commit |
//! | `reader.rs`, `row.rs` | the questions of the read threads, and rows verified |
//! | `upkeep.rs` | size, soundness, room |
//! | `error.rs` | the server's errors, as ours and as what to do next |
//! | `target.rs`, `hosts.rs`, `tls.rs` | the URL, and the settings of connections |
//! | `pool.rs`, `connection.rs` | the connections that threads share, and the messages over one |

mod connection;
mod error;
mod group;
mod hosts;
mod open;
mod pool;
mod reader;
mod receipt;
mod row;
mod statement;
pub(crate) mod store;
mod target;
#[cfg_attr(not(feature = "postgres-tls"), path = "no_tls.rs")]
mod tls;
mod upkeep;
mod writer;

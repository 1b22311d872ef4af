//! Profiles in PostgreSQL, or in Citus.
//!
//! | file | room |
//! |---|---|
//! | `store.rs` | the store, and what is particular about it |
//! | `target.rs`, `tls.rs` | the URL, and what connections are made from |
//! | `connection.rs` | a connection of a thread, tried again where that helps |
//! | `error.rs` | the server's errors, as ours and as what to do next |
//! | `open.rs`, `schema/` | the tables |
//! | `group.rs` | batches against what is stored; no I/O |
//! | `upsert.rs` | groups of plain puts, by one statement |
//! | `statement.rs` | the SQL that writes all else |
//! | `writer.rs` | a commit thread's transactions |
//! | `reader.rs`, `row.rs`, `stream.rs` | what the read threads ask, and rows verified |

mod connection;
mod error;
mod group;
mod open;
mod reader;
mod row;
mod statement;
pub(crate) mod store;
mod stream;
mod target;
#[cfg_attr(not(feature = "postgres-tls"), path = "no_tls.rs")]
mod tls;
mod upsert;
mod writer;

//! Profiles in one SQLite file.
//!
//! | file | room |
//! |---|---|
//! | `store.rs` | the store, and what is particular about it |
//! | `open.rs` | opening: whose file it is, its schema, its settings |
//! | `writer.rs` | the commit thread's writes, which end after a failed sync |
//! | `reader.rs` | the questions of the read threads |
//! | `row.rs` | rows and their checksums |
//! | `upkeep.rs` | the size and the soundness of the file |
//! | `error.rs` | SQLite's errors as ours |
//! | `transaction.rs` | the transaction of a group |
//! | `written.rs` | looking again at what was written, if the file has triggers |
//! | `files.rs` | the file and its companions: where they are, and whether they still are |
//! | `read_only.rs` | opening a file to read it only |
//! | `emptying.rs` | removing the rows of deleted gurus |
//! | `checkpointer.rs` | moving the log into the file, beside the commit thread |
//! | `backup.rs` | a copy of the file while it is in use |

mod backup;
mod checkpointer;
mod emptying;
mod error;
mod files;
mod open;
mod read_only;
mod reader;
mod row;
pub(crate) mod store;
mod transaction;
mod upkeep;
mod writer;
mod written;

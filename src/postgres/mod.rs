//! Profiles in PostgreSQL, or in a sharded engine that speaks its dialect.
//!
//! | file | room |
//! |---|---|
//! | `target.rs`, `tls.rs` | the URL, and what connections are made from |
//! | `connection.rs` | a connection of a thread, tried again where that helps |
//! | `error.rs` | the server's errors, as ours and as what to do next |
//! | `schema.rs`, `schema/` | the tables, for each engine |
//! | `group.rs` | batches against what is stored; no I/O |
//! | `statement.rs` | the SQL that writes |
//! | `writer.rs` | a commit thread's transactions |
//! | `reader.rs`, `row.rs`, `stream.rs` | what the read threads ask, and rows verified |

mod connection;
mod error;
mod group;
mod reader;
mod row;
mod schema;
mod statement;
mod stream;
mod target;
#[cfg_attr(not(feature = "postgres-tls"), path = "no_tls.rs")]
mod tls;
mod writer;

use std::sync::Arc;

use crate::error::Result;
use crate::options::StoreOptions;
use crate::store::forward;
use crate::threaded::Threaded;

use connection::Link;
use reader::Reader;
use target::Target;
use writer::Writer;

/// Profiles in a PostgreSQL database (feature `postgres`).
#[derive(Debug)]
pub struct PostgresStore(Threaded<Reader>);

impl PostgresStore {
    /// Opens the store in the database that `url` names, and makes its tables if there are none.
    pub async fn open(url: &str, options: StoreOptions) -> Result<Self> {
        let target = Arc::new(Target::new(url, &options)?);
        let further = options.write_connections() - 1;
        let opened = Threaded::open_several(options, further, move |options| {
            let writer = |link| Writer::new(link, Arc::clone(&target), options.clock().clone());
            let link = || Link::new(Arc::clone(&target));
            let mut first = link();
            schema::prepare(&mut first, &target)?;
            let further = (0..further).map(|_| writer(link())).collect();
            let readers = (0..options.read_threads()).map(|_| Reader::new(link())).collect();
            Ok((writer(first), further, readers))
        });
        Ok(Self(opened.await?))
    }
}

forward!(PostgresStore, |store| store.0);

//! tokio-rusqlite: a connection on a thread of its own, and closures sent to it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use profile_store_meter::bulk::{Bulk, bytes_at};
use profile_store_meter::reads::{PAGE, Reads};
use profile_store_meter::singles::Singles;
use profile_store_meter::users::User;
use tokio::runtime::Handle;
use tokio_rusqlite::{Connection, params, rusqlite};

use crate::{GET, GURU, LIST, READERS, Row, SCHEMA, now};

const UPSERT: &str =
    "INSERT INTO profile (guru, id, memory, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4)
    ON CONFLICT (guru, id) DO UPDATE SET memory = excluded.memory, updated_at = excluded.updated_at
    WHERE memory <> excluded.memory";

#[derive(Clone)]
pub struct TokioRusqlite {
    connection: Connection,
    /// Take turns.
    readers: Arc<Vec<Connection>>,
    turn: Arc<AtomicUsize>,
    path: PathBuf,
    runtime: Handle,
}

impl TokioRusqlite {
    pub fn open(directory: &Path, runtime: &tokio::runtime::Runtime) -> Self {
        let path = directory.join("tokio-rusqlite.db");
        let (connection, readers) = runtime.block_on(async {
            let connection = Connection::open(&path).await.expect("opened");
            let set_up = connection.call(|connection| {
                let pragmas = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;";
                connection.execute_batch(&format!("{pragmas}{SCHEMA};"))
            });
            set_up.await.expect("a schema");
            let mut readers = Vec::new();
            for _ in 0..READERS {
                readers.push(Connection::open(&path).await.expect("opened"));
            }
            (connection, readers)
        });
        let (readers, turn, runtime) = (Arc::new(readers), Arc::default(), runtime.handle().clone());
        Self { connection, readers, turn, path, runtime }
    }

    fn reader(&self) -> &Connection {
        &self.readers[self.turn.fetch_add(1, Relaxed) % self.readers.len()]
    }
}

impl Bulk for TokioRusqlite {
    type Batch = Vec<User>;

    fn prepare(&self, users: Vec<User>) -> Self::Batch {
        users
    }

    fn upsert(&mut self, batch: Self::Batch) {
        let stored = self.connection.call(move |connection| -> rusqlite::Result<()> {
            let transaction = connection.transaction()?;
            let mut upsert = transaction.prepare_cached(UPSERT)?;
            let now = now();
            for User { id, memory } in &batch {
                upsert.execute(params![GURU, id, memory, now])?;
            }
            drop(upsert);
            transaction.commit()
        });
        self.runtime.block_on(stored).expect("stored");
    }

    fn close(self) {
        self.runtime.block_on(self.connection.close()).expect("closed");
    }

    fn size(&self) -> u64 {
        bytes_at(&self.path)
    }
}

impl Singles for TokioRusqlite {
    async fn upsert(&self, User { id, memory }: User) {
        let stored = self.connection.call(move |connection| {
            connection.prepare_cached(UPSERT)?.execute(params![GURU, id, memory, now()])
        });
        stored.await.expect("stored");
    }
}

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
}

impl Reads for TokioRusqlite {
    async fn get(&self, id: String) {
        let read = self
            .reader()
            .call(move |connection| connection.prepare_cached(GET)?.query_row(params![GURU, id], row));
        std::hint::black_box(read.await.expect("there"));
    }

    async fn list(&self, after: String) -> (usize, String) {
        let read = self.reader().call(move |connection| {
            let mut select = connection.prepare_cached(LIST)?;
            let rows = select.query_map(params![GURU, after, PAGE as i64], row)?;
            rows.collect::<rusqlite::Result<Vec<Row>>>()
        });
        let page = read.await.expect("a page");
        let last = page.last().map(|row| row.0.clone()).unwrap_or_default();
        (std::hint::black_box(page).len(), last)
    }
}

//! rusqlite, written by hand.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use profile_store_meter::bulk::{Bulk, bytes_at};
use profile_store_meter::reads::{PAGE, Reads};
use profile_store_meter::singles::Singles;
use profile_store_meter::users::User;
use rusqlite::{Connection, OpenFlags, params};

const GURU: &str = "my-guru";

/// The code of someone who knows SQLite: one table with the natural key, the log, and a statement that
/// does not touch unchanged rows.
pub struct Expert {
    connection: Connection,
    path: PathBuf,
}

const UPSERT: &str =
    "INSERT INTO profile (guru, id, memory, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?4)
    ON CONFLICT (guru, id) DO UPDATE SET memory = excluded.memory, updated_at = excluded.updated_at
    WHERE memory <> excluded.memory";

/// Microseconds since 1970, as the library keeps them.
pub fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
    since.as_micros() as i64
}

impl Expert {
    pub fn open(directory: &Path) -> Self {
        let path = directory.join("expert.db");
        let connection = Connection::open(&path).expect("opened");
        connection
            .execute_batch(
                "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
                 CREATE TABLE profile (guru TEXT NOT NULL, id TEXT NOT NULL, memory TEXT NOT NULL,
                     created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, PRIMARY KEY (guru, id));",
            )
            .expect("a schema");
        Self { connection, path }
    }

    fn upsert_one(&self, User { id, memory }: &User) {
        let mut upsert = self.connection.prepare_cached(UPSERT).expect("prepared");
        upsert.execute(params![GURU, id, memory, now()]).expect("stored");
    }
}

impl Bulk for Expert {
    type Batch = Vec<User>;

    fn prepare(&self, users: Vec<User>) -> Self::Batch {
        users
    }

    fn upsert(&mut self, batch: Self::Batch) {
        let transaction = self.connection.transaction().expect("begun");
        let mut upsert = transaction.prepare_cached(UPSERT).expect("prepared");
        let now = now();
        for User { id, memory } in &batch {
            upsert.execute(params![GURU, id, memory, now]).expect("stored");
        }
        drop(upsert);
        transaction.commit().expect("committed");
    }

    fn close(self) {
        self.connection.close().expect("closed");
    }

    fn size(&self) -> u64 {
        bytes_at(&self.path)
    }
}

/// The expert's connection under a lock, on tokio's threads for blocking calls.
#[derive(Clone)]
pub struct SpawnBlocking(Arc<Mutex<Expert>>);

impl SpawnBlocking {
    pub fn open(directory: &Path) -> Self {
        Self(Arc::new(Mutex::new(Expert::open(directory))))
    }
}

impl Singles for SpawnBlocking {
    async fn upsert(&self, user: User) {
        let expert = Arc::clone(&self.0);
        let stored = tokio::task::spawn_blocking(move || expert.lock().expect("no panic").upsert_one(&user));
        stored.await.expect("stored");
    }
}

/// The least that SQLite has to do for the library's table: its schema, settings and order, but no
/// checksum, no outcomes, and no look at what is there but the index's own.
pub struct Bare {
    connection: Connection,
    path: PathBuf,
}

impl Bare {
    pub fn open(directory: &Path) -> Self {
        let path = directory.join("bare.db");
        let connection = Connection::open(&path).expect("opened");
        // As src/backends/sqlite/open.rs has them.
        connection
            .execute_batch(
                "PRAGMA page_size = 4096; PRAGMA journal_mode = WAL; PRAGMA synchronous = EXTRA;
                 PRAGMA wal_autocheckpoint = 20000; PRAGMA cache_size = -32768; PRAGMA cell_size_check = ON;
                 CREATE TABLE profile (guru INTEGER NOT NULL, external_user_id TEXT NOT NULL, memory TEXT NOT NULL,
                     created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, checksum INTEGER NOT NULL,
                     UNIQUE (guru, external_user_id)) STRICT;",
            )
            .expect("a schema");
        Self { connection, path }
    }
}

impl Bulk for Bare {
    type Batch = Vec<User>;

    fn prepare(&self, users: Vec<User>) -> Self::Batch {
        users
    }

    fn upsert(&mut self, mut batch: Self::Batch) {
        batch.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let transaction = self.connection.transaction().expect("begun");
        let mut upsert = transaction
            .prepare_cached(
                "INSERT INTO profile (guru, external_user_id, memory, created_at, updated_at, checksum)
                 VALUES (1, ?1, ?2, ?3, ?3, ?4)
                 ON CONFLICT (guru, external_user_id) DO UPDATE SET memory = excluded.memory,
                     updated_at = excluded.updated_at, checksum = excluded.checksum
                 WHERE memory <> excluded.memory",
            )
            .expect("prepared");
        let now = now();
        for User { id, memory } in &batch {
            upsert.execute(params![id, memory, now, i64::MAX]).expect("stored");
        }
        drop(upsert);
        transaction.commit().expect("committed");
    }

    fn close(self) {
        self.connection.close().expect("closed");
    }

    fn size(&self) -> u64 {
        bytes_at(&self.path)
    }
}

/// Connections to the bare table, one for each thread that reads.
#[derive(Clone)]
pub struct BareReads(Arc<Mutex<Vec<Connection>>>);

impl BareReads {
    pub fn open(bare: &Bare) -> Self {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connect = |_| {
            let connection = Connection::open_with_flags(&bare.path, flags).expect("opened");
            connection.execute_batch("PRAGMA cache_size = -8192").expect("a cache");
            connection
        };
        Self(Arc::new(Mutex::new((0..8).map(connect).collect())))
    }

    fn with<T>(&self, read: impl FnOnce(&Connection) -> T) -> T {
        let connection = self.0.lock().expect("no panic").pop().expect("one for each thread");
        let result = read(&connection);
        self.0.lock().expect("no panic").push(connection);
        result
    }
}

type Row = (String, String, i64, i64, i64);

fn row(row: &rusqlite::Row<'_>) -> rusqlite::Result<Row> {
    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
}

/// On the caller's thread.
impl Reads for BareReads {
    async fn get(&self, id: String) {
        let profile = self.with(|connection| {
            let select = "SELECT external_user_id, memory, created_at, updated_at, checksum FROM profile
                 WHERE guru = 1 AND external_user_id = ?1";
            connection.prepare_cached(select).and_then(|mut select| select.query_row([id], row))
        });
        std::hint::black_box(profile.expect("there"));
    }

    async fn list(&self, after: String) -> (usize, String) {
        let page: Vec<Row> = self.with(|connection| {
            let select = "SELECT external_user_id, memory, created_at, updated_at, checksum FROM profile
                 WHERE guru = 1 AND external_user_id > ?1 ORDER BY external_user_id LIMIT ?2";
            let mut select = connection.prepare_cached(select).expect("prepared");
            let rows = select.query_map(params![after, PAGE as i64], row).expect("a query");
            rows.collect::<Result<_, _>>().expect("rows")
        });
        let last = page.last().map(|row| row.0.clone()).unwrap_or_default();
        (std::hint::black_box(page).len(), last)
    }
}

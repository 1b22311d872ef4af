//! rusqlite, written by hand.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use profile_store_meter::bulk::{Bulk, bytes_at};
use profile_store_meter::singles::Singles;
use profile_store_meter::users::User;
use rusqlite::{Connection, params};

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
fn now() -> i64 {
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

/// The same without a transaction: each statement is one.
pub struct Autocommit(pub Expert);

impl Bulk for Autocommit {
    type Batch = Vec<User>;

    fn prepare(&self, users: Vec<User>) -> Self::Batch {
        users
    }

    fn upsert(&mut self, batch: Self::Batch) {
        batch.iter().for_each(|user| self.0.upsert_one(user));
    }

    fn close(self) {
        self.0.close();
    }

    fn size(&self) -> u64 {
        self.0.size()
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

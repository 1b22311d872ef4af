//! sqlx: a pool, and one statement of many rows.

use std::path::{Path, PathBuf};

use profile_store_meter::bulk::{Bulk, bytes_at};
use profile_store_meter::reads::{PAGE, Reads};
use profile_store_meter::singles::Singles;
use profile_store_meter::users::User;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{QueryBuilder, Sqlite, SqlitePool};
use tokio::runtime::Handle;

use crate::{GET, GURU, LIST, READERS, Row, SCHEMA, now};

const ON_CONFLICT: &str =
    " ON CONFLICT (guru, id) DO UPDATE SET memory = excluded.memory, updated_at = excluded.updated_at
    WHERE memory <> excluded.memory";

#[derive(Clone)]
pub struct Sqlx {
    pool: SqlitePool,
    readers: SqlitePool,
    path: PathBuf,
    runtime: Handle,
}

impl Sqlx {
    pub fn open(directory: &Path, runtime: &tokio::runtime::Runtime) -> Self {
        let path = directory.join("sqlx.db");
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full);
        let (pool, readers) = runtime.block_on(async {
            // SQLite has one writer: further connections would only wait for each other's lock.
            let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options.clone());
            let pool = pool.await.expect("opened");
            sqlx::query(SCHEMA).execute(&pool).await.expect("a schema");
            let readers = SqlitePoolOptions::new().max_connections(READERS).connect_with(options);
            (pool, readers.await.expect("opened"))
        });
        Self { pool, readers, path, runtime: runtime.handle().clone() }
    }

    async fn upsert_all(&self, users: &[User]) {
        let mut upsert =
            QueryBuilder::<Sqlite>::new("INSERT INTO profile (guru, id, memory, created_at, updated_at) ");
        let now = now();
        upsert.push_values(users, |mut row, User { id, memory }| {
            row.push_bind(GURU).push_bind(id).push_bind(memory).push_bind(now).push_bind(now);
        });
        upsert.push(ON_CONFLICT);
        upsert.build().execute(&self.pool).await.expect("stored");
    }
}

impl Bulk for Sqlx {
    type Batch = Vec<User>;

    fn prepare(&self, users: Vec<User>) -> Self::Batch {
        users
    }

    fn upsert(&mut self, batch: Self::Batch) {
        self.runtime.block_on(self.upsert_all(&batch));
    }

    fn close(self) {
        self.runtime.block_on(self.readers.close());
        self.runtime.block_on(self.pool.close());
    }

    fn size(&self) -> u64 {
        bytes_at(&self.path)
    }
}

impl Singles for Sqlx {
    async fn upsert(&self, user: User) {
        self.upsert_all(std::slice::from_ref(&user)).await;
    }
}

impl Reads for Sqlx {
    async fn get(&self, id: String) {
        let row = sqlx::query_as::<_, Row>(GET).bind(GURU).bind(id).fetch_one(&self.readers);
        std::hint::black_box(row.await.expect("there"));
    }

    async fn list(&self, after: String) -> (usize, String) {
        let rows = sqlx::query_as::<_, Row>(LIST).bind(GURU).bind(after).bind(PAGE as i64);
        let page = rows.fetch_all(&self.readers).await.expect("a page");
        let last = page.last().map(|row| row.0.clone()).unwrap_or_default();
        (std::hint::black_box(page).len(), last)
    }
}

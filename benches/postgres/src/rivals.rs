//! The contestants: each upserts a batch over one of its connections.

use std::time::{SystemTime, UNIX_EPOCH};

use profile_store::{Batch, GuruSlug, Memory, PostgresStore, ProfileStore as _, StoreOptions, User};
use sqlx::postgres::{PgPool, PgPoolOptions};
use tokio_postgres::{Client, NoTls, Statement};

/// A user of a batch: id and memory.
pub type Row = (String, String);

/// The table that people would make: the rival's, as large a row as ours less checksum.
pub const TABLE: &str = "CREATE TABLE IF NOT EXISTS rival (
    guru_slug text COLLATE \"C\" NOT NULL, external_user_id text COLLATE \"C\" NOT NULL, memory text NOT NULL,
    created_at bigint NOT NULL, updated_at bigint NOT NULL, PRIMARY KEY (guru_slug, external_user_id))";

/// The best form by hand: arrays, sorted by the caller, outcomes returned, no write if nothing differs.
const UPSERT: &str = "INSERT INTO rival (guru_slug, external_user_id, memory, created_at, updated_at)
    SELECT $1, id, memory, $4, $4 FROM unnest($2::text[], $3::text[]) AS new (id, memory)
    ON CONFLICT (guru_slug, external_user_id) DO UPDATE
    SET memory = excluded.memory, updated_at = excluded.updated_at
    WHERE rival.memory IS DISTINCT FROM excluded.memory
    RETURNING external_user_id, xmax = 0";

pub enum Subject {
    Ours(PostgresStore, GuruSlug),
    /// One prepared statement a connection.
    Tokio(Vec<(Client, Statement)>),
    Sqlx(PgPool),
}

pub const NAMES: [&str; 3] = ["profile-store", "tokio-postgres", "sqlx"];

/// Which of them the others are measured against.
pub const HAND: usize = 1;

impl Subject {
    /// For so many callers. The rivals have a connection for each; the store `most`, as calls share them.
    pub async fn open(name: &str, url: &str, connections: usize, most: usize) -> Self {
        match name {
            "profile-store" => {
                let options = StoreOptions::default().with_write_connections(connections.min(most));
                let store = PostgresStore::open_with(url, options).await.expect("the store opens");
                Self::Ours(store, GuruSlug::new("g").expect("a slug"))
            }
            "tokio-postgres" => {
                let mut clients = Vec::new();
                for _ in 0..connections {
                    let (client, connection) =
                        tokio_postgres::connect(url, NoTls).await.expect("a connection");
                    tokio::spawn(connection);
                    let statement = client.prepare(UPSERT).await.expect("a statement");
                    clients.push((client, statement));
                }
                Self::Tokio(clients)
            }
            _ => {
                let connections = u32::try_from(connections).expect("few");
                let pool = PgPoolOptions::new().max_connections(connections).min_connections(connections);
                Self::Sqlx(pool.connect(url).await.expect("a pool"))
            }
        }
    }

    /// Upserts a batch, and returns how many rows it has written.
    pub async fn upsert(&self, caller: usize, rows: &[Row]) -> u64 {
        match self {
            Self::Ours(store, guru) => {
                let user =
                    |(id, memory): &Row| User::new(id.as_str(), Memory::from_json(memory).expect("a memory"));
                let batch = Batch::from_users(rows.iter().map(user));
                let counts = store.upsert_batch(guru, batch).await.expect("stored").counts();
                (counts.created + counts.updated) as u64
            }
            Self::Tokio(clients) => {
                let (client, statement) = &clients[caller];
                let (ids, memories) = sorted(rows);
                let params: [&(dyn tokio_postgres::types::ToSql + Sync); 4] = [&"g", &ids, &memories, &now()];
                client.query(statement, &params).await.expect("stored").len() as u64
            }
            Self::Sqlx(pool) => {
                let (ids, memories) = sorted(rows);
                let query = sqlx::query(UPSERT).bind("g").bind(ids).bind(memories).bind(now());
                query.fetch_all(pool).await.expect("stored").len() as u64
            }
        }
    }

    pub async fn close(self) {
        match self {
            Self::Ours(store, _) => store.close().await.expect("closed"),
            Self::Tokio(_) => {}
            Self::Sqlx(pool) => pool.close().await,
        }
    }
}

/// In the order of the key, without which batches deadlock.
fn sorted(rows: &[Row]) -> (Vec<&str>, Vec<&str>) {
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_unstable();
    rows.iter().map(|(id, memory)| (id.as_str(), memory.as_str())).unzip()
}

fn now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(now.as_micros()).expect("before the year 294247")
}

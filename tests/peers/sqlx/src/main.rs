//! sqlx and profile-store in one program, each with a file of its own; sqlx reads ours too.

#[path = "../../side.rs"]
mod side;

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqlitePool};

async fn pool(path: &Path) -> SqlitePool {
    SqlitePool::connect_with(SqliteConnectOptions::new().filename(path).create_if_missing(true))
        .await
        .unwrap()
}

async fn count(pool: &SqlitePool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql).fetch_one(pool).await.unwrap()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    side::twice(|round, store, ours, theirs| {
        runtime.block_on(async {
            let peer = pool(theirs).await;
            sqlx::query("CREATE TABLE IF NOT EXISTS t (n INTEGER)").execute(&peer).await.unwrap();
            for n in 0..side::ROWS {
                side::put(store, n);
                sqlx::query("INSERT INTO t VALUES (?)").bind(n).execute(&peer).await.unwrap();
            }
            assert_eq!(count(&peer, "SELECT count(*) FROM t").await, round * side::ROWS);
            assert_eq!(count(&pool(ours).await, "SELECT count(*) FROM profile").await, side::ROWS);
        });
    });
}

//! deadpool-sqlite and profile-store in one program, each with a file of its own; the pool reads ours too.

#[path = "../../side.rs"]
mod side;

use std::path::Path;

use deadpool_sqlite::{Config, Pool, Runtime};

fn pool(path: &Path) -> Pool {
    Config::new(path).create_pool(Runtime::Tokio1).unwrap()
}

async fn count(pool: &Pool, sql: &'static str) -> i64 {
    let connection = pool.get().await.unwrap();
    connection.interact(move |c| c.query_row(sql, [], |row| row.get(0))).await.unwrap().unwrap()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    side::twice(|round, store, ours, theirs| {
        runtime.block_on(async {
            let peer = pool(theirs);
            let connection = peer.get().await.unwrap();
            let create = "CREATE TABLE IF NOT EXISTS t (n INTEGER)";
            connection.interact(move |c| c.execute(create, [])).await.unwrap().unwrap();
            for n in 0..side::ROWS {
                side::put(store, n);
                connection
                    .interact(move |c| c.execute("INSERT INTO t VALUES (?)", [n]))
                    .await
                    .unwrap()
                    .unwrap();
            }
            assert_eq!(count(&peer, "SELECT count(*) FROM t").await, round * side::ROWS);
            assert_eq!(count(&pool(ours), "SELECT count(*) FROM profile").await, side::ROWS);
        });
    });
}

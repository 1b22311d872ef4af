//! tokio-rusqlite and profile-store in one program, each with a file of its own; tokio-rusqlite reads ours too.

#[path = "../../side.rs"]
mod side;

use tokio_rusqlite::{Connection, rusqlite};

async fn count(connection: &Connection, sql: &'static str) -> i64 {
    connection.call(move |c| c.query_row(sql, [], |row| row.get(0))).await.unwrap()
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    side::twice(|round, store, ours, theirs| {
        runtime.block_on(async {
            let peer = Connection::open(theirs).await.unwrap();
            let create =
                |c: &mut rusqlite::Connection| c.execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)", []);
            peer.call(create).await.unwrap();
            for n in 0..side::ROWS {
                side::put(store, n);
                peer.call(move |c| c.execute("INSERT INTO t VALUES (?)", [n])).await.unwrap();
            }
            assert_eq!(count(&peer, "SELECT count(*) FROM t").await, round * side::ROWS);
            let reader = Connection::open(ours).await.unwrap();
            assert_eq!(count(&reader, "SELECT count(*) FROM profile").await, side::ROWS);
        });
    });
}

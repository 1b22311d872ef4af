//! diesel, with r2d2, and profile-store in one program, each with a file of its own; diesel reads ours too.

#[path = "../../side.rs"]
mod side;

use std::path::Path;

use diesel::connection::SimpleConnection as _;
use diesel::r2d2::{ConnectionManager, Pool};
use diesel::sql_types::BigInt;
use diesel::{QueryableByName, RunQueryDsl as _, SqliteConnection, sql_query};

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    n: i64,
}

fn pool(path: &Path) -> Pool<ConnectionManager<SqliteConnection>> {
    Pool::builder().max_size(2).build(ConnectionManager::new(path.to_str().unwrap())).unwrap()
}

fn count(pool: &Pool<ConnectionManager<SqliteConnection>>, sql: &str) -> i64 {
    sql_query(sql).get_result::<Count>(&mut pool.get().unwrap()).unwrap().n
}

fn main() {
    side::twice(|round, store, ours, theirs| {
        let peer = pool(theirs);
        peer.get().unwrap().batch_execute("CREATE TABLE IF NOT EXISTS t (n INTEGER)").unwrap();
        for n in 0..side::ROWS {
            side::put(store, n);
            let insert = sql_query("INSERT INTO t VALUES (?)").bind::<BigInt, _>(n);
            insert.execute(&mut peer.get().unwrap()).unwrap();
        }
        assert_eq!(count(&peer, "SELECT count(*) AS n FROM t"), round * side::ROWS);
        assert_eq!(count(&pool(ours), "SELECT count(*) AS n FROM profile"), side::ROWS);
    });
}

//! refinery and profile-store in one program: refinery migrates a file of its own, beside ours.

#[path = "../../side.rs"]
mod side;

use refinery::{Migration, Runner};
use rusqlite::Connection;

fn main() {
    side::twice(|round, store, ours, theirs| {
        let mut peer = Connection::open(theirs).unwrap();
        let create = Migration::unapplied("V1__create", "CREATE TABLE t (n INTEGER)").unwrap();
        Runner::new(&[create]).run(&mut peer).unwrap();
        for n in 0..side::ROWS {
            side::put(store, n);
            peer.execute("INSERT INTO t VALUES (?)", [n]).unwrap();
        }
        let count = |c: &Connection, sql| c.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count(&peer, "SELECT count(*) FROM t"), round * side::ROWS);
        assert_eq!(count(&Connection::open(ours).unwrap(), "SELECT count(*) FROM profile"), side::ROWS);
    });
}

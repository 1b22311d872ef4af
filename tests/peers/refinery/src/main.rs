//! refinery and profile-store in one program: refinery migrates a file of its own, beside ours.

#[path = "../../side.rs"]
mod side;

use refinery::{Migration, Runner};
use rusqlite::Connection;

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("profiles.db"), directory.path().join("peer.db"));
    for round in 1..=2 {
        let store = side::open(&ours);
        let mut peer = Connection::open(&theirs).unwrap();
        let create = Migration::unapplied("V1__create", "CREATE TABLE t (n INTEGER)").unwrap();
        Runner::new(&[create]).run(&mut peer).unwrap();
        for n in 0..side::ROWS {
            side::put(&store, n);
            peer.execute("INSERT INTO t VALUES (?)", [n]).unwrap();
        }
        let count = |c: &Connection, sql| c.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
        assert_eq!(count(&peer, "SELECT count(*) FROM t"), round * side::ROWS);
        assert_eq!(count(&Connection::open(&ours).unwrap(), "SELECT count(*) FROM profile"), side::ROWS);
        side::check(&store);
        pollster::block_on(profile_store::ProfileStore::close(&store)).unwrap();
    }
}

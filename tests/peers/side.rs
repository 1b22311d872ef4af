//! The library's part, the same beside every peer.

use std::path::Path;

use profile_store::{HasGurus as _, Memory, ProfileStore as _, SqliteStore, User};

/// Lets the peer work beside an open store, twice, the second time on the files of the first. It gets the number of the time,
/// the store, the store's file and one for itself.
pub fn twice(beside: impl Fn(i64, &SqliteStore, &Path, &Path)) {
    let directory = tempfile::tempdir().unwrap();
    let (ours, theirs) = (directory.path().join("profiles.db"), directory.path().join("peer.db"));
    for round in 1..=2 {
        let store = pollster::block_on(SqliteStore::open(&ours)).unwrap();
        beside(round, &store, &ours, &theirs);
        check(&store);
        pollster::block_on(store.close()).unwrap();
    }
}

/// The rows that the peer writes too, one by one in turns.
pub const ROWS: i64 = 20;

pub fn put(store: &SqliteStore, n: i64) {
    let user = User::new(format!("u{n}"), Memory::from_json(&format!(r#"{{"n":{n}}}"#)).unwrap());
    pollster::block_on(store.guru("g").unwrap().upsert(user)).unwrap();
}

/// That all rows are there, and sound.
fn check(store: &SqliteStore) {
    for n in 0..ROWS {
        let found =
            pollster::block_on(store.guru("g").unwrap().get(&format!("u{n}"))).unwrap().expect("stored");
        assert_eq!(found.memory.as_str(), format!(r#"{{"n":{n}}}"#));
    }
    assert!(pollster::block_on(store.verify()).unwrap().is_sound());
}

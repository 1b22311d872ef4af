//! The library's part, the same beside every peer.

use std::path::Path;

use profile_store::{
    Batch, ExternalUserId, GuruSlug, Memory, ProfileStore as _, SqliteStore, StoreOptions, User,
};

pub fn open(path: &Path) -> SqliteStore {
    pollster::block_on(SqliteStore::open(path, StoreOptions::default())).unwrap()
}

fn guru() -> GuruSlug {
    GuruSlug::new("g").unwrap()
}

/// The rows that the peer writes too, one by one in turns.
pub const ROWS: i64 = 20;

pub fn put(store: &SqliteStore, n: i64) {
    let user = User::new(format!("u{n}"), Memory::from_json(&format!(r#"{{"n":{n}}}"#)).unwrap());
    let report = pollster::block_on(store.upsert_batch(&guru(), Batch::from(user))).unwrap();
    assert!(report.is_complete());
}

/// That all rows are there, and sound.
pub fn check(store: &SqliteStore) {
    for n in 0..ROWS {
        let ids = [ExternalUserId::new(&format!("u{n}")).unwrap()];
        let found = pollster::block_on(store.get_many(&guru(), &ids)).unwrap().remove(0).expect("stored");
        assert_eq!(found.memory.as_str(), format!(r#"{{"n":{n}}}"#));
    }
    assert!(pollster::block_on(store.verify()).unwrap().is_sound());
}

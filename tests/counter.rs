//! Two tasks that count in one profile, 10,000 times each, lose no increment (S7, S9), on any backend.
//!
//! Without syncs, which change nothing of the race but the time that it takes.

use profile_store::{
    Durability, ErrorKind, Guru, GuruSlug, HasGurus as _, Memory, MemoryStore, StoreOptions, User,
};
use tempfile::TempDir;

const INCREMENTS: u64 = 10_000;

fn count(memory: Option<&Memory>) -> u64 {
    let count = |memory: &Memory| memory.parse::<serde_json::Value>().ok()?.get("n")?.as_u64();
    memory.map_or(0, |memory| count(memory).expect("a counter"))
}

fn no_increment_is_lost(scheme: &str) {
    let directory = TempDir::new().unwrap();
    let url = match scheme {
        "memory" => "memory:".to_owned(),
        _ => format!("{scheme}:{}", directory.path().join("store").display()),
    };
    let options = StoreOptions::default().with_durability(Durability::ProcessCrash);
    let store = pollster::block_on(profile_store::open_with(&url, options)).unwrap();
    let guru = GuruSlug::new("g").unwrap();
    let increment = async || {
        for _ in 0..INCREMENTS {
            let next = |current: Option<&Memory>| {
                Some(Memory::from_json(&format!(r#"{{"n":{}}}"#, count(current) + 1)).unwrap())
            };
            Guru::new(&store, guru.clone()).update_with("counter", next).await.unwrap();
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| pollster::block_on(increment()));
        }
    });
    let counted = pollster::block_on(Guru::new(&store, guru.clone()).get("counter")).unwrap().unwrap();
    assert_eq!(count(Some(&counted.memory)), 2 * INCREMENTS);
}

/// Others have always been faster.
#[test]
fn an_update_gives_up_after_a_thousand_tries() {
    let store = MemoryStore::new();
    let guru = store.guru("g").unwrap();
    let write = |n: u64| Memory::from_json(&format!(r#"{{"n":{n}}}"#)).unwrap();
    let mut tries = 0;
    let updated = pollster::block_on(guru.update_with("counter", |_| {
        tries += 1;
        pollster::block_on(guru.upsert(User::new("counter", write(tries)))).unwrap();
        Some(write(0))
    }));
    let error = updated.unwrap_err();
    assert_eq!((error.kind(), error.external_user_id(), tries), (ErrorKind::Busy, Some("counter"), 1000));
    assert_eq!(pollster::block_on(guru.get("counter")).unwrap().unwrap().memory, write(1000));
}

#[test]
fn no_increment_is_lost_in_memory() {
    no_increment_is_lost("memory");
}

#[test]
fn no_increment_is_lost_in_sqlite() {
    no_increment_is_lost("sqlite");
}

#[test]
fn no_increment_is_lost_in_fjall() {
    no_increment_is_lost("fjall");
}

#[test]
fn no_increment_is_lost_in_sled() {
    no_increment_is_lost("sled");
}

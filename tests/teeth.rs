//! The suite has teeth: backends that are broken on purpose, each in one small way, and the checks
//! that must notice.

mod broken;
mod fault;
mod hasty;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use pollster::block_on;
use profile_store::conformance::{Check, Fixture, checks};
use profile_store::{
    Batch, CopyOptions, Error, ErrorKind, Export, GuruSlug, HasGurus, ListOptions, Memory, MemoryStore,
    StoreOptions, User, copy,
};

use broken::{BrokenFixture, CALLS};
use fault::{FAULTS, Fault};

#[test]
fn every_fault_is_noticed() {
    let mut wrong = Vec::new();
    for (fault, names) in FAULTS {
        for name in *names {
            let check = checks().find(|check| check.name == *name);
            let check = check.unwrap_or_else(|| panic!("no check is named {name}"));
            let told = failure(*fault, &check);
            let said =
                told.as_ref().is_some_and(|told| told.starts_with(&format!("{name} ({}) ", check.clauses)));
            let given_up = told.as_ref().is_some_and(|told| told.contains("has not ended within"));
            if !said || given_up != fault.outlasts_the_limit() {
                wrong.push((*fault, *name, told));
            }
        }
    }
    assert!(wrong.is_empty(), "not noticed, or not said: {wrong:#?}");

    // What was given up on comes to its end.
    let at_rest = || {
        let calls = CALLS.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(100));
        CALLS.load(Ordering::SeqCst) == calls
    };
    assert!((0..100).any(|_| at_rest()), "checks that were given up on go on calling their stores");
}

#[test]
fn the_backend_passes_without_a_fault() {
    for check in checks() {
        assert_eq!(failure(Fault::None, &check), None);
    }
}

/// The words with which the check fails, if it does.
fn failure(fault: Fault, check: &Check) -> Option<String> {
    let run = catch_unwind(AssertUnwindSafe(|| check.run(move || BrokenFixture(fault))));
    run.err().map(|panic| *panic.downcast::<String>().expect("a check fails in words"))
}

/// L1: whatever reads page after page ends, and says whose pages they were.
#[test]
fn a_cursor_that_does_not_move_is_an_error() {
    let filled = |fault| {
        let store = block_on(BrokenFixture(fault).open(StoreOptions::default())).unwrap();
        for (guru, id) in [("g", "a"), ("g", "b"), ("g", "c"), ("h", "a")] {
            let user = User::new(id, Memory::from_json("{}").unwrap());
            block_on(store.guru(guru).unwrap().upsert(user)).unwrap();
        }
        store
    };
    let assert_stuck = |told: Result<(), Error>, guru: &str| {
        let error = told.expect_err("the cursor stays");
        assert_eq!((error.kind(), error.guru()), (ErrorKind::Corrupt, Some(guru)), "{error}");
        let words = error.to_string();
        assert!(words.contains("again and again") && words.contains('"') && !words.contains('('), "{words}");
    };

    let store = filled(Fault::IgnoresTheCursor);
    let guru = store.guru("g").unwrap();
    let pages = ListOptions::default().with_limit(1);
    let mut profiles = guru.profiles(pages.clone());
    let mut read = || (0..9).find_map(|_| block_on(profiles.next())?.err());
    assert_stuck(read().map_or(Ok(()), Err), "g");
    assert!(block_on(profiles.next()).is_none(), "it ends after an error");

    // A page takes 1,000 profiles.
    let users = (0..1001).map(|n| User::new(format!("u{n:04}"), Memory::from_json("{}").unwrap()));
    assert!(block_on(guru.upsert_batch(Batch::from_users(users))).unwrap().is_complete());
    let slug = GuruSlug::new("g").unwrap();
    let mut export = Export::users(&*store, &slug);
    assert!(block_on(export.next()).unwrap().is_some());
    assert_stuck(block_on(export.next()).map(drop), "g");
    let to = MemoryStore::new();
    assert_stuck(block_on(copy(&*store, &to, CopyOptions::default())).map(drop), "g");

    let store = filled(Fault::IgnoresTheGuruCursor);
    assert_stuck(block_on(copy(&*store, &to, CopyOptions::default())).map(drop), "g");
    let mut export = Export::profiles(&*store);
    assert!(block_on(export.next()).unwrap().is_some());
    assert_stuck(block_on(export.next()).map(drop), "g");
}

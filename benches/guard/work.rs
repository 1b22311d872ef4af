//! The fixed work whose instructions are counted.

use std::fs;
use std::hint::black_box;
use std::path::Path;

use profile_store::{
    Batch, Clock, Guru, GuruSlug, ListOptions, MemoryStore, ProfileStore, SqliteStore, StoreOptions,
    Timestamp,
};
use profile_store_meter::users::{User, body, id, users};

use crate::nowhere::Nowhere;

/// Users in a batch, and batches.
pub const BATCH: u64 = 1000;
pub const BATCHES: u64 = 5;

/// Something to be measured: `run` in a directory that `prepare` has made ready. Requests are read from
/// files, so that making them is not part of what is measured.
pub struct Work {
    pub name: &'static str,
    prepare: fn(&Path),
    run: fn(&Path),
}

impl Work {
    pub fn prepare(&self, directory: &Path) {
        (self.prepare)(directory);
    }

    pub fn run(&self, directory: &Path) {
        (self.run)(directory);
    }
}

pub const ALL: &[Work] = &[
    Work { name: "admission", prepare: |directory| write(directory, &[users(0, 10_000, 0)]), run: admit },
    Work {
        name: "memory",
        prepare: |directory| write(directory, &[0, 1, 1].map(|version| users(0, 3000, version))),
        run: in_memory,
    },
    Work { name: "sqlite-insert", prepare: |directory| write(directory, &batches(0)), run: store },
    Work { name: "sqlite-change", prepare: |directory| stored(directory, &batches(1)), run: store },
    Work { name: "sqlite-retry", prepare: |directory| stored(directory, &batches(0)), run: store },
    Work { name: "sqlite-insert-twice", prepare: |directory| write(directory, &twice(0)), run: store },
    Work { name: "sqlite-singles", prepare: |directory| stored(directory, &singles()), run: store },
    Work { name: "sqlite-get", prepare: |directory| stored(directory, &[]), run: get },
    Work { name: "sqlite-get-many", prepare: |directory| stored(directory, &[]), run: get_many },
    Work { name: "sqlite-list", prepare: |directory| stored(directory, &[]), run: list },
];

pub fn find(name: &str) -> &'static Work {
    ALL.iter().find(|work| work.name == name).expect("work of this name")
}

pub fn guru() -> GuruSlug {
    GuruSlug::new("my-guru").expect("a valid slug")
}

/// So that what is written does not depend on the time of day.
pub fn options() -> StoreOptions {
    let options = StoreOptions::default().with_read_threads(1);
    options.with_clock(Clock::from_fn(|| Timestamp::from_micros(1_700_000_000_000_000)))
}

fn open(directory: &Path) -> SqliteStore {
    let path = directory.join("profiles.db");
    pollster::block_on(SqliteStore::open_with(&path, options())).expect("opened")
}

fn batches(version: u64) -> Vec<Vec<User>> {
    (0..BATCHES).map(|batch| users(batch * BATCH, BATCH, version)).collect()
}

/// All batches, and all of them again, as by somebody who has not heard the answers.
fn twice(version: u64) -> Vec<Vec<User>> {
    batches(version).into_iter().chain(batches(version)).collect()
}

/// Changes of one user each.
fn singles() -> Vec<Vec<User>> {
    (0..200).map(|n| users(n, 1, 1)).collect()
}

/// Writes the requests that the work sends.
fn write(directory: &Path, requests: &[Vec<User>]) {
    for (n, users) in requests.iter().enumerate() {
        fs::write(directory.join(format!("{n:04}.json")), body(users)).expect("a request");
    }
}

/// Makes a store that has all batches, then writes the requests.
fn stored(directory: &Path, requests: &[Vec<User>]) {
    let (store, guru) = (open(directory), guru());
    for batch in batches(0) {
        let request = body(&batch);
        let stored = store.upsert_batch(&guru, Batch::from_json(request.as_bytes()));
        assert!(pollster::block_on(stored).expect("stored").is_complete());
    }
    pollster::block_on(store.close()).expect("closed");
    write(directory, requests);
}

/// Sends all requests, from body to response.
fn send(store: &dyn ProfileStore, directory: &Path) {
    let guru = guru();
    let requests =
        (0..).map(|n| directory.join(format!("{n:04}.json"))).take_while(|request| request.exists());
    for request in requests {
        let request = fs::read(request).expect("a request");
        let report =
            pollster::block_on(store.upsert_batch(&guru, Batch::from_json(request))).expect("stored");
        assert!(report.is_complete());
        black_box(report.to_json());
    }
}

/// Stored nowhere: what is left is admission and report.
fn admit(directory: &Path) {
    send(&Nowhere::default(), directory);
}

/// Users created, changed and sent again.
fn in_memory(directory: &Path) {
    send(&MemoryStore::new(), directory);
}

fn store(directory: &Path) {
    let store = open(directory);
    send(&store, directory);
    pollster::block_on(store.close()).expect("closed");
}

fn get(directory: &Path) {
    let (store, guru) = (open(directory), guru());
    for n in 0..2000 {
        assert!(
            black_box(pollster::block_on(Guru::new(&store, guru.clone()).get(&id(n))).expect("read"))
                .is_some()
        );
    }
    pollster::block_on(store.close()).expect("closed");
}

fn get_many(directory: &Path) {
    let (store, guru) = (open(directory), guru());
    for first in (0..BATCH * BATCHES).step_by(100) {
        let ids: Vec<_> = (first..first + 100).map(|n| id(n).parse().expect("an id")).collect();
        assert!(pollster::block_on(store.get_many(&guru, &ids)).expect("read").iter().all(Option::is_some));
    }
    pollster::block_on(store.close()).expect("closed");
}

/// Three times over all of them, 1,000 a page.
fn list(directory: &Path) {
    let (store, guru) = (open(directory), guru());
    for _ in 0..3 {
        let (mut after, mut seen) = (None, 0);
        loop {
            let options = ListOptions::default().with_after(after);
            let page = pollster::block_on(store.list(&guru, &options)).expect("a page");
            seen += page.profiles.len() as u64;
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(seen, BATCH * BATCHES);
    }
    pollster::block_on(store.close()).expect("closed");
}

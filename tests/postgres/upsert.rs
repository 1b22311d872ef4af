//! The answers to a group and the statements for the server, whatever is stored and whoever interferes.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::task::{Context, Waker};
use std::thread;

use profile_store::{
    Batch, Clock, GuruSlug, HasGurus as _, Outcome, PostgresStore, ProfileStore as _, StoreOptions,
    Timestamp, UpsertReport,
};

use crate::server::{Database, Server, sql, wait_until, while_a_change_sleeps, while_held};
use crate::{guru, user};

const SCHEMA: &str = include_str!("../../src/backends/postgres/schema/postgresql.sql");

/// A store that writes over one connection, so that it is the same one every time.
fn open(url: &str) -> PostgresStore {
    open_with(url, crate::options())
}

fn open_with(url: &str, options: StoreOptions) -> PostgresStore {
    pollster::block_on(PostgresStore::open_with(url, options.with_write_connections(1)))
        .expect("the store opens")
}

/// So many users whose memory is `n`.
fn users(count: usize, n: usize) -> Batch<'static> {
    (0..count).map(|id| user(format!("u{id:04}"), n)).collect()
}

fn outcomes(report: &UpsertReport) -> Vec<Outcome> {
    report.results().iter().map(|result| *result.result.as_ref().expect("stored")).collect()
}

/// The counts of a batch: created, updated, unchanged.
fn put(store: &PostgresStore, batch: Batch<'_>) -> (usize, usize, usize) {
    let counts = pollster::block_on(store.upsert_batch(&guru(), batch)).expect("stored").counts();
    (counts.created, counts.updated, counts.unchanged)
}

/// The fate of an id of a guru: nothing for the first guru's, the others' in turn.
fn fate(guru: usize, id: usize) -> Outcome {
    let turn = [Outcome::Unchanged, Outcome::Updated, Outcome::Created];
    turn[if guru == 0 { 0 } else { (guru + id / 2) % 3 }]
}

/// Batches of several gurus in one transaction, the same ids with another fate in each: every item is told its
/// own.
#[test]
fn a_group_of_several_gurus_is_told_right() {
    const IDS: usize = 30;
    let database = Database::blank();
    let (store, url) = (open(&database.url()), database.url());
    let gurus = ["ada", "bob", "cyd"].map(|slug| GuruSlug::new(slug).unwrap());
    for (at, guru) in gurus.iter().enumerate() {
        let there = (0..IDS).filter(|&id| fate(at, id) != Outcome::Created);
        let memory = |id| if fate(at, id) == Outcome::Unchanged { 1 } else { 0 };
        let users = there.map(|id| user(format!("u{id:02}"), memory(id))).collect();
        assert!(pollster::block_on(store.upsert_batch(guru, users)).unwrap().is_complete());
    }
    pollster::block_on(store.guru("my-guru").unwrap().upsert(user("held", 0))).unwrap();
    let rows_before = "SELECT guru_slug, external_user_id, created_at, updated_at, xmin FROM profile_store.profile \
                       WHERE memory = '{\"n\":1}' ORDER BY 1, 2";
    let unchanged = sql(&url, rows_before);
    let poll = |call: std::pin::Pin<&mut dyn Future<Output = profile_store::Result<UpsertReport>>>| {
        assert!(call.poll(&mut Context::from_waker(Waker::noop())).is_pending());
    };
    let own = guru();
    let mut held = pin!(store.upsert_batch(&own, user("held", 1).into()));
    let call = |guru| store.upsert_batch(guru, (0..IDS).map(|id| user(format!("u{id:02}"), 1)).collect());
    let mut calls: Vec<_> = gurus.iter().map(|guru| Box::pin(call(guru))).collect();
    // It holds up the only connection until the others have queued up.
    let lock = "SELECT FROM profile_store.profile WHERE external_user_id = 'held' FOR UPDATE";
    while_held(&url, lock, || {
        poll(held.as_mut());
        let waiting =
            "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
        wait_until("it waits for the lock", || !sql(&url, waiting).is_empty());
        calls.iter_mut().for_each(|call| poll(call.as_mut()));
    });
    assert!(pollster::block_on(held).unwrap().is_complete());
    for (at, call) in calls.into_iter().enumerate() {
        let told = outcomes(&pollster::block_on(call).unwrap());
        assert_eq!(told, (0..IDS).map(|id| fate(at, id)).collect::<Vec<_>>());
    }
    let written = "SELECT count(*), count(DISTINCT xmin::text) FROM profile_store.profile \
                   WHERE memory = '{\"n\":1}' AND external_user_id <> 'held' AND updated_at > ";
    let last = unchanged.iter().map(|row| row[3].clone()).max().unwrap();
    assert_eq!(sql(&url, &format!("{written}{last}")), [["40", "1"]], "all in one transaction");
    let after = sql(&url, rows_before);
    assert!(unchanged.iter().all(|row| after.contains(row)), "what is unchanged was not touched");
    assert!(pollster::block_on(store.verify()).unwrap().is_sound());
}

/// The statements that a store runs on its own connection: one for a batch that changes nothing, and else a
/// transaction that leaves a receipt.
#[test]
fn a_batch_is_read_and_then_written() {
    let server = Server::start("log_statement = 'all'\nlog_line_prefix = '%a|'");
    let store = open(&server.url("postgres"));
    let log = || {
        let log = std::fs::read_to_string(server.data().join("log")).expect("a log");
        let of_store = log.lines().filter_map(|line| line.strip_prefix("profile-store|LOG:  "));
        of_store.map(str::to_owned).collect::<Vec<_>>()
    };
    let mut seen = log().len();
    let mut by = |batch, counts, statements: &[&str]| {
        assert_eq!(put(&store, batch), counts);
        let log = log();
        let last = &log[std::mem::replace(&mut seen, log.len())..];
        assert_eq!(last.len(), statements.len(), "{last:?}");
        for (line, words) in last.iter().zip(statements) {
            assert!(line.contains(words), "{words}: {line}");
        }
    };
    let some = |range: std::ops::Range<usize>, n| range.map(|id| user(format!("u{id:04}"), n)).collect();
    let write = ["SELECT", "BEGIN", "profile_store.receipt", "profile_store.profile", "COMMIT"];
    by(some(0..100, 0), (100, 0, 0), &write);
    by(some(50..150, 1), (50, 50, 0), &write);
    by(some(50..150, 1), (0, 0, 100), &["SELECT"]);
    by(some(0..1, 1), (0, 1, 0), &write);
    by(some(0..1, 1), (0, 0, 1), &["SELECT"]);
    assert!(pollster::block_on(store.verify()).unwrap().is_sound());
}

/// S7: if the clock stands still or steps back, a change is still stamped later than the one before.
#[test]
fn a_clock_that_stands_still_moves_times_on() {
    for count in [1, 100] {
        let database = Database::new();
        let now = Arc::new(AtomicI64::new(1000));
        let clock = Arc::clone(&now);
        let clock = Clock::from_fn(move || Timestamp::from_micros(clock.load(Ordering::SeqCst)));
        let store = open_with(&database.url(), crate::options().with_clock(clock));
        assert_eq!(put(&store, users(count, 0)), (count, 0, 0));
        let mut before = 1000;
        for (n, time) in
            [1000, 1001, 1002, 1003, 1003, 1003, 1, 2000, 2001, 1000, 3000].into_iter().enumerate()
        {
            now.store(time, Ordering::SeqCst);
            assert_eq!(put(&store, users(count, n + 1)), (0, count, 0));
            let page = pollster::block_on(store.list(&guru(), &Default::default())).unwrap();
            let expected = time.max(before + 1);
            for profile in page.profiles {
                let times = (profile.created_at.as_micros(), profile.updated_at.as_micros());
                assert_eq!(times, (1000, expected), "change {n}, at {time}");
            }
            before = expected;
        }
        assert!(pollster::block_on(store.verify()).unwrap().is_sound());
    }
}

/// A time of creation that a copy brought along, and that is ahead of the clock or just what the clock says, makes
/// no change look like a creation.
#[test]
fn a_restored_profile_is_updated() {
    let database = Database::new();
    let now = 1000;
    let clock = Clock::from_fn(move || Timestamp::from_micros(now));
    let store = open_with(&database.url(), crate::options().with_clock(clock));
    for created in [now - 1, now, now + 1] {
        pollster::block_on(async {
            store.guru("my-guru").unwrap().upsert(user("ada", 0)).await.unwrap();
            let mut ada = store.guru("my-guru").unwrap().get("ada").await.unwrap().unwrap();
            assert!(store.guru("my-guru").unwrap().delete("ada").await.unwrap());
            ada.created_at = Timestamp::from_micros(created);
            ada.updated_at = Timestamp::from_micros(now - 500);
            store.guru("my-guru").unwrap().restore(vec![ada]).await.unwrap();
            let outcome = store.guru("my-guru").unwrap().upsert(user("ada", 1)).await.unwrap();
            assert_eq!(outcome, Outcome::Updated, "created at {created}");
            let ada = store.guru("my-guru").unwrap().get("ada").await.unwrap().unwrap();
            assert_eq!((ada.created_at.as_micros(), ada.updated_at.as_micros()), (created, now));
            assert!(store.guru("my-guru").unwrap().delete("ada").await.unwrap());
        });
    }
}

/// Eight writers of the same profiles, nobody removing any: one of them has created each, all others have
/// changed it, nobody has waited in a circle, and no time has moved back.
#[test]
fn hot_keys_are_created_once() {
    const WRITERS: usize = 8;
    const ROUNDS: usize = 20;
    const IDS: usize = 40;
    let database = Database::new();
    let stores: Vec<_> = (0..WRITERS).map(|_| open(&database.url())).collect();
    let told: Vec<_> = thread::scope(|scope| {
        let writer = |(writer, store)| {
            scope.spawn(move || {
                let mut told = (0, 0, 0);
                for round in 0..ROUNDS {
                    let id = |n: usize| (n * [1, 3, 7, 9, 11, 13, 17, 19][writer] + round) % IDS;
                    let users =
                        (0..IDS).map(|n| user(format!("u{:02}", id(n)), writer * 1000 + round)).collect();
                    let counts = put(store, users);
                    told = (told.0 + counts.0, told.1 + counts.1, told.2 + counts.2);
                    let page = pollster::block_on(store.list(&guru(), &Default::default())).unwrap();
                    assert_eq!(page.profiles.len(), IDS);
                    assert!(page.profiles.iter().all(|profile| profile.memory == page.profiles[0].memory));
                    assert!(page.profiles.iter().all(|profile| profile.created_at <= profile.updated_at));
                }
                told
            })
        };
        let writers: Vec<_> = stores.iter().enumerate().map(writer).collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let sum = told.iter().fold((0, 0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1, sum.2 + one.2));
    assert_eq!(sum, (IDS, (WRITERS * ROUNDS - 1) * IDS, 0));
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(sql(&database.url(), deadlocks), [["0"]]);
    assert!(pollster::block_on(stores[0].verify()).unwrap().is_sound());
}

/// A profile that others give the same memory after a batch has looked it up, and before it stores it, is unchanged:
/// neither its row nor its time is the batch's.
#[test]
fn what_becomes_the_same_meanwhile_is_unchanged() {
    for count in [1, 100] {
        let database = Database::new();
        let (store, url) = (open(&database.url()), database.url());
        put(&store, users(count, 3));
        let row = "SELECT memory, updated_at, checksum FROM profile_store.profile \
                   WHERE external_user_id = 'u0000'";
        let theirs = sql(&url, row);
        put(&store, users(count, 1));
        put(&store, users(count, 2));
        let [memory, updated_at, checksum] = theirs[0].as_slice() else { panic!("three columns") };
        let set = format!("memory = '{memory}', updated_at = {updated_at}, checksum = {checksum}");
        let change = format!("UPDATE profile_store.profile SET {set} WHERE external_user_id = 'u0000'");
        while_a_change_sleeps(&url, &change, || {
            assert_eq!(put(&store, users(count, 3)), (0, count - 1, 1));
        });
        assert_eq!(sql(&url, row), theirs);
        assert!(pollster::block_on(store.verify()).unwrap().is_sound());
    }
}

/// A table of several partitions is as good as one.
#[test]
fn partitions_are_fine() {
    let by_hash = SCHEMA.replace(
        "PRIMARY KEY (guru_slug, external_user_id)\n);",
        "PRIMARY KEY (guru_slug, external_user_id)\n) PARTITION BY HASH (external_user_id);\n\
         CREATE TABLE profile_store.p0 PARTITION OF profile_store.profile FOR VALUES WITH (MODULUS 2, REMAINDER 0);\n\
         CREATE TABLE profile_store.p1 PARTITION OF profile_store.profile FOR VALUES WITH (MODULUS 2, REMAINDER 1);",
    );
    assert_ne!(by_hash, SCHEMA);
    let database = Database::blank();
    sql(&database.url(), &by_hash);
    let store = open(&database.url());
    assert_eq!(put(&store, users(100, 0)), (100, 0, 0));
    assert_eq!(put(&store, users(100, 1)), (0, 100, 0));
    assert_eq!(put(&store, users(200, 1)), (100, 0, 100));
    assert!(pollster::block_on(store.verify()).unwrap().is_sound());
}

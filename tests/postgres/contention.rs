//! Many writers of the same profiles, over stores that know nothing of each other.

use std::future::Future as _;
use std::pin::pin;
use std::task::{Context, Waker};
use std::thread;

use profile_store::{ExternalUserId, Guru, HasGurus as _, Memory, Outcome, PostgresStore, ProfileStore as _};

use crate::server::{Database, Server, sql, wait_until, while_a_change_sleeps};
use crate::{guru, open, user};

const WRITERS: usize = 8;

/// Each writer's way through 40 ids: steps that come to all of them.
const STEPS: [usize; WRITERS] = [1, 3, 7, 9, 11, 13, 17, 19];

/// Batches of the same 40 ids, each writer's in another order, some of them removing: no deadlock, each
/// batch whole, and nothing that the last one did not write.
#[test]
fn hot_keys_make_no_deadlock() {
    let database = Database::new();
    let stores = [open(&database.url()), open(&database.url())];
    let (stores, guru) = (&stores, &guru());
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for round in 0..20 {
                    let ids = (0..40).map(|n| (n * STEPS[writer] + round) % 40);
                    if (round + writer) % 5 == 0 {
                        let ids: Vec<_> =
                            ids.map(|n| ExternalUserId::new(format!("u{n:02}")).unwrap()).collect();
                        pollster::block_on(stores[writer % 2].delete_many(guru, &ids)).unwrap();
                        continue;
                    }
                    let users = ids.map(|n| user(format!("u{n:02}"), writer * 1000 + round)).collect();
                    let report = pollster::block_on(stores[writer % 2].upsert_batch(guru, users)).unwrap();
                    assert!(report.is_complete());
                    let page = pollster::block_on(stores[1].list(guru, &Default::default())).unwrap();
                    let first = page.profiles.first().map(|first| &first.memory);
                    assert!(page.profiles.iter().all(|profile| Some(&profile.memory) == first));
                    assert!(matches!(page.profiles.len(), 0 | 40));
                }
            });
        }
    });
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(sql(&database.url(), deadlocks), [["0"]]);
}

/// Increments of one profile, each judged by its ETag inside the transaction: none is lost.
#[test]
fn counters_lose_nothing() {
    let database = Database::new();
    let stores = [open(&database.url()), open(&database.url())];
    let (stores, guru) = (&stores, &guru());
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for _ in 0..25 {
                    let increment = |memory: Option<&Memory>| {
                        let now = memory.map_or(0, |memory| {
                            memory.parse::<serde_json::Value>().unwrap()["n"].as_u64().unwrap()
                        });
                        Memory::from_serialize(&serde_json::json!({ "n": now + 1 })).ok()
                    };
                    loop {
                        let current =
                            pollster::block_on(Guru::new(&stores[writer % 2], guru.clone()).get("counter"))
                                .unwrap();
                        let next = increment(current.as_ref().map(|profile| &profile.memory)).unwrap();
                        let next = profile_store::User::new("counter", next);
                        let next = match &current {
                            Some(profile) => next.if_match(profile.etag()),
                            None => next.if_absent(),
                        };
                        let guru = Guru::new(&stores[(writer + 1) % 2], guru.clone());
                        match pollster::block_on(guru.upsert(next)) {
                            Ok(outcome) => {
                                assert_ne!(outcome, Outcome::Unchanged);
                                break;
                            }
                            Err(error) => assert!(!error.item_errors().is_empty(), "{error:?}"),
                        }
                    }
                }
            });
        }
    });
    let counter = pollster::block_on(Guru::new(&stores[0], guru.clone()).get("counter")).unwrap().unwrap();
    assert_eq!(counter.memory.as_str(), format!(r#"{{"n":{}}}"#, WRITERS * 25));
}

/// Batches that merge into the same ten profiles, each judged against what was read for all of them: no
/// member is lost.
#[test]
fn merges_of_whole_batches_lose_nothing() {
    const ROUNDS: usize = 15;
    let database = Database::new();
    let stores = [open(&database.url()), open(&database.url())];
    let (stores, guru) = (&stores, &guru());
    thread::scope(|scope| {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                for round in 0..ROUNDS {
                    let patch = Memory::from_json(&format!(r#"{{"{writer}-{round}":1}}"#)).unwrap();
                    let user = |n| profile_store::User::new(format!("u{n}"), patch.clone()).merging();
                    let batch = (0..10).map(user).collect();
                    let report = pollster::block_on(stores[writer % 2].upsert_batch(guru, batch)).unwrap();
                    assert!(report.is_complete());
                }
            });
        }
    });
    let page = pollster::block_on(stores[0].list(guru, &Default::default())).unwrap();
    assert_eq!(page.profiles.len(), 10);
    for profile in page.profiles {
        let memory: serde_json::Map<String, serde_json::Value> = profile.memory.parse().unwrap();
        assert_eq!(memory.len(), WRITERS * ROUNDS);
    }
}

/// Profiles that are removed after a batch has read them and before it writes them are created, not
/// updated: the times of what is gone do not come back.
#[test]
fn what_vanishes_meanwhile_is_created() {
    let database = Database::new();
    let (store, guru, url) = (open(&database.url()), guru(), database.url());
    let users = |n| (0..5).map(move |id| user(format!("u{id}"), n)).collect::<profile_store::Batch<'_>>();
    assert!(pollster::block_on(store.upsert_batch(&guru, users(1))).unwrap().is_complete());
    let old = pollster::block_on(Guru::new(&store, guru.clone()).get("u0")).unwrap().unwrap();
    // The rows that it removes are still there for others until it commits.
    while_a_change_sleeps(&url, "DELETE FROM profile_store.profile", || {
        let report = pollster::block_on(store.upsert_batch(&guru, users(2))).unwrap();
        assert_eq!(report.counts().created, 5);
    });
    let new = pollster::block_on(Guru::new(&store, guru.clone()).get("u0")).unwrap().unwrap();
    assert!(new.created_at > old.updated_at && new.created_at == new.updated_at);
    let left = "SELECT count(*) FROM profile_store.profile WHERE expected IS NOT NULL OR memory = ''";
    assert_eq!(sql(&url, left), [["0"]], "no trace of the second try is left");
}

/// Sending stored users again writes nothing: no WAL, so no sync (S5). Whatever the store expects by then: new
/// users, changes, or nothing.
#[test]
fn a_retry_writes_no_wal() {
    // Nothing else writes any.
    let server =
        Server::start("autovacuum = off\nwal_level = minimal\nmax_wal_senders = 0\ncheckpoint_timeout = 1h");
    let options = crate::options().with_write_connections(1);
    let store = pollster::block_on(PostgresStore::open_with(&server.url("postgres"), options)).unwrap();
    let users = |of: usize| (0..2500).map(move |n| user(format!("u{n}"), of)).collect();
    let other = |from: usize| (from..from + 100).map(|n| user(format!("other{n}"), 0)).collect();
    let written = || sql(&server.url("postgres"), "SELECT pg_current_wal_insert_lsn()");
    let unchanged = |of| {
        // Rows that reading would tidy up by itself, which the server logs.
        sql(&server.url("postgres"), "VACUUM profile_store.profile");
        let before = written();
        for _ in 0..2 {
            let report = pollster::block_on(store.upsert_batch(&guru(), users(of))).unwrap();
            assert_eq!(report.counts().unchanged, 2500);
        }
        let one = pollster::block_on(store.guru("my-guru").unwrap().upsert(user("u0", of))).unwrap();
        assert_eq!(one, Outcome::Unchanged);
        assert_eq!(written(), before);
    };
    let store_batch = |batch| pollster::block_on(store.upsert_batch(&guru(), batch)).unwrap();
    assert!(store_batch(users(0)).is_complete());
    unchanged(0);
    assert!(store_batch(other(0)).is_complete());
    assert!(store_batch(other(100)).is_complete());
    unchanged(0);
    assert!(store_batch(users(1)).is_complete());
    assert!(store_batch(users(2)).is_complete());
    unchanged(2);
    let before = written();
    let nobody = ExternalUserId::new("nobody").unwrap();
    pollster::block_on(store.delete_many(&guru(), &[nobody.clone(), nobody])).unwrap();
    assert_eq!(written(), before);
    pollster::block_on(store.guru("my-guru").unwrap().upsert(user("u0", 1))).unwrap();
    assert_ne!(written(), before, "the control: a change does");
}

/// Dropped at every poll, calls leave no transaction open and no connection dirty (S10).
#[test]
fn dropped_futures_leave_nothing_open() {
    let database = Database::new();
    let store = open(&database.url());
    for n in 0..200 {
        let users = (0..50).map(|id| user(format!("u{id:02}"), n)).collect();
        let guru = guru();
        let mut call = pin!(store.upsert_batch(&guru, users));
        for _ in 0..n % 5 {
            if call.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
                break;
            }
            thread::yield_now();
        }
    }
    pollster::block_on(store.guru("my-guru").unwrap().upsert(user("after", 1))).unwrap();
    let page = pollster::block_on(store.list(&guru(), &Default::default())).unwrap();
    let memories: Vec<_> =
        page.profiles.iter().filter(|p| p.external_user_id.as_str() != "after").map(|p| &p.memory).collect();
    assert!(matches!(memories.len(), 0 | 50) && memories.iter().all(|memory| *memory == memories[0]));
    pollster::block_on(store.close()).unwrap();
    let others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'profile-store'";
    // The server's processes end a moment after the connections.
    wait_until("closing closes all connections", || sql(&database.url(), others) == [["0"]]);
}

/// L2, S1: a deletion that waits for a batch removes all that the batch has stored.
#[test]
fn a_deleted_guru_keeps_no_part_of_a_batch() {
    let database = Database::new();
    let (url, store) = (database.url(), open(&database.url()));
    let guru = store.guru("my-guru").unwrap();
    pollster::block_on(guru.upsert(user("a", 1))).unwrap();
    let batch = "CREATE TEMP TABLE new AS SELECT * FROM profile_store.profile;
        UPDATE new SET external_user_id = 'z';
        UPDATE profile_store.profile SET updated_at = updated_at;
        INSERT INTO profile_store.profile SELECT * FROM new";
    while_a_change_sleeps(&url, batch, || {
        assert_eq!(pollster::block_on(guru.delete_all()).unwrap(), 2);
    });
    assert_eq!(pollster::block_on(guru.count()).unwrap(), 0);
}

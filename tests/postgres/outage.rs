//! The server gone, and back; and answers that never come.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use profile_store::{
    ErrorKind, ExternalUserId, Guru, HasGurus as _, Outcome, PostgresStore, ProfileStore as _, StoreOptions,
};

use crate::proxy::Proxy;
use crate::server::{Server, sql};
use crate::{guru, open, open_with, user};

/// Killed under load and started again, three times: nothing acknowledged is lost, no batch is there in
/// part, and the store goes on by itself.
#[test]
fn a_killed_server_loses_nothing_acknowledged() {
    let server = Server::start("");
    let store = open(&server.url("postgres"));
    let (acknowledged, done) = (Mutex::new(Vec::new()), AtomicBool::new(false));
    let (store, acknowledged, done) = (&store, &acknowledged, &done);
    thread::scope(|scope| {
        for writer in 0..8 {
            scope.spawn(move || {
                let mut n = 0;
                while !done.load(Ordering::SeqCst) {
                    let users = (0..10).map(|k| user(format!("{writer}-{n}-{k}"), n)).collect();
                    match pollster::block_on(store.upsert_batch(&guru(), users)) {
                        Ok(report) => {
                            assert!(report.is_complete());
                            acknowledged.lock().unwrap().push((writer, n));
                        }
                        Err(error) => assert!(error.is_retryable(), "{error:?}"),
                    }
                    n += 1;
                }
            });
        }
        for _ in 0..3 {
            let so_far = acknowledged.lock().unwrap().len();
            while acknowledged.lock().unwrap().len() < so_far + 50 {
                thread::sleep(Duration::from_millis(1));
            }
            server.crash();
            server.launch();
        }
        let so_far = acknowledged.lock().unwrap().len();
        while acknowledged.lock().unwrap().len() < so_far + 50 {
            thread::sleep(Duration::from_millis(1));
        }
        done.store(true, Ordering::SeqCst);
    });
    let stored = |writer, n| {
        let ids: Vec<_> =
            (0..10).map(|k| ExternalUserId::new(format!("{writer}-{n}-{k}")).unwrap()).collect();
        pollster::block_on(store.get_many(&guru(), &ids)).unwrap().into_iter().flatten().count()
    };
    for &(writer, n) in acknowledged.lock().unwrap().iter() {
        assert_eq!(stored(writer, n), 10, "batch {n} of writer {writer}");
    }
    let torn = "SELECT count(*) FROM (SELECT FROM profile_store.profile
                GROUP BY regexp_replace(external_user_id, '-[0-9]+$', '') HAVING count(*) <> 10) AS torn";
    assert_eq!(sql(&server.url("postgres"), torn), [["0"]]);
    assert!(pollster::block_on(store.verify()).unwrap().is_sound());
}

/// The answer to a commit is lost: what each item is told is what its first try did.
#[test]
fn an_unknown_commit_is_settled() {
    let server = Server::start("");
    let proxy = Proxy::to(server.directory());
    let store = open(&proxy.url("postgres"));
    let guru = &guru();
    pollster::block_on(async {
        let outcomes = |report: &profile_store::UpsertReport| -> Vec<_> {
            report.results().iter().map(|result| *result.result.as_ref().unwrap()).collect()
        };
        // The store has its connections before the first answer is swallowed.
        Guru::new(&store, guru.clone()).upsert(user("first", 0)).await.unwrap();

        proxy.arm();
        let outcome = Guru::new(&store, guru.clone()).upsert(user("one", 1).if_absent()).await.unwrap();
        assert_eq!((proxy.cuts(), outcome), (1, Outcome::Created), "not `Exists`");

        proxy.arm();
        let users = (0..10).map(|n| user(format!("many-{n}"), n).if_absent()).collect();
        let report = store.upsert_batch(guru, users).await.unwrap();
        assert_eq!((proxy.cuts(), outcomes(&report)), (2, vec![Outcome::Created; 10]));

        proxy.arm();
        let users = (0..10).map(|n| user(format!("many-{n}"), n + 1)).collect();
        let report = store.upsert_batch(guru, users).await.unwrap();
        assert_eq!((proxy.cuts(), outcomes(&report)), (3, vec![Outcome::Updated; 10]), "not `Unchanged`");

        proxy.arm();
        assert!(
            Guru::new(&store, guru.clone()).delete("one").await.unwrap(),
            "there was one before the call"
        );
        assert_eq!(proxy.cuts(), 4);

        proxy.arm();
        let ids: Vec<_> = (0..3).map(|n| ExternalUserId::new(format!("many-{n}")).unwrap()).collect();
        assert_eq!(store.delete_many(guru, &ids).await.unwrap(), [true; 3]);
        assert_eq!(proxy.cuts(), 5);

        proxy.arm();
        assert_eq!(store.delete_guru(guru).await.unwrap(), 8);
        assert_eq!((proxy.cuts(), store.count(guru).await.unwrap()), (6, 0));
    });
}

/// The same of batches that are stored without a look at what was there: what was is told by what is there now.
#[test]
fn an_unknown_commit_of_one_statement_is_settled() {
    let server = Server::start("");
    let proxy = Proxy::to(server.directory());
    let options =
        StoreOptions::default().with_write_connections(1).with_busy_timeout(Duration::from_secs(20));
    let store = pollster::block_on(PostgresStore::open(&proxy.url("postgres"), options)).unwrap();
    let put = |ids: std::ops::Range<usize>, n| {
        let batch = ids.map(|id| user(format!("u{id:03}"), n)).collect();
        let report = pollster::block_on(store.upsert_batch(&guru(), batch)).unwrap();
        report.results().iter().map(|result| *result.result.as_ref().unwrap()).collect::<Vec<_>>()
    };
    put(0..2, 0);
    put(2..4, 1);

    proxy.arm();
    let told = put(0..6, 1);
    let expected = [[Outcome::Updated; 2], [Outcome::Unchanged; 2], [Outcome::Created; 2]].concat();
    assert_eq!((proxy.cuts(), told), (1, expected));

    put(100..200, 0);
    put(200..300, 0);
    proxy.arm();
    assert_eq!((put(300..400, 0), proxy.cuts()), (vec![Outcome::Created; 100], 2));

    put(100..200, 1);
    put(100..200, 2);
    proxy.arm_for(b"SELECT 1\0");
    assert_eq!((put(100..200, 3), proxy.cuts()), (vec![Outcome::Updated; 100], 3));

    assert_eq!(put(100..200, 3), [Outcome::Unchanged; 100], "it was stored once");
    assert!(pollster::block_on(store.verify()).unwrap().is_sound());
}

/// Where a server goes at a commit and stays away, nobody can tell whether that was made: the error does not
/// deny it, whatever the last try came to.
#[test]
fn an_unknown_commit_that_stays_so_is_not_denied() {
    let server = Server::start("");
    let options = StoreOptions::default().with_write_connections(1).with_busy_timeout(Duration::from_secs(2));
    let puts = (0..2).map(|n| user(format!("put-{n}"), 1)).collect::<Vec<_>>();
    let conditional = (0..2).map(|n| user(format!("new-{n}"), 1).if_absent()).collect::<Vec<_>>();
    let mut stored = 1;
    for users in [puts, conditional] {
        let proxy = Proxy::to(server.directory());
        let store = pollster::block_on(PostgresStore::open(&proxy.url("postgres"), options.clone())).unwrap();
        pollster::block_on(store.guru("my-guru").unwrap().upsert(user("first", 0))).unwrap();
        proxy.arm_and_leave();
        let error = pollster::block_on(store.upsert_batch(&guru(), users.into_iter().collect())).unwrap_err();
        assert_eq!((proxy.cuts(), error.kind()), (1, ErrorKind::Busy));
        assert!(error.may_be_stored() && error.to_string().contains("it may be stored"), "{error}");
        stored += 2;
        let count = "SELECT count(*) FROM profile_store.profile";
        assert_eq!(sql(&server.url("postgres"), count), [[stored.to_string()]]);
    }
}

/// A server that stays away is an error in time, for readers and writers.
#[test]
fn a_server_that_stays_away_is_busy() {
    let server = Server::start("");
    let store = open_with(&server.url("postgres"), Duration::from_millis(300)).unwrap();
    pollster::block_on(store.guru("my-guru").unwrap().upsert(user("ada", 1))).unwrap();
    server.crash();
    let begun = Instant::now();
    for error in [
        pollster::block_on(store.guru("my-guru").unwrap().upsert(user("ada", 2))).unwrap_err(),
        pollster::block_on(store.guru("my-guru").unwrap().get("ada")).unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
        assert!(error.is_retryable());
    }
    assert!(begun.elapsed() < Duration::from_secs(60), "neither call waits for ever");
    server.launch();
    let ada = pollster::block_on(store.guru("my-guru").unwrap().get("ada")).unwrap().unwrap();
    assert_eq!(ada.memory.as_str(), r#"{"n":1}"#);
}

//! The server gone, and back; and answers that never come.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use profile_store::{
    Clock, ErrorKind, ExternalUserId, Guru, HasGurus as _, Outcome, PostgresStore, ProfileStore as _, Result,
    StoreOptions, Timestamp,
};

use crate::proxy::Proxy;
use crate::server::{Server, sql, wait_until};
use crate::{guru, user};

/// For power loss: a killed server loses nothing that such a store has acknowledged.
fn open_with(url: &str, patience: Duration) -> Result<PostgresStore> {
    pollster::block_on(PostgresStore::open_with(url, StoreOptions::default().with_busy_timeout(patience)))
}

fn open(url: &str) -> PostgresStore {
    open_with(url, Duration::from_secs(20)).expect("the store opens")
}

/// By way of the proxy, with one connection that writes.
fn open_through(proxy: &Proxy) -> PostgresStore {
    let options =
        StoreOptions::default().with_write_connections(1).with_busy_timeout(Duration::from_secs(20));
    pollster::block_on(PostgresStore::open_with(&proxy.url("postgres"), options)).unwrap()
}

/// Killed under load and started again, three times: nothing acknowledged is lost, no batch is there in
/// part, and the store goes on by itself.
#[test]
fn a_killed_server_loses_nothing_acknowledged() {
    let server = Server::start("");
    let store = open(&server.url("postgres"));
    let acknowledged = Mutex::new(Vec::new());
    let (store, acknowledged) = (&store, &acknowledged);
    thread::scope(|scope| {
        // Gone as soon as this thread has seen enough, or has panicked.
        let going = Arc::new(());
        for writer in 0..8 {
            let going = Arc::downgrade(&going);
            scope.spawn(move || {
                let mut n = 0;
                while going.strong_count() > 0 {
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
        let goes_on = || {
            let so_far = acknowledged.lock().unwrap().len();
            wait_until("it goes on", || acknowledged.lock().unwrap().len() >= so_far + 50);
        };
        for _ in 0..3 {
            goes_on();
            server.crash();
            server.launch();
        }
        goes_on();
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

/// The answer to a commit is lost: each item reports what its first try did.
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

/// The same of a batch of which some was there, in any state.
#[test]
fn an_unknown_commit_of_a_mixed_batch_is_settled() {
    let server = Server::start("");
    let proxy = Proxy::to(server.directory());
    let store = open_through(&proxy);
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

    assert_eq!(put(0..6, 1), [Outcome::Unchanged; 6], "it was stored once");
    assert!(pollster::block_on(store.verify()).unwrap().is_sound());
}

/// A clock of whole seconds that has not moved makes no earlier commit a proof of this one (S2): the connection is
/// lost in the midst of a write whose first profile is already as it should be, and the rest is stored anyway.
#[test]
fn an_earlier_commit_proves_nothing() {
    let server = Server::start("");
    let url = server.url("postgres");
    let options = StoreOptions::default()
        .with_write_connections(1)
        .with_clock(Clock::from_fn(|| Timestamp::from_micros(1_000_000)));
    let store = pollster::block_on(PostgresStore::open_with(&url, options)).unwrap();
    let batch = |ids: &[&str]| ids.iter().map(|id| user(id, 1)).collect();
    let end =
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'profile-store'";
    assert!(pollster::block_on(store.upsert_batch(&guru(), batch(&["a"]))).unwrap().is_complete());
    sql(&url, end);
    let report = pollster::block_on(store.upsert_batch(&guru(), batch(&["a", "b", "c"]))).unwrap();
    assert_eq!((report.counts().created, report.counts().unchanged), (2, 1));
    assert_eq!(pollster::block_on(store.count(&guru())).unwrap(), 3);
    sql(&url, end);
    let ids = ["a", "b", "x"].map(|id| ExternalUserId::new(id).unwrap());
    assert_eq!(pollster::block_on(store.delete_many(&guru(), &ids)).unwrap(), [true, true, false]);
    assert_eq!(pollster::block_on(store.count(&guru())).unwrap(), 1);
}

/// The server ends the connection when it is told to commit, and nothing is stored: the next try is told by its
/// receipt that it has to store all of it, though others have stored or removed the same meanwhile.
#[test]
fn a_commit_that_was_not_made_is_made() {
    let server = Server::start("");
    let url = server.url("postgres");
    let clock = Clock::from_fn(|| Timestamp::from_micros(1_000_000));
    let options = StoreOptions::default().with_write_connections(1).with_clock(clock);
    let open = || pollster::block_on(PostgresStore::open_with(&url, options.clone())).unwrap();
    let (store, other) = (open(), open());
    // A deferred trigger runs within the commit; those of the profiles' table would run before it.
    let ending = "CREATE TABLE profile_store.doom (n int); INSERT INTO profile_store.doom VALUES (0);
         CREATE FUNCTION profile_store.doom() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF EXISTS (SELECT FROM profile_store.doom WHERE n > 0) AND pg_try_advisory_lock(1) THEN
             PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(1);
           END IF;
           RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER doom AFTER INSERT OR UPDATE ON profile_store.receipt
           DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION profile_store.doom()";
    sql(&url, ending);
    let doom = |n| sql(&url, &format!("UPDATE profile_store.doom SET n = {n}"));
    pollster::block_on(async {
        other.guru("my-guru").unwrap().upsert(user("a", 1)).await.unwrap();
        // So that it has a receipt, of an earlier transaction.
        store.guru("my-guru").unwrap().upsert(user("z", 1)).await.unwrap();
        doom(1);
        // The lock is the backend's, and goes with it: the second commit would be ended as well.
        let ended = std::thread::scope(|scope| {
            let undo = scope.spawn(|| {
                let gone = "SELECT FROM pg_stat_database WHERE datname = 'postgres' AND sessions_killed > 0";
                wait_until("the server has ended it", || !sql(&url, gone).is_empty());
                doom(0);
            });
            let batch = ["a", "b", "c"].map(|id| user(id, 1)).into_iter().collect();
            let report = pollster::block_on(store.upsert_batch(&guru(), batch)).unwrap();
            undo.join().unwrap();
            report
        });
        assert_eq!((ended.counts().created, ended.counts().unchanged), (2, 1));
        assert_eq!(store.count(&guru()).await.unwrap(), 4);
    });
}

/// A commit whose answer was lost was made, and before the store can ask, others have overwritten all of it: it is not
/// made a second time, on top of theirs (S9).
#[test]
fn what_others_have_overwritten_was_stored_before() {
    let server = Server::start("");
    let url = server.url("postgres");
    let proxy = Proxy::to(server.directory());
    let store = open_through(&proxy);
    let other = open(&url);
    pollster::block_on(store.guru("my-guru").unwrap().upsert(user("first", 0))).unwrap();
    proxy.arm_and_leave();
    thread::scope(|scope| {
        let told = scope.spawn(|| {
            let batch = ["a", "b"].map(|id| user(id, 1)).into_iter().collect();
            pollster::block_on(store.upsert_batch(&guru(), batch)).unwrap()
        });
        wait_until("the answer is lost", || proxy.cuts() > 0);
        pollster::block_on(async {
            other.guru("my-guru").unwrap().upsert(user("a", 2)).await.unwrap();
            assert!(other.guru("my-guru").unwrap().delete("b").await.unwrap());
        });
        proxy.comes_back();
        assert_eq!(told.join().unwrap().counts().created, 2);
    });
    let a = pollster::block_on(other.guru("my-guru").unwrap().get("a")).unwrap().unwrap();
    assert_eq!(a.memory.as_str(), r#"{"n":2}"#);
    assert_eq!(pollster::block_on(other.guru("my-guru").unwrap().get("b")).unwrap(), None);
}

/// S3: an error that ends the session, or the server, does not say that the commit was not made. After a failed sync of
/// its log a server starts again, and may find the commit there.
#[test]
fn a_commit_that_ends_in_a_failure_of_the_server_is_asked_for() {
    let server = Server::start("");
    let proxy = Proxy::to(server.directory());
    let store = open_through(&proxy);
    for (n, (severity, code)) in
        [("PANIC", "58030"), ("PANIC", "53100"), ("FATAL", "XX000")].into_iter().enumerate()
    {
        proxy.arm_with(severity, code);
        let created = user(format!("u{n}"), 1).if_absent();
        let outcome = pollster::block_on(store.guru("my-guru").unwrap().upsert(created)).unwrap();
        assert_eq!((outcome, proxy.cuts()), (Outcome::Created, n + 1), "{severity} {code}");
    }
}

/// If a server goes at a commit and stays away, nobody can tell whether that was made: the error does not
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
        let store =
            pollster::block_on(PostgresStore::open_with(&proxy.url("postgres"), options.clone())).unwrap();
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
    let store = open_with(&server.url("postgres"), Duration::from_secs(3)).unwrap();
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

/// A host that takes connections and says nothing, as one whose server hangs, keeps nobody from the next one.
#[test]
fn a_silent_host_leaves_time_for_the_next() {
    let server = Server::start("");
    let silent = tempfile::TempDir::new().unwrap();
    let listener = std::os::unix::net::UnixListener::bind(silent.path().join(".s.PGSQL.5432")).unwrap();
    let hosts = [silent.path(), server.directory()].map(|host| host.to_str().unwrap().replace('/', "%2F"));
    let store = open_with(&format!("postgres://admin@{}/postgres", hosts.join(",")), Duration::from_secs(6));
    let store = store.unwrap();
    assert_eq!(pollster::block_on(store.count(&guru())).unwrap(), 0);
    // It was tried first.
    listener.set_nonblocking(true).unwrap();
    assert!(listener.accept().is_ok());
}

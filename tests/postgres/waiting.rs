//! Nobody waits longer than its time-out, nor at all while there is a connection to use (P2), and a panic costs a
//! connection at most (P4).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake};
use std::thread;
use std::time::{Duration, Instant};

use profile_store::{
    Error, ErrorKind, Guru, HasGurus as _, PostgresStore, Probe, ProfileStore as _, StoreOptions,
};

use crate::server::{Database, Server, sql, while_profiles_are_locked};
use crate::{guru, open, user};

/// How much later than its time-out a call may be answered on a machine that is busy with other tests. One after another,
/// on two connections, the last of twenty writes would be 18 seconds late.
const SLACK: Duration = Duration::from_secs(10);

fn open_as(url: &str, options: StoreOptions) -> PostgresStore {
    pollster::block_on(PostgresStore::open_with(url, options)).expect("the store opens")
}

/// `call` by so many threads at once, a moment apart; how long each took, and its error.
fn calls(
    count: usize,
    apart: Duration,
    call: impl Fn(usize) -> Result<(), Error> + Sync,
) -> Vec<(Duration, Option<Error>)> {
    thread::scope(|scope| {
        let one = |n: usize| {
            let call = &call;
            thread::sleep(apart);
            scope.spawn(move || {
                let begun = Instant::now();
                let told = call(n).err();
                (begun.elapsed(), told)
            })
        };
        let threads: Vec<_> = (0..count).map(one).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

fn assert_all_busy_in_time(told: Vec<(Duration, Option<Error>)>, patience: Duration) {
    for (n, (took, error)) in told.into_iter().enumerate() {
        let error = error.expect("it can't succeed");
        assert_eq!((error.kind(), error.may_be_stored()), (ErrorKind::Busy, false), "{n}: {error:?}");
        assert!(took < patience + SLACK, "call {n} took {took:?}");
    }
}

/// With the server away, the 400th read is answered as soon as the first, and so are writes.
#[test]
fn reads_and_writes_of_a_server_that_is_away_are_told_in_time() {
    let server = Server::start("");
    let patience = Duration::from_secs(3);
    let store = open_as(&server.url("postgres"), crate::options().with_busy_timeout(patience));
    pollster::block_on(store.guru("my-guru").unwrap().upsert(user("ada", 1))).unwrap();
    server.crash();
    let read = |_| pollster::block_on(store.guru("my-guru").unwrap().get("ada")).map(drop);
    assert_all_busy_in_time(calls(400, Duration::ZERO, read), patience);
    let write = |n| pollster::block_on(store.guru("my-guru").unwrap().upsert(user(n, 1))).map(drop);
    assert_all_busy_in_time(calls(100, Duration::ZERO, write), patience);
}

/// Writes that queue up at somebody's lock are each answered within their own time, and nothing of them is
/// written once the lock is free.
#[test]
fn writes_behind_a_lock_are_told_in_time() {
    let database = Database::blank();
    let (patience, url) = (Duration::from_secs(2), database.url());
    let options = crate::options().with_busy_timeout(patience).with_write_connections(2);
    let store = open_as(&url, options);
    pollster::block_on(store.guru("my-guru").unwrap().upsert(user("held", 0))).unwrap();
    while_profiles_are_locked(&url, || {
        let write =
            |n| pollster::block_on(store.guru("my-guru").unwrap().upsert(user("held", n + 1))).map(drop);
        assert_all_busy_in_time(calls(20, Duration::from_millis(100), write), patience);
        let delete = |_| pollster::block_on(store.delete_guru(&guru())).map(drop);
        assert_all_busy_in_time(calls(20, Duration::from_millis(100), delete), patience);
    });
    let held = pollster::block_on(store.guru("my-guru").unwrap().get("held")).unwrap().unwrap();
    assert_eq!(held.memory.as_str(), r#"{"n":0}"#);
}

/// A role that may have fewer connections than the store would open is served by those.
#[test]
fn few_connections_serve_all() {
    for limit in [1, 3] {
        let database = Database::blank();
        drop(open(&database.url()));
        let role = database.name().replace("test", "few");
        sql(
            &database.url(),
            &format!(
                "CREATE ROLE {role} LOGIN CONNECTION LIMIT {limit}; GRANT USAGE ON SCHEMA profile_store TO {role}; \
                 GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA profile_store TO {role}"
            ),
        );
        let url = database.url().replace("admin@", &format!("{role}@"));
        // No call would be refused a connection sooner than in a minute.
        let store = open_as(&url, crate::options().with_busy_timeout(Duration::from_secs(60)));
        let told = calls(16, Duration::ZERO, |n| {
            pollster::block_on(async {
                for round in 0..10 {
                    store.guru("my-guru").unwrap().upsert(user(n, round)).await?;
                    store.guru("my-guru").unwrap().get(&n.to_string()).await?;
                    store.count(&guru()).await?;
                }
                Ok(())
            })
        });
        for (took, error) in told {
            assert!(error.is_none() && took < Duration::from_secs(50), "{took:?}, {error:?}");
        }
        pollster::block_on(store.health(Probe::Write)).unwrap();
        drop(store);
        sql(&database.url(), &format!("DROP OWNED BY {role}; DROP ROLE {role}"));
    }
}

/// If two stores share a role with one connection, the second is served as soon as the first lets go of it.
#[test]
fn a_connection_that_another_store_has_is_waited_for() {
    let database = Database::blank();
    drop(open(&database.url()));
    let role = database.name().replace("test", "one");
    sql(
        &database.url(),
        &format!(
            "CREATE ROLE {role} LOGIN CONNECTION LIMIT 1; GRANT USAGE ON SCHEMA profile_store TO {role}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA profile_store TO {role}"
        ),
    );
    let url = database.url().replace("admin@", &format!("{role}@"));
    let first = open_as(&url, crate::options());
    let options = crate::options().with_busy_timeout(Duration::from_millis(300));
    let error = pollster::block_on(PostgresStore::open_with(&url, options)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
    thread::scope(|scope| {
        let second = scope.spawn(|| open(&url));
        thread::sleep(Duration::from_millis(100));
        drop(first);
        assert_eq!(pollster::block_on(second.join().unwrap().count(&guru())).unwrap(), 0);
    });
    sql(&database.url(), &format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

struct Panicking;

impl Wake for Panicking {
    fn wake(self: Arc<Self>) {
        panic!("a waker of somebody else");
    }
}

/// Code of a caller that panics on the store's threads: all of them go on, and health reports so.
#[test]
fn a_panic_ends_no_thread() {
    let database = Database::blank();
    let options = crate::options().with_write_connections(2).with_read_threads(2);
    let store = open_as(&database.url(), options);
    let (waker, guru) = (Arc::new(Panicking).into(), guru());
    let poll = |call: Pin<&mut dyn Future<Output = ()>>| {
        let _ = call.poll(&mut Context::from_waker(&waker));
    };
    let mut calls: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
    for n in 0..8 {
        calls.push(Box::pin(async {
            let _ = Guru::new(&store, guru.clone()).get("ada").await;
        }));
        let (store, guru) = (&store, &guru);
        calls.push(Box::pin(async move {
            let _ = Guru::new(&store, guru.clone()).upsert(user(n, 1)).await;
        }));
    }
    calls.iter_mut().for_each(|call| poll(call.as_mut()));
    for n in 0..40 {
        pollster::block_on(async {
            Guru::new(&store, guru.clone()).upsert(user(n, 2)).await.unwrap();
            assert!(Guru::new(&store, guru.clone()).get(&n.to_string()).await.unwrap().is_some());
            store.health(Probe::Write).await.unwrap();
            store.health(Probe::Read).await.unwrap();
        });
    }
    drop(calls);
    pollster::block_on(store.close()).unwrap();
}

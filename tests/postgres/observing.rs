//! O1: retries and reconnects are told, with the server's code and no name.

use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use profile_store::{ErrorKind, Event, HasGurus as _, PostgresStore, ProfileStore as _};

use crate::proxy::Proxy;
use crate::server::{Database, Server, wait_until, while_profiles_are_locked};
use crate::user;

type Seen = Arc<Mutex<Vec<Event>>>;

/// With one connection to write by.
fn observed(url: &str, patience: Duration) -> (PostgresStore, Seen) {
    let seen = Seen::default();
    let own = Arc::clone(&seen);
    let options = crate::options()
        .with_write_connections(1)
        .with_busy_timeout(patience)
        .with_observer(move |event: &Event| own.lock().unwrap().push(event.clone()));
    (pollster::block_on(PostgresStore::open_with(url, options)).expect("the store opens"), seen)
}

fn upsert(store: &PostgresStore, id: &str, n: usize) -> Result<(), ErrorKind> {
    let guru = store.guru("secret-guru").unwrap();
    pollster::block_on(guru.upsert(user(id, n))).map(drop).map_err(|error| error.kind())
}

/// Each try that was repeated: its number, its kind and its code.
fn retries(seen: &Seen) -> Vec<(u32, ErrorKind, Option<String>)> {
    let seen = seen.lock().unwrap();
    let retry = |event: &Event| match event {
        Event::Retrying { attempt, error, code, .. } => Some((*attempt, *error, code.clone())),
        _ => None,
    };
    seen.iter().filter_map(retry).collect()
}

fn count(seen: &Seen, kind: impl Fn(&Event) -> bool) -> usize {
    seen.lock().unwrap().iter().filter(|event| kind(event)).count()
}

#[test]
fn a_life_is_told() {
    let database = Database::blank();
    let (store, seen) = observed(&database.url(), Duration::from_secs(20));
    upsert(&store, "secret-ada", 1).unwrap();
    pollster::block_on(store.guru("secret-guru").unwrap().get("secret-ada")).unwrap();
    let gauges = store.gauges();
    assert!(
        gauges.writes == 0 && gauges.reads == 0 && gauges.log_bytes == 0 && !gauges.refusing,
        "{gauges:?}"
    );
    pollster::block_on(store.close()).unwrap();
    assert!(store.gauges().refusing, "once closed");
    let seen = seen.lock().unwrap();
    let [opened, committed, closed] = &seen[..] else { panic!("{seen:?}") };
    assert!(matches!(opened, Event::Opened { took, .. } if !took.is_zero()));
    let bytes = "secret-ada".len() + r#"{"n":1}"#.len();
    let figures = |event: &Event| match event {
        Event::Committed { writes, failed, users, bytes, .. } => (*writes, *failed, *users, *bytes),
        other => panic!("{other:?}"),
    };
    assert_eq!(figures(committed), (1, 0, 1, bytes));
    assert!(matches!(closed, Event::Closed { error: None, .. }));
    assert!(!format!("{seen:?}").contains("secret"));
}

/// The connection is cut over the answer to a commit: one retry, without a code, and one reconnect.
#[test]
fn a_lost_answer_is_told_once() {
    let server = Server::start("");
    let proxy = Proxy::to(server.directory());
    let (store, seen) = observed(&proxy.url("postgres"), Duration::from_secs(20));
    upsert(&store, "ada", 1).unwrap();
    assert_eq!(retries(&seen), []);
    proxy.arm();
    upsert(&store, "ada", 2).unwrap();
    assert_eq!(proxy.cuts(), 1);
    assert_eq!(retries(&seen), [(1, ErrorKind::Busy, None)]);
    assert_eq!(count(&seen, |event| matches!(event, Event::Reconnected { took, .. } if !took.is_zero())), 1);
    assert_eq!(count(&seen, |event| matches!(event, Event::Committed { .. })), 2);
}

/// Every step of waiting behind a lock is a try, which the server ends with a code. They count on.
#[test]
fn tries_behind_a_lock_have_the_servers_code() {
    let database = Database::blank();
    let url = database.url();
    let (store, seen) = observed(&url, Duration::from_secs(2));
    upsert(&store, "held", 0).unwrap();
    while_profiles_are_locked(&url, || {
        assert_eq!(upsert(&store, "held", 1), Err(ErrorKind::Busy));
    });
    let retries = retries(&seen);
    assert!(retries.len() > 4, "{retries:?}");
    for (n, retry) in (1..).zip(&retries) {
        assert_eq!(*retry, (n, ErrorKind::Busy, Some("55P03".to_owned())), "{retries:?}");
    }
    let timed_out = |event: &Event| matches!(event, Event::TimedOut { waited, .. } if waited.as_secs() >= 2);
    assert_eq!(count(&seen, timed_out), 1);
    assert_eq!(
        count(&seen, |event| matches!(event, Event::Reconnected { .. })),
        0,
        "the connection was kept"
    );
}

/// Killed and started again.
#[test]
fn a_server_that_comes_back_is_a_reconnect() {
    let server = Server::start("");
    let (store, seen) = observed(&server.url("postgres"), Duration::from_secs(30));
    upsert(&store, "ada", 1).unwrap();
    server.crash();
    thread::scope(|scope| {
        let written = scope.spawn(|| upsert(&store, "ada", 2));
        wait_until("it has tried again", || retries(&seen).len() >= 3);
        server.launch();
        assert_eq!(written.join().unwrap(), Ok(()));
    });
    let attempts: Vec<_> = retries(&seen).into_iter().map(|(attempt, ..)| attempt).collect();
    assert_eq!(attempts, (1..=attempts.len() as u32).collect::<Vec<_>>());
    assert_eq!(count(&seen, |event| matches!(event, Event::Reconnected { .. })), 1);
    assert_eq!(count(&seen, |event| matches!(event, Event::TimedOut { .. })), 0);
}

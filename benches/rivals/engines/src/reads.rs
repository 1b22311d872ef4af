//! Reading from SQLite through the library, and from the same file by the bare engine.

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use profile_store::{Batch, ExternalUserId, Guru, ListOptions, ProfileStore};
use profile_store_meter::users::{id, users};
use rusqlite::{Connection, OpenFlags, params};

use crate::library::{guru, typed};
use crate::rounds::{repeat, rounds};

const USERS: u64 = 100_000;
const READERS: u64 = 8;
const WHILE: Duration = Duration::from_millis(700);

const SELECT: &str = "SELECT memory, created_at, updated_at, checksum FROM profile
    WHERE guru = 1 AND external_user_id = ?1";

type Row = (String, i64, i64, i64);

fn point_read(connection: &Connection, id: &str) -> Row {
    let mut select = connection.prepare_cached(SELECT).expect("prepared");
    let row = select.query_row([id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?)));
    row.expect("there")
}

fn scan(connection: &Connection, after: &str) -> Vec<(String, Row)> {
    let mut select = connection
        .prepare_cached(
            "SELECT external_user_id, memory, created_at, updated_at, checksum FROM profile
             WHERE guru = 1 AND external_user_id > ?1 ORDER BY external_user_id LIMIT 1000",
        )
        .expect("prepared");
    let rows = select.query_map(params![after], |row| {
        Ok((row.get(0)?, (row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?)))
    });
    rows.expect("a query").collect::<Result<_, _>>().expect("rows")
}

fn connect(path: &Path) -> Connection {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).expect("opened");
    connection.execute_batch("PRAGMA cache_size = -8192").expect("a cache");
    connection
}

/// Draws users at random, `seed` by `seed`.
fn draw(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    (*state >> 33) % USERS
}

pub fn reads(directory: &Path, turns: usize) {
    let path = directory.join("reads.db");
    let store =
        pollster::block_on(profile_store::open(&format!("sqlite:{}", path.display()))).expect("opened");
    let guru = guru();
    for first in (0..USERS).step_by(1000) {
        let batch = Batch::from_users(users(first, 1000, 0).into_iter().map(typed));
        assert!(pollster::block_on(store.upsert_batch(&guru, batch)).expect("stored").is_complete());
    }

    let runtime = tokio::runtime::Builder::new_multi_thread().build().expect("a runtime");
    let mut get = || {
        let (read, start) = (Arc::new(AtomicU64::new(0)), Instant::now());
        runtime.block_on(async {
            let tasks: Vec<_> = (0..READERS)
                .map(|mut state| {
                    let (store, guru, read) = (Arc::clone(&store), guru.clone(), Arc::clone(&read));
                    tokio::spawn(async move {
                        while start.elapsed() < WHILE {
                            let profile = Guru::new(&store, guru.clone()).get(&id(draw(&mut state))).await;
                            black_box(profile.expect("read").expect("there"));
                            read.fetch_add(1, Relaxed);
                        }
                    })
                })
                .collect();
            for task in tasks {
                task.await.expect("no panic");
            }
        });
        (read.load(Relaxed), start.elapsed())
    };
    let connections: Vec<_> = (0..READERS).map(|_| std::sync::Mutex::new(connect(&path))).collect();
    let bare_get = |readers: usize| {
        let (read, start) = (AtomicU64::new(0), Instant::now());
        thread::scope(|scope| {
            for (n, connection) in connections[..readers].iter().enumerate() {
                let read = &read;
                scope.spawn(move || {
                    let (connection, mut state) = (connection.lock().expect("no panic"), n as u64);
                    while start.elapsed() < WHILE {
                        black_box(point_read(&connection, &id(draw(&mut state))));
                        read.fetch_add(1, Relaxed);
                    }
                });
            }
        });
        (read.load(Relaxed), start.elapsed())
    };
    let mut bare_gets = || bare_get(READERS as usize);
    let mut bare_alone = || bare_get(1);
    let contestants = &mut [
        ("profile-store", &mut get as _),
        ("bare", &mut bare_gets as _),
        ("bare-one-thread", &mut bare_alone as _),
    ];
    rounds("get", "reads/s", turns, contestants);

    let connection = connections[0].lock().expect("no panic");
    let mut state = 1;
    let mut get_many = || {
        repeat(WHILE, || {
            let ids: Vec<_> =
                (0..100).map(|_| ExternalUserId::new(id(draw(&mut state))).expect("an id")).collect();
            black_box(pollster::block_on(store.get_many(&guru, &ids)).expect("read")).len() as u64
        })
    };
    let mut other_state = 1;
    let mut bare_get_many = || {
        repeat(WHILE, || {
            let ids: Vec<_> = (0..100).map(|_| id(draw(&mut other_state))).collect();
            connection.execute_batch("BEGIN").expect("begun");
            let profiles: Vec<_> = ids.iter().map(|id| point_read(&connection, id)).collect();
            connection.execute_batch("COMMIT").expect("ended");
            black_box(profiles).len() as u64
        })
    };
    let contestants = &mut [("profile-store", &mut get_many as _), ("bare", &mut bare_get_many as _)];
    rounds("get_many", "profiles/s", turns, contestants);

    let mut after = None;
    let mut list = || {
        repeat(WHILE, || {
            let options = ListOptions::default().with_after(after.take());
            let page = pollster::block_on(store.list(&guru, &options)).expect("a page");
            after = page.next;
            black_box(page.profiles).len() as u64
        })
    };
    let mut cursor = String::new();
    let mut bare_list = || {
        repeat(WHILE, || {
            let page = scan(&connection, &cursor);
            cursor = if page.len() < 1000 { String::new() } else { page[page.len() - 1].0.clone() };
            black_box(page).len() as u64
        })
    };
    let contestants = &mut [("profile-store", &mut list as _), ("bare", &mut bare_list as _)];
    rounds("list", "profiles/s", turns, contestants);
    drop(connection);
    drop(connections);
    pollster::block_on(store.close()).expect("closed");
}

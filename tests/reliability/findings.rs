//! Behaviour of the bare engines, each case as small as possible, that the stores guard against or
//! document. If one of these turns red, the engine has changed, and a guard may go.

use std::path::Path;

use libc::EIO;
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::child::{End, Job, Order};
use crate::recorder::{self, Act, Class, Event};
use crate::scratch::{Scratch, copy};
use crate::workload::Backend;

fn in_a_child(name: &'static str, backend: Backend) {
    let scratch = Scratch::new();
    let job = Job::new(name, backend, &scratch.path("files"));
    match job.patience(std::time::Duration::from_secs(120)).run() {
        End::Done(words) => println!("  {words:?}"),
        other => panic!("{other:?}"),
    }
}

pub fn opens_for_reading(backend: Backend) {
    in_a_child("finding-opens-for-reading", backend);
}

pub fn directory_sync(backend: Backend) {
    in_a_child("finding-directory-sync", backend);
}

pub fn read_error(backend: Backend) {
    in_a_child("finding-read-error", backend);
}

pub fn unsynced_recovery(backend: Backend) {
    in_a_child("finding-unsynced-recovery", backend);
}

pub fn bare_flush(backend: Backend) {
    in_a_child("finding-bare-flush", backend);
}

pub fn half_snapshot(backend: Backend) {
    in_a_child("finding-half-snapshot", backend);
}

pub fn missing_blob(backend: Backend) {
    in_a_child("finding-missing-blob", backend);
}

pub fn child(role: &str, order: &Order) -> bool {
    match role {
        "finding-opens-for-reading" => opens_for_reading_child(order),
        "finding-directory-sync" => directory_sync_child(order),
        "finding-read-error" => read_error_child(order),
        "finding-unsynced-recovery" => unsynced_recovery_child(order),
        "finding-bare-flush" => bare_flush_child(order),
        "finding-half-snapshot" => half_snapshot_child(order),
        "finding-missing-blob" => missing_blob_child(order),
        _ => return false,
    }
    true
}

const ONCE: Act = Act::Fail { errno: EIO, sticky: false };

/// A database with a log and a row.
fn database(order: &Order) -> Connection {
    let connection = Connection::open(order.directory.join("db")).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    connection.pragma_update(None, "synchronous", "full").unwrap();
    connection.execute_batch("CREATE TABLE t (x); INSERT INTO t VALUES (1)").unwrap();
    connection
}

/// Guarded: the writer's opening ends with the writer's lock.
fn opens_for_reading_child(order: &Order) {
    database(order).close().unwrap();
    recorder::arm(Class::All, 1, ONCE);
    let connection =
        Connection::open_with_flags(order.directory.join("db"), OpenFlags::SQLITE_OPEN_READ_WRITE).unwrap();
    assert_eq!(recorder::disarm().0, 1);
    // All is well, it says; and the device is.
    assert_eq!(connection.query_row("SELECT x FROM t", [], |row| row.get(0)), Ok(1));
    let error = connection.execute("INSERT INTO t VALUES (2)", []).unwrap_err();
    assert_eq!(error.sqlite_error_code(), Some(ErrorCode::ReadOnly));
    println!("said=nothing");
}

/// Guarded: opening syncs the directory itself.
fn directory_sync_child(order: &Order) {
    database(order).close().unwrap();
    recorder::record();
    let connection = Connection::open(order.directory.join("db")).unwrap();
    // The log is made, its name is synced with the first commit: that sync is the last of all.
    connection.execute("INSERT INTO t VALUES (2)", []).unwrap();
    let syncs = recorder::recorded()
        .into_iter()
        .filter(|event| matches!(event, Event::Synced { .. } | Event::SyncedDirectory { .. }));
    let (before, rest): (Vec<_>, Vec<_>) = syncs.partition(|event| matches!(event, Event::Synced { .. }));
    assert_eq!(rest.len(), 1, "the directory is synced once");
    connection.close().unwrap();
    let mut unheard = 0;
    for at in 1..=before.len() as u64 + 1 {
        recorder::record();
        recorder::arm(Class::Syncs, at, ONCE);
        let connection = Connection::open(order.directory.join("db")).unwrap();
        let told = connection.execute("INSERT INTO t VALUES (3)", []);
        recorder::disarm();
        let synced = recorder::recorded().iter().any(|event| matches!(event, Event::SyncedDirectory { .. }));
        unheard += u64::from(told.is_ok() && !synced);
    }
    assert_eq!(unheard, 1, "one failed sync, of the directory, that nobody is told of");
    println!("unheard={unheard}");
}

/// Named in the documentation of `SqliteStore`.
fn read_error_child(order: &Order) {
    database(order).close().unwrap();
    let read = || -> rusqlite::Result<i64> {
        let connection = Connection::open(order.directory.join("db"))?;
        connection.query_row("SELECT x FROM t", [], |row| row.get(0))
    };
    let mut corrupt = 0;
    for at in 1..30 {
        recorder::arm(Class::All, at, ONCE);
        let told = read();
        recorder::disarm();
        corrupt +=
            u64::from(told.is_err_and(|error| error.sqlite_error_code() == Some(ErrorCode::DatabaseCorrupt)));
        assert_eq!(read(), Ok(1), "it passes");
    }
    println!("called_damage={corrupt}");
    assert!(corrupt > 0);
}

/// Guarded: opening writes the log's bytes over themselves and syncs them.
fn unsynced_recovery_child(order: &Order) {
    let connection = database(order);
    recorder::arm(Class::Syncs, 1, ONCE);
    assert!(connection.execute("INSERT INTO t VALUES (2)", []).is_err(), "the sync fails");
    recorder::disarm();
    // As a kill would leave it.
    let left = order.directory.join("left");
    std::fs::create_dir(&left).unwrap();
    for name in ["db", "db-wal"] {
        std::fs::copy(order.directory.join(name), left.join(name)).unwrap();
    }
    let length = std::fs::metadata(left.join("db-wal")).unwrap().len();
    recorder::record();
    let again = Connection::open(left.join("db")).unwrap();
    let rows: i64 = again.query_row("SELECT count(*) FROM t", [], |row| row.get(0)).unwrap();
    // The kernel shows what it could not write, and may have dropped.
    assert_eq!(rows, 2, "the failed row is there");
    again.pragma_update(None, "synchronous", "full").unwrap();
    again.execute("INSERT INTO t VALUES (3)", []).unwrap();
    let events = recorder::recorded();
    let behind = |event: &Event| matches!(event, Event::Written { at, .. } if *at >= length);
    let before = |event: &Event| matches!(event, Event::Written { at, .. } if *at < length);
    assert!(events.iter().any(behind) && !events.iter().any(before), "built upon, not written again");
    println!("rows={rows}");
}

/// Guarded: the store syncs sled's file itself.
fn bare_flush_child(order: &Order) {
    let db = sled::Config::new().path(order.directory.join("db")).flush_every_ms(None).open().unwrap();
    recorder::record();
    db.insert("key", "value").unwrap();
    db.flush().unwrap();
    let events = recorder::recorded();
    let count = |what: fn(&Event) -> bool| events.iter().filter(|event| what(event)).count();
    let written = count(|event| matches!(event, Event::Written { .. }));
    let synced = count(|event| matches!(event, Event::Synced { .. }));
    println!("written={written} synced={synced}");
    assert!(written > 0 && synced == 0);
}

/// Guarded: the store removes it, under its lock.
fn half_snapshot_child(order: &Order) {
    let path = order.directory.join("db");
    drop(sled::open(&path).unwrap());
    std::fs::write(path.join("snap.0000000000000042.generating"), b"half").unwrap();
    // sled's threads hold its file a moment after its last handle is dropped.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let error = loop {
        match sled::open(&path).map(drop).unwrap_err() {
            sled::Error::Io(_) if std::time::Instant::now() < deadline => {
                std::thread::sleep(std::time::Duration::from_millis(10));
            }
            error => break error,
        }
    };
    assert!(matches!(error, sled::Error::Corruption { .. }), "{error:?}");
    println!("opens=never");
}

/// Not guarded: sled hands its log to the kernel before anybody can sync the blob files that the log
/// refers to. After a power cut in between, sled passes over a record whose blob file is missing, and
/// takes the ones after it. So an unacknowledged batch may be there in part.
fn missing_blob_child(order: &Order) {
    let path = order.directory.join("db");
    let open = |path: &Path| {
        sled::Config::new().path(path).segment_size(16 << 20).flush_every_ms(None).open().unwrap()
    };
    let db = open(&path);
    let mut batch = sled::Batch::default();
    batch.insert("large", vec![b'x'; 5 << 20]);
    batch.insert("small", "x");
    db.apply_batch(batch).unwrap();
    db.flush().unwrap();
    // As a kill would leave it, without the blob file.
    let left = order.directory.join("left");
    copy(&path, &left);
    for blob in std::fs::read_dir(left.join("blobs")).unwrap() {
        std::fs::remove_file(blob.unwrap().path()).unwrap();
    }
    let db = open(&left);
    let (large, small) = (db.get("large").unwrap(), db.get("small").unwrap());
    println!("large={} small={}", large.is_some(), small.is_some());
    assert!(large.is_none() && small.is_some(), "half of the batch");
}

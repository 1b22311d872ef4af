//! A SQLite file on a volume that can't be written: what can be read without writing beside it is, all else is
//! refused with the reason (S13).

use std::fs;
use std::path::Path;

use profile_store::{
    ErrorKind, ExternalUserId, GuruSlug, Memory, Probe, ProfileStore, Result, SqliteStore, StoreOptions, User,
};

use crate::child::Order;
use crate::surroundings::{mount, mounted, remount_read_only};
use crate::workload::Backend;

/// A role of this file, if it is one.
pub fn child(role: &str, order: &Order) -> bool {
    let is_mine = role == "read-only-volume";
    if is_mine {
        read_only_child(order);
    }
    is_mine
}

pub fn read_only(backend: Backend) {
    mounted("read-only-volume", backend);
}

fn open(path: &Path, read_only: bool) -> Result<SqliteStore> {
    pollster::block_on(SqliteStore::open_with(path, StoreOptions::default().with_read_only(read_only)))
}

fn guru() -> GuruSlug {
    GuruSlug::new("g").unwrap()
}

fn put(store: &SqliteStore, id: &str) -> Result<()> {
    let user = User::new(id, Memory::from_json("{}").unwrap());
    pollster::block_on(store.upsert_batch(&guru(), user.into())).map(drop)
}

fn holds(store: &SqliteStore, id: &str) -> bool {
    let ids = [ExternalUserId::new(id).unwrap()];
    pollster::block_on(store.get_many(&guru(), &ids)).unwrap()[0].is_some()
}

fn read_only_child(order: &Order) {
    if !mount(&order.directory, 16) {
        return println!("unprivileged=yes");
    }
    let at = |name: &str| order.directory.join(name);
    // Characters that a file name may have and that SQLite interprets.
    let (closed, backup, killed) = (at("closed 100%41?mode=rwc#é.db"), at("backup.db"), at("killed.db"));
    let store = open(&closed, false).unwrap();
    put(&store, "a").unwrap();
    pollster::block_on(store.backup(&backup)).unwrap();
    put(&store, "in the log").unwrap();
    // As a kill leaves it, and with what a copy forgets.
    fs::copy(&closed, &killed).unwrap();
    fs::copy(format!("{}-wal", closed.display()), at("killed.db-wal")).unwrap();
    pollster::block_on(store.close()).unwrap();
    fs::write(at("empty.db"), b"").unwrap();
    remount_read_only(&order.directory);

    for (path, id) in [(&closed, "in the log"), (&backup, "a")] {
        let store = open(path, true).unwrap();
        assert!(holds(&store, id) && !holds(&store, "b"));
        assert_eq!(put(&store, "b").unwrap_err().kind(), ErrorKind::ReadOnly);
        assert_eq!(pollster::block_on(store.health(Probe::Write)).unwrap_err().kind(), ErrorKind::ReadOnly);
        assert!(pollster::block_on(store.verify()).unwrap().is_sound());
        let error = pollster::block_on(store.backup(at("again.db"))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        pollster::block_on(store.close()).unwrap();
    }
    // Its last write is in the log, and that can't be read here.
    let error = open(&killed, true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(
        error.to_string().contains("killed.db-wal") && error.to_string().contains("open it once"),
        "{error}"
    );
    assert_eq!(open(&at("empty.db"), true).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(open(&at("none.db"), true).unwrap_err().kind(), ErrorKind::NotFound);
    for path in [&closed, &backup, &killed] {
        let error = open(path, false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        assert!(error.to_string().contains("can't be opened for writing"), "{error}");
    }
    println!("read=2 refused=3");
}

//! Volumes that are mounted for one child: full ones, and ones that can't be written. On the latter, a SQLite file that can be
//! read without writing beside it is, all else is refused with the reason (S13).

use std::ffi::CString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use profile_store::{
    ErrorKind, ExternalUserId, Guru, GuruSlug, Memory, Probe, ProfileStore, Result, SqliteStore,
    StoreOptions, User,
};

use crate::child::{Job, Order};
use crate::scratch::Scratch;
use crate::workload::{Backend, Store, perform};

/// A role of this file, if it is one.
pub fn child(role: &str, order: &Order) -> bool {
    match role {
        "full-disk" => full_disk_child(order),
        "unwritable" => unwritable_child(order),
        "read-only-volume" => reading_child(order),
        _ => return false,
    }
    true
}

/// Runs a child that needs a file system of its own, and says loudly where it can't.
pub fn mounted(role: &'static str, backend: Backend) {
    let scratch = Scratch::new();
    let job = Job::new(role, backend, &scratch.path("files"));
    let words = job.patience(Duration::from_secs(120)).done();
    if words.contains_key("unprivileged") {
        crate::did_not_run(role, "mounting a file system takes root");
    } else {
        println!("  {words:?}");
    }
}

/// Makes later mounts visible only to this process and its children.
pub fn own_mounts() -> std::io::Result<()> {
    let private = libc::MS_REC | libc::MS_PRIVATE;
    let done = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(c"none".as_ptr(), c"/".as_ptr(), std::ptr::null(), private, std::ptr::null()) == 0
    };
    if done { Ok(()) } else { Err(std::io::Error::last_os_error()) }
}

/// Mounts memory of that size on the directory, for this process alone.
pub fn mount(directory: &Path, mebibytes: u64) -> bool {
    let text = |text: &str| CString::new(text).unwrap();
    let (target, options) = (text(directory.to_str().unwrap()), text(&format!("size={mebibytes}m")));
    own_mounts().is_ok()
        && unsafe {
            libc::mount(c"none".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, options.as_ptr().cast()) == 0
        }
}

pub fn remount_read_only(directory: &Path) {
    let target = CString::new(directory.to_str().unwrap()).unwrap();
    let flags = libc::MS_REMOUNT | libc::MS_RDONLY;
    // sled's threads hold its file a moment after its last handle is dropped.
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let done = unsafe {
            libc::mount(std::ptr::null(), target.as_ptr(), std::ptr::null(), flags, std::ptr::null())
        };
        if done == 0 {
            return;
        }
        let error = std::io::Error::last_os_error();
        assert!(error.raw_os_error() == Some(libc::EBUSY) && Instant::now() < deadline, "{error}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

pub fn full_disk(backend: Backend) {
    mounted("full-disk", backend);
}

/// A store on a read-only file system is refused.
pub fn unwritable(backend: Backend) {
    mounted("unwritable", backend);
}

pub fn read_only(backend: Backend) {
    mounted("read-only-volume", backend);
}

/// sled takes its space by 16 MiB, fjall is full once its journal is.
fn mebibytes(backend: Backend) -> u64 {
    if backend == Backend::Sled { 68 } else { 4 }
}

fn full_disk_child(order: &Order) {
    let size = mebibytes(order.backend);
    if !mount(&order.directory, size) {
        return println!("unprivileged=yes");
    }
    let ballast = order.directory.join("ballast");
    fs::write(&ballast, vec![1; (size << 20) as usize / 4]).unwrap();
    let store = order.open().unwrap();
    let slug = GuruSlug::new("big").unwrap();
    let write = |store: &Store, n: u64| {
        let memory = Memory::from_json(&format!(r#"{{"x":"{}"}}"#, "x".repeat(100_000))).unwrap();
        pollster::block_on(Guru::new(&store, slug.clone()).upsert(User::new(format!("{n:04}"), memory)))
    };
    let mut stored = 0;
    let error = loop {
        match write(&store, stored) {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
        assert!(stored < 10_000, "the disk never gets full");
    };
    assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
    if let Ok(count) = pollster::block_on(store.count(&slug)) {
        assert_eq!(count, stored, "S3: what failed is not visible");
    }
    fs::remove_file(ballast).unwrap();
    let by_itself = write(&store, stored).is_ok();
    let store = if by_itself {
        store
    } else {
        let _ = pollster::block_on(store.close());
        drop(store);
        let store = order.open().expect("it opens once there is room");
        write(&store, stored).expect("it takes writes once there is room");
        store
    };
    assert_eq!(pollster::block_on(store.count(&slug)).unwrap(), stored + 1);
    println!("stored_until_full={stored} healed_by_itself={by_itself}");
}

fn unwritable_child(order: &Order) {
    if !mount(&order.directory, mebibytes(order.backend) * 2) {
        return println!("unprivileged=yes");
    }
    let store = order.open().unwrap();
    perform(&store, 0, 0).unwrap();
    pollster::block_on(store.close()).unwrap();
    drop(store);
    remount_read_only(&order.directory);
    let error = order.open().expect_err("a store on a read-only file system can't be written");
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    println!("refused={:?}", error.kind());
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

fn reading_child(order: &Order) {
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

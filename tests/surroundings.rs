//! A SQLite store's surroundings: files, links, moves and leavings (S13).

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, SystemTime};

use profile_store::{
    Batch, Error, ErrorKind, ExternalUserId, FjallStore, GuruSlug, HasGurus as _, Limits, Probe,
    ProfileStore, Result, SledStore, SqliteStore, StoreOptions, User,
};
use rusqlite::Connection;
use tempfile::TempDir;

fn guru() -> GuruSlug {
    GuruSlug::new("g").unwrap()
}

fn id(text: &str) -> ExternalUserId {
    ExternalUserId::new(text).unwrap()
}

fn open_with(path: &Path, options: StoreOptions) -> Result<SqliteStore> {
    pollster::block_on(SqliteStore::open_with(path, options))
}

fn open(path: &Path) -> Result<SqliteStore> {
    open_with(path, StoreOptions::default())
}

fn read_only() -> StoreOptions {
    StoreOptions::default().with_read_only(true)
}

fn put(store: &SqliteStore, id: &str) -> Result<()> {
    let user = User::serialize(id, &serde_json::json!({}));
    pollster::block_on(store.upsert_batch(&guru(), Batch::from(user))).map(drop)
}

fn count(store: &SqliteStore) -> u64 {
    pollster::block_on(store.count(&guru())).unwrap()
}

fn beside(path: &Path, ending: &str) -> PathBuf {
    format!("{}{ending}", path.display()).into()
}

/// Names, bytes and times of all files.
fn state(directory: &Path) -> Vec<(PathBuf, Vec<u8>, SystemTime)> {
    let mut all: Vec<_> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), fs::read(&path).unwrap(), path.metadata().unwrap().modified().unwrap()))
        .collect();
    all.sort();
    all
}

/// Runs the tool with these arguments on a closed store of that scheme, `at/p`, with these modes in `at`: as nobody, since
/// root may write everything.
#[cfg(unix)]
fn run_as_nobody(scheme: &str, modes: &[(&str, u32)], arguments: &[&str]) -> (bool, String) {
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
    use std::os::unix::process::CommandExt as _;
    const NOBODY: u32 = 65534;
    fn give(path: &Path) {
        chown(path, Some(NOBODY), Some(NOBODY)).unwrap();
        if path.is_dir() {
            fs::read_dir(path).unwrap().for_each(|entry| give(&entry.unwrap().path()));
        }
    }
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let directory = TempDir::new().unwrap();
    let (tool, at) = (directory.path().join("tool"), directory.path().join("at"));
    fs::copy(env!("CARGO_BIN_EXE_profiles"), &tool).unwrap();
    fs::create_dir(&at).unwrap();
    let url = format!("{scheme}:{}", at.join("p").display());
    let store = pollster::block_on(profile_store::open(&url)).unwrap();
    let user = User::serialize("a", &serde_json::json!({}));
    assert!(pollster::block_on(store.upsert_batch(&guru(), Batch::from(user))).unwrap().is_complete());
    pollster::block_on(store.close()).unwrap();
    drop(store);
    let line = directory.path().join("line");
    fs::write(&line, r#"{"users":[{"external_user_id":"b","memory":{}}]}"#).unwrap();
    let mut command = Command::new(&tool);
    command.args(["--store", &url]).args(arguments);
    if directory.path().metadata().unwrap().uid() == 0 {
        give(&at);
        command.uid(NOBODY).gid(NOBODY);
    }
    for path in [directory.path(), &tool] {
        mode(path, 0o755);
    }
    for (name, bits) in modes {
        mode(&at.join(name), *bits);
    }
    let output = command.current_dir(directory.path()).output().unwrap();
    // It can be removed.
    modes.iter().for_each(|(name, _)| mode(&at.join(name), 0o755));
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

/// A file of mode 444, another user's file, and a directory that can't be written: also who only reads is told so.
#[cfg(unix)]
#[test]
fn what_can_not_be_written_is_refused_when_opening() {
    const READ: &[&str] = &["count", "--guru", "g"];
    const WRITE: &[&str] = &["upsert", "--guru", "g", "line"];
    let owner = "check who owns the path";
    for (scheme, modes, why) in [
        ("sqlite", [("p", 0o444)].as_slice(), "can't be opened for writing"),
        ("sqlite", &[("p", 0o000)], "can't be opened: see to its permissions"),
        ("sqlite", &[("", 0o555)], "beside"),
        ("fjall", &[("p", 0o555)], owner),
        ("fjall", &[("p/data", 0o555)], owner),
        ("fjall", &[("p/data/keyspaces", 0o555)], owner),
        ("fjall", &[("p/data/keyspaces/1", 0o555)], owner),
        ("fjall", &[("p/data/keyspaces/1/tables", 0o555)], owner),
        ("sled", &[("p", 0o555)], owner),
        ("sled", &[("p/data/conf", 0o000)], owner),
        ("sled", &[("p/data", 0o555)], owner),
        ("sled", &[("p/data/blobs", 0o555)], owner),
    ] {
        let (succeeded, errors) = run_as_nobody(scheme, modes, READ);
        assert!(!succeeded && errors.contains(why), "{scheme} {modes:?}: {errors}");
    }
    // Else this would prove nothing.
    for (scheme, file) in [("sqlite", "p"), ("fjall", "p/profile-store"), ("sled", "p/profile-store")] {
        let (succeeded, errors) = run_as_nobody(scheme, &[(file, 0o644)], WRITE);
        assert!(succeeded, "{scheme}: {errors}");
    }
}

/// A path means the file that it leads to: what lies beside that counts, and what a kill has left there is
/// written again before it is built on.
#[cfg(unix)]
#[test]
fn links_are_followed_to_the_end() {
    use std::os::unix::fs::symlink;
    for to_nothing in [false, true] {
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("real/deep")).unwrap();
        fs::create_dir(at("links")).unwrap();
        // Relative ones, by a directory that is a link as well.
        symlink("../real/deep", at("links/there")).unwrap();
        symlink("there/../deep/p.db", at("links/one")).unwrap();
        symlink("one", at("links/two.db")).unwrap();
        let (real, link) = (at("real/deep/p.db"), at("links/two.db"));
        if !to_nothing {
            let store = open(&real).unwrap();
            put(&store, "a").unwrap();
            let killed = at("killed");
            fs::create_dir(&killed).unwrap();
            for ending in ["", "-wal"] {
                fs::copy(beside(&real, ending), killed.join(format!("p.db{ending}"))).unwrap();
            }
            drop(store);
            for ending in ["", "-wal"] {
                fs::copy(killed.join(format!("p.db{ending}")), beside(&real, ending)).unwrap();
            }
            let old = SystemTime::now() - Duration::from_secs(1000);
            File::options().write(true).open(beside(&real, "-wal")).unwrap().set_modified(old).unwrap();
        }
        let before = SystemTime::now() - Duration::from_secs(100);
        let store = open(&link).unwrap();
        let log = beside(&real, "-wal").metadata().unwrap();
        assert!(log.modified().unwrap() > before, "the log left behind was not written again");
        put(&store, "b").unwrap();
        assert_eq!(count(&store), if to_nothing { 1 } else { 2 });
        let sizes = ["", "-wal"].map(|ending| beside(&real, ending).metadata().unwrap().len());
        assert!(sizes[1] > 0);
        assert_eq!(pollster::block_on(store.stats()).unwrap().disk_bytes, sizes[0] + sizes[1]);
        drop(store);
        assert_eq!(fs::read_dir(at("links")).unwrap().count(), 3, "nothing lies beside the link");
    }
    let directory = TempDir::new().unwrap();
    symlink("b", directory.path().join("a")).unwrap();
    symlink("a", directory.path().join("b")).unwrap();
    let long = "x".repeat(300);
    for name in ["a", "no/such/directory.db", "a\0b", &long] {
        let error = open(&directory.path().join(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{name:?}: {error}");
    }
}

/// What can never be a path is no reason to try again.
#[test]
fn an_impossible_path_is_invalid() {
    let directory = TempDir::new().unwrap();
    let names = ["a\0b".to_owned(), "x".repeat(300)];
    let paths = names.map(|name| directory.path().join(name)).into_iter().chain([PathBuf::new()]);
    for path in paths {
        for error in [
            pollster::block_on(SqliteStore::open(&path)).unwrap_err(),
            pollster::block_on(FjallStore::open(&path)).unwrap_err(),
            pollster::block_on(SledStore::open(&path)).unwrap_err(),
        ] {
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{path:?}: {error}");
            assert!(!error.is_retryable());
        }
    }
    let store = pollster::block_on(SqliteStore::open(directory.path().join("store.db"))).unwrap();
    let error = pollster::block_on(store.backup(directory.path().join("x".repeat(250)))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
}

/// A file that has lost its name takes every later write with it: they are refused, and `health` says so. The
/// same goes for the log and its shared memory, and for the directory.
#[cfg(unix)]
#[test]
fn a_file_that_is_removed_or_replaced_is_noticed() {
    let refused = |error: &Error| {
        assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
        assert!(!error.may_be_stored());
    };
    for (ending, replaced) in
        [("", false), ("", true), ("-wal", false), ("-wal", true), ("-shm", false), ("directory", false)]
    {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("data")).unwrap();
        let path = directory.path().join("data/p.db");
        let store = open(&path).unwrap();
        put(&store, "a").unwrap();
        pollster::block_on(store.health(Probe::Write)).unwrap();
        let target =
            if ending == "directory" { directory.path().join("data") } else { beside(&path, ending) };
        let away = directory.path().join("away");
        fs::rename(&target, &away).unwrap();
        if replaced {
            fs::copy(&away, &target).unwrap();
        }
        let error = put(&store, "b").unwrap_err();
        refused(&error);
        let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        let what = if replaced { "replaced" } else { "removed" };
        assert!(format!("{error} {cause}").contains(what), "{ending}: {error} {cause}");
        refused(&pollster::block_on(store.health(Probe::Write)).unwrap_err());
        refused(&pollster::block_on(store.compact()).unwrap_err());
        // It stays so: what came meanwhile was refused.
        let _ = fs::remove_file(&target);
        fs::rename(&away, &target).unwrap();
        refused(&put(&store, "c").unwrap_err());
        drop(store);
        let store = open(&path).unwrap();
        assert_eq!(count(&store), 1, "{ending} {replaced}");
        put(&store, "b").unwrap();
    }
}

/// The engines of directories go on writing to files without names, or by path into files that another process may hold.
#[cfg(unix)]
#[test]
fn a_directory_that_is_removed_or_replaced_is_noticed() {
    for scheme in ["fjall", "sled"] {
        for replaced in [false, true] {
            let directory = TempDir::new().unwrap();
            let (path, away) = (directory.path().join("store"), directory.path().join("away"));
            let open = || pollster::block_on(profile_store::open(&format!("{scheme}:{}", path.display())));
            let put = |store: &dyn ProfileStore, id: &str| {
                let batch = Batch::from_users([User::serialize(id, &serde_json::json!({}))]);
                pollster::block_on(store.upsert_batch(&guru(), batch))
                    .map(|report| assert!(report.is_complete()))
            };
            let store = open().unwrap();
            put(&*store, "a").unwrap();
            fs::rename(&path, &away).unwrap();
            if replaced {
                crate::observing::copy_tree(&away, &path);
            }
            for told in [
                put(&*store, "b"),
                pollster::block_on(store.health(Probe::Write)),
                pollster::block_on(store.close()),
            ] {
                let error = told.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Closed, "{scheme}: {error}");
                assert!(!error.may_be_stored());
            }
            drop(store);
            let _ = fs::remove_dir_all(&path);
            fs::rename(&away, &path).unwrap();
            let store = open().unwrap();
            assert_eq!(pollster::block_on(store.count(&guru())).unwrap(), 1, "{scheme} {replaced}");
            put(&*store, "b").unwrap();
        }
    }
}

/// sled would wait for ever if it can't write a blob file, and every sled of the process with it. Nobody does, and opening
/// again says what is left to be done (P4, S10).
#[test]
fn a_sled_that_could_not_write_a_blob_file_holds_nobody_up() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("store");
    let options = StoreOptions::default()
        .with_limits(Limits::default().with_memory_bytes(8 << 20))
        .with_busy_timeout(Duration::from_millis(100));
    let store = pollster::block_on(SledStore::open_with(&path, options.clone())).unwrap();
    let blobs = path.join("data/blobs");
    fs::remove_dir(&blobs).unwrap();
    fs::write(&blobs, "no directory").unwrap();
    let large = User::serialize("large", &serde_json::json!({"text": "x".repeat(5 << 20)}));
    let error = pollster::block_on(store.guru("g").unwrap().upsert(large)).unwrap_err();
    assert_eq!((error.kind(), error.may_be_stored()), (ErrorKind::Storage, true), "{error}");
    let (end, ended) = mpsc::channel();
    thread::spawn(move || {
        let closed = pollster::block_on(store.close());
        drop(store);
        let other = pollster::block_on(SledStore::open(directory.path().join("other"))).unwrap();
        let small = User::serialize("small", &serde_json::json!({}));
        pollster::block_on(other.guru("g").unwrap().upsert(small)).unwrap();
        end.send((directory, closed)).unwrap();
    });
    let (_directory, closed) = ended.recv_timeout(Duration::from_secs(60)).expect("it waits for ever");
    assert_eq!(closed.unwrap_err().kind(), ErrorKind::Closed);
    fs::remove_file(&blobs).unwrap();
    fs::create_dir(&blobs).unwrap();
    let error = pollster::block_on(SledStore::open_with(&path, options)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    assert!(error.to_string().contains("restart the process that had it open"), "{error}");
}

/// Nothing is left to close well: what was acknowledged is gone with the file.
#[cfg(unix)]
#[test]
fn closing_tells_that_the_file_is_gone() {
    let directory = TempDir::new().unwrap();
    let store = open(&directory.path().join("p.db")).unwrap();
    put(&store, "a").unwrap();
    fs::remove_file(directory.path().join("p.db")).unwrap();
    assert_eq!(pollster::block_on(store.close()).unwrap_err().kind(), ErrorKind::Closed);
}

/// A volume of ext4 is never empty.
#[test]
fn a_store_of_a_directory_may_be_the_root_of_a_volume() {
    for scheme in ["fjall", "sled"] {
        let directory = TempDir::new().unwrap();
        fs::create_dir(directory.path().join("lost+found")).unwrap();
        let url = format!("{scheme}:{}", directory.path().display());
        for _ in 0..2 {
            let store = pollster::block_on(profile_store::open(&url)).unwrap();
            pollster::block_on(store.close()).unwrap();
        }
        assert!(directory.path().join("lost+found").exists());
    }
}

/// A transaction that was cut short has overwritten pages, whose contents are in the journal: who may not roll it back
/// must not read (S1).
#[test]
fn a_hot_journal_is_not_passed_over() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("p.db");
    let store = open(&path).unwrap();
    put(&store, "a").unwrap();
    let backup = directory.path().join("b.db");
    pollster::block_on(store.backup(&backup)).unwrap();
    let whole = fs::read(&backup).unwrap();
    let cut = Connection::open(&backup).unwrap();
    cut.execute_batch("PRAGMA cache_size = 1; PRAGMA cache_spill = 1; BEGIN; CREATE TABLE x (a)").unwrap();
    for _ in 0..50 {
        cut.execute("INSERT INTO x VALUES (randomblob(9000))", []).unwrap();
    }
    // As a kill in its midst leaves the files.
    let copy = directory.path().join("c.db");
    fs::copy(&backup, &copy).unwrap();
    fs::copy(beside(&backup, "-journal"), beside(&copy, "-journal")).unwrap();
    assert_ne!(fs::read(&copy).unwrap(), whole);
    let error = open_with(&copy, read_only()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error}");
    assert!(error.to_string().contains("-journal"), "{error}");
    assert_eq!(count(&open(&copy).unwrap()), 1);
}

/// Ids are ordered by the bytes of their UTF-8 (L1).
#[test]
fn a_database_of_another_encoding_is_refused() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("p.db");
    for (sql, encoding) in [
        ("", "UTF-16le"),
        ("PRAGMA application_id = 0x5053544F; PRAGMA user_version = 2; CREATE TABLE t (a)", "UTF-16be"),
    ] {
        let other = Connection::open(&path).unwrap();
        other
            .execute_batch(&format!(
                "PRAGMA encoding = '{encoding}'; CREATE TABLE x (a); DROP TABLE x; {sql}"
            ))
            .unwrap();
        other.close().unwrap();
        let before = fs::read(&path).unwrap();
        for options in [StoreOptions::default(), read_only()] {
            let error = open_with(&path, options).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
            assert!(error.to_string().contains("UTF-8"), "{error}");
        }
        assert_eq!(fs::read(&path).unwrap(), before);
        fs::remove_file(&path).unwrap();
    }
}

/// The leavings of a killed backup go with the next one; what somebody works on, and what only
/// looks like it, stays.
#[test]
fn partial_backups_of_killed_processes_are_removed() {
    let directory = TempDir::new().unwrap();
    let at = |name: &str| directory.path().join(name);
    let store = open(&at("p.db")).unwrap();
    put(&store, "a").unwrap();
    let write = |name: &str| fs::write(at(name), "partial").unwrap();
    let abandoned = ["b.db.0123456789abcdef.partial", "b.db.ffffffffffffffff.partial"];
    abandoned.iter().for_each(|name| write(name));
    // SQLite's own, beside the copy.
    let journal = format!("{}-journal", abandoned[0]);
    write(&journal);
    let kept = [
        "b.db.0123456789abcdee.partial",
        "b.db.0123456789ABCDEF.partial",
        "b.db.123.partial",
        "b.db.1-0.partial",
        "b.db.partial",
        "ab.db.0123456789abcdef.partial",
        "b.dbx.0123456789abcdef.partial",
    ];
    kept.iter().for_each(|name| write(name));
    // A copy of a store is ours whatever it was to be called.
    pollster::block_on(store.backup(at("of-yesterday.0123456789abcdef.partial"))).unwrap();
    fs::write(
        at("of-yesterday.db.0123456789abcdee.partial"),
        &fs::read(at("of-yesterday.0123456789abcdef.partial")).unwrap()[..4096],
    )
    .unwrap();
    let in_use = File::open(at(kept[0])).unwrap();
    in_use.lock().unwrap();
    fs::create_dir(at("b.db.aaaaaaaaaaaaaaaa.partial")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink("p.db", at("b.db.bbbbbbbbbbbbbbbb.partial")).unwrap();

    pollster::block_on(store.backup(at("b.db"))).unwrap();
    assert!(abandoned.iter().all(|name| !at(name).exists()), "what is abandoned goes");
    assert!(!at(&journal).exists());
    assert!(!state_names(directory.path()).iter().any(|name| name.starts_with("of-yesterday")));
    assert!(kept.iter().all(|name| fs::read(at(name)).unwrap() == b"partial"), "what is not ours stays");
    assert!(at("b.db.aaaaaaaaaaaaaaaa.partial").is_dir());
    #[cfg(unix)]
    assert!(at("b.db.bbbbbbbbbbbbbbbb.partial").is_symlink());
    assert_eq!(count(&store), 1);

    // Killed between the two names of a whole backup: the second name goes, and the backup is in use meanwhile.
    let backup = open(&at("b.db")).unwrap();
    put(&backup, "b").unwrap();
    fs::hard_link(at("b.db"), at("b.db.cccccccccccccccc.partial")).unwrap();
    assert_eq!(pollster::block_on(store.backup(at("b.db"))).unwrap_err().kind(), ErrorKind::AlreadyExists);
    fs::rename(at("b.db.cccccccccccccccc.partial"), at("c.db.cccccccccccccccc.partial")).unwrap();
    pollster::block_on(store.backup(at("c.db"))).unwrap();
    assert!(!at("c.db.cccccccccccccccc.partial").exists());
    put(&backup, "c").unwrap();
    assert_eq!((count(&backup), count(&open(&at("c.db")).unwrap())), (3, 1));
    // SQLite's locks on it still hold.
    let other = Connection::open(at("b.db")).unwrap();
    assert!(other.execute_batch("PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = DELETE").is_err());
    let left = state_names(directory.path()).into_iter().filter(|name| name.ends_with(".partial")).count();
    assert_eq!(left, kept.len() + if cfg!(unix) { 2 } else { 1 });
}

fn state_names(directory: &Path) -> Vec<String> {
    fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

/// Nothing is made, rewritten or locked, and every write says why it fails.
#[test]
fn a_backup_opened_to_be_read_is_left_as_it_is() {
    let directory = TempDir::new().unwrap();
    fs::create_dir(directory.path().join("backups")).unwrap();
    let path = directory.path().join("backups/b.db");
    let store = open(&directory.path().join("p.db")).unwrap();
    put(&store, "a").unwrap();
    pollster::block_on(store.backup(&path)).unwrap();
    let before = state(path.parent().unwrap());
    let backup = open_with(&path, read_only()).unwrap();
    let is_refused = |result: Result<()>| assert_eq!(result.unwrap_err().kind(), ErrorKind::ReadOnly);
    pollster::block_on(async {
        assert!(backup.get_many(&guru(), &[id("a")]).await.unwrap()[0].is_some());
        assert_eq!(backup.get_many(&guru(), &[id("a"), id("b")]).await.unwrap()[1], None);
        assert_eq!(backup.gurus(None, 9).await.unwrap(), [guru()]);
        assert!(backup.verify().await.unwrap().is_sound());
        assert_eq!(backup.stats().await.unwrap().profiles, 1);
        backup.health(Probe::Read).await.unwrap();
        is_refused(put(&backup, "a"));
        is_refused(backup.delete_many(&guru(), &[id("nobody")]).await.map(drop));
        is_refused(backup.delete_guru(&guru()).await.map(drop));
        is_refused(backup.compact().await);
        is_refused(backup.health(Probe::Write).await);
        backup.backup(directory.path().join("again.db")).await.unwrap();
        backup.close().await.unwrap();
    });
    assert_eq!(state(path.parent().unwrap()), before);
    assert_eq!(count(&open_with(&directory.path().join("again.db"), read_only()).unwrap()), 1);
}

/// Beside a writer it sees every write (S9), and it holds no lock that the writer would wait for.
#[test]
fn a_reader_sees_what_another_handle_writes() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("p.db");
    let store = open(&path).unwrap();
    let reader = open_with(&path, read_only()).unwrap();
    for n in 1..=20 {
        put(&store, &format!("u{n}")).unwrap();
        assert_eq!(count(&reader), n);
    }
    pollster::block_on(store.compact()).unwrap();
    assert_eq!(count(&reader), 20);
    // The log of a process that was killed is read, and left.
    let killed = directory.path().join("killed.db");
    put(&store, "in the log").unwrap();
    for ending in ["", "-wal"] {
        fs::copy(beside(&path, ending), beside(&killed, ending)).unwrap();
    }
    let log = fs::read(beside(&killed, "-wal")).unwrap();
    let reader = open_with(&killed, read_only()).unwrap();
    assert_eq!(count(&reader), 21);
    drop(reader);
    assert_eq!(fs::read(beside(&killed, "-wal")).unwrap(), log);
}

#[test]
fn what_is_not_there_can_not_be_opened_to_be_read() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("p.db");
    assert_eq!(open_with(&path, read_only()).unwrap_err().kind(), ErrorKind::NotFound);
    assert!(!path.exists());
    fs::write(&path, b"").unwrap();
    assert_eq!(open_with(&path, read_only()).unwrap_err().kind(), ErrorKind::NotFound);
    assert_eq!(fs::read(&path).unwrap(), b"");
    Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    assert_eq!(open_with(&path, read_only()).unwrap_err().kind(), ErrorKind::Incompatible);
    for url in ["memory:".to_owned(), format!("sled:{}", directory.path().join("p.sled").display())] {
        let error = pollster::block_on(profile_store::open_with(&url, read_only())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
    }
    assert!(!directory.path().join("p.sled").exists());
}

//! Choosing a backend by its URL, and what opening refuses (S13).

use std::path::Path;
use std::time::Duration;

use profile_store::{
    Error, ErrorKind, Guru, GuruSlug, HasGurus as _, Limits, ProfileStore as _, SledStore, SqliteStore,
    StoreOptions, User, open_with,
};
use tempfile::TempDir;

fn refusal(url: &str) -> Error {
    let options = StoreOptions::default().with_busy_timeout(Duration::from_millis(50));
    pollster::block_on(profile_store::open_with(url, options)).map(|store| format!("{store:?}")).unwrap_err()
}

fn put(url: &str) {
    pollster::block_on(async {
        let store = profile_store::open(url).await.unwrap();
        let guru = GuruSlug::new("g").unwrap();
        Guru::new(&store, guru.clone())
            .upsert(User::serialize("ada", &serde_json::json!({"n": 1})))
            .await
            .unwrap();
        store.close().await.unwrap();
    });
}

fn count(url: &str) -> u64 {
    pollster::block_on(async {
        let store = profile_store::open(url).await.unwrap();
        store.count(&GuruSlug::new("g").unwrap()).await.unwrap()
    })
}

fn url(scheme: &str, path: &Path) -> String {
    format!("{scheme}:{}", path.display())
}

#[test]
fn urls_are_taken_as_they_are() {
    let directory = TempDir::new().unwrap();
    for scheme in ["sqlite", "fjall", "sled"] {
        let path = directory.path().join(format!("a b%?#é:{scheme}").replace('?', ""));
        put(&url(scheme, &path));
        assert!(path.exists(), "{path:?}");
        assert_eq!(count(&format!("{scheme}://{}", path.display())), 1, "the same absolute path");
    }
}

#[test]
fn unusable_urls_are_refused() {
    for (url, kind) in [
        ("", ErrorKind::InvalidInput),
        ("profiles.db", ErrorKind::InvalidInput),
        ("sqlite:", ErrorKind::InvalidInput),
        ("fjall:", ErrorKind::InvalidInput),
        ("sled:", ErrorKind::InvalidInput),
        ("sqlite://host/p.db", ErrorKind::InvalidInput),
        ("sqlite:a\0b", ErrorKind::InvalidInput),
        ("memory:x", ErrorKind::InvalidInput),
        // Habits of other libraries.
        ("memory://", ErrorKind::InvalidInput),
        ("sqlite::memory:", ErrorKind::InvalidInput),
        ("sqlite://:memory:", ErrorKind::InvalidInput),
        ("sqlite:file::memory:?cache=shared", ErrorKind::InvalidInput),
        ("sqlite:p.db?mode=ro", ErrorKind::InvalidInput),
        ("sqlite:a%20b.db", ErrorKind::InvalidInput),
        ("sqlite:file:p.db", ErrorKind::InvalidInput),
        ("sqlite:~/p.db", ErrorKind::InvalidInput),
        ("sled:p.sled?cache=1", ErrorKind::InvalidInput),
        ("file:p.db", ErrorKind::Unsupported),
        ("sqlite3:p.db", ErrorKind::Unsupported),
        ("SQLite:p.db", ErrorKind::Unsupported),
        ("redis:p", ErrorKind::Unsupported),
    ] {
        let error = refusal(url);
        assert_eq!(error.kind(), kind, "{url:?}: {error}");
    }
}

/// Neither of these passes by itself (S13).
#[test]
fn a_directory_that_is_not_there_is_a_wrong_path() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"mine").unwrap();
    for scheme in ["sqlite", "fjall", "sled"] {
        for parent in [directory.path().join("absent"), directory.path().join("absent/too"), file.clone()] {
            let error = refusal(&url(scheme, &parent.join("p")));
            assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::InvalidInput, false), "{error}");
            assert!(error.to_string().contains("create the directory"), "{error}");
        }
    }
    let left: Vec<_> =
        std::fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(left, [file]);
}

/// Files of something else are refused, and left as they were (S13).
#[test]
fn what_is_not_ours_is_left_as_it_was() {
    let directory = TempDir::new().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let foreign = directory.path().join("foreign.db");
    let connection = rusqlite::Connection::open(&foreign).unwrap();
    connection
        .execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE t (x); INSERT INTO t VALUES (1)")
        .unwrap();
    connection.close().unwrap();
    for path in [file("text", b"hello"), file("long", &[b'x'; 9000]), foreign] {
        let before = std::fs::read(&path).unwrap();
        assert_eq!(refusal(&url("sqlite", &path)).kind(), ErrorKind::Incompatible, "{path:?}");
        for scheme in ["fjall", "sled"] {
            assert_eq!(refusal(&url(scheme, &path)).kind(), ErrorKind::Incompatible, "{path:?}");
        }
        assert_eq!(std::fs::read(&path).unwrap(), before, "{path:?}");
    }
    let full = directory.path().join("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("db"), b"something").unwrap();
    for scheme in ["fjall", "sled"] {
        assert_eq!(refusal(&url(scheme, &full)).kind(), ErrorKind::Incompatible);
    }
    assert_eq!(refusal(&url("sqlite", &full)).kind(), ErrorKind::Incompatible);
    assert_eq!(std::fs::read_dir(&full).unwrap().count(), 1);
    assert_eq!(std::fs::read(full.join("db")).unwrap(), b"something");
}

/// A newer format is refused by name, and left as it was (S13).
#[test]
fn a_newer_format_is_refused() {
    let directory = TempDir::new().unwrap();
    let sqlite = directory.path().join("p.db");
    put(&url("sqlite", &sqlite));
    let connection = rusqlite::Connection::open(&sqlite).unwrap();
    connection.execute_batch("PRAGMA user_version = 7").unwrap();
    connection.close().unwrap();
    let before = std::fs::read(&sqlite).unwrap();
    let error = refusal(&url("sqlite", &sqlite));
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    assert!(error.to_string().contains("version 7"), "{error}");
    assert_eq!(std::fs::read(&sqlite).unwrap(), before);
    // The first format was never released.
    let connection = rusqlite::Connection::open(&sqlite).unwrap();
    connection.execute_batch("PRAGMA user_version = 1").unwrap();
    connection.close().unwrap();
    let error = refusal(&url("sqlite", &sqlite));
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
    assert!(error.to_string().contains("made by an unreleased version"), "{error}");
}

/// A file of ours that has lost a table, or has another in its place, is refused when it is opened, and not by the first
/// call that needs the table (S13).
#[test]
fn a_file_without_its_tables_is_refused() {
    let edited = |from: &str, to: &str| {
        format!("PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql = replace(sql, '{from}', '{to}')")
    };
    for (change, told) in [
        ("ALTER TABLE guru RENAME TO old".to_owned(), "has lost its table guru"),
        ("ALTER TABLE profile RENAME TO old".to_owned(), "has lost its table profile"),
        ("ALTER TABLE emptied RENAME TO old".to_owned(), "has lost its table emptied"),
        ("ALTER TABLE profile ADD COLUMN more TEXT NOT NULL DEFAULT ''".to_owned(), "another table profile"),
        // `ada` and `ADA` would be one profile (A1).
        (edited("external_user_id TEXT", "external_user_id TEXT COLLATE NOCASE"), "another table profile"),
        (
            "DROP TABLE profile; CREATE TABLE profile (guru, external_user_id, memory)".to_owned(),
            "another table profile",
        ),
        (edited("AUTOINCREMENT", ""), "another table guru"),
    ] {
        let directory = TempDir::new().unwrap();
        let sqlite = directory.path().join("p.db");
        put(&url("sqlite", &sqlite));
        let connection = rusqlite::Connection::open(&sqlite).unwrap();
        connection.execute_batch(&change).unwrap();
        connection.close().unwrap();
        let before = std::fs::read(&sqlite).unwrap();
        let error = refusal(&url("sqlite", &sqlite));
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{change}: {error}");
        assert!(error.to_string().contains(told), "{change}: {error}");
        assert_eq!(std::fs::read(&sqlite).unwrap(), before);
    }
}

/// P2: another file's opening is no reason to wait.
#[test]
fn an_opening_that_waits_holds_up_no_other() {
    let directory = TempDir::new().unwrap();
    let [held, free] = ["held.db", "free.db"].map(|name| directory.path().join(name));
    put(&url("sqlite", &held));
    let foreign = rusqlite::Connection::open(&held).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let options = StoreOptions::default().with_busy_timeout(Duration::from_secs(120));
            pollster::block_on(open_with(&url("sqlite", &held), options)).map(drop)
        });
        // Enough for it to be where it waits.
        std::thread::sleep(Duration::from_millis(200));
        put(&url("sqlite", &free));
        assert!(!waiting.is_finished(), "it still waits");
        foreign.execute_batch("ROLLBACK").unwrap();
        waiting.join().unwrap().unwrap();
    });
}

/// As above, for directories with a marker.
#[test]
fn a_newer_marker_is_refused() {
    for scheme in ["fjall", "sled"] {
        let directory = TempDir::new().unwrap();
        let store = directory.path().join("store");
        let url = url(scheme, &store);
        put(&url);
        for (words, told) in [
            (format!("profile-store {scheme} format 7\n"), "version 7"),
            (format!("profile-store {scheme} format 1\n"), "made by an unreleased version"),
            ("who knows".to_owned(), "something else"),
            ("profile-store mulled format 2\n".to_owned(), "something else"),
        ] {
            std::fs::write(store.join("profile-store"), words).unwrap();
            let error = refusal(&url);
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
            assert!(error.to_string().contains(told), "{error}");
        }
        std::fs::write(store.join("profile-store"), format!("profile-store {scheme} format 2\n")).unwrap();
        assert_eq!(count(&url), 1);
    }
}

/// A marker that is no text of ours is one of something else, whatever it is (S13, P2).
#[test]
fn a_marker_of_something_else_is_refused() {
    for scheme in ["fjall", "sled"] {
        let directory = TempDir::new().unwrap();
        let url = url(scheme, directory.path());
        let marker = directory.path().join("profile-store");
        let refused = || {
            let error = refusal(&url);
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
            assert!(error.to_string().contains("of something else"), "{error}");
        };
        for bytes in [b"\x7fELF\x02\xff\xfe".to_vec(), vec![b'x'; 1 << 20]] {
            std::fs::write(&marker, &bytes).unwrap();
            refused();
            assert_eq!(std::fs::read(&marker).unwrap(), bytes);
        }
        std::fs::remove_file(&marker).unwrap();
        std::fs::create_dir(&marker).unwrap();
        refused();
        #[cfg(unix)]
        {
            std::fs::remove_dir(&marker).unwrap();
            assert!(std::process::Command::new("mkfifo").arg(&marker).status().unwrap().success());
            // Read, it would wait for ever for a writer.
            let (end, ended) = std::sync::mpsc::channel();
            let opened = url.clone();
            std::thread::spawn(move || end.send(refusal(&opened).kind()).unwrap());
            let told = ended.recv_timeout(Duration::from_secs(60)).expect("it waits for ever");
            assert_eq!(told, ErrorKind::Incompatible);
        }
    }
}

/// A store that somebody else holds is busy, and can be opened once they let go (S13).
#[test]
fn what_is_held_elsewhere_is_busy() {
    let directory = TempDir::new().unwrap();
    let [sqlite, fjall, sled] = [("sqlite", "p.db"), ("fjall", "p.fjall"), ("sled", "p.sled")]
        .map(|(scheme, name)| url(scheme, &directory.path().join(name)));
    for url in [&sqlite, &fjall, &sled] {
        put(url);
    }
    let holder = rusqlite::Connection::open(directory.path().join("p.db")).unwrap();
    holder.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let held = [&fjall, &sled].map(|url| pollster::block_on(profile_store::open(url)).unwrap());
    for url in [&sqlite, &fjall, &sled] {
        let error = refusal(url);
        assert_eq!(error.kind(), ErrorKind::Busy, "{url}: {error}");
        assert!(error.is_retryable());
    }
    drop((holder, held));
    for url in [&sqlite, &fjall, &sled] {
        assert_eq!(count(url), 1);
    }
}

/// Opening takes the writer's lock for a moment, to know that this file can be written: while another
/// process writes, it waits as long as a write would. A reader is no hindrance (S13).
#[test]
fn opening_waits_for_another_process_that_writes() {
    let directory = TempDir::new().unwrap();
    let url = url("sqlite", &directory.path().join("p.db"));
    put(&url);
    let other = rusqlite::Connection::open(directory.path().join("p.db")).unwrap();
    other.execute_batch("BEGIN; SELECT count(*) FROM profile").unwrap();
    assert_eq!(count(&url), 1, "read by another");
    other.execute_batch("ROLLBACK; BEGIN IMMEDIATE").unwrap();
    let error = refusal(&url);
    assert_eq!(error.kind(), ErrorKind::Busy, "{error}");
    let waiting = std::thread::spawn({
        let url = url.clone();
        move || count(&url)
    });
    std::thread::sleep(Duration::from_millis(100));
    other.execute_batch("ROLLBACK").unwrap();
    assert_eq!(waiting.join().unwrap(), 1, "written by another, who then ended");
}

/// Another process may create the file between two looks at it: the second one finds its tables (S13).
#[test]
fn a_file_that_another_process_is_creating_is_waited_for() {
    let directory = TempDir::new().unwrap();
    let (made, path) = (directory.path().join("made.db"), directory.path().join("p.db"));
    let url = |path: &Path| url("sqlite", path);
    put(&url(&made));
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let opening = std::thread::spawn({
        let url = url(&path);
        move || put(&url)
    });
    std::thread::sleep(Duration::from_millis(200));
    let made = rusqlite::Connection::open(&made).unwrap();
    let tables = "SELECT group_concat(sql, ';') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_%'";
    other.execute_batch(&made.query_row(tables, [], |row| row.get::<_, String>(0)).unwrap()).unwrap();
    for pragma in ["PRAGMA application_id", "PRAGMA user_version"] {
        let number: i64 = made.query_row(pragma, [], |row| row.get(0)).unwrap();
        other.execute_batch(&format!("{pragma} = {number}")).unwrap();
    }
    other.execute_batch("COMMIT").unwrap();
    opening.join().unwrap();
    assert_eq!(count(&url(&path)), 1);
}

/// A log that was left behind is written again under the writer's lock only: what another process adds to it
/// meanwhile would be lost (S2).
#[test]
fn a_log_is_secured_under_the_writers_lock() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("p.db");
    let store = pollster::block_on(SqliteStore::open(&path)).unwrap();
    let user = User::serialize("ada", &serde_json::json!({"n": 1}));
    pollster::block_on(store.guru("g").unwrap().upsert(user)).unwrap();
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let written = || std::fs::metadata(directory.path().join("p.db-wal")).unwrap().modified().unwrap();
    let before = written();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(refusal(&url("sqlite", &path)).kind(), ErrorKind::Busy);
    assert_eq!(written(), before);
}

/// A sled store has one holder: the next one waits for it to let go (S13).
#[test]
fn opening_waits_for_the_holder_of_a_sled_store() {
    let directory = TempDir::new().unwrap();
    let url = url("sled", &directory.path().join("p.sled"));
    put(&url);
    let holder = pollster::block_on(profile_store::open(&url)).unwrap();
    let waiting = std::thread::spawn({
        let url = url.clone();
        move || count(&url)
    });
    std::thread::sleep(Duration::from_millis(200));
    assert!(!waiting.is_finished(), "it does not get in meanwhile");
    drop(holder);
    assert_eq!(waiting.join().unwrap(), 1);
}

/// SQLite lets several stores in, of one process too: all see what one has acknowledged (S9).
#[test]
fn two_stores_on_one_file_see_each_other() {
    let directory = TempDir::new().unwrap();
    let url = url("sqlite", &directory.path().join("p.db"));
    let guru = GuruSlug::new("g").unwrap();
    pollster::block_on(async {
        let stores = [profile_store::open(&url).await.unwrap(), profile_store::open(&url).await.unwrap()];
        for n in 0..50 {
            let user = User::serialize(format!("u{n}"), &serde_json::json!({ "n": n }));
            stores[n % 2].guru("g").unwrap().upsert(user).await.unwrap();
            assert!(stores[(n + 1) % 2].guru("g").unwrap().get(&format!("u{n}")).await.unwrap().is_some());
        }
        assert_eq!(stores[0].count(&guru).await.unwrap(), 50);
        stores[0].close().await.unwrap();
        assert_eq!(stores[1].count(&guru).await.unwrap(), 50);
    });
}

/// Files are readable by their owner only (S13).
#[cfg(unix)]
#[test]
fn files_are_their_owners_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let directory = TempDir::new().unwrap();
    pollster::block_on(async {
        let mut stores = Vec::new();
        for (scheme, name) in [("sqlite", "p.db"), ("fjall", "p.fjall"), ("sled", "p.sled")] {
            stores.push(profile_store::open(&url(scheme, &directory.path().join(name))).await.unwrap());
        }
        for store in &stores {
            store
                .guru("g")
                .unwrap()
                .upsert(User::from_json(r#"{"external_user_id":"a","memory":{}}"#))
                .await
                .unwrap();
        }
        let within = ["p.fjall/profile-store", "p.fjall/unsynced", "p.fjall/data", "p.sled/profile-store"];
        for name in ["p.db", "p.db-wal", "p.db-shm", "p.fjall", "p.sled"].into_iter().chain(within) {
            let mode = std::fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
            assert_eq!(mode & 0o077, 0, "{name} has mode {mode:o}");
        }
    });
}

/// An empty file and an empty directory are taken as new: what `touch` and `mkdir` leave.
#[test]
fn what_is_empty_is_new() {
    let directory = TempDir::new().unwrap();
    let [sqlite, fjall, sled] = ["p.db", "p.fjall", "p.sled"].map(|name| directory.path().join(name));
    std::fs::write(&sqlite, b"").unwrap();
    std::fs::create_dir(&fjall).unwrap();
    std::fs::create_dir(&sled).unwrap();
    for url in [url("sqlite", &sqlite), url("fjall", &fjall), url("sled", &sled)] {
        put(&url);
        assert_eq!(count(&url), 1);
    }
}

#[test]
fn a_store_that_is_not_there_is_not_made_if_not_told_to() {
    let directory = TempDir::new().unwrap();
    for scheme in ["sqlite", "fjall", "sled"] {
        let url = format!("{scheme}:{}", directory.path().join(scheme).display());
        let open = |create: bool| {
            let options = StoreOptions::default().with_create(create);
            pollster::block_on(profile_store::open_with(&url, options))
        };
        let error = open(false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        assert!(error.to_string().starts_with("there is no store at "), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        drop(open(true).unwrap());
        drop(open(false).unwrap());
        std::fs::remove_dir_all(directory.path()).unwrap();
        std::fs::create_dir(directory.path()).unwrap();
    }
    // Nor of an empty file.
    let empty = directory.path().join("empty.db");
    std::fs::write(&empty, "").unwrap();
    let options = StoreOptions::default().with_create(false);
    let refused = pollster::block_on(SqliteStore::open_with(&empty, options)).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::NotFound, "{refused}");
    assert_eq!(std::fs::metadata(&empty).unwrap().len(), 0);
}

/// The URL that a refused one should have been.
#[test]
fn a_refusal_says_what_to_write() {
    for (url, advice) in [
        ("sqlite::memory:", "write `memory:`"),
        ("sqlite:p.db?mode=ro", "use `StoreOptions`"),
        ("sqlite:a%20b.db", "write the path as it is"),
        ("sqlite:file:p.db", "without `file:`"),
        ("sqlite://p.db", "right after the colon"),
        ("p.db", "expected `memory:`, `sqlite:FILE`"),
    ] {
        let words = refusal(url).to_string();
        assert!(words.contains(advice), "{url:?}: {words}");
    }
}

/// A file whose name is no URL of a store is opened by its backend.
#[test]
fn a_path_is_taken_as_it_is() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("a%20b?mode=ro");
    pollster::block_on(async {
        SqliteStore::open(&path).await.unwrap().close().await.unwrap();
        assert!(path.is_file());
        let path = directory.path().join("a%20b?sled");
        SledStore::open(&path).await.unwrap().close().await.unwrap();
        assert!(path.is_dir());
    });
}

/// The same options tune every backend; one that promises is refused where it can't hold.
#[test]
fn options_tune_everywhere_and_promise_only_where_they_hold() {
    let directory = TempDir::new().unwrap();
    let open = |scheme: &str, options: StoreOptions| {
        let url = if scheme == "memory" {
            "memory:".to_owned()
        } else {
            url(scheme, &directory.path().join(scheme))
        };
        pollster::block_on(profile_store::open_with(&url, options)).map(drop)
    };
    let tuned = StoreOptions::default()
        .with_read_threads(1)
        .with_write_connections(2)
        .with_queue_bytes(1 << 20)
        .with_log_bytes(1 << 20)
        .with_busy_timeout(Duration::from_secs(1));
    for scheme in ["memory", "sqlite", "fjall", "sled"] {
        open(scheme, tuned.clone()).unwrap();
        let erasing = open(scheme, tuned.clone().with_erasing(true));
        let kind = erasing.map_err(|error| error.kind());
        assert_eq!(
            kind,
            if matches!(scheme, "fjall" | "sled") { Err(ErrorKind::Unsupported) } else { Ok(()) },
            "{scheme}"
        );
    }
}

#[test]
fn values_out_of_range_are_refused_when_opening() {
    let directory = TempDir::new().unwrap();
    let options = StoreOptions::default;
    let limits = |limits: Limits| StoreOptions::default().with_limits(limits);
    for (options, named) in [
        (options().with_read_threads(0), "read_threads is 0, allowed are 1 to 64"),
        (options().with_read_threads(65), "read_threads is 65"),
        (options().with_write_connections(0), "write_connections is 0"),
        (options().with_queue_bytes(1), "queue_bytes is 1"),
        (options().with_log_bytes(u64::MAX), "log_bytes is "),
        (limits(Limits::default().with_batch_items(0)), "batch_items is 0"),
        (limits(Limits::default().with_memory_bytes(1)), "memory_bytes is 1"),
        (limits(Limits::default().with_memory_depth(128)), "memory_depth is 128"),
        (limits(Limits::default().with_id_bytes(1025)), "id_bytes is 1025"),
    ] {
        for scheme in ["memory", "sqlite", "fjall", "sled"] {
            let url = if scheme == "memory" {
                "memory:".to_owned()
            } else {
                url(scheme, &directory.path().join(scheme))
            };
            let opened = pollster::block_on(profile_store::open_with(&url, options.clone()));
            let error = opened.map(drop).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{scheme}: {error}");
            assert!(error.to_string().starts_with(named), "{scheme}: {error}");
        }
    }
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0, "nothing is made");
}

//! Backups of SQLite while writers go on.

use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};

use profile_store::{Batch, ErrorKind, GuruSlug, ListOptions, ProfileStore, SqliteStore, User};
use tempfile::TempDir;

async fn open(directory: &TempDir, name: &str) -> SqliteStore {
    SqliteStore::open(directory.path().join(name)).await.unwrap()
}

/// S1: each backup is one state of the store, with every batch whole.
#[test]
fn a_backup_is_one_state_of_the_store() {
    let directory = TempDir::new().unwrap();
    let (store, guru) = (pollster::block_on(open(&directory, "p.db")), GuruSlug::new("g").unwrap());
    let batch = |n: u64| {
        let text = format!("{n} ").repeat(100);
        Batch::from_users((0..50).map(move |id| {
            User::serialize(format!("user-{id}"), &serde_json::json!({ "n": n, "text": text }))
        }))
    };
    assert!(pollster::block_on(store.upsert_batch(&guru, batch(0))).unwrap().is_complete());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let mut n = 0;
            while !over.load(Ordering::Relaxed) {
                n += 1;
                assert!(pollster::block_on(store.upsert_batch(&guru, batch(n))).unwrap().is_complete());
            }
            n
        });
        let mut last = 0;
        for copy in 0..10 {
            let name = format!("backup-{copy}.db");
            pollster::block_on(async {
                store.backup(directory.path().join(&name)).await.unwrap();
                let backup = open(&directory, &name).await;
                let page = backup.list(&guru, &ListOptions::default()).await.unwrap();
                let states: Vec<u64> = page
                    .profiles
                    .iter()
                    .map(|profile| {
                        profile.memory.parse::<serde_json::Value>().unwrap()["n"].as_u64().unwrap()
                    })
                    .collect();
                assert_eq!(states, vec![states[0]; 50]);
                assert!(states[0] >= last, "time moves on");
                last = states[0];
                assert!(backup.verify().await.unwrap().is_sound());
                backup.close().await.unwrap();
            });
        }
        over.store(true, Ordering::Relaxed);
        assert!(writer.join().unwrap() > 0, "the writer went on");
    });
    assert!(pollster::block_on(store.verify()).unwrap().is_sound());
}

#[test]
fn a_backup_replaces_nothing_and_leaves_nothing_half_done() {
    let directory = TempDir::new().unwrap();
    pollster::block_on(async {
        let store = open(&directory, "p.db").await;
        let path = directory.path().join("backup.db");
        fs::write(&path, "mine").unwrap();
        let error = store.backup(&path).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AlreadyExists, "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"mine");
        fs::remove_file(&path).unwrap();

        for nowhere in ["no/such/directory.db", "p.db/below-a-file.db"] {
            let error = store.backup(directory.path().join(nowhere)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert!(!error.is_retryable() && error.to_string().contains("create the directory"), "{error}");
        }

        // If several are made at once, one gets the name; the others leave nothing.
        let backups: Vec<_> = std::thread::scope(|scope| {
            let backups = [0; 4].map(|_| scope.spawn(|| pollster::block_on(store.backup(&path))));
            backups.map(|backup| backup.join().unwrap()).into_iter().collect()
        });
        assert_eq!(backups.iter().filter(|made| made.is_ok()).count(), 1, "{backups:?}");
        let refused = backups.iter().filter_map(|made| made.as_ref().err());
        assert!(refused.map(|error| error.kind()).all(|kind| kind == ErrorKind::AlreadyExists));
        let names = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name());
        assert!(names.into_iter().all(|name| !name.to_string_lossy().contains("partial")));
        #[cfg(unix)]
        {
            let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path).unwrap().permissions());
            assert_eq!(mode & 0o777, 0o600);
        }
        assert!(open(&directory, "backup.db").await.gurus(None, 9).await.unwrap().is_empty());
    });
}

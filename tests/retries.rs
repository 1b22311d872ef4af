//! Re-sending what is stored writes nothing to the disk (S5): no file changes, in size or in time.

use std::path::{Path, PathBuf};
use std::time::Duration;

use profile_store::{HasGurus as _, User};
use tempfile::TempDir;

#[test]
fn a_retry_writes_nothing() {
    for scheme in ["sqlite", "fjall", "sled"] {
        let directory = TempDir::new().unwrap();
        let url = format!("{scheme}:{}", directory.path().join("store").display());
        let users: Vec<_> =
            (0..2000).map(|n| format!(r#"{{"external_user_id":"{n}","memory":{{"n":{n}}}}}"#)).collect();
        let body = format!(r#"{{"users":[{}]}}"#, users.join(","));
        pollster::block_on(async {
            let store = profile_store::open(&url).await.unwrap();
            let guru = store.guru("g").unwrap();
            assert!(guru.upsert_json(body.as_bytes()).await.unwrap().is_complete());
            let before = files(directory.path());
            // Longer than the grain of a file's time.
            std::thread::sleep(Duration::from_millis(30));
            for _ in 0..3 {
                let retried = guru.upsert_json(body.as_bytes()).await.unwrap();
                assert_eq!(retried.counts().unchanged, 2000);
            }
            assert_eq!(files(directory.path()), before, "{scheme}");
            guru.upsert(User::serialize("0", &serde_json::json!({}))).await.unwrap();
            assert_ne!(files(directory.path()), before, "{scheme}: a change is seen");
        });
    }
}

/// Size and time of all files below, without SQLite's shared memory: that is no file to the disk.
fn files(directory: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.metadata().unwrap();
        if metadata.is_dir() {
            all.extend(files(&path));
        } else if !path.to_string_lossy().ends_with("-shm") {
            all.push((path, metadata.len(), metadata.modified().unwrap()));
        }
    }
    all.sort();
    all
}

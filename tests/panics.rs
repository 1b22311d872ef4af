//! A panic on the commit thread: whoever waits is told, nothing acknowledged is lost, nothing of the
//! batch is kept, and the engine's unknown state is not written down as a clean end.
//!
//! The panic comes from a clock, which is asked in the middle of a transaction.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use profile_store::{
    Clock, Error, ErrorKind, GuruSlug, ProfileStore as _, ProfileStoreExt as _, StoreOptions, Timestamp,
    User, open_with,
};
use tempfile::TempDir;

fn user(n: usize) -> User {
    User::serialize(format!("u{n}"), &serde_json::json!({ "n": n }))
}

fn assert_gone(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::Closed, "{error}");
    assert!(!error.is_retryable(), "{error}");
}

#[test]
fn a_panic_while_committing_ends_the_handle_and_nothing_else() {
    let guru = GuruSlug::new("g").unwrap();
    for scheme in ["sqlite", "sled"] {
        let directory = TempDir::new().unwrap();
        let url = format!("{scheme}:{}", directory.path().join("store").display());
        let broken = Arc::new(AtomicBool::new(false));
        let clock = {
            let broken = Arc::clone(&broken);
            Clock::from_fn(move || {
                assert!(!broken.load(Ordering::SeqCst), "a broken clock");
                Timestamp::from_micros(1)
            })
        };
        let options = StoreOptions::default().with_clock(clock).with_busy_timeout(Duration::from_secs(30));
        pollster::block_on(async {
            let store = open_with(&url, options).await.unwrap();
            for n in 0..3 {
                store.upsert(&guru, user(n)).await.unwrap();
            }
            broken.store(true, Ordering::SeqCst);
            assert_gone(&store.upsert(&guru, user(3)).await.unwrap_err());
            broken.store(false, Ordering::SeqCst);
            assert_gone(&store.upsert(&guru, user(4)).await.unwrap_err());
            let error = store.delete(&guru, "u0").await.unwrap_err();
            assert_gone(&error);
            assert!(error.to_string().contains("open the store again"), "{error}");
            // What was acknowledged can be read, or reading is refused too.
            match store.count(&guru).await {
                Ok(count) => assert_eq!(count, 3, "{scheme}"),
                Err(error) => assert_gone(&error),
            }
            assert_gone(&store.close().await.unwrap_err());
            drop(store);
            if scheme == "sqlite" {
                let log = directory.path().join("store-wal");
                assert!(log.metadata().unwrap().len() > 0, "it ends as a kill does, with its log");
            } else {
                assert!(directory.path().join("store/unsynced").exists(), "to be made durable when opened");
            }
            let options = StoreOptions::default().with_busy_timeout(Duration::from_secs(30));
            let store = open_with(&url, options).await.unwrap();
            assert_eq!(store.count(&guru).await.unwrap(), 3, "{scheme}");
            assert_eq!(store.list(&guru, &Default::default()).await.unwrap().profiles.len(), 3);
            store.upsert(&guru, user(3)).await.unwrap();
            store.close().await.unwrap();
        });
    }
}

/// Everybody who shares the transaction, or waits behind it, is told.
#[test]
fn nobody_waits_for_an_engine_that_has_panicked() {
    let guru = GuruSlug::new("g").unwrap();
    for scheme in ["sqlite", "sled"] {
        let directory = TempDir::new().unwrap();
        let url = format!("{scheme}:{}", directory.path().join("store").display());
        let writes = std::sync::atomic::AtomicUsize::new(0);
        let clock = Clock::from_fn(move || {
            assert!(writes.fetch_add(1, Ordering::SeqCst) < 20, "a broken clock");
            Timestamp::from_micros(1)
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let store = open_with(&url, StoreOptions::default().with_clock(clock)).await.unwrap();
            let mut tasks = tokio::task::JoinSet::new();
            for n in 0..200 {
                let (store, guru) = (Arc::clone(&store), guru.clone());
                tasks.spawn(async move { (n, store.upsert(&guru, user(n)).await) });
            }
            let mut stored = Vec::new();
            while let Some(joined) = tasks.join_next().await {
                match joined.unwrap() {
                    (n, Ok(_)) => stored.push(n),
                    (_, Err(error)) => assert_gone(&error),
                }
            }
            assert!(stored.len() <= 20, "{scheme}: {} stored by a broken clock", stored.len());
            assert_gone(&store.close().await.unwrap_err());
            drop(store);
            let options = StoreOptions::default().with_busy_timeout(Duration::from_secs(30));
            let store = open_with(&url, options).await.unwrap();
            let mut listed: Vec<_> = store
                .list(&guru, &Default::default())
                .await
                .unwrap()
                .profiles
                .iter()
                .map(|p| p.memory.as_str().to_owned())
                .collect();
            let mut told: Vec<_> = stored.iter().map(|n| format!(r#"{{"n":{n}}}"#)).collect();
            listed.sort();
            told.sort();
            assert_eq!(listed, told, "{scheme}: what was told is what is there");
        });
    }
}

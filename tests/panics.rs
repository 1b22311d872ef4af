//! P3: a caller's code that panics on the store's threads fails its own call, and nothing else.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use profile_store::{
    Batch, Clock, ErrorKind, ExternalUserId, GuruSlug, Outcome, Probe, ProfileStore, Result, StoreOptions,
    Timestamp, UpsertReport, User, open_with,
};
use tempfile::TempDir;

const SCHEMES: [&str; 4] = ["memory", "sqlite", "fjall", "sled"];

fn url(scheme: &str, directory: &TempDir) -> String {
    match scheme {
        "memory" => "memory:".to_owned(),
        _ => format!("{scheme}:{}", directory.path().join("store").display()),
    }
}

async fn upsert(store: &dyn ProfileStore, n: usize) -> Result<UpsertReport> {
    let user = User::serialize(format!("u{n}"), &serde_json::json!({ "n": n }));
    store.upsert_batch(&GuruSlug::new("g").unwrap(), Batch::from_users([user])).await
}

/// A payload that panics again when it is dropped.
struct Payload;

impl Drop for Payload {
    fn drop(&mut self) {
        panic!("a payload, dropped");
    }
}

#[test]
fn a_clock_that_panics_fails_its_call_only() {
    let guru = GuruSlug::new("g").unwrap();
    for scheme in SCHEMES {
        let directory = TempDir::new().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let clock = {
            let asked = Arc::clone(&asked);
            Clock::from_fn(move || match asked.fetch_add(1, Ordering::SeqCst) {
                2 => panic!("a broken clock"),
                4 => std::panic::panic_any(Payload),
                n => Timestamp::from_micros(i64::try_from(n).unwrap()),
            })
        };
        let options = StoreOptions::default().with_clock(clock);
        pollster::block_on(async {
            let store = open_with(&url(scheme, &directory), options).await.unwrap();
            for n in 0..6 {
                match upsert(&*store, n).await {
                    Ok(report) => assert_eq!(report.results()[0].result, Ok(Outcome::Created)),
                    Err(error) => {
                        assert!(n == 2 || n == 4, "{scheme}, {n}: {error:?}");
                        assert_eq!(error.kind(), ErrorKind::InvalidInput);
                        assert!(!error.may_be_stored());
                    }
                }
            }
            assert_eq!(store.count(&guru).await.unwrap(), 4, "{scheme}");
            // A call that removes profiles asks for no time that it could fail by, or fails by itself as well.
            store.delete_many(&guru, &[ExternalUserId::new("u0").unwrap()]).await.unwrap();
            store.health(Probe::Write).await.unwrap();
            store.close().await.unwrap();
        });
        if scheme != "memory" {
            pollster::block_on(async {
                let store = open_with(&url(scheme, &directory), StoreOptions::default()).await.unwrap();
                assert_eq!(store.count(&guru).await.unwrap(), 3, "{scheme}");
                assert!(store.verify().await.unwrap().is_sound());
            });
        }
    }
}

/// The calls that share the transaction are stored, and answered so.
#[test]
fn neighbours_of_a_panicking_clock_are_answered_truthfully() {
    let guru = GuruSlug::new("g").unwrap();
    for scheme in SCHEMES {
        let directory = TempDir::new().unwrap();
        let asked = AtomicUsize::new(0);
        let clock = Clock::from_fn(move || {
            assert!(!asked.fetch_add(1, Ordering::SeqCst).is_multiple_of(5), "a broken clock");
            Timestamp::from_micros(1)
        });
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let options = StoreOptions::default().with_clock(clock);
            let store = open_with(&url(scheme, &directory), options).await.unwrap();
            let mut tasks = tokio::task::JoinSet::new();
            for n in 0..200 {
                let store = Arc::clone(&store);
                tasks.spawn(async move { (n, upsert(&*store, n).await) });
            }
            let mut told = Vec::new();
            while let Some(joined) = tasks.join_next().await {
                match joined.unwrap() {
                    (n, Ok(_)) => told.push(format!(r#"{{"n":{n}}}"#)),
                    (_, Err(error)) => assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error:?}"),
                }
            }
            assert!((100..200).contains(&told.len()), "{scheme}: {} stored", told.len());
            let page = store.list(&guru, &Default::default()).await.unwrap();
            let mut listed: Vec<_> =
                page.profiles.iter().map(|profile| profile.memory.as_str().to_owned()).collect();
            listed.sort();
            told.sort();
            assert_eq!(listed, told, "{scheme}: what was told is what is there");
            store.close().await.unwrap();
        });
    }
}

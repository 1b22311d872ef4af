//! No runtime is blocked and none is required (S11).

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::thread;
use std::time::Duration;

use profile_store::{
    Batch, ErrorKind, Guru, GuruSlug, ListOptions, Memory, ProfileStore, SledStore, SqliteStore,
    StoreOptions, User,
};
use tempfile::TempDir;

type Run = fn(Pin<Box<dyn Future<Output = ()> + Send>>);

/// A store's whole life: opened, written, read, listed, erased, closed, on whatever runs it.
async fn life(url: String) {
    let store = profile_store::open(&url).await.unwrap();
    let guru = GuruSlug::new("g").unwrap();
    let body = br#"{"users":[{"external_user_id":"ada","memory":{"n":1}}]}"#;
    assert!(Guru::new(&store, guru.clone()).upsert_json(body).await.unwrap().is_complete());
    assert_eq!(
        Guru::new(&store, guru.clone()).get("ada").await.unwrap().unwrap().memory.as_str(),
        r#"{"n":1}"#
    );
    assert_eq!(store.list(&guru, &Default::default()).await.unwrap().profiles.len(), 1);
    assert_eq!(store.count(&guru).await.unwrap(), 1);
    assert_eq!(store.gurus(None, 9).await.unwrap(), std::slice::from_ref(&guru));
    assert!(Guru::new(&store, guru.clone()).delete("ada").await.unwrap());
    assert_eq!(store.delete_guru(&guru).await.unwrap(), 0);
    store.close().await.unwrap();
    assert_eq!(store.count(&guru).await.unwrap_err().kind(), ErrorKind::Closed);
}

fn everywhere(run: Run) {
    let directory = TempDir::new().unwrap();
    let place = directory.path().display();
    for url in [
        "memory:".to_owned(),
        format!("sqlite:{place}/p.db"),
        format!("fjall:{place}/p.fjall"),
        format!("sled:{place}/p.sled"),
    ] {
        run(Box::pin(life(url)));
    }
}

#[test]
fn tokio_current_thread() {
    everywhere(|life| tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(life));
}

#[test]
fn tokio_multi_thread() {
    everywhere(|life| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async { runtime.spawn(life).await.unwrap() });
    });
}

#[test]
fn smol() {
    everywhere(|life| smol::block_on(async { smol::spawn(life).await }));
}

#[test]
fn a_bare_block_on() {
    everywhere(pollster::block_on);
}

/// While a store is busy, its caller's only thread is free: a second future on it goes on.
#[test]
fn a_single_threaded_caller_goes_on_meanwhile() {
    let directory = TempDir::new().unwrap();
    for url in ["sqlite:p.db", "fjall:p.fjall", "sled:p.sled"] {
        let (scheme, file) = url.split_once(':').unwrap();
        let url = format!("{scheme}:{}", directory.path().join(file).display());
        let beats = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&beats);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let heart = tokio::spawn(async move {
                loop {
                    counted.fetch_add(1, Ordering::SeqCst);
                    tokio::task::yield_now().await;
                }
            });
            let store = profile_store::open(&url).await.unwrap();
            let guru = GuruSlug::new("g").unwrap();
            let users: Vec<_> =
                (0..10_000).map(|n| User::new(n.to_string(), Memory::from_json("{}").unwrap())).collect();
            let body: Vec<_> = (0..10_000)
                .map(|n| {
                    format!(r#"{{"external_user_id":"{n}","memory":{{"filler":"{}"}}}}"#, "x".repeat(300))
                })
                .collect();
            let body = format!(r#"{{"users":[{}]}}"#, body.join(","));
            for (what, batch) in
                [("commit", Batch::from(users)), ("admission", Batch::from_json(body.as_bytes()))]
            {
                let before = beats.load(Ordering::SeqCst);
                assert!(store.upsert_batch(&guru, batch).await.unwrap().is_complete());
                // A blocked thread would not beat at all.
                let during = beats.load(Ordering::SeqCst) - before;
                assert!(during >= 20, "{during} beats during {what} on {scheme}");
            }
            store.close().await.unwrap();
            heart.abort();
        });
    }
}

/// Dropping the last handle finishes what is queued, joins the threads and leaves a clean file.
#[test]
fn dropping_joins_the_threads_and_leaves_a_clean_file() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("p.db");
    let guru = GuruSlug::new("g").unwrap();
    pollster::block_on(async {
        let store = SqliteStore::open(&path).await.unwrap();
        Guru::new(&store, guru.clone()).upsert(User::serialize("ada", &serde_json::json!({}))).await.unwrap();
        drop(store);
        let left: Vec<_> =
            std::fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left, ["p.db"], "no log is left");
        // sled lets one holder in: the first one is gone, threads and all.
        for _ in 0..3 {
            let options = StoreOptions::default().with_busy_timeout(Duration::from_secs(30));
            drop(SledStore::open_with(directory.path().join("p.sled"), options).await.unwrap());
        }
    });
}

/// An executor may drop a woken task where it is woken: on a thread of the store, together with the
/// store's last handle. That thread can't join itself.
#[test]
fn the_last_handle_may_be_dropped_on_a_thread_of_the_store() {
    struct DropWhenWoken {
        task: Mutex<Option<Pin<Box<dyn Future<Output = ()> + Send>>>>,
        dropped: mpsc::Sender<String>,
    }
    impl Wake for DropWhenWoken {
        fn wake(self: Arc<Self>) {
            drop(self.task.lock().unwrap().take());
            self.dropped.send(thread::current().name().unwrap_or_default().to_owned()).unwrap();
        }
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("p.db");
    let guru = GuruSlug::new("g").unwrap();
    let store = pollster::block_on(SqliteStore::open(&path)).unwrap();
    let write = {
        let guru = guru.clone();
        async move {
            Guru::new(&store, guru.clone())
                .upsert(User::serialize("ada", &serde_json::json!({})))
                .await
                .unwrap();
        }
    };
    let (dropped, woken) = mpsc::channel();
    let executor = Arc::new(DropWhenWoken { task: Mutex::new(Some(Box::pin(write))), dropped });
    {
        let waker = Waker::from(Arc::clone(&executor));
        // Held while polling, so that the waker finds the task there.
        let mut task = executor.task.lock().unwrap();
        let polled = task.as_mut().unwrap().as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
    }
    let thread = woken.recv_timeout(Duration::from_secs(60)).expect("the thread does not wait for itself");
    assert!(thread.starts_with("profile-store"), "dropped on {thread}");
    let again = pollster::block_on(SqliteStore::open(&path)).unwrap();
    assert_eq!(pollster::block_on(again.count(&guru)).unwrap(), 1, "what was under way is stored");
}

/// Streams read ahead, by futures that nobody polls while their consumers read something else: that
/// must not keep anybody's read from its turn.
#[test]
fn thousands_of_slow_streams_hold_up_no_read() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("p.db").display());
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let read = async {
        // The limit of the whole is the judge.
        let options = StoreOptions::default().with_busy_timeout(Duration::from_secs(60));
        let store = profile_store::open_with(&url, options).await.unwrap();
        let guru = GuruSlug::new("g").unwrap();
        let users = ["a", "b", "c"].map(|id| User::serialize(id, &serde_json::json!({})));
        assert!(store.upsert_batch(&guru, users.into_iter().collect()).await.unwrap().is_complete());
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..3000 {
            let (store, guru) = (std::sync::Arc::clone(&store), guru.clone());
            tasks.spawn(async move {
                let mut profiles =
                    Guru::new(&store, guru.clone()).profiles(ListOptions::default().with_limit(1));
                let mut seen = 0;
                while let Some(profile) = profiles.next().await {
                    let id = profile.unwrap().external_user_id;
                    assert!(Guru::new(&store, guru.clone()).get(id.as_str()).await.unwrap().is_some());
                    assert_eq!(store.count(&guru).await.unwrap(), 3);
                    seen += 1;
                }
                assert_eq!(seen, 3);
            });
        }
        while let Some(task) = tasks.join_next().await {
            task.unwrap();
        }
    };
    let in_time =
        runtime.block_on(async { tokio::time::timeout(std::time::Duration::from_secs(120), read).await });
    assert!(in_time.is_ok(), "the reads wait for each other");
}

//! Callers of a store: dropped futures, crowds, panics, and a thread that a slow disk must not hold up.

use std::fs;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use profile_store::{Batch, Durability, ExternalUserId, Guru, ListOptions, Memory, StoreOptions, User};

use crate::child::{Job, Order};
use crate::recorder::{self, Act, Class};
use crate::scratch::Scratch;
use crate::workload::{Backend, guru, observe, perform, state};

/// Time that a sync takes here.
const SLOW: Duration = Duration::from_millis(200);

/// A round on the callers' only thread: its longest pause, and how often its heart beat meanwhile.
struct Round {
    pause_ms: f64,
    beats: u64,
}

impl Round {
    /// No pause of 10 ms, and beats to show for it. A thread that waited for the sync has none,
    /// however busy the machine is.
    fn is_lively(&self) -> bool {
        self.pause_ms < 10.0 && self.beats >= 20
    }
}

/// While syncs take 200 ms, a heartbeat on the callers' only thread stays under 10 ms (S11).
///
/// The time that the thread wanted a processor and got none is the machine's, and not counted. What
/// is left of other disturbances comes and goes, so that rounds are made until one is free of them;
/// a store that blocks does so in each.
pub fn slow_sync(backend: Backend) {
    let rounds = |control: &str| {
        let scratch = Scratch::new();
        let job = Job::new("slow-sync", backend, &scratch.path("files")).with("control", control);
        let words = job.patience(Duration::from_secs(120)).done();
        let numbers = |key: &str| words[key].split(',').map(|n| n.parse().unwrap()).collect::<Vec<u64>>();
        let rounds: Vec<Round> = (numbers("pauses_us").into_iter().zip(numbers("beats")))
            .map(|(pause, beats)| Round { pause_ms: pause as f64 / 1e3, beats })
            .collect();
        let text: Vec<_> =
            rounds.iter().map(|round| format!("{:.1} ms, {} beats", round.pause_ms, round.beats)).collect();
        assert!(words["syncs"].parse::<usize>().unwrap() >= rounds.len(), "the syncs were slow");
        (rounds, text)
    };
    let (seen, text) = rounds("no");
    println!("  syncs of 200 ms: the heartbeat's longest pause in each round: {text:?}");
    assert!(seen.iter().any(Round::is_lively));
    let (seen, text) = rounds("yes");
    println!("  control, blocking on the executor: {text:?}");
    assert!(!seen.iter().any(Round::is_lively), "a store that blocks goes unnoticed");
}

/// How long this thread has been ready and waited for a processor.
fn waited() -> Duration {
    let statistics = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let waited = statistics.split_whitespace().nth(1).and_then(|waited| waited.parse().ok());
    Duration::from_nanos(waited.unwrap_or(0))
}

pub fn slow_sync_child(order: &Order) {
    /// A disturbed machine has this many tries.
    const ROUNDS: u64 = 100;
    const CONTROL_ROUNDS: u64 = 8;
    let blocks = order.text("control") == Some("yes");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let rounds = runtime.block_on(async {
        let (longest, beats) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let heart = tokio::spawn({
            let (longest, beats) = (longest.clone(), beats.clone());
            async move {
                loop {
                    let (start, before) = (Instant::now(), waited());
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    let pause = start.elapsed().saturating_sub(waited() - before);
                    longest.fetch_max(pause.as_micros() as u64, SeqCst);
                    beats.fetch_add(1, SeqCst);
                }
            }
        });
        let path = order.directory.join("store");
        let store =
            profile_store::open(&format!("{}:{}", order.backend.name(), path.display())).await.unwrap();
        recorder::arm(Class::Syncs, 0, Act::Delay(SLOW));
        let mut rounds = Vec::new();
        for n in 0..if blocks { CONTROL_ROUNDS } else { ROUNDS } {
            longest.store(0, SeqCst);
            beats.store(0, SeqCst);
            let user = User::new(format!("{n}"), Memory::from_json("{}").unwrap());
            if blocks {
                pollster::block_on(Guru::new(&store, guru(0)).upsert(user)).unwrap();
            } else {
                Guru::new(&store, guru(0)).upsert(user).await.unwrap();
            }
            let beats = beats.load(SeqCst);
            assert!(Guru::new(&store, guru(0)).get(&format!("{n}")).await.unwrap().is_some());
            // The heart beats once more, to have noticed.
            tokio::time::sleep(Duration::from_millis(5)).await;
            rounds.push(Round { pause_ms: longest.load(SeqCst) as f64 / 1e3, beats });
            if n + 1 >= CONTROL_ROUNDS && rounds.iter().any(Round::is_lively) {
                break;
            }
        }
        heart.abort();
        store.close().await.unwrap();
        rounds
    });
    let join = |number: fn(&Round) -> u64| {
        rounds.iter().map(|round| number(round).to_string()).collect::<Vec<_>>().join(",")
    };
    let (pauses, beats) = (join(|round| (round.pause_ms * 1e3) as u64), join(|round| round.beats));
    println!("pauses_us={pauses} beats={beats} syncs={}", recorder::disarm().0);
}

/// Drops an upsert after every number of polls: it is stored whole or not at all, and the store
/// goes on.
pub fn dropped_futures(backend: Backend) {
    let scratch = Scratch::new();
    let store = crate::workload::open(backend, &scratch.path("files"), Durability::PowerLoss).unwrap();
    let slug = guru(0);
    let (mut drops, mut stored) = (0, 0);
    for round in 0..60_u64 {
        let users = || {
            (0..5).map(move |n| {
                User::new(format!("{n}"), Memory::from_json(&format!(r#"{{"round":{round}}}"#)).unwrap())
            })
        };
        for polls in 0..6 {
            let mut future = Box::pin(store.upsert_batch(&slug, Batch::from_users(users())));
            let ready = (0..polls).any(|_| {
                let ready = future.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready();
                std::thread::sleep(Duration::from_micros(round * 20));
                ready
            });
            drop(future);
            drops += u64::from(!ready);
            let page = pollster::block_on(store.list(&slug, &ListOptions::default())).unwrap();
            let memories: std::collections::BTreeSet<_> =
                page.profiles.iter().map(|profile| profile.memory.as_str()).collect();
            assert!(memories.len() <= 1 && matches!(page.profiles.len(), 0 | 5), "a batch in part");
            stored += u64::from(!ready && memories.contains(format!(r#"{{"round":{round}}}"#).as_str()));
        }
        let report = pollster::block_on(store.upsert_batch(&slug, Batch::from_users(users()))).unwrap();
        assert!(report.is_complete());
    }
    // Reads and ends, too.
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..20 {
        let _ = Box::pin(store.list(&slug, &ListOptions::default())).as_mut().poll(&mut context);
    }
    let _ = Box::pin(store.close()).as_mut().poll(&mut context);
    pollster::block_on(store.close()).unwrap();
    println!("  futures dropped {drops}, {stored} of them found stored, none in part");
}

/// Dropping an opening that waits for somebody else's lock does not wait with it (S11): the lock is
/// held for longer than it takes.
pub fn dropped_opening(backend: Backend) {
    let scratch = Scratch::new();
    let directory = scratch.path("files");
    let path = directory.join("store");
    let holder: Box<dyn std::any::Any> = match backend {
        Backend::Sqlite => {
            let connection = rusqlite::Connection::open(&path).unwrap();
            connection.execute_batch("BEGIN EXCLUSIVE").unwrap();
            Box::new(connection)
        }
        Backend::Memory => unreachable!("it has no file"),
        Backend::Fjall | Backend::Sled => {
            Box::new(crate::workload::open(backend, &directory, Durability::PowerLoss).unwrap())
        }
    };
    let url = format!("{}:{}", backend.name(), path.display());
    // As long a wait as nothing on a busy machine takes.
    const PATIENCE: Duration = Duration::from_secs(60);
    let open = || profile_store::open_with(&url, StoreOptions::default().with_busy_timeout(PATIENCE));
    let mut opening = Box::pin(open());
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10 {
        assert!(opening.as_mut().poll(&mut context).is_pending());
        std::thread::sleep(Duration::from_millis(10));
    }
    let start = Instant::now();
    drop(opening);
    let time = start.elapsed();
    println!("  dropped in {time:.1?}");
    assert!(time < PATIENCE / 2, "it waits for the lock");
    drop(holder);
    // Afterwards it opens, as soon as the one that was dropped has let go.
    pollster::block_on(open()).unwrap();
}

/// Every call, dropped at each of its awaits: what it did is there or not, but whole, and nobody else
/// notices.
pub fn every_await(backend: Backend) {
    let scratch = Scratch::new();
    let store = crate::workload::open(backend, &scratch.path("files"), Durability::PowerLoss).unwrap();
    let slug = guru(0);
    let memory = |n: u64| Memory::from_json(&format!(r#"{{"n":{n}}}"#)).unwrap();
    let users = |n: u64| (0..40).map(move |id| User::new(format!("{id}"), memory(n))).collect::<Vec<_>>();
    let write = |n: u64| pollster::block_on(store.upsert_batch(&slug, users(n).into())).unwrap();
    let body = |n: u64| {
        let filler = "x".repeat(16_000);
        let user =
            |id: u64| format!(r#"{{"external_user_id":"{id}","memory":{{"n":{n}}},"filler":"{filler}"}}"#);
        format!(r#"{{"users":[{}]}}"#, (0..40).map(user).collect::<Vec<_>>().join(","))
    };
    let ids: Vec<_> = (0..40).map(|id| ExternalUserId::new(format!("{id}")).unwrap()).collect();
    // All forty, of one write; or none at all.
    let whole = || {
        let page = pollster::block_on(store.list(&slug, &ListOptions::default())).unwrap();
        let memories: std::collections::BTreeSet<_> =
            page.profiles.iter().map(|profile| profile.memory.as_str()).collect();
        memories.len() <= 1 && matches!(page.profiles.len(), 0 | 40)
    };
    type Call<'a> = std::pin::Pin<Box<dyn Future<Output = ()> + Send + 'a>>;
    let (store, slug, ids) = (&store, &slug, &ids);
    type Make<'a> = Box<dyn Fn(u64) -> Call<'static> + 'a>;
    let calls: Vec<(&str, Make<'_>)> = vec![
        ("a body", {
            Box::new(move |n| {
                let (store, slug, body) = (store.clone(), slug.clone(), body(n));
                Box::pin(async move {
                    drop(Guru::new(&store, slug.clone()).upsert_json(body.as_bytes()).await.unwrap())
                })
            })
        }),
        ("users", {
            Box::new(move |n| {
                let (store, slug, users) = (store.clone(), slug.clone(), users(n));
                Box::pin(async move { drop(store.upsert_batch(&slug, users.into()).await.unwrap()) })
            })
        }),
        ("a merge", {
            Box::new(move |n| {
                let (store, slug, users) = (store.clone(), slug.clone(), users(n));
                Box::pin(async move {
                    drop(store.upsert_batch(&slug, Batch::from_users(users).merging()).await.unwrap());
                })
            })
        }),
        ("delete_many", {
            Box::new(move |_| {
                let (store, slug, ids) = (store.clone(), slug.clone(), ids.clone());
                Box::pin(async move { drop(store.delete_many(&slug, &ids).await.unwrap()) })
            })
        }),
        ("delete_guru", {
            Box::new(move |_| {
                let (store, slug) = (store.clone(), slug.clone());
                Box::pin(async move { assert!(store.delete_guru(&slug).await.unwrap() <= 40) })
            })
        }),
        ("reads", {
            Box::new(move |_| {
                let (store, slug, ids) = (store.clone(), slug.clone(), ids.clone());
                Box::pin(async move {
                    drop(store.get_many(&slug, &ids).await.unwrap());
                    drop(store.list(&slug, &ListOptions::default()).await.unwrap());
                    store.count(&slug).await.unwrap();
                    drop(store.gurus(None, 9).await.unwrap());
                    drop(store.verify().await.unwrap());
                    store.stats().await.unwrap();
                })
            })
        }),
    ];
    let (mut n, mut drops) = (0, 0);
    for (what, call) in &calls {
        for polls in 0.. {
            n += 1;
            assert!(write(n).is_complete());
            let ended = poll_times(call(n + 1_000), polls);
            drops += u64::from(!ended);
            assert!(whole(), "{what}, dropped after {polls} polls: in part");
            if ended {
                break;
            }
        }
    }
    println!("  {} calls dropped at {drops} awaits, none in part", calls.len());
    // Two writes in one future are not one.
    let noticed = (0..20).any(|polls| {
        assert!(write(1).is_complete());
        let (store, slug, mut users) = (store.clone(), slug.clone(), users(2));
        let rest = users.split_off(20);
        let halves = async move {
            drop(store.upsert_batch(&slug, users.into()).await.unwrap());
            let mut waited = false;
            std::future::poll_fn(|context| {
                context.waker().wake_by_ref();
                if std::mem::replace(&mut waited, true) { Poll::Ready(()) } else { Poll::Pending }
            })
            .await;
            drop(store.upsert_batch(&slug, rest.into()).await.unwrap());
        };
        poll_times(Box::pin(halves), polls);
        !whole()
    });
    println!("  control, a batch in two halves: noticed {noticed}");
    assert!(noticed, "a batch in part goes unnoticed");
    // Closing, too, dropped half-way.
    for polls in 0..3 {
        poll_times(
            Box::pin({
                let store = store.clone();
                async move { store.close().await.unwrap() }
            }),
            polls,
        );
    }
    pollster::block_on(store.close()).unwrap();
}

/// Polls a future that often, each time once it has been woken, and drops it. Whether it ended.
fn poll_times(mut future: std::pin::Pin<Box<dyn Future<Output = ()> + Send>>, polls: u64) -> bool {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    for poll in 0..polls {
        if poll > 0 {
            std::thread::park();
        }
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return true;
        }
    }
    false
}

pub fn many_tasks(backend: Backend) {
    const TASKS: u64 = 10_000;
    let scratch = Scratch::new();
    // All of them wait at once: nobody is to be told `Busy`, on any machine.
    let options = StoreOptions::default().with_busy_timeout(Duration::from_secs(60));
    let store = crate::workload::open_with(backend, &scratch.path("files"), options).unwrap();
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(async {
        let tasks: Vec<_> = (0..TASKS)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move {
                    let (slug, id) = (guru(n % 3), format!("{n}"));
                    let memory = Memory::from_json(&format!(r#"{{"n":{n}}}"#)).unwrap();
                    let guru = Guru::new(store, slug);
                    guru.upsert(User::new(id.as_str(), memory.clone())).await.unwrap();
                    // S9.
                    assert_eq!(guru.get(&id).await.unwrap().unwrap().memory, memory);
                })
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let mut count = 0;
        for writer in 0..3 {
            count += store.count(&guru(writer)).await.unwrap();
        }
        assert_eq!(count, TASKS);
    });
    println!("  {TASKS} tasks at once, each an upsert and a read: {:.1} s", start.elapsed().as_secs_f64());
}

/// A task that panics with its write under way harms nobody else.
pub fn panicking_caller(backend: Backend) {
    let scratch = Scratch::new();
    let store = crate::workload::open(backend, &scratch.path("files"), Durability::PowerLoss).unwrap();
    std::panic::set_hook(Box::new(|_| {}));
    for n in 0..50_u64 {
        let caller = std::thread::spawn({
            let store = store.clone();
            move || {
                let user = User::new("u", Memory::from_json(&format!(r#"{{"n":{n}}}"#)).unwrap());
                let slug = guru(7);
                let mut future = Box::pin(async { Guru::new(&store, slug.clone()).upsert(user).await });
                let poll = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
                assert!(matches!(poll, Poll::Ready(_)) && n == u64::MAX, "in the caller's task");
            }
        });
        assert!(caller.join().is_err());
        perform(&store, 0, n).unwrap();
    }
    drop(std::panic::take_hook());
    assert_eq!(observe(&store, 0).unwrap(), state(0, 50));
    pollster::block_on(store.close()).unwrap();
    println!("  50 callers panicked, 50 others were served");
}

//! Many callers at once, callers that go away, and the end of a store (S1, S3, S9–S11).

use std::future::{Future, poll_fn};
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::{self, ScopedJoinHandle};

use pollster::block_on;

use super::harness::{
    MakeFixture, Stage, Subject, assert_complete, assert_fails, body, id, ids, outcomes, slug,
};
use crate::admission::batch::Batch;
use crate::admission::report::Outcome;
use crate::model::error::{Error, ErrorKind};
use crate::model::limits::Limits;
use crate::store::list::ListOptions;
use crate::store::upkeep::Probe;

/// S1.
pub(super) fn nobody_sees_half_a_batch(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let ids: Vec<_> = (0..20).map(|n| format!("u{n:02}")).collect();
    let round = |n: usize| body(ids.iter().map(|id| (id, format!(r#"{{"n":{n}}}"#))));
    store.fill("g", round(0));
    let (done, reads) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let _done = WhenDropped(|| done.store(true, Ordering::SeqCst));
            // Until the reader has had its share, however slow it is; not for ever, should it fail.
            let overlapping = |n: &usize| *n <= 60 || (reads.load(Ordering::SeqCst) < 30 && *n <= 2000);
            for n in (1..).take_while(overlapping) {
                store.fill("g", round(n));
            }
        });
        let assert_one_round = |profiles: Vec<crate::model::profile::Profile>| {
            assert_eq!(profiles.len(), ids.len());
            let mut rounds: Vec<_> = profiles.iter().map(|profile| profile.memory.as_str()).collect();
            rounds.dedup();
            assert_eq!(rounds, rounds[..1], "the batches that are seen at once");
        };
        while !done.load(Ordering::SeqCst) && !stage.is_given_up() {
            assert_one_round(store.get_many("g", &ids).into_iter().flatten().collect());
            assert_one_round(store.page("g", None, 100).profiles);
            reads.fetch_add(1, Ordering::SeqCst);
        }
        joined(writer);
    });
}

/// S9.
pub(super) fn what_is_acknowledged_is_seen_by_all(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    thread::scope(|scope| {
        let mut writers = Vec::new();
        for writer in 0..8 {
            let store = store.clone();
            writers.push(scope.spawn(move || {
                for n in 0..25 {
                    let own = format!("w{writer}-{n}");
                    assert_eq!(store.put("g", &own, r#"{"by":1}"#), Outcome::Created);
                    let other = store.clone();
                    let seen = joined(scope.spawn(move || other.memory("g", &own)));
                    assert_eq!(seen.as_deref(), Some(r#"{"by":1}"#));
                }
            }));
        }
        writers.into_iter().for_each(joined);
    });
    assert_eq!(store.count("g"), 200);
    let store = stage.reopened(store);
    assert_eq!(store.list("g", 1000).len(), 200);
}

/// S9.
pub(super) fn one_profiles_history_only_moves_on(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.put("g", "u", r#"{"n":0}"#);
    assert_eq!(store.memory("g", "u").as_deref(), Some(r#"{"n":0}"#));
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let mut threads = vec![scope.spawn(|| {
            let _done = WhenDropped(|| done.store(true, Ordering::SeqCst));
            for n in 1..=100 {
                store.put("g", "u", &format!(r#"{{"n":{n}}}"#));
            }
        })];
        for _ in 0..2 {
            threads.push(scope.spawn(|| {
                let (mut last, mut moved) = (Some(0), None);
                while !stage.is_given_up() {
                    let ended = done.load(Ordering::SeqCst);
                    let profile = store.profile("g", "u");
                    let n = profile.memory.parse::<serde_json::Value>().expect("an object")["n"].as_u64();
                    let updated_at = Some(profile.updated_at);
                    assert!(n >= last, "n: expected {last:?} or more, got {n:?}");
                    assert!(
                        updated_at >= moved,
                        "updated_at: expected {moved:?} or later, got {updated_at:?}"
                    );
                    (last, moved) = (n, updated_at);
                    if ended {
                        assert_eq!(n, Some(100), "all that was acknowledged is seen");
                        return;
                    }
                }
            }));
        }
        threads.into_iter().for_each(joined);
    });
    assert_eq!(store.memory("g", "u").as_deref(), Some(r#"{"n":100}"#));
}

/// S1, S10.
pub(super) fn a_dropped_future_leaves_all_or_nothing(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let guru = slug("g");
    for polls in 0..6 {
        let ids: Vec<_> = (0..40).map(|n| format!("p{polls}-{n}")).collect();
        let request = body(ids.iter().map(|id| (id, "{}")));
        poll_and_drop(store.0.upsert_batch(&guru, Batch::from_json(request.as_bytes())), polls);
        assert_all_or_none(&store, &ids, polls);
        poll_and_drop(store.0.get_many(&guru, &self::ids(&ids)), polls);
        poll_and_drop(store.0.list(&guru, &ListOptions::default()), polls);
        poll_and_drop(store.0.count(&guru), polls);
        poll_and_drop(store.0.gurus(None, 10), polls);
        poll_and_drop(store.0.delete_many(&guru, &self::ids(&ids[..20])), polls);
        assert_eq!(store.put("g", &format!("after-{polls}"), "{}"), Outcome::Created, "the store goes on");
    }
    let store = stage.reopened(store);
    for polls in 0..6 {
        let halves = [0..20, 20..40].map(|half| {
            let ids: Vec<_> = half.map(|n| format!("p{polls}-{n}")).collect();
            store.get_many("g", &ids).iter().flatten().count()
        });
        assert!(
            matches!(halves, [0, 0] | [0, 20] | [20, 20]),
            "the halves after {polls} polls: expected [0, 0], [0, 20] or [20, 20], got {halves:?}"
        );
        assert_eq!(store.memory("g", &format!("after-{polls}")).as_deref(), Some("{}"));
    }
}

/// S1, S10.
pub(super) fn a_large_batch_can_be_dropped_anywhere(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let guru = slug("g");
    // Long enough for admission to pause, more than once, before the store hears of it.
    let memory = format!(r#"{{"a":"{}"}}"#, "x".repeat(40_000));
    let ids: Vec<_> = (0..12).map(|n| format!("u{n:02}")).collect();
    let request = body(ids.iter().map(|id| (id, &memory)));
    for polls in 0..9 {
        poll_and_drop(store.0.upsert_batch(&guru, Batch::from_json(request.as_bytes())), polls);
        assert_all_or_none(&store, &ids, polls);

        store.fill("g", &request);
        poll_and_drop(store.0.delete_guru(&guru), polls);
        assert_all_or_none(&store, &ids, polls);
        store.delete_guru("g");
        assert_eq!((store.count("g"), store.list("g", 100).len()), (0, 0));
    }
    store.fill("g", &request);
    let store = stage.reopened(store);
    assert_eq!(store.ids("g"), ids);
}

/// S10.
pub(super) fn closing_can_be_dropped_and_repeated(make: MakeFixture<'_>) {
    for polls in 0..4 {
        let (stage, store) = Stage::opened(make);
        store.put("g", "u", "{}");
        poll_and_drop(store.0.close(), polls);
        at_once(|_| store.close());
        assert_fails(block_on(store.0.count(&slug("g"))), ErrorKind::Closed, "count, of a closed store");
        if stage.is_persistent() {
            drop(store);
            assert_eq!(stage.open(Limits::default()).ids("g"), ["u"], "stored before the store was closed");
        }
    }
}

/// S10, S11.
pub(super) fn many_callers_are_served_at_once(make: MakeFixture<'_>) {
    let stage = Stage::new(make);
    let guru = slug("g");
    // A short queue has most of the callers wait for room.
    for queue_bytes in [1 << 10, 64 << 20] {
        let store = stage.open_as(stage.options().with_queue_bytes(queue_bytes));
        let requests: Vec<_> = (0..300).map(|n| body([(format!("u{queue_bytes}-{n}"), "{}")])).collect();
        let mut calls: Vec<_> = requests
            .iter()
            .map(|request| store.0.upsert_batch(&guru, Batch::from_json(request.as_bytes())))
            .collect();
        let mut context = Context::from_waker(Waker::noop());
        let mut under_way = Vec::new();
        for (n, mut call) in calls.drain(..).enumerate() {
            match call.as_mut().poll(&mut context) {
                Poll::Ready(report) => assert_complete(&report.expect("the store takes the request")),
                Poll::Pending if n % 3 == 0 => drop(call),
                Poll::Pending => under_way.push(call),
            }
        }
        for report in block_on(all_of(under_way)) {
            assert_complete(&report.expect("those given up are in nobody's way"));
        }
        let all: Vec<_> = (0..300).map(|n| format!("u{queue_bytes}-{n}")).collect();
        let lost: Vec<_> =
            (0..).zip(store.get_many("g", &all)).filter(|(n, there)| n % 3 != 0 && there.is_none()).collect();
        assert_eq!(lost, [], "acknowledged");
        store.fill("g", body(all.iter().map(|id| (id, "{}"))));
        assert_eq!(store.get_many("g", &all).iter().flatten().count(), 300);
        store.close();
    }
}

/// S5, S9.
pub(super) fn of_writers_at_once_one_creates(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    for round in 0..10 {
        let ids = ["a", "b", "c"].map(|id| format!("{id}{round}"));
        let retry = body(ids.iter().map(|id| (id, "{}")));
        let told = at_once(|_| outcomes(&store.send("g", &retry)));
        for place in 0..ids.len() {
            let created = told.iter().filter(|outcomes| outcomes[place] == Outcome::Created).count();
            let unchanged = told.iter().filter(|outcomes| outcomes[place] == Outcome::Unchanged).count();
            assert_eq!((created, unchanged), (1, CALLERS - 1), "the same batch, round {round}");
        }

        let contested = format!("u{round}");
        let told = at_once(|n| store.put("g", &contested, &format!(r#"{{"by":{n}}}"#)));
        assert_eq!(told.iter().filter(|outcome| **outcome == Outcome::Created).count(), 1);
        assert_eq!(told.iter().filter(|outcome| **outcome == Outcome::Updated).count(), CALLERS - 1);
        let profile = store.profile("g", &contested);
        let written: Vec<_> = (0..CALLERS).map(|n| format!(r#"{{"by":{n}}}"#)).collect();
        assert!(
            written.iter().any(|text| profile.memory.as_str() == text),
            "the memory: expected one of {written:?}, got {}",
            profile.memory.as_str()
        );
        // The clock stands still, so each update is one microsecond after the one before.
        let moved = profile.updated_at.as_micros() - profile.created_at.as_micros();
        assert_eq!(moved, CALLERS as i64 - 1, "every write has seen the one before it");
    }
}

/// S9, L2.
pub(super) fn of_deleters_at_once_one_is_told(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    for round in 0..10 {
        store.fill("g", body([("a", "{}"), ("b", "{}"), ("c", "{}")]));
        let told = at_once(|_| store.delete_many("g", &["a", "b"]));
        for place in 0..2 {
            let deleted = told.iter().filter(|told| told[place]).count();
            assert_eq!(deleted, 1, "round {round}: {told:?}");
        }
        let told = at_once(|_| store.delete_guru("g"));
        assert_eq!(told.iter().sum::<u64>(), 1, "round {round}: {told:?}");
    }
}

/// S2, S9.
pub(super) fn closing_answers_every_caller(make: MakeFixture<'_>) {
    /// Far more than a caller makes until the store is closed. Not for ever, should it never be.
    const WRITES: usize = 20_000;
    let stage = Stage::new(make);
    // A short queue, so that some callers wait for room when the store closes.
    let store = stage.open_as(stage.options().with_queue_bytes(1 << 10));
    let (acknowledged, writers, closed) =
        (&AtomicUsize::new(0), &AtomicUsize::new(CALLERS - 1), &AtomicBool::new(false));
    let call = &store;
    let write = |caller: usize| {
        let _ended = WhenDropped(|| {
            writers.fetch_sub(1, Ordering::SeqCst);
        });
        let mut stored = Vec::new();
        while stored.len() < WRITES {
            let (id, late) = (format!("{caller}-{}", stored.len()), closed.load(Ordering::SeqCst));
            match call.try_send("g", body([(&id, "{}")])) {
                Ok(_) if late => panic!("a write after close: expected Closed, got Ok"),
                Ok(report) => assert_complete(&report),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Closed);
                    return stored;
                }
            }
            acknowledged.fetch_add(1, Ordering::SeqCst);
            stored.push(id);
        }
        stored
    };
    let told = at_once(|caller| {
        if caller > 0 {
            return write(caller);
        }
        // Not for ever, should they fail.
        let few = || acknowledged.load(Ordering::SeqCst) < 20 && writers.load(Ordering::SeqCst) > 0;
        while few() && !stage.is_given_up() {
            thread::yield_now();
        }
        let _closed = WhenDropped(|| closed.store(true, Ordering::SeqCst));
        call.close();
        vec![]
    });
    if stage.is_persistent() {
        drop(store);
        let store = stage.open(Limits::default());
        let told = told.concat();
        let lost: Vec<_> =
            told.iter().zip(store.get_many("g", &told)).filter(|(_, there)| there.is_none()).collect();
        assert_eq!(lost, [], "acknowledged");
        // A write that was refused may not have been made either.
        assert_eq!(store.count("g"), told.len() as u64);
    }
}

/// S2, S9: whichever call returns first, the store has come to its end.
pub(super) fn a_second_close_waits_for_the_first(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let guru = slug("g");
    // Under way, so that closing takes its time.
    let requests: Vec<_> = (0..40)
        .map(|n| {
            body(
                (0..50)
                    .map(|user| (format!("{n:02}-{user:02}"), format!(r#"{{"a":"{}"}}"#, "x".repeat(1000)))),
            )
        })
        .collect();
    let mut context = Context::from_waker(Waker::noop());
    let (mut under_way, mut stored) = (Vec::new(), 0);
    for request in &requests {
        let mut call = store.0.upsert_batch(&guru, Batch::from_json(request.as_bytes()));
        match call.as_mut().poll(&mut context) {
            Poll::Ready(report) => stored += report.expect("the store takes the request").processed_users(),
            Poll::Pending => under_way.push(call),
        }
    }
    let reopened = Mutex::new(None);
    at_once(|_| {
        store.close();
        let counted = block_on(store.0.count(&guru));
        assert_eq!(counted.map_err(|error| error.kind()), Err(ErrorKind::Closed), "a call after close");
        if stage.is_persistent() {
            let mut reopened = reopened.lock().expect("nobody panics while it opens the store");
            reopened.get_or_insert_with(|| stage.open(Limits::default()));
        }
    });
    for report in block_on(all_of(under_way)) {
        match report {
            Ok(report) => stored += report.processed_users(),
            Err(error) => assert_eq!(error.kind(), ErrorKind::Closed),
        }
    }
    if let Some(store) = reopened.into_inner().expect("nobody panics while it opens the store") {
        assert_eq!(store.count("g"), stored as u64, "what was acknowledged is there");
    }
}

/// S3, S9.
pub(super) fn a_closed_store_refuses_everything(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.put("g", "u", "{}");
    store.close();
    store.close();
    let guru = slug("g");
    let assert_closed = |error: Option<Error>, what: &str| {
        assert_eq!(error.map(|error| error.kind()), Some(ErrorKind::Closed), "{what}");
    };
    let users = r#"{"users":[{"external_user_id":"u","memory":{}}]}"#;
    assert_closed(store.try_send("g", users).err(), "upsert_batch");
    assert_closed(block_on(store.guru("g").get("u")).err(), "get_many");
    assert_closed(block_on(store.0.list(&guru, &ListOptions::default())).err(), "list");
    assert_closed(block_on(store.0.count(&guru)).err(), "count");
    assert_closed(block_on(store.0.gurus(None, 1)).err(), "gurus");
    assert_closed(block_on(store.0.delete_many(&guru, &[id("u")])).err(), "delete_many");
    assert_closed(block_on(store.0.delete_guru(&guru)).err(), "delete_guru");
    assert_closed(block_on(store.0.stats()).err(), "stats");
    assert_closed(block_on(store.0.verify()).err(), "verify");
    assert_closed(block_on(store.0.compact()).err(), "compact");
    assert_closed(block_on(store.0.health(Probe::Read)).err(), "health, reading");
    assert_closed(block_on(store.0.health(Probe::Write)).err(), "health, writing");
    if stage.is_persistent() {
        drop(store);
        assert_eq!(stage.open(Limits::default()).ids("g"), ["u"], "stored before the store was closed");
    }
}

/// S1, A5.
pub(super) fn a_full_batch_is_one_batch(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let users: Vec<_> = (0..10_000).map(|n| (format!("user-{n:05}"), format!(r#"{{"n":{n}}}"#))).collect();
    let report = store.send("g", body(users.iter().map(|(id, memory)| (id, memory))));
    assert_eq!((report.total_users(), report.counts().created), (10_000, 10_000));
    let store = stage.reopened(store);
    let listed = store.list("g", 10_000);
    assert_eq!(listed.len(), users.len());
    for (profile, (id, memory)) in listed.iter().zip(&users) {
        assert_eq!(
            (profile.external_user_id.as_str(), profile.memory.as_str()),
            (id.as_str(), memory.as_str())
        );
    }
}

/// The profiles of a call that was dropped after some polls.
#[track_caller]
fn assert_all_or_none(store: &Subject, ids: &[String], polls: usize) {
    let (there, all) = (store.get_many("g", ids).iter().flatten().count(), ids.len());
    assert!(there == 0 || there == all, "profiles after {polls} polls: expected 0 or {all}, got {there}");
}

/// Polls a future some times, with nobody to be woken, and drops it.
fn poll_and_drop<T>(future: impl Future<Output = T>, polls: usize) {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..polls {
        if future.as_mut().poll(&mut context).is_ready() {
            return;
        }
        // The store's threads get the time to take the call up, and the next poll another state.
        thread::yield_now();
    }
}

/// How many callers [`at_once`] has.
const CALLERS: usize = 6;

/// Makes the same call from several threads that start together, and returns what each got.
fn at_once<T: Send>(call: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let start = Barrier::new(CALLERS);
    let (start, call) = (&start, &call);
    thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|n| {
                scope.spawn(move || {
                    start.wait();
                    call(n)
                })
            })
            .collect();
        callers.into_iter().map(joined).collect()
    })
}

/// Waits for a thread, and fails in its words if it has failed.
fn joined<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// Does something when it is dropped, also by a panic: nobody waits in vain for what it would have said.
struct WhenDropped<F: Fn()>(F);

impl<F: Fn()> Drop for WhenDropped<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// Waits for all futures at once, and gives what they gave, in their order.
async fn all_of<F: Future + Unpin>(mut futures: Vec<F>) -> Vec<F::Output> {
    let mut outputs: Vec<_> = futures.iter().map(|_| None).collect();
    poll_fn(|context| {
        for (future, output) in futures.iter_mut().zip(&mut outputs) {
            if output.is_none()
                && let Poll::Ready(ready) = Pin::new(future).poll(context)
            {
                *output = Some(ready);
            }
        }
        if outputs.iter().all(Option::is_some) { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    outputs.into_iter().flatten().collect()
}

//! Other ways to write: merging, conditions, all or nothing (S6, S7, S1).

use std::thread;

use pollster::block_on;

use super::harness::{
    MakeFixture, Stage, Subject, assert_begins, assert_complete, assert_fails, assert_holds, body, errors,
    outcomes, slug,
};
use crate::admission::batch::{Batch, User};
use crate::admission::report::{Outcome, UpsertReport};
use crate::model::error::ErrorKind;
use crate::model::item_error::ItemError;
use crate::model::limits::Limits;
use crate::model::memory::Memory;

fn memory(text: &str) -> Memory {
    Memory::from_json(text).expect("a valid memory")
}

fn user(id: &str, text: &str) -> User {
    User::new(id, memory(text))
}

fn send(store: &Subject, batch: Batch<'_>) -> UpsertReport {
    block_on(store.0.upsert_batch(&slug("g"), batch)).expect("the store takes the batch")
}

/// Merges one patch through the documented request.
fn merge(store: &Subject, id: &str, patch: &str) -> UpsertReport {
    send(store, Batch::from_json(body([(id, patch)]).as_bytes()).merging())
}

/// S6: RFC 7396, section 3, and what a patch does not touch keeps its spelling.
pub(super) fn a_merge_patches_what_is_there(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let born = stage.clock.now();
    store.put(
        "g",
        "u",
        r#"{"title":"Goodbye!","n":[1.0,1E2],"author":{"givenName":"John","familyName":"Doe"},"tags":["example","sample"],"\u0063ontent":"unchanged"}"#,
    );
    let changed = stage.clock.advance();
    let patch =
        r#"{"title":"Hello!","phone":"+01-123","author":{"familyName":null},"tags":["example"],"none":null}"#;
    assert_eq!(outcomes(&merge(&store, "u", patch)), [Outcome::Updated]);
    let store = stage.reopened(store);
    let profile = store.profile("g", "u");
    assert_eq!(
        profile.memory.as_str(),
        r#"{"title":"Hello!","n":[1.0,1E2],"author":{"givenName":"John"},"tags":["example"],"\u0063ontent":"unchanged","phone":"+01-123"}"#
    );
    assert_eq!((profile.created_at, profile.updated_at), (born, changed));
}

/// S6.
pub(super) fn a_merge_creates_what_is_not_there(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    assert_eq!(outcomes(&merge(&store, "u", r#"{"a":1,"b":null,"c":{"d":null}}"#)), [Outcome::Created]);
    assert_eq!(store.memory("g", "u").as_deref(), Some(r#"{"a":1,"c":{}}"#));
    assert_eq!(store.count("g"), 1);
}

/// S4, S6.
pub(super) fn patches_of_one_id_apply_in_order(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let patches =
        body([("u", r#"{"a":1,"b":1}"#), ("v", "{}"), ("u", r#"{"a":null,"c":2}"#), ("u", r#"{"b":3}"#)]);
    let report = send(&store, Batch::from_json(patches.as_bytes()).merging());
    assert_eq!(outcomes(&report), [Outcome::Created; 4]);
    assert_eq!(store.memory("g", "u").as_deref(), Some(r#"{"b":3,"c":2}"#));
}

/// S5, S6.
pub(super) fn a_merge_repeated_changes_nothing(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.put("g", "u", r#"{"a":{"x":1,"y":2},"k":1,"k":2}"#);
    let patches = body([
        ("u", r#"{"a":{"x":null,"z":[null]},"k":3}"#),
        ("u", r#"{"a":null,"new":{"a":null}}"#),
        // It comes back where it was.
        ("u", r#"{"a":{"y":2}}"#),
    ]);
    assert_complete(&send(&store, Batch::from_json(patches.as_bytes()).merging()));
    let before = store.profile("g", "u");
    assert_eq!(before.memory.as_str(), r#"{"a":{"y":2},"k":3,"new":{}}"#);
    stage.clock.advance();
    let again = send(&store, Batch::from_json(patches.as_bytes()).merging());
    assert_eq!(outcomes(&again), [Outcome::Unchanged; 3]);
    assert_eq!(store.profile("g", "u"), before);
}

/// S5, A5: the limits hold for what several patches come to, from wherever they begin.
pub(super) fn patches_that_fit_together_can_be_repeated(make: MakeFixture<'_>) {
    let limits = Limits::default().with_memory_bytes(24).with_memory_depth(2);
    let (stage, store) = Stage::opened_with(make, limits);
    for patches in [
        [r#"{"a":1}"#, r#"{"a":2,"d":"xxxxx"}"#, r#"{"d":null,"e":"xxxxx"}"#],
        [r#"{"f":"12345678"}"#, r#"{"g":"1234"}"#, r#"{"f":null,"e":null}"#],
    ] {
        let patches = body(patches.map(|patch| ("u", patch)));
        assert_complete(&send(&store, Batch::from_json(patches.as_bytes()).merging()));
        let before = store.profile("g", "u");
        assert!(before.memory.as_str().len() <= 24, "expected at most 24 bytes, got {before:?}");
        stage.clock.advance();
        let again = send(&store, Batch::from_json(patches.as_bytes()).merging());
        assert_eq!(outcomes(&again), [Outcome::Unchanged; 3], "{patches}");
        assert_eq!(store.profile("g", "u"), before);
    }
}

/// S6, A5.
pub(super) fn a_merge_beyond_the_limits_is_refused(make: MakeFixture<'_>) {
    let limits = Limits::default().with_memory_bytes(20).with_memory_depth(2);
    let (_stage, store) = Stage::opened_with(make, limits);
    store.put("g", "u", r#"{"a":"12345"}"#);
    let patches = body([("u", r#"{"b":"12345"}"#), ("u", r#"{"c":1}"#), ("v", r#"{"c":1}"#)]);
    let report = send(&store, Batch::from_json(patches.as_bytes()).merging());
    assert_eq!(errors(&report, 0), ["memory must be at most 20 bytes"]);
    assert_eq!((report.processed_users(), report.counts().failed), (2, 1));
    assert_eq!(store.memory("g", "u").as_deref(), Some(r#"{"a":"12345","c":1}"#), "the others go on");
}

/// S6.
pub(super) fn merging_is_chosen_for_each_user_too(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.fill("g", body([("a", r#"{"n":1}"#), ("b", r#"{"n":1}"#)]));
    let users = vec![user("a", r#"{"m":2}"#).merging(), user("b", r#"{"m":2}"#)];
    assert_complete(&send(&store, users.into()));
    assert_eq!(store.memory("g", "a").as_deref(), Some(r#"{"n":1,"m":2}"#));
    assert_eq!(store.memory("g", "b").as_deref(), Some(r#"{"m":2}"#));
    // A replacement between two patches.
    let users =
        vec![user("a", r#"{"x":1}"#).merging(), user("a", r#"{"y":1}"#), user("a", r#"{"z":1}"#).merging()];
    assert_complete(&send(&store, users.into()));
    assert_eq!(store.memory("g", "a").as_deref(), Some(r#"{"y":1,"z":1}"#));
}

/// S7.
pub(super) fn if_match_judges_by_the_etag(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.put("g", "u", r#"{"n":1}"#);
    let first = store.profile("g", "u").etag();
    let write = |text: &str, etag| send(&store, user("u", text).if_match(etag).into());
    assert_eq!(outcomes(&write(r#"{"n":2}"#, first)), [Outcome::Updated]);
    let late = write(r#"{"n":3}"#, first);
    assert_eq!(late.results()[0].result, Err(vec![ItemError::Changed]));
    assert_holds(&late.to_json(), r#""success":false,"errors":["profile does not have the expected ETag"]"#);
    assert_eq!(store.memory("g", "u").as_deref(), Some(r#"{"n":2}"#));
    let absent = send(&store, user("nobody", "{}").if_match(first).into());
    assert_eq!(absent.results()[0].result, Err(vec![ItemError::Changed]));
    assert_eq!(store.count("g"), 1);
}

/// S7.
pub(super) fn if_absent_only_creates(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    assert_eq!(outcomes(&send(&store, user("u", "{}").if_absent().into())), [Outcome::Created]);
    let again = send(&store, user("u", r#"{"n":1}"#).if_absent().into());
    assert_eq!(again.results()[0].result, Err(vec![ItemError::Exists]));
    assert_eq!(store.memory("g", "u").as_deref(), Some("{}"));
    // A user has one condition, the last one.
    let (etag, other) = (memory("{}").etag(), memory(r#"{"n":0}"#).etag());
    let both = send(&store, user("u", r#"{"n":1}"#).if_match(etag).if_absent().into());
    assert_eq!(both.results()[0].result, Err(vec![ItemError::Exists]));
    let both = send(&store, user("u", r#"{"n":1}"#).if_absent().if_match(other).if_match(etag).into());
    assert_eq!(outcomes(&both), [Outcome::Updated]);
}

/// S4, S7.
pub(super) fn conditions_see_the_earlier_users_of_their_batch(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let etag = memory(r#"{"n":1}"#).etag();
    let users = vec![
        user("u", r#"{"n":1}"#).if_absent(),
        user("u", r#"{"n":9}"#).if_absent(),
        user("u", r#"{"n":2}"#).if_match(etag),
        user("u", r#"{"n":9}"#).if_match(etag),
    ];
    let report = send(&store, users.into());
    let told: Vec<_> = report.results().iter().map(|result| result.result.clone()).collect();
    let (stored, exists, changed) =
        (Ok(Outcome::Created), Err(vec![ItemError::Exists]), Err(vec![ItemError::Changed]));
    assert_eq!(told, [stored.clone(), exists, stored, changed.clone()]);
    assert_eq!(store.memory("g", "u").as_deref(), Some(r#"{"n":2}"#));
    let etag = memory(r#"{"n":2}"#).etag();
    let users = ["a", "b"].map(|name| user("u", &format!(r#"{{"{name}":1}}"#)).merging().if_match(etag));
    let report = send(&store, users.to_vec().into());
    assert_eq!((report.results()[0].is_success(), &report.results()[1].result), (true, &changed));
}

/// R2, S7.
pub(super) fn a_failed_condition_costs_no_other_user(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.put("g", "b", "{}");
    let report =
        send(&store, vec![user("a", "{}"), user("b", r#"{"n":1}"#).if_absent(), user("c", "{}")].into());
    assert_eq!((report.processed_users(), report.results()[1].is_success()), (2, false));
    assert_eq!(store.ids("g"), ["a", "b", "c"]);
    assert_eq!(store.memory("g", "b").as_deref(), Some("{}"));
}

/// S7, L2.
pub(super) fn delete_if_match_judges_by_the_etag(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.put("g", "u", r#"{"n":1}"#);
    let etag = store.profile("g", "u").etag();
    store.put("g", "u", r#"{"n":2}"#);
    for id in ["u", "nobody", ""] {
        let told = block_on(store.guru("g").delete_if_match(id, etag));
        let refused = assert_fails(told, ErrorKind::Conflict, "deleting what has another ETag, or none");
        assert_eq!(refused.external_user_id(), Some(id));
    }
    assert_eq!(store.ids("g"), ["u"]);
    let etag = store.profile("g", "u").etag();
    block_on(store.guru("g").delete_if_match("u", etag)).expect("the ETag is this one");
    assert_eq!(store.count("g"), 0);
}

/// S1.
pub(super) fn all_or_nothing_stores_all_or_nothing(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.put("g", "there", "{}");
    let before = store.list("g", 10);
    let good = || vec![user("a", "{}"), user("there", r#"{"n":1}"#), user("b", "{}")];
    let bad = [
        User::from_json("7"),
        user("there", "{}").if_absent(),
        user("c", "{}").if_match(memory("{}").etag()),
    ];
    for (n, bad) in bad.into_iter().enumerate() {
        let mut users = good();
        users.insert(n, bad);
        let report = send(&store, Batch::from_users(users).all_or_nothing());
        assert_eq!(report.processed_users(), 0);
        for (index, result) in report.results().iter().enumerate() {
            let not_stored = result.result == Err(vec![ItemError::NotStored]);
            assert_eq!(not_stored, index != n, "user {index} of batch {n}: {:?}", result.result);
        }
        assert_begins(&report.to_json(), r#"{"status":"error","#);
        assert_eq!(store.list("g", 10), before, "batch {n}");
    }
    let body = format!(r#"{{"users":[7],"users":[{}]}}"#, super::harness::item("a", "{}"));
    // The last `users` counts.
    assert_complete(&send(&store, Batch::from_json(body.as_bytes()).all_or_nothing()));
    assert_complete(&send(&store, Batch::from_users(good()).all_or_nothing()));
    assert_eq!(store.ids("g"), ["a", "b", "there"]);
}

/// S7, S9: two tasks that count in one profile lose no increment.
pub(super) fn no_concurrent_update_is_lost(make: MakeFixture<'_>) {
    const INCREMENTS: u64 = 150;
    let (_stage, store) = Stage::opened(make);
    let count = |memory: &Memory| memory.parse::<serde_json::Value>().expect("an object")["n"].as_u64();
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..INCREMENTS {
                    let increment = |current: Option<&Memory>| {
                        let n = current.and_then(count).unwrap_or(0) + 1;
                        Some(memory(&format!(r#"{{"n":{n}}}"#)))
                    };
                    let updated = block_on(store.guru("g").update_with("counter", increment));
                    updated.expect("the store updates");
                }
            });
        }
    });
    assert_eq!(count(&store.profile("g", "counter").memory), Some(2 * INCREMENTS));
    let unchanged = block_on(store.guru("g").update_with("counter", |_| None));
    assert_eq!(unchanged.expect("the store reads"), Outcome::Unchanged);
}

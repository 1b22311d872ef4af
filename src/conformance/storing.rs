//! The stored state, and its times (A3, S4–S7).

use super::harness::{MakeFixture, Stage, Subject, body, item, outcomes, request};
use crate::admission::report::Outcome;
use crate::model::memory::Memory;
use crate::model::timestamp::Timestamp;

/// A3.
pub(super) fn a_memory_comes_back_byte_for_byte(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let texts = [
        "{}",
        r#"{"b":1,"a":2,"B":3,"":4}"#,
        r#"{"n":[1180591620717411303424,1.0,1E2,1e-7,-0,0.10,100]}"#,
        r#"{"s":"\u0000\/\u00e9é\ud83d\ude00😀\\\" \t"}"#,
        r#"{"k":1,"k":{"k":2,"k":3},"k":[]}"#,
        r#"{"'":"''; DROP TABLE profile; --","%":"_"}"#,
        "{\"\u{7f}\u{2028}\u{feff}\":\"\u{10ffff}\"}",
    ];
    for (n, text) in texts.iter().enumerate() {
        store.put("g", &n.to_string(), text);
    }
    let spaced = " {\r\n\t\"a b\" : [ 1.0 , { } , \"x  y\" ]\n} ";
    store.fill("g", request([item("spaced", spaced)]));
    let assert_kept = |store: &Subject| {
        for (n, text) in texts.iter().enumerate() {
            assert_eq!(store.memory("g", &n.to_string()).as_deref(), Some(*text));
        }
        assert_eq!(store.memory("g", "spaced").as_deref(), Some(r#"{"a b":[1.0,{},"x  y"]}"#));
    };
    assert_kept(&store);
    assert_kept(&stage.reopened(store));
}

/// S6.
pub(super) fn an_upsert_replaces_the_memory(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    assert_eq!(store.put("g", "ada", r#"{"a":1,"b":{"c":2}}"#), Outcome::Created);
    assert_eq!(store.put("g", "ada", r#"{"b":{}}"#), Outcome::Updated);
    assert_eq!(store.memory("g", "ada").as_deref(), Some(r#"{"b":{}}"#));
    // The same value in another spelling is another text.
    for text in [r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#, r#"{"b":2.0,"a":1}"#, r#"{"b":2.0,"\u0061":1}"#] {
        assert_eq!(store.put("g", "ada", text), Outcome::Updated);
        assert_eq!(store.memory("g", "ada").as_deref(), Some(text));
    }
}

/// S4.
pub(super) fn the_last_copy_of_an_id_wins(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let report =
        store.send("g", body([("a", r#"{"n":1}"#), ("b", "{}"), ("a", r#"{"n":2}"#), ("a", r#"{"n":3}"#)]));
    assert_eq!(outcomes(&report), [Outcome::Created; 4]);
    assert_eq!(store.memory("g", "a").as_deref(), Some(r#"{"n":3}"#));
    assert_eq!(store.count("g"), 2);
}

/// S4, R2.
pub(super) fn a_copy_that_is_not_admitted_does_not_count(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let items =
        [item("a", r#"{"n":1}"#), item("a", r#"{"n":2}"#), item("a", "[]"), item("a", r#"{"n":1e999}"#)];
    let report = store.send("g", request(items));
    assert_eq!(report.processed_users(), 2);
    assert_eq!(store.memory("g", "a").as_deref(), Some(r#"{"n":2}"#));
}

/// S4, S5.
pub(super) fn outcomes_go_by_the_net_effect(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.put("g", "a", r#"{"n":1}"#);
    let before = store.profile("g", "a");
    stage.clock.advance();
    let there_and_back = body([("a", r#"{"n":2}"#), ("a", r#"{"n":1}"#)]);
    assert_eq!(outcomes(&store.send("g", there_and_back)), [Outcome::Unchanged; 2]);
    assert_eq!(store.profile("g", "a"), before, "the net effect is none");
    let changed = body([("a", r#"{"n":1}"#), ("a", r#"{"n":2}"#)]);
    assert_eq!(outcomes(&store.send("g", changed)), [Outcome::Updated; 2]);
}

/// S5.
pub(super) fn a_retry_changes_nothing(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let users: Vec<_> = (0..50).map(|n| (format!("u{n:02}"), format!(r#"{{"n":{n}}}"#))).collect();
    let whole = body(users.iter().map(|(id, memory)| (id, memory)));
    let part = body(users.iter().rev().step_by(3).map(|(id, memory)| (id, memory)));
    let first = store.send("g", &whole);
    let before = store.list("g", 100);
    let mut store = store;
    for round in 0..3 {
        stage.clock.advance();
        let retry = store.send("g", &whole);
        assert_eq!(outcomes(&retry), vec![Outcome::Unchanged; 50]);
        assert_eq!(retry.to_json(), first.to_json(), "the answer is the same");
        assert_eq!(outcomes(&store.send("g", &part)), vec![Outcome::Unchanged; 17]);
        assert_eq!(store.list("g", 100), before, "round {round}");
        store = stage.reopened(store);
    }
}

/// W3, S5.
pub(super) fn what_changes_nothing_leaves_no_trace(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    assert_eq!(store.send("g", r#"{"users":[]}"#).total_users(), 0);
    assert_eq!(store.send_users("g", vec![]).total_users(), 0);
    assert_eq!(store.send("g", r#"{"users":[{},7,{"external_user_id":"u"}]}"#).processed_users(), 0);
    assert_eq!(store.delete_many("g", &["u", "v"]), [false; 2]);
    assert_eq!((store.delete_guru("g"), store.count("g"), store.get("g", "u")), (0, 0, None));
    assert_eq!(store.gurus(), [""; 0]);
    let store = stage.reopened(store);
    assert_eq!(store.gurus(), [""; 0]);
}

/// S5, S7.
pub(super) fn space_alone_is_no_change(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.put("g", "a", r#"{"n":[1,2]}"#);
    let before = store.profile("g", "a");
    stage.clock.advance();
    let report = store.send("g", request([item("a", "{ \"n\" : [ 1,\n2 ] }")]));
    assert_eq!(outcomes(&report), [Outcome::Unchanged]);
    assert_eq!(store.profile("g", "a"), before);
}

/// S7.
pub(super) fn times_move_with_the_memory_alone(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let born = stage.clock.now();
    store.put("g", "a", r#"{"n":1}"#);
    assert_times(&store.profile("g", "a"), born, born);
    stage.clock.advance();
    store.put("g", "a", r#"{"n":1}"#);
    store.put("g", "b", "{}");
    assert_times(&store.profile("g", "a"), born, born);
    let changed = stage.clock.advance();
    store.put("g", "a", r#"{"n":2}"#);
    assert_times(&store.profile("g", "a"), born, changed);
    let store = stage.reopened(store);
    assert_times(&store.profile("g", "a"), born, changed);
}

/// S7.
pub(super) fn a_clock_that_steps_back_takes_no_time_back(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let born = stage.clock.now();
    store.put("g", "a", r#"{"n":1}"#);
    stage.clock.move_by(-5_000_000);
    let mut last = born;
    for n in 2..5 {
        store.put("g", "a", &format!(r#"{{"n":{n}}}"#));
        let profile = store.profile("g", "a");
        assert_eq!(profile.created_at, born);
        let updated_at = profile.updated_at;
        assert!(updated_at > last, "updated_at of change {n}: expected later than {last}, got {updated_at}");
        last = updated_at;
    }
    stage.clock.set(i64::MIN);
    assert_eq!(store.put("g", "early", "{}"), Outcome::Created);
    assert_eq!(store.profile("g", "early").created_at, Timestamp::from_micros(0));
}

/// S7.
pub(super) fn times_span_1970_to_9999(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let (first, last) = (Timestamp::from_micros(0), Timestamp::from_micros(i64::MAX));
    for (id, now) in [("first", first), ("last", last)] {
        stage.clock.set(now.as_micros());
        store.put("g", id, r#"{"n":1}"#);
        assert_times(&store.profile("g", id), now, now);
    }
    // There is no later moment to move on to.
    assert_eq!(store.put("g", "last", r#"{"n":2}"#), Outcome::Updated);
    assert_eq!(store.put("g", "first", r#"{"n":2}"#), Outcome::Updated);
    let store = stage.reopened(store);
    assert_times(&store.profile("g", "last"), last, last);
    assert_times(&store.profile("g", "first"), first, last);
}

/// S7, L2.
pub(super) fn a_profile_born_again_has_new_times(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.put("g", "a", "{}");
    assert!(store.delete("g", "a"), "deleting a profile: expected true, got false");
    let again = stage.clock.advance();
    assert_eq!(store.put("g", "a", "{}"), Outcome::Created);
    assert_times(&store.profile("g", "a"), again, again);
}

/// S7.
pub(super) fn etags_are_a_hash_of_the_stored_bytes(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let text = r#"{"plan":"pro"}"#;
    store.put("g", "a", text);
    store.put("h", "b", text);
    let etag = Memory::from_json(text).expect("a valid memory").etag();
    assert_eq!((store.profile("g", "a").etag(), store.profile("h", "b").etag()), (etag, etag));
    store.put("g", "a", r#"{"plan":"free"}"#);
    let other = store.profile("g", "a").etag();
    assert!(other != etag, "the ETag of another memory: expected another than {etag}, got {other}");
    store.put("g", "a", text);
    let store = stage.reopened(store);
    assert_eq!(store.profile("g", "a").etag(), etag);
}

fn assert_times(profile: &crate::model::profile::Profile, created_at: Timestamp, updated_at: Timestamp) {
    assert_eq!((profile.created_at, profile.updated_at), (created_at, updated_at));
}

//! How a request is read (R1–R3).

use pollster::block_on;

use super::harness::{
    MakeFixture, Stage, Subject, assert_fails, body, errors, item, outcomes, request, slug,
};
use crate::admission::batch::{Batch, User};
use crate::admission::report::Outcome;
use crate::model::error::ErrorKind;
use crate::model::limits::Limits;

/// R1.
pub(super) fn unknown_keys_are_ignored(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let report = store.send(
        "g",
        r#"{"version":{"users":[1]},"users":[{"id":7,"external_user_id":"ada","tags":[{"memory":1}],"memory":{"a":1},"Memory":2}],"":null}"#,
    );
    assert_eq!(outcomes(&report), [Outcome::Created]);
    assert_eq!(store.memory("g", "ada").as_deref(), Some(r#"{"a":1}"#));
}

/// R1, A2.
pub(super) fn unknown_keys_are_held_to_the_grammar_alone(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let deep = format!("{}{}", "[".repeat(1000), "]".repeat(1000));
    for foreign in ["1e999", r#""\ud800""#, r#"{"\udfff":[-1E+999]}"#, &deep] {
        let body = format!(
            r#"{{"x":{foreign},"users":[{{"y":{foreign},"external_user_id":"ada","memory":{{}},"z":{foreign}}}]}}"#
        );
        let report = store.send("g", body);
        assert!(
            report.is_complete(),
            "{foreign:.40} under an unknown key: expected it ignored, got {}",
            report.to_json()
        );
    }
}

/// R1.
pub(super) fn the_last_of_a_repeated_key_counts(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let report = store.send(
        "g",
        request([
            r#"{"external_user_id":"first","external_user_id":"last","memory":{"n":1},"memory":{"n":2}}"#,
            r#"{"external_user_id":7,"memory":[],"memory":{"n":3},"external_user_id":"mended"}"#,
            r#"{"external_user_id":"spoilt","memory":{"n":4},"memory":null}"#,
            r#"{"external_user_id":"gone","memory":{},"external_user_id":null}"#,
        ]),
    );
    assert_eq!(report.results()[0].external_user_id(), Some("last"));
    assert_eq!(report.results()[1].result, Ok(Outcome::Created));
    assert_eq!(errors(&report, 2), ["Missing memory data"]);
    assert_eq!(errors(&report, 3), ["Missing external_user_id"]);
    assert_eq!(store.ids("g"), ["last", "mended"]);
    assert_eq!(store.memory("g", "last").as_deref(), Some(r#"{"n":2}"#));
    assert_eq!(store.memory("g", "mended").as_deref(), Some(r#"{"n":3}"#));
}

/// R1, R3.
pub(super) fn the_last_users_counts(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened_with(make, Limits::default().with_batch_items(2));
    let (ada, bob) = (item("ada", "{}"), item("bob", "{}"));

    let report = store.send("g", format!(r#"{{"users":[{ada},{ada},{ada}],"users":[{bob}]}}"#));
    assert_eq!(report.total_users(), 1);
    assert_eq!(store.ids("g"), ["bob"], "the items of the first array do not count, nor their number");

    let report = store.send("g", format!(r#"{{"users":null,"users":[{bob},{ada}]}}"#));
    assert_eq!(outcomes(&report), [Outcome::Unchanged, Outcome::Created]);

    store.refusal("g", format!(r#"{{"users":[{ada}],"users":{{}}}}"#));
}

/// R1.
pub(super) fn keys_may_be_escaped(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let report = store.send(
        "g",
        r#"{"users":[1,2],"\u0075ser\u0073":[{"external\u005fuser_id":"ada","m\u0065mory":{"n":1},"memory":{"n":2}},{"memory":{"n":3},"\u006dem\u006fry":{"n":4},"external_user_id":"bob"}]}"#,
    );
    assert_eq!(outcomes(&report), [Outcome::Created; 2]);
    assert_eq!(store.memory("g", "ada").as_deref(), Some(r#"{"n":2}"#));
    assert_eq!(store.memory("g", "bob").as_deref(), Some(r#"{"n":4}"#));
}

/// R1.
pub(super) fn a_request_may_be_laid_out_freely(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let report = store.send(
        "g",
        "\r\n\t {\n    \"users\" : [\n\t{ \"external_user_id\"\r:\n\"ada\" ,\t\"memory\" : { } }\n , {\"memory\":{},\"external_user_id\":\"bob\"} ]\n }\n\t\r ",
    );
    assert_eq!(outcomes(&report), [Outcome::Created; 2]);
    assert_eq!(store.ids("g"), ["ada", "bob"]);
}

/// R2, A4.
pub(super) fn a_bad_item_costs_no_good_one(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let bad = [
        "null",
        "7",
        r#""ada""#,
        "[]",
        "{}",
        r#"{"external_user_id":"x"}"#,
        r#"{"memory":{}}"#,
        r#"{"external_user_id":"x","memory":{"a":1e999}}"#,
        r#"{"external_user_id":"x","memory":{"a":"\ud800"}}"#,
        r#"{"external_user_id":"\ud800","memory":{}}"#,
        r#"{"external_user_id":"","memory":{}}"#,
    ];
    let items =
        bad.iter().enumerate().flat_map(|(n, bad)| [(*bad).to_owned(), item(&format!("{n:02}"), "{}")]);
    let report = store.send("g", request(items));
    for (n, result) in report.results().iter().enumerate() {
        assert_eq!(result.is_success(), n % 2 == 1, "item {n}: {:?}", result.result);
    }
    assert_eq!(report.processed_users(), bad.len());
    assert_eq!(store.count("g"), bad.len() as u64);
}

/// R3.
pub(super) fn a_body_that_is_not_json_is_refused_with_its_position(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let good = item("ada", "{}");
    let bodies = [
        (String::new(), 1),
        (" ".to_owned(), 1),
        ("users".to_owned(), 1),
        (format!(r#"{{"users":[{good}"#), 1),
        (format!(r#"{{"users":[{good}]"#), 1),
        (format!(r#"{{"users":[{good},]}}"#), 1),
        (format!("{{\"users\":[{good}\n{good}]}}"), 2),
        (format!(r#"{{"users":[{good}]}} x"#), 1),
        (format!("{{\"users\":[{good}]}}\n\n{{}}"), 3),
        (format!("{{\"users\":[{good}],\n\n\n'a':1}}"), 4),
        (format!(r#"{{"users":[{good}],"a":01}}"#), 1),
        (format!("{{\"users\":[{good}],\n\"a\":\"\t\"}}"), 2),
        (format!("\u{feff}{{\"users\":[{good}]}}"), 1),
        (format!(r#"{{"users":[{good}],"a":NaN}}"#), 1),
        (format!(r#"{{"users":[{good}]/**/}}"#), 1),
    ];
    for (body, line) in bodies {
        assert_told(&store, body.as_bytes(), &format!("line {line} column "));
    }
    let broken = "{\"users\":[],\n\"a\":tru}";
    let oracle = serde_json::from_str::<serde_json::Value>(broken).expect_err("this is no JSON");
    assert_told(&store, broken.as_bytes(), &oracle.to_string());
}

/// R3.
pub(super) fn a_body_that_is_not_utf8_is_refused_with_its_position(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let mut text = format!("{{\"users\":[{},\n\"", item("ada", "{}")).into_bytes();
    for tail in [&b"\xff\"]}"[..], b"\xed\xa0\x80\"]}", b"\xc3"] {
        text.truncate(text.iter().position(|&byte| byte == b'\n').unwrap_or(0) + 2);
        text.extend_from_slice(tail);
        assert_told(&store, &text, "line 2 column 2");
    }
}

/// R3.
pub(super) fn a_body_of_another_shape_is_refused(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let good = item("ada", "{}");
    for body in ["null", "7", r#""users""#, &format!("[{good}]"), &format!(r#"[{{"users":[{good}]}}]"#)] {
        assert_told(&store, body.as_bytes(), "object");
    }
    let users = [
        r#"{}"#,
        r#"{"Users":[]}"#,
        r#"{"data":{"users":[]}}"#,
        r#"{"users":null}"#,
        r#"{"users":{"0":{}}}"#,
    ];
    for body in users {
        assert_told(&store, body.as_bytes(), "users");
    }
    for (body, position) in [
        ("\n [1]", "line 2 column 2"),
        ("{\"a\":1,\n\"users\": 7 }", "line 2 column 10"),
        ("{\n}\n", "line 2 column 1"),
    ] {
        let refusal = assert_refused(&store, body.as_bytes());
        assert!(
            refusal.ends_with(position),
            "refusing {body:?}: expected {position:?} at the end, got {refusal:?}"
        );
    }
}

/// R3, A5.
pub(super) fn too_many_items_are_refused_whole(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened_with(make, Limits::default().with_batch_items(3));
    let users = |n: usize| body((0..n).map(|n| (n.to_string(), "{}")));
    let refusal = assert_refused(&store, users(5).as_bytes());
    assert!(
        refusal.contains('5') && refusal.contains('3'),
        "too many users: expected their number, 5, and the limit, 3, got {refusal:?}"
    );
    assert_refused(&store, br#"{"users":[1,2,3,4]}"#);
    let built = (0..4).map(|n| User::from_json(item(&n.to_string(), "{}")));
    let told = block_on(store.0.upsert_batch(&slug("g"), Batch::from_users(built)));
    assert_fails(told, ErrorKind::InvalidRequest, "one user too many");
    assert_eq!(store.count("g"), 0);
    assert_eq!(store.send("g", users(3)).processed_users(), 3);
}

/// Sends a body that must be refused without a trace, and returns the words.
fn assert_refused(store: &Subject, body: &[u8]) -> String {
    let shown = String::from_utf8_lossy(body);
    let refusal = assert_fails(store.try_send("g", body), ErrorKind::InvalidRequest, &format!("{shown:?}"));
    assert!(!refusal.is_retryable(), "{shown:?}: expected an error not to be retried, got {refusal:?}");
    assert_eq!(store.count("g"), 0, "{shown:?} writes nothing");
    assert_eq!(store.gurus(), [""; 0], "{shown:?} writes nothing");
    refusal.to_string()
}

/// As [`assert_refused`], with words that hold these.
fn assert_told(store: &Subject, body: &[u8], expected: &str) {
    let (refusal, shown) = (assert_refused(store, body), String::from_utf8_lossy(body));
    assert!(refusal.contains(expected), "refusing {shown:?}: expected {expected:?} in it, got {refusal:?}");
}

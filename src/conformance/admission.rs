//! Which items are admitted, and what is said of the others (A1, A2, A4, A5).

use serde_json::{Map, Value};

use super::harness::{
    MakeFixture, Stage, Subject, assert_complete, body, errors, item, nested, outcomes, quoted, refusal,
    request,
};
use crate::admission::batch::User;
use crate::admission::report::Outcome;
use crate::model::limits::Limits;
use crate::model::memory::Memory;

/// A1.
pub(super) fn ids_are_told_apart_by_their_bytes(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let alike = [
        "ada",
        "Ada",
        "ADA",
        " ada",
        "ada ",
        "\tada",
        "ada\n",
        "a da",
        "\u{feff}ada",
        "ada\u{200b}",
        "caf\u{e9}",
        "cafe\u{301}",
        "CAF\u{c9}",
        "\u{212b}",
        "\u{c5}",
        "A\u{30a}",
        "stra\u{df}e",
        "strasse",
        "\u{131}",
        "i",
        "I",
        "\u{130}",
        "\u{fb01}",
        "fi",
        "\u{ff41}",
        "a",
        "1",
        "01",
        "1.0",
        "null",
        " ",
        "  ",
        "\u{a0}",
    ];
    for (n, id) in alike.iter().enumerate() {
        assert_eq!(store.put("g", id, &format!(r#"{{"n":{n}}}"#)), Outcome::Created, "{id:?}");
    }
    assert_eq!(store.count("g"), alike.len() as u64);
    let store = stage.reopened(store);
    for (n, id) in alike.iter().enumerate() {
        let profile = store.profile("g", id);
        assert_eq!(profile.external_user_id.as_str(), *id);
        assert_eq!(profile.memory.as_str(), format!(r#"{{"n":{n}}}"#), "{id:?}");
    }
    assert_eq!((store.delete("g", "Ada"), store.delete("g", "Ada")), (true, false));
    let left = store.ids("g");
    let kept = !left.contains(&"Ada".to_owned()) && left.contains(&"ada".to_owned());
    assert!(kept, "after deleting Ada: expected ada and no Ada, got {left:?}");
}

/// A1.
pub(super) fn escapes_in_an_id_stand_for_their_characters(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let spelled = |id: &str| format!(r#"{{"external_user_id":"{id}","memory":{{}}}}"#);
    let report = store.send(
        "g",
        request([spelled(r"\u0061\u00e9"), spelled("aé"), spelled(r"\ud83d\ude00"), spelled(r"\/\n")]),
    );
    assert_complete(&report);
    assert_eq!(report.results()[0].external_user_id(), Some("aé"));
    assert_eq!(store.ids("g"), ["/\n", "aé", "😀"]);
}

/// A1, A5.
pub(super) fn an_id_may_fill_its_limit(make: MakeFixture<'_>) {
    for limit in [1, 8, 255, 1024] {
        let limits = Limits::default().with_id_bytes(limit);
        let (stage, store) = Stage::opened_with(make, limits);
        assert_eq!(store.0.limits().id_bytes(), limit);
        // Two ids that differ only in their last byte, and one that counts bytes, not characters.
        let stem = "x".repeat(limit - 1);
        let full = [format!("{stem}a"), format!("{stem}b")];
        let wide = "é".repeat(limit / 2 + 1);
        for (n, id) in full.iter().enumerate() {
            assert_eq!(store.put("g", id, &format!(r#"{{"n":{n}}}"#)), Outcome::Created);
        }
        let report = store.send("g", body([(format!("{stem}aa"), "{}"), (wide.clone(), "{}")]));
        let words = format!("external_user_id must be at most {limit} bytes");
        assert_eq!([errors(&report, 0), errors(&report, 1)], [[words.as_str()], [words.as_str()]]);
        let store = stage.reopened_with(store, limits);
        assert_eq!(store.ids("g"), full);
        assert_eq!(store.memory("g", &full[1]).as_deref(), Some(r#"{"n":1}"#));
        for refused in [wide, "x".repeat(2000)] {
            assert_eq!(store.get("g", &refused), None);
        }
    }
}

/// A2.
pub(super) fn memories_are_judged_as_serde_json_judges_them(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let values = [
        "1",
        "-0",
        "0.1e-7",
        "1e308",
        "1e309",
        "1e999",
        "-1e999",
        "1e-999",
        "18446744073709551616",
        "123456789012345678901234567890",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "[1e400]",
        r#""\u0000""#,
        r#""\ud800""#,
        r#""\udc00""#,
        r#""\ud800x""#,
        r#""\ud800\u0041""#,
        r#""\udc00\ud800""#,
        r#""\ud83d\ude00""#,
        r#""\uD83D\uDE00""#,
        r#""\ud800\ud800\udc00""#,
        r#"{"\ud800":1}"#,
        r#"{"\u0061":1}"#,
        r#"{"$serde_json::private::Number":"1"}"#,
        r#"{"$serde_json::private::RawValue":"1"}"#,
        "\"\u{7f}\u{2028}\"",
        "[[],{},null,true,false]",
    ];
    let long = format!("1{}", "0".repeat(400));
    let point = format!("0.{}1", "0".repeat(400));
    for value in values.into_iter().chain([long.as_str(), point.as_str()]) {
        for memory in [format!(r#"{{"a":{value}}}"#), format!("{{ \"b\":1,\n \"a\" :\n{value} }}")] {
            let expected: Vec<_> = refusal(&memory).into_iter().collect();
            assert_eq!(store.errors_of_memory(&memory), expected, "{memory}");
            let typed = Memory::from_json(&memory).map_err(|error| error.to_string());
            assert_eq!(typed.err().into_iter().collect::<Vec<_>>(), expected, "{memory}");
        }
    }
}

/// A2, A4, A5.
pub(super) fn nesting_is_limited(make: MakeFixture<'_>) {
    let refused = |depth: usize, limit: usize| {
        let too_deep = format!("memory must be nested at most {limit} deep");
        match serde_json::from_str::<Map<String, Value>>(&nested(depth)) {
            Ok(_) => vec![too_deep],
            Err(reason) => vec![format!("memory is not valid: {reason}"), too_deep],
        }
    };
    for (limit, set) in [(64, None), (1, Some(1)), (3, Some(3)), (127, Some(127))] {
        let limits = set.map_or(Limits::default(), |depth| Limits::default().with_memory_depth(depth));
        let (_stage, store) = Stage::opened_with(make, limits);
        assert_eq!(store.errors_of_memory(&nested(limit)), [""; 0], "{limit} levels, the limit");
        assert_eq!(store.memory("g", "u"), Some(nested(limit)));
        for depth in [limit + 1, 128, 129, 1000, 100_000] {
            assert_eq!(store.errors_of_memory(&nested(depth)), refused(depth, limit), "{depth} levels");
        }
        assert_eq!(store.memory("g", "u"), Some(nested(limit)), "what is refused changes nothing");
    }
    let (_stage, store) = Stage::opened_with(make, Limits::default().with_memory_depth(3));
    assert_eq!(store.errors_of_memory(r#"{"a":[[]],"b":[{}]}"#), [""; 0]);
    for deep in [r#"{"a":[[[]]]}"#, r#"{"a":1,"b":[{"c":{}}]}"#] {
        assert_eq!(store.errors_of_memory(deep), ["memory must be nested at most 3 deep"], "{deep}");
    }
}

/// A5.
pub(super) fn a_memory_is_measured_as_stored(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened_with(make, Limits::default().with_memory_bytes(12));
    let too_large = ["memory must be at most 12 bytes"];
    assert_eq!(store.errors_of_memory(r#"{"a":"12345"}"#), too_large);
    assert_eq!(store.errors_of_memory(r#"{"a":"1234"}"#), [""; 0]);
    assert_eq!(store.errors_of_memory("{ \"a\" :\n\n\"1234\"          }"), [""; 0], "space is not stored");
    assert_eq!(store.errors_of_memory(r#"{"a":"éé"}"#), [""; 0]);
    assert_eq!(store.errors_of_memory(r#"{"a":"ééé"}"#), too_large, "bytes, not characters");
}

/// A5.
pub(super) fn a_memory_may_fill_a_mebibyte(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let memory = |bytes: usize| format!(r#"{{"a":"{}"}}"#, "x".repeat(bytes - 8));
    assert_eq!(store.errors_of_memory(&memory((1 << 20) + 1)), ["memory must be at most 1048576 bytes"]);
    assert_eq!(store.count("g"), 0);
    assert_eq!(store.errors_of_memory(&memory(1 << 20)), [""; 0]);
    let store = stage.reopened(store);
    assert_eq!(store.memory("g", "u"), Some(memory(1 << 20)));
}

/// A5.
pub(super) fn limits_are_those_the_store_was_opened_with(make: MakeFixture<'_>) {
    let limits =
        Limits::default().with_batch_items(7).with_memory_bytes(64).with_memory_depth(2).with_id_bytes(5);
    let (stage, store) = Stage::opened_with(make, limits);
    assert_eq!(*store.0.limits(), limits);
    store.put("g", "12345", r#"{"a":{"b":1}}"#);

    let tight = Limits::default().with_memory_bytes(2).with_memory_depth(1).with_id_bytes(1);
    let store = stage.reopened_with(store, tight);
    assert_eq!(store.memory("g", "12345").as_deref(), Some(r#"{"a":{"b":1}}"#), "stays readable");
    assert_eq!(store.ids("g"), ["12345"]);
    assert_eq!((store.delete("g", "12345"), store.count("g")), (true, 0));
}

/// A4.
pub(super) fn every_item_error_has_its_words(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let nul = r#"{"external_user_id":"a\u0000b","memory":{}}"#;
    let cases: [(&str, &[&str]); 19] = [
        ("[]", &["User must be a JSON object"]),
        ("null", &["User must be a JSON object"]),
        (r#""{}""#, &["User must be a JSON object"]),
        (r#"{"memory":{}}"#, &["Missing external_user_id"]),
        (r#"{"external_user_id":null,"memory":{}}"#, &["Missing external_user_id"]),
        (r#"{"external_user_id":7,"memory":{}}"#, &["external_user_id must be a string"]),
        (r#"{"external_user_id":["a"],"memory":{}}"#, &["external_user_id must be a string"]),
        (r#"{"external_user_id":false,"memory":{}}"#, &["external_user_id must be a string"]),
        (r#"{"external_user_id":"\udead","memory":{}}"#, &["external_user_id must be a string"]),
        (r#"{"external_user_id":"","memory":{}}"#, &["external_user_id must not be empty"]),
        (nul, &["external_user_id must not contain NUL"]),
        (&item(&"é".repeat(128), "{}"), &["external_user_id must be at most 255 bytes"]),
        (r#"{"external_user_id":"a"}"#, &["Missing memory data"]),
        (r#"{"external_user_id":"a","memory":null}"#, &["Missing memory data"]),
        (r#"{"external_user_id":"a","memory":[]}"#, &["memory must be a JSON object"]),
        (r#"{"external_user_id":"a","memory":"{}"}"#, &["memory must be a JSON object"]),
        (r#"{"external_user_id":"a","memory":0}"#, &["memory must be a JSON object"]),
        (
            r#"{"external_user_id":"a","memory":{"n":1e999}}"#,
            &["memory is not valid: number out of range at line 1 column 10"],
        ),
        (&item("a", &nested(65)), &["memory must be nested at most 64 deep"]),
    ];
    for (item, expected) in cases {
        let report = store.send("g", request([item]));
        assert_eq!(errors(&report, 0), expected, "{item:.80}");
        assert_eq!(report.processed_users(), 0, "users stored of {item:.80}");
    }
    assert_eq!(store.count("g"), 0);
}

/// A4.
pub(super) fn all_errors_of_an_item_are_told_in_order(make: MakeFixture<'_>) {
    let limits = Limits::default().with_id_bytes(3).with_memory_bytes(20).with_memory_depth(2);
    let (_stage, store) = Stage::opened_with(make, limits);
    let report = store.send(
        "g",
        request([
            "{}".to_owned(),
            r#"{"memory":7}"#.to_owned(),
            r#"{"external_user_id":{},"memory":[]}"#.to_owned(),
            r#"{"external_user_id":""}"#.to_owned(),
            format!(r#"{{"external_user_id":"abc\u0000","memory":{}}}"#, nested(9)),
            item("abcd", r#"{"n":1e999}"#),
            item("abcd", &nested(1000)),
        ]),
    );
    let (nul, long) = ("external_user_id must not contain NUL", "external_user_id must be at most 3 bytes");
    let (large, deep) = ("memory must be at most 20 bytes", "memory must be nested at most 2 deep");
    assert_eq!(errors(&report, 0), ["Missing external_user_id", "Missing memory data"]);
    assert_eq!(errors(&report, 1), ["Missing external_user_id", "memory must be a JSON object"]);
    assert_eq!(errors(&report, 2), ["external_user_id must be a string", "memory must be a JSON object"]);
    assert_eq!(errors(&report, 3), ["external_user_id must not be empty", "Missing memory data"]);
    assert_eq!(errors(&report, 4), [nul, long, large, deep]);
    let not_valid = |memory: &str| refusal(memory).expect("serde_json refuses it");
    assert_eq!(errors(&report, 5), [long.to_owned(), not_valid(r#"{"n":1e999}"#)]);
    let recursion = not_valid(&nested(1000));
    assert_eq!(errors(&report, 6), [long.to_owned(), recursion, large.to_owned(), deep.to_owned()]);
    assert_eq!(store.count("g"), 0);
}

/// A1, A4, R2.
pub(super) fn users_built_in_rust_are_judged_alike(make: MakeFixture<'_>) {
    let limits = Limits::default().with_id_bytes(3).with_memory_bytes(20).with_memory_depth(2);
    let (_stage, store) = Stage::opened_with(make, limits);
    let memory = |text: &str| Memory::from_json(text).expect("a valid memory");
    let users = vec![
        User::new("ada", memory(r#"{"n":1}"#)),
        User::new("", memory("{}")),
        User::new("abc\0", memory(&nested(9))),
        User::serialize("bob", &serde_json::json!({"n": 2})),
        User::serialize("bad", &serde_json::json!([2])),
        User::serialize("bad", &7),
        User::from_json(item("cyd", r#"{ "n": 3 }"#)),
        User::from_json(r#" {"external_user_id":"x"} "#),
        User::from_json("{"),
        User::from_json("{} {}"),
        User::from_json(b"\xff".to_vec()),
        User::from_json("[]"),
    ];
    let report = store.send_users("g", users);
    let told: Vec<_> = (0..report.total_users()).map(|index| errors(&report, index).join(", ")).collect();
    let many = "external_user_id must not contain NUL, external_user_id must be at most 3 bytes, \
                memory must be at most 20 bytes, memory must be nested at most 2 deep";
    let not_json = |reason: &str| format!("User is not valid JSON: {reason}");
    let (open, two) = (
        not_json("EOF while parsing an object at line 1 column 1"),
        not_json("trailing characters at line 1 column 4"),
    );
    assert_eq!(
        told,
        [
            "",
            "external_user_id must not be empty",
            many,
            "",
            "memory must be a JSON object",
            "memory must be a JSON object",
            "",
            "Missing memory data",
            &open,
            &two,
            &not_json("not UTF-8 at line 1 column 1"),
            "User must be a JSON object",
        ]
    );
    assert_eq!(texts(&store), [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#]);
}

/// A4.
pub(super) fn a_refused_update_leaves_the_profile_as_it_was(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.put("g", "ada", r#"{"n":1}"#);
    let before = store.profile("g", "ada");
    stage.clock.advance();
    for memory in ["null", "[]", r#"{"n":1e999}"#, &nested(65)] {
        let report = store.send("g", request([item("ada", memory)]));
        assert_eq!(report.processed_users(), 0, "users stored with {memory:.40}");
        assert_eq!(store.profile("g", "ada"), before, "after {memory:.40}");
    }
    let report = store.send("g", format!(r#"{{"users":[{{"external_user_id":{}}}]}}"#, quoted("ada")));
    assert_eq!(errors(&report, 0), ["Missing memory data"]);
    assert_eq!(store.profile("g", "ada"), before);
    assert_eq!(outcomes(&store.send("g", body([("ada", r#"{"n":1}"#)]))), [Outcome::Unchanged]);
}

fn texts(store: &Subject) -> Vec<String> {
    store.list("g", 10).iter().map(|profile| profile.memory.as_str().to_owned()).collect()
}

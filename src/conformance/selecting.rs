//! Finding by content, by prefix, and reading a part (L4).

use pollster::block_on;

use super::harness::{
    MakeFixture, Stage, assert_complete, assert_fails, assert_hushed, assert_none, body, id, quoted,
};
use crate::model::error::ErrorKind;
use crate::model::filter::Filter;
use crate::model::scalar::Scalar;
use crate::store::list::ListOptions;
use crate::transfer::export::Export;

/// L1, L4: bytes decide, whatever an engine's wildcards and orders are.
pub(super) fn a_prefix_is_a_range_of_ids(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let ids = [
        "a",
        "a%",
        "a*",
        "a_",
        "ab",
        "aB",
        "b",
        "\u{d7ff}",
        "\u{d7ff}x",
        "\u{e000}",
        "\u{ffff}",
        "\u{10ffff}",
        "\u{10ffff}\u{10ffff}",
        "\u{10ffff}a",
        "é",
        "e\u{301}",
        "\u{1}",
        "a\u{1}",
        "a\u{10ffff}",
    ];
    store.fill("g", body(ids.map(|id| (id, "{}"))));
    store.fill("ga", body([("a", "{}"), ("ab", "{}")]));
    let mut sorted = ids;
    sorted.sort_unstable();
    let prefixes = ids.into_iter().chain(["", "a\0", "aa", "\u{10ffff}\u{10ffff}\u{10ffff}", "zz"]);
    for prefix in prefixes {
        let expected: Vec<_> = sorted.iter().filter(|id| id.starts_with(prefix)).collect();
        for after in [None, Some("a"), Some("a*"), Some("\u{d7ff}"), Some("\u{10ffff}\u{10ffff}")] {
            let behind: Vec<_> =
                expected.iter().filter(|id| after.is_none_or(|after| ***id > after)).map(|id| **id).collect();
            for limit in [1, 2, 100] {
                let options = ListOptions::default().with_prefix(prefix).with_limit(limit);
                let listed = store.selected("g", &options.with_after(after.map(id)));
                assert_eq!(listed, behind, "{prefix:?} after {after:?}, in pages of {limit}");
            }
        }
    }
}

/// L4.
pub(super) fn a_filter_judges_the_stored_text(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let memories = [
        ("duplicate", r#"{"k":1,"\u006b":2}"#),
        ("escaped", r#"{"s":"\u0061\/\ud83d\ude00","a\/b":1}"#),
        ("float", r#"{"n":1.0,"m":1E2}"#),
        ("large", r#"{"n":18446744073709551615}"#),
        ("larger", r#"{"n":1180591620717411303424}"#),
        ("list", r#"{"tags":["x",1,null],"deep":[{"a":[7]}]}"#),
        ("nothing", "{}"),
        ("null", r#"{"n":null}"#),
        ("text", r#"{"n":"1"}"#),
        ("zero", r#"{"n":-0.0}"#),
    ];
    store.fill("g", body(memories));
    let store = stage.reopened(store);
    let at = |pointer| Filter::at(pointer).expect("a pointer");
    let float = |number: f64| Scalar::try_from(number).expect("a finite number");
    let cases: [(Filter, &[&str]); 16] = [
        (at("/k").eq(2), &["duplicate"]),
        (at("/k").eq(1), &[]),
        (at("/s").eq("a/😀"), &["escaped"]),
        (at("/a~1b").eq(float(1.0)), &["escaped"]),
        (at("/n").eq(1), &["float"]),
        (at("/m").is_in([100, 7]), &["float"]),
        (at("/n").eq(u64::MAX), &["large"]),
        (at("/n").gt(u64::MAX), &["larger"]),
        (at("/n").ge(0) & at("/n").lt(2), &["float", "zero"]),
        (at("/n").is_null(), &["null"]),
        (at("/n").exists() & !at("/n").gt(-1), &["null", "text"]),
        (at("/n").ge("0"), &["text"]),
        (at("/n").eq(0), &["zero"]),
        (at("/tags").contains(Scalar::NULL) & at("/deep/0/a").contains(7), &["list"]),
        (at("/tags/1").eq(1) | at("/n").eq("1"), &["list", "text"]),
        (!at("/n").exists(), &["duplicate", "escaped", "list", "nothing"]),
    ];
    for (case, (filter, expected)) in cases.into_iter().enumerate() {
        let rest: Vec<_> =
            memories.map(|(id, _)| id).into_iter().filter(|id| !expected.contains(id)).collect();
        for (filter, expected) in [(filter.clone(), expected.to_vec()), (!filter, rest)] {
            let options = ListOptions::default().with_filter(filter).expect("few comparisons");
            for limit in [1, 3, 100] {
                assert_eq!(store.selected("g", &options.clone().with_limit(limit)), expected, "case {case}");
            }
            let counted = block_on(store.guru("g").count_where(&options)).expect("the store counts");
            assert_eq!(counted, expected.len() as u64, "case {case}");
        }
    }
}

/// L4, P1.
pub(super) fn wrong_filters_are_refused(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.put("g", "a", "{}");
    let many = Filter::at("/a").expect("a pointer").is_in(0..65);
    let told = ListOptions::default().with_filter(many);
    assert_fails(told, ErrorKind::InvalidInput, "a filter of 65 comparisons");
    let read = block_on(store.guru("g").get_at::<u8>("a", "no-pointer"));
    assert_fails(read, ErrorKind::InvalidInput, "reading at what is no pointer");
    for options in
        [ListOptions::default().with_after(id("0")), ListOptions::default().with_prefix("a").with_limit(1)]
    {
        let told = block_on(store.guru("g").delete_where(&options));
        assert_fails(told, ErrorKind::InvalidInput, &format!("deleting by {options:?}"));
    }
    assert_eq!(store.count("g"), 1);
}

/// L1, L4: also where most pages hold nothing.
pub(super) fn a_filter_that_takes_little_reads_on(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.fill("g", body((0..5000).map(|n| (format!("u{n:04}"), format!(r#"{{"n":{n}}}"#)))));
    let filter = Filter::at("/n").expect("a pointer").is_in([1234, 4321]);
    let options = ListOptions::default().with_limit(1).with_filter(filter).expect("few comparisons");
    assert_eq!(store.selected("g", &options), ["u1234", "u4321"]);
    let guru = store.guru("g");
    let mut profiles = guru.profiles(options.clone().with_prefix("u4"));
    let first = block_on(profiles.next()).transpose().expect("the store reads");
    assert_eq!(first.map(|profile| profile.external_user_id), Some(id("u4321")));
    assert_none(block_on(profiles.next()), "after the one profile that matches");
    let mut export =
        Export::users(&*store.0, guru.slug()).with_prefix("u1").with_filter(options.filter().cloned());
    let lines = block_on(export.as_mut().expect("few comparisons").next()).expect("the store reads");
    assert_eq!(lines.as_deref(), Some("{\"external_user_id\":\"u1234\",\"memory\":{\"n\":1234}}\n"));
}

/// L2, L4.
pub(super) fn deleting_by_content_takes_what_matches(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let user =
        |n: usize| (format!("org{}:{n:04}", n % 2), format!(r#"{{"closed":{}}}"#, n.is_multiple_of(3)));
    store.fill("g", body((0..3000).map(user)));
    store.fill("h", body((0..10).map(user)));
    let closed = || Filter::at("/closed").expect("a pointer").eq(true);
    let options = ListOptions::default().with_prefix("org0:").with_filter(closed()).expect("few comparisons");
    let delete =
        |options: &ListOptions| block_on(store.guru("g").delete_where(options)).expect("the store deletes");
    assert_eq!((delete(&options), delete(&options)), (500, 0));
    assert_eq!((store.count("g"), store.count("h")), (2500, 10));
    assert_eq!(delete(&ListOptions::default().with_prefix("org1:")), 1500);
    let all = block_on(store.guru("h").delete_where(&ListOptions::default()));
    assert_fails(all, ErrorKind::InvalidInput, "deleting where nothing is selected");
    assert_eq!(store.count("h"), 10);
    let store = stage.reopened(store);
    let left = store.list("g", 1000);
    assert_eq!(left.len(), 1000);
    for profile in left {
        assert_eq!(profile.memory.as_str(), r#"{"closed":false}"#, "{}", profile.external_user_id);
    }
}

/// L4, S14.
pub(super) fn a_part_of_a_memory_is_read(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.put("g", "ada", r#"{"settings":{"theme":"hush"},"n":[1,2.50]}"#);
    let guru = store.guru("g");
    let theme: Option<String> = block_on(guru.get_at("ada", "/settings/theme")).expect("a string");
    assert_eq!(theme.as_deref(), Some("hush"));
    assert_eq!(block_on(guru.get_at::<f64>("ada", "/n/1")).expect("a number"), Some(2.5));
    assert_eq!(block_on(guru.get_at::<f64>("ada", "/n/2")).expect("nothing"), None);
    assert_eq!(block_on(guru.get_at::<f64>("nobody", "/n/1")).expect("nobody"), None);
    assert_eq!(store.profile("g", "ada").memory.at("/n/1").expect("a pointer"), Some("2.50"));
    let told = block_on(guru.get_at::<u8>("ada", "/settings/theme"));
    let error = assert_fails(told, ErrorKind::InvalidInput, "a text read as a number");
    assert_hushed(&format!("{error} {error:?}"));
}

/// P1, L1, S6: a request that names one large profile many times costs it once.
pub(super) fn a_large_profile_named_often_is_paid_for_once(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let members: Vec<_> = (0..60_000).map(|n| format!(r#""m{n:05}":{}"#, n % 10)).collect();
    store.put("g", "large", &format!("{{{}}}", members.join(",")));
    // One copy for all: 10,000 would be 7 GB.
    let found = store.get_many("g", &["large"; 10_000]);
    let texts: Vec<_> = found.iter().flatten().map(|profile| profile.memory.as_str().as_ptr()).collect();
    assert_eq!(texts.len(), 10_000);
    let copies = texts.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert_eq!(copies, 0, "copies of the memory for its names");
    // Parsed again for each patch, this takes minutes.
    let started = std::time::Instant::now();
    let patches = (0..1000).map(|n| (quoted("large"), n));
    let items: Vec<_> = patches
        .map(|(id, n)| format!(r#"{{"external_user_id":{id},"memory":{{"z":{n},"m00001":null}}}}"#))
        .collect();
    let batch = format!(r#"{{"users":[{}]}}"#, items.join(","));
    let report = store.send_batch("g", crate::admission::batch::Batch::from_json(batch.as_bytes()).merging());
    assert_complete(&report);
    let took = started.elapsed().as_secs();
    assert!(took < 60, "seconds for 1,000 patches of one profile: expected less than 60, got {took}");
    assert_eq!(store.profile("g", "large").memory.at("/z").expect("a pointer"), Some("999"));
    assert_eq!(store.delete_many("g", &["large"; 10_000]), vec![true; 10_000]);
}

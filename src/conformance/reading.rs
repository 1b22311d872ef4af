//! Reading and erasing (L1, L2).

use std::pin::pin;
use std::task::{Context, Poll, Waker};

use pollster::block_on;

use super::harness::{
    MakeFixture, Stage, Subject, assert_fails, assert_holds, assert_hushed, assert_none, body, id, outcomes,
};
use crate::admission::report::Outcome;
use crate::model::error::ErrorKind;
use crate::model::limits::Limits;
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;
use crate::store::list::ListOptions;

/// L1.
pub(super) fn get_many_answers_in_the_order_asked(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.fill("g", body([("a", r#"{"n":1}"#), ("b", r#"{"n":2}"#), ("c", r#"{"n":3}"#)]));
    let asked = ["c", "nobody", "a", "c", "b", "A"];
    let told: Vec<_> = store.get_many("g", &asked).iter().map(name).collect();
    assert_eq!(
        told,
        [Some("c"), None, Some("a"), Some("c"), Some("b"), None].map(|id| id.map(str::to_owned))
    );
    assert_eq!(store.get_many::<&str>("g", &[]), []);
    assert_eq!(store.get_many("nobody", &["a", "b"]), [None, None]);
}

/// L1.
pub(super) fn what_is_unknown_is_none(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.put("g", "a", "{}");
    for id in ["", "b", "a\0", "A", &"x".repeat(256), &"x".repeat(5000)] {
        assert_eq!((store.get("g", id), store.delete("g", id)), (None, false), "the id '{id:.20}'");
    }
    assert_eq!((store.count("nobody"), store.list("nobody", 10).len()), (0, 0));
}

/// L1.
pub(super) fn listing_ascends_by_the_bytes_of_ids(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let mut ids: Vec<String> = [
        "b", "a", "B", "aa", "a ", " ", "é", "e", "z", "😀", "\u{ffff}", "\u{1}", "10", "9", "a\u{300}", "~",
    ]
    .map(str::to_owned)
    .to_vec();
    store.fill("g", body(ids.iter().map(|id| (id, "{}"))));
    ids.sort_by(|one, other| one.as_bytes().cmp(other.as_bytes()));
    for limit in [1, 2, 3, 7, ids.len(), 10_000] {
        let listed: Vec<_> =
            store.list("g", limit).iter().filter_map(|profile| name(&Some(profile.clone()))).collect();
        assert_eq!(listed, ids, "in pages of {limit}");
    }
}

/// L1.
pub(super) fn a_page_tells_whether_there_is_a_next_one(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.fill("g", body(["a", "b", "c", "d"].map(|id| (id, "{}"))));
    let page = |after, limit| {
        let page = store.page("g", after, limit);
        let ids: Vec<_> = page.profiles.iter().map(|profile| profile.external_user_id.to_string()).collect();
        (ids.concat(), page.next.map(|next| next.to_string()))
    };
    let next = |id: &str| Some(id.to_owned());
    assert_eq!(page(None, 3), ("abc".to_owned(), next("c")));
    assert_eq!(page(Some("c"), 3), ("d".to_owned(), None));
    assert_eq!(page(None, 4), ("abcd".to_owned(), None));
    assert_eq!(page(Some("a"), 2), ("bc".to_owned(), next("c")));
    assert_eq!(page(Some("aa"), 1), ("b".to_owned(), next("b")), "the cursor need not exist");
    assert_eq!(page(Some("d"), 9), (String::new(), None));
    assert_eq!(page(None, 0), ("a".to_owned(), next("a")), "at least one");
    assert_eq!(ListOptions::default().with_limit(usize::MAX).limit(), 10_000, "at most so many");
}

/// L1.
pub(super) fn a_page_ends_once_it_is_large(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let memory = format!(r#"{{"a":"{}"}}"#, "x".repeat((1 << 20) - 8));
    for n in 0..20 {
        store.put("g", &format!("{n:02}"), &memory);
    }
    let page = store.page("g", None, 100);
    assert_eq!(page.profiles.len(), 16, "16 MiB");
    assert_eq!(page.next.map(|next| next.to_string()).as_deref(), Some("15"));
    assert_eq!(store.list("g", 100).len(), 20);
}

/// L1, A5.
pub(super) fn a_memory_larger_than_a_page_is_listed(make: MakeFixture<'_>) {
    let limits = Limits::default().with_memory_bytes(32 << 20);
    let (stage, store) = Stage::opened_with(make, limits);
    let memory = format!(r#"{{"a":"{}"}}"#, "x".repeat(17 << 20));
    store.put("g", "a", "{}");
    store.put("g", "b", &memory);
    store.put("g", "c", "{}");
    let store = stage.reopened(store);
    let page = store.page("g", None, 100);
    assert_eq!(page.profiles.len(), 2, "it ends its page");
    // Its text would bury the message.
    let got = page.profiles[1].memory.as_str();
    assert!(
        got == memory,
        "the large memory: expected the {} bytes that were stored, got {} bytes, {got:.40}",
        memory.len(),
        got.len()
    );
    assert_eq!(page.next.as_ref().map(|next| next.as_str()), Some("b"));
    assert_eq!(store.ids("g"), ["a", "b", "c"]);
}

/// L1.
pub(super) fn listing_is_stable_while_others_write(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.fill("g", body((0..20).map(|n| (format!("k{n:02}"), "{}"))));
    let (mut seen, mut after, mut round) = (Vec::new(), None::<String>, 0);
    loop {
        let page = store.page("g", after.as_deref(), 3);
        seen.extend(page.profiles.iter().map(|profile| profile.external_user_id.to_string()));
        let Some(next) = page.next else { break };
        // Before the cursor, at it and after it.
        store.put("g", &format!("a{round:02}"), "{}");
        store.put("g", &format!("k{round:02}x"), r#"{"late":1}"#);
        store.put("g", next.as_str(), &format!(r#"{{"n":{round}}}"#));
        store.delete("g", &format!("k{round:02}x"));
        after = Some(next.to_string());
        round += 1;
    }
    let kept: Vec<_> = (0..20).map(|n| format!("k{n:02}")).collect();
    seen.retain(|id| kept.contains(id));
    assert_eq!(seen, kept, "what is there from start to end is seen once");
}

/// L1.
pub(super) fn a_cursor_that_is_deleted_still_holds(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.fill("g", body(["a", "b", "c"].map(|id| (id, "{}"))));
    assert_eq!(store.page("g", None, 2).next, Some(id("b")));
    store.delete("g", "b");
    let rest = store.page("g", Some("b"), 2);
    assert_eq!(
        rest.profiles.iter().map(|profile| profile.external_user_id.as_str()).collect::<Vec<_>>(),
        ["c"]
    );
}

/// L1.
pub(super) fn count_follows_every_write(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    assert_eq!(store.count("g"), 0);
    store.fill("g", body([("a", "{}"), ("b", "{}"), ("a", r#"{"n":1}"#)]));
    assert_eq!(store.count("g"), 2);
    store.put("g", "a", "{}");
    assert_eq!(store.count("g"), 2);
    store.delete_many("g", &["a", "a", "nobody"]);
    assert_eq!(store.count("g"), 1);
    let store = stage.reopened(store);
    assert_eq!(store.count("g"), 1);
    store.delete_guru("g");
    assert_eq!(store.count("g"), 0);
}

/// L1.
pub(super) fn gurus_are_those_with_profiles(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    assert_eq!(store.gurus(), [""; 0]);
    for guru in ["b", "a", "B", "a-b", "a_b", "aa", "9"] {
        store.put(guru, "u", "{}");
    }
    let sorted = ["9", "B", "a", "a-b", "a_b", "aa", "b"];
    assert_eq!(store.gurus(), sorted);
    assert_eq!(store.gurus_after(None, 3), sorted[..3]);
    assert_eq!(store.gurus_after(Some("a"), 3), sorted[3..6]);
    assert_eq!(store.gurus_after(Some("a0"), 2), sorted[4..6], "the cursor need not exist");
    assert_eq!(store.gurus_after(Some("b"), 9), [""; 0]);
    assert_eq!(store.gurus_after(None, usize::MAX), sorted);
    assert_eq!(store.gurus_after(None, 0), [""; 0]);
    store.delete("a", "u");
    store.delete_guru("b");
    let store = stage.reopened(store);
    assert_eq!(store.gurus(), ["9", "B", "a-b", "a_b", "aa"], "a guru goes with its last profile");
    store.put("a", "u", "{}");
    assert_eq!(store.gurus_after(Some("B"), 1), ["a"], "and comes back with the next");
}

/// L1, L2.
pub(super) fn any_number_of_ids_can_be_asked_for_at_once(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.fill("g", body((0..3000).map(|n| (format!("u{n:05}"), format!(r#"{{"n":{n}}}"#)))));
    // Backwards, each id twice, a third of them unknown; more than a statement takes parameters.
    let asked: Vec<_> = (0..70_000).map(|n| (4499 - n / 2 % 4500, n)).collect();
    let ids: Vec<_> = asked.iter().map(|(n, _)| format!("u{n:05}")).collect();
    let found = store.get_many("g", &ids);
    assert_eq!(found.len(), ids.len());
    for (profile, (n, _)) in found.iter().zip(&asked) {
        let memory = profile.as_ref().map(|profile| profile.memory.as_str().to_owned());
        assert_eq!(memory, (*n < 3000).then(|| format!(r#"{{"n":{n}}}"#)));
    }
    let told = store.delete_many("g", &ids);
    assert_eq!(told.len(), ids.len());
    for (told, (n, _)) in told.iter().zip(&asked) {
        assert_eq!(*told, *n < 3000, "whether u{n:05} was there before the call");
    }
    assert_eq!((store.count("g"), store.gurus()), (0, vec![]));
}

/// L2.
pub(super) fn deleting_tells_what_was_there(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.fill("g", body(["a", "b", "c"].map(|id| (id, "{}"))));
    let told = store.delete_many("g", &["c", "nobody", "a", "c"]);
    assert_eq!(told, [true, false, true, true], "by the state before the call");
    assert_eq!(store.ids("g"), ["b"]);
    assert_eq!(store.delete_many("g", &["c", "nobody", "a", "c"]), [false; 4], "again");
    assert_eq!(store.delete_many::<&str>("g", &[]), [false; 0]);
    let store = stage.reopened(store);
    assert_eq!((store.delete("g", "b"), store.delete("g", "b")), (true, false));
    assert_eq!(store.delete_many("nobody", &["a"]), [false]);
}

/// L2.
pub(super) fn deleting_a_guru_tells_how_many_there_were(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.fill("g", body((0..1500).map(|n| (format!("u{n}"), "{}"))));
    store.put("h", "u0", "{}");
    assert_eq!(store.delete_guru("g"), 1500);
    assert_eq!(store.delete_guru("g"), 0);
    assert_eq!(store.delete_guru("nobody"), 0);
    let store = stage.reopened(store);
    assert_eq!((store.count("g"), store.list("g", 10).len(), store.get("g", "u7")), (0, 0, None));
    assert_eq!(store.ids("h"), ["u0"]);
    assert_eq!(outcomes(&store.send("g", body([("u7", "{}")]))), [Outcome::Created]);
    assert_eq!(store.ids("g"), ["u7"]);
}

/// S2, S9.
pub(super) fn everything_is_there_after_reopening(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.fill("g", body((0..300).map(|n| (format!("u{n:03}"), format!(r#"{{"n":{n}}}"#)))));
    stage.clock.advance();
    store.fill("g", body((0..300).step_by(7).map(|n| (format!("u{n:03}"), format!(r#"{{"m":{n}}}"#)))));
    store.delete_many("g", &["u001", "u100"]);
    let (all, count) = (all(&store), store.count("g"));
    let store = stage.reopened(store);
    assert_eq!(self::all(&store), all, "after close");
    let store = stage.dropped_and_reopened(store);
    assert_eq!((self::all(&store), store.count("g")), (all, count), "after drop");
}

fn all(store: &Subject) -> Vec<Profile> {
    store.list("g", 64)
}

fn name(profile: &Option<Profile>) -> Option<String> {
    profile.as_ref().map(|profile| profile.external_user_id.to_string())
}

/// L1, S7: pages go on where profiles are left out.
pub(super) fn listing_can_be_by_the_time_of_change(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let users = |memory: &'static str| (0..50).map(move |n| (format!("user-{n:02}"), memory));
    store.fill("g", body(users("{}")));
    let moment = stage.clock.advance();
    store.fill("g", body(users(r#"{"n":1}"#).skip(3).step_by(10)));
    store.put("g", "user-01", "{}");
    let changed = ["user-03", "user-13", "user-23", "user-33", "user-43"];
    let options = ListOptions::default().with_limit(2);
    let read = |options: ListOptions| store.selected("g", &options);
    assert_eq!(read(options.clone().with_updated_since(moment)), changed);
    let before = read(options.clone().with_updated_before(moment));
    assert_eq!(before.len(), 45);
    let late: Vec<_> = before.iter().filter(|id| changed.contains(&id.as_str())).collect();
    assert_eq!(late, [""; 0], "changed at the moment or later");
    let later = Timestamp::from_micros(moment.as_micros() + 1);
    assert_eq!(read(options.clone().with_updated_since(later)), [""; 0]);
    assert_eq!(read(options.with_updated_since(moment).with_updated_before(later)), changed);
}

/// L1: while others write, and where futures of it are dropped.
pub(super) fn a_stream_gives_every_profile_once(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.fill("g", body((0..100).map(|n| (format!("user-{n:03}"), "{}"))));
    let options = ListOptions::default().with_limit(7);
    let mut profiles = store.guru("g").profiles(options.with_after(id("user-009")));
    let mut ids = Vec::new();
    // One more than there are: a stream that goes on is none of those that end.
    for _ in 0..=90 {
        // Polled once and dropped: whatever it has begun goes on.
        let mut context = Context::from_waker(Waker::noop());
        let polled = pin!(profiles.next()).poll(&mut context);
        let next = match polled {
            Poll::Ready(next) => next,
            Poll::Pending => block_on(profiles.next()),
        };
        let Some(profile) = next else { break };
        ids.push(profile.expect("the store lists").external_user_id.to_string());
        store.put("g", "user-000", &format!(r#"{{"n":{}}}"#, ids.len()));
    }
    assert_eq!(ids, (10..100).map(|n| format!("user-{n:03}")).collect::<Vec<_>>());
    assert_none(block_on(profiles.next()), "after the last profile");
    let other = block_on(store.guru("h").profiles(ListOptions::default()).next());
    assert_none(other, "a guru without profiles");
    store.close();
    let mut closed = store.guru("g").profiles(ListOptions::default());
    let told = block_on(closed.next()).transpose();
    assert_fails(told, ErrorKind::Closed, "a stream of a closed store");
    assert_none(block_on(closed.next()), "after an error");
}

/// L1, S14.
pub(super) fn a_memory_is_read_as_any_type(make: MakeFixture<'_>) {
    type Counts = std::collections::BTreeMap<String, u64>;
    let (_stage, store) = Stage::opened(make);
    store.put("g", "u", r#"{"a":1,"b":2}"#);
    store.put("g", "secret", r#"{"a":"hush"}"#);
    let get = |id: &str| block_on(store.guru("g").get_as::<Counts>(id));
    let counts = Counts::from([("a".to_owned(), 1), ("b".to_owned(), 2)]);
    assert_eq!(get("u").expect("the store reads"), Some(counts));
    assert_eq!(get("unknown").expect("the store reads"), None);
    let error = assert_fails(get("secret"), ErrorKind::InvalidInput, "a memory of another shape");
    let told = format!("{error} {error:?}");
    assert_hushed(&told);
    assert_holds(&told, "line 1, column");
}

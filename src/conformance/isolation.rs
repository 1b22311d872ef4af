//! No guru reaches another's profiles, and nobody reaches a memory by way of words (S8, S14).

use super::harness::{MakeFixture, Stage, assert_hushed, body, request, slug};
use super::names::{IDS, SLUGS};
use crate::admission::batch::{Batch, User};
use crate::model::name::ExternalUserId;
use crate::store::list::ListOptions;

/// S8.
pub(super) fn no_guru_sees_anothers_profiles(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    for guru in SLUGS {
        store.fill(guru, body(IDS.map(|id| (id, format!(r#"{{"of":"{guru}"}}"#)))));
    }
    let store = stage.reopened(store);
    for guru in SLUGS {
        let own = Some(format!(r#"{{"of":"{guru}"}}"#));
        assert_eq!(store.count(guru), IDS.len() as u64);
        for limit in [1, 5, 100] {
            let listed = store.list(guru, limit);
            assert_eq!(listed.len(), IDS.len(), "{guru:?} in pages of {limit}");
            let mut memories: Vec<_> = listed.iter().map(|profile| profile.memory.as_str()).collect();
            memories.dedup();
            assert_eq!(memories, [own.as_deref().unwrap_or_default()], "memories that {guru:?} lists");
        }
        for id in IDS {
            assert_eq!(store.memory(guru, id), own, "{id:?} of {guru:?}");
        }
    }
    let mut sorted = SLUGS;
    sorted.sort_unstable();
    assert_eq!(store.gurus(), sorted);
}

/// S8.
pub(super) fn deleting_stays_within_its_guru(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    for guru in SLUGS {
        store.fill(guru, body(IDS.map(|id| (id, "{}"))));
    }
    assert_eq!(store.delete_guru("a"), IDS.len() as u64);
    assert_eq!(store.delete_many("_", &IDS), [true; IDS.len()]);
    let store = stage.reopened(store);
    for guru in SLUGS {
        let left = if ["a", "_"].contains(&guru) { 0 } else { IDS.len() };
        assert_eq!((store.count(guru), store.list(guru, 4).len()), (left as u64, left), "{guru:?}");
    }
}

/// S8.
pub(super) fn a_cursor_reaches_no_other_guru(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.fill("b", body([("m", "{}")]));
    for guru in ["a", "b-", "ba", "c"] {
        store.fill(guru, body(IDS.map(|id| (id, "{}"))));
    }
    let cursors = IDS.map(str::to_owned).into_iter().chain(["\u{10ffff}".repeat(200), "b".repeat(255)]);
    for cursor in cursors {
        let ids: Vec<_> = store
            .page("b", Some(&cursor), 1000)
            .profiles
            .iter()
            .map(|p| p.external_user_id.to_string())
            .collect();
        let expected: &[&str] = if cursor.as_str() < "m" { &["m"] } else { &[] };
        assert_eq!(ids, expected, "behind {cursor:.10?}");
    }
}

/// S8, A1.
pub(super) fn every_plane_of_unicode_is_an_id(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let mut ids: Vec<String> = (0..=0x10_u32)
        .flat_map(|plane| [0x21, 0xfffd].map(|low| (plane << 16) | low))
        .filter_map(char::from_u32)
        .map(|c| format!("{c}{c}"))
        .collect();
    ids.push("\u{1}".repeat(255));
    store.fill("g", body(ids.iter().map(|id| (id, "{}"))));
    let store = stage.reopened(store);
    ids.sort_unstable();
    assert_eq!(store.ids("g"), ids);
    let missing: Vec<_> =
        ids.iter().zip(store.get_many("g", &ids)).filter(|(_, found)| found.is_none()).collect();
    assert_eq!(missing, []);
    assert_eq!(store.delete_many("g", &ids), vec![true; ids.len()]);
}

/// S14.
pub(super) fn words_never_show_a_memory(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let hush = r#"{"plan":"hush-hush"}"#;
    let report = store.send("g", body([("ada", hush)]));
    let refused =
        store.send("g", request([r#"{"external_user_id":"ada","memory":{"plan":"hush-hush","n":1e999}}"#]));
    let errors = [
        store.refusal("g", r#"{"users":[{"external_user_id":"ada","memory":{"plan":"hush-hush"}}"#),
        store.refusal("g", r#"{"users":"hush-hush"}"#),
    ];
    let mut words = vec![
        format!("{:?}", store.0),
        format!("{report:?} {} {refused:?} {}", report.to_json(), refused.to_json()),
        format!("{:?}", store.profile("g", "ada")),
        format!("{:?}", store.page("g", None, 10)),
        format!("{:?}", ListOptions::default()),
        format!("{:?} {:?}", Batch::from_json(hush.as_bytes()), User::from_json(hush)),
        format!("{:?}", User::serialize("ada", &serde_json::json!({"plan": "hush-hush"}))),
    ];
    words.extend(errors.map(|error| format!("{error} {error:?}")));
    words.iter().for_each(|words| assert_hushed(words));
}

/// R4.
pub(super) fn names_outside_their_rules_are_refused_before_any_io(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    for guru in ["", "a b", "a/b", "ä", "a\0", ".", &"x".repeat(256)] {
        let told = crate::model::name::GuruSlug::new(guru);
        assert!(told.is_err(), "the slug {guru:.10?}: expected an error, got {told:?}");
    }
    let (slug, id) = (slug(&"x".repeat(255)), ExternalUserId::new("x".repeat(255)).expect("a valid id"));
    assert_eq!(store.put(slug.as_str(), id.as_str(), "{}"), crate::admission::report::Outcome::Created);
    assert_eq!(store.ids(slug.as_str()), [id.as_str()]);
    assert_eq!(store.gurus(), [slug.as_str()]);
}

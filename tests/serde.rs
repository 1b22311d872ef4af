//! Types that serialise, and the values that come back.

use profile_store::{
    ETag, ExternalUserId, GuruSlug, HasGurus as _, ListOptions, Memory, MemoryStore, Outcome,
    ProfileStore as _, Timestamp, User,
};
use serde::{Deserialize, Serialize};

/// A service's own type, with this crate's inside.
#[derive(Debug, Deserialize, PartialEq, Serialize)]
struct Card {
    guru: GuruSlug,
    id: ExternalUserId,
    at: Timestamp,
    etag: ETag,
    memory: Memory,
}

/// Spelling, order and duplicates of a memory stay (A3).
const MEMORY: &str = r#"{"b":1180591620717411303424,"a":[1.0,1E2,-0],"a":"\u0000\/é"}"#;

#[test]
fn nouns_go_both_ways_to_the_byte() {
    let memory = Memory::from_json(MEMORY).unwrap();
    let card = Card {
        guru: GuruSlug::new("my-guru").unwrap(),
        id: ExternalUserId::new("ada \"é\"").unwrap(),
        at: Timestamp::from_micros(1_767_907_557_000_001),
        etag: memory.etag(),
        memory,
    };
    let text = serde_json::to_string(&card).unwrap();
    assert_eq!(
        text,
        format!(
            r#"{{"guru":"my-guru","id":"ada \"é\"","at":"2026-01-08T21:25:57.000001Z","etag":"{}","memory":{MEMORY}}}"#,
            card.etag
        )
    );
    assert_eq!(serde_json::from_str::<Card>(&text).unwrap(), card);
    // A reader that can't borrow, and text that must be decoded.
    assert_eq!(
        serde_json::from_reader::<_, Card>(text.replace("my-guru", r"my-\u0067uru").as_bytes()).unwrap(),
        card
    );
    let spaced = text.replace(r#""memory":{"#, r#""memory": { "#);
    assert_eq!(serde_json::from_str::<Card>(&spaced).unwrap(), card);
}

#[test]
fn nothing_invalid_comes_in() {
    assert!(serde_json::from_str::<GuruSlug>(r#""no spaces""#).is_err());
    assert!(serde_json::from_str::<ExternalUserId>(r#""""#).is_err());
    assert!(serde_json::from_str::<Timestamp>(r#""2026-01-08""#).is_err());
    assert!(serde_json::from_str::<ETag>(r#""xyz""#).is_err());
    for memory in ["[]", "1", "null", r#"{"a":1e999}"#, r#"{"a":"\ud800"}"#] {
        assert!(serde_json::from_str::<Memory>(memory).is_err(), "{memory}");
    }
}

#[test]
fn answers_serialise() {
    pollster::block_on(async {
        let store = MemoryStore::new();
        let guru = store.guru("g").unwrap();
        let outcome = guru.upsert(User::new("ada", Memory::from_json(MEMORY).unwrap())).await.unwrap();
        assert_eq!(serde_json::to_string(&outcome).unwrap(), r#""created""#);
        assert_eq!(serde_json::to_string(&Outcome::Unchanged).unwrap(), r#""unchanged""#);
        let page = guru.list(&ListOptions::default()).await.unwrap();
        let ada = &page.profiles[0];
        assert_eq!(
            ada.to_json(),
            format!(
                r#"{{"external_user_id":"ada","memory":{MEMORY},"etag":"{}","created_at":"{}","updated_at":"{}"}}"#,
                ada.etag(),
                ada.created_at,
                ada.updated_at
            )
        );
        assert_eq!(
            serde_json::to_string(&page).unwrap(),
            format!(r#"{{"profiles":[{}],"next":null}}"#, ada.to_json())
        );
        let stats = serde_json::to_value(store.stats().await.unwrap()).unwrap();
        assert_eq!((&stats["gurus"], &stats["profiles"]), (&1.into(), &1.into()));
    });
}

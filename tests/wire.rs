//! Golden bytes: the documented request in, the documented responses out (W1, W5).

use profile_store::{Guru, GuruSlug, MemoryStore, UpsertReport};

const REQUEST: &[u8] = include_bytes!("wire/request.documented.json");
const REQUEST_WITHOUT_MEMORY: &[u8] = include_bytes!("wire/request_without_memory.json");

fn upsert(body: &[u8]) -> UpsertReport {
    let guru = GuruSlug::new("my-guru").unwrap();
    pollster::block_on(Guru::new(&MemoryStore::new(), guru.clone()).upsert_json(body)).unwrap()
}

#[test]
fn the_documented_request_gets_the_documented_200() {
    assert_eq!(upsert(REQUEST).to_json(), include_str!("wire/response_200.json"));
}

#[test]
fn a_user_without_memory_gets_the_documented_400() {
    let answer = upsert(REQUEST_WITHOUT_MEMORY).error_body().to_json();
    assert_eq!(answer, include_str!("wire/response_400.json"));
}

/// The compact bytes are the documented ones without their layout: same keys, same order, same
/// values.
#[test]
fn the_golden_bytes_are_the_documented_examples() {
    for (documented, golden) in [
        (include_str!("wire/response_200.documented.json"), include_str!("wire/response_200.json")),
        (include_str!("wire/response_400.documented.json"), include_str!("wire/response_400.json")),
    ] {
        // No string of theirs has two spaces in a row, and only layout has line ends.
        let compact: String = documented.lines().map(str::trim).collect();
        assert_eq!(compact.replace("\": ", "\":"), golden);
    }
}

/// A memory of the documented request, exactly as it was sent but for its layout (A3).
#[test]
fn the_documented_memory_is_kept() {
    let (store, guru) = (MemoryStore::new(), GuruSlug::new("my-guru").unwrap());
    pollster::block_on(async {
        assert!(Guru::new(&store, guru.clone()).upsert_json(REQUEST).await.unwrap().is_complete());
        let john = Guru::new(&store, guru.clone()).get("user1-id").await.unwrap().unwrap();
        assert_eq!(john.memory.as_str(), r#"{"name":"John Doe","email":"john.doe@example.com"}"#);
    });
}

//! A request is read as `serde_json` reads it: refused whole exactly when it is no JSON, or not of
//! the documented shape (R1, R3), and item by item otherwise (R2, A1, A2).

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use pollster::block_on;
use profile_store::{Guru, GuruSlug, Limits, MemoryStore, StoreOptions};
use serde_json::{Map, Value};

fuzz_target!(|body: &[u8]| {
    let limits = Limits::default().with_memory_depth(127);
    let store = MemoryStore::open_with(StoreOptions::default().with_limits(limits)).unwrap();
    let guru = GuruSlug::new("g").unwrap();
    let report = block_on(Guru::new(&store, guru.clone()).upsert_json(body));
    // Given away it is read alike, and stored already (S5).
    let again = block_on(Guru::new(&store, guru.clone()).upsert_json(body.to_vec()));
    match (&report, &again) {
        (Ok(report), Ok(again)) => {
            assert_eq!(report.to_json(), again.to_json());
            assert_eq!(again.counts().unchanged, report.processed_users());
        }
        (Err(error), Err(again)) => assert_eq!(error.to_string(), again.to_string()),
        _ => panic!("borrowed {report:?}, given away {again:?}"),
    }
    let grammatical =
        serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok() && std::str::from_utf8(body).is_ok();
    assert!(grammatical || report.is_err(), "not JSON, and yet read");
    // If serde_json builds no value of the whole body (lone surrogates, huge numbers, deep
    // nesting), items are judged one by one: the oracle has nothing to say of the rest.
    let Ok(value) = serde_json::from_slice::<Value>(body) else { return };
    let users = value.as_object().and_then(|body| body.get("users")).and_then(Value::as_array);
    let (Some(users), Ok(report)) = (users, &report) else {
        assert!(users.is_none() && report.is_err(), "the shape is judged otherwise: {report:?}");
        return;
    };
    assert_eq!(users.len(), report.total_users());
    let mut expected = BTreeMap::new();
    for (user, result) in users.iter().zip(report.results()) {
        let id = user.get("external_user_id").and_then(Value::as_str);
        let memory = user.get("memory").and_then(Value::as_object);
        let good =
            id.is_some_and(|id| !id.is_empty() && !id.contains('\0') && id.len() <= 255) && memory.is_some();
        assert_eq!(good, result.is_success(), "{user}: {result:?}");
        assert_eq!(result.external_user_id(), id.filter(|_| user.is_object()));
        if good {
            expected.extend(id.zip(memory));
        }
    }
    assert_eq!(block_on(profile_store::ProfileStore::count(&store, &guru)).unwrap(), expected.len() as u64);
    for (id, memory) in expected {
        let profile = block_on(Guru::new(&store, guru.clone()).get(id)).unwrap().unwrap();
        assert_eq!(profile.memory.parse::<Map<String, Value>>().unwrap(), *memory);
    }
});

//! A pointer leads to where `serde_json` finds a value, and a filter judges as its values compare (L4). A merge of several patches in one
//! batch comes to the same as merging them one by one (S6).

#![no_main]

use arbitrary::Arbitrary;
use libfuzzer_sys::fuzz_target;
use profile_store::{Batch, Filter, HasGurus, Memory, MemoryStore, Scalar, User};
use serde_json::Value;

#[derive(Arbitrary, Debug)]
struct Input<'a> {
    memory: &'a str,
    pointer: &'a str,
    other: &'a str,
    patches: Vec<&'a str>,
}

fuzz_target!(|input: Input<'_>| {
    let Ok(memory) = Memory::from_json(input.memory) else { return };
    let whole: Value = memory.parse().unwrap();
    let found = memory.at(input.pointer);
    assert_eq!(found.is_ok(), Filter::at(input.pointer).is_ok());
    if let Ok(found) = found {
        let there = whole.pointer(input.pointer);
        assert_eq!(found.map(|text| serde_json::from_str::<Value>(text).unwrap()).as_ref(), there);
        let at = || Filter::at(input.pointer).unwrap();
        assert_eq!(at().exists().matches(&memory), there.is_some());
        if let Ok(value) = serde_json::from_str::<Value>(input.other)
            && let Ok(scalar) = Scalar::try_from(&value)
        {
            let scalar = || scalar.clone();
            let (less, equal, greater) = (
                at().lt(scalar()).matches(&memory),
                at().eq(scalar()).matches(&memory),
                at().gt(scalar()).matches(&memory),
            );
            // At most one holds, and exactly one of two that have an order.
            let ordered = there.is_some_and(|there| {
                there.is_string() && value.is_string() || there.is_number() && value.is_number()
            });
            assert!(u8::from(less) + u8::from(equal) + u8::from(greater) <= 1);
            assert_eq!(less || greater || (equal && ordered), ordered);
            assert_eq!(at().ne(scalar()).matches(&memory), !equal);
            assert_eq!(at().le(scalar()).matches(&memory), ordered && !greater);
            assert_eq!(at().is_in([scalar()]).matches(&memory), equal);
            if there.is_some_and(Value::is_string) {
                assert_eq!(equal, there == Some(&value));
            }
            let elements = there.and_then(Value::as_array).into_iter().flatten();
            let any = elements.filter_map(|element| Scalar::try_from(element).ok()).any(|it| it == scalar());
            assert_eq!(at().contains(scalar()).matches(&memory), any);
        }
    }
    let patches: Vec<_> =
        input.patches.iter().take(8).filter_map(|text| Memory::from_json(text).ok()).collect();
    pollster::block_on(async {
        let store = MemoryStore::new();
        let (one, many) = (store.guru("one").unwrap(), store.guru("many").unwrap());
        let users = || {
            let first = std::iter::once(User::new("u", memory.clone()));
            first.chain(patches.iter().map(|patch| User::new("u", patch.clone()).merging()))
        };
        let mut results = Vec::new();
        for user in users() {
            results.push(one.upsert_batch(Batch::from(user)).await.unwrap().results()[0].is_success());
        }
        let report = many.upsert_batch(users().collect()).await.unwrap();
        assert!(report.results().iter().map(|result| result.is_success()).eq(results));
        let text = |profile: Option<profile_store::Profile>| profile.map(|profile| profile.memory);
        assert_eq!(text(one.get("u").await.unwrap()), text(many.get("u").await.unwrap()));
    });
});

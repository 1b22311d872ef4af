//! From the bytes of a request to what can be stored, and to the report.

use std::hint::black_box;
use std::time::Duration;

use profile_store::ProfileStoreExt as _;
use profile_store_meter::users::{body, users};
use serde::de::IgnoredAny;
use serde_json::{Map, Value};

use crate::library::guru;
use crate::nowhere::Nowhere;
use crate::rounds::{repeat, rounds};

const USERS: u64 = 10_000;

pub fn admission(turns: usize) {
    let request = body(&users(0, USERS, 0));
    let (guru, nowhere) = (guru(), Nowhere::default());
    let while_ = Duration::from_millis(20);
    let mut report = || {
        repeat(while_, || {
            black_box(pollster::block_on(nowhere.upsert_json(&guru, request.as_bytes())).expect("admitted"));
            USERS
        })
    };
    let mut map = || {
        repeat(while_, || {
            black_box(serde_json::from_str::<Map<String, Value>>(&request).expect("valid JSON"));
            USERS
        })
    };
    let mut ignored = || {
        repeat(while_, || {
            black_box(serde_json::from_str::<IgnoredAny>(&request).expect("valid JSON"));
            USERS
        })
    };
    let contestants = &mut [
        ("profile-store", &mut report as _),
        ("serde-json-map", &mut map as _),
        ("ignored-any", &mut ignored as _),
    ];
    rounds("admission", "users/s", turns, contestants);
}

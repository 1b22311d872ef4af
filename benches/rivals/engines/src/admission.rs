//! From the bytes of a request to what can be stored, and to the report.

use std::hint::black_box;
use std::time::{Duration, Instant};

use profile_store::Guru;
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
    // Given away, as a service gives what it received. Making the body is not part of it.
    let mut report = || {
        let (mut units, mut time) = (0, Duration::ZERO);
        while time < while_ {
            let body = request.clone().into_bytes();
            let start = Instant::now();
            let report = pollster::block_on(Guru::new(&nowhere, guru.clone()).upsert_json(body));
            drop(black_box(report.expect("admitted")));
            time += start.elapsed();
            units += USERS;
        }
        (units, time)
    };
    let mut borrowed = || {
        repeat(while_, || {
            let report =
                pollster::block_on(Guru::new(&nowhere, guru.clone()).upsert_json(request.as_bytes()));
            drop(black_box(report.expect("admitted")));
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
        ("profile-store-borrowed", &mut borrowed as _),
        ("serde-json-map", &mut map as _),
        ("ignored-any", &mut ignored as _),
    ];
    rounds("admission", "users/s", turns, contestants);
}

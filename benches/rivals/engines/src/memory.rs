//! From body to response, in memory.

use std::hint::black_box;
use std::thread;
use std::time::{Duration, Instant};

use dashmap::DashMap;
use profile_store::{Guru, HasGurus as _, MemoryStore};
use profile_store_meter::users::{body, users};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::library::guru;
use crate::rounds::rounds;

const USERS: u64 = 10_000;
/// Bodies that a task sends: the first creates, the others change all that is there.
const BODIES: u64 = 6;

type Profiles = DashMap<(String, String), Value>;

#[derive(Deserialize)]
struct Request {
    users: Vec<Value>,
}

#[derive(Serialize)]
struct Response {
    status: &'static str,
    total_users: usize,
    processed_users: usize,
    users_results: Vec<UserResult>,
}

#[derive(Serialize)]
struct UserResult {
    user_index: usize,
    external_user_id: Value,
    success: bool,
    errors: Vec<&'static str>,
}

/// The documented endpoint over a concurrent map of JSON values.
fn handle(profiles: &Profiles, guru: &str, body: &[u8]) -> String {
    let request: Request = serde_json::from_slice(body).expect("a request");
    let total_users = request.users.len();
    let mut processed_users = 0;
    let users_results = request.users.into_iter().enumerate().map(|(user_index, mut user)| {
        let (external_user_id, memory) = (user["external_user_id"].take(), user["memory"].take());
        let mut errors = Vec::new();
        if external_user_id.as_str().is_none_or(str::is_empty) {
            errors.push("Missing external_user_id");
        }
        if !memory.is_object() {
            errors.push("Missing memory data");
        }
        if let (Value::String(id), []) = (&external_user_id, &*errors) {
            profiles.insert((guru.to_owned(), id.clone()), memory);
            processed_users += 1;
        }
        UserResult { user_index, external_user_id, success: errors.is_empty(), errors }
    });
    let users_results = users_results.collect();
    let status = if processed_users > 0 || total_users == 0 { "success" } else { "error" };
    serde_json::to_string(&Response { status, total_users, processed_users, users_results })
        .expect("a response")
}

/// Lets each of `tasks` threads send its bodies to `handle`.
fn send(bodies: &[Vec<String>], handle: impl Fn(&[u8]) -> String + Sync) -> (u64, Duration) {
    let start = Instant::now();
    thread::scope(|scope| {
        for bodies in bodies {
            scope.spawn(|| bodies.iter().for_each(|body| drop(black_box(handle(body.as_bytes())))));
        }
    });
    (bodies.len() as u64 * BODIES * USERS, start.elapsed())
}

pub fn memory(turns: usize) {
    // Also a check that both do the same.
    let request = body(&users(0, 2, 0));
    let ours =
        pollster::block_on(MemoryStore::new().guru("my-guru").unwrap().upsert_json(request.as_bytes()));
    assert_eq!(ours.expect("stored").to_json(), handle(&Profiles::new(), "my-guru", request.as_bytes()));

    for tasks in [1, 2] {
        let bodies: Vec<Vec<_>> = (0..tasks)
            .map(|task| (0..BODIES).map(|version| body(&users(task * USERS, USERS, version))).collect())
            .collect();
        let mut library = || {
            let (store, guru) = (MemoryStore::new(), guru());
            send(&bodies, |body| {
                pollster::block_on(Guru::new(&store, guru.clone()).upsert_json(body))
                    .expect("stored")
                    .to_json()
            })
        };
        let mut dashmap = || {
            let profiles = Profiles::new();
            send(&bodies, |body| handle(&profiles, "my-guru", body))
        };
        let contestants = &mut [("profile-store", &mut library as _), ("dashmap", &mut dashmap as _)];
        rounds(&format!("memory {tasks}"), "users/s", turns, contestants);
    }
}

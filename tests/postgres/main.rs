//! `PostgresStore` against a real server: one that the tests start themselves, or the one that
//! `PROFILE_STORE_POSTGRES_URL` names, as a role that may create databases and roles. Tests of the server's
//! troubles start servers of their own in any case.
//!
//! If `PROFILE_STORE_SHARDED_URL` names a database of Citus, whose tables `citus.sql` has made, the tests of a store run
//! there, one at a time, and empty its tables. Tests that make tables stay on the server above.

mod backend;
mod contention;
mod damage;
mod fixtures;
mod observing;
mod opening;
mod outage;
mod pooler;
mod proxy;
mod server;
#[path = "../skipping.rs"]
mod skipping;
mod surroundings;
mod tls;
mod triggers;
mod upsert;
mod waiting;

use std::time::Duration;

use profile_store::{Durability, GuruSlug, PostgresStore, Result, StoreOptions, User};

/// The options of most stores here. The shared server never syncs, which saves most of the tests' time, and which it is refused for
/// otherwise.
fn options() -> StoreOptions {
    StoreOptions::default().with_durability(Durability::ProcessCrash)
}

/// A store with the patience of the test's choice.
fn open_with(url: &str, patience: Duration) -> Result<PostgresStore> {
    pollster::block_on(PostgresStore::open_with(url, options().with_busy_timeout(patience)))
}

fn open(url: &str) -> PostgresStore {
    open_with(url, Duration::from_secs(20)).expect("the store opens")
}

fn guru() -> GuruSlug {
    GuruSlug::new("my-guru").expect("a slug")
}

fn user(id: impl std::fmt::Display, n: usize) -> User {
    User::serialize(id.to_string(), &serde_json::json!({ "n": n }))
}

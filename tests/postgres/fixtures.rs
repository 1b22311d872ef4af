//! A dump that an earlier version's tables were written to: `../fixtures/README.md` says how (S13).

#[path = "../fixtures/check.rs"]
mod check;

use check::{check, fixture};

use crate::server::{Database, sql};

#[test]
fn postgres_opens_v1() {
    let database = Database::blank();
    sql(&database.url(), &std::fs::read_to_string(fixture("v1/postgres.sql")).unwrap());
    check(&database.url(), crate::options());
}

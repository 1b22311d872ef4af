//! What opening makes, and what it refuses (S13).

use std::thread;
use std::time::Duration;

use profile_store::{ErrorKind, HasGurus as _, Probe, ProfileStore as _};

use crate::server::{Database, sql};
use crate::{guru, open, open_with, user};

const SCHEMA: &str = include_str!("../../src/backends/postgres/schema/postgresql.sql");

#[test]
fn services_that_start_at_once_make_the_tables_once() {
    for _ in 0..5 {
        let database = Database::blank();
        thread::scope(|scope| {
            for service in 0..8 {
                let url = database.url();
                scope.spawn(move || {
                    let store = open(&url);
                    pollster::block_on(store.guru("my-guru").unwrap().upsert(user(service, 1))).unwrap();
                });
            }
        });
        assert_eq!(sql(&database.url(), "SELECT count(*) FROM profile_store.profile"), [["8"]]);
        assert_eq!(sql(&database.url(), "SELECT version FROM profile_store.format"), [["1"]]);
    }
}

#[test]
fn a_url_chooses_the_store() {
    let database = Database::new();
    let url = database.url();
    pollster::block_on(async {
        let store = profile_store::open(&url).await.unwrap();
        store.guru("my-guru").unwrap().upsert(user("ada", 1)).await.unwrap();
        store.close().await.unwrap();
        let store = profile_store::open(&url.replace("postgres://", "postgresql://")).await.unwrap();
        assert_eq!(store.count(&guru()).await.unwrap(), 1);
    });
}

#[test]
fn a_newer_format_and_a_foreign_schema_are_refused() {
    let newer = Database::new();
    drop(open(&newer.url()));
    sql(&newer.url(), "UPDATE profile_store.format SET version = 7");
    let foreign = Database::blank();
    sql(&foreign.url(), "CREATE SCHEMA profile_store; CREATE TABLE profile_store.t (x int)");
    for (database, word) in [(&newer, "version 7"), (&foreign, "something else")] {
        let error = open_with(&database.url(), Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
    let tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'profile_store'";
    assert_eq!(sql(&foreign.url(), tables), [["1"]], "left as it was");
}

/// A role with no more rights than the schema's file says to grant works, once the tables are there.
#[test]
fn a_role_that_only_writes_rows_is_enough() {
    let database = Database::blank();
    let role = database.name().replace("test", "role");
    sql(&database.url(), &format!("CREATE ROLE {role} LOGIN"));
    let url = database.url().replace("admin@", &format!("{role}@"));
    assert_ne!(url, database.url());
    let error = open_with(&url, Duration::from_secs(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
    assert!(error.to_string().contains("schema/postgresql.sql"), "{error}");

    sql(&database.url(), SCHEMA);
    // The grants as the file has them.
    let grants = SCHEMA.lines().filter_map(|line| line.strip_prefix("--   GRANT"));
    let grants: Vec<_> =
        grants.map(|grant| format!("GRANT{}", grant.replace("TO app", &format!("TO {role}")))).collect();
    assert_eq!(grants.len(), 3);
    sql(&database.url(), &grants.concat());
    let store = open(&url);
    pollster::block_on(async {
        let users = ["ada", "bob"].map(|id| user(id, 1));
        assert!(store.upsert_batch(&guru(), users.into_iter().collect()).await.unwrap().is_complete());
        assert!(
            store
                .upsert_batch(&guru(), ["ada", "bob"].map(|id| user(id, 2)).into_iter().collect())
                .await
                .unwrap()
                .is_complete()
        );
        assert!(store.guru("my-guru").unwrap().delete("ada").await.unwrap());
        store.health(Probe::Write).await.unwrap();
        assert!(store.verify().await.unwrap().is_sound());
        assert_eq!(store.stats().await.unwrap().profiles, 1);
        assert_eq!(store.compact().await.unwrap_err().kind(), ErrorKind::Unsupported);
        assert_eq!(store.delete_guru(&guru()).await.unwrap(), 1);
    });
    drop(store);
    sql(&database.url(), &format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn an_unusable_url_is_refused_without_showing_it() {
    let database = Database::blank();
    let absent = database.url().replace(database.name(), "no_such_database");
    for (url, kind) in [
        ("postgres://u:hush@host:port/d", ErrorKind::InvalidInput),
        ("postgres://u:hush@host/d?sslmode=perhaps", ErrorKind::InvalidInput),
        ("postgres://u:hush@host/d?sslrootcert=%zz", ErrorKind::InvalidInput),
        ("postgres://u:hush@%2Fno%2Fsuch%2Fdirectory/d", ErrorKind::Busy),
        (&absent, ErrorKind::NotFound),
    ] {
        let error = open_with(url, Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
}

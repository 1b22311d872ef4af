//! Opening: the tables that it makes, and its refusals (S13).

use std::thread;
use std::time::Duration;

use profile_store::{
    Durability, ErrorKind, HasGurus as _, PostgresStore, Probe, ProfileStore as _, StoreOptions, User,
};

use crate::server::{Database, Server, sql, while_held};
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
        assert_eq!(sql(&database.url(), "SELECT version FROM profile_store.format"), [["2"]]);
    }
}

#[test]
fn a_url_chooses_the_store() {
    let database = Database::new();
    let url = database.url();
    pollster::block_on(async {
        let store = profile_store::open_with(&url, crate::options()).await.unwrap();
        store.guru("my-guru").unwrap().upsert(user("ada", 1)).await.unwrap();
        store.close().await.unwrap();
        let store = profile_store::open_with(&url.replace("postgres://", "postgresql://"), crate::options())
            .await
            .unwrap();
        assert_eq!(store.count(&guru()).await.unwrap(), 1);
    });
}

#[test]
fn a_newer_format_and_a_foreign_schema_are_refused() {
    let (newer, unreleased) = (Database::new(), Database::blank());
    drop(open(&newer.url()));
    sql(&newer.url(), "UPDATE profile_store.format SET version = 7");
    sql(&unreleased.url(), &SCHEMA.replace("VALUES (2)", "VALUES (1)").replace("receipt", "probe"));
    let foreign = Database::blank();
    sql(&foreign.url(), "CREATE SCHEMA profile_store; CREATE TABLE profile_store.t (x int)");
    for (database, word) in
        [(&newer, "version 7"), (&unreleased, "an unreleased version"), (&foreign, "something else")]
    {
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

/// S13: a database, or a table, that can't keep the contract is refused with the reason. A memory with one `€` would
/// fail its batch in LATIN1, a crash would empty the table, its policies would hide profiles, and lists would have
/// another order than on every other backend.
#[test]
fn surroundings_that_break_a_clause_are_refused() {
    for encoding in ["LATIN1", "SQL_ASCII", "EUC_JP"] {
        let database = Database::blank();
        let name = format!("{}_{}", database.name(), encoding.to_lowercase());
        let create = format!("CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LOCALE 'C'");
        sql(&database.url(), &create);
        let url = database.url().replace(database.name(), &name);
        let error = open_with(&url, Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
        assert!(error.to_string().contains(encoding), "{error}");
        let there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'profile_store'";
        assert_eq!(sql(&url, there), [["0"]], "left as it was");
        sql(&database.url(), &format!("DROP DATABASE {name} WITH (FORCE)"));
    }
    for (change, word) in [
        ("ALTER TABLE profile_store.profile SET UNLOGGED", "profile is unlogged"),
        ("ALTER TABLE profile_store.receipt SET UNLOGGED", "receipt is unlogged"),
        (r#"ALTER TABLE profile_store.profile ALTER external_user_id TYPE text COLLATE "POSIX""#, "COLLATE"),
        ("ALTER TABLE profile_store.profile ALTER guru_slug TYPE text COLLATE pg_catalog.default", "COLLATE"),
        ("ALTER TABLE profile_store.receipt ALTER guru_slug TYPE text COLLATE pg_catalog.default", "COLLATE"),
        (
            "ALTER TABLE profile_store.profile DROP CONSTRAINT profile_pkey",
            "profile has lost the unique index",
        ),
        (
            "ALTER TABLE profile_store.receipt DROP CONSTRAINT receipt_pkey",
            "receipt has lost the unique index",
        ),
        ("ALTER TABLE profile_store.format SET UNLOGGED", "format is unlogged"),
        ("ALTER TABLE profile_store.profile ALTER memory TYPE jsonb USING memory::jsonb", "another type"),
        ("ALTER TABLE profile_store.profile ALTER updated_at TYPE numeric", "another type"),
        ("ALTER TABLE profile_store.receipt ALTER token TYPE integer", "another type"),
        ("ALTER TABLE profile_store.profile DROP expected", ""),
    ] {
        let database = Database::blank();
        drop(open(&database.url()));
        sql(&database.url(), change);
        let error = open_with(&database.url(), Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// S13: what a role may not do is told when it opens, and not by the first write. Reading takes less.
#[test]
fn a_role_that_may_not_write_is_refused() {
    let database = Database::blank();
    drop(open(&database.url()));
    let role = database.name().replace("test", "reader");
    let grant = |what: &str, table: &str| {
        sql(&database.url(), &format!("GRANT {what} ON profile_store.{table} TO {role}"));
    };
    sql(&database.url(), &format!("CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA profile_store TO {role}"));
    let url = database.url().replace("admin@", &format!("{role}@"));
    let read_only = crate::options().with_read_only(true);
    let refused = |options: &StoreOptions| {
        let error = pollster::block_on(PostgresStore::open_with(&url, options.clone())).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied, "{error:?}");
        error
    };
    grant("SELECT", "format");
    assert!(refused(&read_only).to_string().contains("may not read"));
    for (what, table) in
        [("SELECT", "profile"), ("INSERT, UPDATE", "profile"), ("SELECT, INSERT, UPDATE, DELETE", "receipt")]
    {
        grant(what, table);
        assert!(refused(&crate::options()).to_string().contains("may not write"));
        drop(pollster::block_on(PostgresStore::open_with(&url, read_only.clone())).unwrap());
    }
    grant("DELETE", "profile");
    drop(open(&url));
    sql(&database.url(), &format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// S2: a server that never syncs keeps nothing through a power loss, and is not opened as if it did.
#[test]
fn a_server_without_fsync_is_refused() {
    let server = Server::start("fsync = off");
    let error = pollster::block_on(PostgresStore::open(&server.url("postgres"))).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
    assert!(error.to_string().contains("fsync"), "{error}");
    let weaker = StoreOptions::default().with_durability(Durability::ProcessCrash);
    for options in [weaker, StoreOptions::default().with_read_only(true)] {
        let store = pollster::block_on(PostgresStore::open_with(&server.url("postgres"), options)).unwrap();
        assert_eq!(pollster::block_on(store.count(&guru())).unwrap(), 0);
    }
}

/// A role whose rows the table's policies hide.
#[test]
fn hidden_rows_are_refused() {
    let database = Database::blank();
    drop(open(&database.url()));
    let role = database.name().replace("test", "kept");
    sql(
        &database.url(),
        &format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA profile_store TO {role}; \
             GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA profile_store TO {role}"
        ),
    );
    let url = database.url().replace("admin@", &format!("{role}@"));
    drop(open(&url));
    sql(&database.url(), "ALTER TABLE profile_store.profile ENABLE ROW LEVEL SECURITY");
    let error = open_with(&url, Duration::from_secs(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
    assert!(error.to_string().contains("row security"), "{error}");
    drop(open(&database.url()));
    sql(&database.url(), &format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// A store that is opened for reading only makes nothing, and takes no right to write.
#[test]
fn reading_only_makes_nothing() {
    let database = Database::blank();
    let options = || crate::options().with_read_only(true);
    let open_reading = |url: &str| pollster::block_on(PostgresStore::open_with(url, options()));
    let error = open_reading(&database.url()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFound, "{error:?}");
    let there = "SELECT count(*) FROM pg_namespace WHERE nspname = 'profile_store'";
    assert_eq!(sql(&database.url(), there), [["0"]]);

    let writing = open(&database.url());
    pollster::block_on(writing.guru("my-guru").unwrap().upsert(user("ada", 1))).unwrap();
    let role = database.name().replace("test", "reader");
    sql(
        &database.url(),
        &format!(
            "CREATE ROLE {role} LOGIN; GRANT USAGE ON SCHEMA profile_store TO {role}; \
             GRANT SELECT ON profile_store.format, profile_store.profile TO {role}"
        ),
    );
    let store = open_reading(&database.url().replace("admin@", &format!("{role}@"))).unwrap();
    pollster::block_on(async {
        let ada = writing.guru("my-guru").unwrap().get("ada").await.unwrap();
        assert_eq!(store.guru("my-guru").unwrap().get("ada").await.unwrap(), ada);
        assert_eq!(store.count(&guru()).await.unwrap(), 1);
        assert!(store.verify().await.unwrap().is_sound());
        assert_eq!(store.stats().await.unwrap().profiles, 1);
        store.health(Probe::Read).await.unwrap();
        for error in [
            store.guru("my-guru").unwrap().upsert(user("ada", 1)).await.unwrap_err(),
            store.guru("my-guru").unwrap().delete("ada").await.unwrap_err(),
            store.delete_guru(&guru()).await.unwrap_err(),
            store.health(Probe::Write).await.unwrap_err(),
            store.compact().await.unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.may_be_stored()), (ErrorKind::ReadOnly, false), "{error:?}");
        }
        store.close().await.unwrap();
    });
    drop(store);
    sql(&database.url(), &format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

/// A copy for reports may have the profiles alone.
#[test]
fn reading_only_needs_no_receipts() {
    let database = Database::blank();
    pollster::block_on(open(&database.url()).guru("my-guru").unwrap().upsert(user("ada", 1))).unwrap();
    sql(&database.url(), "DROP TABLE profile_store.receipt");
    let options = crate::options().with_read_only(true);
    let store = pollster::block_on(PostgresStore::open_with(&database.url(), options)).unwrap();
    assert_eq!(pollster::block_on(store.count(&guru())).unwrap(), 1);
    let error = open_with(&database.url(), Duration::from_secs(5)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{error:?}");
}

/// Not even what a read brings about is written.
#[test]
fn reading_only_is_read_only_on_the_server() {
    let database = Database::blank();
    let writing = open(&database.url());
    let spy = "CREATE TABLE profile_store.seen (n int); \
        CREATE FUNCTION profile_store.spy() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN \
          INSERT INTO profile_store.seen VALUES (1); RETURN true; END $$; \
        INSERT INTO profile_store.profile VALUES ('my-guru', 'ada', '{}', 0, 0, 0, NULL); \
        ALTER TABLE profile_store.profile RENAME TO hidden; \
        CREATE VIEW profile_store.profile AS SELECT * FROM profile_store.hidden WHERE profile_store.spy()";
    sql(&database.url(), spy);
    let options = crate::options().with_read_only(true).with_busy_timeout(Duration::from_secs(3));
    let reading = pollster::block_on(PostgresStore::open_with(&database.url(), options)).unwrap();
    for (store, seen) in [(reading, "0"), (writing, "1")] {
        let told = pollster::block_on(store.count(&guru()));
        assert_eq!(told.is_err(), seen == "0", "{told:?}");
        assert_eq!(sql(&database.url(), "SELECT count(*) FROM profile_store.seen"), [[seen]]);
    }
}

/// The receipts of writers that are long gone are swept.
#[test]
fn old_receipts_go() {
    let database = Database::blank();
    let store = open(&database.url());
    pollster::block_on(store.guru("my-guru").unwrap().upsert(user("ada", 1))).unwrap();
    sql(
        &database.url(),
        "INSERT INTO profile_store.receipt VALUES ('', 1, 1, now() - interval '2 days'), \
         ('', 2, 2, now() - interval '2 hours')",
    );
    drop(open(&database.url()));
    let left = "SELECT count(*), count(*) FILTER (WHERE writer = 1) FROM profile_store.receipt";
    assert_eq!(sql(&database.url(), left), [["2", "0"]]);
    pollster::block_on(store.guru("my-guru").unwrap().upsert(user("ada", 2))).unwrap();
}

/// A writer that was idle for a day is at work again: its receipt is not swept, and opening does not wait for it.
#[test]
fn an_old_receipt_in_use_is_left() {
    let database = Database::blank();
    drop(open(&database.url()));
    sql(&database.url(), "INSERT INTO profile_store.receipt VALUES ('', 1, 1, now() - interval '2 days')");
    while_held(&database.url(), "SELECT FROM profile_store.receipt FOR UPDATE", || {
        drop(open_with(&database.url(), Duration::from_secs(5)).unwrap());
    });
    assert_eq!(sql(&database.url(), "SELECT writer FROM profile_store.receipt"), [["1"]]);
}

/// L3: what is deleted is in the table no more, or it is not `Ok`. An older transaction of the database, whatever it reads, has
/// the server keep it.
#[test]
fn compacting_beside_an_older_transaction_is_busy() {
    let server = Server::start("");
    let (url, secret) = (server.url("postgres"), "s3cret-".repeat(10));
    let store = open(&url);
    let in_file = || {
        let file = sql(&url, "CHECKPOINT; SELECT pg_relation_filepath('profile_store.profile')");
        let bytes = std::fs::read(server.data().join(&file[0][0])).unwrap();
        bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
    };
    pollster::block_on(async {
        let guru = store.guru("my-guru").unwrap();
        guru.upsert(User::serialize("ada", &serde_json::json!({ "a": secret }))).await.unwrap();
        guru.upsert(user("bob", 1)).await.unwrap();
        assert!(in_file());
        let begin = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ; SELECT 1";
        while_held(&url, begin, || {
            pollster::block_on(async {
                assert!(guru.delete("ada").await.unwrap());
                let impatient = open_with(&url, Duration::from_secs(1)).unwrap();
                let error = impatient.compact().await.unwrap_err();
                assert_eq!(error.kind(), ErrorKind::Busy, "{error:?}");
                sql(&url, "VACUUM FULL profile_store.profile");
                assert!(in_file(), "the server keeps it for the other transaction");
            });
        });
        store.compact().await.unwrap();
        assert!(!in_file());
        assert_eq!(store.count(&crate::guru()).await.unwrap(), 1);
    });
}

/// A URL's parameters are kept, or refused with the reason, never ignored.
#[test]
fn what_a_url_says_is_kept_or_refused() {
    let database = Database::blank();
    let with = |parameters: &str| format!("{}?{parameters}", database.url());
    for known in [
        "sslmode=prefer&sslrootcert=system",
        "sslmode=disable&sslrootcert=%2Fno%2Fsuch%2Ffile&sslrootcert=system",
        "target_session_attrs=read-write&connect_timeout=5",
        "keepalives=1&keepalives_idle=9&keepalives_interval=9&keepalives_count=9",
        "application_name=me&options=-c%20geqo%3Doff",
    ] {
        let store = open(&with(known));
        assert_eq!(pollster::block_on(store.count(&guru())).unwrap(), 0, "{known}");
    }
    for (refused, word) in [
        ("target_session_attrs=any", "S9"),
        ("target_session_attrs=prefer-standby", "read-write"),
        ("sslmode=verify-ca", "verify-full"),
        ("sslmode=allow", "prefer"),
        ("sslcert=hush", "sslcert"),
        ("passfile=hush", "passfile"),
        ("service=hush", "service"),
        ("client_encoding=LATIN1", "UTF8"),
        ("no_such_thing=hush", "no_such_thing"),
    ] {
        let error = open_with(&with(refused), Duration::from_secs(5)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{refused}: {error:?}");
        assert!(error.to_string().contains(word), "{error}");
        assert!(!format!("{error:?}").contains("hush"), "{error:?}");
    }
}

#[test]
fn an_unusable_url_is_refused_without_showing_it() {
    let database = Database::blank();
    let absent = database.url().replace(database.name(), "no_such_database");
    for (url, kind) in [
        ("postgres://u:hush@host:port/d", ErrorKind::InvalidInput),
        ("postgres://u:hush@host/d?sslmode=perhaps", ErrorKind::InvalidInput),
        ("postgres://u:hush@host/d?sslrootcert=%zz", ErrorKind::InvalidInput),
        ("postgres:///d?password=hush", ErrorKind::InvalidInput),
        ("postgres://u:hush@host/d?port=6432", ErrorKind::InvalidInput),
        ("postgres://u:hush@one,two/d?hostaddr=127.0.0.1", ErrorKind::InvalidInput),
        ("postgres://u:hush@%2Fno%2Fsuch%2Fdirectory/d", ErrorKind::Busy),
        (&absent, ErrorKind::NotFound),
    ] {
        // `Busy` takes all of its time, and the others are told at once.
        let patience = Duration::from_millis(if kind == ErrorKind::Busy { 50 } else { 5000 });
        let error = open_with(url, patience).unwrap_err();
        assert_eq!(error.kind(), kind, "{url}: {error:?}");
        assert!(!format!("{error} {error:?}").contains("hush"), "{error:?}");
    }
}

//! Triggers of somebody else: the report is what is stored, or it is an error and nothing is stored.

use profile_store::{
    Batch, Error, ErrorKind, ExternalUserId, HasGurus as _, PostgresStore, Probe, ProfileStore as _,
};

use crate::server::{Database, sql};
use crate::{guru, open, user};

const SCHEMA: &str = include_str!("../../src/backends/postgres/schema/postgresql.sql");

/// Before each row of `table` is written by `events`, `body` is run.
fn trigger(database: &Database, table: &str, events: &str, body: &str) {
    sql(
        &database.url(),
        &format!(
            "CREATE FUNCTION profile_store.meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} END $$; \
             CREATE TRIGGER meddle BEFORE {events} ON profile_store.{table} \
             FOR EACH ROW EXECUTE FUNCTION profile_store.meddle()"
        ),
    );
}

fn assert_told(error: &Error, what: &str) {
    assert_eq!(error.kind(), ErrorKind::Incompatible, "{what}: {error:?}");
    assert!(error.to_string().contains("trigger") && !error.may_be_stored(), "{what}: {error:?}");
}

fn batch(ids: &[&str], n: usize) -> Batch<'static> {
    ids.iter().map(|id| user(id, n)).collect()
}

/// All rows, of profiles only.
fn rows(database: &Database) -> Vec<Vec<String>> {
    sql(&database.url(), "SELECT * FROM profile_store.profile ORDER BY guru_slug, external_user_id")
}

/// Something else comes back than was sent: it is said, and not stored. The store goes on.
#[test]
fn a_trigger_that_changes_rows_is_told() {
    for change in [
        "NEW.external_user_id := lower(NEW.external_user_id);",
        "NEW.guru_slug := 'other';",
        "NEW.memory := '{}';",
        "NEW.updated_at := NEW.updated_at + 1;",
        "NEW.created_at := 0;",
        "NEW.checksum := 0;",
    ] {
        let database = Database::blank();
        let store = open(&database.url());
        pollster::block_on(async {
            assert!(store.upsert_batch(&guru(), batch(&["Ada", "Bob"], 0)).await.unwrap().is_complete());
            let before = rows(&database);
            let body = format!("IF NEW.external_user_id <> 'plain' THEN {change} END IF; RETURN NEW;");
            trigger(&database, "profile", "INSERT OR UPDATE", &body);
            for ids in [&["Ada"][..], &["Cyd"], &["Ada", "Cyd", "Dan"]] {
                assert_told(&store.upsert_batch(&guru(), batch(ids, 1)).await.unwrap_err(), change);
                let patches = ids.iter().map(|id| user(id, 2).merging()).collect();
                assert_told(&store.upsert_batch(&guru(), patches).await.unwrap_err(), change);
                assert_eq!(rows(&database), before, "{change}: nothing is stored");
            }
            store.guru("my-guru").unwrap().upsert(user("plain", 1)).await.unwrap();
            assert!(store.verify().await.unwrap().is_sound());
        });
    }
}

/// A row that is left out is not reported as created, updated or deleted.
#[test]
fn a_trigger_that_leaves_rows_out_is_told() {
    for ids in [&["skip"][..], &["a", "skip", "z"]] {
        for events in ["INSERT", "UPDATE", "DELETE", "INSERT OR UPDATE OR DELETE"] {
            let database = Database::blank();
            let store = open(&database.url());
            pollster::block_on(async {
                let there = if events == "INSERT" { &["a", "z"][..] } else { &["a", "skip", "z"] };
                assert!(store.upsert_batch(&guru(), batch(there, 0)).await.unwrap().is_complete());
                let before = rows(&database);
                let row = if events == "DELETE" { "OLD" } else { "coalesce(NEW, OLD)" };
                let body = format!(
                    "IF ({row}).external_user_id = 'skip' THEN RETURN NULL; END IF; RETURN coalesce(NEW, OLD);"
                );
                trigger(&database, "profile", events, &body);
                if events == "DELETE" {
                    let ids: Vec<_> = ids.iter().map(|id| ExternalUserId::new(*id).unwrap()).collect();
                    assert_told(&store.delete_many(&guru(), &ids).await.unwrap_err(), events);
                    assert_told(&store.delete_guru(&guru()).await.unwrap_err(), events);
                } else {
                    assert_told(&store.upsert_batch(&guru(), batch(ids, 1)).await.unwrap_err(), events);
                }
                assert_eq!(rows(&database), before, "{events}: nothing is stored");
                assert!(store.guru("my-guru").unwrap().delete("a").await.unwrap(), "{events}");
            });
        }
    }
}

/// Batches that share a transaction: only the one with the row that is left out fails.
#[test]
fn a_trigger_fails_only_its_batch() {
    let database = Database::blank();
    let options = crate::options().with_write_connections(1);
    let store = pollster::block_on(PostgresStore::open_with(&database.url(), options)).unwrap();
    trigger(
        &database,
        "profile",
        "INSERT",
        "IF NEW.external_user_id LIKE 'skip%' THEN RETURN NULL; END IF; RETURN NEW;",
    );
    std::thread::scope(|scope| {
        let call = |n: usize| {
            let store = &store;
            scope.spawn(move || {
                let id = if n.is_multiple_of(4) { format!("skip{n}") } else { format!("u{n}") };
                let told = pollster::block_on(store.guru("my-guru").unwrap().upsert(user(id, 1)));
                assert_eq!(told.is_err(), n.is_multiple_of(4), "{n}: {told:?}");
            })
        };
        let calls: Vec<_> = (0..32).map(call).collect();
        calls.into_iter().for_each(|call| call.join().unwrap());
    });
    assert_eq!(pollster::block_on(store.count(&guru())).unwrap(), 24);
}

/// Without receipts no commit could be proven: nothing is stored, and a probe says so.
#[test]
fn a_trigger_that_keeps_no_receipts_is_told() {
    let database = Database::blank();
    let store = open(&database.url());
    trigger(&database, "receipt", "INSERT", "RETURN NULL;");
    pollster::block_on(async {
        assert_told(&store.guru("my-guru").unwrap().upsert(user("ada", 1)).await.unwrap_err(), "a write");
        assert_told(&store.health(Probe::Write).await.unwrap_err(), "a probe");
        assert_eq!(store.count(&guru()).await.unwrap(), 0);
    });
}

/// What runs after a statement, at once or before the commit, is seen as well. A trigger that writes elsewhere is welcome.
#[test]
fn a_trigger_that_runs_after_a_row_was_written_is_told() {
    let (remove, change) = (
        "DELETE FROM profile_store.profile WHERE external_user_id = NEW.external_user_id;",
        "UPDATE profile_store.profile SET memory = '{}' WHERE external_user_id = NEW.external_user_id AND memory <> '{}';",
    );
    // The checksum is that of no row, so that this one is not kept again and again.
    let again = "IF OLD.checksum <> 0 THEN INSERT INTO profile_store.profile VALUES \
                 (OLD.guru_slug, OLD.external_user_id, OLD.memory, 0, 0, 0); END IF;";
    for (events, body) in [
        ("INSERT", remove),
        ("INSERT", change),
        ("UPDATE", remove),
        ("UPDATE", change),
        ("DELETE", again),
        ("INSERT", ""),
        ("UPDATE", ""),
        ("DELETE", ""),
    ] {
        for deferred in [false, true] {
            let database = Database::blank();
            let store = open(&database.url());
            pollster::block_on(async {
                assert!(store.upsert_batch(&guru(), batch(&["a", "z"], 0)).await.unwrap().is_complete());
                let before = rows(&database);
                let (kind, when) = if deferred {
                    ("CONSTRAINT TRIGGER", "DEFERRABLE INITIALLY DEFERRED")
                } else {
                    ("TRIGGER", "")
                };
                sql(
                    &database.url(),
                    &format!(
                        "CREATE TABLE public.log (event text); \
                         CREATE FUNCTION profile_store.meddle() RETURNS trigger LANGUAGE plpgsql AS \
                         $$ BEGIN INSERT INTO public.log VALUES (TG_OP); {body} RETURN NULL; END $$; \
                         CREATE {kind} meddle AFTER {events} ON profile_store.profile {when} \
                         FOR EACH ROW EXECUTE FUNCTION profile_store.meddle()"
                    ),
                );
                let results = match events {
                    "INSERT" => vec![store.upsert_batch(&guru(), batch(&["x", "y"], 1)).await.map(drop)],
                    "UPDATE" => vec![store.upsert_batch(&guru(), batch(&["a", "z"], 1)).await.map(drop)],
                    _ => vec![
                        store.delete_many(&guru(), &["a"].map(|id| id.parse().unwrap())).await.map(drop),
                        store.delete_guru(&guru()).await.map(drop),
                    ],
                };
                for result in results {
                    if body.is_empty() {
                        result.unwrap();
                        assert_ne!(sql(&database.url(), "SELECT count(*) FROM public.log"), [["0"]]);
                        assert!(store.verify().await.unwrap().is_sound());
                    } else {
                        assert_told(&result.unwrap_err(), &format!("{events}, deferred: {deferred}, {body}"));
                        assert_eq!(rows(&database), before, "{events}, {body}: nothing is stored");
                    }
                }
            });
        }
    }
}

/// A trigger of one partition, too; and one that only writes elsewhere holds up no deletion, though others store profiles
/// of the guru meanwhile.
#[test]
fn triggers_of_partitions_are_seen_and_harmless_ones_stop_no_deletion() {
    let by_hash = SCHEMA.replace(
        "PRIMARY KEY (guru_slug, external_user_id)\n);",
        "PRIMARY KEY (guru_slug, external_user_id)\n) PARTITION BY HASH (guru_slug);\n\
         CREATE TABLE profile_store.p0 PARTITION OF profile_store.profile FOR VALUES WITH (MODULUS 1, REMAINDER 0);",
    );
    let database = Database::blank();
    sql(&database.url(), &by_hash);
    let store = open(&database.url());
    let create = |body: &str| {
        let create = format!(
            "CREATE FUNCTION profile_store.meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$; \
             CREATE TRIGGER meddle AFTER INSERT OR UPDATE OR DELETE ON profile_store.p0 \
             FOR EACH ROW EXECUTE FUNCTION profile_store.meddle()"
        );
        sql(&database.url(), &create);
    };
    create("DELETE FROM profile_store.profile WHERE external_user_id = NEW.external_user_id;");
    pollster::block_on(async {
        assert_told(&store.upsert_batch(&guru(), batch(&["a", "b"], 1)).await.unwrap_err(), "a partition");
        assert_eq!(rows(&database).len(), 0);
    });
    sql(&database.url(), "DROP FUNCTION profile_store.meddle CASCADE");
    create("PERFORM pg_sleep(0.001);");
    let many: Vec<_> = (0..500).map(|n| format!("u{n}")).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    pollster::block_on(async {
        assert!(store.upsert_batch(&guru(), batch(&many, 1)).await.unwrap().is_complete());
        assert!(store.stats().await.unwrap().disk_bytes > 0);
    });
    std::thread::scope(|scope| {
        let other = open(&database.url());
        let deletion = scope.spawn(|| pollster::block_on(store.delete_guru(&guru())));
        let mut stored = 0;
        while !deletion.is_finished() {
            let new = format!("new-{stored}");
            pollster::block_on(other.guru("my-guru").unwrap().upsert(user(new, 1))).unwrap();
            stored += 1;
        }
        let removed = deletion.join().unwrap().unwrap();
        assert!(stored > 3, "nobody stored anything meanwhile");
        let left = pollster::block_on(other.count(&guru())).unwrap();
        assert_eq!(removed + left, 500 + stored);
    });
    sql(&database.url(), "ALTER TABLE profile_store.p0 SET UNLOGGED");
    let error = crate::open_with(&database.url(), std::time::Duration::from_secs(5)).unwrap_err();
    assert!(error.kind() == ErrorKind::Incompatible && error.to_string().contains("unlogged"), "{error}");
}

/// Somebody else's constraint is no failure that goes away by itself.
#[test]
fn a_constraint_of_somebody_else_is_no_passing_failure() {
    let database = Database::blank();
    let store = open(&database.url());
    sql(&database.url(), "ALTER TABLE profile_store.profile ADD CHECK (external_user_id <> 'b')");
    pollster::block_on(async {
        let error = store.upsert_batch(&guru(), batch(&["a", "b"], 1)).await.unwrap_err();
        assert_eq!((error.kind(), error.is_retryable()), (ErrorKind::Incompatible, false), "{error:?}");
        assert_eq!(store.count(&guru()).await.unwrap(), 0);
    });
}

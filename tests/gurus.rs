//! The rows of gurus in a SQLite file: their numbers decide nothing (S12), they go with the last profile, and
//! what a deleted guru leaves is removed afterwards (L2).

use std::path::Path;
use std::time::Duration;

use profile_store::{
    Batch, CopyOptions, ErrorKind, ExternalUserId, GuruSlug, ListOptions, MemoryStore, Probe, ProfileStore,
    SqliteStore, User, copy,
};
use rusqlite::Connection;
use tempfile::TempDir;

fn guru(slug: &str) -> GuruSlug {
    GuruSlug::new(slug).unwrap()
}

fn id(text: &str) -> ExternalUserId {
    ExternalUserId::new(text).unwrap()
}

async fn open(directory: &Path) -> SqliteStore {
    SqliteStore::open(directory.join("p.db")).await.unwrap()
}

fn connection(directory: &Path) -> Connection {
    let connection = Connection::open(directory.join("p.db")).unwrap();
    connection.busy_timeout(Duration::from_secs(10)).unwrap();
    connection
}

fn number(directory: &Path, sql: &str) -> Option<i64> {
    connection(directory).query_row(sql, [], |row| row.get(0)).unwrap()
}

async fn put(store: &SqliteStore, slug: &str, ids: &[&str], n: u64) {
    let users = ids.iter().map(|id| User::serialize(*id, &serde_json::json!({ "n": n })));
    assert!(store.upsert_batch(&guru(slug), Batch::from_users(users)).await.unwrap().is_complete());
}

async fn delete(store: &SqliteStore, slug: &str, ids: &[&str]) -> Vec<bool> {
    let ids: Vec<_> = ids.iter().map(|text| id(text)).collect();
    store.delete_many(&guru(slug), &ids).await.unwrap()
}

/// Whatever a guru's number of profiles is, its profiles are found, written and deleted, `count` is right, and
/// no other guru notices.
#[test]
fn a_wrong_number_decides_nothing() {
    for statement in [
        "UPDATE guru SET profiles = profiles | 4096 WHERE slug = 'damaged'",
        "UPDATE guru SET profiles = 0 WHERE slug = 'damaged'",
        "UPDATE guru SET profiles = -1 WHERE slug = 'damaged'",
        "UPDATE guru SET profiles_checksum = profiles_checksum + 1 WHERE slug = 'damaged'",
        "UPDATE guru SET profiles = NULL WHERE slug = 'damaged'",
        "UPDATE guru SET profiles = NULL, profiles_checksum = NULL",
    ] {
        let directory = TempDir::new().unwrap();
        let directory = directory.path();
        pollster::block_on(async {
            let store = open(directory).await;
            put(&store, "damaged", &["a", "b", "c"], 1).await;
            put(&store, "other", &["a"], 1).await;
            connection(directory).execute(statement, []).unwrap();

            assert!(store.get_many(&guru("damaged"), &[id("a")]).await.unwrap()[0].is_some());
            assert_eq!(store.get_many(&guru("damaged"), &[id("a"), id("x")]).await.unwrap()[1], None);
            assert_eq!(
                store.list(&guru("damaged"), &ListOptions::default()).await.unwrap().profiles.len(),
                3
            );
            assert_eq!(store.count(&guru("damaged")).await.unwrap(), 3, "{statement}");
            assert_eq!(store.gurus(None, 9).await.unwrap(), [guru("damaged"), guru("other")]);
            assert_eq!(store.stats().await.unwrap().profiles, 4);
            let copied = MemoryStore::new();
            copy(&store, &copied, CopyOptions::default()).await.unwrap();
            assert_eq!(copied.stats().await.unwrap().profiles, 4);
            let is_told = !statement.contains("NULL, ");
            assert_eq!(store.verify().await.unwrap().damaged, u64::from(is_told), "{statement}");

            // A write that meets the number marks it unknown.
            put(&store, "damaged", &["b"], 2).await;
            assert_eq!(number(directory, "SELECT profiles FROM guru WHERE slug = 'damaged'"), None);
            assert!(store.verify().await.unwrap().is_sound(), "{statement}");
            put(&store, "damaged", &["d", "e"], 1).await;
            assert_eq!(delete(&store, "damaged", &["a", "x"]).await, [true, false]);
            assert_eq!(store.count(&guru("damaged")).await.unwrap(), 4);
            store.compact().await.unwrap();
            assert_eq!(number(directory, "SELECT profiles FROM guru WHERE slug = 'damaged'"), Some(4));
            assert_eq!(store.count(&guru("damaged")).await.unwrap(), 4);

            connection(directory).execute(statement, []).unwrap();
            assert_eq!(delete(&store, "damaged", &["b", "c", "d"]).await, [true; 3]);
            assert_eq!(store.count(&guru("damaged")).await.unwrap(), 1);
            assert_eq!(delete(&store, "damaged", &["e"]).await, [true]);
            assert_eq!(store.gurus(None, 9).await.unwrap(), [guru("other")], "{statement}");
            put(&store, "damaged", &["a", "b"], 1).await;
            connection(directory).execute(statement, []).unwrap();
            assert_eq!(store.delete_guru(&guru("damaged")).await.unwrap(), 2);
            assert_eq!(store.count(&guru("damaged")).await.unwrap(), 0);
        });
    }
}

/// A number that fits its checksum and is wrong anyway: that of an earlier state.
#[test]
fn a_number_of_another_day_costs_no_profile() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    pollster::block_on(async {
        let store = open(directory).await;
        let save = "CREATE TABLE old AS SELECT profiles, profiles_checksum FROM guru";
        let put_back = "UPDATE guru SET (profiles, profiles_checksum) = (SELECT * FROM old)";
        put(&store, "g", &["a"], 1).await;
        connection(directory).execute_batch(save).unwrap();
        put(&store, "g", &["b", "c"], 1).await;
        connection(directory).execute_batch(put_back).unwrap();
        assert_eq!(store.verify().await.unwrap().damaged, 1);
        // It says one, and one goes: the others are still there.
        assert_eq!(delete(&store, "g", &["a"]).await, [true]);
        assert_eq!(store.count(&guru("g")).await.unwrap(), 2);
        assert!(store.verify().await.unwrap().is_sound());
        // It would be negative.
        connection(directory).execute_batch(put_back).unwrap();
        assert_eq!(delete(&store, "g", &["b", "c"]).await, [true; 2]);
        assert_eq!(store.gurus(None, 9).await.unwrap(), []);
    });
}

/// The row goes with the last profile, and its key is never given again.
#[test]
fn a_guru_goes_with_its_last_profile() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    pollster::block_on(async {
        let store = open(directory).await;
        let mut keys = Vec::new();
        for round in 0..4 {
            put(&store, "g", &["a", "b"], 1).await;
            keys.extend(number(directory, "SELECT id FROM guru WHERE slug = 'g'"));
            match round {
                0 => assert_eq!(delete(&store, "g", &["a", "b"]).await, [true; 2]),
                _ => assert_eq!(store.delete_guru(&guru("g")).await.unwrap(), 2),
            }
            assert_eq!(number(directory, "SELECT count(*) FROM guru"), Some(0));
            assert_eq!(store.stats().await.unwrap().gurus, 0);
            assert_eq!(store.delete_guru(&guru("g")).await.unwrap(), 0);
            store.compact().await.unwrap();
        }
        assert!(keys.is_sorted_by(|one, next| one < next), "{keys:?}");
        assert_eq!(number(directory, "SELECT count(*) FROM profile"), Some(0));
        assert_eq!(number(directory, "SELECT count(*) FROM emptied"), Some(0));
    });
}

/// S8: a restored backup has other keys for the same gurus.
#[test]
fn a_backup_restored_into_the_open_file_is_read_as_it_is() {
    let (directory, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    pollster::block_on(async {
        let backup = open(other.path()).await;
        put(&backup, "two", &["u"], 20).await;
        put(&backup, "one", &["u", "v"], 10).await;
        backup.close().await.unwrap();
        let store = open(directory.path()).await;
        put(&store, "one", &["u"], 1).await;
        put(&store, "two", &["u", "v", "w"], 2).await;
        let read = async |slug| {
            let profiles = store.get_many(&guru(slug), &[id("u")]).await.unwrap();
            let memory = profiles[0].as_ref().unwrap().memory.as_str().to_owned();
            let listed = store.list(&guru(slug), &ListOptions::default()).await.unwrap().profiles.len();
            (memory, store.count(&guru(slug)).await.unwrap(), listed)
        };
        // Every reader has met both gurus.
        for _ in 0..20 {
            assert_eq!(read("one").await, (r#"{"n":1}"#.to_owned(), 1, 1));
            assert_eq!(read("two").await, (r#"{"n":2}"#.to_owned(), 3, 3));
        }
        let mut target = connection(directory.path());
        let source = connection(other.path());
        let copying = rusqlite::backup::Backup::new(&source, &mut target).unwrap();
        assert_eq!(copying.step(-1).unwrap(), rusqlite::backup::StepResult::Done);
        drop(copying);
        for _ in 0..20 {
            assert_eq!(read("one").await, (r#"{"n":10}"#.to_owned(), 2, 2));
            assert_eq!(read("two").await, (r#"{"n":20}"#.to_owned(), 1, 1));
        }
        put(&store, "two", &["x"], 21).await;
        assert_eq!(store.count(&guru("two")).await.unwrap(), 2);
        assert!(store.verify().await.unwrap().is_sound());
    });
}

/// A damaged key is damage, not an empty guru.
#[test]
fn a_damaged_key_is_told() {
    let directory = TempDir::new().unwrap();
    pollster::block_on(async {
        let store = open(directory.path()).await;
        put(&store, "g", &["a"], 1).await;
        for statement in ["UPDATE guru SET id = id + 1", "UPDATE guru SET checksum = checksum + 1"] {
            connection(directory.path()).execute(statement, []).unwrap();
            for ids in [&[id("a")][..], &[id("nobody")], &[id("a"), id("b")]] {
                assert_eq!(store.get_many(&guru("g"), ids).await.unwrap_err().kind(), ErrorKind::Corrupt);
            }
            let error = store.list(&guru("g"), &ListOptions::default()).await.unwrap_err();
            assert_eq!((error.kind(), error.guru()), (ErrorKind::Corrupt, Some("g")));
            assert_eq!(store.count(&guru("g")).await.unwrap_err().kind(), ErrorKind::Corrupt);
        }
    });
}

/// Rows that take some steps to remove.
const MANY: usize = 100_000;

/// While it is there, rows of deleted gurus stay.
const KEEP: &str = "CREATE TRIGGER keep BEFORE DELETE ON profile BEGIN SELECT RAISE(IGNORE); END";

/// A store with a small guru and a large one that is deleted, its rows kept by the trigger.
async fn deleted_and_kept(directory: &Path) -> SqliteStore {
    let store = open(directory).await;
    put(&store, "other", &["a"], 1).await;
    for batch in 0..MANY / 10_000 {
        let user = |n: usize| User::serialize(format!("user-{batch}-{n}"), &serde_json::json!({ "n": n }));
        assert!(
            store
                .upsert_batch(&guru("large"), Batch::from_users((0..10_000).map(user)))
                .await
                .unwrap()
                .is_complete()
        );
    }
    connection(directory).execute_batch(KEEP).unwrap();
    assert_eq!(store.delete_guru(&guru("large")).await.unwrap(), MANY as u64);
    store
}

fn left(directory: &Path) -> i64 {
    number(directory, "SELECT count(*) FROM profile WHERE guru NOT IN (SELECT id FROM guru)").unwrap()
}

fn wait_until_nothing_is_left(directory: &Path) {
    for _ in 0..600 {
        if left(directory) == 0 && number(directory, "SELECT count(*) FROM emptied") == Some(0) {
            return;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    panic!("{} rows are left after a minute", left(directory));
}

/// L2: a large guru is gone at once for every reader; its rows go later, a step at a time.
#[test]
fn a_large_guru_is_deleted_at_once_and_emptied_later() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    pollster::block_on(async {
        let store = deleted_and_kept(directory).await;
        assert_eq!(store.delete_guru(&guru("large")).await.unwrap(), 0);
        assert_eq!(left(directory), MANY as i64);
        assert_eq!(store.gurus(None, 9).await.unwrap(), [guru("other")]);
        assert_eq!(store.count(&guru("large")).await.unwrap(), 0);
        assert_eq!(store.list(&guru("large"), &ListOptions::default()).await.unwrap().profiles, []);
        assert_eq!(store.get_many(&guru("large"), &[id("user-0-1")]).await.unwrap(), [None]);
        let (stats, verified) = (store.stats().await.unwrap(), store.verify().await.unwrap());
        assert_eq!((stats.gurus, stats.profiles), (1, 1));
        assert!(verified.is_sound(), "{:?}", verified.damage);
        assert_eq!(verified.profiles, 1);
        // Profiles stored again under the same slug are not the ones being removed.
        put(&store, "large", &["user-0-1", "new"], 2).await;
        assert_eq!(store.count(&guru("large")).await.unwrap(), 2);

        connection(directory).execute_batch("DROP TRIGGER keep").unwrap();
        store.health(Probe::Write).await.unwrap();
        put(&store, "other", &["b", "c"], 1).await;
        assert!(left(directory) > 0, "a write does not wait for all of it");
        wait_until_nothing_is_left(directory);
        assert_eq!(
            (store.count(&guru("large")).await.unwrap(), store.count(&guru("other")).await.unwrap()),
            (2, 3)
        );
        assert!(store.verify().await.unwrap().is_sound());
    });
}

/// The next process removes what an ended one has left, without being asked.
#[test]
fn emptying_is_taken_up_again_after_opening() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    pollster::block_on(async {
        deleted_and_kept(directory).await.close().await.unwrap();
        connection(directory).execute_batch("DROP TRIGGER keep").unwrap();
        assert_eq!(left(directory), MANY as i64);
        let store = open(directory).await;
        wait_until_nothing_is_left(directory);
        assert_eq!(store.gurus(None, 9).await.unwrap(), [guru("other")]);
        assert!(store.verify().await.unwrap().is_sound());
    });
}

/// Compacting leaves nothing of it, however much was left.
#[test]
fn compacting_removes_what_a_deleted_guru_has_left() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    pollster::block_on(async {
        let store = deleted_and_kept(directory).await;
        assert_eq!(
            store.compact().await.unwrap_err().kind(),
            ErrorKind::Incompatible,
            "the trigger is there"
        );
        connection(directory).execute_batch("DROP TRIGGER keep").unwrap();
        assert_eq!(left(directory), MANY as i64);
        store.compact().await.unwrap();
        assert_eq!(left(directory), 0);
        let stats = store.stats().await.unwrap();
        assert_eq!(stats.reclaimable_bytes, 0);
        assert!(stats.disk_bytes < 100_000, "{stats:?}");
    });
}

/// S12: a mark that is damaged, or names a guru that is there, removes nothing.
#[test]
fn a_damaged_mark_removes_nothing() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    pollster::block_on(async {
        let store = open(directory).await;
        put(&store, "g", &["a", "b"], 1).await;
        let other = connection(directory);
        other
            .execute("INSERT INTO profile SELECT 7, external_user_id, '{}', 1, 1, 1 FROM profile", [])
            .unwrap();
        for mark in ["INSERT INTO emptied SELECT id, checksum FROM guru", "INSERT INTO emptied VALUES (7, 1)"]
        {
            other.execute(mark, []).unwrap();
        }
        assert_eq!(store.verify().await.unwrap().damaged, 4, "two marks, and two rows of nobody");
        // It can't promise that nothing of a deleted guru is left (L3).
        assert_eq!(store.compact().await.unwrap_err().kind(), ErrorKind::Corrupt);
        store.close().await.unwrap();
        drop(other);
        let store = open(directory).await;
        put(&store, "g", &["c"], 1).await;
        assert_eq!(store.count(&guru("g")).await.unwrap(), 3);
        assert_eq!(number(directory, "SELECT count(*) FROM profile"), Some(5));
    });
}

/// S12: nor does a sound mark, if a guru has its key.
#[test]
fn a_mark_of_a_guru_that_is_there_removes_nothing() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path();
    pollster::block_on(async {
        let store = open(directory).await;
        put(&store, "g", &["a", "b"], 1).await;
        let other = connection(directory);
        let saving = "CREATE TABLE gurus AS SELECT * FROM guru; CREATE TABLE profiles AS SELECT * FROM profile;
             CREATE TABLE marks (guru, checksum);
             CREATE TRIGGER save AFTER INSERT ON emptied BEGIN INSERT INTO marks VALUES (new.guru, new.checksum); END";
        other.execute_batch(saving).unwrap();
        assert_eq!(store.delete_guru(&guru("g")).await.unwrap(), 2);
        wait_until_nothing_is_left(directory);
        let back = "INSERT INTO guru SELECT * FROM gurus; INSERT INTO profile SELECT * FROM profiles;
             DROP TRIGGER save; INSERT INTO emptied SELECT * FROM marks";
        other.execute_batch(back).unwrap();
        assert_eq!(store.compact().await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(store.count(&guru("g")).await.unwrap(), 2);
        assert_eq!(number(directory, "SELECT count(*) FROM profile"), Some(2));
        store.close().await.unwrap();
    });
}

/// Does to the guru `b`, which has `a` and `b`, what brings about such an event on a table. `inserted` are new ids.
async fn write_rows(
    store: &SqliteStore,
    event: &str,
    on: &str,
    inserted: [&str; 2],
) -> profile_store::Result<()> {
    let user = |id: &str, n| User::serialize(id, &serde_json::json!({ "n": n }));
    let (slug, users) = match (event, on) {
        ("INSERT", "profile") => ("b", inserted.map(|id| user(id, 1)).to_vec()),
        ("UPDATE", "profile") => ("b", vec![user("a", 2), user("b", 2)]),
        ("INSERT", "guru") => ("new", vec![user("x", 1)]),
        ("UPDATE", "guru") => ("b", vec![user("x", 1)]),
        _ => return store.delete_guru(&guru("b")).await.map(drop),
    };
    store.upsert_batch(&guru(slug), Batch::from_users(users)).await.map(drop)
}

/// A trigger that leaves a row out is not taken for a write: nothing of the group is stored, and the answer
/// says why.
#[test]
fn a_row_that_a_trigger_leaves_out_is_not_told_as_written() {
    for (event, on, id_column) in [
        ("INSERT", "profile", "new.external_user_id"),
        ("UPDATE", "profile", "new.external_user_id"),
        ("DELETE", "profile", "old.external_user_id"),
        ("INSERT", "guru", "new.slug"),
        ("UPDATE", "guru", "new.slug"),
        ("DELETE", "guru", "old.slug"),
        ("INSERT", "emptied", "'b'"),
    ] {
        let directory = TempDir::new().unwrap();
        pollster::block_on(async {
            let store = open(directory.path()).await;
            put(&store, "b", &["a", "b"], 1).await;
            let trigger = format!(
                "CREATE TRIGGER t BEFORE {event} ON {on} WHEN {id_column} IN ('b', 'new')
                 BEGIN SELECT RAISE(IGNORE); END"
            );
            connection(directory.path()).execute_batch(&trigger).unwrap();
            let before = store.list(&guru("b"), &ListOptions::default()).await.unwrap().profiles;
            let result = match (event, on) {
                ("DELETE", _) => store.delete_many(&guru("b"), &[id("a"), id("b")]).await.map(drop),
                _ => write_rows(&store, event, on, ["x", "new"]).await,
            };
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{event} on {on}: {error}");
            assert!(error.to_string().contains("trigger"), "{error}");
            assert_eq!(store.list(&guru("b"), &ListOptions::default()).await.unwrap().profiles, before);
            assert_eq!(store.gurus(None, 9).await.unwrap(), [guru("b")]);
            // Others are stored.
            put(&store, "free", &["a"], 1).await;
        });
    }
}

/// What a trigger changes once a row was written is not told as stored, and is not stored (S3). One that writes elsewhere is
/// welcome.
#[test]
fn a_trigger_that_runs_after_a_row_was_written_is_told() {
    let again = "INSERT INTO profile VALUES (old.guru, old.external_user_id, old.memory, old.created_at, old.updated_at, old.checksum)";
    for (event, on, body) in [
        ("INSERT", "profile", "DELETE FROM profile WHERE rowid = new.rowid"),
        ("INSERT", "profile", "UPDATE profile SET memory = '{}' WHERE rowid = new.rowid"),
        (
            "INSERT",
            "profile",
            "UPDATE profile SET external_user_id = new.external_user_id || 'y' WHERE rowid = new.rowid",
        ),
        // The one before it, of the same batch.
        ("INSERT", "profile", "DELETE FROM profile WHERE external_user_id = 'new'"),
        ("UPDATE", "profile", "UPDATE profile SET updated_at = updated_at + 1 WHERE rowid = new.rowid"),
        ("UPDATE", "profile", "DELETE FROM profile WHERE rowid = new.rowid"),
        ("DELETE", "profile", again),
        ("INSERT", "guru", "UPDATE guru SET id = id + 1 WHERE id = new.id"),
        ("INSERT", "guru", "DELETE FROM guru WHERE id = new.id"),
        ("UPDATE", "guru", "UPDATE guru SET profiles = 7 WHERE id = new.id"),
        ("DELETE", "guru", "INSERT INTO guru VALUES (old.id, old.slug, old.checksum, NULL, NULL)"),
        ("INSERT", "emptied", "DELETE FROM emptied"),
        ("INSERT", "profile", ""),
        ("UPDATE", "profile", ""),
        ("DELETE", "profile", ""),
        ("DELETE", "guru", ""),
    ] {
        let directory = TempDir::new().unwrap();
        pollster::block_on(async {
            let store = open(directory.path()).await;
            put(&store, "b", &["a", "b"], 1).await;
            let log = "CREATE TABLE log (event TEXT)";
            let trigger = format!(
                "CREATE TRIGGER t AFTER {event} ON {on} BEGIN INSERT INTO log VALUES ('{event}'); {body}{} END",
                if body.is_empty() { "" } else { ";" }
            );
            connection(directory.path()).execute_batch(&format!("{log}; {trigger}")).unwrap();
            let before = store.list(&guru("b"), &ListOptions::default()).await.unwrap().profiles;
            let result = match (event, on) {
                // The last ones, if the trigger does nothing.
                ("DELETE", "profile") if body.is_empty() => {
                    connection(directory.path()).execute("UPDATE guru SET profiles = 1", []).unwrap();
                    assert_eq!(delete(&store, "b", &["a"]).await, [true]);
                    store.delete_many(&guru("b"), &[id("b")]).await.map(drop)
                }
                ("DELETE", "profile") => store.delete_many(&guru("b"), &[id("a")]).await.map(drop),
                _ => write_rows(&store, event, on, ["new", "x"]).await,
            };
            if body.is_empty() {
                result.unwrap();
                assert!(number(directory.path(), "SELECT count(*) FROM log") > Some(0));
                assert!(store.verify().await.unwrap().is_sound());
                return;
            }
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{event} on {on}, {body}: {error}");
            assert!(error.to_string().contains("trigger") && !error.may_be_stored(), "{error}");
            assert_eq!(store.list(&guru("b"), &ListOptions::default()).await.unwrap().profiles, before);
            assert_eq!(store.gurus(None, 9).await.unwrap(), [guru("b")], "{event} on {on}, {body}");
            assert_eq!(number(directory.path(), "SELECT count(*) FROM log"), Some(0));
        });
    }
}

/// L3: a trigger that keeps the rows of a deleted guru, or brings them back as they are removed, keeps nobody removing for ever.
#[test]
fn a_trigger_that_brings_rows_back_is_told() {
    let again = "AFTER DELETE ON profile WHEN old.external_user_id = 'u050' BEGIN
        INSERT INTO profile VALUES (old.guru, old.external_user_id, old.memory, old.created_at, old.updated_at, 0); END";
    for (trigger, told) in [
        (again, "keeps rows of a deleted guru"),
        ("BEFORE DELETE ON profile BEGIN SELECT RAISE(IGNORE); END", "keeps rows of a deleted guru"),
        ("BEFORE DELETE ON emptied BEGIN SELECT RAISE(IGNORE); END", "leaves rows out"),
    ] {
        let directory = TempDir::new().unwrap();
        pollster::block_on(async {
            let store = open(directory.path()).await;
            let ids: Vec<_> = (0..100).map(|n| format!("u{n:03}")).collect();
            put(&store, "g", &ids.iter().map(String::as_str).collect::<Vec<_>>(), 1).await;
            connection(directory.path()).execute_batch(&format!("CREATE TRIGGER t {trigger}")).unwrap();
            assert_eq!(store.delete_guru(&guru("g")).await.unwrap(), 100);
            let error = store.compact().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
            assert!(error.to_string().contains(told), "{error}");
            connection(directory.path()).execute_batch("DROP TRIGGER t").unwrap();
            store.compact().await.unwrap();
            assert_eq!(number(directory.path(), "SELECT count(*) FROM profile"), Some(0));
        });
    }
}

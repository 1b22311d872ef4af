//! Damaged records are named, and never served (S12).

use std::path::Path;

use profile_store::{
    ErrorKind, ExternalUserId, GuruSlug, ListOptions, ProfileStore, ProfileStoreExt as _, User,
};
use tempfile::TempDir;

fn guru() -> GuruSlug {
    GuruSlug::new("my-guru").unwrap()
}

/// A closed SQLite store of three profiles, then changed by this statement.
fn damaged(statement: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    pollster::block_on(async {
        let store = open(directory.path()).await;
        let users =
            ["ada", "bob", "cyd"].map(|id| User::serialize(id, &serde_json::json!({ "plan": "hush" })));
        store.upsert_batch(&guru(), users.into_iter().collect()).await.unwrap();
        store.close().await.unwrap();
    });
    let connection = rusqlite::Connection::open(directory.path().join("p.db")).unwrap();
    assert!(connection.execute(statement, []).unwrap() > 0, "{statement}");
    connection.close().unwrap();
    directory
}

async fn open(directory: &Path) -> std::sync::Arc<dyn ProfileStore> {
    profile_store::open(&format!("sqlite:{}", directory.join("p.db").display())).await.unwrap()
}

#[test]
fn a_damaged_row_is_named_and_never_served() {
    for statement in [
        r#"UPDATE profile SET memory = '{"plan":"husH"}' WHERE external_user_id = 'bob'"#,
        "UPDATE profile SET memory = '' WHERE external_user_id = 'bob'",
        "UPDATE profile SET created_at = created_at + 1 WHERE external_user_id = 'bob'",
        "UPDATE profile SET updated_at = updated_at - 1 WHERE external_user_id = 'bob'",
        "UPDATE profile SET checksum = checksum + 1 WHERE external_user_id = 'bob'",
        "UPDATE profile SET memory = CAST(x'7bff7d' AS TEXT) WHERE external_user_id = 'bob'",
    ] {
        let directory = damaged(statement);
        pollster::block_on(async {
            let store = open(directory.path()).await;
            let errors = [
                store.get(&guru(), "bob").await.unwrap_err(),
                store.list(&guru(), &ListOptions::default()).await.unwrap_err(),
                store.upsert(&guru(), User::serialize("bob", &serde_json::json!({}))).await.unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{statement}: {error}");
                let words = format!("{error} {error:?}");
                assert!(words.contains("my-guru") && words.contains("bob"), "{words}");
                assert!(!words.contains("hus"), "S14: {words}");
            }
            // The others are not touched by it, and listing goes on behind it.
            assert!(store.get(&guru(), "ada").await.unwrap().is_some());
            let behind = ListOptions::default().with_after(ExternalUserId::new("bob").unwrap());
            assert_eq!(store.list(&guru(), &behind).await.unwrap().profiles.len(), 1);
            // A batch with a damaged record in it is not stored, not even in part (S3).
            let users = ["new", "bob"].map(|id| User::serialize(id, &serde_json::json!({})));
            assert!(store.upsert_batch(&guru(), users.into_iter().collect()).await.is_err());
            assert!(store.get(&guru(), "new").await.unwrap().is_none());
            // It can be deleted, and stored anew.
            assert!(store.delete(&guru(), "bob").await.unwrap());
            assert!(
                store
                    .upsert(&guru(), User::serialize("bob", &serde_json::json!({})))
                    .await
                    .unwrap()
                    .is_complete()
            );
            assert_eq!(store.count(&guru()).await.unwrap(), 3);
        });
    }
}

/// A row moved to another id or guru does not become that one's.
#[test]
fn a_row_that_has_moved_is_damaged() {
    let moved = damaged("UPDATE profile SET external_user_id = 'eve' WHERE external_user_id = 'bob'");
    let other = damaged("UPDATE guru SET slug = 'other' WHERE slug = 'my-guru'");
    let rekeyed = damaged("UPDATE guru SET id = 2");
    pollster::block_on(async {
        let store = open(rekeyed.path()).await;
        assert_eq!(store.get(&guru(), "ada").await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(store.delete_guru(&guru()).await.unwrap_err().kind(), ErrorKind::Corrupt);
        let store = open(moved.path()).await;
        assert_eq!(store.get(&guru(), "eve").await.unwrap_err().kind(), ErrorKind::Corrupt);
        let store = open(other.path()).await;
        let other = GuruSlug::new("other").unwrap();
        assert_eq!(store.get(&other, "ada").await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(store.count(&other).await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(store.gurus(None, 9).await.unwrap_err().kind(), ErrorKind::Corrupt);
    });
}

/// One write's bad luck is not another's: of writes that share a transaction, those that meet a
/// damaged record fail, and the others are stored (S1).
#[test]
fn a_damaged_record_fails_only_the_batches_that_touch_it() {
    let directory = damaged("UPDATE profile SET checksum = 0 WHERE external_user_id = 'bob'");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    runtime.block_on(async {
        let store = open(directory.path()).await;
        let mut writes = tokio::task::JoinSet::new();
        for n in 0..400 {
            let store = std::sync::Arc::clone(&store);
            writes.spawn(async move {
                let id = if n % 4 == 0 { "bob".to_owned() } else { format!("u{n}") };
                let users =
                    [format!("with-{n}"), id].map(|id| User::serialize(id, &serde_json::json!({ "n": n })));
                (n, store.upsert_batch(&guru(), users.into_iter().collect()).await)
            });
        }
        while let Some(joined) = writes.join_next().await {
            let (n, result) = joined.unwrap();
            assert_eq!(result.is_err(), n % 4 == 0, "write {n}: {result:?}");
            assert_eq!(
                store.get(&guru(), &format!("with-{n}")).await.unwrap().is_some(),
                n % 4 != 0,
                "write {n}"
            );
        }
        assert_eq!(store.count(&guru()).await.unwrap(), 603);
    });
}

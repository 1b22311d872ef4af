//! Damaged rows are named, and never served (S12).

use profile_store::{ErrorKind, ListOptions, ProfileStore as _, ProfileStoreExt as _, User};

use crate::server::{Database, sql};
use crate::{guru, open};

#[test]
fn a_damaged_row_is_named_and_never_served() {
    for change in [
        r#"memory = '{"plan":"husH"}'"#,
        "memory = ''",
        "created_at = created_at + 1",
        "updated_at = updated_at - 1",
        "checksum = checksum + 1",
        "guru_slug = 'other'",
    ] {
        let database = Database::new();
        let store = open(&database.url());
        let users =
            ["ada", "bob", "cyd"].map(|id| User::serialize(id, &serde_json::json!({ "plan": "hush" })));
        pollster::block_on(store.upsert_batch(&guru(), users.into_iter().collect())).unwrap();
        sql(
            &database.url(),
            &format!("UPDATE profile_store.profile SET {change} WHERE external_user_id = 'bob'"),
        );
        let guru = if change.starts_with("guru") { "other".parse().unwrap() } else { guru() };
        pollster::block_on(async {
            let bob = User::serialize("bob", &serde_json::json!({}));
            for error in [
                store.get(&guru, "bob").await.unwrap_err(),
                store.list(&guru, &ListOptions::default()).await.unwrap_err(),
                store.upsert(&guru, bob).await.unwrap_err(),
                store.verify().await.unwrap().damage.remove(0),
            ] {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{change}: {error}");
                let words = format!("{error} {error:?}");
                assert!(words.contains(guru.as_str()) && words.contains("bob"), "{words}");
                assert!(!words.contains("hus"), "S14: {words}");
            }
            let found = store.verify().await.unwrap();
            assert_eq!((found.profiles, found.damaged), (2, 1));
            assert!(store.delete(&guru, "bob").await.unwrap(), "a damaged profile can be deleted");
            assert!(store.verify().await.unwrap().is_sound());
        });
    }
}

//! Damaged rows are named, and never served (S12).

use profile_store::{
    CopyOptions, ErrorKind, ExternalUserId, Guru, GuruSlug, HasGurus as _, ListOptions, Memory, MemoryStore,
    PostgresStore, Profile, ProfileStore as _, Timestamp, User, copy,
};

use crate::server::{Database, sql};
use crate::{guru, skipping};

/// A store with three profiles of plan `hush`, bob's row damaged, and the guru that bob is of then.
fn damaged(database: &Database, change: &str) -> (PostgresStore, GuruSlug) {
    let options = crate::options().with_write_connections(1);
    let store = pollster::block_on(PostgresStore::open_with(&database.url(), options)).unwrap();
    let users = ["ada", "bob", "cyd"].map(|id| plan(id, "hush"));
    assert!(
        pollster::block_on(store.upsert_batch(&guru(), users.into_iter().collect())).unwrap().is_complete()
    );
    // In two steps, as Citus moves no row from one node to another.
    let damage = match change.strip_prefix("guru_slug = ") {
        Some(guru) => format!(
            "INSERT INTO profile_store.profile SELECT {guru}, external_user_id, memory, created_at, updated_at, \
             checksum FROM profile_store.profile WHERE external_user_id = 'bob'; \
             DELETE FROM profile_store.profile WHERE external_user_id = 'bob' AND guru_slug <> {guru}"
        ),
        None => format!("UPDATE profile_store.profile SET {change} WHERE external_user_id = 'bob'"),
    };
    sql(&database.url(), &damage);
    (store, if change.starts_with("guru") { "other".parse().unwrap() } else { guru() })
}

fn plan(id: &str, plan: &str) -> User {
    User::serialize(id, &serde_json::json!({ "plan": plan }))
}

#[test]
fn a_damaged_row_is_named_and_never_served() {
    for change in [
        r#"memory = '{"plan":"husH"}'"#,
        "memory = ''",
        "created_at = created_at + 1",
        "updated_at = updated_at - 1",
        "checksum = checksum + 1",
        "guru_slug = 'other'",
        // As in a row that a transaction has made for itself, and that nobody else ever sees.
        "expected = 0",
    ] {
        let database = Database::new();
        let (store, guru) = damaged(&database, change);
        pollster::block_on(async {
            for error in [
                Guru::new(&store, guru.clone()).get("bob").await.unwrap_err(),
                store.list(&guru, &ListOptions::default()).await.unwrap_err(),
                Guru::new(&store, guru.clone()).upsert(plan("bob", "new").merging()).await.unwrap_err(),
                Guru::new(&store, guru.clone()).upsert(plan("bob", "new")).await.unwrap_err(),
                Guru::new(&store, guru.clone()).upsert(plan("bob", "hush")).await.unwrap_err(),
                store.verify().await.unwrap().damage.remove(0),
            ] {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{change}: {error}");
                let words = format!("{error} {error:?}");
                assert!(words.contains(guru.as_str()) && words.contains("bob"), "{words}");
                assert!(!words.contains("hus"), "S14: {words}");
            }
            let found = store.verify().await.unwrap();
            assert_eq!((found.profiles, found.damaged), (2, 1));
            assert!(
                Guru::new(&store, guru.clone()).delete("bob").await.unwrap(),
                "a damaged profile can be deleted"
            );
            assert!(store.verify().await.unwrap().is_sound());
        });
    }
}

/// A time that was moved beyond its range is not taken for the range's end.
#[test]
fn a_time_out_of_range_is_damage() {
    let last = "9999-12-31T23:59:59.999999Z".parse().unwrap();
    for (moved, end) in [("-1", Timestamp::from_micros(0)), ("updated_at + 1", last)] {
        let database = Database::new();
        let store = pollster::block_on(PostgresStore::open_with(&database.url(), crate::options())).unwrap();
        pollster::block_on(async {
            let id = ExternalUserId::new("bob").unwrap();
            let profile = Profile::new(id, Memory::from_json("{}").unwrap(), end, end);
            store.guru("my-guru").unwrap().restore(vec![profile.clone()]).await.unwrap();
            assert_eq!(store.guru("my-guru").unwrap().get("bob").await.unwrap(), Some(profile));
            sql(&database.url(), &format!("UPDATE profile_store.profile SET updated_at = {moved}"));
            assert_eq!(
                store.guru("my-guru").unwrap().get("bob").await.unwrap_err().kind(),
                ErrorKind::Corrupt
            );
            assert!(!store.verify().await.unwrap().is_sound());
        });
    }
}

/// S12: `tests/skipping.rs` has the rules.
#[test]
fn damaged_records_can_be_skipped() {
    let database = Database::new();
    let store = pollster::block_on(PostgresStore::open_with(&database.url(), crate::options())).unwrap();
    pollster::block_on(skipping::fill(&store));
    let ids = skipping::IDS.map(|id| format!("'{id}'")).join(", ");
    let update = "UPDATE profile_store.profile SET";
    sql(
        &database.url(),
        &format!(
            "{update} checksum = checksum + 1 WHERE guru_slug = 'a' AND external_user_id IN ({ids}); \
             {update} updated_at = updated_at + 1 WHERE guru_slug = '{}'; \
             {update} external_user_id = repeat('x', 2000) WHERE external_user_id = 'u0700'",
            skipping::RUINED
        ),
    );
    pollster::block_on(skipping::check(&store, false, Some("xxxx")));
}

/// S12: rows of somebody else's.
#[test]
fn a_slug_that_is_none_stops_no_other_guru() {
    let database = Database::new();
    let store = pollster::block_on(PostgresStore::open_with(&database.url(), crate::options())).unwrap();
    pollster::block_on(skipping::fill(&store));
    let insert = "INSERT INTO profile_store.profile SELECT";
    let rest = "external_user_id, memory, created_at, updated_at, checksum FROM profile_store.profile";
    sql(&database.url(), &format!("{insert} '{}é', {rest} WHERE guru_slug = 'z'", skipping::NAMELESS));
    pollster::block_on(skipping::check_nameless(&store));
}

/// S12: the server can't read a row, as a part of its long memory is gone. It does not say which row, and the store does.
/// Whoever skips damage, or scrubs, goes on after it, and it can be deleted.
#[test]
fn a_row_that_the_server_can_not_read_is_named_and_skipped() {
    let database = Database::blank();
    let store = pollster::block_on(PostgresStore::open_with(&database.url(), crate::options())).unwrap();
    // It does not become shorter by compression.
    let mut state = 1_u64;
    let long: String = std::iter::repeat_with(|| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        char::from(b'a' + (state >> 33) as u8 % 26)
    })
    .take(30_000)
    .collect();
    pollster::block_on(async {
        for (guru, ids) in [("a", 3), ("my-guru", 300), ("z", 3)] {
            let user = |n| plan(&format!("u{n:03}"), if n == 150 { &long } else { "hush" });
            let batch = (0..ids).map(user).collect();
            assert!(store.upsert_batch(&guru.parse().unwrap(), batch).await.unwrap().is_complete());
        }
        sql(
            &database.url(),
            // The server takes it for another table meanwhile.
            "SET allow_system_table_mods = on; DO $$ DECLARE toast regclass := \
               (SELECT reltoastrelid FROM pg_class WHERE oid = 'profile_store.profile'::regclass); BEGIN \
             UPDATE pg_class SET relkind = 'r' WHERE oid = toast; EXECUTE format('DELETE FROM %s', toast); \
             UPDATE pg_class SET relkind = 't' WHERE oid = toast; END $$",
        );
        sql(&database.url(), "VACUUM profile_store.profile");
        let ids = ["u001", "u150"].map(|id| ExternalUserId::new(id).unwrap());
        let of = Guru::new(&store, guru());
        for error in [
            of.get("u150").await.unwrap_err(),
            store.get_many(&guru(), &ids).await.unwrap_err(),
            store.list(&guru(), &ListOptions::default()).await.unwrap_err(),
            of.upsert(plan("u150", "new")).await.unwrap_err(),
            of.upsert(plan("u150", "new").merging()).await.unwrap_err(),
            store.verify().await.unwrap().damage.remove(0),
        ] {
            assert_eq!((error.kind(), error.guru()), (ErrorKind::Corrupt, Some("my-guru")), "{error:?}");
            assert_eq!(error.external_user_id(), Some("u150"), "{error:?}");
            assert!(!error.may_be_stored());
        }
        let found = store.verify().await.unwrap();
        assert_eq!((found.profiles, found.damaged), (305, 1));
        // A batch that does not touch it is stored.
        assert!(of.upsert(plan("u151", "new")).await.is_ok());
        let (mut told, to) = (Vec::new(), MemoryStore::new());
        let options = CopyOptions::default()
            .with_damaged(|error| told.push(error.external_user_id().unwrap().to_owned()));
        assert_eq!(copy(&store, &to, options).await.unwrap().profiles, 305);
        assert_eq!(told, ["u150"]);
        assert!(of.delete("u150").await.unwrap());
        assert!(store.verify().await.unwrap().is_sound());
    });
}

//! Damaged records are named, and never served (S12).

use std::path::Path;

use profile_store::{
    CopyOptions, ErrorKind, ExternalUserId, Guru, GuruSlug, HasGurus as _, ListOptions, Memory, MemoryStore,
    Probe, Profile, ProfileStore, SledStore, Timestamp, User, copy,
};
use tempfile::TempDir;

use crate::{key_value, skipping};

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
        assert!(store.upsert_batch(&guru(), users.into_iter().collect()).await.unwrap().is_complete());
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
                store.guru("my-guru").unwrap().get("bob").await.unwrap_err(),
                store.list(&guru(), &ListOptions::default()).await.unwrap_err(),
                store
                    .guru("my-guru")
                    .unwrap()
                    .upsert(User::serialize("bob", &serde_json::json!({})))
                    .await
                    .unwrap_err(),
            ];
            for error in errors {
                assert_eq!(error.kind(), ErrorKind::Corrupt, "{statement}: {error}");
                let words = format!("{error} {error:?}");
                assert!(words.contains("my-guru") && words.contains("bob"), "{words}");
                assert!(!words.contains("hus"), "S14: {words}");
            }
            // The others are not touched by it, and listing goes on after it.
            assert!(store.guru("my-guru").unwrap().get("ada").await.unwrap().is_some());
            let behind = ListOptions::default().with_after(ExternalUserId::new("bob").unwrap());
            assert_eq!(store.list(&guru(), &behind).await.unwrap().profiles.len(), 1);
            // A batch with a damaged record in it is not stored, not even in part (S3).
            let users = ["new", "bob"].map(|id| User::serialize(id, &serde_json::json!({})));
            assert!(store.upsert_batch(&guru(), users.into_iter().collect()).await.is_err());
            assert!(store.guru("my-guru").unwrap().get("new").await.unwrap().is_none());
            // It can be deleted, and stored again.
            assert!(store.guru("my-guru").unwrap().delete("bob").await.unwrap());
            let bob = User::serialize("bob", &serde_json::json!({}));
            store.guru("my-guru").unwrap().upsert(bob).await.unwrap();
            assert_eq!(store.count(&guru()).await.unwrap(), 3);
        });
    }
}

/// A time that was moved beyond its range is not taken for the range's end.
#[test]
fn a_time_out_of_range_is_damage() {
    let last = "9999-12-31T23:59:59.999999Z".parse().unwrap();
    let ends = [("-1", Timestamp::from_micros(0)), ("updated_at + 1", last)];
    for (moved, end) in ends {
        let directory = TempDir::new().unwrap();
        pollster::block_on(async {
            let store = open(directory.path()).await;
            let id = ExternalUserId::new("bob").unwrap();
            let profile = Profile::new(id, Memory::from_json("{}").unwrap(), end, end);
            store.guru("my-guru").unwrap().restore(vec![profile.clone()]).await.unwrap();
            assert_eq!(store.guru("my-guru").unwrap().get("bob").await.unwrap(), Some(profile));
            store.close().await.unwrap();
        });
        let connection = rusqlite::Connection::open(directory.path().join("p.db")).unwrap();
        connection.execute(&format!("UPDATE profile SET updated_at = {moved}"), []).unwrap();
        connection.close().unwrap();
        pollster::block_on(async {
            let store = open(directory.path()).await;
            assert_eq!(
                store.guru("my-guru").unwrap().get("bob").await.unwrap_err().kind(),
                ErrorKind::Corrupt
            );
            assert!(!store.verify().await.unwrap().is_sound());
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
        assert_eq!(store.guru("my-guru").unwrap().get("ada").await.unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(store.delete_guru(&guru()).await.unwrap_err().kind(), ErrorKind::Corrupt);
        let store = open(moved.path()).await;
        assert_eq!(store.guru("my-guru").unwrap().get("eve").await.unwrap_err().kind(), ErrorKind::Corrupt);
        let store = open(other.path()).await;
        let other = GuruSlug::new("other").unwrap();
        assert_eq!(Guru::new(&store, other.clone()).get("ada").await.unwrap_err().kind(), ErrorKind::Corrupt);
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
                store.guru("my-guru").unwrap().get(&format!("with-{n}")).await.unwrap().is_some(),
                n % 4 != 0,
                "write {n}"
            );
        }
        assert_eq!(store.count(&guru()).await.unwrap(), 603);
    });
}

/// A scrub's result, in words.
fn scrub(directory: &Path) -> (u64, Vec<String>) {
    pollster::block_on(async {
        let verified = open(directory).await.verify().await.unwrap();
        assert_eq!(verified.damaged, verified.damage.len() as u64);
        assert!(verified.damage.iter().all(|damage| damage.kind() == ErrorKind::Corrupt));
        (verified.profiles, verified.damage.iter().map(ToString::to_string).collect())
    })
}

#[test]
fn a_scrub_names_what_is_damaged() {
    for (statement, sound, named) in [
        (r#"UPDATE profile SET memory = '{"plan":"husH"}' WHERE external_user_id = 'bob'"#, 2, "\"bob\""),
        ("UPDATE profile SET checksum = checksum + 1 WHERE external_user_id = 'cyd'", 2, "\"cyd\""),
        ("UPDATE profile SET external_user_id = 'eve' WHERE external_user_id = 'bob'", 2, "\"eve\""),
        ("UPDATE profile SET external_user_id = '' WHERE external_user_id = 'bob'", 2, "no valid id"),
        ("UPDATE profile SET guru = 7 WHERE external_user_id = 'bob'", 2, "belongs to no guru"),
        ("DELETE FROM profile WHERE external_user_id = 'bob'", 2, "should have 3 profiles and has 2"),
        ("UPDATE guru SET profiles = 4", 3, "guru \"my-guru\" is damaged: its number of profiles"),
        ("UPDATE guru SET slug = 'other'", 0, "guru \"other\""),
    ] {
        let (profiles, damage) = scrub(damaged(statement).path());
        assert_eq!(profiles, sound, "{statement}");
        assert!(damage.iter().any(|damage| damage.contains(named)), "{statement}: {damage:?}");
        assert!(!damage.concat().contains("hus"), "S14: {damage:?}");
    }
    let (profiles, damage) = scrub(damaged("UPDATE profile SET updated_at = updated_at").path());
    assert_eq!((profiles, damage), (3, vec![]));
}

/// A damaged index hides a row from every read; the scrub compares it with the table.
#[test]
fn a_scrub_finds_a_row_that_the_index_hides() {
    let directory = damaged("UPDATE profile SET updated_at = updated_at");
    let path = directory.path().join("p.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let places: Vec<_> = (0..bytes.len() - 9).filter(|at| bytes[*at..].starts_with(b"bob")).collect();
    // In the table, the memory follows.
    let index = places.into_iter().find(|at| bytes[at + 3] != b'{').unwrap();
    bytes[index + 1] = b'O';
    std::fs::write(&path, bytes).unwrap();
    pollster::block_on(async {
        let store = open(directory.path()).await;
        assert_eq!(store.guru("my-guru").unwrap().get("bob").await.unwrap(), None);
    });
    let (profiles, damage) = scrub(directory.path());
    assert_eq!(profiles, 3);
    assert!(damage.iter().any(|damage| damage.contains("missing from index")), "{damage:?}");
}

/// A closed sled store of three profiles, then changed by sled itself.
fn damaged_sled(damage: impl Fn(&sled::Db)) -> TempDir {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("p.sled");
    pollster::block_on(async {
        let store = SledStore::open(&path).await.unwrap();
        let users = ["ada", "bob", "cyd"].map(|id| User::serialize(id, &serde_json::json!({})));
        assert!(store.upsert_batch(&guru(), users.into_iter().collect()).await.unwrap().is_complete());
        store.close().await.unwrap();
    });
    let db = key_value::open_sled(&path.join("data"));
    damage(&db);
    db.flush().unwrap();
    directory
}

/// Changes a byte after a record's flags and checksum: of a profile's time, of a guru's number.
fn garble(db: &sled::Db, key: &[u8]) {
    let mut bytes = db.get(key).unwrap().unwrap().to_vec();
    bytes[9] ^= 1;
    db.insert(key, bytes).unwrap();
}

/// In sled too, a batch that fails leaves nothing, whether it meets damage before or after it has
/// staged its writes; its neighbours in the group are stored (S1, S3).
#[test]
fn damage_in_sled_fails_only_the_batches_that_touch_it() {
    let (profile, guru_record) = (b"\x02\0\0\0\0\0\0\0\x01bob".as_slice(), b"\x01my-guru".as_slice());
    for (key, second) in [(profile, "bob"), (guru_record, "another")] {
        let directory = damaged_sled(|db| garble(db, key));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
        runtime.block_on(async {
            let store = SledStore::open(directory.path().join("p.sled")).await.unwrap();
            let store = std::sync::Arc::new(store);
            let sound = GuruSlug::new("sound").unwrap();
            let mut writes = tokio::task::JoinSet::new();
            for n in 0..200 {
                let store = std::sync::Arc::clone(&store);
                let guru = if n % 4 == 0 { guru() } else { sound.clone() };
                writes.spawn(async move {
                    let ids = [format!("with-{n}"), second.to_owned()];
                    let users = ids.map(|id| User::serialize(id, &serde_json::json!({ "n": n })));
                    (n, store.upsert_batch(&guru, users.into_iter().collect()).await)
                });
            }
            while let Some(joined) = writes.join_next().await {
                let (n, result) = joined.unwrap();
                let id = format!("with-{n}");
                if n % 4 == 0 {
                    assert_eq!(result.unwrap_err().kind(), ErrorKind::Corrupt, "write {n}");
                    match store.guru("my-guru").unwrap().get(&id).await {
                        Ok(found) => assert_eq!(found, None, "write {n}"),
                        // If a guru's number is damaged, nothing of the guru is read.
                        Err(error) => {
                            assert!(key == guru_record && error.kind() == ErrorKind::Corrupt, "{error}")
                        }
                    }
                } else {
                    assert!(result.unwrap().is_complete(), "write {n}");
                    assert!(store.guru("sound").unwrap().get(&id).await.unwrap().is_some(), "write {n}");
                }
            }
            assert_eq!(store.count(&sound).await.unwrap(), 151);
        });
    }
}

/// S12: `tests/skipping.rs` has the rules.
#[test]
fn damaged_records_can_be_skipped() {
    let directory = TempDir::new().unwrap();
    pollster::block_on(async {
        let store = open(directory.path()).await;
        skipping::fill(&*store).await;
        store.close().await.unwrap();
    });
    let connection = rusqlite::Connection::open(directory.path().join("p.db")).unwrap();
    let ids = skipping::IDS.map(|id| format!("'{id}'")).join(", ");
    let of = |slug: &str| format!("guru = (SELECT id FROM guru WHERE slug = '{slug}')");
    for (statement, rows) in [
        (format!("UPDATE profile SET checksum = checksum + 1 WHERE {} AND external_user_id IN ({ids})", of("a")), 6),
        (format!("UPDATE profile SET updated_at = updated_at + 1 WHERE {}", of(skipping::RUINED)), 3),
        (format!("UPDATE guru SET checksum = checksum + 1 WHERE slug = '{}'", skipping::HEADLESS), 1),
        ("UPDATE profile SET external_user_id = CAST(x'75303730ff' AS TEXT) WHERE external_user_id = 'u0700'".to_owned(), 1),
    ] {
        assert_eq!(connection.execute(&statement, []).unwrap(), rows, "{statement}");
    }
    connection.close().unwrap();
    pollster::block_on(async {
        skipping::check(&*open(directory.path()).await, true, Some("u070\u{fffd}")).await;
    });
}

/// S12: a guru's name in which a bit was flipped, so that no call can name it. `compact` leaves it, and does the rest.
#[test]
fn a_slug_that_is_none_any_more_stops_no_other_guru() {
    for name in ["CAST(x'627b' AS TEXT)", "CAST(x'627bf5ff' AS TEXT)"] {
        let directory = TempDir::new().unwrap();
        pollster::block_on(async {
            let store = open(directory.path()).await;
            skipping::fill(&*store).await;
            let bob = User::serialize("bob", &serde_json::json!({}));
            Guru::new(&store, "bu".parse().unwrap()).upsert(bob).await.unwrap();
            store.close().await.unwrap();
        });
        let connection = rusqlite::Connection::open(directory.path().join("p.db")).unwrap();
        assert_eq!(
            connection.execute(&format!("UPDATE guru SET slug = {name} WHERE slug = 'bu'"), []).unwrap(),
            1
        );
        connection.close().unwrap();
        pollster::block_on(async {
            let store = open(directory.path()).await;
            skipping::check_nameless(&*store).await;
            store.compact().await.unwrap();
            assert_eq!(store.delete_guru(&"a".parse().unwrap()).await.unwrap(), 2500);
            store.compact().await.unwrap();
        });
    }
}

/// A SQLite store of ten profiles, of which those named `long-N` have memories of several pages.
fn with_long_memories() -> TempDir {
    let directory = TempDir::new().unwrap();
    pollster::block_on(async {
        let store = open(directory.path()).await;
        let users = (0..10).map(|n| match n % 3 {
            0 => User::serialize(format!("long-{n}"), &serde_json::json!({ "plan": "hush".repeat(10_000) })),
            _ => User::serialize(format!("short-{n}"), &serde_json::json!({})),
        });
        assert!(store.upsert_batch(&guru(), users.collect()).await.unwrap().is_complete());
        store.close().await.unwrap();
    });
    directory
}

/// Damages the number of the next page in the first overflow page of `long-3`.
fn damage_overflow(directory: &Path) {
    let path = directory.join("p.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let page = usize::from(u16::from_be_bytes([bytes[16], bytes[17]]));
    // The memory begins on the leaf, after the id.
    let leaf = (0..bytes.len() - 10).find(|at| bytes[*at..].starts_with(b"long-3{")).unwrap();
    let next = (leaf..).find(|at| !b"long-3{\"plan\":\"hush".contains(&bytes[*at])).unwrap();
    let overflow = u32::from_be_bytes(bytes[next..next + 4].try_into().unwrap()) as usize;
    assert!(overflow > 1 && overflow * page <= bytes.len(), "{overflow}");
    bytes[(overflow - 1) * page] ^= 0x40;
    std::fs::write(path, bytes).unwrap();
}

/// S12: the number of the next page of a long memory is damaged: SQLite can't read the row. The error names it, and
/// whoever skips damage, or scrubs, goes on after it.
#[test]
fn a_row_that_sqlite_can_not_read_is_named_and_skipped() {
    let directory = with_long_memories();
    damage_overflow(directory.path());

    pollster::block_on(async {
        let store = open(directory.path()).await;
        let ada = User::serialize("ada", &serde_json::json!({}));
        let ids = ["long-0", "long-3"].map(|id| ExternalUserId::new(id).unwrap());
        let of = Guru::new(&store, guru());
        for error in [
            of.get("long-3").await.unwrap_err(),
            store.get_many(&guru(), &ids).await.unwrap_err(),
            store
                .upsert_batch(
                    &guru(),
                    [ada, User::serialize("long-3", &serde_json::json!({}))].into_iter().collect(),
                )
                .await
                .unwrap_err(),
            store.verify().await.unwrap().damage.remove(0),
            store.list(&guru(), &ListOptions::default()).await.unwrap_err(),
            // SQLite has to follow its pages to free them.
            of.delete("long-3").await.unwrap_err(),
        ] {
            assert_eq!((error.kind(), error.guru()), (ErrorKind::Corrupt, Some("my-guru")), "{error:?}");
            assert_eq!(error.external_user_id(), Some("long-3"), "{error:?}");
            assert!(!format!("{error:?} {}", error.chain()).contains("hush"), "S14: {error:?}");
        }
        assert_eq!(of.get("ada").await.unwrap(), None);
        assert_eq!(
            store.list(&guru(), &ListOptions::default()).await.unwrap_err().kind(),
            ErrorKind::Corrupt
        );
        let found = store.verify().await.unwrap();
        // SQLite's own check finds it too.
        assert!(found.profiles == 9 && found.damaged >= 2, "{found:?}");

        let mut told = Vec::new();
        let to = MemoryStore::new();
        let options = CopyOptions::default()
            .with_damaged(|error| told.push(error.external_user_id().unwrap().to_owned()));
        assert_eq!(copy(&*store, &to, options).await.unwrap().profiles, 9);
        assert_eq!(told, ["long-3"]);
    });
}

/// S12: one flipped bit of a row's header gives its id, or its guru, another type, and may move what follows.
#[test]
fn a_column_of_another_type_is_damage_of_its_row_alone() {
    // The header of bob's row: its length, the type of the guru (the number one), that of the id (a text of three bytes).
    const HEADER: [u8; 3] = [7, 9, 19];
    for (at, flip) in [(1, 1), (1, 4), (1, 8), (2, 1), (2, 2), (2, 4), (2, 16)] {
        let directory = damaged("UPDATE profile SET updated_at = updated_at");
        let path = directory.path().join("p.db");
        let mut bytes = std::fs::read(&path).unwrap();
        let is_row = |at: &usize| bytes[*at..].starts_with(&HEADER) && bytes[at + 7..].starts_with(b"bob");
        let row = (0..bytes.len() - 10).find(is_row).unwrap();
        bytes[row + at] ^= flip;
        std::fs::write(&path, bytes).unwrap();
        pollster::block_on(async {
            let store = open(directory.path()).await;
            let sound = async || {
                let (mut told, to) = (0, MemoryStore::new());
                let options = CopyOptions::default().with_damaged(|_| told += 1);
                let copied = copy(&*store, &to, options).await.unwrap();
                assert!(
                    copied.profiles >= 2 && copied.profiles + told <= 3,
                    "{at} {flip}: {copied:?} {told}"
                );
                for id in ["ada", "cyd"] {
                    assert!(Guru::new(&to, guru()).get(id).await.unwrap().is_some(), "{at} {flip}: {id}");
                }
            };
            let found = store.verify().await.unwrap();
            assert!(found.profiles >= 2 && !found.is_sound(), "{at} {flip}: {found:?}");
            sound().await;
            // It rebuilds the index from the rows, whatever they are, and tells of one that is nobody's.
            let compacted = store.compact().await;
            let is_damage = compacted.as_ref().is_err_and(|error| error.kind() == ErrorKind::Corrupt);
            assert!(compacted.is_ok() || at == 1 && is_damage, "{at} {flip}: {compacted:?}");
            sound().await;
            assert!(!store.verify().await.unwrap().is_sound(), "{at} {flip}");
            assert_eq!(store.stats().await.unwrap().gurus, 1);
        });
    }
}

/// L3: what SQLite can't remove of one deleted guru does not keep the rows of another. It can't rebuild the file then, and says so.
#[test]
fn a_row_that_can_not_be_removed_stops_no_other_guru() {
    let directory = with_long_memories();
    pollster::block_on(async {
        let store = open(directory.path()).await;
        let other = Guru::new(&store, "other".parse().unwrap());
        other.upsert(User::serialize("u", &serde_json::json!({}))).await.unwrap();
        store.close().await.unwrap();
    });
    damage_overflow(directory.path());
    pollster::block_on(async {
        let store = open(directory.path()).await;
        assert_eq!(store.delete_guru(&guru()).await.unwrap(), 10);
        assert_eq!(store.delete_guru(&"other".parse().unwrap()).await.unwrap(), 1);
        for _ in 0..2 {
            let error = store.compact().await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error:?}");
        }
        store.close().await.unwrap();
    });
    let connection = rusqlite::Connection::open(directory.path().join("p.db")).unwrap();
    let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    assert_eq!(number("SELECT count(*) FROM profile WHERE guru = 2"), 0);
    assert_eq!(number("SELECT count(*) FROM emptied"), 1);
}

/// L3: rows that belong to nobody are not passed over in silence by `compact`.
#[test]
fn rows_of_nobody_are_told_by_compacting() {
    let directory = damaged("UPDATE profile SET guru = 7 WHERE external_user_id = 'bob'");
    pollster::block_on(async {
        let store = open(directory.path()).await;
        let error = store.compact().await.unwrap_err();
        assert!(
            error.kind() == ErrorKind::Corrupt && error.to_string().contains("1 stored profiles"),
            "{error}"
        );
        assert_eq!(store.count(&guru()).await.unwrap(), 2);
    });
}

/// S12: flipped bits of an id in the index put it out of order. The others are listed and copied all the same.
#[test]
fn an_id_out_of_order_hides_no_other() {
    for (id, flipped) in [("ada", "qda"), ("bob", "zob"), ("bob", "aab"), ("cyd", "ayd")] {
        let directory = damaged("UPDATE profile SET updated_at = updated_at");
        let path = directory.path().join("p.db");
        let mut bytes = std::fs::read(&path).unwrap();
        // In the table, the memory follows.
        let is_index = |at: &usize| bytes[*at..].starts_with(id.as_bytes()) && bytes[at + 3] != b'{';
        let index = (0..bytes.len() - 9).find(is_index).unwrap();
        bytes[index..index + 3].copy_from_slice(flipped.as_bytes());
        std::fs::write(&path, bytes).unwrap();
        pollster::block_on(async {
            let store = open(directory.path()).await;
            let (mut told, to) = (Vec::new(), MemoryStore::new());
            let options = CopyOptions::default()
                .with_damaged(|error| told.push(error.external_user_id().unwrap().to_owned()));
            assert_eq!(copy(&*store, &to, options).await.unwrap().profiles, 2, "{flipped}");
            assert_eq!(told, [flipped]);
            let error = store.list(&guru(), &ListOptions::default()).await.unwrap_err();
            assert_eq!((error.guru(), error.external_user_id()), (Some("my-guru"), Some(flipped)));
        });
    }
}

/// S12, L2: the index has a profile that the table lacks. It is damage, not a deletion, and keeps no other guru's rows.
#[test]
fn a_profile_of_the_index_alone_is_not_told_as_deleted() {
    let directory = damaged("UPDATE profile SET updated_at = updated_at");
    let path = directory.path().join("p.db");
    let mut bytes = std::fs::read(&path).unwrap();
    // The number of the row follows the id.
    let is_index = |at: &usize| bytes[*at..].starts_with(b"bob\x02");
    let index = (0..bytes.len() - 9).find(is_index).unwrap();
    bytes[index + 3] = 7;
    std::fs::write(&path, bytes).unwrap();
    pollster::block_on(async {
        let store = open(directory.path()).await;
        let of = Guru::new(&store, guru());
        for error in [of.get("bob").await.unwrap_err(), of.delete("bob").await.unwrap_err()] {
            assert_eq!(
                (error.kind(), error.external_user_id()),
                (ErrorKind::Corrupt, Some("bob")),
                "{error:?}"
            );
        }
        let other = Guru::new(&store, "other".parse().unwrap());
        other.upsert(User::serialize("u", &serde_json::json!({}))).await.unwrap();
        assert_eq!(store.delete_guru(&guru()).await.unwrap(), 3);
        assert_eq!(store.delete_guru(&"other".parse().unwrap()).await.unwrap(), 1);
        assert_eq!(store.compact().await.unwrap_err().kind(), ErrorKind::Corrupt);
        store.close().await.unwrap();
    });
    let connection = rusqlite::Connection::open(&path).unwrap();
    let left: i64 = connection.query_row("SELECT count(*) FROM emptied", [], |row| row.get(0)).unwrap();
    assert_eq!(left, 1, "the other guru's rows are gone");
}

/// S12: a guru whose own record is damaged takes nothing from the others: sizes are told, and reading is healthy.
#[test]
fn a_damaged_guru_leaves_the_store_healthy() {
    let directory = TempDir::new().unwrap();
    pollster::block_on(async {
        let store = open(directory.path()).await;
        for name in ["a", "b"] {
            let user = User::serialize("u", &serde_json::json!({}));
            Guru::new(&store, name.parse().unwrap()).upsert(user).await.unwrap();
        }
        store.close().await.unwrap();
    });
    let connection = rusqlite::Connection::open(directory.path().join("p.db")).unwrap();
    connection.execute("UPDATE guru SET checksum = checksum + 1 WHERE slug = 'a'", []).unwrap();
    connection.close().unwrap();
    pollster::block_on(async {
        let store = open(directory.path()).await;
        store.health(Probe::Read).await.unwrap();
        store.health(Probe::Write).await.unwrap();
        let stats = store.stats().await.unwrap();
        assert_eq!((stats.gurus, stats.profiles), (2, 1));
    });
}

//! Erased profiles are on no page of the raw files (L3).

use std::path::Path;
use std::process::Command;

use profile_store::{
    Batch, CopyOptions, ErrorKind, ExternalUserId, FjallStore, Guru, GuruSlug, ProfileStore, SledStore,
    SqliteStore, StoreOptions, User, copy,
};
use tempfile::TempDir;

/// Stands in every memory that is deleted or replaced, and in no other.
const SECRET: &str = "nobody-may-find-this";

fn guru(slug: &str) -> GuruSlug {
    GuruSlug::new(slug).unwrap()
}

/// The id of a user: they come in no order, so that SQLite has to rearrange its pages.
fn id(n: usize) -> String {
    format!("{:016x}", (n as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15))
}

/// Memories from a few bytes to many pages of SQLite, most of them small.
fn users(range: std::ops::Range<usize>, word: &str) -> Batch<'static> {
    let user = |n: usize| {
        let times = if n.is_multiple_of(10) { 1200 } else { 1 + n * 37 % 120 };
        let text = format!("{word}-{n} ").repeat(times);
        User::serialize(id(n), &serde_json::json!({ "text": text }))
    };
    Batch::from_users(range.map(user))
}

/// Deletes and replaces every profile that has the secret.
async fn fill_and_erase(store: &dyn ProfileStore) {
    let (kept, dropped, left) = (guru("kept"), guru("dropped-tenant"), guru("left-tenant"));
    assert!(store.upsert_batch(&left, users(500..510, SECRET)).await.unwrap().is_complete());
    let ids: Vec<_> = (500..510).map(|n| ExternalUserId::new(id(n)).unwrap()).collect();
    assert_eq!(store.delete_many(&left, &ids).await.unwrap(), [true; 10]);
    assert!(store.upsert_batch(&kept, users(0..300, SECRET)).await.unwrap().is_complete());
    assert!(store.upsert_batch(&dropped, users(0..300, SECRET)).await.unwrap().is_complete());
    assert!(store.upsert_batch(&kept, users(300..400, "known")).await.unwrap().is_complete());
    assert!(store.upsert_batch(&kept, users(0..150, "known")).await.unwrap().is_complete());
    for n in 150..300 {
        assert!(Guru::new(&store, kept.clone()).delete(&id(n)).await.unwrap());
    }
    assert_eq!(store.delete_guru(&dropped).await.unwrap(), 300);
}

/// Everything that may not be found: a memory's text, ids, and slugs of gurus that are gone with their last
/// profile.
fn secrets() -> [String; 6] {
    [SECRET.into(), "dropped-tenant".into(), "left-tenant".into(), id(150), id(299), id(509)]
}

/// Whether a file of the directory has the text: in another process, as closing a descriptor of the
/// open file in this one would drop SQLite's locks on it.
fn found(directory: &Path, text: &str) -> bool {
    let grep =
        Command::new("grep").args(["-r", "-a", "-q", "-F", "-e", text]).arg(directory).status().unwrap();
    assert!(matches!(grep.code(), Some(0 | 1)), "{grep}");
    grep.success()
}

async fn sqlite(directory: &TempDir, erasing: bool) -> SqliteStore {
    let options = StoreOptions::default().with_erasing(erasing);
    SqliteStore::open_with(directory.path().join("p.db"), options).await.unwrap()
}

#[test]
fn compacting_sqlite_leaves_no_byte_of_what_was_deleted() {
    for erasing in [true, false] {
        let directory = TempDir::new().unwrap();
        pollster::block_on(async {
            let store = sqlite(&directory, erasing).await;
            fill_and_erase(&store).await;
            for secret in secrets() {
                assert!(
                    found(directory.path(), &secret),
                    "else the search would find nothing ever: {secret}"
                );
            }
            store.compact().await.unwrap();
            for secret in secrets() {
                assert!(!found(directory.path(), &secret), "{secret}, erasing: {erasing}");
            }
            for kept in ["known", "kept", &id(0), &id(399)] {
                assert!(found(directory.path(), kept), "what is kept is kept: {kept}");
            }
            assert_eq!(store.count(&guru("kept")).await.unwrap(), 250);
            assert!(store.verify().await.unwrap().is_sound());
            assert_eq!(store.stats().await.unwrap().reclaimable_bytes, 0);
        });
    }
}

/// If a single memory is deleted and nothing is rearranged, erasing leaves no byte of it once the log
/// is moved and cut; without it, it is there, so the option does something.
#[test]
fn erasing_overwrites_what_is_deleted() {
    for erasing in [true, false] {
        let directory = TempDir::new().unwrap();
        pollster::block_on(async {
            let store = sqlite(&directory, erasing).await;
            assert!(store.upsert_batch(&guru("kept"), users(1..2, SECRET)).await.unwrap().is_complete());
            assert!(Guru::new(&store, guru("kept")).delete(&id(1)).await.unwrap());
            store.close().await.unwrap();
            assert_eq!(found(directory.path(), SECRET), !erasing, "erasing: {erasing}");
        });
    }
}

/// Compacting copies what is there, so that ids and the slug of a deleted guru are gone as well. Reads go on.
#[test]
fn compacting_fjall_leaves_no_byte_of_what_was_deleted() {
    let directory = TempDir::new().unwrap();
    pollster::block_on(async {
        let path = directory.path().join("p");
        let store = FjallStore::open(&path).await.unwrap();
        fill_and_erase(&store).await;
        for gone in secrets() {
            assert!(found(directory.path(), &gone), "else the search would find nothing ever: {gone}");
        }
        store.compact().await.unwrap();
        for gone in secrets() {
            assert!(!found(directory.path(), &gone), "{gone}");
        }
        for again in 0..2 {
            assert!(found(directory.path(), "known"), "what is kept is kept");
            assert_eq!(store.count(&guru("kept")).await.unwrap(), 250);
            assert!(store.verify().await.unwrap().is_sound());
            assert!(
                store.upsert_batch(&guru("new"), users(again..again + 1, "new")).await.unwrap().is_complete()
            );
            store.compact().await.unwrap();
        }
        // Compacted before the profiles of a deleted guru, more than a step removes, are gone by themselves.
        assert!(store.upsert_batch(&guru("large"), users(0..3000, SECRET)).await.unwrap().is_complete());
        assert_eq!(store.delete_guru(&guru("large")).await.unwrap(), 3000);
        store.compact().await.unwrap();
        assert!(!found(directory.path(), SECRET));
        store.close().await.unwrap();
        let store = FjallStore::open(&path).await.unwrap();
        assert_eq!(
            (store.count(&guru("kept")).await.unwrap(), store.count(&guru("new")).await.unwrap()),
            (250, 2)
        );
    });
}

/// sled promises nothing of the kind, and says so. A copy has none of it.
#[test]
fn sled_cannot_compact_and_a_copy_leaves_no_byte_of_what_was_deleted() {
    let (directory, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    pollster::block_on(async {
        let store = SledStore::open(directory.path().join("p")).await.unwrap();
        let error = store.compact().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{error}");
        fill_and_erase(&store).await;
        let copied = SledStore::open(other.path().join("p")).await.unwrap();
        copy(&store, &copied, CopyOptions::default()).await.unwrap();
        store.close().await.unwrap();
        copied.close().await.unwrap();
        for gone in secrets() {
            // sled leaves out of a key the bytes that all keys of its node begin with.
            let end = &gone[gone.len() / 2..];
            assert!(found(directory.path(), end), "else the search would find nothing ever: {gone}");
            assert!(!found(other.path(), end), "{gone}");
        }
        assert!(found(other.path(), "known") && found(other.path(), "kept"), "what is kept is kept");
    });
}

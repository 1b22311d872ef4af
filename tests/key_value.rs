//! The parts that stores in key-value engines share: the keys, the records, and the directory.

use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use profile_store::{
    Batch, ErrorKind, ExternalUserId, GuruSlug, ListOptions, ProfileStore, Result, StoreOptions, User, open,
    open_with,
};
use tempfile::TempDir;

use crate::observing::copy_tree;
use crate::skipping;

const SCHEMES: [&str; 2] = ["fjall", "sled"];

const PROFILE: &[u8] = b"\x02\0\0\0\0\0\0\0\x01bob";
const GURU: &[u8] = b"\x01my-guru";

fn guru() -> GuruSlug {
    GuruSlug::new("my-guru").unwrap()
}

fn url(scheme: &str, path: &Path) -> String {
    format!("{scheme}:{}", path.display())
}

fn users<'a>(ids: impl IntoIterator<Item = String>) -> Batch<'a> {
    Batch::from_users(ids.into_iter().map(|id| User::serialize(id, &serde_json::json!({}))))
}

fn user<'a>(id: &str) -> Batch<'a> {
    users([id.to_owned()])
}

async fn put(store: &dyn ProfileStore, batch: Batch<'_>) {
    assert!(store.upsert_batch(&guru(), batch).await.unwrap().is_complete());
}

/// sled itself. A process that another test starts has the lock of a closed one for an instant.
pub fn open_sled(data: &Path) -> sled::Db {
    let begun = Instant::now();
    loop {
        match sled::Config::new().path(data).segment_size(16 << 20).open() {
            Err(sled::Error::Io(_)) if begun.elapsed() < Duration::from_secs(10) => thread::yield_now(),
            opened => return opened.unwrap(),
        }
    }
}

/// The engine itself, without the store above it.
enum Raw {
    Fjall(fjall::Database, fjall::Keyspace),
    Sled(sled::Db),
}

impl Raw {
    fn open(scheme: &str, store: &Path) -> Self {
        let data = store.join("data");
        if scheme == "sled" {
            return Self::Sled(open_sled(&data));
        }
        let db = fjall::Database::builder(data).open().unwrap();
        let keyspace = db.keyspace("profiles", || panic!("it is there")).unwrap();
        Self::Fjall(db, keyspace)
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::Fjall(_, keyspace) => keyspace.get(key).unwrap().map(|bytes| bytes.to_vec()),
            Self::Sled(db) => db.get(key).unwrap().map(|bytes| bytes.to_vec()),
        }
    }

    fn insert(&self, key: &[u8], value: &[u8]) {
        match self {
            Self::Fjall(_, keyspace) => keyspace.insert(key, value).unwrap(),
            Self::Sled(db) => drop(db.insert(key, value).unwrap()),
        }
    }

    fn remove(&self, key: &[u8]) {
        match self {
            Self::Fjall(_, keyspace) => keyspace.remove(key).unwrap(),
            Self::Sled(db) => drop(db.remove(key).unwrap()),
        }
    }

    fn count(&self, prefix: &[u8]) -> usize {
        match self {
            Self::Fjall(_, keyspace) => keyspace.prefix(prefix).count(),
            Self::Sled(db) => db.scan_prefix(prefix).count(),
        }
    }

    fn close(self) {
        match self {
            Self::Fjall(db, _) => db.persist(fjall::PersistMode::SyncAll).unwrap(),
            Self::Sled(db) => drop(db.flush().unwrap()),
        }
    }
}

/// Runs a test with each engine: its scheme, and the path and URL of a store that is not there yet.
fn each(test: impl Fn(&str, &Path, &str)) {
    for scheme in SCHEMES {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("store");
        test(scheme, &path, &url(scheme, &path));
    }
}

/// A closed store of three profiles in which something was changed.
fn changed(scheme: &str, change: &dyn Fn(&Raw)) -> (TempDir, String) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("store");
    let url = url(scheme, &path);
    pollster::block_on(async {
        let store = open(&url).await.unwrap();
        put(&*store, users(["ada", "bob", "cyd"].map(str::to_owned))).await;
        store.close().await.unwrap();
    });
    let raw = Raw::open(scheme, &path);
    change(&raw);
    raw.close();
    (directory, url)
}

fn flip(raw: &Raw, key: &[u8], at: usize) {
    let mut bytes = raw.get(key).unwrap();
    bytes[at] ^= 1;
    raw.insert(key, &bytes);
}

fn flip_last(raw: &Raw, key: &[u8]) {
    let mut bytes = raw.get(key).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    raw.insert(key, &bytes);
}

#[test]
fn a_scrub_names_what_is_damaged() {
    type Change<'a> = &'a dyn Fn(&Raw);
    let cases: [(Change<'_>, u64, &str); 8] = [
        (&|raw| flip_last(raw, PROFILE), 2, "\"bob\""),
        (&|raw| raw.remove(PROFILE), 2, "should have 3 profiles and has 2"),
        (&|raw| raw.remove(GURU), 0, "3 stored profiles are of guru number 1"),
        (&|raw| raw.insert(b"\x02short", b""), 3, "names no profile"),
        (&|raw| raw.insert(b"\x02no guru's", b""), 3, "which is none"),
        (&|raw| raw.insert(b"\x04\0\0\0\0\0\0\0\x07", b"no mark"), 3, "mark of deleted guru 7"),
        (&|raw| flip_last(raw, b"\x03\x02"), 3, "number of the next guru"),
        (&|raw| flip_last(raw, GURU), 3, "number of profiles"),
    ];
    for scheme in SCHEMES {
        for (change, sound, named) in &cases {
            let (_directory, url) = changed(scheme, change);
            pollster::block_on(async {
                let store = open(&url).await.unwrap();
                let verified = store.verify().await.unwrap();
                assert_eq!((verified.profiles, verified.damaged), (*sound, 1), "{:?}", verified.damage);
                assert_eq!(verified.damage[0].kind(), ErrorKind::Corrupt);
                assert!(verified.damage[0].to_string().contains(named), "{:?}", verified.damage);
                if scheme == "fjall" {
                    // A guru that is not known may keep its rows: nothing is promised then (L3).
                    let compacted = store.compact().await.map_err(|error| error.kind());
                    let expected = if named.contains("mark") { Err(ErrorKind::Corrupt) } else { Ok(()) };
                    assert_eq!(compacted, expected, "{named}");
                }
            });
        }
    }
}

/// The engine of a closed store of [`skipping::fill`].
fn filled(scheme: &str, path: &Path, url: &str) -> Raw {
    pollster::block_on(async {
        let store = open(url).await.unwrap();
        skipping::fill(&*store).await;
        store.close().await.unwrap();
    });
    Raw::open(scheme, path)
}

/// S12: `tests/skipping.rs` has the rules.
#[test]
fn damaged_records_can_be_skipped() {
    each(|scheme, path, url| {
        let raw = filled(scheme, path, url);
        let key = |number: u8, id: &[u8]| [b"\x02\0\0\0\0\0\0\0", [number].as_slice(), id].concat();
        for id in skipping::IDS {
            flip_last(&raw, &key(1, id.as_bytes()));
        }
        for id in ["u0000", "u0001", "u0002"] {
            flip_last(&raw, &key(3, id.as_bytes()));
        }
        flip(&raw, &[b"\x01", skipping::HEADLESS.as_bytes()].concat(), 9);
        raw.remove(&key(1, b"u0700"));
        raw.insert(&key(1, b"u070\xff"), b"record");
        raw.close();
        pollster::block_on(async {
            skipping::check(&*open(url).await.unwrap(), true, Some(r"u070\xff")).await;
        });
    });
}

/// S12: the key of a guru that can't be one.
#[test]
fn a_slug_that_is_none_stops_no_other_guru() {
    each(|scheme, path, url| {
        let raw = filled(scheme, path, url);
        let key = [b"\x01".as_slice(), skipping::NAMELESS.as_bytes(), b"\xff"].concat();
        raw.insert(&key, &raw.get(b"\x01z").unwrap());
        raw.close();
        pollster::block_on(async { skipping::check_nameless(&*open(url).await.unwrap()).await });
    });
}

/// S12: a flipped bit in a guru's number of profiles costs no profile, no write and no other guru; `count`
/// counts.
#[test]
fn a_damaged_number_of_profiles_costs_nothing() {
    for scheme in SCHEMES {
        let (_directory, url) = changed(scheme, &|raw| flip_last(raw, GURU));
        pollster::block_on(async {
            let store = open(&url).await.unwrap();
            assert_eq!(store.gurus(None, 9).await.unwrap(), [guru()]);
            assert_eq!(store.count(&guru()).await.unwrap(), 3);
            assert!(store.upsert_batch(&guru(), user("dan")).await.unwrap().is_complete());
            assert_eq!(store.count(&guru()).await.unwrap(), 4);
            assert!(store.verify().await.unwrap().is_sound());
            assert_eq!(store.delete_guru(&guru()).await.unwrap(), 4);
            assert_eq!(store.gurus(None, 9).await.unwrap(), []);
        });
    }
}

/// S12: a number that fits its checksum and is wrong nevertheless, that of an earlier state, costs no profile. `compact` counts
/// what a write has found wrong.
#[test]
fn a_number_of_another_day_costs_no_profile() {
    for scheme in SCHEMES {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("store");
        let url = url(scheme, &path);
        let within = |work: &dyn Fn(&dyn ProfileStore)| {
            let store = pollster::block_on(open(&url)).unwrap();
            work(&*store);
            pollster::block_on(store.close()).unwrap();
        };
        let delete = |store: &dyn ProfileStore, ids: &[&str]| {
            let ids: Vec<_> = ids.iter().map(|id| ExternalUserId::new(*id).unwrap()).collect();
            assert_eq!(pollster::block_on(store.delete_many(&guru(), &ids)).unwrap(), vec![true; ids.len()]);
        };
        let count = |store: &dyn ProfileStore| pollster::block_on(store.count(&guru())).unwrap();
        within(&|store| pollster::block_on(put(store, user("ada"))));
        let raw = Raw::open(scheme, &path);
        let old = raw.get(GURU).unwrap();
        raw.close();
        within(&|store| pollster::block_on(put(store, users(["bob", "cyd"].map(str::to_owned)))));
        let put_back = || {
            let raw = Raw::open(scheme, &path);
            raw.insert(GURU, &old);
            raw.close();
        };
        put_back();
        within(&|store| {
            assert_eq!(pollster::block_on(store.verify()).unwrap().damaged, 1);
            // It says one, and one goes: the others are still there.
            delete(store, &["ada"]);
            assert_eq!(count(store), 2, "{scheme}");
            assert!(pollster::block_on(store.verify()).unwrap().is_sound());
            if scheme == "fjall" {
                pollster::block_on(store.compact()).unwrap();
                assert_eq!(count(store), 2);
            }
        });
        let raw = Raw::open(scheme, &path);
        let is_counted = raw.get(GURU).unwrap().len() == old.len();
        assert_eq!(is_counted, scheme == "fjall", "a record without a number is shorter");
        raw.close();
        put_back();
        within(&|store| {
            // It would be negative.
            delete(store, &["bob", "cyd"]);
            assert_eq!(pollster::block_on(store.gurus(None, 9)).unwrap(), [], "{scheme}");
        });
    }
}

/// S12: a guru whose record is damaged is named, and no other guru suffers.
#[test]
fn a_damaged_guru_is_named() {
    for scheme in SCHEMES {
        let (_directory, url) = changed(scheme, &|raw| flip(raw, GURU, 9));
        pollster::block_on(async {
            let store = open(&url).await.unwrap();
            let other = GuruSlug::new("other").unwrap();
            assert!(store.upsert_batch(&other, user("dan")).await.unwrap().is_complete());
            assert_eq!(store.count(&other).await.unwrap(), 1);
            let ids = [ExternalUserId::new("ada").unwrap()];
            for error in [
                store.get_many(&guru(), &ids).await.unwrap_err(),
                store.list(&guru(), &ListOptions::default()).await.unwrap_err(),
                store.upsert_batch(&guru(), user("dan")).await.unwrap_err(),
                store.gurus(None, 9).await.unwrap_err(),
            ] {
                assert_eq!((error.kind(), error.guru()), (ErrorKind::Corrupt, Some("my-guru")));
            }
            assert_eq!(store.gurus(Some(&guru()), 9).await.unwrap(), [other]);
        });
    }
}

/// L2, P2: a deleted guru is gone at once; its rows go in steps, also those that a closed or killed process has
/// left, and the slug may be taken again meanwhile.
#[test]
fn what_a_deleted_guru_leaves_is_removed_afterwards() {
    let pauses = || (0..8).map(|n| Duration::from_millis(250 << n));
    let is_removed = |scheme: &str, path: &Path| {
        let raw = Raw::open(scheme, path);
        let left = (raw.count(b"\x02"), raw.count(b"\x04"));
        raw.close();
        left == (1, 0)
    };
    for scheme in SCHEMES {
        // Each try in a store of its own: the next opening would remove the rest in any case.
        let by_itself = |pause| {
            let directory = TempDir::new().unwrap();
            let path = directory.path().join("store");
            pollster::block_on(async {
                let store = open(&url(scheme, &path)).await.unwrap();
                put(&*store, users((0..5000).map(|n| n.to_string()))).await;
                assert_eq!(store.delete_guru(&guru()).await.unwrap(), 5000);
                assert_eq!(store.count(&guru()).await.unwrap(), 0);
                put(&*store, user("new")).await;
                assert_eq!(store.count(&guru()).await.unwrap(), 1);
                // Nobody waits: the store goes on by itself.
                thread::sleep(pause);
                store.close().await.unwrap();
            });
            is_removed(scheme, &path).then_some((directory, path))
        };
        let (_directory, path) = pauses().find_map(by_itself).expect(scheme);
        let raw = Raw::open(scheme, &path);
        // As a kill right after the call leaves it.
        mark(&raw);
        raw.close();
        let after_opening = |pause| {
            pollster::block_on(async {
                let store = open(&url(scheme, &path)).await.unwrap();
                let verified = store.verify().await.unwrap();
                assert_eq!((verified.profiles, verified.damaged), (1, 0), "{:?}", verified.damage);
                thread::sleep(pause);
                store.close().await.unwrap();
            });
            is_removed(scheme, &path)
        };
        assert!(pauses().any(after_opening), "{scheme}");
    }
}

/// A closed store with one profile.
fn closed_fjall() -> (TempDir, PathBuf, String) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("store");
    let url = url("fjall", &path);
    pollster::block_on(async {
        let store = open(&url).await.unwrap();
        put(&*store, user("ada")).await;
        store.close().await.unwrap();
    });
    (directory, path, url)
}

/// L3: compaction leaves out what a deleted guru has left, however much that is.
#[test]
fn compacting_fjall_leaves_out_what_a_deleted_guru_has_left() {
    let (_directory, path, url) = closed_fjall();
    let raw = Raw::open("fjall", &path);
    mark(&raw);
    // Emptying would take a hundred steps.
    for n in 0..100_000 {
        raw.insert(&[b"\x02\0\0\0\0\0\0\0\x05".as_slice(), format!("{n}").as_bytes()].concat(), b"precious");
    }
    raw.close();
    let holds = |word: &str| {
        let files = std::fs::read_dir(path.join("data"))
            .unwrap()
            .chain(std::fs::read_dir(path.join("data/tables")).into_iter().flatten());
        let mut files = files.map(|file| file.unwrap().path()).filter(|file| file.is_file());
        files.any(|file| {
            std::fs::read(file).unwrap().windows(word.len()).any(|bytes| bytes == word.as_bytes())
        })
    };
    assert!(holds("precious"), "else the search would find nothing ever");
    pollster::block_on(async {
        let store = open(&url).await.unwrap();
        store.compact().await.unwrap();
        assert!(!holds("precious") && holds("ada"));
        assert!(store.verify().await.unwrap().is_sound());
        assert_eq!(store.count(&guru()).await.unwrap(), 1);
    });
}

/// Puts a deleted guru and its rows back as they were before they were removed.
fn mark(raw: &Raw) {
    // The checksum of such a mark is frozen by a test of the library.
    let mark = [0x00, 0x83, 0x69, 0x21, 0xdd, 0x49, 0x9e, 0x96, 0xce];
    raw.insert(b"\x04\0\0\0\0\0\0\0\x05", &mark);
    for n in 0..2500 {
        raw.insert(&[b"\x02\0\0\0\0\0\0\0\x05".as_slice(), format!("{n}").as_bytes()].concat(), b"row");
    }
}

/// fjall makes a database again if its file `version` is missing: opening looks first (S12).
#[test]
fn a_database_without_its_version_is_not_made_again() {
    let (_directory, path, url) = closed_fjall();
    let version = path.join("data/version");
    std::fs::remove_file(&version).unwrap();
    assert_eq!(pollster::block_on(open(&url)).unwrap_err().kind(), ErrorKind::Corrupt);
    assert!(!version.exists());
}

/// S12: it will not come back by itself.
#[test]
fn a_sled_without_its_file_is_damaged() {
    let (_directory, url) = changed("sled", &|_| {});
    let store = url.strip_prefix("sled:").unwrap();
    std::fs::remove_file(format!("{store}/data/db")).unwrap();
    for _ in 0..2 {
        let error = pollster::block_on(open(&url)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
        assert!(error.to_string().contains("has lost"), "{error}");
    }
}

/// S1, S2: a power cut may leave the end of a batch and not a part before it, which fjall refuses. Only the last batch
/// may be that torn, and only in a store that was not closed.
#[test]
fn a_torn_last_batch_is_dropped_from_fjalls_journal() {
    let (open_store, _path, url) = closed_fjall();
    let left = open_store.path().join("left");
    pollster::block_on(async {
        let store = open(&url).await.unwrap();
        put(&*store, user("first")).await;
        put(&*store, user("last")).await;
        copy_tree(&open_store.path().join("store"), &left);
        store.close().await.unwrap();
    });
    let profile = |id: &str| [b"\x02\0\0\0\0\0\0\0\x01", id.as_bytes()].concat();
    // The batch that wrote the key, without it.
    let torn = |directory: &Path, key: &[u8]| {
        let journal = directory.join("data/0.jnl");
        let mut bytes = std::fs::read(&journal).unwrap();
        let place = bytes.windows(key.len()).rposition(|bytes| bytes == key).expect("the key");
        bytes[place..place + key.len()].fill(0);
        std::fs::write(&journal, &bytes).unwrap();
        bytes
    };
    let read = |directory: &Path, id: &str| {
        pollster::block_on(async {
            let store = open(&self::url("fjall", directory)).await?;
            let found = store.get_many(&guru(), &[ExternalUserId::new(id).unwrap()]).await?[0].is_some();
            store.close().await.map(|()| found)
        })
    };
    let copy = |name: &str| {
        let to = open_store.path().join(name);
        copy_tree(&left, &to);
        to
    };
    let last = copy("last");
    torn(&last, &profile("last"));
    assert!(!read(&last, "last").unwrap(), "it was not acknowledged before the cut");
    assert!(read(&last, "first").unwrap() && read(&last, "ada").unwrap());

    let earlier = copy("earlier");
    let bytes = torn(&earlier, &profile("first"));
    for _ in 0..2 {
        assert_eq!(read(&earlier, "ada").unwrap_err().kind(), ErrorKind::Corrupt);
        assert_eq!(
            std::fs::read(earlier.join("data/0.jnl")).unwrap(),
            bytes,
            "it is left for whoever repairs it"
        );
    }

    let closed = open_store.path().join("store");
    // The last batch is the note that the store was closed.
    let bytes = torn(&closed, b"\x03\x01");
    assert_eq!(read(&closed, "ada").unwrap_err().kind(), ErrorKind::Corrupt);
    assert_eq!(
        std::fs::read(closed.join("data/0.jnl")).unwrap(),
        bytes,
        "what was synced is damaged, not torn"
    );
}

/// An engine may silently drop the records after damage: a store that was closed reports it (S12).
#[test]
fn a_closed_store_tells_what_was_dropped() {
    each(|scheme, path, url| {
        pollster::block_on(async {
            let store = open(url).await.unwrap();
            put(&*store, user("ada")).await;
            store.close().await.unwrap();
        });
        let (log, tail) = match scheme {
            "sled" => ("db", b"\x02\0\0\0\0\0\0\0\x01ada".as_slice()),
            // The last batch of the journal, which loses its tag.
            _ => ("0.jnl", b"\x03\x01".as_slice()),
        };
        let log = path.join("data").join(log);
        let mut bytes = std::fs::read(&log).unwrap();
        let place = bytes.windows(tail.len()).rposition(|bytes| bytes == tail).expect("the key");
        if scheme == "sled" {
            bytes[place] ^= 1;
        } else {
            bytes.truncate(place);
        }
        std::fs::write(&log, bytes).unwrap();
        for _ in 0..2 {
            let error = pollster::block_on(open(url)).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            assert!(error.to_string().contains("has dropped some of it"), "{error}");
        }
    });
}

/// A process killed while it created, recovered or compacted a store leaves what the next one heals.
#[test]
fn leavings_of_a_killed_process_are_healed() {
    each(|scheme, path, url| {
        let count = || -> Result<u64> {
            pollster::block_on(async {
                let store = open(url).await?;
                let count = store.count(&guru()).await?;
                store.close().await?;
                Ok(count)
            })
        };
        std::fs::create_dir(path).unwrap();
        for words in [String::new(), format!("profile-store {scheme} creating\n")] {
            std::fs::write(path.join("profile-store"), words).unwrap();
            for name in ["data.new", "data"] {
                std::fs::create_dir_all(path.join(name)).unwrap();
                std::fs::write(path.join(name).join("db"), b"half").unwrap();
            }
            assert_eq!(count().unwrap(), 0);
        }
        pollster::block_on(async {
            let store = open(url).await.unwrap();
            put(&*store, user("ada")).await;
        });
        let [data, new, old] = ["data", "data.new", "data.old"].map(|name| path.join(name));
        let half = |directory: &Path| {
            std::fs::create_dir(directory).unwrap();
            std::fs::write(directory.join("db"), b"half").unwrap();
        };
        // While the copy was made; between the two renames; before the old ones were removed.
        half(&new);
        assert_eq!(count().unwrap(), 1);
        half(&old);
        std::fs::rename(&data, &new).unwrap();
        assert_eq!(count().unwrap(), 1);
        half(&old);
        assert_eq!(count().unwrap(), 1);
        assert!(!new.exists() && !old.exists());
        if scheme == "sled" {
            std::fs::write(data.join("snap.7FFFFFFFFFFFFFFF.generating"), b"half").unwrap();
            assert_eq!(count().unwrap(), 1);
        }
        std::fs::remove_dir_all(&data).unwrap();
        assert_eq!(count().unwrap_err().kind(), ErrorKind::Corrupt);
    });
}

/// S13: a link is followed to its end, whatever is beside the store stays, and a directory with something in it
/// is no place for a store.
#[cfg(unix)]
#[test]
fn what_the_store_did_not_make_is_left_alone() {
    for scheme in SCHEMES {
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        let beside = at("store.creating");
        std::fs::create_dir(&beside).unwrap();
        std::fs::write(beside.join("precious"), b"bytes").unwrap();
        for (link, target) in [("link", "store"), ("link to the link", "link")] {
            std::os::unix::fs::symlink(target, at(link)).unwrap();
        }
        pollster::block_on(async {
            let store = open(&url(scheme, &at("link to the link"))).await.unwrap();
            put(&*store, user("ada")).await;
            store.close().await.unwrap();
            assert_eq!(open(&url(scheme, &at("store"))).await.unwrap().count(&guru()).await.unwrap(), 1);
        });
        assert_eq!(std::fs::read(beside.join("precious")).unwrap(), b"bytes");
        let unfinished = at("unfinished");
        std::fs::create_dir(&unfinished).unwrap();
        for name in ["profile-store", "precious"] {
            std::fs::write(unfinished.join(name), b"").unwrap();
        }
        let error = pollster::block_on(open(&url(scheme, &unfinished))).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
        assert_eq!(std::fs::read_dir(&unfinished).unwrap().count(), 2);
    }
}

/// Opening and closing a store that does not change rewrites nothing of it.
#[test]
fn an_unchanged_store_is_closed_as_it_was() {
    each(|scheme, path, url| {
        let once = |write: bool| {
            pollster::block_on(async {
                let store = open_with(url, StoreOptions::default()).await.unwrap();
                if write {
                    put(&*store, user("ada")).await;
                }
                assert_eq!(store.count(&guru()).await.unwrap(), 1);
                store.close().await.unwrap();
            });
            std::fs::read(path.join("closed")).unwrap()
        };
        let first = once(true);
        assert_eq!(once(false), first, "{scheme}");
        assert_eq!(once(true), first, "{scheme}: nothing has changed");
    });
}

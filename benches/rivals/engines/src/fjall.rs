//! fjall, written by hand.

use std::path::{Path, PathBuf};

use fjall::Readable as _;
use profile_store_meter::bulk::{Bulk, bytes_at};
use profile_store_meter::reads::{PAGE, Reads};
use profile_store_meter::users::User;
use xxhash_rust::xxh3::xxh3_64;

use crate::sqlite::now;

const GURU: &[u8] = b"my-guru\0";

/// The least that keeps the library's promises: a look-up that verifies what is there, a checksum, and one sync a
/// batch before its rows can be seen.
#[derive(Clone)]
pub struct RawFjall {
    db: fjall::Database,
    keyspace: fjall::Keyspace,
    path: PathBuf,
}

fn key(id: &str) -> Vec<u8> {
    [GURU, id.as_bytes()].concat()
}

/// Checksum, time of creation, time of change, memory.
fn record(key: &[u8], created: i64, updated: i64, memory: &str) -> Vec<u8> {
    let mut record = vec![0; 8];
    record.extend(created.to_le_bytes());
    record.extend(updated.to_le_bytes());
    record.extend(memory.as_bytes());
    let sum = checksum(key, &record[8..]);
    record[..8].copy_from_slice(&sum.to_le_bytes());
    record
}

fn checksum(key: &[u8], value: &[u8]) -> u64 {
    xxh3_64(key) ^ xxh3_64(value)
}

/// The time of creation and the memory.
fn verified<'r>(key: &[u8], record: &'r [u8]) -> (i64, &'r str) {
    let (sum, value) = record.split_at(8);
    assert_eq!(sum, checksum(key, value).to_le_bytes(), "damaged");
    let created = i64::from_le_bytes(value[..8].try_into().expect("eight bytes"));
    (created, std::str::from_utf8(&value[16..]).expect("text"))
}

impl RawFjall {
    pub fn open(directory: &Path) -> Self {
        let path = directory.join("raw.fjall");
        // As src/backends/fjall/open.rs has them.
        let builder = fjall::Database::builder(&path).cache_size(64 << 20).max_journaling_size(128 << 20);
        let db = builder.worker_threads(2).open().expect("opened");
        let options = || fjall::KeyspaceCreateOptions::default().max_memtable_size(32 << 20);
        let keyspace = db.keyspace("profiles", options).expect("opened");
        Self { db, keyspace, path }
    }
}

impl Bulk for RawFjall {
    type Batch = Vec<User>;

    fn prepare(&self, users: Vec<User>) -> Self::Batch {
        users
    }

    fn upsert(&mut self, mut users: Self::Batch) {
        users.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let mut batch = self.db.batch().durability(Some(fjall::PersistMode::SyncAll));
        let (mut changes, now) = (false, now());
        for User { id, memory } in &users {
            let key = key(id);
            let stored = self.keyspace.get(&key).expect("read");
            let created = match stored.as_deref().map(|record| verified(&key, record)) {
                Some((_, stored)) if stored == memory => continue,
                Some((created, _)) => created,
                None => now,
            };
            let record = record(&key, created, now, memory);
            batch.insert(&self.keyspace, key, record);
            changes = true;
        }
        if changes {
            batch.commit().expect("stored");
        }
    }

    fn close(self) {}

    fn size(&self) -> u64 {
        bytes_at(&self.path)
    }
}

/// On the caller's thread.
impl Reads for RawFjall {
    async fn get(&self, id: String) {
        let key = key(&id);
        let record = self.keyspace.get(&key).expect("read").expect("there");
        std::hint::black_box((id, verified(&key, &record).1.to_owned()));
    }

    async fn list(&self, after: String) -> (usize, String) {
        let from = [&*key(&after), b"\0"].concat();
        let mut page = Vec::new();
        for entry in self.db.snapshot().range(&self.keyspace, from..key("\u{10FFFF}")).take(PAGE) {
            let (key, record) = entry.into_inner().expect("read");
            let id = std::str::from_utf8(&key[GURU.len()..]).expect("text").to_owned();
            page.push((id, verified(&key, &record).1.to_owned()));
        }
        let last = page.last().map(|(id, _)| id.clone()).unwrap_or_default();
        (std::hint::black_box(page).len(), last)
    }
}

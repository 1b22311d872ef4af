//! redb, written by hand.

use std::path::{Path, PathBuf};

use profile_store_meter::bulk::{Bulk, bytes_at};
use profile_store_meter::users::User;
use redb::{Database, ReadableTable as _, TableDefinition};

const PROFILES: TableDefinition<'_, (&str, &str), &str> = TableDefinition::new("profiles");

/// A transaction a batch, which redb syncs, and a look-up that finds what is unchanged.
pub struct Redb {
    database: Database,
    path: PathBuf,
}

impl Redb {
    pub fn open(directory: &Path) -> Self {
        let path = directory.join("profiles.redb");
        Self { database: Database::create(&path).expect("opened"), path }
    }
}

impl Bulk for Redb {
    type Batch = Vec<User>;

    fn prepare(&self, users: Vec<User>) -> Self::Batch {
        users
    }

    fn upsert(&mut self, mut users: Self::Batch) {
        users.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        let write = self.database.begin_write().expect("begun");
        let mut changes = false;
        {
            let mut table = write.open_table(PROFILES).expect("opened");
            for User { id, memory } in &users {
                let key = ("my-guru", id.as_str());
                if table.get(key).expect("read").is_some_and(|stored| stored.value() == memory) {
                    continue;
                }
                table.insert(key, memory.as_str()).expect("stored");
                changes = true;
            }
        }
        if changes { write.commit().expect("committed") } else { write.abort().expect("ended") }
    }

    fn close(self) {}

    fn size(&self) -> u64 {
        bytes_at(&self.path)
    }
}

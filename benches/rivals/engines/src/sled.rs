//! sled, written by hand, and by way of OpenDAL.

use std::fs::File;
use std::path::{Path, PathBuf};

use opendal::Operator;
use profile_store_meter::bulk::{Bulk, bytes_at};
use profile_store_meter::singles::Singles;
use profile_store_meter::users::User;

/// A batch, a flush, and a sync, as sled's flush alone survives no power cut.
#[derive(Clone)]
pub struct RawSled {
    tree: sled::Db,
    path: PathBuf,
}

fn key(id: &str) -> Vec<u8> {
    [b"my-guru\0", id.as_bytes()].concat()
}

impl RawSled {
    pub fn open(directory: &Path) -> Self {
        let path = directory.join("raw.sled");
        // Keeps values out of files that nobody syncs.
        let config = sled::Config::new().path(&path).segment_size(16 << 20);
        Self { tree: config.open().expect("opened"), path }
    }

    fn sync(&self) {
        self.tree.flush().expect("flushed");
        File::open(self.path.join("db")).and_then(|file| file.sync_data()).expect("synced");
    }
}

impl Bulk for RawSled {
    type Batch = Vec<User>;

    fn prepare(&self, users: Vec<User>) -> Self::Batch {
        users
    }

    fn upsert(&mut self, users: Self::Batch) {
        let mut batch = sled::Batch::default();
        for User { id, memory } in users {
            batch.insert(key(&id), memory.into_bytes());
        }
        self.tree.apply_batch(batch).expect("stored");
        self.sync();
    }

    fn close(self) {}

    fn size(&self) -> u64 {
        bytes_at(&self.path)
    }
}

impl Singles for RawSled {
    /// On tokio's threads for blocking calls: 64 tasks that awaited `flush_async` instead hung for ever.
    async fn upsert(&self, User { id, memory }: User) {
        let this = self.clone();
        let stored = tokio::task::spawn_blocking(move || {
            this.tree.insert(key(&id), memory.into_bytes()).expect("stored");
            this.sync();
        });
        stored.await.expect("stored");
    }
}

/// OpenDAL's sled service. It never flushes, so that `Ok` promises nothing.
#[derive(Clone)]
pub struct OpenDal {
    operator: Operator,
    path: PathBuf,
}

impl OpenDal {
    pub fn open(directory: &Path) -> Self {
        let path = directory.join("opendal.sled");
        let service = opendal::services::Sled::default().datadir(&path.display().to_string());
        Self { operator: Operator::new(service).expect("opened"), path }
    }
}

impl Bulk for OpenDal {
    type Batch = Vec<User>;

    fn prepare(&self, users: Vec<User>) -> Self::Batch {
        users
    }

    fn upsert(&mut self, users: Self::Batch) {
        pollster::block_on(async {
            for User { id, memory } in users {
                self.operator.write(&format!("my-guru/{id}"), memory.into_bytes()).await.expect("stored");
            }
        });
    }

    fn close(self) {}

    fn size(&self) -> u64 {
        bytes_at(&self.path)
    }
}

impl Singles for OpenDal {
    async fn upsert(&self, User { id, memory }: User) {
        self.operator.write(&format!("my-guru/{id}"), memory.into_bytes()).await.expect("stored");
    }
}

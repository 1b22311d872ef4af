//! The library itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use profile_store::{Batch, Guru, GuruSlug, Memory, ProfileStore, User as TypedUser};
use profile_store_meter::bulk::{Bulk, bytes_at};
use profile_store_meter::singles::Singles;
use profile_store_meter::users::{User, body};

pub fn guru() -> GuruSlug {
    GuruSlug::new("my-guru").expect("a valid slug")
}

pub fn typed(User { id, memory }: User) -> TypedUser {
    TypedUser::new(id, Memory::from_json(&memory).expect("an object"))
}

#[derive(Clone)]
pub struct Library {
    store: Arc<dyn ProfileStore>,
    guru: GuruSlug,
    path: PathBuf,
}

impl Library {
    pub fn open(scheme: &str, directory: &Path) -> Self {
        let path = directory.join("profiles");
        let url = match scheme {
            "memory" => "memory:".to_owned(),
            _ => format!("{scheme}:{}", path.display()),
        };
        Self { store: pollster::block_on(profile_store::open(&url)).expect("opened"), guru: guru(), path }
    }
}

/// Users handed over in Rust, with each user's outcome in Rust.
pub struct Rows(pub Library);

impl Bulk for Rows {
    type Batch = Vec<TypedUser>;

    fn prepare(&self, users: Vec<User>) -> Self::Batch {
        users.into_iter().map(typed).collect()
    }

    fn upsert(&mut self, batch: Self::Batch) {
        let report = pollster::block_on(self.0.store.upsert_batch(&self.0.guru, Batch::from_users(batch)));
        assert!(report.expect("stored").is_complete());
    }

    fn close(self) {
        pollster::block_on(self.0.store.close()).expect("closed");
    }

    fn size(&self) -> u64 {
        bytes_at(&self.0.path)
    }
}

/// From the bytes of the request to the bytes of the response.
pub struct Bodies(pub Library);

impl Bulk for Bodies {
    type Batch = String;

    fn prepare(&self, users: Vec<User>) -> Self::Batch {
        body(&users)
    }

    fn upsert(&mut self, batch: Self::Batch) {
        let report =
            pollster::block_on(Guru::new(&self.0.store, self.0.guru.clone()).upsert_json(batch.as_bytes()));
        let report = report.expect("stored");
        assert!(report.is_complete());
        std::hint::black_box(report.to_json());
    }

    fn close(self) {
        pollster::block_on(self.0.store.close()).expect("closed");
    }

    fn size(&self) -> u64 {
        bytes_at(&self.0.path)
    }
}

impl Library {
    /// For what it has no method for.
    pub fn parts(&self) -> (Arc<dyn ProfileStore>, GuruSlug) {
        (Arc::clone(&self.store), self.guru.clone())
    }
}

impl Singles for Library {
    async fn upsert(&self, user: User) {
        let report = Guru::new(&self.store, self.guru.clone()).upsert(typed(user)).await;
        assert!(report.expect("stored").is_complete());
    }
}

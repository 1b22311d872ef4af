//! The library itself.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use profile_store::{
    Batch, ExternalUserId, Guru, GuruSlug, ListOptions, Memory, ProfileStore, StoreOptions, User as TypedUser,
};
use profile_store_meter::bulk::{Bulk, bytes_at};
use profile_store_meter::reads::{PAGE, Reads};
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
        // The deepest queue takes longer than the default.
        let options = StoreOptions::default().with_busy_timeout(Duration::from_secs(60));
        let store = pollster::block_on(profile_store::open_with(&url, options)).expect("opened");
        Self { store, guru: guru(), path }
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
        Guru::new(&self.store, self.guru.clone()).upsert(typed(user)).await.expect("stored");
    }
}

impl Reads for Library {
    async fn get(&self, id: String) {
        let profile = Guru::new(&self.store, self.guru.clone()).get(&id).await;
        std::hint::black_box(profile.expect("read").expect("there"));
    }

    async fn list(&self, after: String) -> (usize, String) {
        let after = (!after.is_empty()).then(|| ExternalUserId::new(after).expect("an id"));
        let options = ListOptions::default().with_after(after).with_limit(PAGE);
        let page = self.store.list(&self.guru, &options).await.expect("a page");
        let last = page.next.as_ref().map(ToString::to_string).unwrap_or_default();
        (std::hint::black_box(page.profiles).len(), last)
    }
}

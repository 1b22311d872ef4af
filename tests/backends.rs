//! The conformance suite against every backend of the crate.

use std::sync::Arc;

use async_trait::async_trait;
use profile_store::conformance::Fixture;
use profile_store::{FjallStore, MemoryStore, ProfileStore, Result, SledStore, SqliteStore, StoreOptions};
use tempfile::TempDir;

struct InMemory;

#[async_trait]
impl Fixture for InMemory {
    async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
        Ok(Arc::new(MemoryStore::open_with(options)?))
    }

    fn is_persistent(&self) -> bool {
        false
    }
}

struct Sqlite(TempDir);

#[async_trait]
impl Fixture for Sqlite {
    async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
        Ok(Arc::new(SqliteStore::open_with(self.0.path().join("profiles.db"), options).await?))
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

struct Fjall(TempDir);

#[async_trait]
impl Fixture for Fjall {
    async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
        Ok(Arc::new(FjallStore::open_with(self.0.path().join("profiles.fjall"), options).await?))
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

struct Sled(TempDir);

#[async_trait]
impl Fixture for Sled {
    async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
        Ok(Arc::new(SledStore::open_with(self.0.path().join("profiles.sled"), options).await?))
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

fn directory() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

mod memory {
    profile_store::conformance_suite!(|| super::InMemory);
}

mod sqlite {
    profile_store::conformance_suite!(|| super::Sqlite(super::directory()));
}

mod fjall {
    profile_store::conformance_suite!(|| super::Fjall(super::directory()));
}

mod sled {
    profile_store::conformance_suite!(|| super::Sled(super::directory()));
}

//! The conformance suite against every backend of the crate.

use std::sync::Arc;

use async_trait::async_trait;
use profile_store::conformance::Fixture;
use profile_store::{ProfileStore, Result, StoreOptions, open_with};
use tempfile::TempDir;

/// Stores of this scheme: in memory, or in a directory of their own.
struct Opened(&'static str, TempDir);

#[async_trait]
impl Fixture for Opened {
    async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
        let url = match self.0 {
            "memory" => "memory:".to_owned(),
            scheme => format!("{scheme}:{}", self.1.path().join("profiles").display()),
        };
        open_with(&url, options).await
    }

    fn is_persistent(&self) -> bool {
        self.0 != "memory"
    }
}

fn opened(scheme: &'static str) -> Opened {
    Opened(scheme, TempDir::new().expect("a temporary directory"))
}

mod memory {
    profile_store::conformance_suite!(|| super::opened("memory"));
}

mod sqlite {
    profile_store::conformance_suite!(|| super::opened("sqlite"));
}

mod fjall {
    profile_store::conformance_suite!(|| super::opened("fjall"));
}

mod sled {
    profile_store::conformance_suite!(|| super::opened("sled"));
}

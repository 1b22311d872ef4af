//! Stores that hold another store.

use std::sync::Arc;

use crate::store::contract::ProfileStore;

/// Makes `$store`, one that holds another store, a store by forwarding every method to it.
macro_rules! forward {
    ($store:ty, |$this:ident| $target:expr $(, [$($generics:tt)*])?) => {
        #[deny(clippy::missing_trait_methods)]
        #[async_trait::async_trait]
        impl $(<$($generics)*>)? $crate::store::contract::ProfileStore for $store {
            fn limits(&self) -> &$crate::model::limits::Limits {
                let $this = self;
                $target.limits()
            }

            async fn apply(
                &self,
                guru: &$crate::model::name::GuruSlug,
                batch: $crate::plan::writes::Writes,
            ) -> $crate::model::error::Result<$crate::plan::change::Effects> {
                let $this = self;
                $target.apply(guru, batch).await
            }

            async fn get_many(
                &self,
                guru: &$crate::model::name::GuruSlug,
                ids: &[$crate::model::name::ExternalUserId],
            ) -> $crate::model::error::Result<Vec<Option<$crate::model::profile::Profile>>> {
                let $this = self;
                $target.get_many(guru, ids).await
            }

            async fn list(
                &self,
                guru: &$crate::model::name::GuruSlug,
                options: &$crate::store::list::ListOptions,
            ) -> $crate::model::error::Result<$crate::store::list::Page> {
                let $this = self;
                $target.list(guru, options).await
            }

            async fn count(&self, guru: &$crate::model::name::GuruSlug) -> $crate::model::error::Result<u64> {
                let $this = self;
                $target.count(guru).await
            }

            async fn gurus(
                &self,
                after: Option<&$crate::model::name::GuruSlug>,
                limit: usize,
            ) -> $crate::model::error::Result<Vec<$crate::model::name::GuruSlug>> {
                let $this = self;
                $target.gurus(after, limit).await
            }

            async fn delete_guru(&self, guru: &$crate::model::name::GuruSlug) -> $crate::model::error::Result<u64> {
                let $this = self;
                $target.delete_guru(guru).await
            }

            async fn stats(&self) -> $crate::model::error::Result<$crate::store::upkeep::Stats> {
                let $this = self;
                $target.stats().await
            }

            async fn compact(&self) -> $crate::model::error::Result<()> {
                let $this = self;
                $target.compact().await
            }

            async fn health(&self, probe: $crate::store::upkeep::Probe) -> $crate::model::error::Result<()> {
                let $this = self;
                $target.health(probe).await
            }

            async fn verify(&self) -> $crate::model::error::Result<$crate::store::upkeep::Verification> {
                let $this = self;
                $target.verify().await
            }

            async fn close(&self) -> $crate::model::error::Result<()> {
                let $this = self;
                $target.close().await
            }

            async fn upsert_batch(
                &self,
                guru: &$crate::model::name::GuruSlug,
                batch: $crate::admission::batch::Batch<'_>,
            ) -> $crate::model::error::Result<$crate::admission::report::UpsertReport> {
                let $this = self;
                $target.upsert_batch(guru, batch).await
            }

            async fn delete_many(
                &self,
                guru: &$crate::model::name::GuruSlug,
                ids: &[$crate::model::name::ExternalUserId],
            ) -> $crate::model::error::Result<Vec<bool>> {
                let $this = self;
                $target.delete_many(guru, ids).await
            }
        }
    };
}

#[cfg(any(feature = "sqlite", feature = "sled", feature = "postgres"))]
pub(crate) use forward;

forward!(Arc<S>, |store| (**store), [S: ProfileStore + ?Sized]);
forward!(Box<S>, |store| (**store), [S: ProfileStore + ?Sized]);
forward!(&S, |store| (**store), [S: ProfileStore + ?Sized]);

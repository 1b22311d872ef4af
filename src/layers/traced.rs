//! A store around a store that makes a span for each call.

use async_trait::async_trait;
use tracing::field::{Empty, debug as shown};
use tracing::{Instrument as _, Span, debug, info_span};

use crate::admission::batch::Batch;
use crate::admission::report::UpsertReport;
use crate::model::error::Result;
use crate::model::limits::Limits;
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::plan::change::{Effect, Effects};
use crate::plan::writes::Writes;
use crate::store::contract::ProfileStore;
use crate::store::list::ListOptions;
use crate::store::observe::Gauges;
use crate::store::page::Page;
use crate::store::upkeep::{Probe, Stats, Verification};

/// The target of all spans and events.
const TARGET: &str = "profile_store";

/// A store that makes a `tracing` span for each call of another one (feature `tracing`).
///
/// ```
/// use profile_store::{HasGurus, Memory, MemoryStore, Traced, User};
///
/// # pollster::block_on(async {
/// let store = Traced::new(MemoryStore::new());
/// store.guru("my-guru")?.upsert(User::new("ada", Memory::from_json("{}")?)).await?;
/// # Ok::<(), profile_store::Error>(())
/// # }).unwrap();
/// ```
///
/// A span has the name of the method, the level `INFO` and the target `profile_store`. It ends with the call. Its
/// fields follow OpenTelemetry's conventions for databases:
///
/// | field | of | meaning |
/// |---|---|---|
/// | `db.system.name` | all | `profile_store` |
/// | `db.operation.name` | all | the method |
/// | `db.operation.batch.size` | calls with users; `upsert_batch` only if it succeeds | how many users the call names |
/// | `db.response.returned_rows` | reads | profiles, or gurus, in the answer |
/// | `error.type` | calls that failed | the [`ErrorKind`](crate::ErrorKind) |
/// | `otel.status_code` | calls that failed | `ERROR` |
/// | `profile_store.bytes` | writes | about the bytes of the request |
/// | `profile_store.created`, `.updated`, `.unchanged`, `.failed`, `.deleted` | writes | how many of the users |
///
/// No span and no event holds a memory or an external user id ([O1](crate::contract#o1)). The guru's slug is in an event of level
/// `DEBUG` inside the span, as `db.namespace`: a subscriber that takes no more than `INFO` never gets it.
///
/// A call whose future is dropped ends its span without an answer's fields. [`gauges`](ProfileStore::gauges) and
/// [`limits`](ProfileStore::limits) make no span. Most events inside the engine are not part of a span, as writes share
/// transactions: [`trace_event`](crate::trace_event) hands them to `tracing`.
#[derive(Clone, Debug)]
pub struct Traced<S>(S);

impl<S: ProfileStore> Traced<S> {
    /// Makes spans of the calls to `store`, which may be an `Arc<dyn ProfileStore>`.
    pub fn new(store: S) -> Self {
        Self(store)
    }

    /// The store inside, for calls that are not of the trait. They make no span.
    pub fn store(&self) -> &S {
        &self.0
    }
}

/// The span of one call. Fields that its answer has are declared, and recorded later.
macro_rules! span {
    ($operation:literal $(, $field:literal)* $(,)?) => {
        info_span!(
            target: TARGET,
            $operation,
            "db.system.name" = "profile_store",
            "db.operation.name" = $operation,
            $($field = Empty,)*
            "error.type" = Empty,
            "otel.status_code" = Empty,
        )
    };
}

const USERS: &str = "db.operation.batch.size";
const ROWS: &str = "db.response.returned_rows";
const BYTES: &str = "profile_store.bytes";

/// Makes a call inside its span, and records what its answer comes to.
async fn within<T>(
    span: Span,
    guru: Option<&GuruSlug>,
    call: impl Future<Output = Result<T>> + Send,
    record: impl FnOnce(&Span, &T) + Send,
) -> Result<T> {
    if let Some(guru) = guru {
        span.in_scope(|| debug!(target: TARGET, { "db.namespace" = guru.as_str() }, "guru"));
    }
    let answer = call.instrument(span.clone()).await;
    match &answer {
        Ok(answer) => record(&span, answer),
        Err(error) => {
            span.record("error.type", shown(error.kind())).record("otel.status_code", "ERROR");
        }
    }
    answer
}

fn nothing<T>(_: &Span, _: &T) {}

fn rows(span: &Span, rows: usize) {
    span.record(ROWS, rows as u64);
}

fn deleted(span: &Span, deleted: u64) {
    span.record("profile_store.deleted", deleted);
}

#[async_trait]
#[deny(clippy::missing_trait_methods)]
impl<S: ProfileStore> ProfileStore for Traced<S> {
    fn limits(&self) -> &Limits {
        self.0.limits()
    }

    fn gauges(&self) -> Gauges {
        self.0.gauges()
    }

    async fn apply(&self, guru: &GuruSlug, writes: Writes) -> Result<Effects> {
        let span = span!(
            "apply",
            "db.operation.batch.size",
            "profile_store.bytes",
            "profile_store.created",
            "profile_store.updated",
            "profile_store.unchanged",
            "profile_store.deleted",
        );
        span.record(USERS, writes.len() as u64).record(BYTES, writes.bytes() as u64);
        within(span, Some(guru), self.0.apply(guru, writes), |span, effects| {
            let count = |effect| effects.effects().iter().filter(|&&other| other == effect).count() as u64;
            span.record("profile_store.created", count(Effect::Created))
                .record("profile_store.updated", count(Effect::Updated))
                .record("profile_store.unchanged", count(Effect::Unchanged));
            deleted(span, count(Effect::Deleted));
        })
        .await
    }

    async fn get_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<Option<Profile>>> {
        let span = span!("get_many", "db.operation.batch.size", "db.response.returned_rows");
        span.record(USERS, ids.len() as u64);
        within(span, Some(guru), self.0.get_many(guru, ids), |span, found| {
            rows(span, found.iter().flatten().count());
        })
        .await
    }

    async fn list(&self, guru: &GuruSlug, options: &ListOptions) -> Result<Page> {
        let span = span!("list", "db.response.returned_rows");
        within(span, Some(guru), self.0.list(guru, options), |span, page| rows(span, page.profiles.len()))
            .await
    }

    async fn count(&self, guru: &GuruSlug) -> Result<u64> {
        within(span!("count"), Some(guru), self.0.count(guru), nothing).await
    }

    async fn gurus(&self, after: Option<&GuruSlug>, limit: usize) -> Result<Vec<GuruSlug>> {
        let span = span!("gurus", "db.response.returned_rows");
        within(span, None, self.0.gurus(after, limit), |span, gurus| rows(span, gurus.len())).await
    }

    async fn delete_guru(&self, guru: &GuruSlug) -> Result<u64> {
        let span = span!("delete_guru", "profile_store.deleted");
        within(span, Some(guru), self.0.delete_guru(guru), |span, count| deleted(span, *count)).await
    }

    async fn stats(&self) -> Result<Stats> {
        within(span!("stats"), None, self.0.stats(), nothing).await
    }

    async fn compact(&self) -> Result<()> {
        within(span!("compact"), None, self.0.compact(), nothing).await
    }

    async fn health(&self, probe: Probe) -> Result<()> {
        within(span!("health"), None, self.0.health(probe), nothing).await
    }

    async fn verify(&self) -> Result<Verification> {
        within(span!("verify"), None, self.0.verify(), nothing).await
    }

    async fn close(&self) -> Result<()> {
        within(span!("close"), None, self.0.close(), nothing).await
    }

    async fn upsert_batch(&self, guru: &GuruSlug, batch: Batch<'_>) -> Result<UpsertReport> {
        let span = span!(
            "upsert_batch",
            "db.operation.batch.size",
            "profile_store.bytes",
            "profile_store.created",
            "profile_store.updated",
            "profile_store.unchanged",
            "profile_store.failed",
        );
        span.record(BYTES, batch.bytes() as u64);
        within(span, Some(guru), self.0.upsert_batch(guru, batch), |span, report| {
            let counts = report.counts();
            span.record(USERS, report.total_users() as u64)
                .record("profile_store.created", counts.created as u64)
                .record("profile_store.updated", counts.updated as u64)
                .record("profile_store.unchanged", counts.unchanged as u64)
                .record("profile_store.failed", counts.failed as u64);
        })
        .await
    }

    async fn delete_many(&self, guru: &GuruSlug, ids: &[ExternalUserId]) -> Result<Vec<bool>> {
        let span = span!("delete_many", "db.operation.batch.size", "profile_store.deleted");
        span.record(USERS, ids.len() as u64);
        within(span, Some(guru), self.0.delete_many(guru, ids), |span, found| {
            deleted(span, found.iter().filter(|found| **found).count() as u64);
        })
        .await
    }
}

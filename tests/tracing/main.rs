//! A subscriber of `tracing` gets spans of calls and events of the engine, and no name (O1).

use std::fmt::{self, Write as _};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use profile_store::conformance::Fixture;
use profile_store::{
    Batch, Error, ErrorKind, ExternalUserId, Guru, GuruSlug, ListOptions, Memory, Probe, ProfileStore,
    Result, StoreOptions, Traced, User, open_with, trace_event,
};
use tempfile::TempDir;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};

/// Stores of this scheme: in memory, or in a directory of their own.
struct Opened(&'static str, TempDir);

#[async_trait]
impl Fixture for Opened {
    async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
        let options = options.with_observer(trace_event);
        Ok(Arc::new(Traced::new(open_with(&url(&self.1, self.0), options).await?)))
    }

    fn is_persistent(&self) -> bool {
        self.0 != "memory"
    }
}

fn url(directory: &TempDir, scheme: &str) -> String {
    match scheme {
        "memory" => "memory:".to_owned(),
        _ => format!("{scheme}:{}", directory.path().join(scheme).display()),
    }
}

fn opened(scheme: &'static str) -> Opened {
    everything();
    Opened(scheme, TempDir::new().unwrap())
}

mod memory {
    profile_store::conformance_suite!(|| super::opened("memory"));
}

mod sqlite {
    profile_store::conformance_suite!(|| super::opened("sqlite"));
}

/// A subscriber that takes everything there is, each as a line that begins with its level.
#[derive(Clone, Default)]
struct Everything(Arc<Collected>);

#[derive(Default)]
struct Collected {
    lines: Mutex<Vec<(Level, String)>>,
    /// The level of each span. Ids count from 1.
    levels: Mutex<Vec<Level>>,
}

/// The subscriber of this process.
fn everything() -> &'static Everything {
    static EVERYTHING: OnceLock<Everything> = OnceLock::new();
    EVERYTHING.get_or_init(|| {
        let everything = Everything::default();
        tracing::subscriber::set_global_default(everything.clone()).unwrap();
        everything
    })
}

struct Line(String);

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

impl Everything {
    fn note(&self, level: Level, name: &str, visit: impl FnOnce(&mut Line)) {
        let mut line = Line(name.to_owned());
        visit(&mut line);
        self.0.lines.lock().unwrap().push((level, line.0));
    }

    /// The lines that hold `text`, and their levels.
    fn with(&self, text: &str) -> Vec<(Level, String)> {
        let lines = self.0.lines.lock().unwrap();
        lines.iter().filter(|(_, line)| line.contains(text)).cloned().collect()
    }
}

impl Subscriber for Everything {
    fn register_callsite(&self, _: &'static Metadata<'static>) -> Interest {
        Interest::always()
    }

    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let level = *span.metadata().level();
        self.note(level, span.metadata().name(), |line| span.record(line));
        let mut levels = self.0.levels.lock().unwrap();
        levels.push(level);
        Id::from_u64(levels.len() as u64)
    }

    fn record(&self, span: &Id, values: &Record<'_>) {
        let level = self.0.levels.lock().unwrap()[usize::try_from(span.into_u64()).unwrap() - 1];
        self.note(level, "recorded", |line| values.record(line));
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        self.note(*event.metadata().level(), event.metadata().target(), |line| event.record(line));
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

const MEMORY: &str = "secret-text";
const ID: &str = "secret-id";
const SLUG: &str = "secret-slug";

/// Every method of the trait, in its good and its bad ends.
async fn live(directory: &TempDir, scheme: &str) {
    let options = StoreOptions::default().with_busy_timeout(Duration::from_secs(1)).with_queue_bytes(1024);
    let store =
        Traced::new(open_with(&url(directory, scheme), options.with_observer(trace_event)).await.unwrap());
    let slug = GuruSlug::new(SLUG).unwrap();
    let body = format!(
        r#"{{"users":[{{"external_user_id":"{ID}-1","memory":{{"x":"{MEMORY}"}}}},{{"external_user_id":"{ID}-2"}}]}}"#
    );
    let report = store.upsert_batch(&slug, Batch::from_json(body.as_bytes())).await.unwrap();
    assert_eq!(report.processed_users(), 1);
    store.upsert_batch(&slug, Batch::from_json(&b"{\"users\":\"secret-text"[..])).await.unwrap_err();
    let guru = Guru::new(&store, slug.clone());
    let memory = || Memory::from_json(&format!(r#"{{"y":"{MEMORY}"}}"#)).unwrap();
    guru.upsert(User::new(format!("{ID}-1"), memory()).if_absent()).await.unwrap_err();
    guru.upsert(User::new(format!("{ID}-1"), memory()).merging()).await.unwrap();
    let profile = guru.get(&format!("{ID}-1")).await.unwrap().unwrap();
    // By way of `apply`.
    guru.restore(vec![profile]).await.unwrap();
    let options = ListOptions::default().with_prefix(ID);
    assert_eq!(store.list(&slug, &options).await.unwrap().profiles.len(), 1);
    assert_eq!(store.count(&slug).await.unwrap(), 1);
    assert_eq!(store.gurus(None, 10).await.unwrap(), std::slice::from_ref(&slug));
    store.stats().await.unwrap();
    let _ = (store.limits(), store.gauges());
    store.health(Probe::Write).await.unwrap();
    if scheme == "sqlite" {
        lock_and_damage(directory, &store, &slug).await;
    }
    let _ = store.verify().await.unwrap();
    // sled has none.
    let _ = store.compact().await;
    let ids = [format!("{ID}-1"), format!("{ID}-3")].map(|id| ExternalUserId::new(id).unwrap());
    store.delete_many(&slug, &ids).await.unwrap();
    guru.upsert(User::new(format!("{ID}-4"), memory())).await.unwrap();
    store.delete_guru(&slug).await.unwrap();
    store.close().await.unwrap();
    let error: Error = store.get_many(&slug, &ids).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
}

/// Errors that name the profile.
async fn lock_and_damage(directory: &TempDir, store: &impl ProfileStore, slug: &GuruSlug) {
    let foreign = rusqlite::Connection::open(directory.path().join("sqlite")).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let busy = store.delete_guru(slug).await.unwrap_err();
    assert_eq!(busy.kind(), ErrorKind::Busy);
    foreign.execute_batch("UPDATE profile SET memory = '{\"damaged\":\"secret-text\"}'; COMMIT").unwrap();
    let id = ExternalUserId::new(format!("{ID}-1")).unwrap();
    let damaged = store.get_many(slug, &[id]).await.unwrap_err();
    assert_eq!(damaged.kind(), ErrorKind::Corrupt);
}

#[test]
fn a_subscriber_gets_figures_and_no_name() {
    let everything = everything();
    let directory = TempDir::new().unwrap();
    for scheme in ["memory", "sqlite", "fjall", "sled"] {
        pollster::block_on(live(&directory, scheme));
    }
    for secret in [MEMORY, ID] {
        assert_eq!(everything.with(secret), [], "O1");
    }
    let slugs = everything.with(SLUG);
    assert!(slugs.len() > 20, "at debug level the slug is there");
    let louder: Vec<_> = slugs.iter().filter(|(level, _)| *level != Level::DEBUG).collect();
    assert!(louder.is_empty(), "O1: {louder:?}");

    let operations = [
        "upsert_batch",
        "apply",
        "get_many",
        "list",
        "count",
        "gurus",
        "delete_many",
        "delete_guru",
        "stats",
        "compact",
        "health",
        "verify",
        "close",
    ];
    for operation in operations {
        let spans = everything.with(&format!("db.operation.name={operation:?}"));
        assert!(spans.iter().all(|(level, _)| *level == Level::INFO), "{spans:?}");
        assert!(spans.iter().any(|(_, line)| line.starts_with(operation)), "no span of {operation}");
    }
    for silent in ["limits", "gauges"] {
        assert_eq!(everything.with(&format!("db.operation.name={silent:?}")), []);
    }
    for figure in [
        "db.operation.batch.size=2",
        "db.response.returned_rows=1",
        "profile_store.created=1",
        "profile_store.updated=1",
        "profile_store.unchanged=1",
        "profile_store.failed=1",
        "profile_store.deleted=1",
        "error.type=InvalidRequest",
        "error.type=Busy",
        "error.type=Corrupt",
        "error.type=Closed",
        "otel.status_code=\"ERROR\"",
        "message=opened",
        "message=committed",
        "message=timed out",
        "message=closed",
    ] {
        assert!(!everything.with(figure).is_empty(), "nothing says {figure}");
    }
}

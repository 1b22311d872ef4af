//! Through PgBouncer in transaction mode: a connection may be another one after every transaction.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use profile_store::conformance::{Fixture, run};
use profile_store::{
    ErrorKind, HasGurus as _, ListOptions, Outcome, PostgresStore, Probe, ProfileStore, Result, StoreOptions,
};

use crate::server::{Server, sql, try_sql, unprivileged, while_the_table_is_locked};
use crate::user;

struct Bouncer {
    process: Child,
    server: Server,
}

impl Bouncer {
    /// Fewer connections than a store has, so that they are shared.
    fn start() -> Self {
        let server = Server::start("");
        let directory = server.directory().display();
        let settings = format!(
            "[databases]\n* = host={directory} user=admin\n[pgbouncer]\nlisten_addr =\nlisten_port = 6432\n\
             unix_socket_dir = {directory}\nauth_type = any\npool_mode = transaction\ndefault_pool_size = 3\n\
             max_client_conn = 500\nlogfile = {directory}/pgbouncer.log\n"
        );
        let file = server.directory().join("pgbouncer.ini");
        fs::write(&file, settings).expect("a file");
        let mut command = Command::new("pgbouncer");
        if let Some(user) = unprivileged() {
            command.args(["--user", user]);
        }
        command.arg("--quiet").arg(file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{path}:/usr/sbin"));
        let process = command.spawn().expect("this test needs PgBouncer: apt-get install pgbouncer");
        let bouncer = Self { process, server };
        let started = Instant::now();
        while let Err(error) = try_sql(&bouncer.url("postgres"), "SELECT 1") {
            assert!(started.elapsed() < Duration::from_secs(30), "{error:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        bouncer
    }

    fn url(&self, database: &str) -> String {
        self.server.url(database).replacen(&format!("/{database}"), &format!(":6432/{database}"), 1)
    }
}

impl Drop for Bouncer {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = (self.process.kill(), self.process.wait());
    }
}

struct Pooled(Arc<Bouncer>, String);

#[async_trait]
impl Fixture for Pooled {
    async fn open(&self, options: StoreOptions) -> Result<Arc<dyn ProfileStore>> {
        Ok(Arc::new(PostgresStore::open_with(&self.0.url(&self.1), options).await?))
    }

    fn is_persistent(&self) -> bool {
        true
    }
}

#[test]
fn the_contract_holds_behind_a_pooler() {
    let bouncer = Arc::new(Bouncer::start());
    let databases = Arc::new(AtomicUsize::new(0));
    let make = move || {
        let name = format!("pooled_{}", databases.fetch_add(1, Ordering::SeqCst));
        sql(&bouncer.server.url("postgres"), &format!("CREATE DATABASE {name}"));
        Pooled(Arc::clone(&bouncer), name)
    };
    for check in [
        "the_response_is_the_documented_one",
        "a_retry_changes_nothing",
        "a_merge_patches_what_is_there",
        "no_concurrent_update_is_lost",
        "nobody_sees_half_a_batch",
        "a_dropped_future_leaves_all_or_nothing",
        "many_callers_are_served_at_once",
        "of_writers_at_once_one_creates",
        "of_deleters_at_once_one_is_told",
        "a_full_batch_is_one_batch",
        "get_many_answers_in_the_order_asked",
        "listing_is_stable_while_others_write",
        "deleting_tells_what_was_there",
        "gurus_are_those_with_profiles",
        "everything_is_there_after_reopening",
    ] {
        run(check, make.clone());
    }
}

/// P2: also of reads, for which the server has the limits of a session of its own.
#[test]
fn a_call_behind_a_held_table_is_told_in_its_time() {
    let bouncer = Bouncer::start();
    sql(&bouncer.server.url("postgres"), "CREATE DATABASE held");
    let options = crate::options().with_busy_timeout(Duration::from_secs(2));
    let store = pollster::block_on(PostgresStore::open_with(&bouncer.url("held"), options)).unwrap();
    pollster::block_on(async {
        let guru = store.guru("my-guru").unwrap();
        guru.upsert(user("ada", 1)).await.unwrap();
        while_the_table_is_locked(&bouncer.server.url("held"), || {
            let begun = Instant::now();
            pollster::block_on(async {
                for told in [
                    guru.get("ada").await.map(drop),
                    guru.list(&ListOptions::default()).await.map(drop),
                    guru.count().await.map(drop),
                    store.gurus(None, 10).await.map(drop),
                    store.stats().await.map(drop),
                    guru.upsert(user("ada", 2)).await.map(drop),
                    store.health(Probe::Read).await,
                ] {
                    assert_eq!(told.unwrap_err().kind(), ErrorKind::Busy);
                }
            });
            assert!(begun.elapsed() < Duration::from_secs(60), "{:?}", begun.elapsed());
        });
        assert_eq!(guru.count().await.unwrap(), 1);
        assert_eq!(guru.upsert(user("ada", 2)).await.unwrap(), Outcome::Updated);
    });
}

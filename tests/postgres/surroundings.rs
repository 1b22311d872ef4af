//! A server's surroundings: a full disk, and a primary that it follows.

use std::process::Command;
use std::time::Duration;

use profile_store::{
    ErrorKind, HasGurus as _, Memory, Outcome, PostgresStore, Probe, ProfileStore as _, User,
};

use crate::server::{Server, hand_over, run, sql, wait_until};
use crate::{guru, open, open_with, user};

/// A standby lags its primary, so a store that writes is not opened on one (S9). Once it is promoted, it is.
#[test]
fn a_standby_is_refused_until_it_is_promoted() {
    let primary = Server::start("");
    pollster::block_on(open(&primary.url("postgres")).guru("my-guru").unwrap().upsert(user("ada", 1)))
        .unwrap();
    let standby = primary.standby();
    assert_eq!(sql(&standby.url("postgres"), "SELECT pg_is_in_recovery()"), [["t"]]);
    let error = open_with(&standby.url("postgres"), Duration::from_secs(3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error:?}");
    // Nor is a server opened that refuses writes for another reason.
    let url = format!("{}?options=-c%20default_transaction_read_only%3Don", primary.url("postgres"));
    let error = open_with(&url, Duration::from_secs(3)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error:?}");
    let options = crate::options().with_read_only(true);
    let reading = pollster::block_on(PostgresStore::open_with(&standby.url("postgres"), options)).unwrap();
    assert_eq!(pollster::block_on(reading.count(&guru())).unwrap(), 1);
    assert!(pollster::block_on(reading.verify()).unwrap().is_sound());
    let error = pollster::block_on(reading.delete_guru(&guru())).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ReadOnly, "{error:?}");
    sql(&standby.url("postgres"), "SELECT pg_promote()");
    let store = open(&standby.url("postgres"));
    assert_eq!(
        pollster::block_on(store.guru("my-guru").unwrap().upsert(user("ada", 2))).unwrap(),
        Outcome::Updated
    );
}

/// Among several hosts the one that writes is used, for reads too, in whatever order they stand, and after it has
/// failed the one that is promoted in its place (S9).
#[test]
fn of_several_hosts_the_one_that_writes_is_used() {
    let primary = Server::start("");
    pollster::block_on(open(&primary.url("postgres")).guru("my-guru").unwrap().upsert(user("ada", 0)))
        .unwrap();
    let standby = primary.standby();
    // So that the standby never has what was just written.
    sql(&standby.url("postgres"), "SELECT pg_wal_replay_pause()");
    let hosts = [&standby, &primary].map(|server| server.directory().to_str().unwrap().replace('/', "%2F"));
    let store = open(&format!("postgres://admin@{}/postgres", hosts.join(",")));
    pollster::block_on(async {
        for n in 1..20 {
            store.guru("my-guru").unwrap().upsert(user("ada", n)).await.unwrap();
            let ada = store.guru("my-guru").unwrap().get("ada").await.unwrap().unwrap();
            assert_eq!(ada.memory.as_str(), format!(r#"{{"n":{n}}}"#));
        }
    });
    sql(&standby.url("postgres"), "SELECT pg_wal_replay_resume()");
    let replayed = "SELECT memory FROM profile_store.profile WHERE external_user_id = 'ada'";
    wait_until("the standby has followed", || sql(&standby.url("postgres"), replayed) == [[r#"{"n":19}"#]]);
    primary.crash();
    sql(&standby.url("postgres"), "SELECT pg_promote()");
    pollster::block_on(async {
        store.guru("my-guru").unwrap().upsert(user("ada", 20)).await.unwrap();
        let ada = store.guru("my-guru").unwrap().get("ada").await.unwrap().unwrap();
        assert_eq!(ada.memory.as_str(), r#"{"n":20}"#);
        store.health(Probe::Write).await.unwrap();
    });
}

/// A device that fills up: the batch that does not fit is an error and leaves no trace, and there is room
/// again for what fits.
#[test]
fn a_full_disk_is_a_typed_error() {
    let server = Server::start("");
    let device = SmallDevice::mount(&server, 24);
    let url = server.url("small");
    sql(&server.url("postgres"), &format!("CREATE TABLESPACE small LOCATION '{}'", device.path.display()));
    sql(&server.url("postgres"), "CREATE DATABASE small TABLESPACE small");
    let store = open(&url);
    // Random, so that the server can't compress it.
    let noise = |seed: u64| -> String {
        let mut state = seed;
        let mut digit = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            char::from(b"0123456789abcdef"[(state >> 60) as usize])
        };
        (0..100_000).map(|_| digit()).collect()
    };
    let batch = |n: u64| {
        let memory = |k| Memory::from_serialize(&serde_json::json!({ "noise": noise(n * 10 + k) })).unwrap();
        (0..10).map(|k| User::new(format!("{n:03}-{k}"), memory(k))).collect::<profile_store::Batch<'_>>()
    };
    pollster::block_on(async {
        let mut stored = 0;
        let error = loop {
            match store.upsert_batch(&guru(), batch(stored)).await {
                Ok(report) => assert!(report.is_complete()),
                Err(error) => break error,
            }
            stored += 1;
            assert!(stored < 100, "the device never fills up");
        };
        assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
        assert!(error.is_retryable() && format!("{error:?}").contains("53100"), "{error:?}");
        assert!(stored > 0);
        assert_eq!(store.count(&guru()).await.unwrap(), stored * 10);
        assert!(store.guru("my-guru").unwrap().get(&format!("{stored:03}-0")).await.unwrap().is_none());
        assert!(store.verify().await.unwrap().is_sound());
        device.resize(64);
        assert!(store.upsert_batch(&guru(), batch(stored)).await.unwrap().is_complete());
    });
    drop(store);
    // So that the server lets go of the device.
    sql(&server.url("postgres"), "DROP DATABASE small WITH (FORCE)");
    sql(&server.url("postgres"), "DROP TABLESPACE small");
}

/// A file system of so many MiB in memory.
struct SmallDevice {
    path: std::path::PathBuf,
}

impl SmallDevice {
    fn mount(server: &Server, mebibytes: usize) -> Self {
        let path = server.directory().join("small");
        std::fs::create_dir(&path).expect("a directory");
        let device = Self { path };
        run(as_root()
            .args(["mount", "-t", "tmpfs", "-o"])
            .arg(format!("size={mebibytes}m"))
            .arg("tmpfs")
            .arg(&device.path));
        hand_over(&device.path);
        device
    }

    fn resize(&self, mebibytes: usize) {
        run(as_root().args(["mount", "-o"]).arg(format!("remount,size={mebibytes}m")).arg(&self.path));
    }
}

impl Drop for SmallDevice {
    fn drop(&mut self) {
        // Lazily, as a server of a failed test may still hold files.
        run(as_root().args(["umount", "--lazy"]).arg(&self.path));
    }
}

/// Mounting takes root: by `sudo` where the tests are not.
fn as_root() -> Command {
    if crate::server::unprivileged().is_some() {
        return Command::new("env");
    }
    let mut command = Command::new("sudo");
    command.arg("--non-interactive");
    command
}

/// A copy of a store to itself is refused, by whatever name the server is reached.
#[cfg(feature = "cli")]
#[test]
fn one_database_is_recognised_under_two_names() {
    let server = Server::start("");
    let link = tempfile::tempdir().unwrap();
    let link = link.path().join("link");
    std::os::unix::fs::symlink(server.directory(), &link).unwrap();
    let by_link = |database: &str| {
        let sockets = link.to_str().unwrap().replace('/', "%2F");
        format!("postgres://admin@{sockets}/{database}")
    };
    let copy = |from: &str, to: &str| {
        let mut tool = Command::new(env!("CARGO_BIN_EXE_profiles"));
        let output = tool.args(["--store", from, "copy", to]).output().unwrap();
        (output.status.success(), String::from_utf8(output.stderr).unwrap())
    };
    sql(&server.url("postgres"), "CREATE DATABASE other");
    // Nothing is there yet: whatever is copied to is created, what is copied from is not.
    let (done, told) = copy(&server.url("postgres"), &by_link("other"));
    assert!(!done && !told.contains("to itself"), "{told}");
    let store = open(&server.url("postgres"));
    pollster::block_on(store.guru("my-guru").unwrap().upsert(user("ada", 1))).unwrap();
    for url in [server.url("postgres"), by_link("postgres")] {
        let (done, told) = copy(&server.url("postgres"), &url);
        assert!(!done && told.contains("can't be copied to itself"), "{url}: {told}");
    }
    let (done, told) = copy(&server.url("postgres"), &by_link("other"));
    assert!(done, "{told}");
    let copied = open(&server.url("other"));
    assert_eq!(pollster::block_on(copied.count(&guru())).unwrap(), 1);
    let ids = [&store, &copied].map(|store| pollster::block_on(store.database_id()).unwrap());
    assert_ne!(ids[0], ids[1]);
}

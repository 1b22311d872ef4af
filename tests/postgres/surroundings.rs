//! What surrounds a server: a full disk, and a primary that it follows.

use std::process::Command;
use std::thread::sleep;
use std::time::{Duration, Instant};

use profile_store::{Error, ErrorKind, HasGurus as _, Memory, Outcome, Probe, ProfileStore as _, User};

use crate::server::{Server, hand_over, run, sql};
use crate::{guru, open, open_with, user};

/// A standby: it serves reads, and writes are a typed error at once, until it is promoted.
#[test]
fn a_standby_serves_reads() {
    let primary = Server::start("");
    let upstream = open(&primary.url("postgres"));
    pollster::block_on(upstream.guru("my-guru").unwrap().upsert(user("ada", 1))).unwrap();
    sql(&primary.url("postgres"), "CREATE DATABASE empty");
    let standby = primary.standby();
    assert_eq!(sql(&standby.url("postgres"), "SELECT pg_is_in_recovery()"), [["t"]]);
    let store = open(&standby.url("postgres"));
    // Nothing of it was tried again for the store's patience.
    let refused = |error: &Error| {
        assert_eq!(error.kind(), ErrorKind::Storage, "{error:?}");
        assert!(format!("{error:?}").contains("25006"), "{error:?}");
        assert!(!error.to_string().contains("tried for"), "{error:?}");
    };
    pollster::block_on(async {
        let ada = store.guru("my-guru").unwrap().get("ada").await.unwrap();
        assert_eq!(ada, upstream.guru("my-guru").unwrap().get("ada").await.unwrap());
        assert!(ada.is_some() && store.verify().await.unwrap().is_sound());
        store.health(Probe::Read).await.unwrap();
        let same = store.guru("my-guru").unwrap().upsert(user("ada", 1)).await.unwrap();
        assert_eq!(same, Outcome::Unchanged, "what changes nothing needs no write");
        for error in [
            store.guru("my-guru").unwrap().upsert(user("ada", 2)).await.unwrap_err(),
            store.guru("my-guru").unwrap().delete("ada").await.unwrap_err(),
            store.delete_guru(&guru()).await.unwrap_err(),
            store.health(Probe::Write).await.unwrap_err(),
            store.compact().await.unwrap_err(),
        ] {
            refused(&error);
        }
    });
    // Nor are tables made there.
    refused(&open_with(&standby.url("empty"), Duration::from_secs(20)).unwrap_err());

    pollster::block_on(upstream.guru("my-guru").unwrap().upsert(user("bob", 1))).unwrap();
    let asked = Instant::now();
    while pollster::block_on(store.guru("my-guru").unwrap().get("bob")).unwrap().is_none() {
        assert!(asked.elapsed() < Duration::from_secs(60), "the standby does not follow");
        sleep(Duration::from_millis(10));
    }

    sql(&standby.url("postgres"), "SELECT pg_promote()");
    for (n, store) in [(2, store), (3, open(&standby.url("postgres")))] {
        let outcome = pollster::block_on(store.guru("my-guru").unwrap().upsert(user("ada", n))).unwrap();
        assert_eq!(outcome, Outcome::Updated, "an old handle and a new one find that it writes now");
    }
    let ada = pollster::block_on(upstream.guru("my-guru").unwrap().get("ada")).unwrap().unwrap();
    assert_eq!(ada.memory.as_str(), r#"{"n":1}"#, "it follows nobody any more");
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

//! A process killed while it writes loses nothing that it has acknowledged, and leaves no batch in
//! part (S1, S2). The process is the tool `profiles`, reading NDJSON.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use profile_store::{GuruSlug, ListOptions, ProfileStore as _};
use tempfile::TempDir;

/// Lines in a batch. The last one of each is bad, so that its result, printed once the batch is
/// durable, acknowledges the others.
const BATCH: usize = 10;
const GOOD: usize = BATCH - 1;

/// Feeds a process without end, kills it a little after it has acknowledged so many batches, and
/// reports how many it had acknowledged by then.
fn killed_after(url: &str, batches: usize, delay: Duration) -> usize {
    let mut child = Command::new(env!("CARGO_BIN_EXE_profiles"))
        .args(["--store", url, "upsert", "--guru", "g", "--ndjson", "--batch", "10", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    let feeder = std::thread::spawn(move || {
        for batch in 0.. {
            let good = (0..GOOD).map(|n| {
                let (at, filler) = (batch * GOOD + n, "x".repeat(200));
                format!("{{\"external_user_id\":\"{at:08}\",\"memory\":{{\"n\":{at},\"x\":\"{filler}\"}}}}\n")
            });
            let lines = good.collect::<String>() + "bad\n";
            // It fails once the process is gone.
            if input.write_all(lines.as_bytes()).is_err() {
                return;
            }
        }
    });
    let (acknowledge, acknowledged) = mpsc::channel();
    let output = BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        // A last line may be cut short by the kill.
        for line in output.lines().map_while(Result::ok).filter(|line| line.ends_with("]}")) {
            acknowledge.send(line).unwrap();
        }
    });
    for n in 0..batches {
        acknowledged
            .recv_timeout(Duration::from_secs(60))
            .unwrap_or_else(|_| panic!("no batch {n} in a minute"));
    }
    std::thread::sleep(delay);
    child.kill().unwrap();
    child.wait().unwrap();
    feeder.join().unwrap();
    reader.join().unwrap();
    batches + acknowledged.iter().count()
}

fn kill_again_and_again(scheme: &str) {
    let guru = GuruSlug::new("g").unwrap();
    for round in 0..10 {
        let directory = TempDir::new().unwrap();
        let url = format!("{scheme}:{}", directory.path().join("store").display());
        let mut acknowledged = 0;
        // The second kill may meet the recovery from the first, the third that of the second. The
        // first rounds are killed while they create their files.
        for kill in 0..3_u32 {
            let batches = [0, 0, 0, 1, 2, 5, 9, 30, 60, 100][round] * kill as usize;
            let delay = Duration::from_micros(400) * (1 + 3 * kill + u32::try_from(round * round).unwrap());
            acknowledged = acknowledged.max(killed_after(&url, batches, delay));
        }
        pollster::block_on(async {
            let store = profile_store::open(&url).await.unwrap();
            let count = usize::try_from(store.count(&guru).await.unwrap()).unwrap();
            assert_eq!(count % GOOD, 0, "a batch is there in part");
            assert!(
                count >= acknowledged * GOOD,
                "{count} profiles, {acknowledged} batches were acknowledged"
            );
            let (mut next, mut after) = (0, None);
            loop {
                let page = store.list(&guru, &ListOptions::default().with_after(after)).await.unwrap();
                for profile in &page.profiles {
                    assert_eq!(profile.external_user_id.as_str(), format!("{next:08}"));
                    next += 1;
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            assert_eq!(next, count);
        });
    }
}

#[test]
fn sqlite_loses_nothing_acknowledged() {
    kill_again_and_again("sqlite");
}

#[test]
fn fjall_loses_nothing_acknowledged() {
    kill_again_and_again("fjall");
}

#[test]
fn sled_loses_nothing_acknowledged() {
    kill_again_and_again("sled");
}

/// Re-sending what is stored writes nothing to the disk (S5): no file changes, in size or in time.
#[test]
fn a_retry_writes_nothing() {
    let guru = GuruSlug::new("g").unwrap();
    for scheme in ["sqlite", "fjall", "sled"] {
        let directory = TempDir::new().unwrap();
        let url = format!("{scheme}:{}", directory.path().join("store").display());
        let users: Vec<_> =
            (0..2000).map(|n| format!(r#"{{"external_user_id":"{n}","memory":{{"n":{n}}}}}"#)).collect();
        let body = format!(r#"{{"users":[{}]}}"#, users.join(","));
        pollster::block_on(async {
            use profile_store::Guru;
            let store = profile_store::open(&url).await.unwrap();
            assert!(
                Guru::new(&store, guru.clone()).upsert_json(body.as_bytes()).await.unwrap().is_complete()
            );
            let before = files(directory.path());
            // Longer than the grain of a file's time.
            std::thread::sleep(Duration::from_millis(30));
            for _ in 0..3 {
                assert_eq!(
                    Guru::new(&store, guru.clone())
                        .upsert_json(body.as_bytes())
                        .await
                        .unwrap()
                        .counts()
                        .unchanged,
                    2000
                );
            }
            assert_eq!(files(directory.path()), before, "{scheme}");
            assert!(
                Guru::new(&store, guru.clone())
                    .upsert_json(br#"{"users":[{"external_user_id":"0","memory":{}}]}"#)
                    .await
                    .unwrap()
                    .is_complete()
            );
            assert_ne!(files(directory.path()), before, "{scheme}: a change is seen");
        });
    }
}

/// Size and time of all files below, without SQLite's shared memory: that is no file to the disk.
fn files(directory: &Path) -> Vec<(PathBuf, u64, std::time::SystemTime)> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let metadata = path.metadata().unwrap();
        if metadata.is_dir() {
            all.extend(files(&path));
        } else if !path.to_string_lossy().ends_with("-shm") {
            all.push((path, metadata.len(), metadata.modified().unwrap()));
        }
    }
    all.sort();
    all
}

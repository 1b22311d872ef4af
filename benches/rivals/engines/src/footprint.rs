//! Memory: of a large body, and of an import without end.

use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use profile_store::{HasGurus as _, Limits, ProfileStore, StoreOptions};
use profile_store_meter::process::{forget_peak, resident};
use profile_store_meter::table::line;
use profile_store_meter::users::item;

use crate::nowhere::Nowhere;

/// The process's peak while a body of `users` users is stored and answered.
pub fn body(directory: &Path, store: &str, users: u64, padding: usize) {
    let path = directory.join("body.json");
    let mut file = BufWriter::new(File::create(&path).expect("a file"));
    file.write_all(br#"{"users":["#).expect("written");
    for n in 0..users {
        let comma = if n == 0 { "" } else { "," };
        write!(file, "{comma}{}", item(n, 0, padding)).expect("written");
    }
    file.write_all(b"]}").expect("written");
    drop(file);

    let limits = Limits::default().with_batch_items(users as usize);
    let options = StoreOptions::default().with_limits(limits);
    let opened: Box<dyn ProfileStore> = match store {
        "nowhere" => Box::new(Nowhere(limits)),
        "memory" => {
            Box::new(pollster::block_on(profile_store::open_with("memory:", options)).expect("opened"))
        }
        scheme => {
            let url = format!("{scheme}:{}", directory.join("profiles").display());
            Box::new(pollster::block_on(profile_store::open_with(&url, options)).expect("opened"))
        }
    };
    let body = std::fs::read(&path).expect("read");
    let body_bytes = body.len() as f64;
    forget_peak();
    let report = pollster::block_on(opened.guru("my-guru").unwrap().upsert_json(body)).expect("stored");
    assert!(report.is_complete());
    let response = report.to_json();
    let (_, peak) = resident("self").expect("this process");
    let workload = &format!("body {users} users");
    line(workload, store, "body MB", body_bytes / 1e6);
    line(workload, store, "response MB", response.len() as f64 / 1e6);
    line(workload, store, "peak MB", peak as f64 / 1e6);
    line(workload, store, "peak / body", peak as f64 / body_bytes);
    pollster::block_on(opened.close()).expect("closed");
}

/// Pipes users as NDJSON through the tool `profiles`, and watches its memory.
pub fn import(directory: &Path, tool: &Path, store: &str, users: u64, padding: usize) {
    let url = format!("{store}:{}", directory.join("imported").display());
    let mut command = Command::new(tool);
    command.args(["--store", &url, "upsert", "--guru", "my-guru", "--ndjson", "-"]);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::inherit()).spawn().expect("the tool");
    let process = child.id().to_string();
    let input = child.stdin.take().expect("piped");
    let start = Instant::now();
    let writer = thread::spawn(move || {
        let mut input = BufWriter::with_capacity(1 << 20, input);
        let mut bytes = 0;
        for n in 0..users {
            let item = item(n, 0, padding);
            bytes += item.len() as u64 + 1;
            writeln!(input, "{item}").expect("taken");
        }
        input.flush().expect("taken");
        bytes
    });
    let workload = "import";
    let mut ticks = 0_u32;
    // Every second is looked at, every tenth is reported.
    let mut last = 0;
    while let Some((now, peak)) = resident(&process) {
        last = peak;
        if ticks.is_multiple_of(10) {
            line(workload, store, &format!("resident MB after {ticks} s"), now as f64 / 1e6);
        }
        if child.try_wait().expect("a child").is_some() {
            break;
        }
        thread::sleep(Duration::from_secs(1));
        ticks += 1;
    }
    let bytes = writer.join().expect("no panic");
    assert!(child.wait().expect("a child").success());
    let time = start.elapsed().as_secs_f64();
    line(workload, store, "input GB", bytes as f64 / 1e9);
    line(workload, store, "peak MB", last as f64 / 1e6);
    line(workload, store, "users/s", users as f64 / time);
    line(workload, store, "input MB/s", bytes as f64 / 1e6 / time);
}

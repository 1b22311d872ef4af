//! Real power cuts: a file system on a loop device, shut down under a store that is being written.
//!
//! The file system forgets at once what it has not put on the device, and is mounted again, with its
//! own recovery. It takes root; where it can't run, it says so.

use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::child::{End, Job, Order, acknowledged, acknowledgements};
use crate::scratch::{Scratch, size};
use crate::workload::{Backend, scramble};

const WRITERS: u64 = 2;

/// `EXT4_IOC_SHUTDOWN`, `XFS_IOC_GOINGDOWN`: the same number.
const SHUTDOWN: libc::c_ulong = 0x8004_587D;
/// Neither data nor the journal is flushed before.
const NO_FLUSH: u32 = 2;

/// The least that xfs makes.
const MEBIBYTES: u64 = 320;

pub fn ext4(backend: Backend) {
    cuts(backend, "ext4", "-q -F -E lazy_itable_init=0,lazy_journal_init=0");
}

pub fn xfs(backend: Backend) {
    cuts(backend, "xfs", "-q -f");
}

fn cuts(backend: Backend, system: &str, options: &str) {
    let count = size(12, 200);
    let run = |(key, value): (&str, &str), count: u64| {
        let scratch = Scratch::new();
        let job = Job::new("device", backend, &scratch.path("files")).with(key, value);
        let job = job.with("system", system).with("options", options).with("cuts", count);
        match job.patience(Duration::from_secs(30 + 10 * count)).run() {
            End::Done(words) => words,
            other => panic!("{other:?}"),
        }
    };
    let words = run(("durability", "power-loss"), count);
    if let Some(reason) = words.get("did-not-run") {
        return crate::did_not_run(&format!("power cuts of {system}"), reason);
    }
    let number = |key: &str| words[key].parse::<u64>().unwrap();
    println!("  power cuts of {system}: {}, lost or torn {}", number("cuts"), number("lost"));
    assert_eq!((number("cuts"), number("lost")), (count, 0), "{}", words["first"]);
    // sled's own flush leaves out changes that show only once its file grows by a segment.
    let control = match backend {
        Backend::Sled => ("acknowledge", "early"),
        _ => ("durability", "process-crash"),
    };
    // If a dozen cuts notice nothing by chance, another dozen is made.
    let noticed = (0..5).any(|_| {
        let words = run(control, 12);
        println!("  control, {} {}: lost in {} of {}", control.0, control.1, words["lost"], words["cuts"]);
        words["lost"] != "0"
    });
    assert!(noticed, "a broken promise goes unnoticed");
}

fn tool(name: &str, arguments: &[&str]) -> Result<(), String> {
    match Command::new(name).args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(format!("{name}:{}", String::from_utf8_lossy(&output.stderr).trim())),
        Err(error) => Err(format!("{name}:{error}")),
    }
}

/// Makes the file system and mounts it where only this process and its children see it.
fn prepare(order: &Order, image: &str, target: &str) -> Result<(), String> {
    crate::volume::own_mounts().map_err(|error| format!("unshare:{error}"))?;
    let system = order.text("system").unwrap();
    File::create(image).unwrap().set_len(MEBIBYTES << 20).unwrap();
    let mut arguments: Vec<&str> = order.text("options").unwrap().split(' ').collect();
    arguments.push(image);
    tool(&format!("mkfs.{system}"), &arguments)?;
    tool("mount", &["-o", "loop", image, target])
}

pub fn child(order: &Order) {
    let target = order.directory.to_str().unwrap().to_owned();
    let image = format!("{target}.image");
    if let Err(reason) = prepare(order, &image, &target) {
        return println!("did-not-run={}", reason.replace(char::is_whitespace, "_"));
    }
    let (mut lost, mut first) = (0, "none".to_owned());
    let cuts = order.number("cuts").unwrap();
    for cut in 0..cuts {
        if let Err(reason) = power_cut(order, &image, &target, cut) {
            lost += 1;
            first = format!("cut_{cut}:{}", reason.replace(char::is_whitespace, "_"));
            eprintln!("{first}");
        }
    }
    tool("umount", &[&target]).unwrap();
    println!("cuts={cuts} lost={lost} first={first}");
}

/// Cuts the power under a writer, after some acknowledgements, and verifies what is left.
fn power_cut(order: &Order, image: &str, target: &str, cut: u64) -> Result<(), String> {
    for entry in fs::read_dir(target).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { fs::remove_dir_all(path).unwrap() } else { fs::remove_file(path).unwrap() }
    }
    // Otherwise the cut might bring them back.
    assert_eq!(unsafe { libc::syncfs(File::open(target).unwrap().as_raw_fd()) }, 0);
    let _ = fs::remove_file(acknowledgements(&order.directory));
    let job = Job::new("work", order.backend, &order.directory).with("writers", WRITERS);
    let job = job
        .with("steps", 1_000_000)
        .with("durability", order.text("durability").unwrap_or("power-loss"))
        .with("acknowledge", order.text("acknowledge").unwrap_or("when-stored"));
    let told = std::thread::scope(|scope| {
        let worker = scope.spawn(|| job.run());
        // The first cuts hit the creation of the files.
        let wanted = scramble(cut) % 60;
        let start = Instant::now();
        while cut > 3 && acknowledged(&order.directory, WRITERS).iter().sum::<u64>() < wanted {
            assert!(start.elapsed() < Duration::from_secs(60), "nothing is acknowledged");
            std::thread::sleep(Duration::from_millis(1));
        }
        std::thread::sleep(Duration::from_micros(scramble(cut ^ 7) % 20_000));
        // Only what was told before the cut counts.
        let told = acknowledged(&order.directory, WRITERS);
        let directory = File::open(target).unwrap();
        let down = unsafe { libc::ioctl(directory.as_raw_fd(), SHUTDOWN, &NO_FLUSH) };
        assert_eq!(down, 0, "{}", std::io::Error::last_os_error());
        // The worker's next operation fails; it ends by a panic.
        let end = worker.join().unwrap();
        assert!(matches!(end, End::Failed(_)), "{end:?}");
        told
    });
    // Steps acknowledged while the power went off may be there too.
    let later = acknowledged(&order.directory, WRITERS);
    let slack = told.iter().zip(&later).map(|(told, later)| later - told).max().unwrap();
    write_acknowledgements(&order.directory, &told);
    tool("umount", &[target]).unwrap();
    tool("mount", &["-o", "loop", image, target])?;
    match Job::new("verify", order.backend, &order.directory)
        .with("writers", WRITERS)
        .with("slack", slack)
        .run()
    {
        End::Done(_) => Ok(()),
        other => Err(format!("told {told:?}, {other:?}")),
    }
}

fn write_acknowledgements(directory: &Path, steps: &[u64]) {
    let lines = (0..).zip(steps).map(|(writer, steps): (u64, _)| format!("{writer} {steps}\n"));
    fs::write(acknowledgements(directory), lines.collect::<String>()).unwrap();
}

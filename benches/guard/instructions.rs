//! Instructions, counted by valgrind's callgrind over the whole process that does the work.

use std::path::Path;
use std::process::Command;
use std::{env, fs};

use crate::record::Figures;
use crate::work::{ALL, Work};

pub fn measure(figures: &mut Figures) {
    for work in ALL {
        let directory = tempfile::tempdir().expect("a directory");
        work.prepare(directory.path());
        figures.set(work.name, "instructions", count(work, directory.path()));
    }
}

fn count(work: &Work, directory: &Path) -> u64 {
    let out = directory.join("callgrind.out");
    let output = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--callgrind-out-file={}", out.display()))
        .arg(env::current_exe().expect("this program"))
        .args(["--work", work.name])
        .arg(directory)
        // A longer environment is more to copy, and a variable can change what a library does.
        .env_clear()
        .output()
        .unwrap_or_else(|error| panic!("valgrind can't be started, is it installed? {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{} failed under valgrind:\n{said}", work.name);
    let counted = fs::read_to_string(out).expect("callgrind's output");
    let total = counted.lines().find_map(|line| line.strip_prefix("totals:")).expect("a total");
    total.trim().parse().expect("a number")
}

//! Group commit as the library has it, its locks and threads taken by shuttle's: for `schedules.rs`.

use std::path::Path;
use std::{env, fs};

fn main() {
    let workers = under_shuttle("engine/workers");
    for name in ["group_commit", "breaker", "room"] {
        write(&format!("{name}.rs"), &under_shuttle(&format!("engine/{name}")));
    }
    write("shield.rs", &under_shuttle("admission/shield"));
    write("observe.rs", &under_shuttle("store/observe"));
    write("workers.rs", &workers);
    // Controls: what shuttle must find.
    write(
        "lost_wakeup.rs",
        &change(&workers, "self.ready.wait(state)", "{ drop(state); self.ready.wait(self.lock()) }"),
    );
    write(
        "late_push.rs",
        &change(&workers, "if !state.open {\n            return Err", "if false {\n            return Err"),
    );
    write("false_busy.rs", &change(&workers, "job.is_some()\n", "job.is_some() || number % 2 == 0\n"));
}

fn under_shuttle(name: &str) -> String {
    let path = format!("../../src/{name}.rs");
    println!("cargo::rerun-if-changed={path}");
    let text = fs::read_to_string(&path).expect("the library's source");
    // Documentation of a module can't be included.
    let lines = text.lines().filter(|line| !line.starts_with("//!"));
    let text = lines
        .collect::<Vec<_>>()
        .join("\n")
        .replace("crate::", "super::super::")
        .replace("pub(crate)", "pub");
    // Tests of the library's own are not for here, and what is set once needs no schedule.
    let text = text.split("#[cfg(test)]\nmod tests {").next().expect("the text before them");
    text.replace("std::sync::{Arc, OnceLock}", "std::{sync::Arc, sync::OnceLock}")
        .replace("std::sync::", "shuttle::sync::")
        .replace("std::thread", "shuttle::thread")
}

fn change(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from:?} stands once in the library's source");
    text.replace(from, to)
}

fn write(name: &str, text: &str) {
    let directory = env::var_os("OUT_DIR").expect("cargo sets it");
    fs::write(Path::new(&directory).join(name), text).expect("a file");
}

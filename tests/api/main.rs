//! Compares the public API with `public-api.txt`, so that every change of it is seen in review.
//!
//! ```text
//! cargo run              fails on a difference, and prints it
//! cargo run -- --accept  writes the text anew
//! ```
//!
//! rustdoc's JSON is not stable: its version is that of the compiler which `public-api` in `Cargo.lock` knows.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::{env, fs};

fn main() -> ExitCode {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| here.join("../../target"), PathBuf::from);
    let mut rustdoc = Command::new(env!("CARGO"));
    rustdoc.current_dir(here.join("../..")).env("RUSTC_BOOTSTRAP", "1").env("CARGO_TARGET_DIR", &target);
    rustdoc.args(["rustdoc", "--quiet", "--lib", "--all-features", "--"]);
    rustdoc.args(["-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"]);
    assert!(rustdoc.status().expect("cargo").success(), "rustdoc failed");
    let api = public_api::Builder::from_rustdoc_json(target.join("doc/profile_store.json"))
        .omit_blanket_impls(true)
        .omit_auto_trait_impls(true)
        .build()
        .unwrap_or_else(|error| panic!("{error}: take the version of public-api that knows this compiler"));
    let now = api.to_string();
    let path = here.join("public-api.txt");
    if env::args().any(|argument| argument == "--accept") {
        fs::write(path, now).expect("room for the text");
        return ExitCode::SUCCESS;
    }
    let before = fs::read_to_string(path).expect("the reviewed text");
    let [old, new]: [BTreeSet<&str>; 2] = [&before, &now].map(|text| text.lines().collect());
    old.difference(&new).for_each(|line| println!("- {line}"));
    new.difference(&old).for_each(|line| println!("+ {line}"));
    if before == now {
        return ExitCode::SUCCESS;
    }
    println!(
        "The public API has changed. If that is meant, `cargo run -- --accept` here and review the text."
    );
    ExitCode::FAILURE
}

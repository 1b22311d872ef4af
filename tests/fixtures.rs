//! Stores that an earlier version wrote: `fixtures/README.md` says how (S13).

#[path = "fixtures/check.rs"]
mod check;

use std::fs;
use std::path::Path;
use std::process::Command;

use profile_store::StoreOptions;

use check::{check, fixture};

/// Sparse files are packed.
fn unpack(name: &str, to: &Path) {
    let unpacked = Command::new("tar").arg("-xzf").arg(fixture(name)).current_dir(to).status().unwrap();
    assert!(unpacked.success(), "tar has unpacked {name}");
}

#[test]
fn sqlite_opens_v1() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("profiles.db");
    fs::copy(fixture("v1/profiles.db"), &path).unwrap();
    check(&format!("sqlite:{}", path.display()), StoreOptions::default());
}

#[test]
fn fjall_opens_v1() {
    let directory = tempfile::tempdir().unwrap();
    unpack("v1/fjall.tar.gz", directory.path());
    check(&format!("fjall:{}/fjall", directory.path().display()), StoreOptions::default());
}

#[test]
fn sled_opens_v1() {
    let directory = tempfile::tempdir().unwrap();
    unpack("v1/sled.tar.gz", directory.path());
    check(&format!("sled:{}/sled", directory.path().display()), StoreOptions::default());
}

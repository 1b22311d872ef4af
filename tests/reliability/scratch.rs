//! Room for files, in memory where there is some; and how much is to be done.

use std::fs;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// A directory that goes with it.
pub struct Scratch(TempDir);

impl Scratch {
    pub fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        Self(tempfile::Builder::new().prefix("reliability-").tempdir_in(parent).unwrap())
    }

    /// A new, empty directory in it.
    pub fn path(&self, name: &str) -> PathBuf {
        let path = self.0.path().join(name);
        if path.exists() {
            fs::remove_dir_all(&path).unwrap();
        }
        fs::create_dir(&path).unwrap();
        path
    }
}

/// Makes `to` a copy of the directory `from`, holes included.
pub fn copy(from: &Path, to: &Path) {
    if to.exists() {
        fs::remove_dir_all(to).unwrap();
    }
    fs::create_dir(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (from, to) = (entry.as_ref().unwrap().path(), to.join(entry.as_ref().unwrap().file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

/// Syncs all that is there, names included.
pub fn sync_tree(path: &Path) {
    if path.is_dir() {
        fs::read_dir(path).unwrap().for_each(|entry| sync_tree(&entry.unwrap().path()));
    }
    fs::File::open(path).unwrap().sync_all().unwrap();
}

/// How much to do: a slice, or with `RELIABILITY=full` all of it.
pub fn size(slice: u64, full: u64) -> u64 {
    match std::env::var("RELIABILITY") {
        Ok(value) if value == "full" => full,
        Ok(value) if value != "slice" => panic!("RELIABILITY is `slice` or `full`, not {value:?}"),
        _ => slice,
    }
}

/// `count` numbers up to `total`, evenly, and `total` itself: each one where there are fewer.
pub fn spread(total: u64, count: u64) -> impl Iterator<Item = u64> {
    let count = count.min(total);
    (1..=count).map(move |n| n * total / count)
}

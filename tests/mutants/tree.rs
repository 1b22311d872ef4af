//! A copy of the repository with mutants in it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use crate::catalogue::Mutant;

fn root() -> PathBuf {
    fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")).expect("the repository")
}

/// The target directory that the tests use without mutants, so that dependencies are built once.
pub fn target_of(reliability: bool) -> PathBuf {
    let own = if reliability { "tests/reliability/target" } else { "target" };
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join(own), PathBuf::from)
}

/// The directory of the copies and the logs of the tests.
pub fn mutants() -> PathBuf {
    target_of(false).join("mutants")
}

/// Mutants that can share a copy, for each copy: each finds its text once beside the others.
pub fn rounds(mut left: Vec<Mutant>) -> Vec<Vec<Mutant>> {
    let mut rounds = Vec::new();
    while !left.is_empty() {
        let mut texts = BTreeMap::new();
        let (round, rest): (Vec<_>, Vec<_>) = left.into_iter().partition(|mutant| insert(&mut texts, mutant));
        assert!(!round.is_empty(), "{}: its text does not stand once in {}", rest[0].name, rest[0].file);
        rounds.push(round);
        left = rest;
    }
    rounds
}

/// Changes the text of the mutant's file; `false` if that does not hold what it looks for once.
fn insert(texts: &mut BTreeMap<String, String>, mutant: &Mutant) -> bool {
    let text = texts.entry(mutant.file.clone()).or_insert_with(|| {
        fs::read_to_string(root().join(&mutant.file))
            .unwrap_or_else(|error| panic!("{}: {error}", mutant.name))
    });
    if text.matches(&mutant.find).count() != 1 {
        return false;
    }
    let switch = format!("std::env::var_os(\"MUTANT\").is_some_and(|name| name == \"{}\")", mutant.name);
    *text = text.replace(&mutant.find, &mutant.replace.replace("MUTANT", &switch));
    true
}

/// Writes the copy, and returns where it is. Files that are there already keep their times, so that
/// cargo builds only what has changed.
pub fn write(number: usize, round: &[Mutant]) -> PathBuf {
    let mut texts = BTreeMap::new();
    for mutant in round {
        assert!(insert(&mut texts, mutant), "{} found its text before", mutant.name);
    }
    let tree = mutants().join(number.to_string());
    copy(&root(), &tree, &|path| {
        let name = path.strip_prefix(root()).expect("below it").to_str().expect("a name in UTF-8");
        texts.get(name).map(|text| text.clone().into_bytes())
    });
    tree
}

fn copy(from: &Path, to: &Path, changed: &dyn Fn(&Path) -> Option<Vec<u8>>) {
    fs::create_dir_all(to).expect("a directory");
    for (name, path) in entries(from) {
        let to = to.join(&name);
        if name == "target" || name == ".git" {
            continue;
        }
        if path.is_dir() {
            copy(&path, &to, changed);
            continue;
        }
        let bytes = changed(&path).unwrap_or_else(|| fs::read(&path).expect("a file"));
        if fs::read(&to).ok().as_ref() != Some(&bytes) {
            fs::write(to, bytes).expect("room for the copy");
        }
    }
    for (name, path) in entries(to) {
        if !from.join(name).exists() {
            let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
            removed.expect("a copy of ours");
        }
    }
}

fn entries(directory: &Path) -> Vec<(OsString, PathBuf)> {
    let entries = fs::read_dir(directory).expect("a directory").map(|entry| entry.expect("an entry"));
    entries.map(|entry| (entry.file_name(), entry.path())).collect()
}

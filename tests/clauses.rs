//! The contract can be looked up: each clause number in the public documentation leads to its clause.

use std::fs;
use std::path::{Path, PathBuf};

const CONTRACT: &str = include_str!("../src/guide/contract.md");

fn files(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

/// The doc comments of a file that rustdoc shows: those of the crate, and of what is public in name. `outer` is the item at the
/// left margin: members of a public trait or enum are as public as it is.
fn public_docs(text: &str, is_crate: bool) -> Vec<String> {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let (mut docs, mut doc, mut outer) = (Vec::new(), String::new(), "");
    for line in text.lines() {
        let code = line.trim_start();
        if let Some(words) = code.strip_prefix("///").or(code.strip_prefix("//!").filter(|_| is_crate)) {
            doc.push_str(words);
            doc.push('\n');
            continue;
        }
        if code.starts_with("#[") || code.starts_with(")]") {
            continue;
        }
        let is_member =
            code.len() < line.len() && (outer.starts_with("pub trait") || outer.starts_with("pub enum"));
        if code.starts_with("pub ") || is_member || code.is_empty() {
            docs.push(std::mem::take(&mut doc));
        }
        doc.clear();
        if line.starts_with(char::is_alphabetic) {
            outer = line;
        }
    }
    docs
}

/// The clause numbers in a text, code aside, each with what stands before and after it.
fn numbers(doc: &str) -> Vec<(&str, &str, &str)> {
    let (mut found, mut is_code) = (Vec::new(), false);
    for line in doc.lines() {
        is_code ^= line.trim_start().starts_with("```");
        for (at, letter) in line.char_indices().filter(|(_, c)| !is_code && "RAWSLPO".contains(*c)) {
            let (before, rest) = line.split_at(at);
            let digits = rest[1..].find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len() - 1);
            let (number, after) = rest.split_at(1 + digits);
            let is_word = |c: char| c.is_alphanumeric() || c == '_';
            let is_quoted = !before.matches('`').count().is_multiple_of(2);
            if digits > 0 && !is_quoted && !before.ends_with(is_word) && !after.starts_with(is_word) {
                assert!(letter.is_ascii());
                found.push((before, number, after));
            }
        }
    }
    found
}

/// Finds clause numbers in a doc comment that have no link.
fn unlinked(doc: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for (before, number, after) in numbers(doc) {
        let anchor = format!("contract#{}", number.to_lowercase());
        let inline = [format!("]({anchor})"), format!("](crate::{anchor})")];
        let defined = after.starts_with(']') && doc.contains(&format!("[{number}]: crate::{anchor}\n"));
        if !before.ends_with('[') || !(defined || inline.iter().any(|link| after.starts_with(link))) {
            wrong.push(format!("{number} has no link: {}{number}{after}", before.trim_start()));
        }
        if !CONTRACT.contains(&format!("\n### {number}\n")) {
            wrong.push(format!("{number} is no clause: {}{number}{after}", before.trim_start()));
        }
    }
    wrong
}

#[test]
fn every_clause_number_in_the_public_docs_is_a_link() {
    let (mut sources, mut wrong, mut seen) = (Vec::new(), Vec::new(), 0);
    files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut sources);
    for path in sources {
        let text = fs::read_to_string(&path).unwrap();
        for doc in public_docs(&text, path.ends_with("src/lib.rs")) {
            seen += numbers(&doc).len();
            wrong.extend(unlinked(&doc).into_iter().map(|wrong| format!("{}: {wrong}", path.display())));
        }
    }
    assert!(seen > 100, "the test sees the numbers: {seen}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_number_without_its_link_is_found() {
    let docs = public_docs(
        "/// Kept (S5).\n#[must_use]\npub struct A {\n    /// S6.\n    hidden: u8,\n}\n/// S7.\nfn b() {}\n",
        false,
    );
    assert_eq!(docs, [" Kept (S5).\n"]);
    for (doc, found) in [
        ("Kept (S5).\n", 1),
        ("Kept ([S5](crate::contract#s5)), by `S5` and AS5, S5x, S.\n```\nS5\n```\n", 0),
        ("Kept ([S5](crate::contract#s6)).\n", 1),
        ("Kept ([S5]).\n", 1),
        ("Kept ([S5]).\n\n[S5]: crate::contract#s5\n", 0),
        ("Kept ([S99](crate::contract#s99)).\n", 1),
    ] {
        assert_eq!(unlinked(doc).len(), found, "{doc}");
    }
}

//! The order of the house: which file may import which. DESIGN.md draws it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// The wings, from the ground up: a file imports from its own wing and from those before it.
const WINGS: [&str; 10] = [
    "json",
    "model",
    "plan",
    "admission",
    "store",
    "engine",
    "backends",
    "transfer",
    "layers",
    "conformance",
];

/// The front door: what may import from every wing, and nobody imports.
const FRONT: [&str; 3] = ["lib", "open", "guide"];

/// The library.
const LIBRARY: &str = "src";

/// The tool, a crate of its own, which has only the public API.
const TOOL: &str = "src/bin/profiles";

/// Each file's module path below the crate's root, and the text that is compiled without tests.
fn sources(root: &str) -> BTreeMap<String, String> {
    fn walk(directory: &Path, module: &str, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let below = if module.is_empty() { name.to_owned() } else { format!("{module}::{name}") };
            if path.is_dir() {
                walk(&path, &below, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = if name == "mod" { module.to_owned() } else { below };
                found.insert(module, without_tests(&fs::read_to_string(&path).unwrap()));
            }
        }
    }
    let mut found = BTreeMap::new();
    walk(&Path::new(env!("CARGO_MANIFEST_DIR")).join(root), "", &mut found);
    // The library's folder holds the tool's.
    found.retain(|module, _| !module.starts_with("bin"));
    found
}

/// The text without comments and without the module of tests, which ends a file. `cargo fmt` sees to the rest.
fn without_tests(text: &str) -> String {
    let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    code.lines().map(|line| line.split("//").next().unwrap()).collect::<Vec<_>>().join("\n")
}

/// Every path that begins with `crate` or `super`, in full, as far as it is written in one piece.
fn paths(module: &str, text: &str) -> BTreeSet<String> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = BTreeSet::new();
    for start in ["crate::", "super::"] {
        for (at, _) in text.match_indices(start) {
            // A later part of a path that is found from its beginning, or a name that an exported macro writes
            // for its callers.
            let before = &text[..at];
            if before.ends_with([':', '_']) || before.ends_with(is_name) || before.ends_with("$dollar ") {
                continue;
            }
            let path: String = text[at..].chars().take_while(|&c| is_name(c) || c == ':').collect();
            // A macro's own, made of its arguments: they are declared, and so imported, elsewhere.
            if text[at + path.len()..].starts_with('$') {
                continue;
            }
            let mut base: Vec<&str> =
                if start == "crate::" { Vec::new() } else { module.split("::").collect() };
            let mut rest = path.strip_prefix("crate::").unwrap_or(&path);
            while let Some(above) = rest.strip_prefix("super::") {
                base.pop();
                rest = above;
            }
            let group = text[at + path.len()..].strip_prefix('{').and_then(|rest| rest.split('}').next());
            let names =
                group.filter(|_| path.ends_with("::")).map_or(vec![""], |names| names.split(',').collect());
            for name in names {
                let name: String = name.trim().chars().take_while(|&c| is_name(c) || c == ':').collect();
                let full = [&base.join("::"), rest.trim_end_matches("::"), &name].map(str::to_owned);
                found.insert(full.into_iter().filter(|part| !part.is_empty()).collect::<Vec<_>>().join("::"));
            }
        }
    }
    found
}

/// The imports of each file, and every path that leads to no file, or through a `mod.rs`.
fn imports(root: &str) -> (BTreeMap<String, BTreeSet<String>>, Vec<String>) {
    let sources = sources(root);
    let (mut imports, mut wrong) = (BTreeMap::new(), Vec::new());
    for (module, text) in &sources {
        // A `mod.rs` stands above its files: `super` of these is its own path.
        let mut imported = BTreeSet::new();
        for path in paths(module, text) {
            let parts: Vec<_> = path.split("::").collect();
            let file = (1..=parts.len())
                .rev()
                .map(|n| parts[..n].join("::"))
                .find(|file| sources.contains_key(file));
            match file {
                Some(file) if sources.keys().any(|other| other.starts_with(&format!("{file}::"))) => {
                    wrong.push(format!("{module} imports {path}, through a mod.rs"));
                }
                Some(file) if file != *module => drop(imported.insert(file)),
                Some(_) => {}
                None => wrong.push(format!("{module} imports {path}, from the crate's root")),
            }
        }
        imports.insert(module.clone(), imported);
    }
    (imports, wrong)
}

fn wing(module: &str) -> &str {
    module.split("::").next().unwrap()
}

fn rank(module: &str) -> usize {
    let wing = wing(module);
    let rank = WINGS.iter().position(|known| *known == wing);
    rank.unwrap_or_else(|| {
        assert!(FRONT.contains(&wing), "src/{wing} is no wing");
        WINGS.len()
    })
}

#[test]
fn no_wing_imports_from_one_above_it() {
    let (imports, mut wrong) = imports(LIBRARY);
    for (module, imported) in &imports {
        for other in imported {
            let (from, to) = (wing(module), wing(other));
            let strangers = match (from, to) {
                ("transfer", "backends") => true,
                ("backends", "backends") => {
                    let room = |path: &str| path.split("::").nth(1).unwrap_or_default().to_owned();
                    room(module) != room(other)
                }
                _ => rank(to) > rank(from) || FRONT.contains(&to),
            };
            if strangers {
                wrong.push(format!("{module} imports {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "against the order of the house:\n{}", wrong.join("\n"));
}

#[test]
fn no_import_comes_back_to_where_it_began() {
    fn visit<'a>(
        module: &'a str,
        imports: &'a BTreeMap<String, BTreeSet<String>>,
        way: &mut Vec<&'a str>,
        done: &mut BTreeSet<&'a str>,
    ) {
        if let Some(at) = way.iter().position(|seen| *seen == module) {
            panic!("imports run in a circle: {} -> {module}", way[at..].join(" -> "));
        }
        if !done.contains(module) {
            way.push(module);
            for other in &imports[module] {
                visit(other, imports, way, done);
            }
            way.pop();
            done.insert(module);
        }
    }
    for (root, least) in [(LIBRARY, 300), (TOOL, 30)] {
        let (imports, wrong) = imports(root);
        assert!(wrong.is_empty(), "the root imports all files:\n{}", wrong.join("\n"));
        assert!(imports.values().map(BTreeSet::len).sum::<usize>() > least, "the test sees the imports");
        let mut done = BTreeSet::new();
        for module in imports.keys() {
            visit(module, &imports, &mut Vec::new(), &mut done);
        }
    }
}

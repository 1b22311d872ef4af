//! The test programs of a copy.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::catalogue::Mutant;
use crate::tree;

pub struct Binaries {
    tree: PathBuf,
    programs: BTreeMap<&'static str, PathBuf>,
}

impl Binaries {
    /// Builds the programs that the mutants' tests are in.
    pub fn build(tree: &Path, mutants: &[Mutant]) -> Self {
        let wanted: BTreeSet<&str> =
            mutants.iter().flat_map(|mutant| &mutant.noticed_by).map(|test| split(test).0).collect();
        let mut programs = BTreeMap::new();
        for binary in wanted {
            let (name, directory, arguments): (_, _, &[&str]) = match binary {
                "lib" => ("lib", ".", &["--all-features", "--lib"]),
                "suite" => ("suite", ".", &["--features", "cli,fjall,sled,conformance", "--test", "suite"]),
                "postgres" => ("postgres", ".", &["--all-features", "--test", "postgres"]),
                "reliability" => ("reliability", "tests/reliability", &["--release", "--bin", "reliability"]),
                other => panic!("no test program is called {other}"),
            };
            programs.insert(name, build(&tree.join(directory), arguments));
        }
        Self { tree: tree.to_owned(), programs }
    }

    /// How long the tests take; `None` if one fails or if they do not end in time. It is an error if there are
    /// none.
    pub fn run(&self, test: &str, mutant: Option<&str>, patience: Duration) -> Option<Duration> {
        let (binary, word) = split(test);
        let log =
            mutant.map_or(test.to_owned(), |mutant| format!("{mutant} {test}")).replace([' ', ':'], "-");
        let log = tree::mutants().join(format!("{log}.log"));
        let output = File::create(&log).expect("room for a log");
        let mut command = Command::new(&self.programs[binary]);
        command.arg(word).current_dir(&self.tree).env_remove("MUTANT");
        command.stdout(output.try_clone().expect("a file")).stderr(output).stdin(Stdio::null());
        if let Some(mutant) = mutant {
            command.env("MUTANT", mutant);
        }
        let start = Instant::now();
        // Some start processes of their own, which are to end with them.
        let mut child = command.process_group(0).spawn().expect("the program has been built");
        let status = loop {
            match child.try_wait().expect("a child of ours") {
                Some(status) => break status,
                None if start.elapsed() > patience => {
                    let group = format!("-{}", child.id());
                    let killed = Command::new("kill").args(["-KILL", "--", &group]).status();
                    assert!(killed.expect("kill").success(), "{test} goes on");
                    break child.wait().expect("a child of ours");
                }
                None => thread::sleep(Duration::from_millis(20)),
            }
        };
        let said = String::from_utf8_lossy(&fs::read(&log).expect("the program's output")).into_owned();
        // The tests of the library print how many there are, the others each one's name.
        let any = if binary == "reliability" { !said.is_empty() } else { !said.contains("running 0 tests") };
        assert!(any, "{test}: no such test");
        status.success().then(|| start.elapsed())
    }
}

fn split(test: &str) -> (&str, &str) {
    test.split_once(' ').unwrap_or_else(|| panic!("{test:?}: a test is a program and a word"))
}

fn build(directory: &Path, arguments: &[&str]) -> PathBuf {
    let mut command = Command::new(env!("CARGO"));
    command.arg("test").args(arguments).args(["--no-run", "--message-format", "json-render-diagnostics"]);
    command.env("CARGO_TARGET_DIR", tree::target_of(directory.ends_with("reliability")));
    println!("building {} in {}", arguments.last().unwrap_or(&""), directory.display());
    let output = command.current_dir(directory).output().expect("cargo");
    if !output.status.success() {
        // With the warnings of mutants that leave something unused.
        panic!("the mutants do not compile:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let messages = String::from_utf8(output.stdout).expect("JSON is UTF-8");
    let mut programs = messages.lines().filter_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).expect("a line of JSON");
        let is_test = message["profile"]["test"] == true || message["target"]["name"] == "reliability";
        message["executable"].as_str().filter(|_| is_test).map(PathBuf::from)
    });
    programs.next_back().expect("a test program")
}

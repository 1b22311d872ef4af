//! The tool `profiles`, as an operator meets it: arguments, streams, exit statuses.

use std::io::Write;
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use tempfile::TempDir;

mod moving;
mod refusing;
mod selecting;
mod streams;
#[cfg(target_os = "linux")]
mod terminal;

const REQUEST: &str = include_str!("wire/request.documented.json");
const RESPONSE: &str = concat!(include_str!("wire/response_200.json"), "\n");

const PROFILES: &str = env!("CARGO_BIN_EXE_profiles");

/// A working directory, and so a store of its own.
struct Desk(TempDir);

impl Desk {
    fn new() -> Self {
        Self(TempDir::new().expect("a temporary directory"))
    }

    fn file(&self, name: &str, content: impl AsRef<[u8]>) {
        std::fs::write(self.0.path().join(name), content).expect("writing a file");
    }

    fn has(&self, name: &str) -> bool {
        self.0.path().join(name).exists()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(PROFILES);
        command.args(arguments).current_dir(self.0.path()).env_remove("PROFILE_STORE");
        command
    }

    fn start(&self, arguments: &[&str]) -> Child {
        self.command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("starting the tool")
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        self.run_with(arguments, "")
    }

    fn run_with(&self, arguments: &[&str], stdin: impl AsRef<[u8]> + Send) -> Ran {
        let mut child = self.start(arguments);
        let mut pipe = child.stdin.take().expect("a pipe");
        thread::scope(|scope| {
            // A tool that refuses its arguments does not read its input.
            scope.spawn(move || pipe.write_all(stdin.as_ref()).ok());
            child.wait_with_output().expect("waiting for the tool").into()
        })
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Ran {
    status: i32,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout).expect("UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("UTF-8"),
        }
    }
}

impl Ran {
    #[track_caller]
    fn did(&self, status: i32, stdout: &str) {
        assert_eq!((self.status, self.stdout.as_str()), (status, stdout), "{}", self.stderr);
    }

    /// Refused: exit status 2, nothing on standard output, and an explanation that says all of `words`.
    #[track_caller]
    fn refused(&self, words: &[&str]) {
        self.did(2, "");
        self.says(words);
    }

    #[track_caller]
    fn says(&self, words: &[&str]) {
        for word in words {
            assert!(self.stderr.contains(word), "{word:?} is not in {:?}", self.stderr);
        }
        assert!(!self.stderr.contains("panicked"), "{}", self.stderr);
    }
}

fn line(id: &str, memory: &str) -> String {
    format!("{{\"external_user_id\":\"{id}\",\"memory\":{memory}}}\n")
}

fn failure(line: usize, id: &str, error: &str) -> String {
    format!("{{\"line\":{line},\"external_user_id\":{id},\"errors\":[\"{error}\"]}}\n")
}

/// A store of three gurus, one of several pages.
fn filled(store: &str) -> Desk {
    let desk = Desk::new();
    desk.run_with(&[&["--store", store], &UPSERT[..]].concat(), REQUEST).did(0, RESPONSE);
    let lines: String = (0..2500).map(|n| line(&format!("user-{n}"), &format!("{{\"n\":{n}}}"))).collect();
    for guru in ["another", "my-guru-2"] {
        let upsert = ["upsert", "--store", store, "--guru", guru, "--ndjson", "-"];
        desk.run_with(&upsert, &lines).did(0, "");
    }
    desk
}

const UPSERT: [&str; 4] = ["upsert", "--guru", "my-guru", "-"];
const IMPORT: [&str; 5] = ["upsert", "--guru", "my-guru", "--ndjson", "-"];

#[test]
fn the_documented_request_gets_the_documented_response() {
    let desk = Desk::new();
    desk.file("request.json", REQUEST);
    let first = desk.run(&["upsert", "--guru", "my-guru", "request.json"]);
    first.did(0, RESPONSE);
    assert_eq!(first.stderr, "2 created, 0 updated, 0 unchanged, 0 failed\n");

    let again = desk.run_with(&UPSERT, REQUEST);
    again.did(0, RESPONSE);
    assert_eq!(again.stderr, "0 created, 0 updated, 2 unchanged, 0 failed\n");
    assert!(desk.has("profiles.db") && !desk.has("profiles.db-wal"), "the default store, left clean");
}

#[test]
fn users_that_fail_are_in_the_response_and_in_the_status() {
    let desk = Desk::new();
    let partly = desk.run_with(
        &UPSERT,
        r#"{"users":[{"external_user_id":"ada"},{"external_user_id":"bob","memory":{}}]}"#,
    );
    partly.did(
        1,
        concat!(
            r#"{"status":"success","total_users":2,"processed_users":1,"users_results":["#,
            r#"{"user_index":0,"external_user_id":"ada","success":false,"errors":["Missing memory data"]},"#,
            r#"{"user_index":1,"external_user_id":"bob","success":true,"errors":[]}]}"#,
            "\n",
        ),
    );
    assert_eq!(partly.stderr, "1 created, 0 updated, 0 unchanged, 1 failed\n");

    let none = desk.run_with(&UPSERT, r#"{"users":[7]}"#);
    assert_eq!(none.status, 1);
    assert!(none.stdout.starts_with(r#"{"status":"error","total_users":1,"processed_users":0,"#));
}

#[test]
fn every_backend_can_be_named() {
    let desk = Desk::new();
    for store in ["sqlite:other.db", "sled:profiles.sled", "memory:"] {
        desk.run_with(&[&["--store", store], &UPSERT[..]].concat(), REQUEST).did(0, RESPONSE);
        let kept = if store == "memory:" { "0\n" } else { "2\n" };
        desk.run(&["count", "--guru", "my-guru", "--store", store]).did(0, kept);
    }
}

#[test]
fn help_has_examples_and_the_exit_statuses() {
    let help = Desk::new().run(&["--help"]);
    assert_eq!((help.status, help.stderr.as_str()), (0, ""));
    for word in ["upsert", "--store", "sqlite:profiles.db", "postgres://", "Examples:", "Exit status:"] {
        assert!(help.stdout.contains(word), "{word:?} is not in {}", help.stdout);
    }
}

#[test]
fn lines_of_ndjson_fail_by_themselves_and_are_counted_from_1() {
    let desk = Desk::new();
    let mut input = line("ada", "{}").into_bytes();
    input.extend(b"\n \t\r\nnot json\n");
    input.extend(b"{\"external_user_id\":\"bob\",\"memory\":[]}\r\n");
    input.extend(b"{\"external_user_id\":\"\xff\",\"memory\":{}}\n");
    input.extend(b"{\"external_user_id\":\"cid\",\"memory\":{\"a\": 1}}\r\n");
    input.extend(b"{\"external_user_id\":\"dan\",\"memory\":{}}");
    let failures = [
        failure(4, "null", "User is not valid JSON: expected ident at column 2"),
        failure(5, "\"bob\"", "memory must be a JSON object"),
        failure(6, "null", "User is not valid JSON: not UTF-8 at column 22"),
    ]
    .concat();
    // Line numbers hold across batches of any size.
    for batch in ["1", "2", "3", "1000"] {
        let ran = desk.run_with(&[&IMPORT[..], &["--batch", batch]].concat(), &input);
        ran.did(1, &failures);
        ran.says(&["3 failed"]);
    }
    desk.run(&["get", "--guru", "my-guru", "ada", "cid", "dan"]).did(0, "{}\n{\"a\":1}\n{}\n");
}

#[test]
fn ndjson_without_users_is_done_at_once() {
    let desk = Desk::new();
    for input in ["", "\n", " \r\n\n"] {
        let ran = desk.run_with(&IMPORT, input);
        ran.did(0, "");
        assert!(ran.stderr.starts_with("0 created, 0 updated, 0 unchanged, 0 failed"), "{}", ran.stderr);
    }
}

#[test]
fn the_last_line_of_an_id_wins_within_and_across_batches() {
    let desk = Desk::new();
    let input: String = (0..25).map(|n| line("ada", &format!("{{\"n\":{n}}}"))).collect();
    desk.file("users.ndjson", &input);
    let import = ["upsert", "--guru", "my-guru", "--ndjson", "users.ndjson", "--batch", "10"];
    let ran = desk.run(&import);
    ran.did(0, "");
    assert!(ran.stderr.starts_with("10 created, 15 updated, 0 unchanged, 0 failed"), "{}", ran.stderr);
    desk.run(&["get", "--guru", "my-guru", "ada"]).did(0, "{\"n\":24}\n");
}

#[test]
fn a_second_import_finds_everything_unchanged() {
    let desk = Desk::new();
    let input: String = (0..2500).map(|n| line(&format!("user-{n}"), "{}")).collect();
    let first = desk.run_with(&IMPORT, &input);
    first.did(0, "");
    first.says(&["2500 created, 0 updated, 0 unchanged, 0 failed"]);
    let again = desk.run_with(&IMPORT, &input);
    again.did(0, "");
    again.says(&["0 created, 0 updated, 2500 unchanged, 0 failed"]);
}

#[test]
fn what_list_prints_can_be_imported() {
    let desk = Desk::new();
    desk.run_with(&UPSERT, REQUEST).did(0, RESPONSE);
    let listed = desk.run(&["list", "--guru", "my-guru"]).stdout;
    assert!(listed.starts_with(concat!(
        r#"{"external_user_id":"user1-id","memory":{"name":"John Doe","email":"john.doe@example.com"},"#,
        r#""etag":"64d93bad0793605fdc767b6dfb359a17","created_at":""#,
    )));
    desk.run_with(&["upsert", "--guru", "copy", "--ndjson", "-"], listed).did(0, "");
    desk.run(&["get", "--guru", "copy", "user2-id"]).did(0, "{\"name\":\"Jane Doe\",\"plan\":\"premium\"}\n");
}

#[test]
fn gurus_are_printed_one_a_line() {
    let desk = Desk::new();
    for guru in ["b", "a", "B"] {
        desk.run_with(&["upsert", "--guru", guru, "-"], REQUEST).did(0, RESPONSE);
    }
    desk.run(&["gurus"]).did(0, "B\na\nb\n");
}

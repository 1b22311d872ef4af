//! The tool `profiles`, as an operator meets it: arguments, streams, exit statuses.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, Command, Output, Stdio};
use std::thread;

use tempfile::TempDir;

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

    fn start(&self, arguments: &[&str]) -> Child {
        Command::new(PROFILES)
            .args(arguments)
            .current_dir(self.0.path())
            .env_remove("PROFILE_STORE")
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
            // What refuses its arguments does not read.
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

fn failure(index: usize, id: &str, error: &str) -> String {
    format!(
        "{{\"user_index\":{index},\"external_user_id\":{id},\"success\":false,\"errors\":[\"{error}\"]}}\n"
    )
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
fn a_body_that_cannot_be_read_is_refused_with_its_position() {
    let desk = Desk::new();
    desk.run_with(&UPSERT, "{\"users\":\n[}").refused(&["line 2", "fix the request"]);
    desk.run_with(&UPSERT, "").refused(&["line 1", "fix the request"]);
    desk.run_with(&UPSERT, b"{\"users\":[\"\xff\"]}").refused(&["UTF-8", "fix the request"]);
}

#[test]
fn an_input_that_is_no_file_is_refused_before_a_store_is_made() {
    let desk = Desk::new();
    std::fs::create_dir(desk.0.path().join("directory")).unwrap();
    for mode in [&[][..], &["--ndjson"]] {
        let upsert = |input| desk.run(&[&["upsert", "--guru", "my-guru", input], mode].concat());
        upsert("missing.json").refused(&["can't read missing.json", "because: ", "name a readable file"]);
        upsert("directory").refused(&["can't read directory", "because: is a directory"]);
    }
    assert!(!desk.has("profiles.db"));
}

#[test]
fn arguments_outside_their_rules_are_refused() {
    let desk = Desk::new();
    desk.run(&["count", "--guru", "no spaces"]).refused(&["guru slug has ' ' at byte 2"]);
    desk.run(&["count"]).refused(&["--guru"]);
    desk.run(&["get", "--guru", "my-guru", ""]).refused(&["external_user_id is empty"]);
    desk.run(&["get", "--guru", "my-guru"]).refused(&["<ID>"]);
    desk.run(&["delete", "--guru", "my-guru"]).refused(&["<ID>"]);
    desk.run(&["delete", "--guru", "my-guru", "--all", "ada"]).refused(&["cannot be used with"]);
    desk.run(&["upsert", "--guru", "my-guru", "--ndjson", "--batch", "0", "-"]).refused(&["1..=10000"]);
    assert!(!desk.has("profiles.db"));
}

#[test]
fn a_store_url_that_names_no_store_is_refused() {
    let desk = Desk::new();
    let gurus = |url| desk.run(&["gurus", "--store", url]);
    gurus("redis://localhost").refused(&["unknown scheme \"redis\"", "choose another --store"]);
    gurus("profiles.db").refused(&["has no scheme", "--help"]);
    gurus("sqlite:").refused(&["no usable path"]);
    gurus("sqlite:profiles.db").refused(&["there is no store at profiles.db"]);
    gurus("sled:profiles.sled").refused(&["there is no store at ", "profiles.sled"]);
    assert!(!desk.has("profiles.db") && !desk.has("profiles.sled"));
    let upsert = ["upsert", "--guru", "my-guru", "--store", "sqlite:missing/profiles.db", "-"];
    desk.run(&upsert).refused(&["missing/profiles.db", "because: ", "check the path"]);

    desk.file("letter.txt", "Dear store, I am no database, whatever you may think of me. ".repeat(20));
    gurus("sqlite:letter.txt").refused(&["because: ", "choose another --store"]);
}

#[test]
fn the_store_is_told_by_option_or_environment() {
    let desk = Desk::new();
    desk.run_with(&[&["--store", "sqlite:here.db"], &UPSERT[..]].concat(), REQUEST).did(0, RESPONSE);
    assert!(desk.has("here.db") && !desk.has("profiles.db"));
    let mut count = Command::new(PROFILES);
    count.args(["count", "--guru", "my-guru"]).current_dir(desk.0.path());
    Ran::from(count.env("PROFILE_STORE", "sqlite:here.db").output().unwrap()).did(0, "2\n");
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
    for word in ["upsert", "--store", "sqlite:profiles.db", "Examples:", "Exit status:"] {
        assert!(help.stdout.contains(word), "{word:?} is not in {}", help.stdout);
    }
}

#[test]
fn lines_of_ndjson_fail_by_themselves_and_are_counted_from_0() {
    let desk = Desk::new();
    let mut input = line("ada", "{}").into_bytes();
    input.extend(b"\n \t\r\nnot json\n");
    input.extend(b"{\"external_user_id\":\"bob\",\"memory\":[]}\r\n");
    input.extend(b"{\"external_user_id\":\"\xff\",\"memory\":{}}\n");
    input.extend(b"{\"external_user_id\":\"cid\",\"memory\":{\"a\": 1}}\r\n");
    input.extend(b"{\"external_user_id\":\"dan\",\"memory\":{}}");
    let failures = [
        failure(3, "null", "User is not valid JSON: expected ident at line 1 column 2"),
        failure(4, "\"bob\"", "memory must be a JSON object"),
        failure(5, "null", "User is not valid JSON: not UTF-8 at line 1 column 22"),
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
fn get_prints_what_is_stored_byte_for_byte() {
    let desk = Desk::new();
    let memory = r#"{"b":1.0,"a":1E2,"b":"\u0000\/é","n":1180591620717411303424}"#;
    desk.run_with(&IMPORT, line("ada", memory)).did(0, "");
    desk.run(&["get", "--guru", "my-guru", "ada", "ada"]).did(0, &format!("{memory}\n{memory}\n"));
    desk.run(&["get", "--guru", "my-guru", "eve", "ada"]).did(0, &format!("null\n{memory}\n"));
    desk.run(&["get", "--guru", "other", "ada"]).did(0, "null\n");
}

#[test]
fn list_goes_through_all_pages_from_any_id_up_to_any_limit() {
    let desk = Desk::new();
    let ids: Vec<String> = (0..2100).map(|n| format!("user-{n:04}")).collect();
    desk.run_with(&IMPORT, ids.iter().map(|id| line(id, "{}")).collect::<String>()).did(0, "");
    let list = |options: &[&str]| -> Vec<String> {
        let ran = desk.run(&[&["list", "--guru", "my-guru"], options].concat());
        assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
        let id = |line: &str| line.split('"').nth(3).expect("an id").to_owned();
        ran.stdout.lines().map(id).collect()
    };
    assert_eq!(list(&[]), ids);
    assert_eq!(list(&["--after", "user-0041"]), ids[42..]);
    assert_eq!(list(&["--after", "user-0041x", "--limit", "3"]), ids[42..45]);
    assert_eq!(list(&["--limit", "1001"]), ids[..1001]);
    assert!(list(&["--limit", "0"]).is_empty());
    assert!(list(&["--after", "user-2099"]).is_empty());
    desk.run(&["count", "--guru", "my-guru"]).did(0, "2100\n");
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
fn delete_tells_what_was_there() {
    let desk = Desk::new();
    desk.run_with(&UPSERT, REQUEST).did(0, RESPONSE);
    desk.run(&["delete", "--guru", "my-guru", "e\"ve", "user1-id"]).did(
        0,
        concat!(
            r#"{"external_user_id":"e\"ve","deleted":false}"#,
            "\n",
            r#"{"external_user_id":"user1-id","deleted":true}"#,
            "\n"
        ),
    );
    desk.run(&["count", "--guru", "my-guru"]).did(0, "1\n");
    for left in [1, 0] {
        let deleted = format!("{{\"guru\":\"my-guru\",\"deleted\":{left}}}\n");
        desk.run(&["delete", "--guru", "my-guru", "--all"]).did(0, &deleted);
    }
    desk.run(&["gurus"]).did(0, "");
}

#[test]
fn gurus_are_printed_one_a_line() {
    let desk = Desk::new();
    for guru in ["b", "a", "B"] {
        desk.run_with(&["upsert", "--guru", guru, "-"], REQUEST).did(0, RESPONSE);
    }
    desk.run(&["gurus"]).did(0, "B\na\nb\n");
}

/// More than pipes and buffers hold.
const MANY: usize = 3000;

#[test]
fn a_reader_that_leaves_ends_a_list_quietly() {
    let desk = Desk::new();
    let input: String = (0..MANY).map(|n| line(&format!("user-{n}"), "{}")).collect();
    desk.run_with(&IMPORT, input).did(0, "");
    let mut child = desk.start(&["list", "--guru", "my-guru"]);
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert!(first.starts_with(r#"{"external_user_id":"user-0","#));
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!((ran.status, ran.stderr.as_str()), (0, ""));
}

#[test]
fn a_reader_that_leaves_does_not_stop_an_import() {
    let desk = Desk::new();
    let mut child = desk.start(&[&IMPORT[..], &["--batch", "100"]].concat());
    drop(child.stdout.take());
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all("{}\n".repeat(MANY).as_bytes()).unwrap();
    stdin.write_all(line("last", "{}").as_bytes()).unwrap();
    drop(stdin);
    let ran = Ran::from(child.wait_with_output().unwrap());
    assert_eq!(ran.status, 1);
    ran.says(&["1 created, 0 updated, 0 unchanged, 3000 failed"]);
}

#[test]
fn a_reader_that_leaves_does_not_hide_that_users_failed() {
    let desk = Desk::new();
    let mut child = desk.start(&["upsert", "--guru", "my-guru", "-"]);
    drop(child.stdout.take());
    child.stdin.take().unwrap().write_all(br#"{"users":[7]}"#).unwrap();
    assert_eq!(Ran::from(child.wait_with_output().unwrap()).status, 1);
}

#[test]
fn nobody_has_to_read_standard_error() {
    let desk = Desk::new();
    let mut child = desk.start(&UPSERT);
    drop(child.stderr.take());
    child.stdin.take().unwrap().write_all(REQUEST.as_bytes()).unwrap();
    Ran::from(child.wait_with_output().unwrap()).did(0, RESPONSE);
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_a_failure() {
    let desk = Desk::new();
    desk.run_with(&UPSERT, REQUEST).did(0, RESPONSE);
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut list = Command::new(PROFILES);
    list.args(["list", "--guru", "my-guru"]).current_dir(desk.0.path()).env_remove("PROFILE_STORE");
    let ran =
        Ran::from(list.stdout(full).stderr(Stdio::piped()).spawn().unwrap().wait_with_output().unwrap());
    ran.refused(&["can't write to standard output", "because: ", "what to do: "]);
}

#[test]
fn an_overlong_line_costs_itself_alone() {
    let desk = Desk::new();
    let longest: usize = 8 << 20;
    let padded = |bytes| {
        let line = line("ada", "{\"padded\":true}");
        format!("{}{line}", " ".repeat(bytes + 1 - line.len()))
    };
    // Its beginning alone would be a user.
    let trailing = format!("{}{}?\n", line("eve", "{}").trim_end(), " ".repeat(longest));
    let lines = [line("first", "{}"), "oops\n".to_owned(), padded(longest + 1), padded(longest), trailing];
    let overlong = "line must be at most 8388608 bytes";
    desk.run_with(&IMPORT, lines.concat()).did(
        1,
        &[
            failure(1, "null", "User is not valid JSON: expected value at line 1 column 1"),
            failure(2, "null", overlong),
            failure(4, "null", overlong),
        ]
        .concat(),
    );
    let memories = "{}\n{\"padded\":true}\nnull\n";
    desk.run(&["get", "--guru", "my-guru", "first", "ada", "eve"]).did(0, memories);
}

/// 64 MB each of short lines, of long ones and of a single one. They are few users over and over, so
/// that the time goes into reading.
#[cfg(target_os = "linux")]
#[test]
fn memory_stays_bounded_however_much_is_imported() {
    const BYTES: usize = 64_000_000;
    const BOUND_KIB: u64 = 48 << 10;
    let desk = Desk::new();
    let lines_of = |bytes: usize| {
        let memory = format!("{{\"text\":\"{}\"}}", "x".repeat(bytes));
        (0..10).map(|n| line(&format!("user-{n}"), &memory)).collect::<String>()
    };
    for (piece, status) in [(lines_of(300), 0), (lines_of(1_000_000), 0), ("x".repeat(1_000_000), 1)] {
        let mut child = desk.start(&IMPORT);
        let mut stdin = child.stdin.take().unwrap();
        for _ in 0..BYTES / piece.len() {
            stdin.write_all(piece.as_bytes()).unwrap();
        }
        // Read while the process lives: it waits for the rest of its input.
        let peak = peak_kib(child.id());
        drop(stdin);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.status, status, "{}", ran.stderr);
        assert!(peak < BOUND_KIB, "{peak} KiB at most in memory; {}", ran.stderr);
    }
}

#[cfg(target_os = "linux")]
fn peak_kib(process: u32) -> u64 {
    let mut status = String::new();
    std::fs::File::open(format!("/proc/{process}/status")).unwrap().read_to_string(&mut status).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("VmHWM");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
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

#[test]
fn one_command_moves_a_store_off_sled() {
    let desk = filled("sled:old.sled");
    let copy = ["copy", "--store", "sled:old.sled", "sqlite:new.db"];
    let ran = desk.run(&copy);
    ran.did(0, "");
    ran.says(&["5002 profiles copied and verified, 5002 of them written"]);
    desk.run(&copy).says(&["5002 profiles copied and verified, 0 of them written"]);
    let export = |store| desk.run(&["export", "--store", store]).stdout;
    let old = export("sled:old.sled");
    assert_eq!(old.lines().count(), 5002);
    assert_eq!(old, export("sqlite:new.db"));

    let one = ["copy", "--store", "sled:old.sled", "--guru", "my-guru", "sqlite:one.db"];
    desk.run(&one).did(0, "");
    desk.run(&["gurus", "--store", "sqlite:one.db"]).did(0, "my-guru\n");
    let rest = ["copy", "--store", "sled:old.sled", "--start", "my-guru/user1-id", "sqlite:new.db"];
    desk.run(&rest).says(&["2501 profiles copied and verified, 0 of them written"]);
    desk.run(&["copy", "sqlite:other.db", "--start", "nonsense"]).refused(&["guru/external_user_id"]);
    desk.run(&["copy", "--store", "sled:nowhere", "sqlite:new2.db"]).refused(&["there is no store"]);
    assert!(!desk.has("new2.db"));
}

#[test]
fn what_is_exported_is_imported_to_the_byte() {
    let desk = filled("sqlite:profiles.db");
    let exported = desk.run(&["export"]).stdout;
    desk.file("all.ndjson", &exported);
    let import = ["import", "--store", "sled:copy.sled", "--batch", "300", "all.ndjson"];
    let ran = desk.run(&import);
    ran.did(0, "");
    assert!(ran.stderr.starts_with("5002 created, 0 updated, 0 unchanged, 0 failed"), "{}", ran.stderr);
    assert_eq!(desk.run(&["export", "--store", "sled:copy.sled"]).stdout, exported);
    desk.run(&import).says(&["0 created, 0 updated, 5002 unchanged, 0 failed"]);

    let damaged = exported.lines().next().unwrap().replace("{\"n\":0}", "{\"n\":1}");
    desk.run_with(&["import", "-"], format!("\n{damaged}\n"))
        .did(1, "{\"errors\":[\"etag does not match the memory\"],\"external_user_id\":null,\"line\":2}\n");

    let users = desk.run(&["export", "--guru", "my-guru", "--users"]).stdout;
    assert!(users.starts_with("{\"external_user_id\":\"user1-id\",\"memory\":{\"name\":"), "{users}");
    desk.run(&["export", "--users"]).refused(&["--guru"]);
    desk.run(&["export", "--since", "2999-01-01T00:00:00Z"]).did(0, "");
    assert_eq!(desk.run(&["export", "--since", "2020-01-01T00:00:00Z"]).stdout, exported);
}

#[test]
fn a_store_is_looked_after() {
    let desk = filled("sqlite:profiles.db");
    desk.run(&["check"]).did(0, "");
    desk.run(&["check", "--write"]).did(0, "");
    desk.run(&["verify"]).says(&["5002 profiles sound, 0 damages"]);
    desk.run(&["backup", "backup.db"]).did(0, "");
    desk.run(&["count", "--store", "sqlite:backup.db", "--guru", "another"]).did(0, "2500\n");
    desk.run(&["backup", "backup.db"]).refused(&["is there already"]);
    desk.run(&["backup", "--store", "memory:", "memory.db"]).refused(&["only a SQLite store"]);
    desk.run(&["sweep", "--days", "1"]).did(
        0,
        "{\"guru\":\"another\",\"swept\":0}\n{\"guru\":\"my-guru\",\"swept\":0}\n{\"guru\":\"my-guru-2\",\"swept\":0}\n",
    );
    desk.run(&["sweep", "--days", "0"]).refused(&["0 is not in"]);
    desk.run(&["delete", "--guru", "another", "--all"]).did(0, "{\"guru\":\"another\",\"deleted\":2500}\n");
    desk.run(&["compact"]).says(&["bytes on disk before"]);
    let stats = desk.run(&["stats"]);
    assert!(stats.stdout.starts_with("{\"gurus\":2,\"profiles\":2502,\"live_bytes\":"), "{stats:?}");
    desk.run(&["compact", "--store", "memory:"]).did(0, "");

    let connection = rusqlite::Connection::open(desk.0.path().join("profiles.db")).unwrap();
    connection.execute("UPDATE profile SET checksum = 0 WHERE external_user_id = 'user-7'", []).unwrap();
    connection.close().unwrap();
    let verified = desk.run(&["verify"]);
    assert_eq!((verified.status, verified.stdout.lines().count()), (1, 1), "{verified:?}");
    assert!(verified.stdout.contains("\"user-7\""), "{verified:?}");
}

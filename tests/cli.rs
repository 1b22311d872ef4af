//! The example `profiles`, as its user sees it.

use std::io::{Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use tempfile::TempDir;

/// Runs in a directory of its own, so that the default store is its own.
struct Shell(TempDir);

impl Shell {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        // Beside this binary's directory, `deps`, cargo puts the examples it builds for a test run.
        let this = std::env::current_exe().unwrap();
        let tool: PathBuf = this.parent().and_then(|deps| deps.parent()).unwrap().join("examples/profiles");
        assert!(
            tool.is_file(),
            "{} is missing: run `cargo test --all-features`, which builds it",
            tool.display()
        );
        let mut command = Command::new(tool);
        command.current_dir(self.0.path()).args(arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self.command(arguments).spawn().unwrap();
        // A tool that refuses its arguments does not read.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// Standard output and exit status.
    fn says(&self, arguments: &[&str], input: &[u8]) -> (String, i32) {
        let output = self.run(arguments, input);
        (String::from_utf8(output.stdout).unwrap(), output.status.code().unwrap())
    }

    /// What a run that ends with 2 says on standard error; nothing on standard output.
    fn refusal(&self, arguments: &[&str], input: &[u8]) -> String {
        let output = self.run(arguments, input);
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), output.stdout), (Some(2), vec![]), "{arguments:?}: {words}");
        words
    }
}

#[test]
fn the_documented_request_gets_the_documented_response() {
    let shell = Shell::new();
    std::fs::write(shell.0.path().join("request.json"), include_bytes!("wire/request.documented.json"))
        .unwrap();
    let expected = format!("{}\n", include_str!("wire/response_200.json"));
    let upsert = ["upsert", "--guru", "my-guru", "request.json"];
    let first = shell.run(&upsert, b"");
    assert_eq!((String::from_utf8(first.stdout).unwrap(), first.status.code()), (expected.clone(), Some(0)));
    assert_eq!(String::from_utf8(first.stderr).unwrap(), "2 created, 0 updated, 0 unchanged, 0 failed\n");
    let retry = shell.run(&upsert, b"");
    assert_eq!(String::from_utf8(retry.stdout).unwrap(), expected);
    assert_eq!(String::from_utf8(retry.stderr).unwrap(), "0 created, 0 updated, 2 unchanged, 0 failed\n");
    assert!(shell.0.path().join("profiles.db").is_file(), "the default store");
    assert!(!shell.0.path().join("profiles.db-wal").exists(), "left clean");
    let get = ["get", "--guru", "my-guru", "user2-id", "nobody", "user1-id"];
    let memories = "{\"name\":\"Jane Doe\",\"plan\":\"premium\"}\nnull\n{\"name\":\"John Doe\",\"email\":\"john.doe@example.com\"}\n";
    assert_eq!(shell.says(&get, b""), (memories.to_owned(), 0));
}

#[test]
fn failed_items_end_with_1_and_the_others_are_stored() {
    let shell = Shell::new();
    let upsert = ["upsert", "--guru", "g", "-"];
    let (answer, status) = shell.says(&upsert, include_bytes!("wire/request_without_memory.json"));
    assert_eq!(status, 1);
    assert!(answer.starts_with(r#"{"status":"success","total_users":2,"processed_users":1,"#), "{answer}");
    assert_eq!(shell.says(&["count", "--guru", "g"], b""), ("1\n".to_owned(), 0));
}

#[test]
fn refusals_end_with_2_and_say_what_to_do() {
    let shell = Shell::new();
    let cases: [(&[&str], &[u8], &str); 9] = [
        (&["upsert", "--guru", "g", "-"], b"{\"users\":[\n{]}", "line 2 column 2"),
        (&["upsert", "--guru", "g", "-"], b"{\"users\":7}", "must be an array"),
        (&["upsert", "--guru", "g", "-"], b"\xff", "not UTF-8"),
        (&["upsert", "--guru", "a b", "-"], b"{}", "allowed are A-Z a-z 0-9 - _"),
        (&["upsert", "--guru", "g", "missing.json"], b"", "can't read missing.json"),
        (&["upsert", "--guru", "g", "."], b"", "can't read ."),
        (&["--store", "redis:x", "gurus"], b"", "unknown scheme"),
        (&["--store", "sqlite:no/such/directory.db", "gurus"], b"", "what to do"),
        (&["list", "--guru", "g", "--after", ""], b"", "external_user_id is empty"),
    ];
    for (arguments, input, words) in cases {
        let said = shell.refusal(arguments, input);
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
    let usage: [&[&str]; 4] = [&[], &["upsert", "--guru", "g"], &["delete", "--guru", "g"], &["upsert", "x"]];
    for arguments in usage {
        shell.refusal(arguments, b"");
    }
}

#[test]
fn lines_cost_only_themselves() {
    let shell = Shell::new();
    let lines = concat!(
        "{\"external_user_id\":\"a\",\"memory\":{\"n\":1}}\r\n",
        "\n",
        "{\"external_user_id\":\"b\"}\n",
        "not json\n",
        "  { \"memory\" : { } , \"external_user_id\" : \"c\" }  \n",
        "{\"external_user_id\":\"a\",\"memory\":{\"n\":2}}",
    );
    for batch in ["1", "2", "1000"] {
        let upsert = ["upsert", "--guru", batch, "--ndjson", "--batch", batch, "-"];
        let (failures, status) = shell.says(&upsert, lines.as_bytes());
        let expected = concat!(
            r#"{"user_index":2,"external_user_id":"b","success":false,"errors":["Missing memory data"]}"#,
            "\n",
            r#"{"user_index":3,"external_user_id":null,"success":false,"errors":["User must be a JSON object"]}"#,
            "\n",
        );
        assert_eq!((failures.as_str(), status), (expected, 1));
        let get = ["get", "--guru", batch, "a", "c"];
        assert_eq!(shell.says(&get, b""), ("{\"n\":2}\n{}\n".to_owned(), 0), "the last line of an id wins");
    }
    assert_eq!(shell.says(&["upsert", "--guru", "g", "--ndjson", "-"], b""), (String::new(), 0));
}

#[test]
fn an_overlong_line_costs_only_itself() {
    let shell = Shell::new();
    let mut lines = vec![b'x'; 5 << 20];
    lines.extend_from_slice(b"\n{\"external_user_id\":\"a\",\"memory\":{}}\n");
    let (failures, status) = shell.says(&["upsert", "--guru", "g", "--ndjson", "-"], &lines);
    assert_eq!((failures.lines().count(), status), (1, 1));
    assert!(failures.starts_with(r#"{"user_index":0,"#));
    assert_eq!(shell.says(&["count", "--guru", "g"], b""), ("1\n".to_owned(), 0));
}

#[test]
fn listing_goes_on_behind_an_id_and_stops_at_a_limit() {
    let shell = Shell::new();
    let users: Vec<_> =
        (0..2500).map(|n| format!(r#"{{"external_user_id":"u{n:04}","memory":{{"n":{n}}}}}"#)).collect();
    let (_, status) = shell
        .says(&["upsert", "--guru", "g", "-"], format!(r#"{{"users":[{}]}}"#, users.join(",")).as_bytes());
    assert_eq!(status, 0);
    let ids = |arguments: &[&str]| -> Vec<String> {
        let (listed, status) = shell.says(&[&["list", "--guru", "g"], arguments].concat(), b"");
        assert_eq!(status, 0);
        let id = |line: &str| {
            let profile: serde_json::Value = serde_json::from_str(line).unwrap();
            let keys: Vec<_> = profile.as_object().unwrap().keys().cloned().collect();
            assert_eq!(keys, ["created_at", "etag", "external_user_id", "memory", "updated_at"]);
            profile["external_user_id"].as_str().unwrap().to_owned()
        };
        listed.lines().map(id).collect()
    };
    assert_eq!(ids(&[]).len(), 2500);
    assert_eq!(ids(&["--limit", "1500"]).last().unwrap(), "u1499");
    assert_eq!(ids(&["--after", "u0007", "--limit", "2"]), ["u0008", "u0009"]);
    assert_eq!(ids(&["--limit", "0"]), [""; 0]);
}

#[test]
fn deleting_tells_what_was_there() {
    let shell = Shell::new();
    for guru in ["g", "h"] {
        let body =
            br#"{"users":[{"external_user_id":"a","memory":{}},{"external_user_id":"\"","memory":{}}]}"#;
        shell.says(&["upsert", "--guru", guru, "-"], body);
    }
    assert_eq!(shell.says(&["gurus"], b""), ("g\nh\n".to_owned(), 0));
    let told =
        "{\"external_user_id\":\"\\\"\",\"deleted\":true}\n{\"external_user_id\":\"b\",\"deleted\":false}\n";
    assert_eq!(shell.says(&["delete", "--guru", "g", "\"", "b"], b""), (told.to_owned(), 0));
    assert_eq!(shell.says(&["delete", "--guru", "g", "--all"], b""), ("{\"deleted\":1}\n".to_owned(), 0));
    assert_eq!(shell.says(&["gurus"], b""), ("h\n".to_owned(), 0));
}

#[test]
fn every_store_can_be_named() {
    let shell = Shell::new();
    for store in ["sqlite:other.db", "sled:profiles.sled"] {
        let upsert = ["--store", store, "upsert", "--guru", "g", "-"];
        let (_, status) = shell.says(&upsert, br#"{"users":[{"external_user_id":"a","memory":{"in":1}}]}"#);
        assert_eq!(status, 0);
        assert_eq!(
            shell.says(&["get", "--guru", "g", "a", "--store", store], b""),
            ("{\"in\":1}\n".to_owned(), 0)
        );
    }
}

#[test]
fn help_explains_it() {
    let (help, status) = Shell::new().says(&["--help"], b"");
    assert_eq!(status, 0);
    for word in ["upsert", "--store", "Exit status", "sqlite:profiles.db", "Examples"] {
        assert!(help.contains(word), "{word} in {help}");
    }
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let shell = Shell::new();
    let users: Vec<_> =
        (0..5000).map(|n| format!(r#"{{"external_user_id":"u{n}","memory":{{}}}}"#)).collect();
    shell.says(&["upsert", "--guru", "g", "-"], format!(r#"{{"users":[{}]}}"#, users.join(",")).as_bytes());
    let mut child = shell.command(&["list", "--guru", "g"]).spawn().unwrap();
    let mut first = [0; 10];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap()), (Some(0), String::new()));
    // Where something is left undone, the status says so.
    let mut child = shell.command(&["upsert", "--guru", "g", "--ndjson", "-"]).spawn().unwrap();
    drop(child.stdout.take());
    let mut input = child.stdin.take().unwrap();
    // The tool stops to read once it can't tell what failed.
    let _ = input.write_all(&b"x\n".repeat(100_000));
    drop(input);
    let output = child.wait_with_output().unwrap();
    let words = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{words}");
    assert!(words.contains("repeat the command") && !words.contains("panicked"), "{words}");
}

/// The most memory that the tool ever held, in KiB, must not grow with its input.
#[cfg(target_os = "linux")]
#[test]
fn lines_without_end_are_read_in_constant_memory() {
    let shell = Shell::new();
    let peak = |megabytes: usize| {
        let mut child = shell
            .command(&["--store", "sqlite:big.db", "upsert", "--guru", "g", "--ndjson", "-"])
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        let filler = "x".repeat(10_000);
        for n in 0..megabytes * 100 {
            // Ten ids in turn: the file stays small, and so do the caches that grow with it.
            let id = n % 10;
            writeln!(input, r#"{{"external_user_id":"{id}","memory":{{"n":{n},"x":"{filler}"}}}}"#).unwrap();
        }
        input.flush().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        drop(input);
        assert!(child.wait_with_output().unwrap().status.success());
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<usize>().unwrap()
    };
    let (small, large) = (peak(20), peak(80));
    assert!(large < small + 20 * 1024, "{small} KiB for 20 MB, {large} KiB for 80 MB");
}

//! Pipes, and how much goes through them.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use super::{Desk, IMPORT, PROFILES, REQUEST, RESPONSE, Ran, UPSERT, failure, line};

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
fn the_inside_of_the_store_is_printed_if_asked_for() {
    let desk = Desk::new();
    let ran = desk.run_with(&["-v", UPSERT[0], UPSERT[1], UPSERT[2], UPSERT[3]], REQUEST);
    ran.did(0, RESPONSE);
    let lines: Vec<_> = ran.stderr.lines().collect();
    let [opened, committed, counts, closed] = &lines[..] else { panic!("{lines:?}") };
    assert!(opened.starts_with("Opened { took: "), "{opened}");
    assert!(committed.starts_with("Committed { writes: 1, failed: 0, users: 2, bytes: "), "{committed}");
    assert!(counts.starts_with("2 created"), "{counts}");
    assert_eq!(*closed, "Closed { error: None }");
    assert!(!ran.stderr.contains("my-guru") && !ran.stderr.contains("user1-id"), "O1: {}", ran.stderr);
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
            failure(2, "null", "User is not valid JSON: expected value at column 1"),
            failure(3, "null", overlong),
            failure(5, "null", overlong),
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

//! The guide shows the code that this service runs.

use std::io::{BufRead as _, BufReader};

/// The function of that name, from its documentation on.
fn function<'a>(source: &'a str, name: &str) -> &'a str {
    let at = source.find(&format!("fn {name}(")).expect(name);
    let begin = source[..at].rfind("\n\n").map_or(0, |blank| blank + 2);
    let end = source[at..].find("\n}\n").expect(name) + at + 3;
    &source[begin..end]
}

#[test]
fn the_guide_shows_the_code_that_runs() {
    let answer = include_str!("../src/answer.rs");
    let metrics = include_str!("../src/metrics.rs");
    for (page, text, shown) in [
        ("http", include_str!("../../../src/guide/http.md"), function(answer, "status")),
        ("quickstart", include_str!("../../../src/guide/quickstart.md"), function(answer, "status")),
        ("handler", include_str!("../../handler.rs"), function(answer, "status")),
        ("operating", include_str!("../../../src/guide/operating.md"), function(metrics, "observe")),
        ("operating", include_str!("../../../src/guide/operating.md"), function(metrics, "gauges")),
    ] {
        assert!(text.contains(shown), "{page} has other code than:\n{shown}");
    }
}

/// The first block of code after this text.
fn block<'a>(page: &'a str, after: &str) -> &'a str {
    let rest = &page[page.find(after).expect(after) + after.len()..];
    let code = &rest[rest.find("```").expect("a block")..];
    let code = &code[code.find('\n').expect("a line") + 1..];
    &code[..code.find("\n```\n").expect("its end") + 1]
}

/// The page on the first five minutes: its program without `main`, and the one for axum.
#[test]
fn the_quickstart_is_the_example_that_is_compiled() {
    let page = include_str!("../../../src/guide/quickstart.md");
    let functions = block(page, "This is the whole `src/main.rs`:");
    let functions = &functions[..functions.find("fn main()").expect("its main")];
    let shown = [functions, block(page, "and keep the functions above\n")].concat();
    let example = include_str!("../examples/quickstart.rs");
    let (_, compiled) = example.split_once("\n\n").expect("a title");
    assert_eq!(shown, compiled);
}

/// A program that does not outlive its test.
struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It has usually ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The program answers the requests that the page makes by `curl`, and ends on SIGTERM.
#[test]
fn the_quickstart_runs() {
    let directory = tempfile::tempdir().unwrap();
    let test = std::env::current_exe().unwrap();
    let program = test.ancestors().nth(2).unwrap().join("examples/quickstart");
    let mut command = std::process::Command::new(program);
    command.current_dir(&directory).env("LISTEN", "127.0.0.1:0").stdout(std::process::Stdio::piped());
    let mut service =
        Running(command.spawn().expect("`cargo test` builds it, and `cargo test --test guide` does not"));
    let mut line = String::new();
    BufReader::new(service.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("listening on ").expect("the service has started");
    let body = r#"{"users":[{"external_user_id":"ada","memory":{"plan":"pro"}}]}"#;
    let mut answer = ureq::post(format!("http://{address}/my-guru/profiles/")).send(body).unwrap();
    let answer = answer.body_mut().read_to_string().unwrap();
    assert!(answer.contains(r#""status":"success""#), "{answer}");
    let mut got = ureq::get(format!("http://{address}/my-guru/profiles/ada")).call().unwrap();
    assert_eq!(got.body_mut().read_to_string().unwrap(), r#"{"plan":"pro"}"#);
    // SAFETY: it signals a process that this test has started, and has not waited for.
    assert_eq!(unsafe { libc::kill(service.0.id().cast_signed(), libc::SIGTERM) }, 0);
    assert!(service.0.wait().unwrap().success());
    assert!(directory.path().join("profiles.db").exists());
}

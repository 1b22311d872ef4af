//! The bar, on a real terminal: `script` gives the tool a pseudo-terminal, and a screen is made of what comes out.

use std::process::Stdio;

use super::{Desk, PROFILES, Ran, filled, line};

const COLUMNS: usize = 200;

impl Desk {
    /// Runs a command line in which `profiles` is the tool, on a terminal of its own; gives all that was written.
    fn on_terminal(&self, line: &str) -> String {
        let command =
            format!("stty cols {COLUMNS} rows 30; {}", line.replace("profiles ", &format!("{PROFILES} ")));
        let mut script = std::process::Command::new("script");
        script.args(["--quiet", "--return", "--command", &command, "/dev/null"]);
        script.current_dir(self.0.path()).env_remove("PROFILE_STORE").env("TERM", "xterm");
        Ran::from(script.stdin(Stdio::null()).output().expect("`script`, of util-linux")).stdout
    }
}

/// The lines that a terminal shows at the end, without empty ones at the bottom.
fn screen(written: &str) -> Vec<String> {
    let mut lines: Vec<Vec<char>> = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut rest = written;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        match next {
            '\r' => column = 0,
            '\n' => row += 1,
            '\x1b' => {
                let end = rest.find(|c: char| c.is_ascii_alphabetic()).expect("the end of a sequence");
                let (number, code) = (rest[..end].trim_start_matches(['[', '?']), &rest[end..=end]);
                rest = &rest[end + 1..];
                let count = number.parse().unwrap_or(1);
                match code {
                    "A" => row = row.saturating_sub(count),
                    "B" => row += count,
                    "C" => column += count,
                    "D" => column = column.saturating_sub(count),
                    "K" if number == "2" => lines[row].clear(),
                    "K" => lines[row].truncate(column),
                    // Colours, and whether the cursor is seen.
                    "m" | "h" | "l" => {}
                    _ => panic!("the screen does not know ESC {number}{code}"),
                }
            }
            character => {
                if column == COLUMNS {
                    (row, column) = (row + 1, 0);
                }
                lines.resize(lines.len().max(row + 1), Vec::new());
                let length = lines[row].len().max(column + 1);
                lines[row].resize(length, ' ');
                lines[row][column] = character;
                column += 1;
            }
        }
        lines.resize(lines.len().max(row + 1), Vec::new());
    }
    let mut lines: Vec<String> =
        lines.into_iter().map(|line| line.into_iter().collect::<String>().trim_end().to_owned()).collect();
    while lines.last().is_some_and(String::is_empty) {
        lines.pop();
    }
    lines
}

#[test]
fn a_screen_is_what_a_terminal_shows() {
    assert_eq!(screen("a\r\nbar\r\x1b[2Kb\r\nc\x1b[1A\r\x1b[2KB\r\n"), ["a", "B", "c"]);
}

/// More than a bar needs to be shown, in few lines.
fn large_lines() -> String {
    let memory = format!("{{\"text\":\"{}\"}}", "x".repeat(1_000_000));
    (0..24).map(|n| line(&format!("user-{n}"), &memory)).collect::<String>() + "{}\n"
}

#[test]
fn the_bar_of_lines_leaves_nothing() {
    let desk = Desk::new();
    desk.file("users.ndjson", large_lines());
    for (command, seen) in [
        ("profiles upsert --guru g --ndjson users.ndjson", "MiB/"),
        ("cat users.ndjson | profiles upsert --guru g --ndjson -", " read, "),
    ] {
        let written = desk.on_terminal(command);
        assert!(written.contains(seen), "there is no bar in {written:?}");
        let screen = screen(&written);
        assert_eq!(screen.len(), 2, "{screen:#?}");
        assert!(screen[0].starts_with(r#"{"line":25,"external_user_id":null,"#), "{screen:#?}");
        assert!(screen[1].ends_with(" failed") || screen[1].contains(" failed; "), "{screen:#?}");
    }
}

#[test]
fn the_bar_of_a_large_request_leaves_nothing() {
    let desk = Desk::new();
    let user = r#"{"external_user_id":"ada","memory":{}}"#;
    desk.file("request.json", format!(r#"{{"users":[{}{user}]}}"#, " ".repeat(24 << 20)));
    let written = desk.on_terminal("profiles upsert --guru g request.json");
    assert!(written.contains("MiB/") && written.contains("storing"), "there is no bar in {written:?}");
    let screen = screen(&written);
    assert_eq!(screen.len(), 2, "{screen:#?}");
    assert!(screen[0].starts_with(r#"{"status":"success","total_users":1,"#), "{screen:#?}");
    assert!(screen[1].starts_with("1 created, 0 updated, 0 unchanged, 0 failed"), "{screen:#?}");
}

#[test]
fn the_bar_of_a_copy_leaves_nothing() {
    let desk = filled("sqlite:profiles.db");
    let written = desk.on_terminal("profiles copy sqlite:copy.db");
    // The bar is drawn some times a second: verifying may be over before.
    assert!(written.contains(" of 5002 profiles copied"), "there is no bar in {written:?}");
    assert_eq!(screen(&written), ["5002 profiles copied and verified, 5002 of them written"]);
}

#[test]
fn there_is_no_bar_between_the_lines_of_verbose() {
    let desk = Desk::new();
    desk.file("users.ndjson", large_lines());
    for command in ["profiles -v upsert --guru g --ndjson users.ndjson", "profiles -v copy sqlite:copy.db"] {
        let written = desk.on_terminal(command);
        assert!(written.contains("\nCommitted {"), "{written}");
        assert!(!written.contains('\x1b'), "there is a bar in {written:?}");
    }
}

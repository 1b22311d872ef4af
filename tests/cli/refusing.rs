//! Refusals of the tool: in which words, with which advice.

use std::io::Write as _;
use std::time::{Duration, Instant};

use super::{Desk, REQUEST, RESPONSE, Ran, UPSERT, filled, line};

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
    desk.run(&["get", "--guru", "my-guru", "--at", "plan", "ada"]).refused(&["begins with `/`"]);
    desk.run(&["get", "--guru", "my-guru", "--at", "/plan", "--json", "ada"])
        .refused(&["cannot be used with"]);
    desk.run(&["delete", "--guru", "my-guru"])
        .refused(&["<ID|--all|--prefix <TEXT>|--where <POINTER=JSON>>"]);
    desk.run(&["delete", "--guru", "my-guru", "--prefix", ""]).refused(&["--prefix"]);
    desk.run(&["delete", "--guru", "my-guru", "--prefix", "a", "ada"]).refused(&["cannot be used with"]);
    desk.run(&["delete", "--guru", "my-guru", "--prefix", "a", "--all"]).refused(&["cannot be used with"]);
    desk.run(&["list", "--guru", "my-guru", "--where", "/plan=pro"]).refused(&["double quotes"]);
    desk.run(&["delete", "--guru", "my-guru", "--all", "ada"]).refused(&["cannot be used with"]);
    desk.run(&["upsert", "--guru", "my-guru", "--ndjson", "--batch", "0", "-"]).refused(&["1..=10000"]);
    assert!(!desk.has("profiles.db"));
}

#[test]
fn a_store_url_that_names_no_store_is_refused() {
    let desk = Desk::new();
    let gurus = |url| desk.run(&["gurus", "--store", url]);
    gurus("redis://localhost").refused(&["unknown scheme \"redis\"", "choose another store"]);
    gurus("profiles.db").refused(&["has no scheme", "--help"]);
    gurus("sqlite:").refused(&["no usable path"]);
    for url in ["sqlite:memory:", "sqlite::memory:", "sqlite::memory:?cache=shared"] {
        gurus(url).refused(&["write `memory:` for a store in memory"]);
    }
    assert!(!desk.has("memory:"));
    gurus("sqlite:profiles.db").refused(&["there is no store at profiles.db"]);
    gurus("sled:profiles.sled").refused(&["there is no store at ", "profiles.sled"]);
    assert!(!desk.has("profiles.db") && !desk.has("profiles.sled"));
    let upsert = ["upsert", "--guru", "my-guru", "--store", "sqlite:missing/profiles.db", "-"];
    desk.run(&upsert).refused(&["missing/profiles.db", "because: ", "create the directory"]);

    desk.file("letter.txt", "Dear store, I am no database, whatever you may think of me. ".repeat(20));
    gurus("sqlite:letter.txt").refused(&["because: ", "choose another store"]);
}

#[test]
fn the_store_is_told_by_option_or_environment() {
    let desk = Desk::new();
    desk.run_with(&[&["--store", "sqlite:here.db"], &UPSERT[..]].concat(), REQUEST).did(0, RESPONSE);
    assert!(desk.has("here.db") && !desk.has("profiles.db"));
    let mut count = desk.command(&["count", "--guru", "my-guru"]);
    Ran::from(count.env("PROFILE_STORE", "sqlite:here.db").output().unwrap()).did(0, "2\n");
}

#[test]
fn an_error_says_who_named_the_store() {
    let desk = Desk::new();
    let missing = |store: &[&str]| desk.run(&[&["gurus"], store].concat());
    missing(&[]).refused(&[
        "there is no store at profiles.db",
        "store: sqlite:profiles.db (the default: neither --store nor PROFILE_STORE names one)",
        "name the store by --store or PROFILE_STORE",
    ]);
    missing(&["--store", "sqlite:a.db"]).refused(&[
        "there is no store at a.db",
        "store: sqlite:a.db (named by --store)",
        "correct the store's path",
    ]);
    let mut by_variable = desk.command(&["gurus"]);
    let by_variable = Ran::from(by_variable.env("PROFILE_STORE", "sqlite:b.db").output().unwrap());
    by_variable.refused(&["store: sqlite:b.db (named by the variable PROFILE_STORE)"]);

    desk.run_with(&UPSERT, REQUEST).did(0, RESPONSE);
    let copy = desk.run(&["copy", "sqlite:missing/c.db"]);
    copy.refused(&[
        "store: sqlite:missing/c.db (named by the argument, to be copied to)",
        "create the directory",
    ]);

    for (url, shown) in [
        ("postgres://app:secret@localhost:1/profiles", "postgres://…"),
        ("Postgres://app:secret@localhost:1/profiles", "Postgres://…"),
        ("Postgres://db/p?user=app&password=secret", "Postgres://…"),
        ("jdbc:postgresql://db/p?user=app&password=secret", "jdbc:…"),
        ("postgres//app:secret@db/p", "…"),
        ("sqlite://app:secret@host/p.db", "sqlite://…"),
        ("sqlite:p.db?password=secret", "sqlite:…"),
    ] {
        let server = missing(&["--store", url]);
        server.refused(&[&format!("store: {shown} (named by --store)")]);
        assert!(!server.stderr.contains("secret"), "{}", server.stderr);
    }
    for password in ["secret", "a:secret", "secret:b"] {
        let keywords = missing(&["--store", &format!("host=db user=app password={password} dbname=p")]);
        keywords.refused(&["store: … (named by --store)", "libpq", "postgres://USER:PASSWORD@HOST/DATABASE"]);
        assert!(!keywords.stderr.contains("secret"), "{}", keywords.stderr);
    }
    let help =
        desk.command(&["get", "--help"]).env("PROFILE_STORE", "postgres://app:secret@h/d").output().unwrap();
    assert!(!Ran::from(help).stdout.contains("secret"));
}

#[test]
fn the_advice_fits_the_error() {
    let desk = filled("sqlite:profiles.db");
    desk.file("users.json", REQUEST);
    desk.run(&["backup", "users.json"]).refused(&["what to do: choose another name"]);
    desk.run(&["backup", "--store", "memory:", "b.db"]).refused(&[
        "only a SQLite store",
        "store: memory: (named by --store)",
        "use `copy` or `export`",
    ]);
    desk.run(&["backup", "--store", "sqlite://host/p.db", "b.db"]).refused(&["it names a host"]);
    desk.run(&["copy", "letter:x"]).refused(&["named by the argument", "choose another store, or build"]);
    desk.run(&["copy", "x"]).refused(&["named by the argument", "correct the store's URL"]);
    let many = ["--where", "/n=1"].repeat(65);
    let too_many = desk.run(&[&["count", "--guru", "another"][..], &many].concat());
    too_many.refused(&["65 comparisons", "fix the arguments"]);
    assert!(!too_many.stderr.contains("store:"), "it has nothing to do with the store: {}", too_many.stderr);
    let held = format!("sled:{}", desk.0.path().join("held.sled").display());
    let holder = pollster::block_on(profile_store::open(&held)).unwrap();
    desk.run(&["gurus", "--store", "sled:held.sled"]).refused(&["once the other process is done"]);
    pollster::block_on(holder.close()).unwrap();

    let connection = rusqlite::Connection::open(desk.0.path().join("profiles.db")).unwrap();
    connection.execute("UPDATE profile SET checksum = 0 WHERE external_user_id = 'user-7'", []).unwrap();
    let keep = "CREATE TRIGGER keep BEFORE DELETE ON profile BEGIN SELECT RAISE(IGNORE); END";
    connection.execute_batch(keep).unwrap();
    connection.close().unwrap();
    desk.run(&["delete", "--guru", "another", "user-1"]).refused(&["has a trigger", "such as a trigger"]);
    let damaged = desk.run(&["get", "--guru", "another", "user-7"]);
    damaged.refused(&[
        "\"user-7\"",
        "store: sqlite:profiles.db (the default",
        "delete the profile named above",
    ]);
}

/// Without --ndjson, the first line is enough: the input may never end.
#[test]
fn ndjson_is_noticed_at_its_first_line() {
    let desk = Desk::new();
    let mut child = desk.start(&UPSERT);
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(format!("\n{}", line("ada", "{}")).as_bytes()).unwrap();
    let started = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if started.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
            panic!("it waits for the end of its input");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ran::from(child.wait_with_output().unwrap())
        .refused(&["standard input has a user on each line (NDJSON)", "add --ndjson"]);
    drop(stdin);

    desk.file("users.ndjson", line("ada", "{}").trim_end());
    desk.run(&["upsert", "--guru", "g", "users.ndjson"]).refused(&["users.ndjson has a user on each line"]);
    assert!(!desk.has("profiles.db"), "it is noticed before a store is made");
}

/// The second line shows it if the first one is broken, or may be a request.
#[test]
fn ndjson_is_noticed_by_its_shape() {
    let desk = Desk::new();
    let ada = line("ada", "{}");
    let request = r#"{"external_user_id":"x","users":[{"external_user_id":"ada","memory":{}}]}"#;
    for first in [
        "oops",
        r#"{"external_user_id":"eve","memory":{"#,
        r#"{"external_user_id":null,"memory":{}}"#,
        r#"{"external_user_id":"eve","external_user_id":"eve","memory":{}}"#,
        r#"{"memory":{}}"#,
        "\u{feff}{\"memory\":{}}",
        request,
    ] {
        let noticed = desk.run_with(&UPSERT, format!("{first}\n\n{ada}"));
        noticed.refused(&["has a user on each line (NDJSON)", "add --ndjson"]);
    }
    assert!(!desk.has("profiles.db"));
    for body in [format!("{request}\n"), format!("{{\"users\":[\n{ada}]}}\n")] {
        assert_eq!(desk.run_with(&UPSERT, body).status, 0);
    }
    for neither in ["[1,null]", "[1,null]\n[2,null]\n", "\u{feff}{\"users\":[]}"] {
        desk.run_with(&UPSERT, neither).refused(&["fix the request"]);
    }
}

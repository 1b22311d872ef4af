//! Copies, exports, imports, and looking after a store.

use std::fs;
use std::io::{BufRead, BufReader};

use profile_store::{HasGurus as _, Limits, Memory, ProfileStore as _, StoreOptions, User};

use super::{Desk, REQUEST, RESPONSE, Ran, UPSERT, failure, filled, line};

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

/// The id is an end user's: neither a shell nor a terminal acts on it.
#[test]
fn a_copy_that_is_cut_short_says_where_to_start() {
    for (id, start) in [("a'b", r"'g/a'\''b'"), (r"a'\u001b[2J\u009b\\", r"$'g/a\'\033[2J\302\233\\'")] {
        let desk = Desk::new();
        for (guru, id) in [("g", id), ("h", "ada")] {
            desk.run_with(&["upsert", "--guru", guru, "--ndjson", "-"], line(id, "{}")).did(0, "");
        }
        let connection = rusqlite::Connection::open(desk.0.path().join("profiles.db")).unwrap();
        connection.execute("UPDATE profile SET checksum = 0 WHERE external_user_id = 'ada'", []).unwrap();
        connection.close().unwrap();
        let copy = desk.run(&["copy", "sqlite:copy.db"]);
        copy.refused(&[&format!("copied as far as --start {start}\n"), "\"ada\"", "is damaged"]);
    }
}

/// A copy from a start would never write what has changed before it.
#[test]
fn a_copy_that_is_not_verified_says_no_start() {
    let desk = filled("sqlite:profiles.db");
    let copy = ["copy", "sqlite:copy.db"];
    desk.run(&copy).did(0, "");
    let changed = line("user-7", "{\"n\":-1}");
    desk.run_with(&["upsert", "--guru", "another", "--ndjson", "-"], changed).did(0, "");
    let from_a_start = desk.run(&[&copy[..], &["--start", "my-guru/user1-id"]].concat());
    from_a_start.refused(&["1 profiles differ from their copies", "leave out --start"]);
    assert!(!from_a_start.stderr.contains("copied as far as"), "{}", from_a_start.stderr);
    desk.run(&copy).says(&["5002 profiles copied and verified, 1 of them written"]);
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
        .did(1, &failure(2, "\"user-0\"", "etag does not match the memory"));

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

/// All files, by their names and content.
fn files(desk: &Desk) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in walk(desk.0.path()) {
        files.push((entry.display().to_string(), fs::read(&entry).unwrap()));
    }
    files.sort();
    files
}

fn walk(directory: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let files = entries.filter(|path| !path.is_symlink());
    files.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[cfg(unix)]
#[test]
fn a_store_is_not_copied_to_itself_by_any_path() {
    let desk = Desk::new();
    let (here, at) = (desk.0.path().display().to_string(), |name: &str| desk.0.path().join(name));
    for (scheme, name) in [("sqlite", "p.db"), ("sled", "p.sled"), ("fjall", "p.fjall")] {
        let store = format!("{scheme}:{name}");
        desk.run_with(&[&["--store", &store], &UPSERT[..]].concat(), REQUEST).did(0, RESPONSE);
        std::os::unix::fs::symlink(name, at(&format!("link-{name}"))).unwrap();
        std::os::unix::fs::symlink(&here, at(&format!("directory-{scheme}"))).unwrap();
        let mut others = vec![
            format!("{name}"),
            format!("./{name}"),
            format!("{name}/"),
            format!("{here}/{name}"),
            format!("//{here}/{name}"),
            format!("directory-{scheme}/../{}/{name}", here.rsplit('/').next().unwrap()),
            format!("directory-{scheme}/{name}"),
            format!("link-{name}"),
        ];
        if scheme == "sqlite" {
            fs::hard_link(at(name), at("hard.db")).unwrap();
            others.push("hard.db".to_owned());
        }
        let before = files(&desk);
        for other in others {
            let copy = desk.run(&["copy", "--store", &store, &format!("{scheme}:{other}")]);
            copy.refused(&["can't be copied to itself", "nothing was written", &other, "name another store"]);
            assert_eq!(files(&desk), before, "{scheme}:{other}");
        }
    }
    let other = ["copy", "--store", "sqlite:p.db", "sqlite:other.db"];
    desk.run(&other).says(&["2 profiles copied and verified, 2 of them written"]);
    desk.run(&["copy", "--store", "memory:", "memory:"]).did(0, "");
}

#[test]
fn an_export_that_is_cut_off_does_not_look_whole() {
    let cut_off = |desk: &Desk, lines: usize| {
        let mut child = desk.start(&["export"]);
        let mut reader = BufReader::new(child.stdout.take().unwrap());
        for _ in 0..lines {
            reader.read_line(&mut String::new()).unwrap();
        }
        drop(reader);
        let ran = Ran::from(child.wait_with_output().unwrap());
        assert_eq!(ran.status, 2, "{}", ran.stderr);
        ran.says(&["the export was cut off", "what to do: export again"]);
    };
    cut_off(&filled("sqlite:profiles.db"), 1);
    // Less than a buffer: only the last flush shows it.
    let desk = Desk::new();
    desk.run_with(&UPSERT, REQUEST).did(0, RESPONSE);
    cut_off(&desk, 0);
}

#[cfg(target_os = "linux")]
#[test]
fn an_export_to_a_full_disk_fails() {
    let desk = Desk::new();
    desk.run_with(&UPSERT, REQUEST).did(0, RESPONSE);
    let mut export = desk.command(&["export"]);
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = Ran::from(export.stdout(full).output().unwrap());
    ran.refused(&["can't write to standard output", "because: No space left on device", "make room"]);
}

#[cfg(unix)]
#[test]
fn an_export_to_what_takes_nothing_fails() {
    let desk = Desk::new();
    desk.run_with(&UPSERT, REQUEST).did(0, RESPONSE);
    let only_read = fs::File::open("/dev/null").unwrap();
    let ran = Ran::from(desk.command(&["export"]).stdout(only_read).output().unwrap());
    ran.refused(&["can't write to standard output", "because: Bad file descriptor"]);
}

#[test]
fn damaged_records_can_be_left_out() {
    let desk = filled("sqlite:profiles.db");
    let connection = rusqlite::Connection::open(desk.0.path().join("profiles.db")).unwrap();
    connection.execute("UPDATE profile SET checksum = 0 WHERE external_user_id = 'user-7'", []).unwrap();
    connection.close().unwrap();
    let swept =
        ["another", "my-guru", "my-guru-2"].map(|guru| format!("{{\"guru\":\"{guru}\",\"swept\":0}}\n"));
    let exported = 5000;
    for (command, lines) in [
        (&["copy", "sqlite:copy.db"][..], 0),
        (&["export"], exported),
        (&["sweep", "--days", "1"], swept.len()),
        (&["sweep", "--days", "1", "--dry-run"], swept.len()),
    ] {
        let stopped = desk.run(command);
        assert_eq!(stopped.status, 2, "{command:?}");
        stopped.says(&["\"user-7\"", "is damaged", "restore the store from a backup"]);
        let ran = desk.run(&[command, &["--skip-damaged"]].concat());
        assert_eq!((ran.status, ran.stdout.lines().count()), (1, lines), "{command:?} {}", ran.stderr);
        ran.says(&["profile \"user-7\" of guru \"another\" is damaged", "2 damaged records left out"]);
        assert_eq!(ran.stderr.matches("is damaged").count(), 2, "{}", ran.stderr);
    }
    desk.run(&["count", "--store", "sqlite:copy.db", "--guru", "another"]).did(0, "2499\n");
}

#[test]
fn a_sweep_passes_over_a_damaged_guru() {
    let desk = filled("sqlite:profiles.db");
    let connection = rusqlite::Connection::open(desk.0.path().join("profiles.db")).unwrap();
    connection.execute("UPDATE guru SET checksum = 0 WHERE slug = 'my-guru'", []).unwrap();
    connection.close().unwrap();
    let stopped = desk.run(&["sweep", "--days", "1"]);
    stopped.did(2, "{\"guru\":\"another\",\"swept\":0}\n");
    stopped.says(&["guru \"my-guru\" is damaged", "with --skip-damaged"]);
    // Those before the damaged one are listed.
    desk.run(&["gurus"]).did(2, "another\n");
    let ran = desk.run(&["sweep", "--days", "1", "--skip-damaged"]);
    let swept =
        ["another", "my-guru-2"].map(|guru| format!("{{\"guru\":\"{guru}\",\"swept\":0}}\n")).concat();
    ran.did(1, &swept);
    ran.says(&["guru \"my-guru\" is damaged", "1 damaged records left out"]);
    // What is asked for is that guru, so nothing is left.
    let one = ["sweep", "--days", "1", "--skip-damaged", "--guru", "my-guru"];
    for more in [&[][..], &["--dry-run"]] {
        desk.run(&[&one[..], more].concat()).refused(&["guru \"my-guru\" is damaged"]);
    }
}

/// A service may have opened its store with larger limits.
#[test]
fn profiles_beyond_the_usual_limits_are_copied_and_imported() {
    let desk = Desk::new();
    let limits = Limits::default().with_memory_bytes(4 << 20).with_id_bytes(300).with_memory_depth(100);
    let options = StoreOptions::default().with_limits(limits);
    let path = desk.0.path().join("large.db");
    let store = pollster::block_on(profile_store::SqliteStore::open_with(&path, options)).unwrap();
    let nested = format!("{{\"a\":{}{},\"b\":\"{}\"}}", "[".repeat(90), "]".repeat(90), "x".repeat(2 << 20));
    let user = User::new("i".repeat(290), Memory::from_json(&nested).unwrap());
    pollster::block_on(store.guru("g").unwrap().upsert(user)).unwrap();
    pollster::block_on(store.close()).unwrap();
    let copied = desk.run(&["copy", "--store", "sqlite:large.db", "sqlite:copy.db"]);
    copied.did(0, "");
    copied.says(&["1 profiles copied and verified, 1 of them written"]);
    let exported = desk.run(&["export", "--store", "sqlite:large.db"]).stdout;
    let imported = desk.run_with(&["import", "--store", "sqlite:again.db", "-"], &exported);
    imported.did(0, "");
    imported.says(&["1 created"]);
    assert_eq!(desk.run(&["export", "--store", "sqlite:again.db"]).stdout, exported);
}

#[test]
fn lines_count_alike_and_say_the_column() {
    let desk = Desk::new();
    let lines = format!("\n{}{{\"external_user_id\":}}\n", line("ada", "[]"));
    let broken = "is not valid JSON: expected value at column 21";
    desk.run_with(&["upsert", "--guru", "g", "--ndjson", "-"], &lines).did(
        1,
        &[
            failure(2, "\"ada\"", "memory must be a JSON object"),
            failure(3, "null", &format!("User {broken}")),
        ]
        .concat(),
    );
    let not_a_profile = "line is not a profile: wrong at column 38";
    desk.run_with(&["import", "-"], &lines).did(
        1,
        &[failure(2, "\"ada\"", not_a_profile), failure(3, "null", &format!("line {broken}"))].concat(),
    );
}

#[test]
fn a_sweep_can_be_tried_first() {
    let desk = filled("sqlite:profiles.db");
    let exported = desk.run(&["export", "--guru", "my-guru"]).stdout;
    let old = exported.replace("\"my-guru\"", "\"old\"");
    let time = old.split("\"created_at\":\"").nth(1).unwrap().split('"').next().unwrap();
    let (first, year) = (old.lines().next().unwrap(), &time[..4]);
    let aged = first.replace(&format!("_at\":\"{year}"), "_at\":\"2020");
    desk.run_with(&["import", "-"], aged).did(0, "");
    let line = |name, count| format!("{{\"guru\":\"old\",\"{name}\":{count}}}\n");
    let sweep = ["sweep", "--guru", "old", "--days", "30"];
    for _ in 0..2 {
        desk.run(&[&sweep[..], &["--dry-run"]].concat()).did(0, &line("to_sweep", 1));
    }
    desk.run(&[&sweep[..], &["--dry-run", "--skip-damaged"]].concat()).did(0, &line("to_sweep", 1));
    desk.run(&sweep).did(0, &line("swept", 1));
    desk.run(&[&sweep[..], &["--dry-run"]].concat()).did(0, &line("to_sweep", 0));
}

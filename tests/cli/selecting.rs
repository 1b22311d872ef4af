//! Reading and deleting: by id, by prefix, by content, in full and in part.

use super::{Desk, IMPORT, REQUEST, RESPONSE, UPSERT, line};

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
fn get_prints_the_whole_profile_or_a_part_of_it() {
    let desk = Desk::new();
    let memory = r#"{"plan":"pro","scores":[1,2.50],"n":null}"#;
    desk.run_with(&IMPORT, line("ada", memory)).did(0, "");
    let get = |options: &[&str]| desk.run(&[&["get", "--guru", "my-guru", "ada", "eve"], options].concat());
    let listed = desk.run(&["list", "--guru", "my-guru"]).stdout;
    assert!(listed.contains(r#""etag":""#) && listed.contains(r#""updated_at":""#), "{listed}");
    get(&["--json"]).did(0, &format!("{listed}null\n"));
    for (pointer, text) in
        [("/plan", "\"pro\""), ("/scores/1", "2.50"), ("/n", "null"), ("/x", "null"), ("", memory)]
    {
        get(&["--at", pointer]).did(0, &format!("{text}\nnull\n"));
    }
}

#[test]
fn profiles_are_chosen_by_prefix_and_content() {
    let desk = Desk::new();
    let plans = ["\"pro\"", "\"free\"", "null", "1.0"];
    let users = (0..2400)
        .map(|n| line(&format!("org{}:{n:04}", n % 3), &format!("{{\"plan\":{},\"n\":{n}}}", plans[n % 4])));
    desk.run_with(&IMPORT, users.collect::<String>()).did(0, "");
    let count = |options: &[&str]| {
        let ran = desk.run(&[&["count", "--guru", "my-guru"], options].concat());
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        ran.stdout.trim_end().parse::<usize>().unwrap()
    };
    for (options, expected) in [
        (&["--prefix", "org1:"][..], 800),
        (&["--prefix", "org1:000"], 3),
        (&["--where", "/plan=\"pro\""], 600),
        (&["--where", "/plan=1"], 600),
        (&["--prefix", "org1:", "--where", "/plan=\"pro\""], 200),
        (&["--where", "/plan=\"pro\"", "--where", "/n=8"], 1),
        (&["--where", "/plan=\"pro\"", "--where", "/n=9"], 0),
    ] {
        assert_eq!(count(options), expected, "{options:?}");
        let list = desk.run(&[&["list", "--guru", "my-guru"], options].concat());
        assert_eq!((list.status, list.stdout.lines().count()), (0, expected), "{options:?}");
        let export = desk.run(&[&["export", "--guru", "my-guru"], options].concat());
        assert_eq!((export.status, export.stdout.lines().count()), (0, expected), "{options:?}");
    }
    let page = ["list", "--guru", "my-guru", "--prefix", "org2:", "--after", "org1:", "--limit", "2"];
    let listed = desk.run(&page).stdout;
    assert!(listed.starts_with(r#"{"external_user_id":"org2:0002""#), "{listed}");
    assert_eq!(listed.lines().count(), 2);

    let delete = |options: &[&str], deleted: usize| {
        let delete = desk.run(&[&["delete", "--guru", "my-guru"], options].concat());
        delete.did(0, &format!("{{\"guru\":\"my-guru\",\"deleted\":{deleted}}}\n"));
    };
    delete(&["--prefix", "org1:", "--where", "/plan=null"], 200);
    delete(&["--where", "/plan=null"], 400);
    delete(&["--prefix", "org2:"], 600);
    assert_eq!(count(&[]), 1200);
}

#[test]
fn upserts_can_merge_or_only_create() {
    let desk = Desk::new();
    let body = |memory: &str| format!(r#"{{"users":[{{"external_user_id":"ada","memory":{memory}}}]}}"#);
    let upsert = |option: &str, memory: &str| {
        let lines = desk.run_with(&[&IMPORT[..], &[option]].concat(), line("ada", memory));
        let whole = desk.run_with(&[&UPSERT[..], &[option]].concat(), body(memory));
        assert_eq!(lines.status, whole.status, "{} {}", lines.stderr, whole.stderr);
        (lines, whole)
    };
    let get = |memory: &str| desk.run(&["get", "--guru", "my-guru", "ada"]).did(0, &format!("{memory}\n"));
    desk.run_with(&[&UPSERT[..], &["--if-absent"]].concat(), body(r#"{"a":1,"b":2}"#)).says(&["1 created"]);
    let (lines, whole) = upsert("--if-absent", r#"{"a":9}"#);
    lines.did(1, &super::failure(1, "\"ada\"", "profile exists already"));
    assert!(whole.stdout.contains(r#""errors":["profile exists already"]"#), "{}", whole.stdout);
    get(r#"{"a":1,"b":2}"#);

    let (lines, whole) = upsert("--merge", r#"{"b":null,"c":{"d":3}}"#);
    lines.says(&["0 created, 1 updated, 0 unchanged, 0 failed"]);
    whole.says(&["0 created, 0 updated, 1 unchanged, 0 failed"]);
    get(r#"{"a":1,"c":{"d":3}}"#);
}

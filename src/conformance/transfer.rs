//! Profiles on their way to another store, or to a file and back (A3, S7).

use pollster::block_on;

use super::harness::{
    MakeFixture, Stage, Subject, assert_begins, assert_fails, assert_holds, body, id, slug,
};
use crate::backends::memory::MemoryStore;
use crate::model::error::ErrorKind;
use crate::model::limits::Limits;
use crate::model::memory::Memory;
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;
use crate::store::contract::ProfileStore;
use crate::store::handle::Guru;
use crate::transfer::copy::{CopyOptions, CopyPhase, CopyProgress, copy};
use crate::transfer::export::Export;
use crate::transfer::import::Import;
use crate::transfer::walk::Position;

/// A profile with its times in microseconds.
fn profile(name: &str, memory: &str, created_at: i64, updated_at: i64) -> Profile {
    let memory = Memory::from_json(memory).expect("a valid memory");
    Profile::new(id(name), memory, Timestamp::from_micros(created_at), Timestamp::from_micros(updated_at))
}

/// Ids, memories and times that are easily lost on the way.
fn delicate() -> Vec<Profile> {
    vec![
        profile("\u{1}", "{}", 0, 0),
        profile("a", r#"{"b":1.0,"a":1E2,"b":"\u0000\/"}"#, 1, 1_767_225_600_123_457),
        profile("a/b,\"c\"\n", r#"{"n":1180591620717411303424}"#, 7, 8),
        profile("\u{10ffff}", r#"{"deep":[[[[{}]]]]}"#, 253_402_300_799_999_999, 253_402_300_799_999_999),
    ]
}

/// A store in memory with three gurus, one of several pages.
fn source() -> Subject {
    let store = Subject(std::sync::Arc::new(MemoryStore::new()));
    store.fill("big", body((0..2500).map(|n| (format!("user-{n:04}"), format!(r#"{{"n":{n}}}"#)))));
    store.restore("g", delicate());
    store.restore("g-", delicate());
    store
}

fn everything(store: &Subject) -> Vec<(String, Vec<Profile>)> {
    store.gurus().into_iter().map(|guru| (guru.clone(), store.list(&guru, 1000))).collect()
}

fn copy_all(from: &Subject, to: &Subject) -> (u64, u64) {
    let copied = block_on(copy(&from.0, &to.0, CopyOptions::default())).expect("the copy is made");
    (copied.profiles, copied.written)
}

/// S7, A3.
pub(super) fn restoring_keeps_times_and_etags(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let restored = store.restore("g", delicate());
    assert_eq!((restored.created, restored.updated, restored.unchanged), (4, 0, 0));
    let store = stage.reopened(store);
    assert_eq!(store.list("g", 10), delicate());
    assert_eq!(store.count("g"), 4);
    // In the place of another one, whose times go with it.
    assert_eq!(store.profile("g", "a"), delicate()[1]);
    let elder = profile("a", r#"{"n":2}"#, 0, 1_767_225_600_123_457);
    assert_eq!(store.restore("g", vec![elder.clone()]).updated, 1);
    assert_eq!(store.profile("g", "a"), elder);
    let younger = profile("a", r#"{"n":2}"#, 5, 1_767_225_600_123_457);
    assert_eq!(store.restore("g", vec![younger.clone()]).updated, 1);
    let store = stage.reopened(store);
    assert_eq!(store.profile("g", "a"), younger);
    // From then on it is a profile like any other.
    let changed = stage.clock.advance();
    store.put("g", "a", r#"{"n":3}"#);
    let after = store.profile("g", "a");
    assert_eq!((after.created_at.as_micros(), after.updated_at), (5, changed));
}

/// S5.
pub(super) fn restoring_again_changes_nothing(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.restore("g", delicate());
    stage.clock.advance();
    let again = store.restore("g", delicate());
    assert_eq!((again.created, again.updated, again.unchanged), (0, 0, 4));
    assert_eq!(store.list("g", 10), delicate());
    assert_eq!(store.restore("g", Vec::new()), Default::default());
    // The same id twice: the later state wins, in any order.
    let (old, new) = (profile("twice", "{}", 1, 2), profile("twice", r#"{"n":1}"#, 1, 3));
    for pair in [[old.clone(), new.clone()], [new.clone(), old.clone()]] {
        store.delete("g", "twice");
        assert_eq!(store.restore("g", pair.to_vec()).created, 2);
        assert_eq!(store.profile("g", "twice"), new);
    }
}

/// S7.
pub(super) fn what_is_newer_stays(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    store.put("g", "u", r#"{"n":"new"}"#);
    let there = store.profile("g", "u");
    let at = there.updated_at.as_micros();
    assert_eq!(store.restore("g", vec![profile("u", "{}", 1, at - 1)]).unchanged, 1);
    assert_eq!(store.profile("g", "u"), there);
    assert_eq!(store.restore("g", vec![profile("u", "{}", 1, at)]).updated, 1);
    assert_eq!(store.profile("g", "u"), profile("u", "{}", 1, at));
}

/// S7: after it no time shows which state is newer.
pub(super) fn nothing_is_restored_over_the_last_moment(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened(make);
    let last = Timestamp::LAST.as_micros();
    let imported = || vec![profile("u", r#"{"n":1}"#, 1, last)];
    assert_eq!(store.restore("g", imported()).created, 1);
    store.put("g", "u", r#"{"n":2}"#);
    assert_eq!(store.profile("g", "u"), profile("u", r#"{"n":2}"#, 1, last));
    assert_eq!(store.restore("g", imported()).unchanged, 1);
    assert_eq!(store.memory("g", "u").as_deref(), Some(r#"{"n":2}"#));
    let from = MemoryStore::new();
    block_on(Guru::new(&from, slug("g")).restore(imported())).expect("the profile is restored");
    let told = block_on(copy(&from, &store.0, CopyOptions::default()));
    let error = assert_fails(told, ErrorKind::Conflict, "copying a profile that is not written");
    assert_holds(&error.to_string(), "1 profiles differ from their copies, first \"u\" of guru \"g\"");
    // What another copy mends is told first.
    let write = |progress: &CopyProgress| {
        if progress.phase == CopyPhase::Copying {
            block_on(Guru::new(&from, slug("g")).restore(vec![profile("v", "{}", 1, 1)]))
                .expect("it is restored");
        }
    };
    let told = block_on(copy(&from, &store.0, CopyOptions::default().with_progress(write)));
    assert_fails(told, ErrorKind::Busy, "copying while another profile is written");
}

/// A5, S3: nothing is stored where one is over the limits.
pub(super) fn what_does_not_fit_is_not_restored(make: MakeFixture<'_>) {
    let limits = Limits::default().with_memory_bytes(20).with_id_bytes(4).with_memory_depth(2);
    let (_stage, store) = Stage::opened_with(make, limits.with_batch_items(3));
    let good = || profile("good", "{}", 1, 1);
    let long = format!(r#"{{"long":"{}"}}"#, "x".repeat(20));
    for unfit in
        [profile("u", &long, 1, 1), profile("u", r#"{"a":[[]]}"#, 1, 1), profile("long-id", "{}", 1, 1)]
    {
        let told = block_on(store.guru("g").restore(vec![good(), unfit.clone()]));
        let error = assert_fails(told, ErrorKind::InvalidInput, &format!("restoring {unfit:?}"));
        assert_holds(&error.to_string(), unfit.external_user_id.as_str());
    }
    let many = (0..4).map(|n| profile(&format!("u{n}"), "{}", 1, 1)).collect();
    let told = block_on(store.guru("g").restore(many));
    assert_fails(told, ErrorKind::InvalidInput, "restoring more than a batch takes");
    let mut import = Import::profiles(&*store.0);
    let line = r#"{"guru":"g","external_user_id":"long-id","memory":{},"created_at":"2026-01-01T00:00:00Z","updated_at":"2026-01-01T00:00:00Z"}"#;
    let told = block_on(async {
        assert_eq!(*import.push(line.as_bytes()).await?, [], "the line has not ended");
        import.finish().await
    });
    assert_eq!(told.expect("the store is asked for nothing").len(), 1);
    assert_eq!(store.count("g"), 0);
    assert_eq!(store.restore("g", vec![good()]).created, 1);
}

/// S7, S8, L1: to the store and away from it, by pages of its own limit.
pub(super) fn copying_brings_everything(make: MakeFixture<'_>) {
    let from = source();
    let (stage, store) = Stage::opened_with(make, Limits::default().with_batch_items(700));
    store.put("other", "stays", "{}");
    assert_eq!(copy_all(&from, &store), (2508, 2508));
    assert_eq!(copy_all(&from, &store), (2508, 0), "the second time");
    let store = stage.reopened(store);
    store.delete_guru("other");
    assert_eq!(everything(&store), everything(&from));
    let back = Subject(std::sync::Arc::new(MemoryStore::new()));
    assert_eq!(copy_all(&store, &back), (2508, 2508));
    assert_eq!(everything(&back), everything(&from));
    // Only one guru.
    let one = Subject(std::sync::Arc::new(MemoryStore::new()));
    let options = CopyOptions::default().with_guru(slug("g"));
    assert_eq!(block_on(copy(&store.0, &one.0, options)).expect("the copy is made").profiles, 4);
    assert_eq!(one.gurus(), ["g"]);
}

/// S5, S8.
pub(super) fn copying_goes_on_where_it_stopped(make: MakeFixture<'_>) {
    let from = source();
    let (_stage, store) = Stage::opened(make);
    let mut told = Vec::new();
    let options = CopyOptions::default().with_progress(|progress| told.push(progress.clone()));
    block_on(copy(&from.0, &store.0, options)).expect("the copy is made");
    let copying =
        |told: &[CopyProgress]| told.iter().filter(|progress| progress.phase == CopyPhase::Copying).count();
    assert_eq!((copying(&told), told.len()), (5, 10), "three pages, and two");
    let wrong: Vec<_> =
        told.iter().filter(|progress| progress.total != 2508 || progress.done > 2508).collect();
    assert!(wrong.is_empty(), "progress: expected 2508 in total, and no more done, got {wrong:?}");
    assert_eq!(told[4].done, 2508);
    assert_eq!(told[1].position, Position { guru: slug("big"), after: id("user-1999") });
    // Profiles after it are copied again, profiles before it only verified.
    store.delete("big", "user-2400");
    store.delete_guru("g");
    let start = told[1].position.clone();
    let options = CopyOptions::default().with_start(start.clone());
    let copied = block_on(copy(&from.0, &store.0, options)).expect("the copy is made");
    assert_eq!((copied.profiles, copied.written), (508, 5));
    assert_eq!(everything(&store), everything(&from));
    // A place in another guru is none in this one.
    let options = CopyOptions::default().with_guru(slug("g")).with_start(start.clone());
    let copied = block_on(copy(&from.0, &store.0, options)).expect("the copy is made");
    assert_eq!(copied.profiles, block_on(from.0.count(&slug("g"))).expect("the store counts"));
    store.delete("big", "user-0000");
    let again = block_on(copy(&from.0, &store.0, CopyOptions::default().with_start(start)));
    let error = assert_fails(again, ErrorKind::Busy, "copying while a profile is missing");
    assert_holds(&error.to_string(), "\"user-0000\"");
}

/// S9.
pub(super) fn copying_notices_a_source_that_is_written_to(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.put("g", "u", "{}");
    stage.clock.advance();
    let to = MemoryStore::new();
    let write = |progress: &CopyProgress| {
        if progress.phase == CopyPhase::Copying {
            store.put("g", "u", r#"{"n":1}"#);
        }
    };
    let told = block_on(copy(&store.0, &to, CopyOptions::default().with_progress(write)));
    assert_fails(told, ErrorKind::Busy, "a copy while others write");
    block_on(copy(&store.0, &to, CopyOptions::default())).expect("the copy is made");
    assert_eq!(block_on(Guru::new(&to, slug("g")).get("u")).expect("read"), store.get("g", "u"));
}

fn export<S: ProfileStore + ?Sized>(mut export: Export<'_, S>) -> String {
    let mut lines = String::new();
    while let Some(more) = block_on(export.next()).expect("the store is read") {
        lines.push_str(&more);
    }
    lines
}

/// A3, S7.
pub(super) fn an_export_is_imported_to_the_byte(make: MakeFixture<'_>) {
    let from = source();
    let file = export(Export::profiles(&from.0));
    assert_eq!(file.lines().count(), 2508);
    let (stage, store) = Stage::opened(make);
    let mut import = Import::profiles(&store.0).with_batch_lines(300);
    for piece in file.as_bytes().chunks(997) {
        assert_eq!(*block_on(import.push(piece)).expect("the store takes it"), []);
    }
    assert_eq!(*block_on(import.finish()).expect("the store takes it"), []);
    let imported = import.imported();
    assert_eq!((imported.lines, imported.created, imported.failed), (2508, 2508, 0));
    let store = stage.reopened(store);
    assert_eq!(everything(&store), everything(&from));
    assert_eq!(export(Export::profiles(&store.0)), file);
    let one = export(Export::profiles(&store.0).with_guru(slug("g-")));
    let last: Vec<_> = file.lines().skip(2504).collect();
    assert_eq!(one.lines().collect::<Vec<_>>(), last, "the guru that comes last");
    let moment = stage.clock.now();
    store.put("g", "a", "{}");
    let changed = export(Export::profiles(&store.0).with_guru(slug("g")).with_updated_since(moment));
    assert_eq!(changed.lines().count(), 2, "the changed one, and one of the year 9999");
}

/// A3.
pub(super) fn users_alone_are_exported_too(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.restore("g", delicate());
    let file = export(Export::users(&store.0, &slug("g")));
    assert_begins(&file, "{\"external_user_id\":\"\\u0001\",\"memory\":{}}\n");
    stage.clock.advance();
    let mut import = Import::users(&store.0, &slug("h"));
    // The last line without its newline.
    assert_eq!(*block_on(import.push(file.trim_end().as_bytes())).expect("the store takes it"), []);
    assert_eq!(*block_on(import.finish()).expect("the store takes it"), []);
    assert_eq!((import.imported().created, import.imported().lines), (4, 4));
    assert_eq!(export(Export::users(&store.0, &slug("h"))), file);
    let mut again = Import::users(&store.0, &slug("g"));
    assert_eq!(*block_on(again.push(file.as_bytes())).expect("the store takes it"), []);
    assert_eq!(*block_on(again.finish()).expect("the store takes it"), []);
    assert_eq!(again.imported().unchanged, 4);
    assert_eq!(store.list("g", 10), delicate());
}

/// R2.
pub(super) fn a_bad_line_costs_no_good_one(make: MakeFixture<'_>) {
    let (_stage, store) = Stage::opened_with(make, Limits::default().with_memory_bytes(8 << 10));
    let long = "x".repeat(70_000);
    let users = format!(
        "{{\"external_user_id\":\"a\",\"memory\":{{}}}}\n\nnonsense\n{{\"external_user_id\":\"b\"}}\n{long}\n{{\"external_user_id\":\"c\",\"memory\":{{}}}}"
    );
    let mut import = Import::users(&store.0, &slug("g"));
    let mut failures = Vec::new();
    for piece in users.as_bytes().chunks(1000) {
        failures.extend(block_on(import.push(piece)).expect("the store takes it"));
    }
    failures.extend(block_on(import.finish()).expect("the store takes it"));
    let told: Vec<_> = failures.iter().map(|failure| (failure.line, failure.errors.join(", "))).collect();
    assert_eq!(told.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [3, 4, 5], "{told:?}");
    assert_eq!(told[1].1, "Missing memory data");
    assert_eq!(failures[1].external_user_id.as_deref(), Some("b"));
    assert_eq!(told[2].1, "line must be at most 65536 bytes");
    assert_eq!((import.imported().lines, import.imported().created, import.imported().failed), (6, 2, 3));
    assert_eq!(store.ids("g"), ["a", "c"]);

    let good = export(Export::profiles(&store.0));
    let lines = good.split_once('\n');
    let (first, second) = lines.unwrap_or_else(|| panic!("the export: expected two lines, got {good:?}"));
    let profiles = format!("{first}\n{}\n{second}", first.replace("\"memory\":{}", "\"memory\":{\"n\":1}"));
    let mut import = Import::profiles(&store.0);
    let failures = block_on(import.push(profiles.as_bytes())).expect("the store takes it");
    assert_eq!(failures.len(), 1, "{failures:?}");
    assert_eq!(
        (failures[0].line, failures[0].external_user_id.as_deref(), failures[0].errors.as_slice()),
        (2, Some("a"), &["etag does not match the memory".to_owned()][..])
    );
    assert_eq!(*block_on(import.finish()).expect("the store takes it"), []);
    assert_eq!((import.imported().unchanged, import.imported().failed), (2, 1));

    // A profile that could not be stored is not passed over in silence.
    let mut import = Import::profiles(&store.0).with_batch_lines(1);
    store.close();
    for _ in 0..2 {
        let told = block_on(import.push(profiles.as_bytes()));
        assert_fails(told, ErrorKind::Closed, "importing to a closed store");
    }
    assert_fails(block_on(import.finish()), ErrorKind::Closed, "the end, where a piece is missing");
}

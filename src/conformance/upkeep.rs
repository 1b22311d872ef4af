//! Looking after a store: retention, size, compaction, health, scrubbing (L2, L3, S12).

use pollster::block_on;

use super::harness::{MakeFixture, Stage, assert_sound, body, id};
use crate::admission::report::Outcome;
use crate::plan::change::Effect;
use crate::plan::writes::Condition;
use crate::plan::writes::Writes;
use crate::store::upkeep::Probe;

/// L2, S7: over several pages, and only in its own guru.
pub(super) fn sweeping_takes_what_is_old(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let ids = |range: std::ops::Range<usize>| range.map(|n| (format!("user-{n:04}"), "{}"));
    store.fill("g", body(ids(0..2500)));
    store.put("h", "old", "{}");
    let moment = stage.clock.advance();
    // Made again, changed and not changed: only the memory's change counts.
    store.fill("g", body(ids(0..5).map(|(id, _)| (id, r#"{"n":1}"#))));
    store.fill("g", body(ids(5..10)));
    assert_eq!(store.sweep("g", moment), 2495);
    assert_eq!(store.ids("g"), ids(0..5).map(|(id, _)| id).collect::<Vec<_>>());
    assert_eq!((store.count("g"), store.count("h")), (5, 1));
    assert_eq!(store.sweep("g", moment), 0);
    assert_eq!(store.sweep("unknown", moment), 0);
    let store = stage.reopened(store);
    assert_eq!((store.count("g"), store.count("h")), (5, 1));
}

/// S7, L2: a profile that changes after it was found to be old is kept.
pub(super) fn what_changes_is_not_swept(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.put("g", "kept", "{}");
    store.put("g", "swept", "{}");
    let moment = stage.clock.advance();
    // Changed and changed back: the memory and its ETag are those that were found.
    store.put("g", "kept", r#"{"n":1}"#);
    store.put("g", "kept", "{}");
    let found = [id("kept"), id("swept"), id("absent")];
    let (batch, _) = Writes::deleting(&found, Condition::UpdatedBefore(moment));
    let applied = block_on(store.0.apply(&super::harness::slug("g"), batch)).expect("the store deletes");
    assert_eq!(applied.effects(), [Effect::Unchanged, Effect::Deleted, Effect::Absent]);
    assert_eq!(store.ids("g"), ["kept"]);
}

/// L1.
pub(super) fn stats_tell_what_is_there(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let empty = store.stats();
    assert_eq!((empty.gurus, empty.profiles), (0, 0));
    let users: Vec<_> = (0..300).map(|n| (format!("user-{n}"), format!(r#"{{"n":{n}}}"#))).collect();
    store.fill("g", body(users.clone()));
    store.fill("h", body(users.into_iter().take(20)));
    let store = stage.reopened(store);
    let full = store.stats();
    assert_eq!((full.gurus, full.profiles), (2, 320));
    store.delete_guru("g");
    store.delete("h", "user-3");
    let stats = store.stats();
    assert_eq!((stats.gurus, stats.profiles), (1, 19));
}

/// L3, S9.
pub(super) fn compacting_keeps_everything(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    store.compact();
    let users = |n: usize| (0..n).map(|n| (format!("user-{n:03}"), format!(r#"{{"n":{n}}}"#)));
    store.fill("g", body(users(200)));
    store.fill("h", body(users(200)));
    store.delete_guru("g");
    store.fill("h", body(users(100).map(|(id, _)| (id, "{}"))));
    stage.clock.advance();
    let before = store.list("h", 1000);
    store.compact();
    assert_eq!(store.list("h", 1000), before);
    assert_eq!(store.put("h", "user-150", r#"{"n":150}"#), Outcome::Unchanged);
    assert_eq!(store.put("g", "user-000", "{}"), Outcome::Created);
    let store = stage.reopened(store);
    assert_eq!(store.list("h", 1000), before);
    assert_eq!(store.ids("g"), ["user-000"]);
    assert_sound(&store.verify());
}

/// S2.
pub(super) fn a_healthy_store_says_so(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    let healthy = |store: &super::harness::Subject| {
        for probe in [Probe::Read, Probe::Write, Probe::Write] {
            block_on(store.0.health(probe)).expect("the store is healthy");
        }
    };
    healthy(&store);
    store.put("g", "u", "{}");
    healthy(&store);
    healthy(&stage.reopened(store));
}

/// S5.
pub(super) fn a_probe_leaves_no_trace(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    block_on(store.0.health(Probe::Write)).expect("the store is healthy");
    assert_eq!(store.gurus(), [""; 0]);
    store.put("g", "u", "{}");
    let before = store.profile("g", "u");
    stage.clock.advance();
    block_on(store.0.health(Probe::Write)).expect("the store is healthy");
    let store = stage.reopened(store);
    assert_eq!(store.list("g", 10), [before]);
    assert_eq!(store.gurus(), ["g"]);
    assert_eq!(store.stats().profiles, 1);
}

/// S12.
pub(super) fn a_sound_store_is_told_to_be_sound(make: MakeFixture<'_>) {
    let (stage, store) = Stage::opened(make);
    assert_sound(&store.verify());
    let users: Vec<_> = (0..500).map(|n| (format!("user-{n}"), format!(r#"{{"n":{n}}}"#))).collect();
    for guru in ["g", "g-", "h"] {
        store.fill(guru, body(users.clone()));
    }
    store.delete_guru("g-");
    store.delete("h", "user-7");
    let store = stage.reopened(store);
    let verified = store.verify();
    assert_sound(&verified);
    assert_eq!((verified.profiles, verified.damaged), (999, 0));
}

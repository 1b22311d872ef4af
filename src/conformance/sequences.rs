//! Random sequences of calls, by which a store is driven beside its [`Model`].

use std::collections::BTreeMap;
use std::fmt::Write as _;

use pollster::block_on;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use serde_json::Value;

use super::harness::{HandClock, MakeFixture, Stage, Subject, errors, nested, quoted, refusal};
use super::model::{self, Held, Model};
use super::names::{FEW_IDS as IDS, FEW_SLUGS as GURUS};
use crate::admission::batch::{Batch, User};
use crate::admission::report::Outcome;
use crate::model::error::Result;
use crate::model::filter::Filter;
use crate::model::memory::Memory;
use crate::model::profile::Profile;
use crate::model::scalar::Scalar;
use crate::model::timestamp::Timestamp;
use crate::store::list::ListOptions;
use crate::store::restore::Restored;

/// How many there are unless `PROPTEST_CASES` says otherwise. So many have the time limit of a check.
pub(super) const SEQUENCES: u32 = 64;

/// R1–R3, A1–A4, W1–W6, S1–S9, S12, L1, L2, L4.
pub(super) fn the_store_does_what_the_model_does(make: MakeFixture<'_>) {
    let config = Config { failure_persistence: None, ..Config::default() };
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { config.cases } else { SEQUENCES };
    let mut runner = TestRunner::new(Config { cases, ..config });
    let steps = prop::collection::vec(step(), 1..50);
    if let Err(failure) = runner.run(&steps, |steps| drive(make, &steps)) {
        panic!("{failure}");
    }
}

const MEMORIES: [&str; 8] = [
    "{}",
    r#"{"n":1}"#,
    r#"{ "n" : 1 }"#,
    r#"{"n":1.0}"#,
    r#"{"b":[],"a":{},"b":0}"#,
    r#"{"s":"\u0000"}"#,
    r#"{"n":null,"a":{"x":1}}"#,
    r#"{"a":{"x":null,"y":[null]}}"#,
];

const PREFIXES: [&str; 6] = ["", "a", "A", "é", "%", "zz"];

/// A filter, and how the model judges, as `serde_json` reads the memory.
type Judged = (fn() -> Result<Filter>, fn(&Value) -> bool);

const FILTERS: [Judged; 6] = [
    (|| Ok(Filter::at("")?.exists()), |_| true),
    (|| Ok(Filter::at("/n")?.eq(1)), |memory| memory["n"].as_f64() == Some(1.0)),
    (|| Ok(!Filter::at("/n")?.is_null()), |memory| memory.get("n") != Some(&Value::Null)),
    (
        || Ok(Filter::at("/a/x")?.exists() | Filter::at("/s")?.ge("")),
        |memory| memory.pointer("/a/x").is_some() || memory["s"].is_string(),
    ),
    (
        || Ok(Filter::at("/a/y")?.contains(Scalar::NULL)),
        |memory| memory["a"]["y"].as_array().is_some_and(|elements| elements.contains(&Value::Null)),
    ),
    (
        || Ok(Filter::at("/b")?.lt(1) & !Filter::at("/c")?.exists()),
        |memory| memory["b"].as_f64().is_some_and(|number| number < 1.0) && memory.get("c").is_none(),
    ),
];

#[derive(Clone, Debug)]
enum Step {
    Upsert { guru: usize, items: Vec<Item> },
    Typed { guru: usize, users: Vec<Ask>, all_or_nothing: bool },
    Restore { guru: usize, profiles: BTreeMap<usize, (usize, i64, i64)> },
    Sweep { guru: usize, before: i64 },
    Select { guru: usize, prefix: usize, filter: usize, limit: usize, delete: bool },
    ListChanged { guru: usize, since: Option<i64>, before: Option<i64> },
    Stats,
    Compact,
    Refused { guru: usize, items: Vec<Item>, how: usize },
    GetMany { guru: usize, ids: Vec<usize> },
    List { guru: usize, after: Option<usize>, limit: usize },
    Count { guru: usize },
    Gurus { after: Option<usize>, limit: usize },
    DeleteMany { guru: usize, ids: Vec<usize> },
    DeleteGuru { guru: usize },
    Clock { by: i64 },
    Reopen,
}

#[derive(Clone, Debug)]
enum Item {
    Good { id: usize, memory: usize },
    Bad(usize),
}

/// A typed user.
#[derive(Clone, Debug)]
struct Ask {
    id: usize,
    memory: usize,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    Put,
    /// The memory is a patch.
    Merge,
    PutIfAbsent,
    MergeIfAbsent,
    /// The profile must have this memory.
    PutIfMatch(usize),
}

impl Ask {
    fn user(&self) -> User {
        let memory = |n: usize| Memory::from_json(MEMORIES[n]).expect("a valid memory");
        let user = User::new(IDS[self.id], memory(self.memory));
        match self.how {
            How::Put => user,
            How::Merge => user.merging(),
            How::PutIfAbsent => user.if_absent(),
            How::MergeIfAbsent => user.merging().if_absent(),
            How::PutIfMatch(expected) => user.if_match(memory(expected).etag()),
        }
    }

    fn ask<'a>(&self, stored: &'a [String; 8]) -> model::Ask<'a> {
        let ask = model::Ask::put(IDS[self.id], &stored[self.memory]);
        match self.how {
            How::Put => ask,
            How::Merge => ask.merging(),
            How::PutIfAbsent => ask.if_absent(),
            How::MergeIfAbsent => ask.merging().if_absent(),
            How::PutIfMatch(expected) => ask.if_match(&stored[expected]),
        }
    }
}

/// [`MEMORIES`] as stored. None of them has a space that counts.
fn stored() -> [String; 8] {
    MEMORIES.map(|memory| memory.replace(' ', ""))
}

/// Items that are not admitted: text, echoed id, errors.
fn bad(which: usize) -> (String, Option<&'static str>, Vec<String>) {
    let words = |words: &[&str]| words.iter().map(ToString::to_string).collect::<Vec<_>>();
    match which {
        0 => ("7".to_owned(), None, words(&["User must be a JSON object"])),
        1 => ("{}".to_owned(), None, words(&["Missing external_user_id", "Missing memory data"])),
        2 => (r#"{"external_user_id":"a"}"#.to_owned(), Some("a"), words(&["Missing memory data"])),
        3 => (
            r#"{"external_user_id":"","memory":[]}"#.to_owned(),
            Some(""),
            words(&["external_user_id must not be empty", "memory must be a JSON object"]),
        ),
        4 => {
            let text = r#"{"external_user_id":"a","memory":{"n":1e999}}"#.to_owned();
            (text, Some("a"), refusal(r#"{"n":1e999}"#).into_iter().collect())
        }
        _ => {
            let text = format!(r#"{{"external_user_id":"zz","memory":{}}}"#, nested(65));
            (text, Some("zz"), words(&["memory must be nested at most 64 deep"]))
        }
    }
}

const REFUSALS: [fn(&str) -> String; 4] = [
    |items| format!(r#"{{"users":[{items}"#),
    |items| format!(r#"[{items}]"#),
    |items| format!(r#"{{"users":[{items}],"users":{{}}}}"#),
    |items| format!(r#"{{"users":[{items}]}}}}"#),
];

fn step() -> impl Strategy<Value = Step> {
    let guru = 0..GURUS.len();
    let ids = || prop::collection::vec(0..IDS.len(), 0..6);
    let item = prop_oneof![
        5 => (0..IDS.len(), 0..MEMORIES.len()).prop_map(|(id, memory)| Item::Good { id, memory }),
        1 => (0..6_usize).prop_map(Item::Bad),
    ];
    let items = prop::collection::vec(item, 0..8);
    let how = prop_oneof![
        Just(How::Put),
        Just(How::Merge),
        Just(How::PutIfAbsent),
        Just(How::MergeIfAbsent),
        (0..MEMORIES.len()).prop_map(How::PutIfMatch),
    ];
    let ask = (0..IDS.len(), 0..MEMORIES.len(), how).prop_map(|(id, memory, how)| Ask { id, memory, how });
    let users = prop::collection::vec(ask, 0..5);
    // About the clock's present, which starts where the stage's does.
    let moment = || (-10_i64..60).prop_map(|by| HandClock::START + by);
    let times = (moment(), 0_i64..10).prop_map(|(created, later)| (created, created + later));
    let restored =
        (0..MEMORIES.len(), times).prop_map(|(memory, (created, updated))| (memory, created, updated));
    let profiles = prop::collection::btree_map(0..IDS.len(), restored, 0..4);
    let place = |n: usize| prop::option::of(0..n);
    prop_oneof![
        8 => (guru.clone(), items.clone()).prop_map(|(guru, items)| Step::Upsert { guru, items }),
        6 => (guru.clone(), users, prop::bool::weighted(0.2))
            .prop_map(|(guru, users, all_or_nothing)| Step::Typed { guru, users, all_or_nothing }),
        1 => (guru.clone(), profiles).prop_map(|(guru, profiles)| Step::Restore { guru, profiles }),
        1 => (guru.clone(), moment()).prop_map(|(guru, before)| Step::Sweep { guru, before }),
        1 => (guru.clone(), prop::option::of(moment()), prop::option::of(moment()))
            .prop_map(|(guru, since, before)| Step::ListChanged { guru, since, before }),
        2 => (guru.clone(), 0..PREFIXES.len(), 0..FILTERS.len(), 1..4_usize, prop::bool::weighted(0.2))
            .prop_map(|(guru, prefix, filter, limit, delete)| Step::Select { guru, prefix, filter, limit, delete }),
        1 => Just(Step::Stats),
        1 => Just(Step::Compact),
        1 => (guru.clone(), items, 0..REFUSALS.len()).prop_map(|(guru, items, how)| Step::Refused { guru, items, how }),
        2 => (guru.clone(), ids()).prop_map(|(guru, ids)| Step::GetMany { guru, ids }),
        2 => (guru.clone(), place(IDS.len()), 1..5_usize).prop_map(|(guru, after, limit)| Step::List { guru, after, limit }),
        1 => guru.clone().prop_map(|guru| Step::Count { guru }),
        1 => (place(GURUS.len()), 0..4_usize).prop_map(|(after, limit)| Step::Gurus { after, limit }),
        2 => (guru.clone(), ids()).prop_map(|(guru, ids)| Step::DeleteMany { guru, ids }),
        1 => guru.prop_map(|guru| Step::DeleteGuru { guru }),
        2 => (-3_i64..10).prop_map(|by| Step::Clock { by }),
        1 => Just(Step::Reopen),
    ]
}

fn drive(make: MakeFixture<'_>, steps: &[Step]) -> Result<(), TestCaseError> {
    let (stage, mut store) = Stage::opened(make);
    let mut model = Model::default();
    for step in steps {
        let now = stage.clock.now().as_micros();
        match step {
            Step::Upsert { guru, items } => upsert(&store, &mut model, GURUS[*guru], items, now)?,
            Step::Typed { guru, users, all_or_nothing } => {
                let batch = Batch::from_users(users.iter().map(Ask::user));
                let batch = if *all_or_nothing { batch.all_or_nothing() } else { batch };
                let report = store.send_batch(GURUS[*guru], batch);
                let stored = stored();
                let asks: Vec<_> = users.iter().map(|user| user.ask(&stored)).collect();
                let expected = model.upsert(GURUS[*guru], &asks, *all_or_nothing, now);
                check_eq!(report.results().len(), expected.len());
                for (result, expected) in report.results().iter().zip(expected) {
                    check_eq!(&result.result, &expected.map_err(|error| vec![error]));
                }
            }
            Step::Restore { guru, profiles } => {
                let restored = store.restore(GURUS[*guru], profiles.iter().map(brought).collect());
                let mut expected = Restored::default();
                for profile in profiles.iter().map(brought) {
                    let id = profile.external_user_id.as_str();
                    match model.restore(GURUS[*guru], id, (&profile).into()) {
                        Outcome::Created => expected.created += 1,
                        Outcome::Updated => expected.updated += 1,
                        Outcome::Unchanged => expected.unchanged += 1,
                    }
                }
                check_eq!(restored, expected);
            }
            Step::Sweep { guru, before } => {
                let expected = model.delete_where(GURUS[*guru], |_, held| held.updated_at < *before);
                check_eq!(store.sweep(GURUS[*guru], Timestamp::from_micros(*before)), expected);
            }
            Step::Select { guru, prefix, filter, limit, delete } => {
                let (filter, takes) = FILTERS[*filter];
                let all = ListOptions::default().with_prefix(PREFIXES[*prefix]);
                let all = all.with_filter(filter().expect("a pointer")).expect("few comparisons");
                let options = all.clone().with_limit(*limit);
                let takes = |id: &str, held: &Held| {
                    let memory = serde_json::from_str(&held.memory).expect("a valid memory");
                    id.starts_with(PREFIXES[*prefix]) && takes(&memory)
                };
                let guru = GURUS[*guru];
                let expected: Vec<_> = model.profiles(guru).filter(|(id, held)| takes(id, held)).collect();
                let counted = block_on(store.guru(guru).count_where(&options)).expect("the store counts");
                check_eq!(counted, expected.len() as u64);
                let handle = store.guru(guru);
                let mut profiles = handle.profiles(options.clone());
                for (id, held) in expected {
                    let profile = block_on(profiles.next()).transpose().expect("the store reads");
                    assert_same(profile.as_ref(), id, Some(held))?;
                }
                let more = block_on(profiles.next()).transpose().expect("the store reads");
                check_eq!(more, None::<Profile>);
                if *delete {
                    let deleted = block_on(handle.delete_where(&all)).expect("the store deletes");
                    check_eq!(deleted, model.delete_where(guru, takes));
                }
            }
            Step::ListChanged { guru, since, before } => {
                let mut options = ListOptions::default();
                if let Some(since) = since {
                    options = options.with_updated_since(Timestamp::from_micros(*since));
                }
                if let Some(before) = before {
                    options = options.with_updated_before(Timestamp::from_micros(*before));
                }
                let page = store.list_with(GURUS[*guru], &options);
                let expected: Vec<_> = model
                    .profiles(GURUS[*guru])
                    .filter(|(_, held)| since.is_none_or(|since| held.updated_at >= since))
                    .filter(|(_, held)| before.is_none_or(|before| held.updated_at < before))
                    .collect();
                check_eq!(page.profiles.len(), expected.len());
                for (profile, (id, held)) in page.profiles.iter().zip(expected) {
                    assert_same(Some(profile), id, Some(held))?;
                }
            }
            Step::Stats => {
                let (stats, verified) = (store.stats(), store.verify());
                let there = model.len() as u64;
                check_eq!((stats.gurus, stats.profiles), (model.gurus().len() as u64, there));
                prop_assert!(verified.is_sound(), "verifying: expected no damage, got {:?}", verified.damage);
                check_eq!(verified.profiles, there);
            }
            Step::Compact => store.compact(),
            Step::Refused { guru, items, how } => {
                let texts: Vec<_> = items.iter().map(text).collect();
                store.refusal(GURUS[*guru], REFUSALS[*how](&texts.join(",")));
            }
            Step::GetMany { guru, ids } => {
                let asked: Vec<_> = ids.iter().map(|&id| IDS[id]).collect();
                for (profile, id) in store.get_many(GURUS[*guru], &asked).iter().zip(asked) {
                    assert_same(profile.as_ref(), id, model.get(GURUS[*guru], id))?;
                }
            }
            Step::List { guru, after, limit } => {
                let after = after.map(|after| IDS[after]);
                let page = store.page(GURUS[*guru], after, *limit);
                let mut behind =
                    model.profiles(GURUS[*guru]).filter(|(id, _)| after.is_none_or(|after| *id > after));
                let expected: Vec<_> = behind.by_ref().take(*limit).collect();
                check_eq!(page.profiles.len(), expected.len());
                for (profile, (id, held)) in page.profiles.iter().zip(&expected) {
                    assert_same(Some(profile), id, Some(held))?;
                }
                let next = behind.next().and_then(|_| expected.last()).map(|(id, _)| *id);
                check_eq!(page.next.as_ref().map(|next| next.as_str()), next);
            }
            Step::Count { guru } => {
                check_eq!(store.count(GURUS[*guru]), model.profiles(GURUS[*guru]).count() as u64);
            }
            Step::Gurus { after, limit } => {
                let after = after.map(|after| GURUS[after]);
                let gurus = model.gurus().into_iter().filter(|guru| after.is_none_or(|after| *guru > after));
                let gurus: Vec<_> = gurus.take(*limit).collect();
                check_eq!(store.gurus_after(after, *limit), gurus);
            }
            Step::DeleteMany { guru, ids } => {
                let asked: Vec<_> = ids.iter().map(|&id| IDS[id]).collect();
                let expected = model.delete_many(GURUS[*guru], &asked);
                check_eq!(store.delete_many(GURUS[*guru], &asked), expected);
            }
            Step::DeleteGuru { guru } => {
                check_eq!(store.delete_guru(GURUS[*guru]), model.delete_where(GURUS[*guru], |_, _| true));
            }
            Step::Clock { by } => drop(stage.clock.move_by(*by)),
            Step::Reopen => store = stage.reopened(store),
        }
    }
    for guru in GURUS {
        let listed = store.list(guru, 3);
        check_eq!(listed.len(), model.profiles(guru).count());
        for (profile, (id, held)) in listed.iter().zip(model.profiles(guru)) {
            assert_same(Some(profile), id, Some(held))?;
        }
    }
    Ok(())
}

/// A profile from elsewhere.
fn brought((id, &(memory, created_at, updated_at)): (&usize, &(usize, i64, i64))) -> Profile {
    let memory = Memory::from_json(MEMORIES[memory]).expect("a valid memory");
    let time = Timestamp::from_micros;
    Profile::new(super::harness::id(IDS[*id]), memory, time(created_at), time(updated_at))
}

fn text(item: &Item) -> String {
    match item {
        Item::Good { id, memory } => {
            format!(r#"{{"memory":{},"x":[],"external_user_id":{}}}"#, MEMORIES[*memory], quoted(IDS[*id]))
        }
        Item::Bad(which) => bad(*which).0,
    }
}

fn upsert(
    store: &Subject,
    model: &mut Model,
    guru: &str,
    items: &[Item],
    now: i64,
) -> Result<(), TestCaseError> {
    let texts: Vec<_> = items.iter().map(text).collect();
    let report = store.send(guru, format!(r#"{{"users":[{}]}}"#, texts.join(" , ")));
    let admitted: Vec<_> = items
        .iter()
        .filter_map(|item| match item {
            Item::Good { id, memory } => Some((*id, *memory)),
            Item::Bad(_) => None,
        })
        .collect();
    let stored = stored();
    let asks: Vec<_> =
        admitted.iter().map(|&(id, memory)| model::Ask::put(IDS[id], &stored[memory])).collect();
    let results = model.upsert(guru, &asks, false, now);
    let outcomes: BTreeMap<_, _> = admitted.iter().map(|(id, _)| *id).zip(results).collect();
    let status = if items.is_empty() || !admitted.is_empty() { "success" } else { "error" };
    let mut json = format!(
        r#"{{"status":"{status}","total_users":{},"processed_users":{},"users_results":["#,
        items.len(),
        admitted.len()
    );
    for (index, item) in items.iter().enumerate() {
        let (id, expected) = match item {
            Item::Good { id, .. } => {
                let expected = outcomes[id].as_ref().ok();
                check_eq!(report.results()[index].result.as_ref().ok(), expected);
                (Some(IDS[*id]), vec![])
            }
            Item::Bad(which) => {
                let (_, id, expected) = bad(*which);
                (id, expected)
            }
        };
        check_eq!(errors(&report, index), expected.clone());
        let comma = if index == 0 { "" } else { "," };
        let id = id.map_or("null".to_owned(), quoted);
        let (success, expected) = (expected.is_empty(), serde_json::Value::from(expected));
        let written = write!(
            json,
            r#"{comma}{{"user_index":{index},"external_user_id":{id},"success":{success},"errors":{expected}}}"#
        );
        written.expect("a string takes all");
    }
    json.push_str("]}");
    check_eq!(report.to_json(), json);
    Ok(())
}

fn assert_same(profile: Option<&Profile>, id: &str, held: Option<&Held>) -> Result<(), TestCaseError> {
    let seen = profile.map(Held::from);
    check_eq!(seen.as_ref(), held);
    if let (Some(profile), Some(held)) = (profile, held) {
        check_eq!(profile.external_user_id.as_str(), id);
        let etag = Memory::from_json(&held.memory).expect("a valid memory").etag();
        check_eq!(profile.etag(), etag);
    }
    Ok(())
}

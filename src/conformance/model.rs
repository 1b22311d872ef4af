//! A model of a store, a `BTreeMap`, that a store is driven beside.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};

use super::stage::{MakeFixture, Stage, Subject, errors, nested, quoted};
use crate::memory::Memory;
use crate::profile::Profile;
use crate::report::Outcome;
use crate::request::User;

/// R1–R3, A1–A4, W1–W6, S1–S9, L1, L2.
pub(super) fn the_store_does_what_the_model_does(make: MakeFixture<'_>) {
    let config = Config { failure_persistence: None, ..Config::default() };
    // 64 sequences unless PROPTEST_CASES says otherwise.
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() { config.cases } else { 64 };
    let mut runner = TestRunner::new(Config { cases, ..config });
    let steps = prop::collection::vec(step(), 1..50);
    if let Err(failure) = runner.run(&steps, |steps| drive(make, &steps)) {
        panic!("{failure}");
    }
}

const GURUS: [&str; 3] = ["g", "g-", "h"];
const IDS: [&str; 7] = ["a", "A", "a/", "%", "é", "\u{1}", "zz"];
const MEMORIES: [&str; 6] =
    ["{}", r#"{"n":1}"#, r#"{ "n" : 1 }"#, r#"{"n":1.0}"#, r#"{"b":[],"a":{},"b":0}"#, r#"{"s":"\u0000"}"#];

#[derive(Clone, Debug)]
enum Step {
    Upsert { guru: usize, items: Vec<Item> },
    Typed { guru: usize, users: Vec<(usize, usize)> },
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
            let oracle = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(r#"{"n":1e999}"#);
            let reason = oracle.expect_err("serde_json refuses it");
            let text = r#"{"external_user_id":"a","memory":{"n":1e999}}"#.to_owned();
            (text, Some("a"), vec![format!("memory is not valid: {reason}")])
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
    let users = prop::collection::vec((0..IDS.len(), 0..MEMORIES.len()), 0..4);
    let place = |n: usize| prop::option::of(0..n);
    prop_oneof![
        8 => (guru.clone(), items.clone()).prop_map(|(guru, items)| Step::Upsert { guru, items }),
        2 => (guru.clone(), users).prop_map(|(guru, users)| Step::Typed { guru, users }),
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

/// Times in microseconds, memory as stored.
#[derive(Clone, Debug, PartialEq)]
struct Held {
    memory: String,
    created_at: i64,
    updated_at: i64,
}

#[derive(Default)]
struct Model {
    held: BTreeMap<(String, String), Held>,
}

impl Model {
    /// Applies what is admitted of a batch, the last copy of an id, and tells each id's outcome.
    fn upsert(&mut self, guru: &str, admitted: &[(usize, usize)], now: i64) -> BTreeMap<usize, Outcome> {
        let last: BTreeMap<usize, usize> = admitted.iter().copied().collect();
        last.into_iter().map(|(id, memory)| (id, self.put(guru, IDS[id], MEMORIES[memory], now))).collect()
    }

    fn put(&mut self, guru: &str, id: &str, memory: &str, now: i64) -> Outcome {
        // None of the memories has a space that counts.
        let memory = memory.replace(' ', "");
        let key = (guru.to_owned(), id.to_owned());
        match self.held.get_mut(&key) {
            None => {
                self.held.insert(key, Held { memory, created_at: now, updated_at: now });
                Outcome::Created
            }
            Some(held) if held.memory == memory => Outcome::Unchanged,
            Some(held) => {
                held.memory = memory;
                held.updated_at = now.max(held.updated_at + 1);
                Outcome::Updated
            }
        }
    }

    fn ids(&self, guru: &str) -> impl Iterator<Item = (&str, &Held)> {
        self.held.iter().filter(move |((of, _), _)| of == guru).map(|((_, id), held)| (id.as_str(), held))
    }

    fn get(&self, guru: &str, id: &str) -> Option<&Held> {
        self.held.get(&(guru.to_owned(), id.to_owned()))
    }
}

fn drive(make: MakeFixture<'_>, steps: &[Step]) -> Result<(), TestCaseError> {
    let (stage, mut store) = Stage::opened(make);
    let mut model = Model::default();
    for step in steps {
        let now = stage.clock.now().as_micros();
        match step {
            Step::Upsert { guru, items } => upsert(&store, &mut model, GURUS[*guru], items, now)?,
            Step::Typed { guru, users } => {
                let typed = users.iter().map(|&(id, memory)| {
                    User::new(IDS[id], Memory::from_json(MEMORIES[memory]).expect("a valid memory"))
                });
                let report = store.send_users(GURUS[*guru], typed.collect());
                let outcomes = model.upsert(GURUS[*guru], users, now);
                for (result, (id, _)) in report.results().iter().zip(users) {
                    prop_assert_eq!(result.result.as_ref().ok(), outcomes.get(id));
                }
            }
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
                    model.ids(GURUS[*guru]).filter(|(id, _)| after.is_none_or(|after| *id > after));
                let expected: Vec<_> = behind.by_ref().take(*limit).collect();
                prop_assert_eq!(page.profiles.len(), expected.len());
                for (profile, (id, held)) in page.profiles.iter().zip(&expected) {
                    assert_same(Some(profile), id, Some(held))?;
                }
                let next = behind.next().and_then(|_| expected.last()).map(|(id, _)| *id);
                prop_assert_eq!(page.next.as_ref().map(|next| next.as_str()), next);
            }
            Step::Count { guru } => {
                prop_assert_eq!(store.count(GURUS[*guru]), model.ids(GURUS[*guru]).count() as u64);
            }
            Step::Gurus { after, limit } => {
                let after = after.map(|after| GURUS[after]);
                let mut gurus: Vec<_> = model.held.keys().map(|(guru, _)| guru.clone()).collect();
                gurus.dedup();
                gurus.retain(|guru| after.is_none_or(|after| guru.as_str() > after));
                gurus.truncate(*limit);
                prop_assert_eq!(store.gurus_after(after, *limit), gurus);
            }
            Step::DeleteMany { guru, ids } => {
                let asked: Vec<_> = ids.iter().map(|&id| IDS[id]).collect();
                let there: Vec<_> = asked.iter().map(|id| model.get(GURUS[*guru], id).is_some()).collect();
                prop_assert_eq!(store.delete_many(GURUS[*guru], &asked), there);
                model.held.retain(|(of, id), _| of != GURUS[*guru] || !asked.contains(&id.as_str()));
            }
            Step::DeleteGuru { guru } => {
                prop_assert_eq!(store.delete_guru(GURUS[*guru]), model.ids(GURUS[*guru]).count() as u64);
                model.held.retain(|(of, _), _| of != GURUS[*guru]);
            }
            Step::Clock { by } => drop(stage.clock.move_by(*by)),
            Step::Reopen => store = stage.reopened(store),
        }
    }
    for guru in GURUS {
        let listed = store.list(guru, 3);
        prop_assert_eq!(listed.len(), model.ids(guru).count());
        for (profile, (id, held)) in listed.iter().zip(model.ids(guru)) {
            assert_same(Some(profile), id, Some(held))?;
        }
    }
    Ok(())
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
    let outcomes = model.upsert(guru, &admitted, now);
    let status = if items.is_empty() || !admitted.is_empty() { "success" } else { "error" };
    let mut json = format!(
        r#"{{"status":"{status}","total_users":{},"processed_users":{},"users_results":["#,
        items.len(),
        admitted.len()
    );
    for (index, item) in items.iter().enumerate() {
        let (id, expected) = match item {
            Item::Good { id, .. } => {
                prop_assert_eq!(report.results()[index].result.as_ref().ok(), outcomes.get(id));
                (Some(IDS[*id]), vec![])
            }
            Item::Bad(which) => {
                let (_, id, expected) = bad(*which);
                (id, expected)
            }
        };
        prop_assert_eq!(errors(&report, index), expected.clone());
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
    prop_assert_eq!(report.to_json(), json);
    Ok(())
}

fn assert_same(profile: Option<&Profile>, id: &str, held: Option<&Held>) -> Result<(), TestCaseError> {
    let seen = profile.map(|profile| Held {
        memory: profile.memory.as_str().to_owned(),
        created_at: profile.created_at.as_micros(),
        updated_at: profile.updated_at.as_micros(),
    });
    prop_assert_eq!(seen.as_ref(), held);
    if let (Some(profile), Some(held)) = (profile, held) {
        prop_assert_eq!(profile.external_user_id.as_str(), id);
        let etag = Memory::from_json(&held.memory).expect("a valid memory").etag();
        prop_assert_eq!(profile.etag(), etag);
    }
    Ok(())
}

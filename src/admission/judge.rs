//! Admission: which items of a request are stored, and what is wrong with the others (R1–R4,
//! A1–A5). Pure: no I/O, and nothing but the limits to go by.

use std::sync::Arc;

use crate::admission::aside::aside;
use crate::admission::batch::{Batch, Mode, Source, User, UserSource};
use crate::admission::body::{Body, Item, Member, Part, read_alone, text};
use crate::admission::pacing::{Pacing, SLICE_BYTES};
use crate::admission::report::{Outcome, UpsertReport, UserResult};
use crate::json::scan::compact;
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::item_error::ItemError;
use crate::model::limits::Limits;
use crate::model::memory::Memory;
use crate::model::name::ExternalUserId;
use crate::plan::change::{Effect, Effects};
use crate::plan::duplicates::Duplicates;
use crate::plan::writes::{Action, Condition, Operation, Writes};

/// The usual least size of an item of a body, to make room for about as many as there are.
const USUAL_ITEM_BYTES: usize = 256;

/// A judged batch: what is to be written, and what is known of each item.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub writes: Writes,
    items: Vec<Judged>,
}

/// An item of the request, judged.
#[derive(Debug)]
struct Judged {
    external_user_id: Option<Arc<str>>,
    /// The place of its id among the writes, or everything that is wrong with it.
    verdict: Result<usize, Vec<ItemError>>,
}

impl Admitted {
    /// Judges a batch in slices, and lets other tasks run between them. A batch with a part of more than a slice is judged on a
    /// thread of its own ([S11](crate::contract#s11)).
    pub async fn judge(batch: Batch<'_>, limits: &Limits) -> Result<Self> {
        // A store that was not opened with checked options refuses them here.
        limits.check()?;
        let Batch { source, mode } = batch;
        let own = *limits;
        match source {
            Source::Users(users) => {
                let expected = users.len().min(limits.batch_items());
                if users.iter().any(|user| user.bytes() > SLICE_BYTES) {
                    let work =
                        async move { Self::judge_users(users, Judge::new(&own, mode, expected)).await };
                    return aside(work).await;
                }
                Self::judge_users(users, Judge::new(limits, mode, expected)).await
            }
            Source::Json(body) => {
                let expected = (body.len() / USUAL_ITEM_BYTES).min(limits.batch_items());
                let text = text(body).await?;
                let judge = Judge::new(limits, mode, expected);
                if let Some(judged) = Self::judge_body(&text, judge, SLICE_BYTES).await? {
                    return Ok(judged);
                }
                // So large a text is a copy already.
                let text = text.into_owned();
                aside(async move {
                    let judge = Judge::new(&own, mode, expected);
                    let judged = Self::judge_body(&text, judge, usize::MAX).await?;
                    Ok(judged.expect("no part is too large"))
                })
                .await
            }
        }
    }

    /// `None` if a part has more than `most` bytes.
    async fn judge_body(text: &str, mut judge: Judge<'_>, most: usize) -> Result<Option<Self>> {
        let limit = judge.limits.batch_items();
        let (mut body, mut pacing, mut at) = (Body::new(text, most), Pacing::default(), 0);
        loop {
            let part = match body.next() {
                Ok(Some(part)) => part,
                Ok(None) => break,
                Err(_) if body.is_cut() => return Ok(None),
                Err(error) => return Err(body.refusal(error).await),
            };
            match part {
                Part::Users => judge.restart(),
                // Past the limit the items are only counted, for the error to say how many.
                Part::Item(item) if body.items() <= limit => {
                    pacing.take_for_serde(item.as_ref().map_or(0, Item::dubious_bytes)).await;
                    judge.item(item);
                }
                Part::Item(_) | Part::Other => {}
            }
            pacing.take(body.at() - at).await;
            at = body.at();
        }
        body.end().await?;
        if body.items() > limit {
            Err(too_many(body.items(), judge.limits))
        } else {
            Ok(Some(judge.finish()))
        }
    }

    async fn judge_users(users: Vec<User>, mut judge: Judge<'_>) -> Result<Self> {
        let limits = judge.limits;
        if users.len() > judge.limits.batch_items() {
            return Err(too_many(users.len(), judge.limits));
        }
        let of_batch = judge.mode;
        let mut pacing = Pacing::default();
        for user in users {
            pacing.take(user.bytes()).await;
            judge.mode.merging = of_batch.merging || user.merging;
            judge.mode.condition =
                if user.condition == Condition::None { of_batch.condition } else { user.condition };
            match user.source {
                UserSource::Typed { external_user_id, memory } => {
                    let mut errors = Vec::new();
                    judge.id_errors(&external_user_id, &mut errors);
                    let size = |memory: &Memory| {
                        (memory.as_str().len(), memory.is_deeper_than(limits.memory_depth()))
                    };
                    let size = memory.as_ref().map_or((0, false), size);
                    let memory = judge.memory(memory, size, &mut errors);
                    judge.conclude(Some(external_user_id), memory, errors);
                }
                UserSource::Json(text) => {
                    let item = read_alone(&text);
                    let dubious = item.as_ref().ok().and_then(Option::as_ref).map_or(0, Item::dubious_bytes);
                    pacing.take_for_serde(dubious).await;
                    // One that is no JSON costs no more than itself (R2).
                    match item {
                        Ok(item) => judge.item(item),
                        Err(reason) => judge.conclude(None, None, vec![ItemError::NotJson { reason }]),
                    }
                }
            }
        }
        Ok(judge.finish())
    }

    /// The report, given what became of `writes`.
    pub fn report(self, applied: &Effects) -> UpsertReport {
        let result = |(item, judged): (usize, Judged)| {
            let result = judged.verdict.and_then(|place| {
                match (applied.failure(item), applied.effects().get(place)) {
                    (Some(error), _) => Err(vec![error.clone()]),
                    (None, Some(Effect::Created)) => Ok(Outcome::Created),
                    (None, Some(Effect::Updated)) => Ok(Outcome::Updated),
                    (None, Some(Effect::Unchanged)) => Ok(Outcome::Unchanged),
                    // The batch was given up before the transaction, because of another item.
                    (None, None) => Err(vec![ItemError::NotStored]),
                    (None, Some(Effect::Deleted | Effect::Absent)) => {
                        unreachable!("an upsert deletes nothing")
                    }
                }
            });
            UserResult::new(item, judged.external_user_id, result)
        };
        UpsertReport::new(self.items.into_iter().enumerate().map(result).collect())
    }
}

fn too_many(count: usize, limits: &Limits) -> Error {
    let limit = limits.batch_items();
    Error::new(ErrorKind::InvalidRequest, format!("batch has {count} users, the limit is {limit}"))
}

/// Judges items and gathers the batch (A1–A5, S4).
struct Judge<'l> {
    limits: &'l Limits,
    writes: Writes,
    items: Vec<Judged>,
    known: Duplicates,
    scratch: String,
    /// How the next items are to be written.
    mode: Mode,
}

impl<'l> Judge<'l> {
    fn new(limits: &'l Limits, mode: Mode, expected: usize) -> Self {
        Self {
            limits,
            writes: Writes::new(*limits, mode.all_or_nothing, expected),
            items: Vec::with_capacity(expected),
            known: Duplicates::with_capacity(expected),
            scratch: String::new(),
            mode,
        }
    }

    /// Forgets all items, as another `users` counts instead (R1).
    fn restart(&mut self) {
        self.writes.clear();
        self.items.clear();
        self.known.clear();
    }

    fn finish(mut self) -> Admitted {
        if self.mode.all_or_nothing && self.items.iter().any(|judged| judged.verdict.is_err()) {
            self.writes = Writes::default();
        }
        Admitted { writes: self.writes, items: self.items }
    }

    /// Judges an item; `None` is one that is no object.
    fn item(&mut self, item: Option<Item<'_>>) {
        let Some(item) = item else {
            self.conclude(None, None, vec![ItemError::NotObject]);
            return;
        };
        let mut errors = Vec::new();
        let id = match item.id {
            Member::Missing => {
                errors.push(ItemError::MissingId);
                None
            }
            Member::OtherKind => {
                errors.push(ItemError::IdNotString);
                None
            }
            Member::Given(token) => match token.decode() {
                Some(id) => {
                    self.id_errors(&id, &mut errors);
                    Some(Arc::from(id))
                }
                None => {
                    errors.push(ItemError::IdNotString);
                    None
                }
            },
        };
        let (memory, size) = match item.memory {
            Member::Missing => (Err(ItemError::MissingMemory), (0, false)),
            Member::OtherKind => (Err(ItemError::MemoryNotObject), (0, false)),
            Member::Given((text, facts)) => {
                let memory = Memory::judge(text, facts, &mut self.scratch);
                let bytes = match &memory {
                    Ok(memory) => memory.as_str().len(),
                    Err(_) => {
                        self.scratch.clear();
                        compact(text, &mut self.scratch);
                        self.scratch.len()
                    }
                };
                (memory, (bytes, facts.depth > self.limits.memory_depth()))
            }
        };
        let memory = self.memory(memory, size, &mut errors);
        self.conclude(id, memory, errors);
    }

    /// The errors of an id (A1).
    fn id_errors(&self, id: &str, errors: &mut Vec<ItemError>) {
        if id.is_empty() {
            errors.push(ItemError::IdEmpty);
        }
        if id.contains('\0') {
            errors.push(ItemError::IdNul);
        }
        if id.len() > self.limits.id_bytes() {
            errors.push(ItemError::IdTooLong { limit: self.limits.id_bytes() });
        }
    }

    /// Holds a memory's bytes and depth against the limits. One that `serde_json` refuses gets
    /// all errors that apply: it may be not valid, too large and too deep.
    fn memory(
        &self,
        memory: Result<Memory, ItemError>,
        (bytes, too_deep): (usize, bool),
        errors: &mut Vec<ItemError>,
    ) -> Option<Memory> {
        let memory = memory.map_err(|error| errors.push(error)).ok();
        if bytes > self.limits.memory_bytes() {
            errors.push(ItemError::MemoryTooLarge { limit: self.limits.memory_bytes() });
        }
        if too_deep {
            errors.push(ItemError::MemoryTooDeep { limit: self.limits.memory_depth() });
        }
        memory
    }

    /// Takes the item in, or notes why not.
    fn conclude(&mut self, id: Option<Arc<str>>, memory: Option<Memory>, errors: Vec<ItemError>) {
        let verdict = match (&id, memory) {
            (Some(id), Some(memory)) if errors.is_empty() => {
                let action = if self.mode.merging { Action::Merge(memory) } else { Action::Put(memory) };
                let operation = Operation { item: self.items.len(), condition: self.mode.condition, action };
                Ok(self.writes.push(&mut self.known, ExternalUserId::admitted(id.clone()), operation))
            }
            _ => Err(errors),
        };
        self.items.push(Judged { external_user_id: id, verdict });
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::json::scan::meter;

    /// How many polls it takes to judge.
    fn polls(batch: Batch<'_>) -> usize {
        let (judged, polls, _) = meter::run(Admitted::judge(batch, &Limits::default()));
        judged.expect("a request");
        polls
    }

    /// S11: others get a turn before each memory that `serde_json` reads, and between the members that mean nothing.
    #[test]
    fn others_get_a_turn() {
        let memory = |number: &str| format!(r#"{{"n":{number},"filler":"{}"}}"#, "x".repeat(10_000));
        let item = |number| format!(r#"{{"external_user_id":"a","memory":{}}}"#, memory(number));
        let body = |number| format!(r#"{{"users":[{}]}}"#, vec![item(number); 10].join(","));
        let users = |number| Batch::from_users((0..10).map(|_| User::from_json(item(number))));
        assert!(polls(Batch::from_json(body("1e10").as_bytes())) < 4 && polls(users("1e10")) < 4);
        assert!(polls(Batch::from_json(body("1e100").as_bytes())) > 10 && polls(users("1e100")) > 10);
        let members = vec![format!(r#""x":"{}""#, "x".repeat(100_000)); 20].join(",");
        assert!(polls(Batch::from_json(format!(r#"{{{members},"users":[]}}"#).as_bytes())) > 10);
    }

    const MODE: Mode = Mode { merging: true, condition: Condition::Absent, all_or_nothing: false };

    /// A judged batch, in words, and the most bytes that one poll has passed.
    fn judged(judging: impl Future<Output = Result<Admitted>>) -> (String, usize) {
        let (judged, _, most) = meter::run(judging);
        (judged.map_or_else(|error| error.to_string(), |admitted| format!("{admitted:?}")), most)
    }

    /// S11: whatever is large, a poll passes little of it, and the verdict is the one of a single poll.
    #[test]
    fn a_poll_reads_a_slice_of_what_is_large() {
        const LARGE: usize = 1 << 20;
        let limits = Limits::default();
        let large = "x".repeat(LARGE);
        let item = |memory: &str| format!(r#"{{"users":[{{"external_user_id":"a","memory":{memory}}}]}}"#);
        let members: Vec<_> = (0..1000).map(|n| format!(r#""{n}":"{}""#, "x".repeat(4000))).collect();
        let members = members.join(",");
        for body in [
            item(&format!(r#"{{"n":"{large}"}}"#)),
            item(&format!(r#"{{"n":1e999,"m":"{large}"}}"#)),
            item(&format!("{{{members}}}")),
            item(&format!("{{}}{}", " ".repeat(LARGE))),
            item("{}") + &" ".repeat(LARGE),
            item("{}") + &" ".repeat(LARGE) + "x",
            " ".repeat(LARGE) + "[]",
            format!(r#"{{"users":[{{{members},"memory":{{}}}}]}}"#),
            format!(r#"{{"users":[{{"{large}":1,"external_user_id":"{large}","memory":{{}}}},7]}}"#),
            format!(r#"{{"x":"{large}","users":[{{"external_user_id":"a","memory":{{}}}}]}}"#),
            format!(r#"{{"{large}":[],"users":[]}}"#),
            format!(r#"{{"users":["{large}"#),
            format!("{{\"users\":[\n{{\"memory\":{{\"n\":\"{large}\" 7}}}}]}}"),
            format!(r#"{{"users":"{large}"}}"#),
            "1".repeat(LARGE),
            "1".repeat(SLICE_BYTES + 100),
            "1".repeat(LARGE) + "x",
            format!("{{\"users\":[{{\"memory\":{}", "[".repeat(LARGE)),
            format!(r#"{{"users":[{{"memory":{{"n":{}}}}}]}}"#, "1".repeat(LARGE)),
        ] {
            let (told, most) =
                judged(Admitted::judge(Batch::from_json(body.as_bytes()).merging().if_absent(), &limits));
            assert!(most <= 2 * SLICE_BYTES, "{most} of {} bytes: {:.60}", body.len(), body);
            let judge = Judge::new(&limits, MODE, 0);
            let at_once = async { Admitted::judge_body(&body, judge, usize::MAX).await.map(Option::unwrap) };
            let (expected, all) = judged(at_once);
            assert_eq!(told, expected, "{body:.60}");
            assert!(all > SLICE_BYTES, "the meter counts");
        }
        for user in [
            User::from_json(format!(r#"{{"external_user_id":"a","memory":{{"n":"{large}"}}}}"#)),
            User::from_json(format!(r#"{{"external_user_id":"{large}","memory":{{}}}}"#)),
            User::from_json(format!(r#"{{"memory":{{{}"#, " ".repeat(LARGE))),
            User::new(
                "a",
                Memory::from_json(&format!(r#"{{"n":[{}1]}}"#, "[[],[]],".repeat(50_000))).unwrap(),
            ),
        ] {
            let batch = Batch::from(user.clone()).merging().if_absent();
            let (told, most) = judged(Admitted::judge(batch, &limits));
            assert!(most <= 2 * SLICE_BYTES, "{most} bytes of {user:?}");
            let (expected, all) = judged(Admitted::judge_users(vec![user], Judge::new(&limits, MODE, 0)));
            assert_eq!(told, expected);
            assert!(all > SLICE_BYTES, "the meter counts");
        }
    }

    /// S11, of the size that a service may allow.
    #[test]
    fn a_body_of_100_mb_with_one_value_of_99_mb_is_read_in_slices() {
        let small = r#"{"external_user_id":"a","memory":{"n":1}},"#.repeat(9000);
        let body = format!(
            r#"{{"users":[{small}{{"external_user_id":"b","memory":{{"n":"{}"}}}}]}}"#,
            "x".repeat(99_000_000)
        );
        let limits = Limits::default();
        let (told, most) = judged(Admitted::judge(Batch::from_json(body.into_bytes()), &limits));
        assert!(most <= 2 * SLICE_BYTES, "{most} bytes in one poll");
        assert!(told.contains("MemoryTooLarge") && told.matches("verdict: Ok").count() == 9000);
    }
}

//! Admission: which items of a request are stored, and what is wrong with the others (R1–R4,
//! A1–A5). Pure: no I/O, and nothing but the limits to go by.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map;
use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use serde::de::IgnoredAny;

use crate::batch::{Action, Applied, Effect, Operation, WriteBatch};
use crate::error::{Error, ErrorKind, Result};
use crate::item_error::ItemError;
use crate::json::{Facts, Scanner, SyntaxError, Token};
use crate::limits::Limits;
use crate::memory::Memory;
use crate::profile::ExternalUserId;
use crate::report::{Outcome, UpsertReport, UserResult};
use crate::request::{Batch, Condition, Source, User, UserSource};

/// How much of a body is read before other tasks of the runtime get a turn (S11): about a quarter
/// of a millisecond.
const SLICE_BYTES: usize = 128 << 10;

/// A judged batch: what is to be written, and the verdict on each item.
#[derive(Debug)]
pub(crate) struct Admitted {
    pub writes: WriteBatch,
    verdicts: Vec<Verdict>,
}

#[derive(Debug)]
struct Verdict {
    /// The id as given, if one was (W4).
    echo: Option<Arc<str>>,
    /// The place of the item's entry in the batch, or why it has none.
    entry: Result<usize, Vec<ItemError>>,
}

impl Admitted {
    /// Judges a batch. Reads a large body in slices and lets other tasks run between them.
    pub async fn judge(batch: Batch<'_>, limits: &Limits) -> Result<Self> {
        let judge = Judge::new(limits, batch.merging, batch.all_or_nothing);
        match batch.source {
            Source::Users(users) => Self::judge_users(users, judge),
            Source::Json(body) => {
                let mut reader = BodyReader::new(body, judge)?;
                while reader.advance(SLICE_BYTES)? {
                    yield_now().await;
                }
                Ok(reader.judge.finish())
            }
        }
    }

    fn judge_users(users: Vec<User>, mut judge: Judge<'_>) -> Result<Self> {
        if users.len() > judge.limits.batch_items() {
            return Err(too_many(users.len(), judge.limits));
        }
        let batch_is_merging = judge.merging;
        for user in users {
            judge.merging = batch_is_merging || user.merging;
            judge.condition = user.condition;
            match user.source {
                UserSource::Typed { external_user_id, memory } => {
                    let mut errors = Vec::new();
                    judge.id_errors(&external_user_id, &mut errors);
                    let depth = memory.as_ref().map_or(0, Memory::depth);
                    let memory = judge.memory(memory, depth, &mut errors);
                    judge.conclude(Some(external_user_id), memory, errors);
                }
                UserSource::Json(text) => judge.item_text(&text),
            }
        }
        Ok(judge.finish())
    }

    /// The report, given what became of `writes`.
    pub fn report(self, applied: &Applied) -> UpsertReport {
        let outcome = |item: usize, place: usize| match (applied.failure(item), applied.effects().get(place))
        {
            (Some(error), _) => Err(vec![error.clone()]),
            (None, Some(Effect::Created)) => Ok(Outcome::Created),
            (None, Some(Effect::Updated)) => Ok(Outcome::Updated),
            (None, Some(Effect::Unchanged)) => Ok(Outcome::Unchanged),
            // The batch was given up before the transaction, because of another item.
            (None, None) => Err(vec![ItemError::NotStored]),
            (None, Some(Effect::Deleted | Effect::Absent)) => unreachable!("an upsert deletes nothing"),
        };
        let result = |(item, verdict): (usize, Verdict)| {
            let result = verdict.entry.and_then(|place| outcome(item, place));
            UserResult::new(item, verdict.echo, result)
        };
        UpsertReport::new(self.verdicts.into_iter().enumerate().map(result).collect())
    }
}

/// Lets the executor run something else, whichever executor it is.
async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn too_many(count: usize, limits: &Limits) -> Error {
    let limit = limits.batch_items();
    Error::new(ErrorKind::InvalidRequest, format!("batch has {count} users, the limit is {limit}"))
}

/// Judges items and gathers the batch (A1–A5, S4).
struct Judge<'l> {
    limits: &'l Limits,
    writes: WriteBatch,
    verdicts: Vec<Verdict>,
    places: HashMap<ExternalUserId, usize>,
    scratch: String,
    /// How the next items are to be written.
    merging: bool,
    condition: Condition,
    all_or_nothing: bool,
}

/// The members of an item that count. Of a member that stands twice, the last (R1).
#[derive(Default)]
struct Item<'a> {
    id: Member<Token<'a>>,
    memory: Member<(&'a str, Facts)>,
}

/// A member of an item.
#[derive(Default)]
enum Member<T> {
    /// Absent or `null`.
    #[default]
    Missing,
    OtherKind,
    Given(T),
}

impl<'l> Judge<'l> {
    fn new(limits: &'l Limits, merging: bool, all_or_nothing: bool) -> Self {
        Self {
            limits,
            writes: WriteBatch::new(*limits, all_or_nothing),
            verdicts: Vec::new(),
            places: HashMap::new(),
            scratch: String::new(),
            merging,
            condition: Condition::None,
            all_or_nothing,
        }
    }

    /// Forgets all items, as another `users` counts instead (R1).
    fn restart(&mut self) {
        *self = Self::new(self.limits, self.merging, self.all_or_nothing);
    }

    fn finish(mut self) -> Admitted {
        if self.all_or_nothing && self.verdicts.iter().any(|verdict| verdict.entry.is_err()) {
            self.writes = WriteBatch::default();
        }
        Admitted { writes: self.writes, verdicts: self.verdicts }
    }

    /// Judges an item that stands alone, as a line of NDJSON does. What is no JSON at all costs
    /// no more than itself (R2).
    fn item_text(&mut self, text: &[u8]) {
        let item = std::str::from_utf8(text).ok().and_then(|text| {
            let mut scanner = Scanner::new(text);
            scanner.space();
            let item = read_item(&mut scanner).ok()?;
            scanner.space();
            scanner.peek().is_none().then_some(item)?
        });
        self.item(item);
    }

    /// Judges an item; `None` is one that is no object.
    fn item(&mut self, item: Option<Item<'_>>) {
        let Some(item) = item else {
            self.verdicts.push(Verdict { echo: None, entry: Err(vec![ItemError::NotObject]) });
            return;
        };
        let mut errors = Vec::new();
        let id: Option<Arc<str>> = match item.id {
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
                    Some(match id {
                        Cow::Borrowed(id) => id.into(),
                        Cow::Owned(id) => id.into(),
                    })
                }
                None => {
                    errors.push(ItemError::IdNotString);
                    None
                }
            },
        };
        let (memory, depth) = match item.memory {
            Member::Missing => (Err(ItemError::MissingMemory), 0),
            Member::OtherKind => (Err(ItemError::MemoryNotObject), 0),
            Member::Given((text, facts)) => (Memory::judge(text, facts, &mut self.scratch), facts.depth),
        };
        let memory = self.memory(memory, depth, &mut errors);
        self.conclude(id, memory, errors);
    }

    /// What is wrong with an id (A1).
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

    /// Holds a memory against the limits. One that `serde_json` refuses for its depth is both not
    /// valid and too deep.
    fn memory(
        &self,
        memory: Result<Memory, ItemError>,
        depth: usize,
        errors: &mut Vec<ItemError>,
    ) -> Option<Memory> {
        let memory = memory.map_err(|error| errors.push(error)).ok();
        if memory.as_ref().is_some_and(|memory| memory.as_str().len() > self.limits.memory_bytes()) {
            errors.push(ItemError::MemoryTooLarge { limit: self.limits.memory_bytes() });
        }
        if depth > self.limits.memory_depth() {
            errors.push(ItemError::MemoryTooDeep { limit: self.limits.memory_depth() });
        }
        memory
    }

    /// Takes the item in, or notes why not.
    fn conclude(&mut self, id: Option<Arc<str>>, memory: Option<Memory>, errors: Vec<ItemError>) {
        let entry = match (&id, memory) {
            (Some(id), Some(memory)) if errors.is_empty() => {
                let action = if self.merging { Action::Merge(memory) } else { Action::Put(memory) };
                let operation = Operation { item: self.verdicts.len(), condition: self.condition, action };
                Ok(match self.places.entry(ExternalUserId::admitted(Arc::clone(id))) {
                    hash_map::Entry::Vacant(vacant) => {
                        let place = self.writes.push(vacant.key().clone(), operation);
                        *vacant.insert(place)
                    }
                    hash_map::Entry::Occupied(occupied) => {
                        self.writes.push_later(*occupied.get(), operation);
                        *occupied.get()
                    }
                })
            }
            _ => Err(errors),
        };
        self.verdicts.push(Verdict { echo: id, entry });
    }
}

/// Reads an item; `None` where it is a JSON value but no object.
fn read_item<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Item<'a>>, SyntaxError> {
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        return Ok(None);
    }
    let mut item = Item::default();
    read_object(scanner, |scanner, name| {
        if name.is("external_user_id") {
            item.id = match scanner.peek() {
                Some(b'"') => Member::Given(scanner.string(&mut Facts::default())?),
                first => {
                    scanner.value()?;
                    if first == Some(b'n') { Member::Missing } else { Member::OtherKind }
                }
            };
        } else if name.is("memory") {
            let start = scanner.at();
            let first = scanner.peek();
            let facts = scanner.value()?;
            item.memory = match first {
                Some(b'{') => Member::Given((scanner.since(start), facts)),
                Some(b'n') => Member::Missing,
                _ => Member::OtherKind,
            };
        } else {
            scanner.value()?;
        }
        Ok(())
    })?;
    Ok(Some(item))
}

/// Reads an object whose members `member` consumes, each from the first byte of its value.
fn read_object<'a>(
    scanner: &mut Scanner<'a>,
    mut member: impl FnMut(&mut Scanner<'a>, Token<'a>) -> Result<(), SyntaxError>,
) -> Result<(), SyntaxError> {
    scanner.expect(b'{')?;
    scanner.space();
    if scanner.eat(b'}') {
        return Ok(());
    }
    loop {
        let name = scanner.name(&mut Facts::default())?;
        member(scanner, name)?;
        scanner.space();
        if scanner.eat(b'}') {
            return Ok(());
        }
        scanner.expect(b',')?;
        scanner.space();
    }
}

/// Reads the documented request body (R1, R3), in slices.
struct BodyReader<'a> {
    body: &'a str,
    scanner: Scanner<'a>,
    judge: Judge<'a>,
    phase: Phase,
    users: Users,
}

#[derive(Clone, Copy)]
enum Phase {
    /// At the first byte of the body.
    Start,
    /// At the name of a top-level member.
    Member,
    /// At the first byte of an item.
    Item,
    /// Behind a top-level member's value.
    AfterMember,
    /// Behind the closing brace.
    End,
}

/// The member `users`, of which the last one counts (R1).
#[derive(Clone, Copy)]
enum Users {
    Missing,
    NotArray,
    Array { count: usize },
}

impl<'a> BodyReader<'a> {
    fn new(body: &'a [u8], judge: Judge<'a>) -> Result<Self> {
        let body = std::str::from_utf8(body).map_err(|error| {
            let (line, column) = position(body, error.valid_up_to());
            let message = format!("request body is not UTF-8 at line {line} column {column}");
            Error::new(ErrorKind::InvalidRequest, message)
        })?;
        Ok(Self { body, scanner: Scanner::new(body), judge, phase: Phase::Start, users: Users::Missing })
    }

    /// Reads on for about `bytes`; whether there is more to read.
    fn advance(&mut self, bytes: usize) -> Result<bool> {
        let until = self.scanner.at() + bytes;
        loop {
            if matches!(self.phase, Phase::End) {
                return self.end().map(|()| false);
            }
            if self.scanner.at() >= until {
                return Ok(true);
            }
            self.phase = self.step().map_err(|error| self.not_json(error))?;
        }
    }

    fn step(&mut self) -> Result<Phase, SyntaxError> {
        let scanner = &mut self.scanner;
        match self.phase {
            Phase::Start => {
                scanner.space();
                if scanner.peek() != Some(b'{') {
                    scanner.value()?;
                    return Ok(Phase::End);
                }
                scanner.eat(b'{');
                scanner.space();
                Ok(if scanner.eat(b'}') { Phase::End } else { Phase::Member })
            }
            Phase::Member => {
                let name = scanner.name(&mut Facts::default())?;
                if !name.is("users") {
                    scanner.value()?;
                    return Ok(Phase::AfterMember);
                }
                self.judge.restart();
                if scanner.peek() != Some(b'[') {
                    scanner.value()?;
                    self.users = Users::NotArray;
                    return Ok(Phase::AfterMember);
                }
                self.users = Users::Array { count: 0 };
                scanner.eat(b'[');
                scanner.space();
                Ok(if scanner.eat(b']') { Phase::AfterMember } else { Phase::Item })
            }
            Phase::Item => {
                let item = read_item(scanner)?;
                if let Users::Array { count } = &mut self.users {
                    *count += 1;
                    // Past the limit the items are only counted, for the error to tell.
                    if *count <= self.judge.limits.batch_items() {
                        self.judge.item(item);
                    }
                }
                scanner.space();
                if scanner.eat(b']') {
                    return Ok(Phase::AfterMember);
                }
                scanner.expect(b',')?;
                scanner.space();
                Ok(Phase::Item)
            }
            Phase::AfterMember => {
                scanner.space();
                if scanner.eat(b'}') {
                    return Ok(Phase::End);
                }
                scanner.expect(b',')?;
                scanner.space();
                Ok(Phase::Member)
            }
            Phase::End => Ok(Phase::End),
        }
    }

    fn end(&mut self) -> Result<()> {
        self.scanner.space();
        if self.scanner.peek().is_some() {
            return Err(self.not_json(self.scanner.error()));
        }
        let refuse = |what: &'static str| Err(Error::new(ErrorKind::InvalidRequest, what));
        if !self.body.trim_ascii_start().starts_with('{') {
            return refuse("request body must be a JSON object");
        }
        match self.users {
            Users::Missing => refuse("request body has no array `users`"),
            Users::NotArray => refuse("`users` of the request body must be an array"),
            Users::Array { count } if count > self.judge.limits.batch_items() => {
                Err(too_many(count, self.judge.limits))
            }
            Users::Array { .. } => Ok(()),
        }
    }

    /// The refusal of a body that breaks the grammar, in `serde_json`'s words.
    fn not_json(&self, error: SyntaxError) -> Error {
        let reason = match serde_json::from_str::<IgnoredAny>(self.body) {
            Err(reason) => reason.to_string(),
            Ok(_) => {
                let (line, column) = position(self.body.as_bytes(), error.at);
                format!("syntax error at line {line} column {column}")
            }
        };
        Error::new(ErrorKind::InvalidRequest, format!("request body is not JSON: {reason}"))
    }
}

/// Line and column, in bytes and from 1, of the byte at `at`.
fn position(text: &[u8], at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
    (line, column)
}

//! Results that real threads got, checked for linearizability, key by key (S9).
//!
//! Every call is stamped by one counter before it is made and after it has returned. A key's history
//! is fine if its calls can be put into an order that keeps who was done before whom, and in which
//! each answer is what a single value would give. Values are written once each, so that every read
//! tells which write it saw.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

use profile_store::{
    Durability, ETag, ExternalUserId, GuruSlug, ItemError, ListOptions, Memory, Outcome, Profile, User,
    UserResult,
};

use crate::power::slice;
use crate::scratch::Scratch;
use crate::workload::{Backend, Store, open, scramble};

const THREADS: u64 = 8;
const KEYS: u64 = 12;
/// Keys start anew after so many calls of a thread.
const ROUND: u64 = 2_000;

/// A value's number, and the ETag of its memory.
type Seen = (u64, ETag);

/// A key, the value to put there, and what was last seen of it.
type Put = (u64, u64, Option<Seen>);

/// The effect of a call on one key, as reported to its caller. Values are numbers; 0 is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Did {
    Read(u64),
    Put { value: u64, created: bool },
    PutIf { expected: u64, value: u64, done: bool },
    PutIfAbsent { value: u64, done: bool },
    Delete { was_there: bool },
}

impl Did {
    /// The value after it, if it can have happened to `value`.
    fn apply(self, value: u64) -> Option<u64> {
        let (fits, then) = match self {
            Self::Read(seen) => (seen == value, value),
            Self::Put { value: new, created } => (created == (value == 0), new),
            Self::PutIf { expected, value: new, done } => {
                (done == (expected == value), if done { new } else { value })
            }
            Self::PutIfAbsent { value: new, done } => (done == (value == 0), if done { new } else { value }),
            Self::Delete { was_there } => (was_there == (value != 0), 0),
        };
        fits.then_some(then)
    }
}

#[derive(Clone, Copy, Debug)]
struct Call {
    from: u64,
    to: u64,
    thread: u64,
    did: Did,
}

/// Whether the calls on one key, which starts absent, are linearizable. A thread makes one at a time.
///
/// Follows the calls and returns in their order, with all states that the key can be in: its value,
/// and which of the calls under way have already taken effect.
fn linearizable(calls: &[Call]) -> Result<(), String> {
    let mut moments: Vec<(u64, usize)> =
        calls.iter().enumerate().flat_map(|(n, call)| [(call.from, n), (call.to, n)]).collect();
    moments.sort_unstable();
    let mut states: HashSet<(u64, u64)> = HashSet::from([(0, 0)]);
    let mut under_way: BTreeMap<u64, Did> = BTreeMap::new();
    for (at, n) in moments {
        let call = calls[n];
        if at == call.from {
            assert!(under_way.insert(call.thread, call.did).is_none(), "a thread makes one call at a time");
            continue;
        }
        let (mut reached, mut next, mine) = (states.clone(), Vec::from_iter(states), 1 << call.thread);
        while let Some((value, effective)) = next.pop() {
            for (thread, did) in &under_way {
                if effective & (1 << thread) == 0
                    && effective & mine == 0
                    && let Some(then) = did.apply(value)
                    && reached.insert((then, effective | (1 << thread)))
                {
                    next.push((then, effective | (1 << thread)));
                }
            }
        }
        states = reached.into_iter().filter(|(_, effective)| effective & mine != 0).collect();
        states = states.into_iter().map(|(value, effective)| (value, effective & !mine)).collect();
        under_way.remove(&call.thread);
        if states.is_empty() {
            let near: Vec<_> =
                calls.iter().filter(|other| other.from <= call.to && other.to >= call.from).collect();
            return Err(format!("{call:?} fits no order; around it: {near:?}"));
        }
    }
    Ok(())
}

pub fn threads(backend: Backend) {
    let calls = slice(backend, 40_000, 1_000_000);
    let (made, wrong) = run(backend, calls, false);
    println!("  {made} calls of {THREADS} threads, keys whose history fits no order: {}", wrong.len());
    wrong.iter().take(2).for_each(|wrong| println!("    {}", wrong.chars().take(600).collect::<String>()));
    assert!(wrong.is_empty() && made >= calls);
    let (made, wrong) = run(backend, 4 * ROUND, true);
    println!("  control, some reads from a cache: {} keys in {made} calls", wrong.len());
    assert!(!wrong.is_empty(), "stale reads go unnoticed");
}

fn run(backend: Backend, calls: u64, stale: bool) -> (u64, Vec<String>) {
    let scratch = Scratch::new();
    let store = open(backend, &scratch.path("files"), Durability::PowerLoss).unwrap();
    let (mut made, mut wrong) = (0, Vec::new());
    for round in 0..calls.div_ceil(ROUND * THREADS).max(1) {
        let guru = GuruSlug::new(&format!("round-{round}")).unwrap();
        let now = AtomicU64::new(1);
        let mut keys: BTreeMap<u64, Vec<Call>> = BTreeMap::new();
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let mut thread = Thread {
                        store: &store,
                        guru: &guru,
                        now: &now,
                        number: thread,
                        dice: scramble(round * THREADS + thread),
                        known: HashMap::new(),
                        told: Vec::new(),
                        cache: stale.then(HashMap::new),
                    };
                    scope.spawn(move || {
                        (0..ROUND).for_each(|n| thread.call(n));
                        thread.told
                    })
                })
                .collect();
            for thread in threads {
                for (key, call) in thread.join().unwrap() {
                    keys.entry(key).or_default().push(call);
                }
            }
        });
        made += ROUND * THREADS;
        wrong.extend(keys.values().filter_map(|calls| linearizable(calls).err()));
    }
    pollster::block_on(store.close()).unwrap();
    (made, wrong)
}

struct Thread<'a> {
    store: &'a Store,
    guru: &'a GuruSlug,
    now: &'a AtomicU64,
    number: u64,
    dice: u64,
    /// The value last seen of each key, for conditions.
    known: HashMap<u64, Seen>,
    told: Vec<(u64, Call)>,
    /// The control: a read may be answered with what an earlier one has put here.
    cache: Option<HashMap<u64, u64>>,
}

fn id(key: u64) -> ExternalUserId {
    ExternalUserId::new(format!("key-{key:02}")).unwrap()
}

fn memory(value: u64) -> Memory {
    Memory::from_json(&format!(r#"{{"value":{value}}}"#)).unwrap()
}

fn value(profile: Option<&Profile>) -> u64 {
    let text = profile.map_or(r#"{"value":0}"#, |profile| profile.memory.as_str());
    text[9..text.len() - 1].parse().unwrap()
}

impl Thread<'_> {
    fn toss(&mut self, sides: u64) -> u64 {
        self.dice = scramble(self.dice);
        self.dice % sides
    }

    fn saw(&mut self, key: u64, profile: Option<&Profile>) -> Did {
        match profile {
            Some(profile) => drop(self.known.insert(key, (value(Some(profile)), profile.etag()))),
            None => drop(self.known.remove(&key)),
        }
        Did::Read(value(profile))
    }

    /// Makes one call, and notes what it was told about each key.
    fn call(&mut self, n: u64) {
        let first = self.toss(KEYS);
        let some: Vec<u64> = (0..1 + self.toss(4)).map(|n| (first + n * 5) % KEYS).collect();
        let fresh = |n: u64, nth: u64, number: u64| 1 + ((n * 4 + nth) * THREADS + number);
        let from = self.now.fetch_add(1, SeqCst);
        let dids: Vec<(u64, Did)> = match self.toss(10) {
            0..3 => {
                let ids: Vec<_> = some.iter().map(|&key| id(key)).collect();
                let found = pollster::block_on(self.store.get_many(self.guru, &ids)).unwrap();
                some.iter().zip(&found).map(|(&key, found)| (key, self.saw(key, found.as_ref()))).collect()
            }
            3 => {
                let page = pollster::block_on(self.store.list(self.guru, &ListOptions::default())).unwrap();
                let found: HashMap<_, _> =
                    page.profiles.iter().map(|profile| (profile.external_user_id.clone(), profile)).collect();
                (0..KEYS).map(|key| (key, self.saw(key, found.get(&id(key)).copied()))).collect()
            }
            4 => {
                let ids: Vec<_> = some.iter().map(|&key| id(key)).collect();
                let there = pollster::block_on(self.store.delete_many(self.guru, &ids)).unwrap();
                some.iter().zip(there).map(|(&key, was_there)| (key, Did::Delete { was_there })).collect()
            }
            kind => {
                let puts: Vec<Put> = (0..)
                    .zip(&some)
                    .map(|(nth, &key)| (key, fresh(n, nth, self.number), self.known.get(&key).copied()))
                    .collect();
                let user = |(key, value, known): &Put| {
                    let user = User::new(id(*key).as_str(), memory(*value));
                    match (kind, known) {
                        (5, _) => user.if_absent(),
                        (6..8, Some((_, etag))) => user.if_match(*etag),
                        _ => user,
                    }
                };
                let users: Vec<_> = puts.iter().map(user).collect();
                let report = pollster::block_on(self.store.upsert_batch(self.guru, users.into())).unwrap();
                let did = |((key, value, known), result): (_, &UserResult)| {
                    let done = done(result);
                    let value: u64 = value;
                    match (kind, known) {
                        (5, _) => (key, Did::PutIfAbsent { value, done }),
                        (6..8, Some((expected, _))) => (key, Did::PutIf { expected, value, done }),
                        _ => (key, Did::Put { value, created: result.result == Ok(Outcome::Created) }),
                    }
                };
                puts.into_iter().zip(report.results()).map(did).collect()
            }
        };
        let to = self.now.fetch_add(1, SeqCst);
        for (key, mut did) in dids {
            if let (Some(cache), Did::Read(seen)) = (&mut self.cache, &mut did) {
                match self.dice % 50 {
                    0 => *seen = cache.get(&key).copied().unwrap_or(*seen),
                    1 => drop(cache.insert(key, *seen)),
                    _ => {}
                }
            }
            self.told.push((key, Call { from, to, thread: self.number, did }));
        }
    }
}

/// Whether a conditional write was done; anything but a failed condition is wrong.
fn done(result: &UserResult) -> bool {
    match &result.result {
        Ok(_) => true,
        Err(errors) => {
            let failed = |error: &ItemError| matches!(error, ItemError::Changed | ItemError::Exists);
            assert!(errors.iter().all(failed), "{errors:?}");
            false
        }
    }
}

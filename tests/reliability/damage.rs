//! Flipped, zeroed, cut and swapped bytes, in the files of a store that was closed and of one that
//! was killed: reported, or harmless, or counted as what no checksum of a record can see. Never
//! wrong data, never a panic.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use profile_store::{Error, Guru, ListOptions};
use rusqlite::{Connection, OpenFlags};

use crate::child::{End, Job, Order, each};
use crate::power::slice;
use crate::scratch::{Scratch, copy};
use crate::workload::{Backend, IDS, State, Store, advance, guru, id, perform, scramble, state};

const WRITERS: u64 = 2;
const STEPS: u64 = 58;

#[derive(Clone, Copy, Debug)]
enum Damage {
    Flip,
    Zero,
    Cut,
    Swap,
}

const KINDS: [Damage; 4] = [Damage::Flip, Damage::Zero, Damage::Cut, Damage::Swap];

pub fn closed(backend: Backend) {
    survey(backend, true);
}

pub fn unclean(backend: Backend) {
    survey(backend, false);
}

fn survey(backend: Backend, closed: bool) {
    let scratch = Scratch::new();
    let files = scratch.path("files");
    let job = Job::new("work", backend, &files).with("writers", WRITERS).with("steps", STEPS);
    match job.with("close", if closed { "yes" } else { "no" }).run() {
        End::Done(_) => {}
        other => panic!("undisturbed, it ends: {other:?}"),
    }
    let places = places(&files);
    let whole = scratch.path("whole");
    copy(&files, &whole);
    match Job::new("damage", backend, &whole).run() {
        End::Done(words) => assert_eq!(words["verdict"], "harmless", "undamaged"),
        other => panic!("undamaged, {other:?}"),
    }
    let count = slice(backend, 240, 2_800);
    let seeds: Vec<u64> = (0..count).collect();
    let ends = each(&seeds, |&seed| {
        let scratch = Scratch::new();
        let directory = scratch.path("files");
        copy(&files, &directory);
        let kind = KINDS[(seed % 4) as usize];
        hurt(&directory, &places, kind, scramble(seed));
        let job = Job::new("damage", backend, &directory);
        (seed, kind, if closed { job.with("raw", "yes") } else { job }.run())
    });
    let mut tally = BTreeMap::<String, BTreeMap<String, u64>>::new();
    let (mut unchecked, mut panics, mut bad) = (0, 0, Vec::new());
    for (seed, kind, end) in ends {
        match end {
            End::Done(words) => {
                *tally
                    .entry(format!("{kind:?}"))
                    .or_default()
                    .entry(words["verdict"].clone())
                    .or_default() += 1;
                unchecked += words["unchecked"].parse::<u64>().unwrap();
                panics += words["panics"].parse::<u64>().unwrap();
            }
            other => bad.push(format!("{kind:?} by seed {seed}: {other:?}")),
        }
    }
    let unseen: u64 = tally.values().filter_map(|verdicts| verdicts.get("lost")).sum();
    println!("  lost without a sign, from reads and from verify: {unseen} of {count}");
    println!("  damaged {count} times; wrong data, panics and hangs {}; panics caught {panics}", bad.len());
    for (kind, verdicts) in tally {
        println!("    {kind}: {verdicts:?}");
    }
    bad.iter().take(4).for_each(|bad| println!("    {}", bad.chars().take(1_500).collect::<String>()));
    assert!(bad.is_empty());
    if closed && backend == Backend::Sqlite {
        println!("  control, read without the checksum: wrong data in {unchecked} cases");
        assert!(unchecked > 0, "the checksum has nothing to catch");
    }
}

/// The sectors that hold something.
fn places(directory: &Path) -> Vec<(PathBuf, u64)> {
    let mut places = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        let mut entries: Vec<_> =
            fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                directories.push(path);
            } else if !path.to_string_lossy().ends_with("-shm") {
                let bytes = fs::read(&path).unwrap();
                let held =
                    bytes.chunks(512).enumerate().filter(|(_, sector)| sector.iter().any(|byte| *byte != 0));
                places.extend(held.map(|(n, _)| (path.clone(), n as u64 * 512)));
            }
        }
    }
    places.iter().map(|(path, at)| (path.strip_prefix(directory).unwrap().to_owned(), *at)).collect()
}

fn hurt(directory: &Path, places: &[(PathBuf, u64)], kind: Damage, dice: u64) {
    let (path, at) = &places[(dice % places.len() as u64) as usize];
    let file = OpenOptions::new().read(true).write(true).open(directory.join(path)).unwrap();
    let length = file.metadata().unwrap().len();
    let sector = |at: u64| {
        let mut bytes = vec![0; 512.min(length - at) as usize];
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    };
    let dice = scramble(dice);
    match kind {
        Damage::Flip => {
            let mut bytes = sector(*at);
            let held: Vec<usize> = (0..bytes.len()).filter(|&n| bytes[n] != 0).collect();
            bytes[held[(dice % held.len() as u64) as usize]] ^= 1 << (dice >> 32 & 7);
            file.write_all_at(&bytes, *at).unwrap();
        }
        Damage::Zero => file.write_all_at(&vec![0; sector(*at).len()], *at).unwrap(),
        Damage::Cut => file.set_len(at + dice % 512).unwrap(),
        Damage::Swap => {
            let others: Vec<_> =
                places.iter().filter(|(other, there)| other == path && there != at).collect();
            let Some((_, there)) = others.get((dice % others.len().max(1) as u64) as usize) else { return };
            let (one, other) = (sector(*at), sector(*there));
            let length = one.len().min(other.len());
            file.write_all_at(&other[..length], *at).unwrap();
            file.write_all_at(&one[..length], *there).unwrap();
        }
    }
}

/// All that was ever stored under an id.
fn history(writer: u64) -> BTreeMap<String, BTreeSet<String>> {
    let (mut state, mut history) = (State::new(), BTreeMap::<_, BTreeSet<_>>::new());
    for n in 0..STEPS {
        advance(&mut state, writer, n);
        for (id, memory) in &state {
            history.entry(id.clone()).or_default().insert(memory.clone());
        }
    }
    history
}

/// Reads all there is and says what the damage did, the worst of it:
/// `harmless`, `reported`, or `lost` (missing, or older than acknowledged), and whether reads or at
/// least `verify` told of it.
pub fn child(order: &Order) {
    let histories: Vec<_> = (0..WRITERS).map(history).collect();
    let unchecked = order.text("raw").is_some() && raw_is_wrong(&order.directory, &histories);
    println!("unchecked={}", u64::from(unchecked));
    let store = match order.open() {
        Ok(store) => store,
        Err(error) => return println!("verdict=refused-{:?}", error.kind()),
    };
    let mut errors: Vec<Error> = Vec::new();
    let mut lost = false;
    // Whether it is missing or old.
    let judge = |writer: u64, id: &str, memory: Option<&str>, expected: &State| {
        let right = memory == expected.get(id).map(String::as_str);
        let known = memory.is_none_or(|memory| {
            histories[writer as usize].get(id).is_some_and(|history| history.contains(memory))
        });
        assert!(known, "wrong data for {id}: {memory:?}");
        !right
    };
    for writer in 0..WRITERS {
        let (guru, expected) = (guru(writer), state(writer, STEPS));
        for n in 0..IDS {
            match pollster::block_on(Guru::new(&store, guru.clone()).get(&id(n))) {
                Ok(found) => {
                    lost |=
                        judge(writer, &id(n), found.as_ref().map(|found| found.memory.as_str()), &expected);
                }
                Err(error) => errors.push(error),
            }
        }
        match pollster::block_on(store.list(&guru, &ListOptions::default())) {
            Ok(page) => {
                let listed = page.profiles.iter().map(|profile| profile.external_user_id.as_str());
                let listed: BTreeSet<_> = listed.collect();
                for profile in &page.profiles {
                    lost |= judge(
                        writer,
                        profile.external_user_id.as_str(),
                        Some(profile.memory.as_str()),
                        &expected,
                    );
                }
                for id in expected.keys().filter(|id| !listed.contains(id.as_str())) {
                    lost |= judge(writer, id, None, &expected);
                }
            }
            Err(error) => errors.push(error),
        }
        match pollster::block_on(store.count(&guru)) {
            Ok(count) => lost |= count != expected.len() as u64,
            Err(error) => errors.push(error),
        }
    }
    errors.extend(pollster::block_on(store.gurus(None, 10)).err());
    let told = scrub(&store, &errors);
    // Whether or not it can write on it, it says so and does not panic.
    for writer in 0..WRITERS {
        errors.extend(perform(&store, writer, STEPS).err());
        errors.extend(pollster::block_on(store.delete_guru(&guru(writer))).err());
    }
    errors.extend(pollster::block_on(store.close()).err());
    let verdict = match (lost, errors.is_empty(), told) {
        (true, true, false) => "lost",
        (true, true, true) => "lost-and-found-by-verify",
        (true, false, _) => "lost-and-reported",
        (false, true, false) => "harmless",
        (false, true, true) => "found-by-verify",
        (false, false, _) => "reported",
    };
    println!("verdict={verdict}");
}

/// Whether `verify` tells of damage. It must name every record that could not be read.
fn scrub(store: &Store, errors: &[Error]) -> bool {
    let told: Vec<String> = match pollster::block_on(store.verify()) {
        Ok(found) => {
            assert_eq!(found.is_sound(), found.damage.is_empty());
            found.damage.iter().map(ToString::to_string).collect()
        }
        Err(error) => vec![error.to_string()],
    };
    // If the engine itself fails on its file, the records after that place can't be named.
    let stumbled = told.iter().any(|told| !told.starts_with("stored profile"));
    for error in errors.iter().map(ToString::to_string) {
        let named = told.contains(&error) || stumbled;
        assert!(named, "verify does not tell of {error:?}, but of {told:?}");
    }
    !told.is_empty()
}

/// Whether a reader without checksums would have been shown what was never stored.
fn raw_is_wrong(directory: &Path, histories: &[BTreeMap<String, BTreeSet<String>>]) -> bool {
    let url = format!("file:{}?immutable=1", directory.join("store").display());
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI;
    let read = || -> rusqlite::Result<Vec<(i64, String, String)>> {
        let connection = Connection::open_with_flags(&url, flags)?;
        let mut select = connection.prepare("SELECT guru, external_user_id, memory FROM profile")?;
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        // Up to the first that can't be read at all.
        Ok(rows.map_while(Result::ok).collect())
    };
    let known = |id: &str, memory: &str| {
        histories.iter().any(|history| history.get(id).is_some_and(|history| history.contains(memory)))
    };
    read().is_ok_and(|rows| rows.iter().any(|(_, id, memory)| !known(id, memory)))
}

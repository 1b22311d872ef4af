//! Names made to be taken for one another: no guru ever reaches another's profiles (S8).

use std::collections::{BTreeMap, BTreeSet};

use profile_store::{Durability, ExternalUserId, Guru, GuruSlug, ListOptions, Memory, User};

use crate::names::{IDS, SLUGS};
use crate::scratch::{Scratch, size};
use crate::workload::{Backend, Store, open, scramble};

/// [`SLUGS`], and the longest.
fn slugs() -> Vec<String> {
    let mut slugs: Vec<String> = SLUGS.map(str::to_owned).to_vec();
    slugs.extend(["a".repeat(254), "a".repeat(255), format!("{}b", "a".repeat(254)), "-".repeat(255)]);
    slugs
}

/// [`IDS`], and those from every plane of Unicode, and the longest.
fn ids() -> Vec<String> {
    let mut ids: Vec<String> = IDS.map(str::to_owned).to_vec();
    for plane in 0..=16_u32 {
        for at in [0x41, 0x100, 0x1f00, 0xd000, 0xfffd] {
            ids.extend(char::from_u32((plane << 16) + at).map(String::from));
        }
    }
    for letter in ["a", "%", "é", "😀"] {
        let longest = letter.repeat(255 / letter.len());
        ids.extend([longest.clone(), longest[..longest.len() - letter.len()].to_owned()]);
    }
    ids.push(format!("{}\u{10ffff}", "a".repeat(251)));
    ids.sort();
    ids.dedup();
    ids
}

/// A store that puts profiles by two names.
trait Place {
    fn put(&mut self, guru: &str, id: &str, memory: &str);
    fn get(&self, guru: &str, id: &str) -> Option<String>;
    fn behind(&self, guru: &str, id: Option<&str>) -> Vec<(String, String)>;
    fn delete(&mut self, guru: &str, id: &str) -> bool;
    fn delete_guru(&mut self, guru: &str) -> u64;
}

impl Place for Store {
    fn put(&mut self, guru: &str, id: &str, memory: &str) {
        let user = User::new(id, Memory::from_json(memory).unwrap());
        pollster::block_on(Guru::new(&*self, slug(guru)).upsert(user)).unwrap();
    }

    fn get(&self, guru: &str, id: &str) -> Option<String> {
        let found = pollster::block_on(Guru::new(self, slug(guru)).get(id)).unwrap();
        found.map(|profile| profile.memory.as_str().to_owned())
    }

    fn behind(&self, guru: &str, id: Option<&str>) -> Vec<(String, String)> {
        let mut options =
            ListOptions::default().with_limit(37).with_after(id.map(|id| ExternalUserId::new(id).unwrap()));
        let mut all = Vec::new();
        loop {
            let page = pollster::block_on(self.list(&slug(guru), &options)).unwrap();
            let profiles = page.profiles.iter();
            all.extend(
                profiles.map(|p| (p.external_user_id.as_str().to_owned(), p.memory.as_str().to_owned())),
            );
            match page.next {
                Some(next) => options = options.with_after(next),
                None => return all,
            }
        }
    }

    fn delete(&mut self, guru: &str, id: &str) -> bool {
        pollster::block_on(Guru::new(&*self, slug(guru)).delete(id)).unwrap()
    }

    fn delete_guru(&mut self, guru: &str) -> u64 {
        pollster::block_on(profile_store::ProfileStore::delete_guru(self, &slug(guru))).unwrap()
    }
}

fn slug(guru: &str) -> GuruSlug {
    GuruSlug::new(guru).unwrap()
}

/// Stores as they are written by hand, with the mistakes that the names are made for.
struct Naive {
    profiles: BTreeMap<String, String>,
    key: fn(&str, &str) -> String,
    /// The beginning of a guru's keys.
    prefix: fn(&str) -> String,
}

impl Place for Naive {
    fn put(&mut self, guru: &str, id: &str, memory: &str) {
        self.profiles.insert((self.key)(guru, id), memory.to_owned());
    }

    fn get(&self, guru: &str, id: &str) -> Option<String> {
        self.profiles.get(&(self.key)(guru, id)).cloned()
    }

    fn behind(&self, guru: &str, id: Option<&str>) -> Vec<(String, String)> {
        let prefix = (self.prefix)(guru);
        let own = self.profiles.iter().filter_map(|(key, memory)| Some((key.strip_prefix(&prefix)?, memory)));
        own.filter(|(own, _)| id.is_none_or(|id| *own > id))
            .map(|(id, memory)| (id.to_owned(), memory.clone()))
            .collect()
    }

    fn delete(&mut self, guru: &str, id: &str) -> bool {
        self.profiles.remove(&(self.key)(guru, id)).is_some()
    }

    fn delete_guru(&mut self, guru: &str) -> u64 {
        let (before, prefix) = (self.profiles.len(), (self.prefix)(guru));
        self.profiles.retain(|key, _| !key.starts_with(&prefix));
        (before - self.profiles.len()) as u64
    }
}

/// Puts every id under every slug, changes and deletes some at random, and tells the first place
/// where a guru shows anything else than its own.
fn cross(place: &mut dyn Place, rounds: u64) -> Result<u64, String> {
    let (slugs, ids) = (slugs(), ids());
    let mut own: BTreeMap<&str, BTreeMap<&str, String>> = BTreeMap::new();
    let memory = |guru: &str, id: &str, n: u64| {
        let id: String = id.chars().map(|c| format!("{:x}.", c as u32)).collect();
        format!(r#"{{"of":"{guru}","id":"{id}","n":{n}}}"#)
    };
    let mut checks = 0;
    for guru in &slugs {
        for id in &ids {
            place.put(guru, id, &memory(guru, id, 0));
            own.entry(guru).or_default().insert(id, memory(guru, id, 0));
        }
    }
    for n in 1..=rounds {
        let dice = scramble(n);
        let guru = &slugs[(dice % slugs.len() as u64) as usize];
        let id = &ids[((dice >> 16) % ids.len() as u64) as usize];
        let there = own.entry(guru).or_default();
        match (dice >> 40) % 16 {
            0 => {
                let gone = place.delete_guru(guru);
                if gone != there.len() as u64 {
                    return Err(format!("deleting {guru:?} removed {gone}, not {}", there.len()));
                }
                there.clear();
            }
            1..8 => {
                if place.delete(guru, id) != there.remove(id.as_str()).is_some() {
                    return Err(format!("deleting {id:?} of {guru:?} told a lie"));
                }
            }
            _ => {
                place.put(guru, id, &memory(guru, id, n));
                there.insert(id, memory(guru, id, n));
            }
        }
        if n % 16 == 0 || n == rounds {
            for (guru, own) in &own {
                let listed = place.behind(guru, None);
                if !listed
                    .iter()
                    .map(|(id, memory)| (id.as_str(), memory))
                    .eq(own.iter().map(|(id, memory)| (*id, memory)))
                {
                    let strangers: BTreeSet<_> =
                        listed.iter().filter(|(id, memory)| own.get(id.as_str()) != Some(memory)).collect();
                    return Err(format!(
                        "{guru:?} lists {} profiles and has {}; strangers: {strangers:?}",
                        listed.len(),
                        own.len()
                    ));
                }
                // From a cursor that is, or was, there.
                let behind = place.behind(guru, Some(id));
                if !behind
                    .iter()
                    .map(|(id, _)| id.as_str())
                    .eq(own.keys().copied().filter(|own| *own > id.as_str()))
                {
                    return Err(format!("behind {id:?}, {guru:?} lists others than its own"));
                }
                if place.get(guru, id) != own.get(id.as_str()).cloned() {
                    return Err(format!("{id:?} of {guru:?} is somebody else's"));
                }
                checks += 1;
            }
        }
    }
    Ok(checks)
}

pub fn adversarial(backend: Backend) {
    let scratch = Scratch::new();
    let mut store = open(backend, &scratch.path("files"), Durability::ProcessCrash).unwrap();
    let checks = cross(&mut store, size(96, 2_000)).unwrap();
    println!("  {} slugs with {} ids each, {checks} comparisons, none crosses", slugs().len(), ids().len());
    type Key = fn(&str, &str) -> String;
    type Prefix = fn(&str) -> String;
    let mistakes: [(&str, Key, Prefix); 4] = [
        ("no separator", |guru, id| format!("{guru}{id}"), str::to_owned),
        ("a separator that slugs may hold", |guru, id| format!("{guru}-{id}"), |guru| format!("{guru}-")),
        ("case folded", |guru, id| format!("{guru}\0{}", id.to_lowercase()), |guru| format!("{guru}\0")),
        ("trimmed", |guru, id| format!("{guru}\0{}", id.trim()), |guru| format!("{guru}\0")),
    ];
    for (mistake, key, prefix) in mistakes {
        let end = cross(&mut Naive { profiles: BTreeMap::new(), key, prefix }, 96);
        assert!(end.is_err(), "{mistake} goes unnoticed");
    }
    println!("  control: 4 of 4 stores written by hand cross");
}

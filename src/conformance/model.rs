//! A store as a map, to drive a store beside it.

use std::collections::BTreeMap;

use super::merge::{merge, settled};
use crate::admission::report::Outcome;
use crate::model::item_error::ItemError;
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;

/// A map that holds the profiles that a store must hold after the same calls. For tests that drive a store beside it.
///
/// It admits nothing and refuses nothing for its form: give it what a store admits.
///
/// ```
/// use profile_store::Outcome;
/// use profile_store::conformance::{Ask, Model};
///
/// let mut model = Model::default();
/// let asks = [Ask::put("ada", r#"{"plan":"pro"}"#), Ask::put("bob", "{}").if_match("{}")];
/// let told = model.upsert("my-guru", &asks, false, 1);
/// assert_eq!(told[0], Ok(Outcome::Created));
/// assert!(told[1].is_err(), "there is no bob");
/// assert_eq!(model.profiles("my-guru").count(), 1);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    held: BTreeMap<(String, String), Held>,
}

/// A profile as a [`Model`] holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a row is these three")]
pub struct Held {
    /// The memory, as stored.
    pub memory: String,
    /// When the profile came to be, in microseconds.
    pub created_at: i64,
    /// When the memory last changed, in microseconds.
    pub updated_at: i64,
}

impl From<&Profile> for Held {
    fn from(profile: &Profile) -> Self {
        Self {
            memory: profile.memory.as_str().to_owned(),
            created_at: profile.created_at.as_micros(),
            updated_at: profile.updated_at.as_micros(),
        }
    }
}

/// A user of a batch, for a [`Model`]. Memories are compact.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    id: &'a str,
    memory: &'a str,
    is_patch: bool,
    expects: Expects<'a>,
}

#[derive(Clone, Debug)]
enum Expects<'a> {
    Whatever,
    Nothing,
    Memory(&'a str),
}

impl<'a> Ask<'a> {
    /// The profile has this memory then.
    #[must_use]
    pub fn put(id: &'a str, memory: &'a str) -> Self {
        Self { id, memory, is_patch: false, expects: Expects::Whatever }
    }

    /// The memory is a patch.
    #[must_use]
    pub fn merging(self) -> Self {
        Self { is_patch: true, ..self }
    }

    /// Only if there is no profile.
    #[must_use]
    pub fn if_absent(self) -> Self {
        Self { expects: Expects::Nothing, ..self }
    }

    /// Only if the profile has this memory.
    #[must_use]
    pub fn if_match(self, memory: &'a str) -> Self {
        Self { expects: Expects::Memory(memory), ..self }
    }

    /// The memory afterwards, not settled.
    fn after(&self, before: Option<&str>) -> Result<String, ItemError> {
        match self.expects {
            Expects::Nothing if before.is_some() => Err(ItemError::Exists),
            Expects::Memory(expected) if before.map(settled).as_deref() != Some(expected) => {
                Err(ItemError::Changed)
            }
            _ if self.is_patch => Ok(merge(before.unwrap_or("{}"), self.memory)),
            _ => Ok(self.memory.to_owned()),
        }
    }
}

impl Model {
    /// A batch at a moment: each user as the ones before it left things. Returns each one's result.
    pub fn upsert(
        &mut self,
        guru: &str,
        asks: &[Ask<'_>],
        all_or_nothing: bool,
        now: i64,
    ) -> Vec<Result<Outcome, ItemError>> {
        let mut after: BTreeMap<&str, String> = BTreeMap::new();
        let mut failures: Vec<Option<ItemError>> = Vec::new();
        for ask in asks {
            let before = after.get(ask.id).or_else(|| self.get(guru, ask.id).map(|held| &held.memory));
            match ask.after(before.map(String::as_str)) {
                Ok(memory) => {
                    after.insert(ask.id, memory);
                    failures.push(None);
                }
                Err(error) => failures.push(Some(error)),
            }
        }
        if all_or_nothing && failures.iter().any(Option::is_some) {
            return failures.into_iter().map(|error| Err(error.unwrap_or(ItemError::NotStored))).collect();
        }
        let outcomes: BTreeMap<_, _> =
            after.into_iter().map(|(id, memory)| (id, self.put(guru, id, settled(&memory), now))).collect();
        asks.iter()
            .zip(failures)
            .map(|(ask, error)| error.map_or_else(|| Ok(outcomes[ask.id]), Err))
            .collect()
    }

    fn put(&mut self, guru: &str, id: &str, memory: String, now: i64) -> Outcome {
        match self.held.get_mut(&key(guru, id)) {
            None => {
                self.held.insert(key(guru, id), Held { memory, created_at: now, updated_at: now });
                Outcome::Created
            }
            Some(held) if held.memory == memory => Outcome::Unchanged,
            Some(held) => {
                held.memory = memory;
                held.updated_at = now.max(held.updated_at + 1).min(Timestamp::LAST.as_micros());
                Outcome::Updated
            }
        }
    }

    /// A profile from elsewhere, unless the one that is here is newer.
    pub fn restore(&mut self, guru: &str, id: &str, brought: Held) -> Outcome {
        let outcome = match self.get(guru, id) {
            Some(held)
                if held.updated_at > brought.updated_at
                    || held.updated_at == Timestamp::LAST.as_micros()
                    || *held == brought =>
            {
                return Outcome::Unchanged;
            }
            Some(_) => Outcome::Updated,
            None => Outcome::Created,
        };
        self.held.insert(key(guru, id), brought);
        outcome
    }

    /// Removes those of a guru that this takes, and returns how many there were.
    pub fn delete_where(&mut self, guru: &str, takes: impl Fn(&str, &Held) -> bool) -> u64 {
        let there = self.held.len();
        self.held.retain(|(of, id), held| of != guru || !takes(id, held));
        (there - self.held.len()) as u64
    }

    /// Removes these, and returns for each whether it was there before the call.
    pub fn delete_many(&mut self, guru: &str, ids: &[&str]) -> Vec<bool> {
        let there = ids.iter().map(|id| self.get(guru, id).is_some()).collect();
        self.delete_where(guru, |id, _| ids.contains(&id));
        there
    }

    /// The profile, if there is one.
    #[must_use]
    pub fn get(&self, guru: &str, id: &str) -> Option<&Held> {
        self.held.get(&key(guru, id))
    }

    /// The profiles of a guru by their ids, ascending.
    pub fn profiles(&self, guru: &str) -> impl Iterator<Item = (&str, &Held)> {
        self.held.iter().filter(move |((of, _), _)| of == guru).map(|((_, id), held)| (id.as_str(), held))
    }

    /// The gurus that have profiles, ascending.
    #[must_use]
    pub fn gurus(&self) -> Vec<&str> {
        let mut gurus: Vec<_> = self.held.keys().map(|(guru, _)| guru.as_str()).collect();
        gurus.dedup();
        gurus
    }

    /// How many profiles there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.held.len()
    }

    /// Whether there is no profile.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.held.is_empty()
    }
}

fn key(guru: &str, id: &str) -> (String, String) {
    (guru.to_owned(), id.to_owned())
}

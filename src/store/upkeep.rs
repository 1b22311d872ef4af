//! A store's reports about itself: its size, its health, its soundness.

use crate::model::error::{Error, ErrorKind};

/// How much a store holds, of one consistent state.
///
/// ```
/// use profile_store::{HasGurus, Memory, MemoryStore, ProfileStore, User};
///
/// # pollster::block_on(async {
/// let store = MemoryStore::new();
/// store.guru("my-guru")?.upsert(User::new("ada", Memory::from_json("{}")?)).await?;
/// let stats = store.stats().await?;
/// assert_eq!((stats.gurus, stats.profiles, stats.disk_bytes), (1, 1, 0));
/// # Ok::<(), profile_store::Error>(())
/// # }).unwrap();
/// ```
///
/// A backend begins with zeros, and sets the fields that it knows:
///
/// ```
/// let mut stats = profile_store::Stats::default();
/// stats.profiles = 2;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, serde::Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// Gurus that have profiles.
    pub gurus: u64,
    /// Profiles, of all gurus.
    pub profiles: u64,
    /// Bytes that the profiles take: of ids and memories, or of the engine's pages that hold them.
    pub live_bytes: u64,
    /// Bytes of the store's files that hold profiles, its log included; 0 in memory.
    pub disk_bytes: u64,
    /// Bytes that [`compact`](crate::ProfileStore::compact) is expected to give back to the disk, at
    /// least.
    pub reclaimable_bytes: u64,
}

/// How deep [`health`](crate::ProfileStore::health) looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Probe {
    /// Reads from the engine, by the same path as other reads.
    #[default]
    Read,
    /// Writes a few bytes that belong to no profile, by the same path as other writes, as durably as a batch.
    /// It fails on a full disk, on a read-only file system, and if a sync fails.
    Write,
}

/// The result of a scrub: how many profiles are sound, and which are damaged.
///
/// A backend begins with an empty one, [counts](Self::count) every profile that it reads, and [reports](Self::report) other damage:
///
/// ```
/// use profile_store::{Error, Profile, Result, Verification};
///
/// fn verify(reads: impl Iterator<Item = Result<Profile>>) -> Result<Verification> {
///     let mut found = Verification::default();
///     for read in reads {
///         found.count(read)?;
///     }
///     Ok(found)
/// }
/// let damaged = Error::corrupt_record("my-guru", "ada", "its checksum differs");
/// assert_eq!(verify([Err(damaged)].into_iter())?.damaged, 1);
/// # Ok::<(), Error>(())
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "damage is reported here, not as an error"]
#[non_exhaustive]
pub struct Verification {
    /// Profiles whose checksum matches.
    pub profiles: u64,
    /// The damage that was found, each a [`Corrupt`](ErrorKind::Corrupt) that names the place; at most
    /// [`MAX_DAMAGE`](Self::MAX_DAMAGE) entries.
    pub damage: Vec<Error>,
    /// How many places are damaged, those beyond the list included.
    pub damaged: u64,
}

impl Verification {
    /// The most entries that are listed.
    pub const MAX_DAMAGE: usize = 1000;

    /// Whether no damage was found.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.damaged == 0
    }

    /// Counts what reading a profile gave. For backends.
    ///
    /// # Errors
    /// Errors that are no damage are returned: the scrub can't go on then.
    pub fn count<T>(&mut self, read: Result<T, Error>) -> Result<(), Error> {
        match read {
            Ok(_) => {
                self.profiles += 1;
                Ok(())
            }
            Err(error) => self.report(error),
        }
    }

    /// Adds damage to the result. For backends.
    ///
    /// # Errors
    /// Errors that are no damage are returned.
    pub fn report(&mut self, error: Error) -> Result<(), Error> {
        if error.kind() != ErrorKind::Corrupt {
            return Err(error);
        }
        self.damaged += 1;
        if self.damage.len() < Self::MAX_DAMAGE {
            self.damage.push(error);
        }
        Ok(())
    }
}

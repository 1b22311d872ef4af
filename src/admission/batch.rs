//! The ways into a batch: the documented request body, and typed Rust.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::model::etag::ETag;
use crate::model::item_error::ItemError;
use crate::model::memory::Memory;
use crate::plan::writes::Condition;

/// The users of one upsert, not judged yet.
///
/// ```
/// use profile_store::{Batch, Memory, User};
///
/// // The body of a request, as it came in.
/// let batch = Batch::from_json(br#"{"users":[{"external_user_id":"ada","memory":{"plan":"pro"}}]}"#);
///
/// // Or users built in Rust.
/// let batch: Batch = vec![
///     User::new("ada", Memory::from_json(r#"{"plan":"pro"}"#)?),
///     User::serialize("bob", &serde_json::json!({"plan": "free"})),
/// ].into();
/// # Ok::<(), profile_store::ItemError>(())
/// ```
pub struct Batch<'a> {
    pub(crate) source: Source<'a>,
    pub(crate) mode: Mode,
}

/// How the users of a batch are to be written.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Mode {
    pub merging: bool,
    /// It is for users without a condition of their own.
    pub condition: Condition,
    pub all_or_nothing: bool,
}

pub(crate) enum Source<'a> {
    Json(Cow<'a, [u8]>),
    Users(Vec<User>),
}

impl<'a> Batch<'a> {
    /// The documented request body: a JSON object with an array `users` ([R1](crate::contract#r1)).
    ///
    /// Nothing is read yet. If the body can't be read, the upsert returns an error ([R3](crate::contract#r3)). A user that
    /// can't be stored is a failure of its own in the report ([R2](crate::contract#r2)).
    #[must_use]
    pub fn from_json(body: impl Into<Cow<'a, [u8]>>) -> Self {
        Self::new(Source::Json(body.into()))
    }

    fn new(source: Source<'a>) -> Self {
        Self { source, mode: Mode::default() }
    }

    /// Applies each user's memory to the stored one as a JSON Merge Patch (RFC 7396), instead of replacing it
    /// ([S6](crate::contract#s6)). Members given are set, members given as `null` are removed, and objects are merged.
    /// Everything else stays, spelling included. If there is no profile, one is created.
    /// Several patches of one id apply in order. A member that one removes and a later one adds again keeps its place.
    /// A memory that grows over the limits is that user's failure; if one id stands several times, only what its patches come to
    /// has to keep them. Sending merges again changes nothing ([S5](crate::contract#s5)).
    ///
    /// ```
    /// use profile_store::{Batch, HasGurus, MemoryStore};
    ///
    /// # pollster::block_on(async {
    /// let store = MemoryStore::new();
    /// let guru = store.guru("my-guru")?;
    /// let body = br#"{"users":[{"external_user_id":"ada","memory":{"plan":"pro","trial":true}}]}"#;
    /// assert!(guru.upsert_json(body).await?.is_complete());
    /// let patch = br#"{"users":[{"external_user_id":"ada","memory":{"trial":null,"seats":5}}]}"#;
    /// assert!(guru.upsert_batch(Batch::from_json(patch).merging()).await?.is_complete());
    /// let ada = guru.get("ada").await?.expect("stored");
    /// assert_eq!(ada.memory.as_str(), r#"{"plan":"pro","seats":5}"#);
    /// # Ok::<(), profile_store::Error>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn merging(mut self) -> Self {
        self.mode.merging = true;
        self
    }

    /// Stores each user only if there is no profile: see [`User::if_absent`]. A user with [`User::if_match`] keeps that
    /// condition instead.
    ///
    /// ```
    /// use profile_store::{Batch, HasGurus, Memory, MemoryStore, User};
    ///
    /// # pollster::block_on(async {
    /// let store = MemoryStore::new();
    /// let guru = store.guru("my-guru")?;
    /// let (old, new) = (Memory::from_json(r#"{"n":1}"#)?, Memory::from_json(r#"{"n":2}"#)?);
    /// guru.upsert(User::new("ada", old.clone())).await?;
    /// let ada = User::new("ada", new.clone()).if_match(old.etag());
    /// let report = guru.upsert_batch(Batch::from_users([ada, User::new("bob", new.clone())]).if_absent()).await?;
    /// assert!(report.is_complete());
    /// let report = guru.upsert_batch(Batch::from(User::new("bob", new)).if_absent()).await?;
    /// assert_eq!(report.counts().failed, 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// # }).unwrap();
    /// ```
    #[must_use]
    pub fn if_absent(mut self) -> Self {
        self.mode.condition = Condition::Absent;
        self
    }

    /// Stores all users or none: if one fails, nothing is written, and the good ones fail as
    /// [`ItemError::NotStored`].
    #[must_use]
    pub fn all_or_nothing(mut self) -> Self {
        self.mode.all_or_nothing = true;
        self
    }
}

#[cfg(feature = "tracing")]
impl Batch<'_> {
    /// About how much there is to judge.
    pub(crate) fn bytes(&self) -> usize {
        match &self.source {
            Source::Json(body) => body.len(),
            Source::Users(users) => users.iter().map(User::bytes).sum(),
        }
    }
}

impl Batch<'static> {
    pub(crate) fn in_mode(users: Vec<User>, mode: Mode) -> Self {
        Self { source: Source::Users(users), mode }
    }

    /// Users built in Rust. Anything wrong with one is a failure of its own in the report ([R2](crate::contract#r2)).
    pub fn from_users(users: impl IntoIterator<Item = User>) -> Self {
        Self::new(Source::Users(users.into_iter().collect()))
    }
}

impl From<Vec<User>> for Batch<'static> {
    fn from(users: Vec<User>) -> Self {
        Self::new(Source::Users(users))
    }
}

impl From<User> for Batch<'static> {
    fn from(user: User) -> Self {
        Self::new(Source::Users(vec![user]))
    }
}

impl FromIterator<User> for Batch<'static> {
    fn from_iter<I: IntoIterator<Item = User>>(users: I) -> Self {
        Self::from_users(users)
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Source::Json(body) => write!(f, "Batch(body of {} bytes)", body.len()),
            Source::Users(users) => write!(f, "Batch({} users)", users.len()),
        }
    }
}

/// One user of a batch, not judged yet.
///
/// `Debug` does not show the memory's content ([S14](crate::contract#s14)).
#[derive(Clone)]
pub struct User {
    pub(crate) source: UserSource,
    pub(crate) merging: bool,
    pub(crate) condition: Condition,
}

#[derive(Clone)]
pub(crate) enum UserSource {
    Typed { external_user_id: Arc<str>, memory: Result<Memory, ItemError> },
    Json(Vec<u8>),
}

impl User {
    /// About how much there is to judge.
    pub(crate) fn bytes(&self) -> usize {
        match &self.source {
            UserSource::Typed { external_user_id, memory } => {
                external_user_id.len() + memory.as_ref().map_or(0, |memory| memory.as_str().len())
            }
            UserSource::Json(text) => text.len(),
        }
    }

    /// A user with a memory that is known to be valid.
    pub fn new(external_user_id: impl Into<Arc<str>>, memory: Memory) -> Self {
        Self::typed(external_user_id.into(), Ok(memory))
    }

    /// A user whose memory is the JSON of `memory`. If serialising fails or gives no JSON object, it is
    /// this user's failure in the report.
    pub fn serialize<T: Serialize + ?Sized>(external_user_id: impl Into<Arc<str>>, memory: &T) -> Self {
        Self::typed(external_user_id.into(), Memory::from_serialize(memory))
    }

    fn typed(external_user_id: Arc<str>, memory: Result<Memory, ItemError>) -> Self {
        Self::from_source(UserSource::Typed { external_user_id, memory })
    }

    fn from_source(source: UserSource) -> Self {
        Self { source, merging: false, condition: Condition::None }
    }

    /// A user as JSON, `{"external_user_id": …, "memory": …}`: an item of the documented request,
    /// or a line of NDJSON. Text that is no JSON fails as [`ItemError::NotJson`], and JSON that is no
    /// object as [`ItemError::NotObject`].
    pub fn from_json(item: impl Into<Vec<u8>>) -> Self {
        Self::from_source(UserSource::Json(item.into()))
    }

    /// Merges the memory into the profile's instead of replacing it; see [`Batch::merging`].
    #[must_use]
    pub fn merging(mut self) -> Self {
        self.merging = true;
        self
    }

    /// Stores the user only if the profile's ETag is this one when the transaction comes to it; else
    /// it fails as [`ItemError::Changed`], and changes nothing ([S7](crate::contract#s7)). Judged after the earlier users of
    /// the batch. After an earlier user of the same id that changed the memory, this costs one more hash of it ([P1](crate::contract#p1)).
    ///
    /// A user has one condition: of several calls of this method and [`if_absent`](Self::if_absent), the last one counts.
    #[must_use]
    pub fn if_match(mut self, etag: ETag) -> Self {
        self.condition = Condition::Match(etag);
        self
    }

    /// Stores the user only if there is no profile; else it fails as [`ItemError::Exists`] ([S7](crate::contract#s7)). A
    /// retry of a create fails so too: the profile is there. It replaces an earlier [`if_match`](Self::if_match).
    #[must_use]
    pub fn if_absent(mut self) -> Self {
        self.condition = Condition::Absent;
        self
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            UserSource::Typed { external_user_id, memory } => f
                .debug_struct("User")
                .field("external_user_id", external_user_id)
                .field("memory", memory)
                .finish(),
            UserSource::Json(text) => write!(f, "User({} bytes of JSON)", text.len()),
        }
    }
}

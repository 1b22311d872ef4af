//! The ways into a batch: the documented request body, and typed Rust.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

use crate::item_error::ItemError;
use crate::memory::Memory;

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
pub struct Batch<'a>(pub(crate) Source<'a>);

pub(crate) enum Source<'a> {
    Json(&'a [u8]),
    Users(Vec<User>),
}

impl<'a> Batch<'a> {
    /// The documented request body: a JSON object with an array `users` (R1).
    ///
    /// Nothing is read yet. A body that can't be read makes the upsert an error (R3), a user that
    /// can't be stored is a failure of its own in the report (R2).
    #[must_use]
    pub fn from_json(body: &'a [u8]) -> Self {
        Self(Source::Json(body))
    }
}

impl Batch<'static> {
    /// Users built in Rust. Anything wrong with one is a failure of its own in the report (R2).
    pub fn from_users(users: impl IntoIterator<Item = User>) -> Self {
        Self(Source::Users(users.into_iter().collect()))
    }
}

impl From<Vec<User>> for Batch<'static> {
    fn from(users: Vec<User>) -> Self {
        Self(Source::Users(users))
    }
}

impl From<User> for Batch<'static> {
    fn from(user: User) -> Self {
        Self(Source::Users(vec![user]))
    }
}

impl FromIterator<User> for Batch<'static> {
    fn from_iter<I: IntoIterator<Item = User>>(users: I) -> Self {
        Self::from_users(users)
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Source::Json(body) => write!(f, "Batch(body of {} bytes)", body.len()),
            Source::Users(users) => write!(f, "Batch({} users)", users.len()),
        }
    }
}

/// One user of a batch, not judged yet.
///
/// `Debug` does not show the memory's content (S14).
#[derive(Clone)]
pub struct User(pub(crate) UserSource);

#[derive(Clone)]
pub(crate) enum UserSource {
    Typed { external_user_id: Arc<str>, memory: Result<Memory, ItemError> },
    Json(Vec<u8>),
}

impl User {
    /// A user with a memory that is known to be valid.
    pub fn new(external_user_id: impl Into<Arc<str>>, memory: Memory) -> Self {
        Self(UserSource::Typed { external_user_id: external_user_id.into(), memory: Ok(memory) })
    }

    /// A user whose memory is whatever `memory` serialises to; where that fails or gives no JSON
    /// object, it is this user's failure in the report.
    pub fn serialize<T: Serialize + ?Sized>(external_user_id: impl Into<Arc<str>>, memory: &T) -> Self {
        let memory = Memory::from_serialize(memory);
        Self(UserSource::Typed { external_user_id: external_user_id.into(), memory })
    }

    /// A user as JSON, `{"external_user_id": …, "memory": …}`: an item of the documented request,
    /// or a line of NDJSON. What is no JSON object fails as [`ItemError::NotObject`].
    pub fn from_json(item: impl Into<Vec<u8>>) -> Self {
        Self(UserSource::Json(item.into()))
    }
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            UserSource::Typed { external_user_id, memory } => f
                .debug_struct("User")
                .field("external_user_id", external_user_id)
                .field("memory", memory)
                .finish(),
            UserSource::Json(text) => write!(f, "User({} bytes of JSON)", text.len()),
        }
    }
}

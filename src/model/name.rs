//! The names that profiles go by: of a tenant, and of an end user.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::model::error::{Error, ErrorKind, Result};
use crate::model::limits::MAX_ID_BYTES;
use crate::model::text::as_text;

/// The name of a tenant, a *guru*.
///
/// Rule ([R4](crate::contract#r4)): 1 to 255 bytes of `A-Z a-z 0-9 - _`. Slugs are ordered and compared by bytes; no
/// case is folded. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GuruSlug(Arc<str>);

impl GuruSlug {
    /// The most bytes a slug may have.
    pub const MAX_BYTES: usize = 255;

    /// A slug from text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the rule above does not hold.
    pub fn new(slug: &str) -> Result<Self> {
        let invalid = |message: String| Err(Error::new(ErrorKind::InvalidInput, message));
        if slug.is_empty() {
            return invalid("guru slug is empty".to_owned());
        }
        let foreign = |&(_, c): &(usize, char)| !(c.is_ascii_alphanumeric() || c == '-' || c == '_');
        if let Some((at, c)) = slug.char_indices().find(foreign) {
            return invalid(format!("guru slug has {c:?} at byte {at}, allowed are A-Z a-z 0-9 - _"));
        }
        if slug.len() > Self::MAX_BYTES {
            return invalid(format!("guru slug has {} bytes, the limit is {}", slug.len(), Self::MAX_BYTES));
        }
        Ok(Self(slug.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The name of an end user within a guru.
///
/// Rules ([A1](crate::contract#a1)): opaque, not empty, no NUL, at most 1,024 bytes of UTF-8. A store admits ids up to
/// its own, usually lower limit ([`Limits::id_bytes`](crate::Limits::id_bytes)). Ids are compared
/// and ordered by bytes: no trimming, no case folding, no normalisation. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalUserId(Arc<str>);

impl ExternalUserId {
    /// The most bytes an id may have in any store.
    pub const MAX_BYTES: usize = MAX_ID_BYTES;

    /// An id from text.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidInput`] if the rules above do not hold.
    pub fn new(id: impl Into<Arc<str>>) -> Result<Self> {
        let id = id.into();
        let problem = if id.is_empty() {
            "external_user_id is empty".to_owned()
        } else if id.contains('\0') {
            "external_user_id contains NUL".to_owned()
        } else if id.len() > Self::MAX_BYTES {
            format!("external_user_id has {} bytes, the limit is {}", id.len(), Self::MAX_BYTES)
        } else {
            return Ok(Self(id));
        };
        Err(Error::new(ErrorKind::InvalidInput, problem))
    }

    /// An id that admission has judged already.
    pub(crate) fn admitted(id: Arc<str>) -> Self {
        debug_assert!(!id.is_empty() && !id.contains('\0') && id.len() <= Self::MAX_BYTES);
        Self(id)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Ids order and hash as their texts do.
impl Borrow<str> for ExternalUserId {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

macro_rules! name_traits {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({:?})", stringify!($name), self.as_str())
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                self.as_str()
            }
        }

        as_text!($name);

        impl FromStr for $name {
            type Err = Error;

            fn from_str(text: &str) -> Result<Self> {
                Self::new(text)
            }
        }
    };
}

name_traits!(GuruSlug);
name_traits!(ExternalUserId);

#[cfg(test)]
mod tests {
    use super::*;

    /// R4.
    #[test]
    fn slugs_outside_the_alphabet_are_refused() {
        for good in ["a", "My-Guru_7", "-", "_", &"x".repeat(255)] {
            assert_eq!(GuruSlug::new(good).unwrap().as_str(), good);
        }
        for bad in ["", " a", "a ", "a/b", "a.b", "a\0", "é", "a%", "a'", &"x".repeat(256)] {
            assert_eq!(GuruSlug::new(bad).unwrap_err().kind(), ErrorKind::InvalidInput, "{bad:?}");
        }
    }
}

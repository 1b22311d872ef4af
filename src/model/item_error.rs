//! The errors of one item of a batch. The strings are frozen: they go out on the wire.

/// Why one item of a batch was not stored ([A4](crate::contract#a4)).
///
/// [`Display`](std::fmt::Display) is the string of the response's `errors`; it is part of this
/// crate's contract and changes only with a major version. No variant shows a memory's content.
#[derive(Clone, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum ItemError {
    /// The item is not JSON at all; it has no other errors. This happens only to a line of NDJSON: in a request body
    /// such an item makes the whole body unreadable ([R3](crate::contract#r3)).
    #[error("User is not valid JSON: {reason}")]
    NotJson {
        /// The reason in `serde_json`'s words, with line and column counted within the item's own text.
        reason: String,
    },
    /// The item is no JSON object; nothing else is said of it.
    #[error("User must be a JSON object")]
    NotObject,
    /// `external_user_id` is absent or `null`.
    #[error("Missing external_user_id")]
    MissingId,
    /// `external_user_id` is a number, an array, … or a string that is no Unicode text (a lone
    /// surrogate).
    #[error("external_user_id must be a string")]
    IdNotString,
    /// `external_user_id` is `""`.
    #[error("external_user_id must not be empty")]
    IdEmpty,
    /// `external_user_id` contains U+0000.
    #[error("external_user_id must not contain NUL")]
    IdNul,
    /// `external_user_id` is longer than [`Limits::id_bytes`](crate::Limits::id_bytes).
    #[error("external_user_id must be at most {limit} bytes")]
    IdTooLong {
        /// The limit, in bytes of UTF-8.
        limit: usize,
    },
    /// `memory` is absent or `null`. The wording is the API documentation's.
    #[error("Missing memory data")]
    MissingMemory,
    /// `memory` is some other JSON value.
    #[error("memory must be a JSON object")]
    MemoryNotObject,
    /// `serde_json` can't read `memory` as a map ([A2](crate::contract#a2)).
    #[error("memory is not valid: {reason}")]
    MemoryNotValid {
        /// `serde_json`'s reason, with line and column counted within the memory's own text.
        reason: String,
    },
    /// `memory` is larger than [`Limits::memory_bytes`](crate::Limits::memory_bytes).
    #[error("memory must be at most {limit} bytes")]
    MemoryTooLarge {
        /// The limit, in bytes as stored.
        limit: usize,
    },
    /// `memory` is nested deeper than [`Limits::memory_depth`](crate::Limits::memory_depth).
    #[error("memory must be nested at most {limit} deep")]
    MemoryTooDeep {
        /// The limit, in levels.
        limit: usize,
    },
    /// The item was to be stored only over a certain version ([`User::if_match`](crate::User::if_match)),
    /// and the profile has another one, or there is none.
    #[error("profile does not have the expected ETag")]
    Changed,
    /// The item was to be stored only if there is no profile
    /// ([`User::if_absent`](crate::User::if_absent)), and there is one.
    #[error("profile exists already")]
    Exists,
    /// The item is fine, but it is part of a batch that is stored whole or not at all
    /// ([`Batch::all_or_nothing`](crate::Batch::all_or_nothing)), and another item is not.
    #[error("not stored, because another user of the batch failed")]
    NotStored,
}

#[cfg(test)]
mod tests {
    use super::ItemError;

    /// A4: the strings are frozen.
    #[test]
    fn the_strings_are_frozen() {
        let all = [
            ItemError::NotJson { reason: "expected ident at line 1 column 2".to_owned() },
            ItemError::NotObject,
            ItemError::MissingId,
            ItemError::IdNotString,
            ItemError::IdEmpty,
            ItemError::IdNul,
            ItemError::IdTooLong { limit: 255 },
            ItemError::MissingMemory,
            ItemError::MemoryNotObject,
            ItemError::MemoryNotValid { reason: "number out of range at line 1 column 9".to_owned() },
            ItemError::MemoryTooLarge { limit: 1_048_576 },
            ItemError::MemoryTooDeep { limit: 64 },
            ItemError::Changed,
            ItemError::Exists,
            ItemError::NotStored,
        ];
        let strings: Vec<_> = all.iter().map(ToString::to_string).collect();
        assert_eq!(
            strings,
            [
                "User is not valid JSON: expected ident at line 1 column 2",
                "User must be a JSON object",
                "Missing external_user_id",
                "external_user_id must be a string",
                "external_user_id must not be empty",
                "external_user_id must not contain NUL",
                "external_user_id must be at most 255 bytes",
                "Missing memory data",
                "memory must be a JSON object",
                "memory is not valid: number out of range at line 1 column 9",
                "memory must be at most 1048576 bytes",
                "memory must be nested at most 64 deep",
                "profile does not have the expected ETag",
                "profile exists already",
                "not stored, because another user of the batch failed",
            ]
        );
    }
}

//! A memory: the JSON object that a profile holds, kept as its own text.

use std::fmt;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::json::pointer::{Pointer, Pointers};
use crate::json::scan::{Facts, Scanner, compact};
use crate::json::verdict::verdict;
use crate::model::error::{Error, ErrorKind, quoted};
use crate::model::etag::ETag;
use crate::model::item_error::ItemError;
use crate::model::limits::{Limits, MAX_DEPTH};

/// The JSON object of a profile, as text.
///
/// Rules ([A2](crate::contract#a2), [A3](crate::contract#a3)):
/// - It is one JSON object that `serde_json`, with its feature `raw_value`, reads as `Map<String, Value>`. A
///   memory that `serde_json` refuses (lone surrogates, `1e999`, 128 levels of nesting) is refused with its reason.
/// - Insignificant whitespace is removed. Everything else stays byte for byte: the order of keys,
///   the spelling of numbers, escapes, duplicate keys.
/// - Limits on size and depth are the store's ([`Limits`](crate::Limits)), judged when it is
///   written.
/// - Features of `serde_json` that another crate turns on (`arbitrary_precision`, `preserve_order`, …) admit no other
///   memories. Only a number within a rounding error of the largest `f64` may be judged differently with
///   `float_roundtrip` or `arbitrary_precision`.
///
/// Cloning shares the text. `Debug` shows only its length ([S14](crate::contract#s14)).
///
/// ```
/// use profile_store::Memory;
/// use serde::Deserialize;
///
/// let memory = Memory::from_json(r#"{ "plan": "premium", "score": 1.0 }"#)?;
/// assert_eq!(memory.as_str(), r#"{"plan":"premium","score":1.0}"#);
///
/// #[derive(Deserialize)]
/// struct Plan { plan: String }
/// assert_eq!(memory.parse::<Plan>()?.plan, "premium");
///
/// let same = Memory::from_serialize(&serde_json::json!({"plan": "premium", "score": 1.0}))?;
/// assert_eq!(memory.etag(), same.etag());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Memory(Arc<str>);

impl Memory {
    /// A memory from JSON text.
    ///
    /// # Errors
    /// [`ItemError::MemoryNotObject`] or [`ItemError::MemoryNotValid`], whose line and column
    /// count within `text`.
    pub fn from_json(text: &str) -> Result<Self, ItemError> {
        let mut scanner = Scanner::new(text);
        scanner.space();
        let start = scanner.at();
        let value = scanner.value().map(|facts| (facts, scanner.since(start)));
        scanner.space();
        match value {
            Ok((facts, value)) if scanner.peek().is_none() => Self::judge(value, facts, &mut String::new()),
            _ => match serde_json::from_str::<serde::de::IgnoredAny>(text) {
                Err(reason) => Err(ItemError::MemoryNotValid { reason: reason.to_string() }),
                Ok(_) => Err(ItemError::MemoryNotValid { reason: "not JSON".to_owned() }),
            },
        }
    }

    /// A memory from anything that serialises to a JSON object: a struct, a map, a
    /// `serde_json::Value`.
    ///
    /// # Errors
    /// [`ItemError::MemoryNotValid`] if serialising fails, and those of
    /// [`from_json`](Self::from_json).
    pub fn from_serialize<T: Serialize + ?Sized>(value: &T) -> Result<Self, ItemError> {
        let text = serde_json::to_string(value)
            .map_err(|reason| ItemError::MemoryNotValid { reason: reason.to_string() })?;
        Self::from_json(&text)
    }

    /// A memory from text that is known to be one.
    pub(crate) fn from_stored(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// Judges a grammatical value, which is all of `text` (A2). `scratch` lends its memory.
    #[inline]
    pub(crate) fn judge(text: &str, facts: Facts, scratch: &mut String) -> Result<Self, ItemError> {
        if !text.starts_with('{') {
            return Err(ItemError::MemoryNotObject);
        }
        if facts.dubious || facts.depth > MAX_DEPTH {
            verdict(text).map_err(|reason| ItemError::MemoryNotValid { reason })?;
        }
        if !facts.spaced {
            return Ok(Self(text.into()));
        }
        scratch.clear();
        compact(text, scratch);
        Ok(Self(scratch.as_str().into()))
    }

    /// Whether it is within the limits (A5).
    pub(crate) fn within(&self, limits: &Limits) -> Result<(), ItemError> {
        limits.judge_memory(self.as_str().len(), |depth| self.is_deeper_than(depth))
    }

    /// The text, exactly as stored ([A3](crate::contract#a3)).
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The memory as any deserialisable type, `serde_json::Map` included.
    ///
    /// # Errors
    /// If the object does not have the shape of `T`. The error comes from `serde_json` and may
    /// quote the offending value.
    pub fn parse<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_str(self.as_str())
    }

    /// The text at a JSON Pointer (RFC 6901), such as `/settings/theme`; `None` if nothing is there. It is a part of this text,
    /// as stored. If a name stands twice, the last one counts ([L4](crate::contract#l4)).
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `pointer` is no JSON Pointer.
    ///
    /// ```
    /// use profile_store::Memory;
    ///
    /// let memory = Memory::from_json(r#"{"settings":{"theme":"dark"},"scores":[1,2.50]}"#)?;
    /// assert_eq!(memory.at("/settings/theme")?, Some(r#""dark""#));
    /// assert_eq!(memory.at("/scores/1")?, Some("2.50"));
    /// assert_eq!(memory.at("/scores/2")?, None);
    /// assert_eq!(memory.parse_at::<String>("/settings/theme")?.as_deref(), Some("dark"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn at(&self, pointer: &str) -> Result<Option<&str>, Error> {
        let pointers = Pointers::new([&Pointer::parse(pointer)?]);
        Ok(pointers.find(self.as_str(), |_, _| ()).pop().flatten())
    }

    /// The value [`at`](Self::at) a JSON Pointer, as any deserialisable type.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if `pointer` is no JSON Pointer, or if the value does not have the shape of `T`.
    /// The error names the place within the value, not its content ([S14](crate::contract#s14)).
    pub fn parse_at<T: DeserializeOwned>(&self, pointer: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.at(pointer)? else { return Ok(None) };
        serde_json::from_str(text).map(Some).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            let shape = std::any::type_name::<T>();
            let pointer = quoted(pointer);
            let message =
                format!("the value at {pointer} is no {shape}: wrong at line {line}, column {column}");
            Error::new(ErrorKind::InvalidInput, message)
        })
    }

    /// The ETag of this text ([S7](crate::contract#s7)).
    #[must_use]
    pub fn etag(&self) -> ETag {
        ETag::of(self.as_str())
    }

    /// Whether there are more levels of nesting than `limit`.
    pub(crate) fn is_deeper_than(&self, limit: usize) -> bool {
        // Each level opens with one of these bytes; counting them is several times faster than reading,
        // and nearly always decides.
        let opening = |byte: &&u8| matches!(byte, b'{' | b'[');
        self.as_str().as_bytes().iter().filter(opening).count() > limit && self.depth() > limit
    }

    /// Levels of nesting, the object itself being 1.
    #[must_use]
    pub fn depth(&self) -> usize {
        Scanner::new(self.as_str()).value().map_or(0, |facts| facts.depth)
    }
}

/// A memory from text that a backend has stored and found undamaged, without judging it again.
///
/// **Warning.** A text that did not come from [`Memory::as_str`] breaks the rules of a memory for every
/// later reader.
#[must_use]
pub fn stored_memory(text: impl Into<Arc<str>>) -> Memory {
    Memory::from_stored(text)
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Memory({} bytes)", self.as_str().len())
    }
}

/// Serialises as its own text, byte for byte, with `serde_json`'s serializers and deserializers of text.
/// Other formats, `serde_json::Value`, `#[serde(flatten)]` and untagged enums don't keep the bytes, or fail.
impl Serialize for Memory {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let raw: &RawValue = serde_json::from_str(self.as_str()).map_err(serde::ser::Error::custom)?;
        raw.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Memory {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let raw = Box::<RawValue>::deserialize(deserializer)?;
        Self::from_json(raw.get()).map_err(serde::de::Error::custom)
    }
}

impl AsRef<str> for Memory {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

impl TryFrom<Map<String, Value>> for Memory {
    type Error = ItemError;

    fn try_from(map: Map<String, Value>) -> Result<Self, ItemError> {
        Self::from_serialize(&map)
    }
}

impl TryFrom<Value> for Memory {
    type Error = ItemError;

    fn try_from(value: Value) -> Result<Self, ItemError> {
        Self::from_serialize(&value)
    }
}

impl std::str::FromStr for Memory {
    type Err = ItemError;

    fn from_str(text: &str) -> Result<Self, ItemError> {
        Self::from_json(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Memory::from_json(text).unwrap_err().to_string()
    }

    #[test]
    fn a2_refuses_what_serde_json_refuses_with_its_words() {
        assert_eq!(refused("[]"), "memory must be a JSON object");
        let nested = |levels| format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        assert!(Memory::from_json(&nested(127)).is_ok());
        let texts = [
            r#"{"a":1e999}"#.to_owned(),
            "{\"a\":\n\"\\ud800\"}".to_owned(),
            "{\"a\":1} x".to_owned(),
            "{\"a\":1".to_owned(),
            nested(128),
        ];
        for text in texts {
            match serde_json::from_str::<Map<String, Value>>(&text) {
                Err(reason) => {
                    assert!(reason.line() > 0, "says where: {reason}");
                    assert_eq!(refused(&text), format!("memory is not valid: {reason}"));
                }
                Ok(_) => {
                    assert!(text.contains("1e999"), "only `arbitrary_precision` admits more: {text}");
                    assert!(refused(&text).contains("number out of range at line 1 column 10"));
                }
            }
        }
    }

    /// A2: whichever features of `serde_json` are on.
    #[test]
    fn a2_numbers_beyond_f64_are_refused() {
        assert_eq!(refused("{\"a\":\n1e999}"), "memory is not valid: number out of range at line 2 column 5");
    }

    #[test]
    fn a3_keeps_what_has_meaning_or_spelling() {
        let text = r#"{"b":1180591620717411303424,"a":[1.0,1E2,-0],"a":"\u0000\/é","c":"\ud83d\ude00"}"#;
        assert_eq!(Memory::from_json(text).unwrap().as_str(), text);
        assert_eq!(Memory::from_json(" { \"a\" : [ ] }\n").unwrap().as_str(), r#"{"a":[]}"#);
    }

    #[test]
    fn s14_debug_hides_the_content() {
        let memory = Memory::from_json(r#"{"secret":"hush"}"#).unwrap();
        assert_eq!(format!("{memory:?}"), "Memory(17 bytes)");
    }
}

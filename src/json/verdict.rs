//! `serde_json`'s verdict on a text that the scanner calls dubious (A2), without the tree that it would build.
//!
//! A tree takes up to a hundred times the bytes of its text, and a request may hold a memory of any size.

use std::fmt;
use std::sync::LazyLock;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use crate::json::scan::beyond_f64;

/// Whether `serde_json` reads a grammatical text as `Map<String, Value>`; its reason if not, which shows none of the text.
#[cold]
#[inline(never)]
pub(crate) fn verdict(text: &str) -> Result<(), String> {
    /// With `arbitrary_precision`, which any crate may turn on, `serde_json` takes any number.
    static TAKES_ANY_NUMBER: LazyLock<bool> =
        LazyLock::new(|| serde_json::from_str::<Value>("1e999").is_ok());
    read(text, Reader { at: At::Top }).map_err(|reason| reason.to_string())?;
    let Some(end) = TAKES_ANY_NUMBER.then(|| beyond_f64(text)).flatten() else { return Ok(()) };
    let before = &text[..end];
    let line = 1 + before.matches('\n').count();
    let column = end - before.rfind('\n').map_or(0, |at| at + 1);
    Err(format!("number out of range at line {line} column {column}"))
}

fn read(text: &str, reader: Reader) -> serde_json::Result<()> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    reader.deserialize(&mut deserializer)?;
    deserializer.end()
}

/// Reads a value as `Value` does, and keeps nothing of it.
#[derive(Clone, Copy)]
struct Reader {
    at: At,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// The names of the whole object have no special meaning.
    Top,
    Within,
    /// Within text that stood in a string.
    Embedded,
}

impl Reader {
    fn within(self) -> Self {
        Self { at: if self.at == At::Top { At::Within } else { self.at } }
    }
}

impl<'de> DeserializeSeed<'de> for Reader {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any valid JSON value")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<(), A::Error> {
        while values.next_element_seed(self.within())?.is_some() {}
        Ok(())
    }

    /// `serde_json`'s feature `raw_value`, which this crate uses, gives one name a meaning if it is the first: its value is
    /// text to be read in the place of the object.
    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        let mut is_first = true;
        while let Some(Name { is_raw }) = members.next_key()? {
            if is_raw && is_first && self.at != At::Top {
                let Embedded(text) = members.next_value()?;
                if self.at == At::Embedded {
                    // Each would begin to count the levels again.
                    return Err(A::Error::custom("raw values are nested"));
                }
                return read(&text, Self { at: At::Embedded }).map_err(A::Error::custom);
            }
            is_first = false;
            members.next_value_seed(self.within())?;
        }
        Ok(())
    }
}

struct Name {
    is_raw: bool,
}

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Names;

        impl Visitor<'_> for Names {
            type Value = Name;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string key")
            }

            fn visit_str<E>(self, name: &str) -> Result<Name, E> {
                Ok(Name { is_raw: name == "$serde_json::private::RawValue" })
            }
        }

        deserializer.deserialize_str(Names)
    }
}

/// A string. An error of any other value shows nothing of it.
struct Embedded(String);

impl<'de> Deserialize<'de> for Embedded {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Strings;

        impl<'de> Visitor<'de> for Strings {
            type Value = Embedded;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("raw value")
            }

            fn visit_str<E>(self, text: &str) -> Result<Embedded, E> {
                Ok(Embedded(text.to_owned()))
            }

            fn visit_bool<E: Error>(self, _: bool) -> Result<Embedded, E> {
                Err(E::custom("expected a raw value"))
            }

            fn visit_i64<E: Error>(self, _: i64) -> Result<Embedded, E> {
                self.visit_bool(true)
            }

            fn visit_u64<E: Error>(self, _: u64) -> Result<Embedded, E> {
                self.visit_bool(true)
            }

            fn visit_f64<E: Error>(self, _: f64) -> Result<Embedded, E> {
                self.visit_bool(true)
            }

            fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Embedded, A::Error> {
                while members.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                self.visit_bool(true)
            }
        }

        deserializer.deserialize_any(Strings)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Map, Value};

    use super::verdict;

    const RAW: &str = "$serde_json::private::RawValue";

    #[test]
    fn it_is_that_of_a_map_of_values() {
        for value in [
            "1e999",
            "-1e999",
            "1e308",
            r#""\ud800""#,
            r#""\ud83d\ude00""#,
            r#"{"\ud800":1}"#,
            r#"{"\u0061":1e999}"#,
            "[[],{},null,true,false,-1,1.5]",
            r#"{"b":1,"$serde_json::private::RawValue":2}"#,
            r#"{"$serde_json::private::RawValue":"[1,{\"a\":null}]"}"#,
            r#"{"$serde_json::private::RawValue":"1e999"}"#,
            r#"{"$serde_json::private::RawValue":"1","b":2}"#,
            r#"{"$serde_json::private::RawValue":""}"#,
            r#"{"$serde_json::private::Raw":1}"#,
            "1.79769313486231581e308",
            "1.7976931348623159e308",
        ] {
            for text in
                [format!(r#"{{"a":{value}}}"#), format!("{{\"\\u0061\":\n[{value}]}}"), value.to_owned()]
            {
                if !text.starts_with('{') {
                    continue;
                }
                let expected = serde_json::from_str::<Map<String, Value>>(&text);
                assert_eq!(verdict(&text), expected.map(drop).map_err(|reason| reason.to_string()), "{text}");
            }
        }
        for depth in [126, 127, 128, 100_000] {
            let text = format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            let expected = serde_json::from_str::<Map<String, Value>>(&text);
            assert_eq!(verdict(&text), expected.map(drop).map_err(|reason| reason.to_string()), "{depth}");
        }
    }

    /// S14: `serde_json` would quote it.
    #[test]
    fn the_reason_shows_none_of_the_text() {
        for value in
            ["1234567890", "12345678.5", "-1234567890", "true", "null", "{\"1234567890\":1}", "[1234567890]"]
        {
            let reason = verdict(&format!(r#"{{"a":{{"{RAW}":{value}}}}}"#)).unwrap_err();
            assert!(!reason.contains("12345678") && !reason.contains("true"), "{reason}");
        }
    }

    /// Each string would begin to count the levels again, and recursion has an end.
    #[test]
    fn text_within_text_within_text_is_refused() {
        let mut text = "1".to_owned();
        for _ in 0..10 {
            let brackets = 120;
            let quoted = serde_json::to_string(&text).unwrap();
            text = format!("{}{{\"{RAW}\":{quoted}}}{}", "[".repeat(brackets), "]".repeat(brackets));
        }
        assert!(verdict(&format!(r#"{{"a":{text}}}"#)).unwrap_err().contains("nested"));
    }
}

//! A profile as a line of JSON, with all that belongs to it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::etag::ETag;
use crate::model::memory::Memory;
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::model::timestamp::Timestamp;

/// Appends `{"guru":…,"external_user_id":…,"memory":…,"etag":…,"created_at":…,"updated_at":…}`.
pub(super) fn write_profile(lines: &mut String, guru: &GuruSlug, profile: &Profile) {
    let members = profile.to_json();
    let members = members.strip_prefix('{').expect("a profile is written as an object");
    // No slug needs an escape.
    writeln!(lines, r#"{{"guru":"{guru}",{members}"#).expect("a string takes everything");
}

/// Appends an item of a request: `{"external_user_id":…,"memory":…}`.
pub(super) fn write_user(lines: &mut String, profile: &Profile) {
    let id = serde_json::Value::from(profile.external_user_id.as_str());
    writeln!(lines, r#"{{"external_user_id":{id},"memory":{}}}"#, profile.memory.as_str())
        .expect("a string takes everything");
}

#[derive(Deserialize)]
struct Line<'a> {
    #[serde(borrow)]
    guru: Cow<'a, str>,
    #[serde(borrow)]
    external_user_id: Cow<'a, str>,
    #[serde(borrow)]
    memory: &'a RawValue,
    #[serde(borrow)]
    etag: Option<Cow<'a, str>>,
    #[serde(borrow)]
    created_at: Cow<'a, str>,
    #[serde(borrow)]
    updated_at: Cow<'a, str>,
}

/// The part of a line that a refusal names.
#[derive(Deserialize)]
struct Named<'a> {
    #[serde(borrow)]
    external_user_id: Cow<'a, str>,
}

/// The id that a line names, admissible or not (W4), and what is wrong with the line, in words.
pub(super) type Wrong = (Option<Arc<str>>, String);

/// Reads what [`write_profile`] wrote. The ETag may be left out; one that is there must be right.
pub(super) fn read_profile(line: &[u8]) -> Result<(GuruSlug, Profile), Wrong> {
    read(line).map_err(|error| {
        let named = serde_json::from_slice::<Named<'_>>(line).ok();
        (named.map(|named| named.external_user_id.into()), error)
    })
}

fn read(line: &[u8]) -> Result<(GuruSlug, Profile), String> {
    let line: Line<'_> = serde_json::from_slice(line).map_err(|error| {
        let (column, words) = (error.column(), error.to_string());
        match words.split_once(" at line ") {
            // Words about the grammar, which quote nothing. Others may quote what stands there.
            Some((reason, _)) if error.is_syntax() || error.is_eof() => {
                format!("line is not valid JSON: {reason} at column {column}")
            }
            _ => format!("line is not a profile: wrong at column {column}"),
        }
    })?;
    let guru = GuruSlug::new(&line.guru).map_err(|error| error.to_string())?;
    let id = ExternalUserId::new(line.external_user_id).map_err(|error| error.to_string())?;
    let memory = Memory::from_json(line.memory.get()).map_err(|error| in_memory(&error))?;
    let time = |name: &str, text: &str| {
        text.parse::<Timestamp>().map_err(|error| format!("{name} is not valid: {error}"))
    };
    let created_at = time("created_at", &line.created_at)?;
    let updated_at = time("updated_at", &line.updated_at)?;
    if created_at > updated_at {
        return Err("created_at must not be later than updated_at".to_owned());
    }
    if let Some(etag) = line.etag {
        let etag: ETag = etag.parse().map_err(|error| format!("etag is not valid: {error}"))?;
        if etag != memory.etag() {
            return Err("etag does not match the memory".to_owned());
        }
    }
    Ok((guru, Profile::new(id, memory, created_at, updated_at)))
}

/// The error in words, the place counted from the beginning of the memory.
pub(super) fn in_memory(error: &impl std::fmt::Display) -> String {
    error.to_string().replacen(" at line 1 column ", " at its column ", 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_round_trip_to_the_byte() {
        let guru = GuruSlug::new("g").unwrap();
        let memory = Memory::from_json(r#"{"b":1.0,"a":"\u0000","b":1E2}"#).unwrap();
        let id = ExternalUserId::new("\"\\\n\u{1F600}").unwrap();
        let profile = Profile::new(
            id,
            memory,
            Timestamp::from_micros(1),
            Timestamp::from_micros(1_767_225_600_123_457),
        );
        let mut lines = String::new();
        write_profile(&mut lines, &guru, &profile);
        assert_eq!(lines.matches('\n').count(), 1);
        assert_eq!(read_profile(lines.as_bytes()).unwrap(), (guru, profile));
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told_without_the_memory() {
        let line = |etag: &str, created: &str, updated: &str| {
            format!(
                r#"{{"guru":"g","external_user_id":"u","memory":{{"secret":1}},"etag":"{etag}","created_at":"{created}","updated_at":"{updated}"}}"#
            )
        };
        let (early, late) = ("2026-01-01T00:00:00.000000Z", "2026-01-01T00:00:00.000001Z");
        let wrong = "00000000000000000000000000000000";
        let right = Memory::from_json(r#"{"secret":1}"#).unwrap().etag().to_string();
        assert!(read_profile(line(&right, early, late).as_bytes()).is_ok());
        for (line, told) in [
            (line(wrong, early, late), "etag does not match the memory"),
            (line("x", early, late), "etag is not valid: an ETag is 32 hexadecimal digits in lower case"),
            (line(&right, late, early), "created_at must not be later than updated_at"),
            (line(&right, "yesterday", late), "created_at is not valid: not a time of RFC 3339 in UTC"),
            (r#"{"guru":"g","secret":1}"#.to_owned(), "line is not a profile: wrong at column 23"),
            (r#"{"guru":["secret"]}"#.to_owned(), "line is not a profile: wrong at column 8"),
            ("secret".to_owned(), "line is not valid JSON: expected value at column 1"),
            (r#"{"guru":"g""#.to_owned(), "line is not valid JSON: EOF while parsing an object at column 11"),
            (
                "{\"guru\":\"\u{1}\"}".to_owned(),
                "line is not valid JSON: control character (\\u0000-\\u001F) found while parsing a string at column 10",
            ),
        ] {
            assert_eq!(read_profile(line.as_bytes()).unwrap_err().1, told);
        }
    }

    /// W4.
    #[test]
    fn a_wrong_line_names_its_id() {
        for (line, id) in [
            (r#"{"guru":"g","external_user_id":"\u0000","memory":[]}"#, Some("\0")),
            (r#"{"memory":{"external_user_id":"b"},"guru":7,"external_user_id":"a"}"#, Some("a")),
            (r#"{"guru":"g","external_user_id":7}"#, None),
            (r#"{"guru":"g","memory":{}}"#, None),
            (r#"{"guru":"g","external_user_id":"a""#, None),
        ] {
            assert_eq!(read_profile(line.as_bytes()).unwrap_err().0.as_deref(), id, "{line}");
        }
    }
}

//! Reading requests: the documented body, part by part, and single items (R1, R3). It judges nothing.

use std::borrow::Cow;

use serde::de::IgnoredAny;

use crate::admission::pacing::{SLICE_BYTES, yield_now};
use crate::json::scan::{Facts, Scanner, SyntaxError, Token};
use crate::model::error::{Error, ErrorKind, Result};

/// The members of an item that count. If a member stands twice, the last one counts (R1).
#[derive(Default)]
pub(crate) struct Item<'a> {
    pub id: Member<Token<'a>>,
    pub memory: Member<(&'a str, Facts)>,
}

impl Item<'_> {
    /// Bytes that `serde_json` has to read before the item is judged.
    pub fn dubious_bytes(&self) -> usize {
        match self.memory {
            Member::Given((text, facts)) if facts.dubious => text.len(),
            _ => 0,
        }
    }
}

/// A member of an item.
#[derive(Default)]
pub(crate) enum Member<T> {
    /// Absent or `null`.
    #[default]
    Missing,
    OtherKind,
    Given(T),
}

/// A body as text. A large one is copied in slices, as its encoding can't be checked in several polls
/// otherwise (S11).
pub(crate) async fn text(body: Cow<'_, [u8]>) -> Result<Cow<'_, str>> {
    if body.len() <= SLICE_BYTES {
        return match body {
            Cow::Borrowed(body) => match std::str::from_utf8(body) {
                Ok(text) => Ok(Cow::Borrowed(text)),
                Err(error) => Err(not_utf8(body, error.valid_up_to()).await),
            },
            Cow::Owned(body) => match String::from_utf8(body) {
                Ok(text) => Ok(Cow::Owned(text)),
                Err(error) => Err(not_utf8(error.as_bytes(), error.utf8_error().valid_up_to()).await),
            },
        };
    }
    let mut text = String::with_capacity(body.len());
    while text.len() < body.len() {
        let rest = &body[text.len()..];
        let slice = &rest[..rest.len().min(SLICE_BYTES)];
        let valid = match std::str::from_utf8(slice) {
            Ok(slice) => slice,
            // A character that the next slice has the rest of.
            Err(error) if error.error_len().is_none() && slice.len() < rest.len() => {
                let (valid, _) = slice.split_at(error.valid_up_to());
                std::str::from_utf8(valid).expect("it is valid up to there")
            }
            Err(error) => return Err(not_utf8(&body, text.len() + error.valid_up_to()).await),
        };
        text.push_str(valid);
        if text.len() < body.len() {
            yield_now().await;
        }
    }
    Ok(Cow::Owned(text))
}

async fn not_utf8(body: &[u8], at: usize) -> Error {
    let (line, column) = position_in_slices(body, at).await;
    let message = format!("request body is not UTF-8 at line {line} column {column}");
    Error::new(ErrorKind::InvalidRequest, message)
}

/// Reads an item that is a line of NDJSON. The error is in words, and names the place.
pub(crate) fn read_alone(item: &[u8]) -> Result<Option<Item<'_>>, String> {
    let text = std::str::from_utf8(item).map_err(|error| {
        let (line, column) = position(item, error.valid_up_to());
        format!("not UTF-8 at line {line} column {column}")
    })?;
    let mut scanner = Scanner::new(text);
    scanner.space();
    let item = read_item(&mut scanner).and_then(|item| {
        scanner.space();
        if scanner.peek().is_none() { Ok(item) } else { Err(scanner.error()) }
    });
    item.map_err(|error| reason("", text, (1, 1), error.at))
}

/// Reads an item; `None` if it is a JSON value but no object.
pub(crate) fn read_item<'a>(scanner: &mut Scanner<'a>) -> Result<Option<Item<'a>>, SyntaxError> {
    if scanner.peek() != Some(b'{') {
        scanner.value()?;
        return Ok(None);
    }
    let mut item = Item::default();
    read_object(scanner, |scanner, name| {
        if name.is("external_user_id") {
            item.id = match scanner.peek() {
                Some(b'"') => Member::Given(scanner.string()?),
                first => {
                    scanner.value()?;
                    if first == Some(b'n') { Member::Missing } else { Member::OtherKind }
                }
            };
        } else if name.is("memory") {
            let start = scanner.at();
            let first = scanner.peek();
            let facts = scanner.value()?;
            item.memory = match first {
                Some(b'{') => Member::Given((scanner.since(start), facts)),
                Some(b'n') => Member::Missing,
                _ => Member::OtherKind,
            };
        } else {
            scanner.value()?;
        }
        Ok(())
    })?;
    Ok(Some(item))
}

/// Reads an object whose members `member` consumes, each from the first byte of its value.
fn read_object<'a>(
    scanner: &mut Scanner<'a>,
    mut member: impl FnMut(&mut Scanner<'a>, Token<'a>) -> Result<(), SyntaxError>,
) -> Result<(), SyntaxError> {
    scanner.expect(b'{')?;
    scanner.space();
    if scanner.eat(b'}') {
        return Ok(());
    }
    loop {
        let name = scanner.name()?;
        member(scanner, name)?;
        scanner.space();
        if scanner.eat(b'}') {
            return Ok(());
        }
        scanner.expect(b',')?;
        scanner.space();
    }
}

/// The documented request body, read part by part (R1, R3).
pub(crate) struct Body<'a> {
    text: &'a str,
    /// The most bytes that a part may have. The scanner sees no more of the text.
    most: usize,
    scanner: Scanner<'a>,
    at: Place,
    users: Users,
    /// The text of which a part is being read, from the end of the part before.
    reading: Fragment,
}

/// A piece of text, for the words of its refusal.
#[derive(Clone, Copy)]
struct Fragment {
    start: usize,
    /// Stands for all that comes before.
    before: &'static str,
}

/// The part of a body that is read at once.
pub(crate) enum Part<'a> {
    /// An array of users begins; one before it does not count (R1).
    Users,
    /// An item of the array; `None` is a JSON value that is no object.
    Item(Option<Item<'a>>),
    /// Another member, which means nothing.
    Other,
}

/// How far a body has been read.
#[derive(Clone, Copy)]
enum Place {
    Start,
    /// Within the array of users: after its bracket, or after an item.
    Users,
    /// After a top-level member.
    Member,
}

/// The member `users`, of which the last one counts (R1).
#[derive(Clone, Copy)]
enum Users {
    Missing,
    NotArray { at: usize },
    Array { count: usize },
}

impl<'a> Body<'a> {
    pub fn new(text: &'a str, most: usize) -> Self {
        Self {
            text,
            most,
            scanner: Scanner::new(text),
            at: Place::Start,
            users: Users::Missing,
            reading: Fragment { start: 0, before: "" },
        }
    }

    /// The byte up to which it has been read.
    pub fn at(&self) -> usize {
        self.scanner.at()
    }

    /// How many items the array of users had.
    pub fn items(&self) -> usize {
        if let Users::Array { count } = self.users { count } else { 0 }
    }

    /// The next part; `None` once all has been read and is a request.
    ///
    /// # Errors
    /// The reason that [`refusal`](Self::refusal) puts into words, unless [`is_cut`](Self::is_cut).
    pub fn next(&mut self) -> Result<Option<Part<'a>>, SyntaxError> {
        let part = self.read()?;
        // It may go on where the scanner sees nothing.
        if self.is_cut() && self.scanner.is_at_end() {
            return Err(self.scanner.error());
        }
        if part.is_none() {
            self.begin("{}");
            self.scanner.space();
            if self.scanner.at() < self.text.len() {
                return Err(self.scanner.error());
            }
        }
        Ok(part)
    }

    /// Whether the scanner does not see the end of the text. An error may then come of a part that has more than `most` bytes.
    pub fn is_cut(&self) -> bool {
        self.text.len() - self.reading.start > self.most
    }

    /// A part begins here, after what `before` stands for.
    fn begin(&mut self, before: &'static str) {
        self.reading = Fragment { start: self.scanner.at(), before };
        let text = if self.is_cut() {
            let end = self.reading.start + self.most;
            &self.text[..(end..).find(|end| self.text.is_char_boundary(*end)).unwrap_or(self.text.len())]
        } else {
            self.text
        };
        self.scanner.see(text);
    }

    fn read(&mut self) -> Result<Option<Part<'a>>, SyntaxError> {
        self.begin(match (self.at, self.users) {
            (Place::Start, _) => "",
            (Place::Users, Users::Array { count: 0 }) => r#"{"":["#,
            (Place::Users, _) => r#"{"":[{}"#,
            (Place::Member, _) => r#"{"":{}"#,
        });
        let scanner = &mut self.scanner;
        scanner.space();
        if matches!(self.at, Place::Start) {
            if scanner.peek() != Some(b'{') {
                scanner.value()?;
                return Ok(None);
            }
            scanner.expect(b'{')?;
            scanner.space();
            if scanner.eat(b'}') {
                return Ok(None);
            }
        } else if let (Place::Users, Users::Array { count }) = (self.at, &mut self.users) {
            if !scanner.eat(b']') {
                if *count > 0 {
                    scanner.expect(b',')?;
                    scanner.space();
                }
                *count += 1;
                return read_item(scanner).map(|item| Some(Part::Item(item)));
            }
            self.at = Place::Member;
            scanner.space();
        }
        if matches!(self.at, Place::Member) {
            if scanner.eat(b'}') {
                return Ok(None);
            }
            scanner.expect(b',')?;
            scanner.space();
        }
        self.at = Place::Member;
        let name = scanner.name()?;
        if name.is("users") {
            if scanner.eat(b'[') {
                (self.at, self.users) = (Place::Users, Users::Array { count: 0 });
                return Ok(Some(Part::Users));
            }
            self.users = Users::NotArray { at: scanner.at() };
        }
        scanner.value()?;
        Ok(Some(Part::Other))
    }

    /// Whether all that has been read is a request.
    pub async fn end(&self) -> Result<()> {
        let text = self.text.trim_ascii();
        let start = self.text.len() - self.text.trim_ascii_start().len();
        let (what, at) = if !text.starts_with('{') {
            ("request body must be a JSON object", start)
        } else {
            match self.users {
                Users::Missing => ("request body ends without an array `users`", start + text.len() - 1),
                Users::NotArray { at } => ("`users` of the request body must be an array", at),
                Users::Array { .. } => return Ok(()),
            }
        };
        let (line, column) = position_in_slices(self.text.as_bytes(), at).await;
        Err(Error::new(ErrorKind::InvalidRequest, format!("{what} at line {line} column {column}")))
    }

    /// The refusal of a body that breaks the grammar. Only the part that breaks it is read again, for the words.
    pub async fn refusal(&self, error: SyntaxError) -> Error {
        let Fragment { start, before } = self.reading;
        let from = position_in_slices(self.text.as_bytes(), start).await;
        let (earlier, text) = self.text.split_at(start);
        // A digit after a zero is a wrong number, and after any other value just a wrong character.
        let is_number = earlier.ends_with('0') && text.starts_with(|first: char| first.is_ascii_digit());
        let before = if is_number { before.replace("{}", "0") } else { before.to_owned() };
        let reason = reason(&before, text, from, error.at - start);
        Error::new(ErrorKind::InvalidRequest, format!("request body is not JSON: {reason}"))
    }
}

/// Why a text breaks the grammar at a byte, and where, in `serde_json`'s words if little must be read for them. The text stands
/// at `from` of a larger one, after what `before` stands for.
fn reason(before: &str, text: &str, from: (usize, usize), at: usize) -> String {
    const MOST_BYTES: usize = 1 << 20;
    let place = |(line, column): (usize, usize)| {
        (from.0 + line - 1, if line == 1 { from.1 - 1 + column } else { column })
    };
    // It may look some bytes further, as into an escape.
    let end = (at + 64..text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
    if end <= MOST_BYTES
        && let Err(reason) = serde_json::from_str::<IgnoredAny>(&[before, &text[..end]].concat())
        && (end == text.len() || !reason.is_eof())
    {
        let (line, column) = (reason.line(), reason.column());
        let words = reason.to_string();
        if let Some(words) = words.strip_suffix(&format!(" at line {line} column {column}")) {
            // All of `before` is in the first line.
            let column = if line == 1 { column.saturating_sub(before.len()) } else { column };
            let (line, column) = place((line, column));
            return format!("{words} at line {line} column {column}");
        }
    }
    let (line, column) = place(position(text.as_bytes(), at));
    format!("syntax error at line {line} column {column}")
}

/// Line and column, in bytes and from 1, of the byte at `at`.
fn position(text: &[u8], at: usize) -> (usize, usize) {
    let before = &text[..at.min(text.len())];
    let line = before.iter().filter(|&&byte| byte == b'\n').count() + 1;
    let column = before.iter().rev().take_while(|&&byte| byte != b'\n').count() + 1;
    (line, column)
}

/// The [`position`], counted in slices.
async fn position_in_slices(text: &[u8], at: usize) -> (usize, usize) {
    let (mut line, mut column) = (1, 1);
    for slice in text[..at].chunks(SLICE_BYTES) {
        let (lines, last) = position(slice, slice.len());
        column = if lines > 1 { last } else { column + last - 1 };
        line += lines - 1;
        yield_now().await;
    }
    (line, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(body: Cow<'_, [u8]>) -> Result<String, String> {
        pollster::block_on(super::text(body)).map(Cow::into_owned).map_err(|error| error.to_string())
    }

    /// R3: given away or borrowed, and wherever a slice ends within a character.
    #[test]
    fn a_body_of_many_slices_is_the_same_text() {
        for shift in 0..4 {
            let body = "x".repeat(shift) + &"a\u{e9}\u{20ac}\u{1f600}".repeat(SLICE_BYTES / 4);
            assert_eq!(text(Cow::Borrowed(body.as_bytes())).as_ref(), Ok(&body));
            assert_eq!(text(Cow::Owned(body.clone().into_bytes())), Ok(body));
        }
    }

    #[test]
    fn what_is_not_utf_8_is_refused_with_its_place() {
        let long = "\n".repeat(SLICE_BYTES - 1) + "\u{20ac}";
        let wrong = [
            (b"a\xff".to_vec(), 1, 2),
            // A character that the body breaks off.
            (long.as_bytes()[..SLICE_BYTES + 1].to_vec(), SLICE_BYTES, 1),
            // One that the next slice does not go on with.
            ([&long.as_bytes()[..SLICE_BYTES + 1], b"a"].concat(), SLICE_BYTES, 1),
            ([long.as_bytes(), b"a\x80"].concat(), SLICE_BYTES, 3 + 1 + 1),
        ];
        for (body, line, column) in wrong {
            let refusal = format!("request body is not UTF-8 at line {line} column {column}");
            assert_eq!(text(Cow::Borrowed(&body)), Err(refusal.clone()));
            assert_eq!(text(Cow::Owned(body)), Err(refusal));
        }
    }

    fn refusal(text: &str) -> Option<String> {
        let mut body = Body::new(text, usize::MAX);
        loop {
            match body.next() {
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(pollster::block_on(body.refusal(error)).to_string()),
            }
        }
    }

    /// R3: wherever a body breaks off or goes wrong, the words are those of `serde_json` for the whole of it.
    #[test]
    fn a_part_read_again_gives_the_words_of_the_whole() {
        let body = "\n{ \"x\" : [1,\n 2.5e3],\"users\":[ {\"external_user_id\":\"a\\u00e9\",\n\"memory\":{\"n\":-0}} ,\n\
            7,{\"a\":true}\n],\n\"y\":null, \"users\":[],\"z\":\"\u{20ac}\"} \n";
        let mut refused = 0;
        let mut check = |text: String| {
            let oracle = serde_json::from_str::<IgnoredAny>(&text).err();
            let expected = oracle.map(|reason| format!("request body is not JSON: {reason}"));
            refused += usize::from(expected.is_some());
            assert_eq!(refusal(&text), expected, "{text:?}");
        };
        check(body.to_owned());
        for (at, first) in body.char_indices() {
            let (before, rest) = (&body[..at], &body[at + first.len_utf8()..]);
            check(before.to_owned());
            for instead in
                ["", " ", "\n", ",", ":", "\"", "{", "}", "[", "]", "0", "-", "x", "\\", "\u{1}", "\u{20ac}"]
            {
                check(format!("{before}{instead}{rest}"));
                check(format!("{before}{instead}{first}{rest}"));
            }
        }
        assert!(refused > 1000, "{refused}");
    }

    #[test]
    fn a_position_in_slices_is_the_position() {
        let text = ("x".repeat(1000) + "\n").repeat(400);
        for at in [0, 1, 1000, 1001, 1002, SLICE_BYTES - 1, SLICE_BYTES, SLICE_BYTES + 1, text.len()] {
            let expected = position(text.as_bytes(), at);
            assert_eq!(pollster::block_on(position_in_slices(text.as_bytes(), at)), expected, "{at}");
        }
    }
}

//! Reading JSON text without building it: where a value ends, and what must be known of it.
//!
//! Two readings of JSON meet in this crate. The *grammar* (RFC 8259) decides where a request ends
//! and which bytes belong to which item. `serde_json`'s reading into `Map<String, Value>` decides
//! which memories are admitted (A2), and it is stricter: it refuses lone surrogates, numbers beyond
//! `f64` and the 128th level of nesting. [`Scanner::value`] checks the grammar and marks a value as
//! [`dubious`](Facts::dubious) when the stricter reading *might* refuse it. The caller then asks
//! `serde_json` itself, so that both verdict and message are its own, and the common case costs one
//! pass and no allocation.
//!
//! Invariant, held by a differential fuzz target: a value that is neither a syntax error, nor
//! dubious, nor deeper than 127 levels is accepted by `serde_json`.

/// The text breaks the grammar at this byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SyntaxError {
    pub at: usize,
}

/// The facts that one pass over a value has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// There is insignificant whitespace inside.
    pub spaced: bool,
    /// Levels of arrays and objects; 0 for a scalar.
    pub depth: usize,
    /// `serde_json` may refuse it although the grammar does not.
    pub dubious: bool,
    /// There is an escape in a string.
    escaped: bool,
}

/// A string token: the text between its quotes, as written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub raw: &'a str,
    escaped: bool,
}

impl<'a> Token<'a> {
    /// The string that the token stands for; `None` if it has a lone surrogate, which is
    /// grammatical and yet no Unicode text.
    pub fn decode(self) -> Option<std::borrow::Cow<'a, str>> {
        if !self.escaped {
            return Some(self.raw.into());
        }
        let quoted = format!("\"{}\"", self.raw);
        serde_json::from_str::<String>(&quoted).ok().map(Into::into)
    }

    /// Whether the token stands for `text`.
    pub fn is(self, text: &str) -> bool {
        if self.escaped { self.decode().is_some_and(|own| own == text) } else { self.raw == text }
    }
}

/// A cursor over JSON text.
pub(crate) struct Scanner<'a> {
    text: &'a str,
    at: usize,
    /// The open containers of the value being read; kept to reuse its memory.
    open: Vec<Container>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Container {
    Array,
    Object,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Self { text, at: 0, open: Vec::new() }
    }

    /// The byte the cursor stands at.
    pub fn at(&self) -> usize {
        self.at
    }

    /// The text from `start` to the cursor. Both stand at token borders, hence at characters'.
    pub fn since(&self, start: usize) -> &'a str {
        &self.text[start..self.at]
    }

    /// The next byte, not consumed.
    #[inline]
    pub fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Consumes insignificant whitespace and returns whether there was any.
    #[inline]
    pub fn space(&mut self) -> bool {
        let start = self.at;
        // There is usually none, and the first comparison shows it.
        while let Some(byte) = self.peek()
            && byte <= b' '
            && matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
        {
            self.at += 1;
        }
        #[cfg(test)]
        meter::count(self.at - start);
        self.at > start
    }

    /// Consumes `byte` if it is the next one.
    pub fn eat(&mut self, byte: u8) -> bool {
        let next = self.peek() == Some(byte);
        self.at += usize::from(next);
        next
    }

    /// Consumes `byte`, which must be the next one.
    pub fn expect(&mut self, byte: u8) -> Result<(), SyntaxError> {
        if self.eat(byte) { Ok(()) } else { Err(self.error()) }
    }

    /// Consumes a member's name, the colon and the whitespace around it.
    pub fn name(&mut self) -> Result<Token<'a>, SyntaxError> {
        let name = self.string()?;
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(name)
    }

    /// Consumes one value of any kind and depth, without recursion. The cursor stands at its
    /// first byte.
    pub fn value(&mut self) -> Result<Facts, SyntaxError> {
        let mut facts = Facts::default();
        let rest = past_value(self.rest(), &mut self.open, &mut facts);
        self.go_on(rest).map(|()| facts)
    }

    /// Consumes a string.
    pub fn string(&mut self) -> Result<Token<'a>, SyntaxError> {
        let start = self.at + 1;
        let mut facts = Facts::default();
        let rest = match self.rest() {
            [b'"', rest @ ..] => past_string(rest, &mut facts),
            rest => Err(Broken(rest)),
        };
        self.go_on(rest)?;
        Ok(Token { raw: &self.text[start..self.at - 1], escaped: facts.escaped })
    }

    fn rest(&self) -> &'a [u8] {
        &self.text.as_bytes()[self.at..]
    }

    /// Goes on in a longer or shorter part of the same text.
    pub fn see(&mut self, text: &'a str) {
        self.text = text;
    }

    /// Whether it stands at the end of what it sees.
    pub fn is_at_end(&self) -> bool {
        self.at == self.text.len()
    }

    /// Goes to where `rest` is all that is left.
    fn go_on(&mut self, rest: Walk<'a>) -> Result<(), SyntaxError> {
        let (Ok(left) | Err(Broken(left))) = rest;
        #[cfg(test)]
        meter::count(self.text.len() - left.len() - self.at);
        self.at = self.text.len() - left.len();
        rest.map(drop).map_err(|_| self.error())
    }

    pub fn error(&self) -> SyntaxError {
        SyntaxError { at: self.at }
    }
}

/// Counts the bytes that scanners have passed, by thread.
#[cfg(test)]
pub(crate) mod meter {
    use std::cell::Cell;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    thread_local!(static PASSED: Cell<usize> = const { Cell::new(0) });

    pub(super) fn count(bytes: usize) {
        PASSED.set(PASSED.get() + bytes);
    }

    /// A future's output, its polls, and the most bytes that one of them has passed.
    pub(crate) fn run<T>(future: impl Future<Output = T>) -> (T, usize, usize) {
        let (mut future, mut context) = (pin!(future), Context::from_waker(Waker::noop()));
        let (mut polls, mut most) = (0, 0);
        loop {
            PASSED.set(0);
            let polled = future.as_mut().poll(&mut context);
            (polls, most) = (polls + 1, most.max(PASSED.take()));
            match polled {
                Poll::Ready(output) => return (output, polls, most),
                Poll::Pending => std::thread::yield_now(),
            }
        }
    }
}

/// The rest of the text after something was consumed, or from the place that breaks the grammar on.
///
/// Walking goes by what is left and not by an index: a slice that has been matched needs no check of
/// its bounds again.
type Walk<'a> = Result<&'a [u8], Broken<'a>>;

/// The text that begins with the byte that breaks the grammar.
struct Broken<'a>(&'a [u8]);

/// Past a value, which begins the text. `open` lends its memory.
fn past_value<'a>(mut rest: &'a [u8], open: &mut Vec<Container>, facts: &mut Facts) -> Walk<'a> {
    open.clear();
    loop {
        // At a value.
        match rest {
            [b'"', tail @ ..] => rest = past_string(tail, facts)?,
            [b'{', tail @ ..] => {
                open.push(Container::Object);
                facts.depth = facts.depth.max(open.len());
                rest = past_space(tail, facts);
                if rest.first() != Some(&b'}') {
                    rest = past_name(rest, facts)?;
                    continue;
                }
            }
            [b'[', tail @ ..] => {
                open.push(Container::Array);
                facts.depth = facts.depth.max(open.len());
                rest = past_space(tail, facts);
                if rest.first() != Some(&b']') {
                    continue;
                }
            }
            [b'-' | b'0'..=b'9', ..] => rest = past_number(rest, facts)?,
            [b't', b'r', b'u', b'e', tail @ ..]
            | [b'f', b'a', b'l', b's', b'e', tail @ ..]
            | [b'n', b'u', b'l', b'l', tail @ ..] => rest = tail,
            _ => return Err(Broken(rest)),
        }
        // Behind a value: closes what ends here, and goes to the next one.
        loop {
            let Some(container) = open.last() else { return Ok(rest) };
            rest = past_space(rest, facts);
            match (rest, container) {
                ([b',', tail @ ..], Container::Object) => {
                    rest = past_name(past_space(tail, facts), facts)?;
                    break;
                }
                ([b',', tail @ ..], Container::Array) => {
                    rest = past_space(tail, facts);
                    break;
                }
                ([b'}', tail @ ..], Container::Object) | ([b']', tail @ ..], Container::Array) => {
                    open.pop();
                    rest = tail;
                }
                _ => return Err(Broken(rest)),
            }
        }
    }
}

/// Past whitespace. There is rarely any: one comparison shows it.
#[inline(always)]
fn past_space<'a>(rest: &'a [u8], facts: &mut Facts) -> &'a [u8] {
    match rest {
        [first, ..] if *first <= b' ' => {
            let past = past_some_space(rest);
            facts.spaced |= past.len() < rest.len();
            past
        }
        _ => rest,
    }
}

#[cold]
fn past_some_space(mut rest: &[u8]) -> &[u8] {
    while let [b' ' | b'\n' | b'\t' | b'\r', tail @ ..] = rest {
        rest = tail;
    }
    rest
}

/// Past a name, its colon, and the whitespace after each.
#[inline(always)]
fn past_name<'a>(rest: &'a [u8], facts: &mut Facts) -> Walk<'a> {
    let [b'"', name @ ..] = rest else { return Err(Broken(rest)) };
    // serde_json reads names of its own in a special way when some of its features are on.
    facts.dubious |= match name {
        [b'\\', ..] => true,
        [b'$', ..] => name.starts_with(b"$serde_json"),
        _ => false,
    };
    let rest = past_space(past_string(name, facts)?, facts);
    let [b':', rest @ ..] = rest else { return Err(Broken(rest)) };
    Ok(past_space(rest, facts))
}

/// Past a string, whose opening quote has been consumed.
#[inline(always)]
fn past_string<'a>(rest: &'a [u8], facts: &mut Facts) -> Walk<'a> {
    let rest = past_plain(rest);
    if let [b'"', rest @ ..] = rest { Ok(rest) } else { past_escapes(rest, facts) }
}

/// Past the rest of a string that begins with a byte that is not plain.
#[cold]
fn past_escapes<'a>(mut rest: &'a [u8], facts: &mut Facts) -> Walk<'a> {
    facts.escaped = true;
    loop {
        rest = match rest {
            [b'"', rest @ ..] => return Ok(rest),
            [b'\\', b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => past_plain(rest),
            [b'\\', b'u', rest @ ..] => past_plain(past_code(rest, facts)?),
            _ => return Err(Broken(rest)),
        }
    }
}

/// Past the digits of `\u`, and past the second half if they are the first half of a pair.
fn past_code<'a>(rest: &'a [u8], facts: &mut Facts) -> Walk<'a> {
    let (unit, rest) = hex(rest)?;
    match (unit, rest) {
        (0xD800..=0xDBFF, [b'\\', b'u', rest @ ..]) => {
            let (second, rest) = hex(rest)?;
            facts.dubious |= !matches!(second, 0xDC00..=0xDFFF);
            Ok(rest)
        }
        _ => {
            facts.dubious |= matches!(unit, 0xD800..=0xDFFF);
            Ok(rest)
        }
    }
}

/// The number that four hexadecimal digits stand for, and the rest after them.
fn hex(mut rest: &[u8]) -> Result<(u32, &[u8]), Broken<'_>> {
    let mut code = 0;
    for _ in 0..4 {
        let digit = rest.first().and_then(|&byte| char::from(byte).to_digit(16));
        code = code * 16 + digit.ok_or(Broken(rest))?;
        rest = &rest[1..];
    }
    Ok((code, rest))
}

/// The end of the first number that no f64 can hold, in a grammatical text.
pub(crate) fn beyond_f64(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        match bytes[at] {
            b'"' => {
                at += 1;
                while bytes[at] != b'"' {
                    at += if bytes[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let part = |byte: &u8| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9');
                at += bytes[at..].iter().take_while(|byte| part(byte)).count();
                if text[start..at].parse().is_ok_and(f64::is_infinite) {
                    return Some(at);
                }
            }
            _ => at += 1,
        }
    }
    None
}

/// Past a number, which begins with a sign or a digit.
#[inline(always)]
fn past_number<'a>(number: &'a [u8], facts: &mut Facts) -> Walk<'a> {
    let mut rest = match number {
        [b'-', rest @ ..] => rest,
        rest => rest,
    };
    rest = match rest {
        [b'0', rest @ ..] => rest,
        rest => past_digits(rest)?,
    };
    if let [b'.', fraction @ ..] = rest {
        rest = past_digits(fraction)?;
    }
    let mut exponent_digits = 0;
    if let [b'e' | b'E', b'+' | b'-', exponent @ ..] | [b'e' | b'E', exponent @ ..] = rest {
        rest = past_digits(exponent)?;
        exponent_digits = exponent.len() - rest.len();
    }
    // Below 10^200 * 10^99 nothing is beyond f64.
    facts.dubious |= number.len() - rest.len() > 200 || exponent_digits > 2;
    Ok(rest)
}

/// Past digits, at least one.
#[inline(always)]
fn past_digits(mut rest: &[u8]) -> Walk<'_> {
    let [b'0'..=b'9', ..] = rest else { return Err(Broken(rest)) };
    while let [b'0'..=b'9', tail @ ..] = rest {
        rest = tail;
    }
    Ok(rest)
}

/// Past the bytes that are plain inside a string: no quote, no backslash, no control character. Eight
/// at a time.
#[inline(always)]
fn past_plain(mut rest: &[u8]) -> &[u8] {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x80 * ONES;
    while let Some((chunk, tail)) = rest.split_first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        // Flipping bit 1 moves the quote, and no other plain byte, to where it is below 0x21 as the
        // control characters are. A subtraction that goes below zero sets a byte's high bit; it may do
        // so in the bytes after it too, hence only the lowest one is believed. Bytes beyond ASCII have
        // that bit set from the start, and are plain.
        let quote_or_control = (word ^ (0x02 * ONES)).wrapping_sub(0x21 * ONES);
        let backslash = (word ^ (0x5C * ONES)).wrapping_sub(ONES);
        let special = (quote_or_control | backslash) & !word & HIGHS;
        if special != 0 {
            return &rest[special.trailing_zeros() as usize / 8..];
        }
        rest = tail;
    }
    let plain = rest.iter().take_while(|&&byte| byte >= b' ' && byte != b'"' && byte != b'\\').count();
    &rest[plain..]
}

/// The same JSON text without insignificant whitespace. The text is grammatical.
pub(crate) fn compact(text: &str, out: &mut String) {
    let bytes = text.as_bytes();
    let (mut from, mut at) = (0, 0);
    while at < bytes.len() {
        match bytes[at] {
            b' ' | b'\n' | b'\t' | b'\r' => {
                out.push_str(&text[from..at]);
                while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\t' | b'\r')) {
                    at += 1;
                }
                from = at;
            }
            b'"' => {
                at += 1;
                loop {
                    at = bytes.len() - past_plain(&bytes[at..]).len();
                    // A control character can't stand in grammatical text: quote or backslash.
                    if bytes[at] == b'"' {
                        at += 1;
                        break;
                    }
                    at += 2;
                }
            }
            _ => at += 1,
        }
    }
    out.push_str(&text[from..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(text: &str) -> Option<Facts> {
        let mut scanner = Scanner::new(text);
        let facts = scanner.value().ok()?;
        (scanner.at() == text.len()).then_some(facts)
    }

    #[test]
    fn tells_whitespace_and_depth() {
        let seen = |text| facts(text).map(|f| (f.spaced, f.depth, f.dubious));
        assert_eq!(seen("7"), Some((false, 0, false)));
        assert_eq!(seen("{}"), Some((false, 1, false)));
        assert_eq!(seen(r#"{"a":[[],{}],"b":"x y"}"#), Some((false, 3, false)));
        for spaced in ["{ }", "[ ]", "{\"a\" :1}", "{\"a\":\t1}", "[1 ,2]", "[1,\n2]", "[1\r]"] {
            assert_eq!(facts(spaced).map(|f| f.spaced), Some(true), "{spaced}");
        }
    }

    #[test]
    fn a_hundred_thousand_levels_do_not_overflow_the_stack() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(facts(&deep).map(|f| f.depth), Some(100_000));
    }

    /// The differential oracle on a hand-picked corpus; the fuzz target does the rest (A2).
    #[test]
    fn agrees_with_serde_json_unless_dubious() {
        let texts = [
            "0",
            "-0",
            "01",
            "-",
            "1.",
            ".5",
            "1.0",
            "1e5",
            "1E+5",
            "1e",
            "1e+",
            "1e999",
            "1e-999",
            "123456789012345678901234567890",
            "true",
            "tru",
            "nul",
            "null",
            "falsee",
            "\"\"",
            "\"",
            "\"a\\",
            "\"\\x\"",
            "\"\\u12\"",
            "\"\\u00e9\"",
            "\"\\ud83d\\ude00\"",
            "\"\\ud83d\"",
            "\"\\ud83dx\"",
            "\"\\ud83d\\u0041\"",
            "\"\\ude00\"",
            "\"\u{1}\"",
            "\"\u{7f}\"",
            "\"é😀\"",
            "\"tab\there\"",
            "[",
            "[1",
            "[1,",
            "[1,]",
            "[,1]",
            "[1 2]",
            "]",
            "{",
            "{\"a\"",
            "{\"a\":",
            "{\"a\":1",
            "{\"a\":1,",
            "{\"a\":1,}",
            "{a:1}",
            "{1:1}",
            "{\"a\" 1}",
            "[}",
            "{]",
            "[1}",
            "{\"a\":1]",
            "\u{feff}1",
            "",
            " ",
            "\"0123456\\\"789\"",
            "\"01234567\u{1}\"",
            "{\"$serde_json::private::RawValue\":1}",
            "{\"\\u0024serde_json::private::Number\":1}",
        ];
        let long = format!("1{}", "0".repeat(400));
        for text in texts.into_iter().chain([long.as_str()]) {
            let oracle = serde_json::from_str::<serde_json::Value>(text).is_ok();
            match facts(text) {
                None => assert!(!oracle, "{text:?} is a syntax error here alone"),
                Some(Facts { dubious: false, .. }) => assert!(oracle, "{text:?} is accepted here alone"),
                Some(_) => {}
            }
        }
    }

    /// Every byte, at every place of eight and after bytes that set the high bit or borrow.
    #[test]
    fn a_string_ends_where_serde_json_says() {
        for byte in 0..=0x7F_u8 {
            for at in 0..20 {
                for around in ["a", "!", "é", "\u{7f}"] {
                    let text = format!("\"{}{}{}\"", around.repeat(at), char::from(byte), around.repeat(9));
                    let oracle = serde_json::from_str::<String>(&text).is_ok();
                    assert_eq!(facts(&text).is_some(), oracle, "{text:?}");
                }
            }
        }
    }

    #[test]
    fn compacting_keeps_every_significant_byte() {
        let text = "{ \"a b\" :\t[ 1.0 , 1E2 ,\"x \\\" \\\\\" ] ,\r\n \"\\u0000\\/\":{ } }";
        let mut out = String::new();
        compact(text, &mut out);
        assert_eq!(out, r#"{"a b":[1.0,1E2,"x \" \\"],"\u0000\/":{}}"#);
    }

    /// A2, with `arbitrary_precision`.
    #[test]
    fn numbers_beyond_f64_are_found_without_serde_json() {
        for (text, end) in [
            (r#"{"a":1e999}"#, Some(10)),
            ("{\"a\":[1,\n-1E+400]}", Some(16)),
            (r#"{"1e999":"1e999\"1e999","b":1e308}"#, None),
            (r#"{"a":-1e-999,"b":1.7976931348623157e308}"#, None),
        ] {
            assert_eq!(beyond_f64(text), end, "{text}");
        }
        let integer = format!("{{\"a\":{}}}", "9".repeat(400));
        assert_eq!(beyond_f64(&integer), Some(integer.len() - 1));
    }
}

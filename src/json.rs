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

/// What one pass over a value has seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// There is insignificant whitespace inside.
    pub spaced: bool,
    /// Levels of arrays and objects; 0 for a scalar.
    pub depth: usize,
    /// `serde_json` may refuse it although the grammar does not.
    pub dubious: bool,
}

/// A string token: the text between its quotes, as written.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Token<'a> {
    pub raw: &'a str,
    escaped: bool,
}

impl<'a> Token<'a> {
    /// The string that the token stands for; `None` where it has a lone surrogate, which is
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

    /// Consumes insignificant whitespace and tells whether there was any.
    #[inline]
    pub fn space(&mut self) -> bool {
        let start = self.at;
        // Where there is none, as usual, the first comparison tells.
        while let Some(byte) = self.peek()
            && byte <= b' '
            && matches!(byte, b' ' | b'\n' | b'\t' | b'\r')
        {
            self.at += 1;
        }
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
    pub fn name(&mut self, facts: &mut Facts) -> Result<Token<'a>, SyntaxError> {
        let name = self.string(facts)?;
        self.space();
        self.expect(b':')?;
        self.space();
        Ok(name)
    }

    /// Consumes a name of the value being read, as [`name`](Self::name) does.
    #[inline]
    fn skip_name(&mut self, facts: &mut Facts) -> Result<(), SyntaxError> {
        let start = self.at + 1;
        self.skip_string(facts)?;
        // serde_json reads names of its own in a special way when some of its features are on.
        facts.dubious |= match self.text.as_bytes()[start] {
            b'\\' => true,
            b'$' => self.text.as_bytes()[start..].starts_with(b"$serde_json"),
            _ => false,
        };
        facts.spaced |= self.space();
        self.expect(b':')?;
        facts.spaced |= self.space();
        Ok(())
    }

    /// Consumes one value of any kind and depth, without recursion. The cursor stands at its
    /// first byte.
    pub fn value(&mut self) -> Result<Facts, SyntaxError> {
        let mut facts = Facts::default();
        self.open.clear();
        loop {
            match self.peek() {
                Some(b'{') => {
                    self.at += 1;
                    facts.spaced |= self.space();
                    if !self.eat(b'}') {
                        self.enter(Container::Object, &mut facts);
                        self.skip_name(&mut facts)?;
                        continue;
                    }
                    facts.depth = facts.depth.max(self.open.len() + 1);
                }
                Some(b'[') => {
                    self.at += 1;
                    facts.spaced |= self.space();
                    if !self.eat(b']') {
                        self.enter(Container::Array, &mut facts);
                        continue;
                    }
                    facts.depth = facts.depth.max(self.open.len() + 1);
                }
                Some(b'"') => {
                    self.skip_string(&mut facts)?;
                }
                Some(b'-' | b'0'..=b'9') => self.number(&mut facts)?,
                Some(b't') => self.word("true")?,
                Some(b'f') => self.word("false")?,
                Some(b'n') => self.word("null")?,
                _ => return Err(self.error()),
            }
            if self.leave(&mut facts)? {
                return Ok(facts);
            }
        }
    }

    fn enter(&mut self, container: Container, facts: &mut Facts) {
        self.open.push(container);
        facts.depth = facts.depth.max(self.open.len());
    }

    /// After a value: closes what ends here and goes to the next value. True when the outermost
    /// value has ended.
    fn leave(&mut self, facts: &mut Facts) -> Result<bool, SyntaxError> {
        while let Some(&container) = self.open.last() {
            facts.spaced |= self.space();
            match (self.peek(), container) {
                (Some(b','), _) => {
                    self.at += 1;
                    facts.spaced |= self.space();
                    if container == Container::Object {
                        self.skip_name(facts)?;
                    }
                    return Ok(false);
                }
                (Some(b'}'), Container::Object) | (Some(b']'), Container::Array) => {
                    self.at += 1;
                    self.open.pop();
                }
                _ => return Err(self.error()),
            }
        }
        Ok(true)
    }

    /// Consumes a string.
    pub fn string(&mut self, facts: &mut Facts) -> Result<Token<'a>, SyntaxError> {
        let start = self.at + 1;
        let escaped = self.skip_string(facts)?;
        Ok(Token { raw: &self.text[start..self.at - 1], escaped })
    }

    /// Consumes a string and tells whether it has an escape.
    #[inline]
    fn skip_string(&mut self, facts: &mut Facts) -> Result<bool, SyntaxError> {
        self.expect(b'"')?;
        let mut escaped = false;
        loop {
            self.at = plain_end(self.text.as_bytes(), self.at);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    return Ok(escaped);
                }
                Some(b'\\') => {
                    escaped = true;
                    self.at += 1;
                    self.escape(facts)?;
                }
                _ => return Err(self.error()),
            }
        }
    }

    /// Consumes what follows a backslash.
    fn escape(&mut self, facts: &mut Facts) -> Result<(), SyntaxError> {
        match self.peek() {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                match self.hex()? {
                    0xD800..=0xDBFF if self.text.as_bytes()[self.at..].starts_with(b"\\u") => {
                        self.at += 2;
                        facts.dubious |= !matches!(self.hex()?, 0xDC00..=0xDFFF);
                    }
                    0xD800..=0xDFFF => facts.dubious = true,
                    _ => {}
                }
            }
            _ => return Err(self.error()),
        }
        Ok(())
    }

    fn hex(&mut self) -> Result<u32, SyntaxError> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            code = code * 16 + digit.ok_or_else(|| self.error())?;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self, facts: &mut Facts) -> Result<(), SyntaxError> {
        let start = self.at;
        self.eat(b'-');
        if !self.eat(b'0') {
            self.digits()?;
        }
        if self.eat(b'.') {
            self.digits()?;
        }
        let exponent_digits = if self.eat(b'e') || self.eat(b'E') {
            let _sign = self.eat(b'+') || self.eat(b'-');
            self.digits()?
        } else {
            0
        };
        // Below 10^200 * 10^99 nothing is beyond f64.
        facts.dubious |= self.at - start > 200 || exponent_digits > 2;
        Ok(())
    }

    /// Consumes digits, at least one, and tells how many.
    fn digits(&mut self) -> Result<usize, SyntaxError> {
        let start = self.at;
        while self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.error()) } else { Ok(self.at - start) }
    }

    fn word(&mut self, word: &str) -> Result<(), SyntaxError> {
        if !self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            return Err(self.error());
        }
        self.at += word.len();
        Ok(())
    }

    pub fn error(&self) -> SyntaxError {
        SyntaxError { at: self.at }
    }
}

/// The end of the bytes from `at` on that are plain inside a string: no quote, no backslash, no
/// control character. Eight at a time: a byte's high bit is set in `special` where the byte is one of
/// these (and perhaps in a byte after it, hence only the lowest is believed).
#[inline]
fn plain_end(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    while let Some(chunk) = bytes[at..].first_chunk::<8>() {
        let word = u64::from_le_bytes(*chunk);
        let zero_where = |byte: u8| {
            let differs = word ^ (ONES * u64::from(byte));
            differs.wrapping_sub(ONES) & !differs
        };
        let control = word.wrapping_sub(ONES * 0x20) & !word;
        let special = (control | zero_where(b'"') | zero_where(b'\\')) & HIGHS;
        if special != 0 {
            return at + special.trailing_zeros() as usize / 8;
        }
        at += 8;
    }
    let tail = bytes[at..].iter().take_while(|&&byte| byte >= 0x20 && byte != b'"' && byte != b'\\');
    at + tail.count()
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
                    at = plain_end(bytes, at);
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

    #[test]
    fn compacting_keeps_every_significant_byte() {
        let text = "{ \"a b\" :\t[ 1.0 , 1E2 ,\"x \\\" \\\\\" ] ,\r\n \"\\u0000\\/\":{ } }";
        let mut out = String::new();
        compact(text, &mut out);
        assert_eq!(out, r#"{"a b":[1.0,1E2,"x \" \\"],"\u0000\/":{}}"#);
    }
}

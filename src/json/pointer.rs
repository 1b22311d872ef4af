//! JSON Pointer (RFC 6901): the text at a place of a text, by the scanner, without a DOM and without a copy (L4).

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::json::scan::Scanner;

/// A place in JSON text: the reference tokens that lead there, unescaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pointer(Vec<String>);

/// A text is no JSON Pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PointerError {
    #[error("a JSON Pointer is empty or begins with `/`")]
    NoSlash,
    #[error("`~` of a JSON Pointer is followed by 0 or 1, not so at byte {at}")]
    Tilde { at: usize },
}

impl Pointer {
    /// The pointer that the text is.
    pub fn parse(text: &str) -> Result<Self, PointerError> {
        if text.is_empty() {
            return Ok(Self(Vec::new()));
        }
        let tokens = text.strip_prefix('/').ok_or(PointerError::NoSlash)?;
        if let Some((at, _)) = text.match_indices('~').find(|(at, _)| !text[at + 1..].starts_with(['0', '1']))
        {
            return Err(PointerError::Tilde { at });
        }
        Ok(Self(tokens.split('/').map(|token| token.replace("~1", "/").replace("~0", "~")).collect()))
    }
}

/// Several pointers, looked for in one pass.
#[derive(Debug)]
pub(crate) struct Pointers {
    /// A tree; the first node is its root.
    nodes: Vec<Node>,
    /// The node of each pointer; `None` for one that is longer than any text is deep.
    ends: Vec<Option<usize>>,
}

#[derive(Debug, Default)]
struct Node {
    members: BTreeMap<String, usize>,
    /// Those of the members whose names are indexes of an array too.
    elements: BTreeMap<usize, usize>,
    /// The pointers that end here.
    pointers: Vec<usize>,
}

impl Pointers {
    /// `serde_json` reads 127 levels, so that no memory has more.
    const MAX_TOKENS: usize = 127;

    pub fn new<'p>(pointers: impl IntoIterator<Item = &'p Pointer>) -> Self {
        let mut all = Self { nodes: vec![Node::default()], ends: Vec::new() };
        for (number, Pointer(tokens)) in pointers.into_iter().enumerate() {
            if tokens.len() > Self::MAX_TOKENS {
                all.ends.push(None);
                continue;
            }
            let end = tokens.iter().fold(0, |node, token| all.child(node, token));
            all.nodes[end].pointers.push(number);
            all.ends.push(Some(end));
        }
        all
    }

    fn child(&mut self, node: usize, token: &str) -> usize {
        if let Some(&child) = self.nodes[node].members.get(token) {
            return child;
        }
        let child = self.nodes.len();
        self.nodes.push(Node::default());
        self.nodes[node].members.insert(token.to_owned(), child);
        if let Some(index) = index(token) {
            self.nodes[node].elements.insert(index, child);
        }
        child
    }

    /// The text at each pointer, `None` if nothing is there. If a name stands twice, the last one counts. `text` is
    /// compact and valid.
    ///
    /// `element` is given the elements of each array that a pointer leads to, with the number of the pointer: `None` before
    /// the first, as earlier ones of the same name don't count, then each.
    pub fn find<'t>(
        &self,
        text: &'t str,
        element: impl FnMut(usize, Option<&'t str>),
    ) -> Vec<Option<&'t str>> {
        let found = vec![None; self.nodes.len()];
        let mut search = Search { nodes: &self.nodes, scanner: Scanner::new(text), found, element };
        search.value(0);
        self.ends.iter().map(|end| search.found[(*end)?]).collect()
    }
}

/// The index of an array that a token is: decimal, without leading zeros.
fn index(token: &str) -> Option<usize> {
    let digits = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_digit());
    if digits && (token == "0" || !token.starts_with('0')) { token.parse().ok() } else { None }
}

struct Search<'s, 't, F> {
    nodes: &'s [Node],
    scanner: Scanner<'t>,
    /// For each node the last text seen there.
    found: Vec<Option<&'t str>>,
    element: F,
}

impl<'t, F: FnMut(usize, Option<&'t str>)> Search<'_, 't, F> {
    /// Reads a value, at which the node's pointers lead on. Recursion is bounded by the length of pointers.
    fn value(&mut self, at: usize) {
        let start = self.scanner.at();
        let node = &self.nodes[at];
        match self.scanner.peek() {
            Some(b'{') if !node.members.is_empty() => self.object(node),
            Some(b'[') if !node.elements.is_empty() || !node.pointers.is_empty() => self.array(node),
            // The text of a memory is valid.
            _ => drop(self.scanner.value()),
        }
        self.found[at] = Some(self.scanner.since(start));
    }

    fn object(&mut self, node: &Node) {
        self.scanner.eat(b'{');
        while self.scanner.peek() == Some(b'"') {
            let Ok(name) = self.scanner.name() else { return };
            let name = name.decode().unwrap_or(Cow::Borrowed(name.raw));
            match node.members.get(&*name) {
                Some(&child) => {
                    self.forget(child);
                    self.value(child);
                }
                None if self.scanner.value().is_err() => return,
                None => {}
            }
            self.scanner.eat(b',');
        }
        self.scanner.eat(b'}');
    }

    fn array(&mut self, node: &Node) {
        for &pointer in &node.pointers {
            (self.element)(pointer, None);
        }
        self.scanner.eat(b'[');
        for index in 0.. {
            if matches!(self.scanner.peek(), None | Some(b']')) {
                break;
            }
            let start = self.scanner.at();
            match node.elements.get(&index) {
                Some(&child) => self.value(child),
                None if self.scanner.value().is_err() => return,
                None => {}
            }
            for &pointer in &node.pointers {
                (self.element)(pointer, Some(self.scanner.since(start)));
            }
            self.scanner.eat(b',');
        }
        self.scanner.eat(b']');
    }

    /// Forgets what an earlier member of the same name had.
    fn forget(&mut self, at: usize) {
        if self.found[at].take().is_some() {
            for &child in self.nodes[at].members.values() {
                self.forget(child);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find<'t>(text: &'t str, pointer: &str) -> Option<&'t str> {
        Pointers::new([&Pointer::parse(pointer).unwrap()]).find(text, |_, _| ())[0]
    }

    /// RFC 6901, section 5.
    #[test]
    fn the_example_of_the_rfc() {
        let text =
            r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        for (pointer, value) in [
            ("", text),
            ("/foo", r#"["bar","baz"]"#),
            ("/foo/0", r#""bar""#),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ] {
            assert_eq!(find(text, pointer), Some(value), "{pointer}");
        }
        for pointer in
            ["/foo/2", "/foo/-", "/foo/00", "/foo/01", "/foo/+1", "/foo/0/0", "/bar", "//", "/foo/"]
        {
            assert_eq!(find(text, pointer), None, "{pointer}");
        }
    }

    #[test]
    fn wrong_pointers_are_refused() {
        assert_eq!(Pointer::parse("a"), Err(PointerError::NoSlash));
        assert_eq!(Pointer::parse("#/a"), Err(PointerError::NoSlash));
        for (text, at) in [("/~", 1), ("/a~2", 2), ("/~0~", 3), ("/~~0", 1)] {
            assert_eq!(Pointer::parse(text), Err(PointerError::Tilde { at }), "{text}");
        }
        assert_eq!(Pointer::parse("/~01"), Ok(Pointer(vec!["~1".to_owned()])));
    }

    /// L4: also if the first has a member that the last has not, and however a name is spelt.
    #[test]
    fn of_a_name_that_stands_twice_the_last_counts() {
        let text = r#"{"a":{"b":1,"c":2},"\u0061":{"b":3},"x":[1,{"y":0}]}"#;
        for (pointer, value) in
            [("/a", Some(r#"{"b":3}"#)), ("/a/b", Some("3")), ("/a/c", None), ("/x/1/y", Some("0"))]
        {
            assert_eq!(find(text, pointer), value, "{pointer}");
        }
        let pointers = ["/a/c", "/a/b", "/x", "/x/1/y", "/a/b"].map(|text| Pointer::parse(text).unwrap());
        let mut elements = Vec::new();
        let found = Pointers::new(&pointers).find(text, |pointer, element| elements.push((pointer, element)));
        assert_eq!(found, [None, Some("3"), Some(r#"[1,{"y":0}]"#), Some("0"), Some("3")]);
        assert_eq!(elements, [(2, None), (2, Some("1")), (2, Some(r#"{"y":0}"#))]);
    }

    #[test]
    fn a_pointer_longer_than_any_text_is_deep_leads_nowhere() {
        assert_eq!(find(r#"{"a":1}"#, &"/a".repeat(1_000_000)), None);
        let (depth, inner) = (126, "/a".repeat(126));
        let deep = format!("{}7{}", r#"{"a":"#.repeat(depth), "}".repeat(depth));
        assert_eq!(find(&deep, &inner), Some("7"));
    }
}

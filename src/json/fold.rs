//! JSON Merge Patches (RFC 7396) folded into one text: untouched members keep their spelling (S6, A3).
//!
//! The text is parsed once, in one pass, however many patches follow and however deep they go. From then on a patch costs
//! about its own bytes (P1). Size and depth are kept as members come and go. A patch that does not fit is taken back step by
//! step. Members of one name that a patch drops together are counted together.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::json::scan::Scanner;

/// An object that patches are merged into.
///
/// A member that a patch names keeps its place and the spelling of its name, also if an earlier patch has removed it; a new
/// one goes to the end. If a name stands twice, the last one counts, and the others go once a patch touches it. Merging the
/// same patches again changes nothing (S5).
pub(crate) struct Fold<'a>(Object<'a>);

impl<'a> Fold<'a> {
    /// Starts from the text of a memory: a compact, valid object.
    pub fn new(text: &'a str) -> Self {
        Self(Object::of(parse(&mut Scanner::new(text)).members.unwrap_or_default()))
    }

    /// Merges the text of another memory in, if `fits` accepts the bytes and the depth of the result. Nothing is changed
    /// otherwise.
    pub fn merge<E>(
        &mut self,
        patch: &'a str,
        fits: impl FnOnce(usize, usize) -> Result<(), E>,
    ) -> Result<(), E> {
        let patch = parse(&mut Scanner::new(patch)).members.unwrap_or_default();
        let steps = self.0.apply(patch);
        fits(self.bytes(), self.depth()).inspect_err(|_| self.0.undo(steps))
    }

    /// The bytes of the text.
    pub fn bytes(&self) -> usize {
        self.0.bytes()
    }

    /// The levels of arrays and objects in it.
    pub fn depth(&self) -> usize {
        self.0.depth()
    }

    /// The text with all patches merged in.
    pub fn text(&self) -> String {
        let mut text = String::with_capacity(self.0.bytes());
        self.0.write(&mut text);
        text
    }
}

/// A value as it is written.
struct Written<'a> {
    text: &'a str,
    /// Levels of arrays and objects.
    depth: usize,
    /// Those of an object.
    members: Option<Vec<Member<'a>>>,
}

struct Member<'a> {
    /// The text that the name stands for.
    name: Cow<'a, str>,
    /// The name as written, with its quotes.
    written: &'a str,
    value: Written<'a>,
}

/// Reads a compact, valid value. A memory is nested so little that recursion is bounded.
fn parse<'a>(scanner: &mut Scanner<'a>) -> Written<'a> {
    let start = scanner.at();
    if !scanner.eat(b'{') {
        let depth = scanner.value().map_or(0, |facts| facts.depth);
        return Written { text: scanner.since(start), depth, members: None };
    }
    let mut members = Vec::new();
    let mut deepest = 0;
    while scanner.peek() == Some(b'"') {
        let start = scanner.at();
        let Ok(token) = scanner.name() else { break };
        let written = scanner.since(start);
        // The name of a valid memory is Unicode text.
        let name = token.decode().unwrap_or(Cow::Borrowed(token.raw));
        let value = parse(scanner);
        deepest = deepest.max(value.depth);
        members.push(Member { name, written: &written[..written.len() - 1], value });
        scanner.eat(b',');
    }
    scanner.eat(b'}');
    Written { text: scanner.since(start), depth: deepest + 1, members: Some(members) }
}

/// An object that a patch has entered.
#[derive(Default)]
struct Object<'a> {
    /// In the order of the text.
    members: Vec<ObjectMember<'a>>,
    /// The last slot of each name, also if it has been removed.
    last: HashMap<Cow<'a, str>, usize>,
    /// Those that later members of the same name supersede, name by name.
    earlier: Vec<Earlier>,
    /// All that is there.
    sum: Sum,
}

struct ObjectMember<'a> {
    name: Cow<'a, str>,
    written: &'a str,
    value: Value<'a>,
    is_there: bool,
    /// The place that counts the earlier members of its name, if there are any.
    earlier: Option<usize>,
    /// Whether it is one of these itself, and there as long as they are.
    is_earlier: bool,
}

enum Value<'a> {
    Written(Written<'a>),
    Object(Box<Object<'a>>),
}

/// The members of one name but for the last: a patch drops them together.
struct Earlier {
    sum: Sum,
    are_there: bool,
}

/// A number of members, counted.
#[derive(Default)]
struct Sum {
    members: usize,
    /// Bytes of names, colons and values.
    bytes: usize,
    /// How many values are so many levels deep. Invariant: the last number is not 0.
    depths: Vec<usize>,
}

impl Sum {
    fn add(&mut self, bytes: usize, depth: usize) {
        self.members += 1;
        self.bytes += bytes;
        if self.depths.len() <= depth {
            self.depths.resize(depth + 1, 0);
        }
        self.depths[depth] += 1;
    }

    fn take(&mut self, bytes: usize, depth: usize) {
        self.members -= 1;
        self.bytes -= bytes;
        self.depths[depth] -= 1;
        self.trim();
    }

    fn add_all(&mut self, other: &Self) {
        self.members += other.members;
        self.bytes += other.bytes;
        if self.depths.len() < other.depths.len() {
            self.depths.resize(other.depths.len(), 0);
        }
        for (own, other) in self.depths.iter_mut().zip(&other.depths) {
            *own += other;
        }
    }

    fn take_all(&mut self, other: &Self) {
        self.members -= other.members;
        self.bytes -= other.bytes;
        for (own, other) in self.depths.iter_mut().zip(&other.depths) {
            *own -= other;
        }
        self.trim();
    }

    fn trim(&mut self) {
        while self.depths.pop_if(|count| *count == 0).is_some() {}
    }
}

/// A change of an object that can be taken back.
enum Step<'a> {
    Pushed,
    DroppedEarlier(usize),
    Removed(usize),
    Restored(usize, Value<'a>),
    Replaced(usize, Value<'a>),
    Entered(usize, Vec<Step<'a>>),
}

impl<'a> Object<'a> {
    fn of(members: Vec<Member<'a>>) -> Self {
        let mut object = Self::default();
        for member in members {
            let value = Value::Written(member.value);
            object.push(member.name, member.written, value);
        }
        object
    }

    fn bytes(&self) -> usize {
        "{}".len() + self.sum.bytes + self.sum.members.saturating_sub(1)
    }

    fn depth(&self) -> usize {
        self.sum.depths.len().max(1)
    }

    fn push(&mut self, name: Cow<'a, str>, written: &'a str, value: Value<'a>) {
        let (bytes, depth) = (written.len() + 1 + value.bytes(), value.depth());
        self.sum.add(bytes, depth);
        let earlier = self.last.insert(name.clone(), self.members.len()).map(|previous| {
            let previous = &mut self.members[previous];
            previous.is_earlier = true;
            let earlier = *previous.earlier.get_or_insert_with(|| {
                self.earlier.push(Earlier { sum: Sum::default(), are_there: true });
                self.earlier.len() - 1
            });
            self.earlier[earlier].sum.add(previous.bytes(), previous.value.depth());
            earlier
        });
        self.members.push(ObjectMember { name, written, value, is_there: true, earlier, is_earlier: false });
    }

    /// Merges the members of a patch in, and returns how to undo it.
    fn apply(&mut self, patch: Vec<Member<'a>>) -> Vec<Step<'a>> {
        let mut steps = Vec::new();
        let is_last = last_of_each(&patch);
        for (member, is_last) in patch.into_iter().zip(is_last) {
            if is_last {
                self.set(member, &mut steps);
            }
        }
        steps
    }

    fn set(&mut self, change: Member<'a>, steps: &mut Vec<Step<'a>>) {
        let removes = change.value.text == "null";
        let Some(&at) = self.last.get(&change.name) else {
            if !removes {
                self.push(change.name, change.written, Value::merged(change.value));
                steps.push(Step::Pushed);
            }
            return;
        };
        if !self.members[at].is_there {
            if !removes {
                self.members[at].is_there = true;
                let before = std::mem::replace(&mut self.members[at].value, Value::merged(change.value));
                self.count(at);
                steps.push(Step::Restored(at, before));
            }
            return;
        }
        if let Some(earlier) = self.members[at].earlier
            && self.earlier[earlier].are_there
        {
            self.earlier[earlier].are_there = false;
            self.sum.take_all(&self.earlier[earlier].sum);
            steps.push(Step::DroppedEarlier(earlier));
        }
        self.discount(at);
        if removes {
            self.members[at].is_there = false;
            steps.push(Step::Removed(at));
            return;
        }
        let value = &mut self.members[at].value;
        steps.push(match (change.value, value.enter()) {
            (Written { members: Some(members), .. }, Some(object)) => {
                Step::Entered(at, object.apply(members))
            }
            (change, _) => Step::Replaced(at, std::mem::replace(value, Value::merged(change))),
        });
        self.count(at);
    }

    fn undo(&mut self, steps: Vec<Step<'a>>) {
        for step in steps.into_iter().rev() {
            match step {
                Step::Pushed => {
                    self.discount(self.members.len() - 1);
                    if let Some(slot) = self.members.pop() {
                        self.last.remove(&slot.name);
                    }
                }
                Step::DroppedEarlier(earlier) => {
                    self.earlier[earlier].are_there = true;
                    self.sum.add_all(&self.earlier[earlier].sum);
                }
                Step::Removed(at) => {
                    self.members[at].is_there = true;
                    self.count(at);
                }
                Step::Restored(at, before) => {
                    self.discount(at);
                    self.members[at].is_there = false;
                    self.members[at].value = before;
                }
                Step::Replaced(at, before) => {
                    self.discount(at);
                    self.members[at].value = before;
                    self.count(at);
                }
                Step::Entered(at, steps) => {
                    self.discount(at);
                    if let Value::Object(object) = &mut self.members[at].value {
                        object.undo(steps);
                    }
                    self.count(at);
                }
            }
        }
    }

    fn count(&mut self, at: usize) {
        let slot = &self.members[at];
        self.sum.add(slot.bytes(), slot.value.depth());
    }

    fn discount(&mut self, at: usize) {
        let slot = &self.members[at];
        self.sum.take(slot.bytes(), slot.value.depth());
    }

    fn write(&self, text: &mut String) {
        text.push('{');
        let start = text.len();
        for slot in &self.members {
            let is_there = match slot.earlier {
                Some(earlier) if slot.is_earlier => self.earlier[earlier].are_there,
                _ => slot.is_there,
            };
            if !is_there {
                continue;
            }
            if text.len() > start {
                text.push(',');
            }
            text.push_str(slot.written);
            text.push(':');
            match &slot.value {
                Value::Written(value) => text.push_str(value.text),
                Value::Object(object) => object.write(text),
            }
        }
        text.push('}');
    }
}

impl ObjectMember<'_> {
    fn bytes(&self) -> usize {
        self.written.len() + 1 + self.value.bytes()
    }
}

impl<'a> Value<'a> {
    /// The result of a patch's value, which is not `null`, on a value that is no object.
    fn merged(patch: Written<'a>) -> Self {
        match patch.members {
            Some(members) => {
                let mut object = Object::default();
                object.apply(members);
                Self::Object(Box::new(object))
            }
            None => Self::Written(patch),
        }
    }

    /// The object that it is, to be changed.
    fn enter(&mut self) -> Option<&mut Object<'a>> {
        if let Self::Written(value) = self {
            *self = Self::Object(Box::new(Object::of(value.members.take()?)));
        }
        match self {
            Self::Object(object) => Some(object),
            Self::Written(_) => None,
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Written(value) => value.text.len(),
            Self::Object(object) => object.bytes(),
        }
    }

    fn depth(&self) -> usize {
        match self {
            Self::Written(value) => value.depth,
            Self::Object(object) => object.depth(),
        }
    }
}

/// For each member, whether it is the last one of its name.
fn last_of_each(members: &[Member<'_>]) -> Vec<bool> {
    if members.len() < 2 {
        return vec![true; members.len()];
    }
    let last: HashMap<&str, usize> =
        members.iter().enumerate().map(|(at, member)| (&*member.name, at)).collect();
    members.iter().enumerate().map(|(at, member)| last[&*member.name] == at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merge(target: &str, patch: &str) -> String {
        let mut fold = Fold::new(target);
        fold.merge(patch, |_, _| Ok::<_, ()>(())).unwrap();
        fold.text()
    }

    /// RFC 7396, appendix A, the cases whose target and patch are objects, and the example of section 3.
    #[test]
    fn the_cases_of_the_rfc() {
        for (target, patch, result) in [
            (r#"{"a":"b"}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"b":"c"}"#, r#"{"a":"b","b":"c"}"#),
            (r#"{"a":"b"}"#, r#"{"a":null}"#, "{}"),
            (r#"{"a":"b","b":"c"}"#, r#"{"a":null}"#, r#"{"b":"c"}"#),
            (r#"{"a":["b"]}"#, r#"{"a":"c"}"#, r#"{"a":"c"}"#),
            (r#"{"a":"c"}"#, r#"{"a":["b"]}"#, r#"{"a":["b"]}"#),
            (r#"{"a":{"b":"c"}}"#, r#"{"a":{"b":"d","c":null}}"#, r#"{"a":{"b":"d"}}"#),
            (r#"{"a":[{"b":"c"}]}"#, r#"{"a":[1]}"#, r#"{"a":[1]}"#),
            (r#"{"e":null}"#, r#"{"a":1}"#, r#"{"e":null,"a":1}"#),
            ("{}", r#"{"a":{"bb":{"ccc":null}}}"#, r#"{"a":{"bb":{}}}"#),
            (
                r#"{"title":"Goodbye!","author":{"givenName":"John","familyName":"Doe"},"tags":["example","sample"],"content":"This will be unchanged"}"#,
                r#"{"title":"Hello!","phoneNumber":"+01-123-456-7890","author":{"familyName":null},"tags":["example"]}"#,
                r#"{"title":"Hello!","author":{"givenName":"John"},"tags":["example"],"content":"This will be unchanged","phoneNumber":"+01-123-456-7890"}"#,
            ),
        ] {
            assert_eq!(merge(target, patch), result, "{target} and {patch}");
            assert_eq!(merge(result, patch), result, "{patch} again");
        }
    }

    /// A3.
    #[test]
    fn a_member_that_is_not_touched_keeps_its_spelling() {
        for (target, patch, result) in [
            (r#"{"n":1.0,"\u0061":2,"z":1E2}"#, r#"{"a":3}"#, r#"{"n":1.0,"\u0061":3,"z":1E2}"#),
            (r#"{"k":1,"x":0,"k":2}"#, "{}", r#"{"k":1,"x":0,"k":2}"#),
            (r#"{"k":1,"x":0,"k":{"a":1}}"#, r#"{"k":{"b":2}}"#, r#"{"x":0,"k":{"a":1,"b":2}}"#),
            (r#"{"k":1,"x":0,"k":2}"#, r#"{"k":null}"#, r#"{"x":0}"#),
            ("{}", r#"{"a":1,"a":null,"b":null,"b":2}"#, r#"{"b":2}"#),
            (r#"{":":1}"#, r#"{":":[":",2]}"#, r#"{":":[":",2]}"#),
        ] {
            assert_eq!(merge(target, patch), result, "{target} and {patch}");
            assert_eq!(merge(result, patch), result, "{patch} again");
        }
    }

    /// S5: otherwise the member would go to the end, and sending the patches again would move it there.
    #[test]
    fn a_member_that_comes_back_keeps_its_place() {
        for (target, patches, result) in [
            (r#"{"k":0}"#, [r#"{"k":null}"#, r#"{"k":1,"m":2}"#], r#"{"k":1,"m":2}"#),
            (r#"{"o":{"k":0,"l":0}}"#, [r#"{"o":{"k":null}}"#, r#"{"o":{"k":1}}"#], r#"{"o":{"k":1,"l":0}}"#),
            (r#"{"k":1,"x":0,"k":2}"#, [r#"{"k":null}"#, r#"{"k":{"b":1}}"#], r#"{"x":0,"k":{"b":1}}"#),
            (r#"{"k":{"a":1},"x":0}"#, [r#"{"k":null}"#, r#"{"k":{"b":1}}"#], r#"{"k":{"b":1},"x":0}"#),
        ] {
            for target in [target, result] {
                let mut fold = Fold::new(target);
                for patch in patches {
                    fold.merge(patch, |_, _| Ok::<_, ()>(())).unwrap();
                }
                assert_eq!(fold.text(), result, "{patches:?} on {target}");
            }
        }
    }

    /// P1: all of it takes about a second of a debug build. A merge that parses the text again for each patch takes half an
    /// hour. A merge that drops the members of a name one by one takes some minutes.
    #[test]
    fn a_large_text_is_paid_for_once() {
        let object = |member: &dyn Fn(usize) -> String| {
            format!("{{{}}}", (0..60_000).map(member).collect::<Vec<_>>().join(","))
        };
        let (many, same) = (object(&|n| format!("\"{n}\":1")), object(&|_| "\"k\":1".to_owned()));
        let nested = format!("{}{many}{}", "{\"k\":".repeat(60), "}".repeat(60));
        let deep = |value: &str| format!("{}{value}{}", "{\"k\":".repeat(60), "}".repeat(60));
        let started = std::time::Instant::now();
        for (target, patch) in [
            (&many, r#"{"z":1}"#.to_owned()),
            (&many, r#"{"7":{"a":null}}"#.to_owned()),
            (&same, r#"{"k":2}"#.to_owned()),
            (&same, r#"{"k":null}"#.to_owned()),
            (&nested, deep(r#"{"z":1}"#)),
        ] {
            for fits in [true, false] {
                let mut fold = Fold::new(target);
                for _ in 0..1_000 {
                    assert_eq!(fold.merge(&patch, |_, _| if fits { Ok(()) } else { Err(()) }).is_ok(), fits);
                }
                assert_eq!(fold.text() == *target, !fits);
            }
        }
        assert!(started.elapsed().as_secs() < 90, "{:?}", started.elapsed());
    }
}

//! JSON Merge Patch (RFC 7396) on texts: what a patch does not touch keeps its spelling (S6, A3).

use std::borrow::Cow;
use std::collections::HashMap;

use crate::json::scan::Scanner;

/// `target` with `patch` merged in. Both are texts of memories: compact, valid objects.
///
/// A member that the patch names keeps its place and the spelling of its name; a new one goes to
/// the end. Where a name stands twice, the last one counts, and the others go once the patch touches
/// it. Merging the same patch again changes nothing.
pub(crate) fn merge<'a>(target: &'a str, patch: &'a str) -> String {
    let mut members = members(target);
    let mut places: HashMap<Cow<'a, str>, Vec<usize>> = HashMap::new();
    for (place, member) in members.iter().enumerate() {
        places.entry(member.name.clone()).or_default().push(place);
    }
    for change in last_of_each(self::members(patch)) {
        let own = places.remove(&change.name).unwrap_or_default();
        for &place in &own {
            members[place].kept = false;
        }
        if change.value == "null" {
            continue;
        }
        if let Some(&place) = own.last() {
            let member = &mut members[place];
            member.kept = true;
            member.value = merged(&member.value, &change.value).into();
        } else {
            let value = merged("", &change.value).into();
            members.push(Member { value, ..change });
        }
    }
    write(&members)
}

/// What a patch's value, which is not `null`, makes of the value in its place.
fn merged(own: &str, patch: &str) -> String {
    if patch.starts_with('{') {
        merge(if own.starts_with('{') { own } else { "{}" }, patch)
    } else {
        patch.to_owned()
    }
}

struct Member<'a> {
    /// What the name stands for.
    name: Cow<'a, str>,
    /// The name as written, with its quotes.
    written: &'a str,
    value: Cow<'a, str>,
    kept: bool,
}

/// The members of a valid, compact object.
fn members(text: &str) -> Vec<Member<'_>> {
    let mut members = Vec::new();
    let mut scanner = Scanner::new(text);
    scanner.eat(b'{');
    while scanner.peek() == Some(b'"') {
        let start = scanner.at();
        let Ok(name) = scanner.name() else { break };
        let written = scanner.since(start).trim_end_matches(':');
        let start = scanner.at();
        if scanner.value().is_err() {
            break;
        }
        let value = Cow::Borrowed(scanner.since(start));
        // The name of a valid memory is Unicode text.
        let name = name.decode().unwrap_or(Cow::Borrowed(name.raw));
        members.push(Member { name, written, value, kept: true });
        scanner.eat(b',');
    }
    members
}

/// Of members with the same name, the last.
fn last_of_each(members: Vec<Member<'_>>) -> Vec<Member<'_>> {
    let last: HashMap<_, _> =
        members.iter().enumerate().map(|(place, member)| (member.name.clone(), place)).collect();
    let counts = |(place, member): &(usize, Member<'_>)| last[&member.name] == *place;
    members.into_iter().enumerate().filter(counts).map(|(_, member)| member).collect()
}

fn write(members: &[Member<'_>]) -> String {
    let mut text = String::from("{");
    for member in members.iter().filter(|member| member.kept) {
        if text.len() > 1 {
            text.push(',');
        }
        text.push_str(member.written);
        text.push(':');
        text.push_str(&member.value);
    }
    text.push('}');
    text
}

#[cfg(test)]
mod tests {
    use super::merge;

    /// RFC 7396, appendix A, the cases whose target and patch are objects.
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
        ] {
            assert_eq!(merge(target, patch), result, "{target} and {patch}");
            assert_eq!(merge(result, patch), result, "{patch} again");
        }
    }

    /// The example of RFC 7396, section 3.
    #[test]
    fn the_example_of_the_rfc() {
        let target = r#"{"title":"Goodbye!","author":{"givenName":"John","familyName":"Doe"},"tags":["example","sample"],"content":"This will be unchanged"}"#;
        let patch = r#"{"title":"Hello!","phoneNumber":"+01-123-456-7890","author":{"familyName":null},"tags":["example"]}"#;
        let result = r#"{"title":"Hello!","author":{"givenName":"John"},"tags":["example"],"content":"This will be unchanged","phoneNumber":"+01-123-456-7890"}"#;
        assert_eq!(merge(target, patch), result);
    }

    /// A3.
    #[test]
    fn what_is_not_touched_keeps_its_spelling() {
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

    /// Many members cost no more than their number.
    #[test]
    fn many_members_are_merged() {
        let object = |value| {
            let members: Vec<_> = (0..50_000).map(|n| format!("\"{n}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        };
        assert_eq!(merge(&object("1"), &object("2")), object("2"));
        assert_eq!(merge(&object("1"), &object("null")), "{}");
    }
}

//! JSON Merge Patch (RFC 7396) on texts, one patch at a time: the model's own, as the library would judge itself otherwise.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::json::scan::Scanner;

/// `target` with `patch` merged in. Both are texts of memories: compact, valid objects.
///
/// A member that the patch names keeps its place and the spelling of its name; a new one goes to
/// the end. If a name stands twice, the last one counts, and the others go once the patch touches
/// it. A removed member is marked, so that a later patch finds its place: [`settled`] drops the mark.
pub(super) fn merge<'a>(target: &'a str, patch: &'a str) -> String {
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
        if let Some(&place) = own.last() {
            let member = &mut members[place];
            member.kept = true;
            member.value = match &*change.value {
                "null" => REMOVED.into(),
                value => merged(&member.value, value).into(),
            };
        } else if change.value != "null" {
            let value = merged("", &change.value).into();
            members.push(Member { value, ..change });
        }
    }
    write(&members)
}

/// Marks a removed member. No test stores it.
const REMOVED: &str = r#""\u0000removed by a merge\u0000""#;

/// The text without members that merges have removed.
pub(super) fn settled(text: &str) -> String {
    let mut members = members(text);
    members.retain(|member| member.value != REMOVED);
    for member in &mut members {
        if member.value.starts_with('{') {
            member.value = settled(&member.value).into();
        }
    }
    write(&members)
}

/// The result of a patch's value, which is not `null`, on the value in its place.
fn merged(own: &str, patch: &str) -> String {
    if patch.starts_with('{') {
        merge(if own.starts_with('{') { own } else { "{}" }, patch)
    } else {
        patch.to_owned()
    }
}

struct Member<'a> {
    /// The meaning of the name.
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

/// The last of the members with the same name.
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
    use proptest::prelude::*;

    use super::{merge, settled};
    use crate::json::fold::Fold;
    use crate::model::limits::Limits;
    use crate::model::memory::Memory;

    fn object(levels: u32) -> impl Strategy<Value = String> {
        let name =
            prop::sample::select(&["a", "b", r"\u0061", "", ":", r#"\""#, "é", r"\u00e9", r"\/", "/"][..]);
        let scalar = prop::sample::select(
            &["null", "null", "1.0", "1E2", "-0", r#""x\u007d{[,:""#, "{}", "[]", r#"[[1],{"a":null}]"#][..],
        );
        let members = |value: BoxedStrategy<String>| {
            let member = (name.clone(), value).prop_map(|(name, value)| format!("\"{name}\":{value}"));
            prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",")))
        };
        let scalar = scalar.prop_map(str::to_owned).boxed();
        (0..levels).fold(members(scalar.clone()).boxed(), |inner, _| {
            members(prop_oneof![scalar.clone(), inner].boxed()).boxed()
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

        /// S6, P1: patches folded come to the same as patches merged one by one, over the limits too.
        #[test]
        fn folding_is_merging(
            target in object(3),
            patches in prop::collection::vec(object(4), 1..7),
            bytes in prop::sample::select(&[20, 40, 80, 1 << 20][..]),
            depth in prop::sample::select(&[2, 3, 4, 64][..]),
        ) {
            let limits = Limits::default().with_memory_bytes(bytes).with_memory_depth(depth);
            let mut fold = Fold::new(&target);
            prop_assert_eq!(&fold.text(), &target);
            let mut state = target.clone();
            for patch in &patches {
                let merged = merge(&state, patch);
                let fits = Memory::from_stored(settled(&merged)).within(&limits);
                let folded = fold.merge(patch, |bytes, depth| limits.judge_memory(bytes, |limit| depth > limit));
                prop_assert_eq!(&fits, &folded, "{} in {}", patch, state);
                if fits.is_ok() {
                    state = merged;
                }
                prop_assert_eq!(fold.text(), settled(&state));
            }
        }

        /// S5: patches that all fit can be merged again.
        #[test]
        fn folding_again_changes_nothing(
            target in object(3),
            patches in prop::collection::vec(object(4), 1..7),
        ) {
            let fold = |target: &str| {
                let mut fold = Fold::new(target);
                for patch in &patches {
                    fold.merge(patch, |_, _| Ok::<_, ()>(())).unwrap();
                }
                fold.text()
            };
            let once = fold(&target);
            prop_assert_eq!(fold(&once), once);
        }
    }
}

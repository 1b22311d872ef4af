//! Which profiles are taken, by what their memories hold (L4). One implementation, above all backends.

use std::cmp::Ordering;
use std::fmt;
use std::ops::{BitAnd, BitOr, Not};
use std::sync::Arc;

use crate::json::pointer::{Pointer, Pointers};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::memory::Memory;
use crate::model::scalar::{Scalar, Value};

/// A condition on a memory's content, as a typed expression.
///
/// [`at`](Self::at) takes a JSON Pointer (RFC 6901). The comparisons of [`Field`] make filters of what is there, and
/// `&`, `|` and `!` make filters of filters.
///
/// ```
/// use profile_store::{Filter, Memory};
///
/// let filter = Filter::at("/plan")?.eq("pro") & Filter::at("/score")?.ge(10) & !Filter::at("/closed")?.exists();
/// assert!(filter.matches(&Memory::from_json(r#"{"plan":"pro","score":10.5}"#)?));
/// assert!(!filter.matches(&Memory::from_json(r#"{"plan":"pro","score":"10"}"#)?));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Meaning
/// | at the pointer | result |
/// |---|---|
/// | nothing | every comparison is false, and so is `exists`; `null` is something |
/// | `null` | `is_null`, `exists` and `eq(Scalar::NULL)` are true |
/// | another kind than the one compared with | false, also for `lt` to `ge`: there is no order between kinds |
/// | an object or an array | equal to nothing; an array's elements are compared by `contains` |
/// | `1`, `1.0`, `1E0` | the same number |
/// | 2^64−1 = 18446744073709551615 | itself: integers that fit `u64` or `i64` are compared exactly, with floats too |
/// | a larger integer, a fraction | the `f64` that `serde_json` reads |
/// | `-0`, `-0.0` | equal to 0 |
/// | a string | compared by the bytes of its text, whatever escapes it is spelt with |
/// | a name that stands twice | the last one counts |
/// | a name spelt with escapes | the name that it stands for |
///
/// A negation is the exact complement: `ne` is true if nothing is there.
#[derive(Clone, PartialEq, Eq)]
pub struct Filter {
    /// In postfix order.
    steps: Arc<Vec<Step>>,
    /// How many values are compared with.
    comparisons: usize,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Test(Pointer, Test),
    And,
    Or,
    Not,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Test {
    Exists,
    Equals(Vec<Scalar>),
    Order(Relation, Scalar),
    Contains(Scalar),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Relation {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Relation {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
        }
    }
}

/// The pointers of filters may be names of people: only the shape is shown (S14).
impl fmt::Debug for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Filter({} comparisons)", self.comparisons)
    }
}

impl Filter {
    /// The most comparisons that a filter may have when it is used ([P1](crate::contract#p1)). Each value of
    /// [`is_in`](Field::is_in) is one.
    pub const MAX_COMPARISONS: usize = 64;

    /// The value that a JSON Pointer (RFC 6901) leads to, such as `/settings/theme`; the empty one leads to the whole memory.
    ///
    /// # Errors
    /// [`InvalidInput`](ErrorKind::InvalidInput) if it is no pointer.
    pub fn at(pointer: &str) -> Result<Field> {
        Ok(Field(Pointer::parse(pointer)?))
    }

    /// Whether it has no more comparisons than a filter in use may have.
    pub(crate) fn check(&self) -> Result<()> {
        let (count, limit) = (self.comparisons, Self::MAX_COMPARISONS);
        if count > limit {
            let message = format!("the filter has {count} comparisons, the limit is {limit}");
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
        Ok(())
    }

    fn test(place: Field, test: Test) -> Self {
        let comparisons = if let Test::Equals(values) = &test { values.len().max(1) } else { 1 };
        Self { steps: Arc::new(vec![Step::Test(place.0, test)]), comparisons }
    }

    fn and_then(mut self, other: &[Step], last: Step, comparisons: usize) -> Self {
        let steps = Arc::make_mut(&mut self.steps);
        steps.extend_from_slice(other);
        steps.push(last);
        self.comparisons = self.comparisons.saturating_add(comparisons);
        self
    }

    /// Whether a memory is one of those that the filter takes.
    #[must_use]
    pub fn matches(&self, memory: &Memory) -> bool {
        Matcher::new(self).matches(memory.as_str())
    }
}

impl BitAnd for Filter {
    type Output = Self;

    fn bitand(self, other: Self) -> Self {
        self.and_then(&other.steps, Step::And, other.comparisons)
    }
}

impl BitOr for Filter {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        self.and_then(&other.steps, Step::Or, other.comparisons)
    }
}

impl Not for Filter {
    type Output = Self;

    fn not(mut self) -> Self {
        let steps = Arc::make_mut(&mut self.steps);
        if steps.pop_if(|last| *last == Step::Not).is_none() {
            steps.push(Step::Not);
        }
        self
    }
}

/// The value at a JSON Pointer, to be compared with something. Made by [`Filter::at`].
#[derive(Clone, PartialEq, Eq)]
#[must_use]
pub struct Field(Pointer);

/// As of a filter, without the pointer (S14).
impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Field")
    }
}

impl Field {
    /// The value there is this one.
    pub fn eq(self, value: impl Into<Scalar>) -> Filter {
        Filter::test(self, Test::Equals(vec![value.into()]))
    }

    /// The exact complement of [`eq`](Self::eq): another value is there, or none.
    pub fn ne(self, value: impl Into<Scalar>) -> Filter {
        !self.eq(value)
    }

    /// The value there is one of these.
    pub fn is_in<V: Into<Scalar>>(self, values: impl IntoIterator<Item = V>) -> Filter {
        Filter::test(self, Test::Equals(values.into_iter().map(Into::into).collect()))
    }

    /// The value there is less: both are numbers, or both are strings.
    pub fn lt(self, value: impl Into<Scalar>) -> Filter {
        Filter::test(self, Test::Order(Relation::Less, value.into()))
    }

    /// The value there is less or equal: both are numbers, or both are strings.
    pub fn le(self, value: impl Into<Scalar>) -> Filter {
        Filter::test(self, Test::Order(Relation::LessOrEqual, value.into()))
    }

    /// The value there is greater: both are numbers, or both are strings.
    pub fn gt(self, value: impl Into<Scalar>) -> Filter {
        Filter::test(self, Test::Order(Relation::Greater, value.into()))
    }

    /// The value there is greater or equal: both are numbers, or both are strings.
    pub fn ge(self, value: impl Into<Scalar>) -> Filter {
        Filter::test(self, Test::Order(Relation::GreaterOrEqual, value.into()))
    }

    /// Some value is there, `null` included.
    pub fn exists(self) -> Filter {
        Filter::test(self, Test::Exists)
    }

    /// `null` is there.
    pub fn is_null(self) -> Filter {
        self.eq(Scalar::NULL)
    }

    /// An array is there, and one of its elements is this value.
    pub fn contains(self, value: impl Into<Scalar>) -> Filter {
        Filter::test(self, Test::Contains(value.into()))
    }
}

/// A filter made ready to judge many memories, each in one pass.
#[derive(Debug)]
pub(crate) struct Matcher {
    steps: Arc<Vec<Step>>,
    /// The pointers of the tests, each once.
    pointers: Pointers,
    /// The tests of each pointer, by their steps.
    tests: Vec<Vec<usize>>,
}

impl Matcher {
    pub fn new(filter: &Filter) -> Self {
        let mut pointers: Vec<&Pointer> = Vec::new();
        let mut tests: Vec<Vec<usize>> = Vec::new();
        for (at, step) in filter.steps.iter().enumerate() {
            let Step::Test(pointer, _) = step else { continue };
            match pointers.iter().position(|known| *known == pointer) {
                Some(known) => tests[known].push(at),
                None => {
                    pointers.push(pointer);
                    tests.push(vec![at]);
                }
            }
        }
        Self { pointers: Pointers::new(pointers), tests, steps: Arc::clone(&filter.steps) }
    }

    /// Whether the filter takes the memory of this text.
    pub fn matches(&self, memory: &str) -> bool {
        // The results of the tests, by their steps.
        let mut results = vec![false; self.steps.len()];
        let found = self.pointers.find(memory, |pointer, element| {
            let mut element = Element::new(element);
            for &at in &self.tests[pointer] {
                if let Step::Test(_, Test::Contains(value)) = &self.steps[at] {
                    results[at] = match element.get() {
                        None => false,
                        Some(element) => results[at] || element.as_ref() == Some(&value.0),
                    };
                }
            }
        });
        for (tests, found) in self.tests.iter().zip(found) {
            let value = found.and_then(Value::read);
            for &at in tests {
                if let Step::Test(_, test) = &self.steps[at] {
                    results[at] = match test {
                        Test::Exists => found.is_some(),
                        Test::Equals(values) => {
                            value.as_ref().is_some_and(|value| values.iter().any(|other| other.0 == *value))
                        }
                        Test::Order(relation, other) => value
                            .as_ref()
                            .and_then(|value| value.order(&other.0))
                            .is_some_and(|order| relation.holds(order)),
                        // An earlier member of the same name may have been an array.
                        Test::Contains(_) => results[at] && found.is_some_and(|text| text.starts_with('[')),
                    };
                }
            }
        }
        self.evaluate(results)
    }

    fn evaluate(&self, results: Vec<bool>) -> bool {
        let mut stack = Vec::with_capacity(results.len());
        let pop = |stack: &mut Vec<bool>| stack.pop().expect("each operator follows its operands");
        for (step, result) in self.steps.iter().zip(results) {
            let value = match step {
                Step::Test(..) => result,
                Step::And => pop(&mut stack) & pop(&mut stack),
                Step::Or => pop(&mut stack) | pop(&mut stack),
                Step::Not => !pop(&mut stack),
            };
            stack.push(value);
        }
        pop(&mut stack)
    }
}

/// An element of an array, read only if a test asks for it, and then once.
struct Element<'t> {
    text: Option<&'t str>,
    read: Option<Option<Value<'t>>>,
}

impl<'t> Element<'t> {
    fn new(text: Option<&'t str>) -> Self {
        Self { text, read: None }
    }

    /// `None` before the first element; else its value, if it is no array or object.
    fn get(&mut self) -> Option<&Option<Value<'t>>> {
        let text = self.text?;
        Some(self.read.get_or_insert_with(|| Value::read(text)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn at(pointer: &str) -> Field {
        Filter::at(pointer).unwrap()
    }

    fn matches(filter: &Filter, text: &str) -> bool {
        filter.matches(&Memory::from_json(text).unwrap())
    }

    /// L4: the table of the documentation.
    #[test]
    fn each_row_of_the_table() {
        let text = r#"{"nothing":null,"one":1,"max":18446744073709551615,"zero":-0,"float":-0.0,"half":-0.5,
            "big":1180591620717411303424,"list":[1,"a",null,[2],{"b":3}],"k":[1],"k":{"b":"é"},"a":"x"}"#;
        let half = Scalar::try_from(-0.5).unwrap();
        for filter in [
            at("/nothing").exists() & at("/nothing").is_null() & at("/nothing").eq(Scalar::NULL),
            !at("/missing").exists() & !at("/missing").is_null() & at("/missing").ne("x"),
            at("/one").eq(1) & at("/one").eq(Scalar::try_from(1.0).unwrap()) & at("/one").le(1),
            !at("/one").eq("1") & at("/one").ne("1") & !at("/one").lt("2") & !at("/one").ge("0"),
            at("/max").eq(u64::MAX) & at("/max").gt(u64::MAX - 1) & !at("/max").eq(i64::MAX),
            // 2^64 is the nearest float.
            at("/max").lt(Scalar::try_from(18_446_744_073_709_551_616.0).unwrap()),
            at("/big").eq(Scalar::try_from(2_f64.powi(70)).unwrap()) & at("/big").gt(u64::MAX),
            at("/zero").eq(0) & at("/float").eq(0) & at("/zero").eq(Scalar::try_from(-0.0).unwrap()),
            at("/half").eq(half) & at("/half").lt(0) & at("/half").gt(-1),
            at("/list").contains(1) & at("/list").contains("a") & at("/list").contains(Scalar::NULL),
            !at("/list").contains(2) & !at("/list").contains(3) & !at("/list").eq(1),
            at("/list/0").eq(1) & at("/list/3").contains(2) & at("/list/4/b").is_in([7, 3]),
            !at("/k").contains(1) & at("/k/b").eq("é") & at("/k").exists() & !at("/k").eq(Scalar::NULL),
            at("/a").eq("x") & at("/a").lt("y") & at("/a").gt("") & !at("/a").is_in(Vec::<i32>::new()),
            at("").exists() & !at("").eq("x"),
        ] {
            assert!(matches(&filter, text), "{:?}", filter.steps);
            assert!(!matches(&!filter.clone(), text), "the complement of {:?}", filter.steps);
        }
    }

    #[test]
    fn a_filter_can_not_be_built_of_anything() {
        for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            assert_eq!(Scalar::try_from(float).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        for value in [json!([]), json!({})] {
            assert_eq!(Scalar::try_from(&value).unwrap_err().kind(), ErrorKind::InvalidInput);
        }
        assert_eq!(Filter::at("plan").unwrap_err().kind(), ErrorKind::InvalidInput);
        assert!(at("/a").is_in(0..64).check().is_ok());
        assert!((at("/a").is_in(0..64) & at("/b").exists()).check().is_err());
        assert!(at("/a").eq("secret") != at("/a").eq("other") && at("/a").eq(1) == at("/a").eq(1));
        assert!(!format!("{:?}", at("/a").eq("secret")).contains("secret"), "S14");
    }

    /// P1: the text is read once, however many tests there are, and however often a name stands there.
    #[test]
    fn many_tests_read_a_large_memory_once() {
        let members: Vec<_> = (0..60_000).map(|n| format!(r#""k":{{"n":[{n},"\u0061"]}}"#)).collect();
        let memory = Memory::from_json(&format!("{{{}}}", members.join(","))).unwrap();
        let filters = (0..64).map(|n| at("/k/n").contains(n) | at("/k/n/0").eq(n));
        let filter = filters.reduce(|one, other| one | other).unwrap();
        let started = std::time::Instant::now();
        for _ in 0..5 {
            assert!(!filter.matches(&memory));
        }
        assert!(started.elapsed().as_secs() < 60, "{:?}", started.elapsed());
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let scalar = prop_oneof![
            Just(json!(null)),
            any::<bool>().prop_map(|value| json!(value)),
            prop::sample::select(vec![json!(0), json!(1), json!(-1), json!(1.0), json!(0.5), json!(-0.0)]),
            prop::sample::select(vec![
                json!(u64::MAX),
                json!(i64::MIN),
                json!(i64::MAX),
                json!(1e19),
                json!(-1e300)
            ]),
            prop::sample::select(vec![json!(""), json!("a"), json!("b"), json!("\u{e9}\""), json!("0")]),
        ];
        scalar.prop_recursive(3, 24, 4, |inner| {
            let name =
                prop::sample::select(&["a", "b", "", "0", "1", "a/b", "~"][..]).prop_map(str::to_owned);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(serde_json::Value::from),
                prop::collection::hash_map(name, inner, 0..4)
                    .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
            ]
        })
    }

    /// The order of two values of `serde_json`, by another way: through all digits of a decimal.
    fn order(one: &serde_json::Value, other: &serde_json::Value) -> Option<Ordering> {
        use serde_json::Value;
        match (one, other) {
            (Value::String(one), Value::String(other)) => Some(one.cmp(other)),
            (Value::Number(one), Value::Number(other)) => {
                let exact = |number: &serde_json::Number| match number.as_i128() {
                    Some(number) => (number.to_string(), String::new()),
                    None => {
                        let text = format!("{:.40}", number.as_f64().unwrap());
                        let (whole, fraction) = text.split_once('.').unwrap();
                        (whole.to_owned(), fraction.trim_end_matches('0').to_owned())
                    }
                };
                let ((one, one_fraction), (other, other_fraction)) = (exact(one), exact(other));
                let key = |whole: &str, fraction: &str| {
                    let digits = whole.trim_start_matches('-');
                    let zero = digits == "0" && fraction.is_empty();
                    (whole.starts_with('-') && !zero, digits.len(), digits.to_owned(), fraction.to_owned())
                };
                let (one, other) = (key(&one, &one_fraction), key(&other, &other_fraction));
                Some(match (one.0, other.0) {
                    (false, false) => one.cmp(&other),
                    (true, true) => other.cmp(&one),
                    (negative, _) => {
                        if negative {
                            Ordering::Less
                        } else {
                            Ordering::Greater
                        }
                    }
                })
            }
            _ => None,
        }
    }

    fn equal(one: &serde_json::Value, other: &serde_json::Value) -> bool {
        order(one, other).map_or_else(|| !one.is_array() && !one.is_object() && one == other, Ordering::is_eq)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 3000, failure_persistence: None, ..ProptestConfig::default() })]

        /// L4: as `serde_json` reads memory and pointer.
        #[test]
        fn filters_judge_as_serde_json_does(
            memory in value(),
            pointer in prop::sample::select(&["", "/", "/a", "/a/0", "/a/1/b", "/0", "/b/a", "/a~1b", "/~0", "/a/01"][..]),
            other in value(),
        ) {
            let memory = json!({ "a": memory.clone(), "b": { "a": memory }, "0": other.clone() });
            let text = memory.to_string();
            let there = memory.pointer(pointer);
            let mut cases = vec![
                (at(pointer).exists(), there.is_some()),
                (at(pointer).is_null(), there == Some(&json!(null))),
            ];
            if let Ok(scalar) = Scalar::try_from(&other) {
                let scalar = || scalar.clone();
                let is = there.is_some_and(|there| equal(there, &other));
                let ordered = there.and_then(|there| order(there, &other));
                let elements = there.and_then(serde_json::Value::as_array);
                cases.extend([
                    (at(pointer).eq(scalar()), is),
                    (at(pointer).ne(scalar()), !is),
                    (at(pointer).is_in([scalar(), scalar()]), is),
                    (at(pointer).lt(scalar()), ordered.is_some_and(Ordering::is_lt)),
                    (at(pointer).le(scalar()), ordered.is_some_and(Ordering::is_le)),
                    (at(pointer).gt(scalar()), ordered.is_some_and(Ordering::is_gt)),
                    (at(pointer).ge(scalar()), ordered.is_some_and(Ordering::is_ge)),
                    (
                        at(pointer).contains(scalar()),
                        elements.is_some_and(|all| all.iter().any(|element| equal(element, &other))),
                    ),
                ]);
            }
            for (filter, expected) in &cases {
                prop_assert_eq!(matches(filter, &text), *expected, "{:?} on {}", filter.steps, text);
            }
            // Combined, each way.
            for pair in cases.windows(2) {
                let [(one, first), (other, second)] = pair else { unreachable!("windows of two") };
                prop_assert_eq!(matches(&(one.clone() & other.clone()), &text), *first && *second);
                prop_assert_eq!(matches(&(one.clone() | !other.clone()), &text), *first || !*second);
            }
        }
    }
}

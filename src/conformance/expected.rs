//! Assertions that say which of the two was expected, and which is there.

/// As the standard library's, of what the store gave and what it must give.
macro_rules! assert_eq {
    ($got:expr, $expected:expr $(, $($said:tt)+)?) => {
        match (&$got, &$expected) {
            (got, expected) if *got == *expected => {}
            (got, expected) => {
                let said: &[String] = &[$(format!($($said)+))?];
                let of = if said.is_empty() { stringify!($got) } else { &said[0] };
                panic!("{of}\n  expected: {expected:?}\n       got: {got:?}");
            }
        }
    };
}

/// As `assert_eq`, of a case that proptest then makes smaller.
macro_rules! check_eq {
    ($got:expr, $expected:expr) => {{
        let (got, expected) = (&$got, &$expected);
        let told = || format!("{}\n  expected: {expected:?}\n       got: {got:?}", stringify!($got));
        proptest::prop_assert!(*got == *expected, "{}", told());
    }};
}

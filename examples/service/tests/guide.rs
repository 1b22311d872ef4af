//! The guide shows the code that this service runs.

/// The function of that name, from its documentation on.
fn function<'a>(source: &'a str, name: &str) -> &'a str {
    let at = source.find(&format!("fn {name}(")).expect(name);
    let begin = source[..at].rfind("\n\n").map_or(0, |blank| blank + 2);
    let end = source[at..].find("\n}\n").expect(name) + at + 3;
    &source[begin..end]
}

#[test]
fn the_guide_shows_the_code_that_runs() {
    let answer = include_str!("../src/answer.rs");
    let metrics = include_str!("../src/metrics.rs");
    for (page, text, shown) in [
        ("http", include_str!("../../../src/guide/http.md"), function(answer, "status")),
        ("quickstart", include_str!("../../../src/guide/quickstart.md"), function(answer, "status")),
        ("handler", include_str!("../../handler.rs"), function(answer, "status")),
        ("operating", include_str!("../../../src/guide/operating.md"), function(metrics, "observe")),
        ("operating", include_str!("../../../src/guide/operating.md"), function(metrics, "gauges")),
    ] {
        assert!(text.contains(shown), "{page} has other code than:\n{shown}");
    }
}

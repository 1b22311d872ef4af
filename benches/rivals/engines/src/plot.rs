//! The plot, as SVG: bars of what people compare first, and how inserting slows down with size.

use std::fmt::Write as _;

use crate::report::{GROWN, short};
use crate::results::Results;

const WIDTH: f64 = 900.0;
const NAMES: f64 = 300.0;
const ROW: f64 = 22.0;
const OURS: &str = "#2563eb";
const FJALL: &str = "#7c3aed";
const THEIRS: &str = "#9ca3af";
/// An engine's bare loop, without the store's guarantees.
const OTHER: &str = "#d6d3d1";

/// Contestants of all panels, in their order, by their short names.
const BARS: &[(&str, &str)] = &[
    ("profile-store", "profile-store, SQLite"),
    ("profile-store-fjall", "profile-store, fjall"),
    ("expert", "rusqlite, expert"),
    ("tokio-rusqlite", "tokio-rusqlite"),
    ("sqlx", "sqlx"),
    ("spawn-blocking", "Mutex + spawn_blocking"),
    ("redb", "redb"),
    ("dashmap", "DashMap of Value"),
    ("langgraph-sqlite", "LangGraph SqliteStore"),
    ("langgraph-memory", "LangGraph InMemoryStore"),
    ("bare", "SQLite's bare loop"),
    ("fjall", "fjall's bare loop"),
];

pub fn svg(results: &Results, growth: &Results) -> String {
    let mut body = String::new();
    let mut y = 10.0;
    let panels = [
        ("Insert 100,000 in batches of 1,000, users/s", "bulk 100000", "insert users/s"),
        ("Change all of them, users/s", "bulk 100000", "change users/s"),
        ("Send the change once more (a retry), users/s", "bulk 100000", "retry users/s"),
        ("64 tasks storing single users, upserts/s", "64 tasks", "upserts/s"),
        ("8 tasks reading single profiles, reads/s", "get 8", "reads/s"),
        ("In memory: body to response, one task, users/s", "memory 1", "users/s"),
    ];
    for (title, workload, measure) in panels {
        let rate = |name: &str| results.median(workload, name, measure);
        let values = BARS.iter().filter_map(|(name, title)| Some((*name, *title, rate(name)?)));
        y = bars(&mut body, y, title, values);
    }
    y = lines(&mut body, y, growth);
    format!(
        concat!(
            r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {0} {1}" width="{0}" height="{1}" "#,
            r#"font-family="system-ui, sans-serif" font-size="13">"#,
            "\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n{2}</svg>\n",
        ),
        WIDTH, y, body
    )
}

fn text(body: &mut String, x: f64, y: f64, anchor: &str, what: &str) {
    writeln!(body, r##"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="#111827">{what}</text>"##)
        .expect("text");
}

fn title(body: &mut String, y: f64, what: &str) {
    writeln!(body, r##"<text x="10" y="{y:.1}" font-weight="600" fill="#111827">{what}</text>"##)
        .expect("text");
}

/// Draws a panel of bars from `y` on, and returns where it ends.
fn bars<'a>(
    body: &mut String,
    y: f64,
    what: &str,
    values: impl Iterator<Item = (&'a str, &'a str, f64)>,
) -> f64 {
    let values: Vec<_> = values.collect();
    let largest = values.iter().map(|value| value.2).fold(0.0, f64::max);
    title(body, y + 16.0, what);
    let mut y = y + 26.0;
    for (name, title, value) in values {
        let color = match name {
            "profile-store" => OURS,
            "profile-store-fjall" => FJALL,
            "bare" | "fjall" => OTHER,
            _ => THEIRS,
        };
        let width = ((WIDTH - NAMES - 90.0) * value / largest).max(1.0);
        text(body, NAMES - 8.0, y + 14.0, "end", title);
        writeln!(
            body,
            r#"<rect x="{NAMES}" y="{:.1}" width="{width:.1}" height="16" fill="{color}"/>"#,
            y + 1.0
        )
        .expect("text");
        text(body, NAMES + width + 6.0, y + 14.0, "start", &short(value));
        y += ROW;
    }
    y + 12.0
}

/// Inserts a second against the number of profiles.
fn lines(body: &mut String, y: f64, growth: &Results) -> f64 {
    const HEIGHT: f64 = 220.0;
    let sizes = growth.sizes("growth");
    let Some(&most) = sizes.last() else { return y };
    let colors = [OURS, FJALL, "#059669", "#4b5563"];
    let curves: Vec<_> =
        GROWN.iter().zip(colors).map(|((name, title), color)| (*name, *title, color)).collect();
    let points = |name: &str| -> Vec<(u64, f64)> {
        let rate = |size: &u64| growth.median(&format!("growth {size}"), name, "insert users/s");
        sizes.iter().filter_map(|size| Some((*size, rate(size)?))).collect()
    };
    let largest = curves.iter().flat_map(|(name, ..)| points(name)).map(|point| point.1).fold(1.0, f64::max);
    title(body, y + 16.0, "SQLite: inserts a second as the table grows (random ids, batches of 1,000)");
    let (left, top, width) = (70.0, y + 30.0, WIDTH - 250.0);
    let at = |(size, rate): (u64, f64)| {
        (left + width * size as f64 / most as f64, top + HEIGHT * (1.0 - rate / largest))
    };
    for part in 0..=4 {
        let rate = largest * f64::from(part) / 4.0;
        let (_, y) = at((0, rate));
        writeln!(body, r##"<path d="M{left} {y:.1}h{width}" stroke="#e5e7eb" fill="none"/>"##).expect("text");
        text(body, left - 8.0, y + 4.0, "end", &short(rate));
        let size = most * u64::try_from(part).expect("small") / 4;
        text(body, at((size, 0.0)).0, top + HEIGHT + 18.0, "middle", &short(size as f64));
    }
    for (n, (name, title, color)) in curves.iter().enumerate() {
        let points = points(name);
        if points.is_empty() {
            continue;
        }
        let path: Vec<_> =
            points.iter().map(|point| at(*point)).map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        writeln!(body, r#"<path d="M{}" stroke="{color}" stroke-width="2" fill="none"/>"#, path.join("L"))
            .expect("text");
        let y = top + 14.0 + n as f64 * ROW;
        writeln!(
            body,
            r#"<rect x="{:.1}" y="{:.1}" width="14" height="4" fill="{color}"/>"#,
            left + width + 14.0,
            y - 6.0
        )
        .expect("text");
        text(body, left + width + 34.0, y, "start", title);
    }
    top + HEIGHT + 34.0
}

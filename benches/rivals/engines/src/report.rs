//! The tables: medians, and how they stand to the library's.

use std::fmt::Write as _;
use std::fs;

use crate::plot;
use crate::results::Results;
use crate::targets;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Ours,
    /// Code that somebody would write or take instead.
    Peer,
    /// The least that an engine has to do for the same work.
    Bare,
    /// It promises less.
    Weaker,
}

use Kind::{Bare, Ours, Peer, Weaker};

/// The meaning of the names in the results, in the order of the tables.
pub const CONTESTANTS: &[(&str, Kind, &str)] = &[
    ("profile-store", Ours, "**profile-store**, SQLite"),
    ("profile-store-body", Ours, "**profile-store**, SQLite, from body to response"),
    ("profile-store-fjall", Ours, "**profile-store**, fjall"),
    ("profile-store-sled", Ours, "**profile-store**, sled"),
    ("profile-store-memory", Ours, "**profile-store**, memory"),
    ("expert", Peer, "rusqlite, expert"),
    ("tokio-rusqlite", Peer, "tokio-rusqlite"),
    ("sqlx", Peer, "sqlx, multi-row upsert"),
    ("spawn-blocking", Peer, "`Mutex<Connection>` + `spawn_blocking`"),
    ("langgraph-sqlite", Peer, "LangGraph `SqliteStore` (Python)"),
    ("bare", Bare, "SQLite's bare loop: same schema and settings, no checksum, no outcomes"),
    ("fjall", Bare, "fjall's bare loop: look-up, checksum, one sync a batch"),
    ("sled", Bare, "sled's bare loop: no look-up, no checksum, flush and sync"),
    ("redb", Bare, "redb's bare loop: look-up, no checksum, one sync a batch"),
    ("opendal", Weaker, "OpenDAL on sled (never flushes: not durable)"),
];

/// A kind of work, and the measure of its rate.
struct Work {
    title: &'static str,
    workload: String,
    rate: String,
    /// Headings and measures of the further columns.
    others: Vec<(&'static str, String)>,
}

/// Writes the tables and the plot.
pub fn report(results: &str, growth: &str, import: &str, table: &str, plot: &str) {
    let (results, growth, import) = (Results::read(results), Results::read(growth), Results::read(import));
    fs::write(table, tables(&results, &growth, &import)).expect("a table");
    fs::write(plot, plot::svg(&results, &growth)).expect("a plot");
}

/// A figure, short: 412, 8.3 k, 1.24 M.
pub fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => format!("{:.2} M", value / 1e6),
        value if value >= 1e5 => format!("{:.0} k", value / 1e3),
        value if value >= 1e3 => format!("{:.1} k", value / 1e3),
        value if value >= 10.0 || value == 0.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

fn cell(value: Option<f64>) -> String {
    value.map_or_else(|| "–".to_owned(), short)
}

/// A rate, and how many times as fast the library is on SQLite.
fn rate(value: f64, ours: Option<f64>) -> String {
    match ours {
        Some(ours) if value != ours => format!("{} ({:.2}×)", short(value), ours / value),
        _ => short(value),
    }
}

/// The fastest of a kind, with its rate.
pub fn best(results: &Results, kind: Kind, workload: &str, measure: &str) -> Option<(&'static str, f64)> {
    let of_kind = CONTESTANTS.iter().filter(|contestant| contestant.1 == kind);
    let rates = of_kind.filter_map(|(name, ..)| Some((*name, results.median(workload, name, measure)?)));
    rates.max_by(|one, other| one.1.total_cmp(&other.1))
}

fn works(size: u64) -> Vec<Work> {
    let bulk = |title, phase: &str, others: &[(&'static str, &str)]| Work {
        title,
        workload: format!("bulk {size}"),
        rate: format!("{phase} users/s"),
        others: others.iter().map(|(title, measure)| (*title, (*measure).to_owned())).collect(),
    };
    let cost = |phase: &str| {
        [
            ("bytes written a user", format!("{phase} bytes/user")),
            ("syncs a batch", format!("{phase} syncs/batch")),
        ]
    };
    let with_cost = |title, phase: &str| Work { others: cost(phase).to_vec(), ..bulk(title, phase, &[]) };
    let mut insert = with_cost("Insert", "insert");
    insert.others.extend([("file, MB", "file MB".to_owned()), ("peak RSS, MB", "peak MB".to_owned())]);
    vec![insert, with_cost("Change", "change"), with_cost("Retry: the change once more", "retry")]
}

fn single_works() -> Vec<Work> {
    let singles = |title, tasks| Work {
        title,
        workload: format!("{tasks} tasks"),
        rate: "upserts/s".to_owned(),
        others: [("p50 ms", "p50 ms"), ("p99 ms", "p99 ms"), ("upserts a sync", "upserts/sync")]
            .map(|(title, measure)| (title, measure.to_owned()))
            .to_vec(),
    };
    let plain = |title, workload: &str, rate: &str| Work {
        title,
        workload: workload.to_owned(),
        rate: rate.to_owned(),
        others: Vec::new(),
    };
    vec![
        singles("Single users, 64 tasks", 64),
        singles("Single users, 1 task", 1),
        plain("Deep queue: every user a task, all at once", "deep queue", "upserts/s"),
        plain("`get`, 8 tasks, 100,000 profiles", "get 8", "reads/s"),
        plain("`get`, 1 task", "get 1", "reads/s"),
        plain("`list`, 1,000 a page", "list", "profiles/s"),
    ]
}

fn tables(results: &Results, growth: &Results, import: &Results) -> String {
    let mut text = "# Side by side\n\nWritten by `benches/rivals/run`, which says how. A rate is the median of its \
                    rounds. The ratio beside it says how many times as fast profile-store on SQLite was in the same \
                    run.\n\n"
        .to_owned();
    writeln!(text, "Machine: {}\n", results.machine).expect("text");
    overview(&mut text, results);
    writeln!(text, "## Aims\n\n{}", targets::table(results, growth)).expect("text");
    for size in results.sizes("bulk") {
        writeln!(text, "# {size} profiles in batches of 1,000\n").expect("text");
        works(size).iter().for_each(|work| compared(&mut text, results, work));
    }
    text.push_str("# Single users, and reading\n\n");
    single_works().iter().for_each(|work| compared(&mut text, results, work));
    text.push_str("# Beside other things\n\n");
    for (title, workload) in [
        ("Admission and report of 10,000 users, the body given away or borrowed", "admission"),
        ("In memory, body to response, 1 task", "memory 1"),
        ("In memory, body to response, 2 tasks", "memory 2"),
    ] {
        without_engine(&mut text, results, title, workload);
    }
    waits(&mut text, results);
    bodies(&mut text, results);
    grown(&mut text, growth);
    for size in growth.sizes("bulk") {
        writeln!(text, "# {size} profiles in batches of 1,000\n").expect("text");
        works(size).iter().for_each(|work| compared(&mut text, growth, work));
    }
    imported(&mut text, import);
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Ours on each engine, the best peer, and the bare engines.
fn overview(text: &mut String, results: &Results) {
    text.push_str(
        "| a second | SQLite | fjall | sled | best peer | SQLite's bare loop | fjall's bare loop |\n\
         |---|---|---|---|---|---|---|\n",
    );
    let Some(size) = results.sizes("bulk").pop() else { return };
    for Work { title, workload, rate, .. } in works(size).into_iter().chain(single_works()) {
        let get = |name| cell(results.median(&workload, name, &rate));
        let peer = match best(results, Peer, &workload, &rate) {
            Some((name, value)) => format!("{} ({name})", short(value)),
            None => cell(None),
        };
        let ours = ["profile-store", "profile-store-fjall", "profile-store-sled"].map(get).join(" | ");
        writeln!(text, "| {title} | {ours} | {peer} | {} | {} |", get("bare"), get("fjall")).expect("text");
    }
    text.push('\n');
}

fn compared(text: &mut String, results: &Results, work: &Work) {
    let Work { title, workload, rate: measure, others } = work;
    let heads: String = others.iter().map(|(head, _)| format!(" {head} |")).collect();
    writeln!(text, "## {title}\n\n| | {measure} |{heads}\n|---|---|{}", "---|".repeat(others.len()))
        .expect("text");
    let ours = results.median(workload, "profile-store", measure);
    let peer = best(results, Peer, workload, measure);
    for (name, _, title) in CONTESTANTS {
        let Some(value) = results.median(workload, name, measure) else { continue };
        let note = if peer.is_some_and(|peer| peer.0 == *name) { ", the best peer" } else { "" };
        let cells =
            others.iter().map(|(_, measure)| format!(" {} |", cell(results.median(workload, name, measure))));
        writeln!(text, "| {title}{note} | {} |{}", rate(value, ours), cells.collect::<String>())
            .expect("text");
    }
    text.push('\n');
}

fn without_engine(text: &mut String, results: &Results, title: &str, workload: &str) {
    let names = [
        ("profile-store", "**profile-store**"),
        ("profile-store-borrowed", "**profile-store**, body borrowed"),
        ("serde-json-map", "`serde_json` into `Map<String, Value>`"),
        ("ignored-any", "`serde_json` into `IgnoredAny`"),
        ("dashmap", "`DashMap<(String, String), Value>`"),
        ("langgraph-memory", "LangGraph `InMemoryStore` (Python)"),
    ];
    writeln!(text, "## {title}\n\n| | users/s |\n|---|---|").expect("text");
    let ours = results.median(workload, "profile-store", "users/s");
    for (name, title) in names {
        if let Some(value) = results.median(workload, name, "users/s") {
            writeln!(text, "| {title} | {} |", rate(value, ours)).expect("text");
        }
    }
    text.push('\n');
}

fn waits(text: &mut String, results: &Results) {
    text.push_str(
        "## Single users of 8 tasks beside batches of 10,000, ms\n\n\
         | | alone: p50, p99, longest | beside batches | the batches | longest wait / longest batch |\n\
         |---|---|---|---|---|\n",
    );
    for (name, _, title) in CONTESTANTS {
        let get = |measure: &str| results.median("fairness", name, measure);
        let Some(ratio) = get("longest wait / longest batch") else { continue };
        let times = ["alone", "beside", "batch"].map(|what| {
            ["p50", "p99", "longest"].map(|part| cell(get(&format!("{what} {part} ms")))).join(", ")
        });
        writeln!(text, "| {title} | {} | {ratio:.2} |", times.join(" | ")).expect("text");
    }
    text.push('\n');
}

fn bodies(text: &mut String, results: &Results) {
    text.push_str(
        "## Memory while one large body is answered\n\n\
         | users | store | body, MB | peak of the whole process, MB | peak / body |\n|---|---|---|---|---|\n",
    );
    for users in [10_000, 100_000] {
        let workload = &format!("body {users} users");
        for (store, title) in [
            ("nowhere", "none: admission and report"),
            ("memory", "memory"),
            ("sqlite", "SQLite"),
            ("fjall", "fjall"),
            ("sled", "sled"),
        ] {
            let get = |measure: &str| cell(results.median(workload, store, measure));
            let (body, peak, ratio) = (get("body MB"), get("peak MB"), get("peak / body"));
            writeln!(text, "| {users} | {title} | {body} | {peak} | {ratio} |").expect("text");
        }
    }
    text.push('\n');
}

/// The stores whose growth is measured.
pub const GROWN: &[(&str, &str)] = &[
    ("profile-store", "profile-store, SQLite"),
    ("profile-store-fjall", "profile-store, fjall"),
    ("profile-store-sled", "profile-store, sled"),
    ("expert", "rusqlite, expert"),
];

fn grown(text: &mut String, growth: &Results) {
    let sizes = growth.sizes("growth");
    let Some(largest) = sizes.last() else { return };
    let heads: Vec<_> = GROWN.iter().map(|(_, title)| *title).collect();
    writeln!(
        text,
        "# Growing to {largest} profiles with random ids, batches of 1,000\n\nMachine: {}\n\n\
         Inserts/s, changes/s of random profiles, file MB, resident MB:\n\n| profiles | {} |\n|---|{}",
        growth.machine,
        heads.join(" | "),
        "---|".repeat(heads.len()),
    )
    .expect("text");
    for size in
        sizes.iter().filter(|size| [250_000, 500_000].contains(*size) || size.is_multiple_of(1_000_000))
    {
        let workload = &format!("growth {size}");
        let cells: Vec<_> = GROWN
            .iter()
            .map(|(name, _)| {
                let figures = ["insert users/s", "change users/s", "file MB", "resident MB"];
                match growth.median(workload, name, figures[0]) {
                    Some(_) => figures.map(|figure| cell(growth.median(workload, name, figure))).join(", "),
                    None => "–".to_owned(),
                }
            })
            .collect();
        writeln!(text, "| {size} | {} |", cells.join(" | ")).expect("text");
    }
    text.push('\n');
}

fn imported(text: &mut String, import: &Results) {
    let get = |measure: &str| import.median("import", "sqlite", measure);
    let Some(input) = get("input GB") else { return };
    writeln!(
        text,
        "# NDJSON through `profiles` into SQLite\n\nMachine: {}\n\n\
         {input:.2} GB by a pipe, {} users/s, {} MB/s. Resident memory, MB:\n\n| after | resident |\n|---|---|",
        import.machine,
        cell(get("users/s")),
        cell(get("input MB/s")),
    )
    .expect("text");
    let mut seconds: Vec<(u64, f64)> = import
        .starting("import", "resident MB after ")
        .into_iter()
        .filter_map(|(_, measure, value)| Some((measure.split(' ').nth(3)?.parse().ok()?, value)))
        .collect();
    seconds.sort_by_key(|(second, _)| *second);
    let step = seconds.len().div_ceil(8).max(1);
    for (second, value) in seconds.iter().step_by(step) {
        writeln!(text, "| {second} s | {value:.1} |").expect("text");
    }
    writeln!(text, "| peak | {} |\n", cell(get("peak MB"))).expect("text");
}

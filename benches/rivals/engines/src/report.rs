//! The table: medians, and how they stand to the library's.

use std::fmt::Write as _;
use std::fs;

use crate::plot;
use crate::results::Results;
use crate::targets;

/// The meaning of the names in the results, in the order of the table.
pub const CONTESTANTS: &[(&str, &str)] = &[
    ("profile-store", "**profile-store**, SQLite"),
    ("profile-store-body", "**profile-store**, SQLite, from body to response"),
    ("bare", "bare engine loop: same schema and settings, no checksum, no outcomes"),
    ("expert", "rusqlite, expert"),
    ("tokio-rusqlite", "tokio-rusqlite"),
    ("sqlx", "sqlx, multi-row upsert"),
    ("spawn-blocking", "`Mutex<Connection>` + `spawn_blocking`"),
    ("langgraph-sqlite", "LangGraph `SqliteStore` (Python)"),
    ("autocommit", "rusqlite, autocommit"),
    ("profile-store-sled", "**profile-store**, sled"),
    ("sled-synced", "sled, batch + flush + fsync"),
    ("sled-flush", "sled, batch + flush (not durable)"),
    ("opendal", "OpenDAL on sled (never flushes: not durable)"),
];

/// Writes the table and the plot.
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

/// A rate, and how many times as fast the library is.
fn rate(value: Option<f64>, ours: Option<f64>) -> String {
    match (value, ours) {
        (Some(value), Some(ours)) if value == ours => short(value),
        (Some(value), Some(ours)) => format!("{} ({:.2}×)", short(value), ours / value),
        (value, _) => cell(value),
    }
}

fn tables(results: &Results, growth: &Results, import: &Results) -> String {
    let mut text =
        "# Side by side\n\nWritten by `benches/rivals/run`, which says how. A rate is the median of its \
                    rounds; behind it stands how many times as fast profile-store on SQLite was, rows in, \
                    in the same run.\n\n"
            .to_owned();
    writeln!(text, "Machine: {}\n", results.machine).expect("text");
    overview(&mut text, results);
    writeln!(text, "## Targets\n\n{}", targets::table(results, growth)).expect("text");
    for size in results.sizes("bulk") {
        bulk(&mut text, results, size);
    }
    singles(&mut text, results);
    for (title, workload, measure) in [
        ("`get`, 8 tasks or threads, of 100,000", "get", "reads/s"),
        ("`get_many` of 100", "get_many", "profiles/s"),
        ("`list`, 1,000 a page", "list", "profiles/s"),
        ("Admission and report of 10,000 users, the body given away or borrowed", "admission", "users/s"),
        ("In memory, body to response, 1 task", "memory 1", "users/s"),
        ("In memory, body to response, 2 tasks", "memory 2", "users/s"),
    ] {
        compared(&mut text, results, title, workload, measure);
    }
    waits(&mut text, results);
    bodies(&mut text, results);
    grown(&mut text, growth);
    for size in growth.sizes("bulk") {
        bulk(&mut text, growth, size);
    }
    imported(&mut text, import);
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// The overview: the first table of the report.
fn overview(text: &mut String, results: &Results) {
    text.push_str(
        "| users/s | insert | change | retry | single users, 64 tasks | bytes written a user | syncs a batch |\n\
         |---|---|---|---|---|---|---|\n",
    );
    for (name, title) in CONTESTANTS {
        let bulk = |measure: &str| {
            let sizes = results.sizes("bulk").into_iter().rev();
            sizes.into_iter().find_map(|size| results.median(&format!("bulk {size}"), name, measure))
        };
        let cells = ["insert users/s", "change users/s", "retry users/s"]
            .map(|measure| rate(bulk(measure), results.median("bulk 100000", "profile-store", measure)));
        let upserts = |name| results.median("64 tasks", name, "upserts/s");
        let singles = rate(upserts(name), upserts("profile-store"));
        let written = bulk("insert bytes/user")
            .zip(bulk("change bytes/user").zip(bulk("close bytes/user")))
            .map(|(insert, (change, close))| (insert + change + close) / 2.0);
        let (written, syncs) = (cell(written), cell(bulk("insert syncs/batch")));
        writeln!(text, "| {title} | {} | {singles} | {written} | {syncs} |", cells.join(" | "))
            .expect("text");
    }
    text.push('\n');
}

fn bulk(text: &mut String, results: &Results, size: u64) {
    let workload = &format!("bulk {size}");
    let rows: Vec<_> = CONTESTANTS
        .iter()
        .filter(|(name, _)| results.median(workload, name, "insert users/s").is_some())
        .collect();
    if rows.len() < 2 && size < 10_000 {
        // A contestant too slow for the others' number: it stands in their table.
        return;
    }
    writeln!(
        text,
        "## {size} profiles in batches of 1,000, users/s\n\n\
         | | insert | change | retry | bytes written a user, insert / change | syncs a batch | bytes, syncs of the retry | file, peak memory, MB |\n\
         |---|---|---|---|---|---|---|---|"
    )
    .expect("text");
    for (name, title) in CONTESTANTS {
        // Slow ones are measured on fewer profiles.
        let Some(at) = std::iter::once(size)
            .chain(results.sizes("bulk").into_iter().filter(|other| *other < 10_000 && size == 100_000))
            .map(|size| format!("bulk {size}"))
            .find(|at| results.median(at, name, "insert users/s").is_some())
        else {
            continue;
        };
        let get = |measure: &str| results.median(&at, name, measure);
        let phase = |phase: &str| {
            let measure = format!("{phase} users/s");
            rate(get(&measure), results.median(workload, "profile-store", &measure))
        };
        writeln!(
            text,
            "| {title} | {} | {} | {} | {} / {} | {} | {}, {} | {}, {} |",
            phase("insert"),
            phase("change"),
            phase("retry"),
            cell(get("insert bytes/user")),
            cell(get("change bytes/user")),
            cell(get("insert syncs/batch")),
            cell(get("retry bytes/user")),
            cell(get("retry syncs/batch")),
            cell(get("file MB")),
            cell(get("peak MB")),
        )
        .expect("text");
    }
    text.push('\n');
}

fn singles(text: &mut String, results: &Results) {
    for tasks in [64, 1] {
        let workload = &format!("{tasks} tasks");
        writeln!(
            text,
            "## Single users, {tasks} task{}\n\n\
             | | upserts/s | p50 ms | p99 ms | p99 / p50 | upserts a sync |\n|---|---|---|---|---|---|",
            if tasks == 1 { "" } else { "s" }
        )
        .expect("text");
        for (name, title) in CONTESTANTS {
            let get = |measure: &str| results.median(workload, name, measure);
            let Some(upserts) = get("upserts/s") else { continue };
            let (p50, p99) = (get("p50 ms"), get("p99 ms"));
            writeln!(
                text,
                "| {title} | {} | {} | {} | {} | {} |",
                rate(Some(upserts), results.median(workload, "profile-store", "upserts/s")),
                cell(p50),
                cell(p99),
                cell(p50.zip(p99).map(|(p50, p99)| p99 / p50)),
                cell(get("upserts/sync").filter(|count| *count > 0.0)),
            )
            .expect("text");
        }
        text.push('\n');
    }
}

fn compared(text: &mut String, results: &Results, title: &str, workload: &str, measure: &str) {
    let names = [
        ("profile-store", "**profile-store**"),
        ("profile-store-borrowed", "**profile-store**, body borrowed"),
        ("bare", "bare engine, as many threads"),
        ("bare-one-thread", "bare engine, one thread"),
        ("serde-json-map", "`serde_json` into `Map<String, Value>`"),
        ("ignored-any", "`serde_json` into `IgnoredAny`"),
        ("dashmap", "`DashMap<(String, String), Value>`"),
        ("langgraph-memory", "LangGraph `InMemoryStore` (Python)"),
    ];
    writeln!(text, "## {title}\n\n| | {measure} |\n|---|---|").expect("text");
    let ours = results.median(workload, "profile-store", measure);
    for (name, title) in names {
        if let Some(value) = results.median(workload, name, measure) {
            writeln!(text, "| {title} | {} |", rate(Some(value), ours)).expect("text");
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
    for (name, title) in [("profile-store", "SQLite"), ("profile-store-sled", "sled")] {
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
            ("sled", "sled"),
        ] {
            let get = |measure: &str| cell(results.median(workload, store, measure));
            let (body, peak, ratio) = (get("body MB"), get("peak MB"), get("peak / body"));
            writeln!(text, "| {users} | {title} | {body} | {peak} | {ratio} |").expect("text");
        }
    }
    text.push('\n');
}

fn grown(text: &mut String, growth: &Results) {
    let sizes = growth.sizes("growth");
    let Some(largest) = sizes.last() else { return };
    writeln!(
        text,
        "## Growing to {largest} profiles with random ids, batches of 1,000\n\nMachine: {}\n\n\
         Both at the same time. Inserts/s, file MB, resident MB:\n\n\
         | profiles | **profile-store** | rusqlite, expert |\n|---|---|---|",
        growth.machine
    )
    .expect("text");
    for size in
        sizes.iter().filter(|size| [250_000, 500_000].contains(*size) || size.is_multiple_of(1_000_000))
    {
        let workload = &format!("growth {size}");
        let cells = ["profile-store", "expert"].map(|name| {
            let get = |measure: &str| cell(growth.median(workload, name, measure));
            match growth.median(workload, name, "insert users/s") {
                Some(_) => format!("{}, {}, {}", get("insert users/s"), get("file MB"), get("resident MB")),
                None => "not reached".to_owned(),
            }
        });
        writeln!(text, "| {size} | {} |", cells.join(" | ")).expect("text");
    }
    text.push('\n');
}

fn imported(text: &mut String, import: &Results) {
    let get = |measure: &str| import.median("import", "sqlite", measure);
    let Some(input) = get("input GB") else { return };
    writeln!(
        text,
        "## NDJSON through `profiles` into SQLite\n\nMachine: {}\n\n\
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

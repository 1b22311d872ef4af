//! The recorded figures, and how much more is tolerated.

use std::collections::BTreeMap;
use std::fmt;
use std::process::{Command, ExitCode};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/guard/recorded.txt");

/// Tolerated above the record, in percent, with the compiler that it was made with.
const SAME_COMPILER: f64 = 5.0;
/// With another one.
const OTHER_COMPILER: f64 = 25.0;
/// For SQLite's writes and bytes, which repeat exactly; any more than 0 is worse than 0.
const SQLITE_FILES: f64 = 2.0;
/// For sled, which writes by itself when it sees fit.
const SLED_FILES: f64 = 25.0;
/// Bytes that sled may have left to write at any moment, its snapshot for example. A retry must write none.
const SLED_BYTES: u64 = 16 << 10;

/// Figures by `work measure`, and the compiler that the work was built with.
#[derive(Debug, Default)]
pub struct Figures(BTreeMap<String, u64>);

impl Figures {
    pub fn set(&mut self, work: &str, measure: &str, value: u64) {
        self.0.insert(format!("{work} {measure}"), value);
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|(name, value)| writeln!(f, "{name} {value}"))
    }
}

fn compiler() -> String {
    let cargo = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let output = Command::new(cargo).arg("--version").output().expect("the compiler's version");
    String::from_utf8(output.stdout).expect("a version").trim().to_owned()
}

pub fn record(figures: &Figures) {
    let head =
        "# What fixed work costs; `cargo bench --all-features --bench guard -- --record` writes this file.\n";
    std::fs::write(FILE, format!("{head}# {}\n{figures}", compiler())).expect("recorded");
    print!("{figures}");
}

/// Compares with the record, and reports loudly what costs more.
pub fn check(figures: &Figures) -> ExitCode {
    let recorded = std::fs::read_to_string(FILE).expect("benches/guard/recorded.txt");
    let compiler = compiler();
    let instructions = if recorded.lines().any(|line| line.strip_prefix("# ") == Some(&compiler)) {
        SAME_COMPILER
    } else {
        println!(
            "!! recorded with another compiler than {compiler}: record anew. Tolerating {OTHER_COMPILER} %."
        );
        OTHER_COMPILER
    };
    let recorded: BTreeMap<&str, u64> = recorded
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.rsplit_once(' ').expect("a name and a figure"))
        .map(|(name, value)| (name, value.parse().expect("a number")))
        .collect();
    let mut failures = 0;
    for name in recorded.keys().copied().filter(|name| !figures.0.contains_key(*name)) {
        println!("FAIL {name}: recorded, but not measured any more");
        failures += 1;
    }
    for (name, &value) in &figures.0 {
        let Some(&expected) = recorded.get(&**name) else {
            println!("FAIL {name}: {value}, not recorded");
            failures += 1;
            continue;
        };
        let tolerated = match name.rsplit_once(' ') {
            Some((_, "instructions")) => instructions,
            Some((_, "syncs")) => 0.0,
            _ if name.starts_with("sled") => SLED_FILES,
            _ => SQLITE_FILES,
        };
        let percent = 100.0 * (value as f64 - expected as f64) / (expected as f64).max(1.0);
        let slack =
            if name.starts_with("sled") && name.ends_with("bytes") && expected > 0 { SLED_BYTES } else { 0 };
        let verdict = if percent > tolerated && value > expected + slack {
            failures += 1;
            "FAIL"
        } else if percent < -tolerated {
            "better, record anew:"
        } else {
            "ok"
        };
        println!("{verdict} {name}: {value}, recorded {expected}, {percent:+.2} % (tolerated {tolerated} %)");
    }
    if failures == 0 {
        return ExitCode::SUCCESS;
    }
    println!(
        "{failures} figures are worse than recorded. If that is meant, record anew and say why in the commit."
    );
    ExitCode::FAILURE
}

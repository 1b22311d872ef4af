//! Guards speed by what noise can't touch: instructions and file operations for fixed work.
//!
//! ```sh
//! cargo bench --all-features --bench guard              # measures and prints
//! cargo bench --all-features --bench guard -- --check   # fails where it costs more than recorded.txt says
//! cargo bench --all-features --bench guard -- --record  # writes recorded.txt again
//! ```
//!
//! Needs valgrind. Instructions of one build, input and processor repeat to a fraction of a percent,
//! whatever else the machine does; another compiler is another build, so that more is tolerated then.

mod files;
mod instructions;
#[path = "../nowhere.rs"]
mod nowhere;
mod record;
mod work;

use std::process::ExitCode;

use record::{Figures, check, record};

fn main() -> ExitCode {
    // Cargo adds `--bench`.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match *arguments {
        // Valgrind runs this.
        ["--work", name, directory] => {
            work::find(name).run(directory.as_ref());
            ExitCode::SUCCESS
        }
        [] => {
            print!("{}", measure());
            ExitCode::SUCCESS
        }
        ["--record"] => {
            record(&measure());
            ExitCode::SUCCESS
        }
        ["--check"] => check(&measure()),
        _ => {
            eprintln!("usage: guard [--check | --record]");
            ExitCode::FAILURE
        }
    }
}

fn measure() -> Figures {
    let mut figures = Figures::default();
    instructions::measure(&mut figures);
    files::measure(&mut figures);
    figures
}

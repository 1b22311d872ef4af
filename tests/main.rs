//! The integration tests, one binary. They need the features `cli`, `fjall`, `sled` and `conformance`: without, cargo leaves
//! this binary out.

mod backends;
mod backup;
mod clauses;
mod cli;
mod counter;
mod damage;
mod erasure;
mod fixtures;
mod gurus;
mod house;
mod key_value;
mod meanwhile;
mod observing;
mod open;
mod outside;
mod panics;
mod retries;
mod runtimes;
mod serde;
mod skipping;
mod surroundings;
mod teeth;
mod waiting;
mod wire;

/// A file under `tests/` that is no module of this binary would never run.
#[test]
fn no_test_file_is_forgotten() {
    let here = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let main = std::fs::read_to_string(here.join("main.rs")).unwrap();
    for entry in std::fs::read_dir(here).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if let Some(module) = name.strip_suffix(".rs").filter(|module| *module != "main") {
            assert!(
                main.contains(&format!("\nmod {module};\n")),
                "tests/{name} is no module of tests/main.rs"
            );
        }
    }
}

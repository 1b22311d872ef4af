//! The mutants, as `catalogue/*.toml` lists them.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    mutant: Vec<Mutant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mutant {
    /// Unique, in words that say what is broken; a comment beside it tells the clause.
    pub name: String,
    /// From the root of the repository.
    pub file: String,
    /// Stands once in the file.
    pub find: String,
    /// `MUTANT` in it is the condition that is true while the mutant is switched on.
    pub replace: String,
    /// Tests that are meant to notice, the quickest first: a binary (`lib`, `suite`, `postgres`,
    /// `reliability`) and a word that the tests' names contain.
    #[serde(default)]
    pub noticed_by: Vec<String>,
    /// Why no test can notice it.
    pub equivalent: Option<String>,
    /// Why it is not dangerous that no test notices it.
    pub survives: Option<String>,
    #[serde(default)]
    pub sample: bool,
}

impl Mutant {
    pub fn is_meant(&self, words: &[String]) -> bool {
        match words {
            [] => true,
            [word] if word == "--sample" => self.sample,
            words => words.iter().any(|word| self.name.contains(word)),
        }
    }
}

pub fn read() -> Vec<Mutant> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("catalogue");
    let mut files: Vec<_> =
        fs::read_dir(directory).expect("the catalogue").map(|file| file.expect("a file").path()).collect();
    files.sort();
    let mut names = BTreeSet::new();
    let mut mutants = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).expect("a text");
        let File { mutant } =
            toml::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        for mutant in mutant {
            let Mutant { name, replace, noticed_by, equivalent, .. } = &mutant;
            assert!(names.insert(name.clone()), "{name} stands twice");
            assert!(replace.contains("MUTANT"), "{name}: the replacement has no switch");
            assert!(
                noticed_by.is_empty() == equivalent.is_some(),
                "{name}: either tests notice it, or it is equivalent"
            );
            mutants.push(mutant);
        }
    }
    mutants
}

//! Figures as the programs print them, and their medians.

use std::collections::BTreeMap;
use std::fs;

/// Every figure of a run, by workload, contestant and measure.
#[derive(Debug, Default)]
pub struct Results {
    /// The run's description of its machine.
    pub machine: String,
    figures: BTreeMap<(String, String, String), Vec<f64>>,
}

impl Results {
    /// Lines `workload,contestant,measure,value`; those that start with `#` describe the machine. No file is
    /// as good as an empty one: a part of the measurements may not have been made.
    ///
    /// # Panics
    /// If a line is none of these.
    pub fn read(path: &str) -> Self {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text.expect("readable results"),
        };
        let mut results = Self::default();
        for line in text.lines() {
            if let Some(machine) = line.strip_prefix("# ") {
                machine.clone_into(&mut results.machine);
                continue;
            }
            let fields: Vec<_> = line.split(',').collect();
            let [workload, contestant, measure, value] = *fields else { panic!("no figure: {line}") };
            let key = (workload.to_owned(), contestant.to_owned(), measure.to_owned());
            results.figures.entry(key).or_default().push(value.parse().expect("a number"));
        }
        results
    }

    /// The median of the rounds; `None` where it was not measured.
    pub fn median(&self, workload: &str, contestant: &str, measure: &str) -> Option<f64> {
        let key = (workload.to_owned(), contestant.to_owned(), measure.to_owned());
        let mut values = self.figures.get(&key)?.clone();
        values.sort_unstable_by(f64::total_cmp);
        Some(f64::midpoint(values[(values.len() - 1) / 2], values[values.len() / 2]))
    }

    /// The workloads `kind N`, by N, ascending.
    pub fn sizes(&self, kind: &str) -> Vec<u64> {
        let size = |workload: &String| workload.strip_prefix(kind)?.trim().parse().ok();
        let mut sizes: Vec<u64> = self.figures.keys().filter_map(|(workload, ..)| size(workload)).collect();
        sizes.sort_unstable();
        sizes.dedup();
        sizes
    }

    /// Measures of a contestant that start so, with their medians.
    pub fn starting(&self, workload: &str, measure: &str) -> Vec<(String, String, f64)> {
        let keys = self.figures.keys().filter(|key| key.0 == workload && key.2.starts_with(measure));
        keys.filter_map(|key| Some((key.1.clone(), key.2.clone(), self.median(&key.0, &key.1, &key.2)?)))
            .collect()
    }
}

//! Contestants of one program, in turns, so that whatever else the machine does meets all of them.

use std::time::{Duration, Instant};

use profile_store_meter::table::line;

/// A contestant's name, and a run of it that returns how many units it has done in which time.
pub type Contestant<'a> = (&'a str, &'a mut dyn FnMut() -> (u64, Duration));

/// Prints each one's rate in each round.
pub fn rounds(workload: &str, measure: &str, count: usize, contestants: &mut [Contestant<'_>]) {
    for _ in 0..count {
        for (name, run) in contestants.iter_mut() {
            let (units, time) = run();
            line(workload, name, measure, units as f64 / time.as_secs_f64());
        }
    }
}

/// Repeats `run`, which returns how many units it has done, for `least` or longer.
pub fn repeat(least: Duration, mut run: impl FnMut() -> u64) -> (u64, Duration) {
    let start = Instant::now();
    let mut units = 0;
    loop {
        units += run();
        let time = start.elapsed();
        if time >= least {
            return (units, time);
        }
    }
}

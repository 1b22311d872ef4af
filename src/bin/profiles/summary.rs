//! The summary of an upsert.

use std::fmt;
use std::time::{Duration, Instant};

use profile_store::Counts;

pub struct Summary {
    pub counts: Counts,
    started: Instant,
}

impl Summary {
    pub fn new() -> Self {
        Self { counts: Counts::default(), started: Instant::now() }
    }
}

impl fmt::Display for Summary {
    /// With the rate once it means something.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts { created, updated, unchanged, failed, .. } = self.counts;
        let stored = created + updated + unchanged;
        write!(f, "{created} created, {updated} updated, {unchanged} unchanged, {failed} failed")?;
        let elapsed = self.started.elapsed();
        if elapsed >= Duration::from_secs(1) {
            let seconds = elapsed.as_secs_f64();
            write!(f, "; {:.0} profiles a second for {seconds:.1} s", stored as f64 / seconds)?;
        }
        Ok(())
    }
}

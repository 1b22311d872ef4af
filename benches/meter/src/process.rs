//! A process's share of the machine's memory, as Linux reports it.

use std::fs;

/// The resident memory of process `id`, now and at its peak, in bytes; `None` once it has gone.
#[must_use]
pub fn resident(id: &str) -> Option<(u64, u64)> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let kib = |name: &str| -> Option<u64> {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name))?
            .trim()
            .strip_suffix(" kB")?
            .trim()
            .parse()
            .ok()
    };
    Some((kib("VmRSS:")? << 10, kib("VmHWM:")? << 10))
}

/// Resets this process's peak to its present size.
///
/// # Panics
/// If the kernel has no `clear_refs`.
pub fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("the peak can be reset");
}

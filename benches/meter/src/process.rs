//! What a process holds of the machine's memory, as Linux tells it.

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

/// Lets this process's peak begin anew, at what it holds now.
///
/// # Panics
/// Where the kernel has no `clear_refs`.
pub fn forget_peak() {
    fs::write("/proc/self/clear_refs", "5").expect("the peak can be reset");
}

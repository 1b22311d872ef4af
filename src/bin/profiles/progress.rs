//! How far a large input has been read, or a copy has come, shown on a terminal.

use std::fmt::Display;
use std::sync::OnceLock;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; none for small input, and where that is no terminal.
pub struct Progress {
    /// Made when it is to be seen: a bar whose target is replaced leaves the line that it has drawn.
    bar: OnceLock<ProgressBar>,
    length: Option<u64>,
    is_shown: bool,
}

impl Progress {
    /// Input of less is done before a bar could be read.
    const LARGE_BYTES: u64 = 16 << 20;

    /// A bar for an input of this many bytes, if that is known.
    pub fn of_bytes(bytes: Option<u64>, is_shown: bool) -> Self {
        Self { bar: OnceLock::new(), length: bytes, is_shown }
    }

    /// A bar for a number of profiles that is not known yet.
    pub fn of_profiles(is_shown: bool) -> Self {
        let progress = Self::of_bytes(None, is_shown);
        if is_shown {
            progress.bar.get_or_init(|| visible(Some(0), "{wide_bar} {msg}, {per_sec}, {eta} left"));
        }
        progress
    }

    pub fn show(&self, done: u64, total: u64, words: impl Display) {
        if let Some(bar) = self.bar.get() {
            bar.set_length(total.max(done));
            bar.set_message(words.to_string());
            bar.set_position(done);
        }
    }

    /// Takes so many bytes for read.
    pub fn reach(&self, position: u64) {
        if !self.is_shown || position.max(self.length.unwrap_or(0)) < Self::LARGE_BYTES {
            return;
        }
        let bar = self.bar.get_or_init(|| {
            visible(
                self.length,
                match self.length {
                    Some(_) => "{wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left{msg}",
                    None => "{bytes} read, {bytes_per_sec}{msg}",
                },
            )
        });
        bar.set_position(position);
    }

    /// Says something after the figures, at once: more may not come for a while.
    pub fn say(&self, words: impl Display) {
        if let Some(bar) = self.bar.get() {
            bar.set_message(format!(", {words}"));
            bar.force_draw();
        }
    }

    /// Takes the bar away for as long as `print` writes to what may be the same terminal.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        match self.bar.get() {
            Some(bar) => bar.suspend(print),
            None => print(),
        }
    }

    /// Takes the bar away for good, as dropping it does.
    pub fn finish(self) {}
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.get() {
            bar.finish_and_clear();
        }
    }
}

fn visible(length: Option<u64>, template: &str) -> ProgressBar {
    let style = ProgressStyle::with_template(template).expect("the templates are valid");
    ProgressBar::with_draw_target(length, ProgressDrawTarget::stderr()).with_style(style)
}

//! How far a large input has been read, or a copy has come, shown on a terminal.

use std::fmt::Display;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on standard error; invisible for small input, and where that is no terminal.
pub struct Progress(ProgressBar);

impl Progress {
    /// Input of less is done before a bar could be read.
    const LARGE_BYTES: u64 = 16 << 20;

    /// Of an input of this many bytes, where that is known.
    pub fn of_bytes(bytes: Option<u64>) -> Self {
        let template = match bytes {
            Some(_) => "{wide_bar} {bytes}/{total_bytes}, {bytes_per_sec}, {eta} left{msg}",
            None => "{bytes} read, {bytes_per_sec}{msg}",
        };
        let style = ProgressStyle::with_template(template).expect("the templates are valid");
        let progress =
            Self(ProgressBar::with_draw_target(bytes, ProgressDrawTarget::hidden()).with_style(style));
        progress.show_if(bytes.is_some_and(|bytes| bytes >= Self::LARGE_BYTES));
        progress
    }

    /// Of a number of profiles that is not known yet.
    pub fn of_profiles() -> Self {
        let template = "{wide_bar} {msg}, {per_sec}, {eta} left";
        let style = ProgressStyle::with_template(template).expect("the template is valid");
        Self(ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style))
    }

    pub fn show(&self, done: u64, total: u64, words: impl Display) {
        self.0.set_length(total.max(done));
        self.0.set_message(words.to_string());
        self.0.set_position(done);
    }

    pub fn reach(&self, position: u64, failed: u64) {
        let before = self.0.position();
        self.0.set_position(position);
        self.show_if(before < Self::LARGE_BYTES && position >= Self::LARGE_BYTES);
        if failed > 0 {
            self.0.set_message(format!(", {failed} failed"));
        }
    }

    /// Takes the bar away for as long as `print` writes to what may be the same terminal.
    pub fn aside<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    pub fn finish(&self) {
        self.0.finish_and_clear();
    }

    fn show_if(&self, condition: bool) {
        if condition {
            self.0.set_draw_target(ProgressDrawTarget::stderr());
        }
    }
}

//! A progress bar for large input, where somebody watches.

use std::io::{IsTerminal as _, Read};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Input from this size on is worth a bar.
const LARGE: u64 = 8 << 20;

pub struct Progress(ProgressBar);

impl Progress {
    /// For input of so many bytes, if that is known.
    pub fn start(bytes: Option<u64>) -> Self {
        let watched = std::io::stderr().is_terminal();
        let bar = match bytes {
            Some(bytes) if watched && bytes >= LARGE => ProgressBar::new(bytes)
                .with_style(style("{bar:40} {bytes}/{total_bytes} {bytes_per_sec} {eta}")),
            None if watched => {
                ProgressBar::no_length().with_style(style("{spinner} {bytes} {bytes_per_sec}"))
            }
            _ => ProgressBar::with_draw_target(bytes, ProgressDrawTarget::hidden()),
        };
        Self(bar)
    }

    /// The input, its reading shown.
    pub fn watch<R: Read>(&self, input: R) -> impl Read + use<R> {
        self.0.wrap_read(input)
    }

    /// Clears the bar away.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are valid")
}

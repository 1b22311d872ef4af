//! Standard output, and the notices beside it.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use crate::failure::Failure;

/// Standard output, line by line, until nobody reads it any more.
pub struct Output {
    out: BufWriter<StdoutLock<'static>>,
    closed: bool,
}

impl Output {
    pub fn new() -> Self {
        Self { out: BufWriter::new(io::stdout().lock()), closed: false }
    }

    pub fn line(&mut self, text: impl Display) -> Result<(), Failure> {
        self.write(|out| writeln!(out, "{text}"))
    }

    pub fn flush(&mut self) -> Result<(), Failure> {
        self.write(BufWriter::flush)
    }

    /// Whether the reader is gone: further lines go nowhere.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Fails if the reader is gone, for output that is worth nothing in part.
    pub fn must_be_read(&self) -> Result<(), Failure> {
        if self.closed { Err(Failure::CutOff) } else { Ok(()) }
    }

    fn write(
        &mut self,
        write: impl FnOnce(&mut BufWriter<StdoutLock<'static>>) -> io::Result<()>,
    ) -> Result<(), Failure> {
        if self.closed {
            return Ok(());
        }
        match write(&mut self.out) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.closed = true;
                Ok(())
            }
            written => written.map_err(Failure::Output),
        }
    }
}

/// Says something on standard error, which may be closed.
pub fn tell(text: impl Display) {
    let _ = writeln!(io::stderr(), "{text}");
}

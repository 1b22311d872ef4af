//! Standard output, and the notices beside it.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Write};

use crate::failure::Failure;

/// Standard output, line by line, until nobody reads it any more.
pub struct Output {
    out: Buffer,
    closed: bool,
}

type Buffer = BufWriter<Box<dyn Write>>;

/// Standard output without the standard library, to which one that can't be written to is as good as any.
#[cfg(unix)]
fn standard() -> io::Result<Box<dyn Write>> {
    use std::os::fd::AsFd as _;
    Ok(Box::new(std::fs::File::from(io::stdout().as_fd().try_clone_to_owned()?)))
}

/// The standard library translates the text for a console.
#[cfg(not(unix))]
fn standard() -> io::Result<Box<dyn Write>> {
    Ok(Box::new(io::stdout().lock()))
}

impl Output {
    pub fn new() -> Result<Self, Failure> {
        Ok(Self { out: BufWriter::new(standard().map_err(Failure::Output)?), closed: false })
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

    fn write(&mut self, write: impl FnOnce(&mut Buffer) -> io::Result<()>) -> Result<(), Failure> {
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

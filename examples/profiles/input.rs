//! What is read: a file or standard input, as a whole or line by line.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use crate::failure::Failure;

pub struct Input {
    name: String,
    bytes: Option<u64>,
    position: u64,
    reader: Box<dyn BufRead>,
}

/// How the text of a line was read.
#[derive(Clone, Copy)]
pub enum Line {
    Whole,
    /// Over [`Input::MAX_LINE_BYTES`]; only its beginning was kept.
    Overlong,
}

impl Input {
    /// The longest line: eight times the largest memory, for whitespace and keys that are not stored.
    pub const MAX_LINE_BYTES: usize = 8 << 20;

    const BUFFER_BYTES: usize = 256 << 10;

    /// Opens a file, or standard input for `-`.
    pub fn open(path: &Path) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::new("standard input".to_owned(), None, io::stdin().lock()));
        }
        let name = path.display().to_string();
        match Self::open_file(path) {
            Ok((file, bytes)) => Ok(Self::new(name, bytes, file)),
            Err(source) => Err(Failure::Input { name, source }),
        }
    }

    fn new(name: String, bytes: Option<u64>, source: impl Read + 'static) -> Self {
        let reader = Box::new(BufReader::with_capacity(Self::BUFFER_BYTES, source));
        Self { name, bytes, position: 0, reader }
    }

    fn open_file(path: &Path) -> io::Result<(File, Option<u64>)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok((file, metadata.is_file().then_some(metadata.len())))
    }

    /// How much there is to read, where that is known.
    pub fn bytes(&self) -> Option<u64> {
        self.bytes
    }

    /// How much of it the lines so far have taken.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn read_all(mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        self.reader.read_to_end(&mut body).map_err(|source| Failure::Input { name: self.name, source })?;
        Ok(body)
    }

    /// Reads the next line into `text`, without its newline; `None` at the end. Holds no more of it
    /// than [`MAX_LINE_BYTES`](Self::MAX_LINE_BYTES).
    pub fn read_line(&mut self, text: &mut Vec<u8>) -> Result<Option<Line>, Failure> {
        text.clear();
        self.read_bounded_line(text).map_err(|source| Failure::Input { name: self.name.clone(), source })
    }

    fn read_bounded_line(&mut self, text: &mut Vec<u8>) -> io::Result<Option<Line>> {
        let mut bounded = (&mut self.reader).take(Self::MAX_LINE_BYTES as u64 + 1);
        let mut read = bounded.read_until(b'\n', text)?;
        let mut line = (read > 0).then_some(Line::Whole);
        if text.pop_if(|last| *last == b'\n').is_none() && read > Self::MAX_LINE_BYTES {
            read += self.reader.skip_until(b'\n')?;
            line = Some(Line::Overlong);
        }
        self.position += read as u64;
        Ok(line)
    }
}

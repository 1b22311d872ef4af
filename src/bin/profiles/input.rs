//! What is read: a file or standard input, as a whole or piece by piece.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crate::failure::Failure;

pub struct Input {
    name: String,
    bytes: Option<u64>,
    position: u64,
    source: Box<dyn Read>,
    buffer: Vec<u8>,
}

impl Input {
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
        Self { name, bytes, position: 0, source: Box::new(source), buffer: vec![0; Self::BUFFER_BYTES] }
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

    /// How much of it has been read.
    pub fn position(&self) -> u64 {
        self.position
    }

    pub fn read_all(mut self) -> Result<Vec<u8>, Failure> {
        let mut body = Vec::new();
        self.source.read_to_end(&mut body).map_err(|source| Failure::Input { name: self.name, source })?;
        Ok(body)
    }

    /// The next bytes; `None` at the end.
    pub fn read_piece(&mut self) -> Result<Option<&[u8]>, Failure> {
        let read = loop {
            match self.source.read(&mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let read = read.map_err(|source| Failure::Input { name: self.name.clone(), source })?;
        self.position += read as u64;
        Ok((read > 0).then_some(&self.buffer[..read]))
    }
}

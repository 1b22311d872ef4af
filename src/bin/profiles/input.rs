//! The input: a file or standard input, as a whole or piece by piece.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;

use crate::failure::Failure;
use crate::progress::Progress;

pub struct Input {
    name: String,
    position: u64,
    /// How much of it has been read.
    pub progress: Progress,
    source: Box<dyn Read>,
    buffer: Vec<u8>,
    /// The bytes read ahead.
    head: Vec<u8>,
}

/// The mark that distinguishes a user of NDJSON from a request.
#[derive(Deserialize)]
struct Members {
    external_user_id: Option<IgnoredAny>,
    users: Option<IgnoredAny>,
}

impl Input {
    const BUFFER_BYTES: usize = 256 << 10;

    /// Opens a file, or standard input for `-`.
    pub fn open(path: &Path, has_bar: bool) -> Result<Self, Failure> {
        if path == Path::new("-") {
            return Ok(Self::new(
                "standard input".to_owned(),
                Progress::of_bytes(None, has_bar),
                io::stdin().lock(),
            ));
        }
        let name = path.display().to_string();
        match Self::open_file(path) {
            Ok((file, bytes)) => Ok(Self::new(name, Progress::of_bytes(bytes, has_bar), file)),
            Err(source) => Err(Failure::Input { name, source }),
        }
    }

    fn new(name: String, progress: Progress, source: impl Read + 'static) -> Self {
        let (source, buffer) = (Box::new(source), vec![0; Self::BUFFER_BYTES]);
        Self { name, position: 0, progress, source, buffer, head: Vec::new() }
    }

    fn open_file(path: &Path) -> io::Result<(File, Option<u64>)> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        Ok((file, metadata.is_file().then_some(metadata.len())))
    }

    /// Reads as far as the first line that is not blank, and refuses it if it is a user: the lines are NDJSON then.
    pub fn refuse_ndjson(&mut self) -> Result<(), Failure> {
        let (mut head, mut blank, mut searched) = (Vec::new(), 0, 0);
        let line = loop {
            if blank == searched {
                blank += head[blank..].iter().take_while(|byte| u8::is_ascii_whitespace(byte)).count();
                searched = blank;
            }
            if let Some(end) = head[searched..].iter().position(|byte| *byte == b'\n') {
                break &head[blank..searched + end];
            }
            searched = head.len();
            match self.read_piece()? {
                Some(piece) => head.extend_from_slice(piece),
                None => break &head[blank..],
            }
        };
        let is_user = serde_json::from_slice(line)
            .is_ok_and(|members: Members| members.external_user_id.is_some() && members.users.is_none());
        self.head = head;
        if is_user { Err(Failure::Ndjson { name: self.name.clone() }) } else { Ok(()) }
    }

    /// All of it. The bar is kept for what is done with it.
    pub fn read_all(mut self) -> Result<(Vec<u8>, Progress), Failure> {
        let mut body = std::mem::take(&mut self.head);
        while let Some(piece) = self.read_piece()? {
            body.extend_from_slice(piece);
        }
        Ok((body, self.progress))
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
        self.progress.reach(self.position);
        Ok((read > 0).then_some(&self.buffer[..read]))
    }
}

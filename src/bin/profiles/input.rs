//! The input: a file or standard input, as a whole or piece by piece.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

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

impl Input {
    const BUFFER_BYTES: usize = 256 << 10;
    const BYTE_ORDER_MARK: [u8; 3] = *b"\xef\xbb\xbf";

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

    /// Refuses NDJSON before all of it is read: its first line is a user, or its second line is one that can't follow
    /// the first in JSON. Blank lines don't count.
    pub fn refuse_ndjson(&mut self) -> Result<(), Failure> {
        let mut head = Vec::new();
        let mut first = self.read_line(&mut head, 0)?;
        if head[first.clone()].starts_with(&Self::BYTE_ORDER_MARK) {
            first.start += Self::BYTE_ORDER_MARK.len();
        }
        let mut is_ndjson = is_user(&head[first.clone()]);
        if !is_ndjson {
            let second = self.read_line(&mut head, first.end)?;
            is_ndjson = is_user(&head[second.clone()]) && is_broken(&head[first.start..second.end]);
        }
        self.head = head;
        if is_ndjson { Err(Failure::Ndjson { name: self.name.clone() }) } else { Ok(()) }
    }

    /// The next line from `from` on that is not blank, read into `head`; an empty one at the end of the input.
    fn read_line(&mut self, head: &mut Vec<u8>, from: usize) -> Result<Range<usize>, Failure> {
        let (mut start, mut searched) = (from, from);
        loop {
            if start == searched {
                start += head[start..].iter().take_while(|byte| byte.is_ascii_whitespace()).count();
                searched = start;
            }
            if let Some(length) = head[searched..].iter().position(|byte| *byte == b'\n') {
                return Ok(start..searched + length);
            }
            searched = head.len();
            match self.read_piece()? {
                Some(piece) => head.extend_from_slice(piece),
                None => return Ok(start..head.len()),
            }
        }
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
        if read == 0 {
            // A terminal goes on after its end.
            self.source = Box::new(io::empty());
        }
        self.position += read as u64;
        self.progress.reach(self.position);
        Ok((read > 0).then_some(&self.buffer[..read]))
    }
}

/// Whether the line is an object like a user, and no request.
fn is_user(line: &[u8]) -> bool {
    let members = serde_json::from_slice::<HashMap<String, IgnoredAny>>(line).unwrap_or_default();
    let has = |name: &str| members.contains_key(name);
    !has("users") && (has("external_user_id") || has("memory"))
}

/// Whether no JSON begins like this.
fn is_broken(text: &[u8]) -> bool {
    serde_json::from_slice::<IgnoredAny>(text).is_err_and(|error| error.is_syntax())
}

//! Whether the files of an open store are still the ones that were opened.

use std::fs::{self, Metadata};
use std::io;
use std::path::PathBuf;

use crate::engine::breaker::Breaker;
use crate::model::error::{Error, ErrorKind, Result};

/// Which files were opened, by device and inode. Looking at these opens no descriptor, whose closing would drop
/// SQLite's locks.
#[derive(Debug)]
pub(crate) struct Opened(Vec<(PathBuf, FileId)>);

impl Opened {
    /// The store has them open, so that no other file gets their numbers.
    pub fn new(files: impl IntoIterator<Item = PathBuf>) -> io::Result<Self> {
        let identified = files.into_iter().map(|file| {
            let id = FileId::of(&fs::metadata(&file)?);
            Ok((file, id))
        });
        identified.collect::<io::Result<_>>().map(Self)
    }

    /// Whether all of them still have their names. Writes to a file that has lost its name are lost with the last
    /// handle: the breaker is tripped then.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) if not.
    pub fn check(&self, breaker: &Breaker) -> Result<()> {
        for (path, id) in &self.0 {
            let gone = |what| {
                let message =
                    format!("{} was {what} while the store was open: open the store again", path.display());
                let gone = Error::new(ErrorKind::Closed, message);
                breaker.trip(&gone);
                gone
            };
            match fs::metadata(path) {
                Ok(found) if FileId::of(&found) == *id => {}
                Ok(_) => return Err(gone("replaced")),
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(gone("removed")),
                Err(error) => return Err(Error::io(format!("can't look at {}", path.display()), error)),
            }
        }
        Ok(())
    }
}

/// Tells one file from another.
#[derive(Debug, PartialEq, Eq)]
#[cfg(unix)]
pub(crate) struct FileId {
    device: u64,
    inode: u64,
}

#[cfg(unix)]
impl FileId {
    pub fn of(found: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        Self { device: found.dev(), inode: found.ino() }
    }
}

/// On other platforms an open file can't be removed, or nothing stable identifies it.
#[derive(Debug, PartialEq, Eq)]
#[cfg(not(unix))]
pub(crate) struct FileId;

#[cfg(not(unix))]
impl FileId {
    pub fn of(_: &Metadata) -> Self {
        Self
    }
}

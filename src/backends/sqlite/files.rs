//! The file and its companions: where they are, and whether they are still the ones that were opened.

use std::ffi::OsString;
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};

use crate::engine::durable_files::for_owner;
use crate::model::error::{Error, ErrorKind, Result};

/// Links that lead to one another at most, as Linux has it.
const LINKS: usize = 40;

/// The file beside `path` whose name ends so: `-wal` is the log, `-shm` its index in shared memory.
pub(super) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(ending);
    name.into()
}

pub(super) fn storage(path: &Path) -> impl Fn(io::Error) -> Error + Copy {
    move |source| Error::io(format!("can't open the SQLite file {}", path.display()), source)
}

/// The path of the file. It is absolute, so that no name has a special meaning to SQLite, and no link, as SQLite puts
/// the log beside the target of a link. If there is no file, it is created, empty and readable by its owner only.
pub(super) fn find(path: &Path, create: bool) -> Result<PathBuf> {
    let storage = storage(path);
    let target = target(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotADirectory => Error::no_directory(path, error),
        _ => storage(error),
    })?;
    match fs::metadata(&target) {
        Ok(found) if found.is_file() => return Ok(target),
        Ok(_) => {
            let message = format!("{} is not a file", path.display());
            return Err(Error::new(ErrorKind::Incompatible, message));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound && create => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(Error::no_store(path)),
        Err(error) => return Err(storage(error)),
    }
    match for_owner().create_new(true).open(&target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::no_directory(&target, error)),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(storage(error)),
        _ => Ok(target),
    }
}

/// Follows links to the end, also to a file that is not there yet.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = std::path::absolute(path)?;
    for _ in 0..LINKS {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                let target = fs::read_link(&path)?;
                path.pop();
                path.push(target);
            }
            Ok(_) => return fs::canonicalize(&path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
                    return Err(error);
                };
                return match fs::canonicalize(directory) {
                    Ok(directory) => Ok(directory.join(name)),
                    // Nothing can be created there, and the attempt reports that.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(path),
                    Err(error) => Err(error),
                };
            }
            Err(error) => return Err(error),
        }
    }
    Err(io::Error::other("too many links lead to one another"))
}

/// Which files were opened, by device and inode. Looking at these opens no descriptor, whose closing would drop
/// SQLite's locks.
#[derive(Debug)]
pub(super) struct Opened(Vec<(PathBuf, FileId)>);

impl Opened {
    /// The file, its log and its shared memory. The store's connections are open and keep them in place.
    pub fn new(path: &Path) -> io::Result<Self> {
        let files = [path.to_owned(), beside(path, "-wal"), beside(path, "-shm")];
        let identified = files.into_iter().map(|file| {
            let id = FileId::of(&fs::metadata(&file)?);
            Ok((file, id))
        });
        identified.collect::<io::Result<_>>().map(Self)
    }

    /// Whether all of them still have their names. Writes to a file that has lost its name are lost with the last
    /// handle.
    ///
    /// # Errors
    /// [`Closed`](ErrorKind::Closed) if not.
    pub fn check(&self) -> Result<()> {
        for (path, id) in &self.0 {
            let gone = |what| {
                let message =
                    format!("{} was {what} while the store was open: open the store again", path.display());
                Error::new(ErrorKind::Closed, message)
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
pub(super) struct FileId {
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
pub(super) struct FileId;

#[cfg(not(unix))]
impl FileId {
    pub fn of(_: &Metadata) -> Self {
        Self
    }
}

//! A consistent copy of the file while it is in use.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, TryLockError};
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::failed;
use super::files::{FileId, beside};
use crate::engine::durable_files::{for_owner, sync_directory};
use crate::model::error::{Error, ErrorKind, Result};

/// How a partial copy's name ends, after a random number of so many hexadecimal digits.
const PARTIAL: &str = ".partial";
const DIGITS: usize = 16;

/// Writes what the connection sees at this moment to `path`, which must not be there yet.
///
/// It is made beside it, under a name of its own, synced, and only then given the name, as not every version of
/// SQLite syncs what `VACUUM INTO` writes: what has the name is whole. A link, not a renaming, gives the name, as
/// it never takes it from another file.
pub(super) fn backup(connection: &Connection, path: &Path) -> Result<()> {
    let storage = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Error::no_directory(path, source),
        _ => Error::io(format!("can't write the backup {}", path.display()), source),
    };
    let there = || {
        let message = format!("{} is there already: give the backup a new name", path.display());
        Error::new(ErrorKind::AlreadyExists, message)
    };
    let target = std::path::absolute(path).map_err(storage)?;
    let directory = target.parent().unwrap_or(&target);
    if fs::exists(&target).map_err(storage)? {
        return Err(there());
    }
    // If one can't be removed, that much room is lost. The backup is no worse for it.
    let _ = remove_abandoned(&target);
    let partial = Partial::new(&target).map_err(storage)?;
    let name = partial.path.to_str().ok_or_else(|| storage(io::ErrorKind::InvalidFilename.into()))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(failed("to write its backup"))?;
    partial.file.sync_all().map_err(storage)?;
    fs::hard_link(&partial.path, &target).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => there(),
        _ => storage(error),
    })?;
    drop(partial);
    sync_directory(directory).map_err(storage)
}

/// A copy in the making, empty at first: SQLite would create one readable by others. It is locked as long as
/// somebody works on it, and loses its name when dropped.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn new(target: &Path) -> io::Result<Self> {
        loop {
            // Every `RandomState` has keys of its own. Numbers of processes come again in a container.
            let number = RandomState::new().hash_one(());
            let path = beside(target, &format!(".{number:0DIGITS$x}{PARTIAL}"));
            let file = match for_owner().create_new(true).open(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                created => created?,
            };
            match file.try_lock() {
                // Somebody who removes what is abandoned has come in between.
                Err(TryLockError::WouldBlock) => continue,
                // A file system without locks: nobody there takes a copy for abandoned.
                Err(TryLockError::Error(error)) if error.kind() == io::ErrorKind::Unsupported => {}
                locked => locked?,
            }
            if is_named(&file, &path)? {
                return Ok(Self { path, file });
            }
        }
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // If it can't be removed, the next backup tries again.
        let _ = fs::remove_file(&self.path);
    }
}

/// Removes the partial copies of `target` that processes have left which were killed. A copy that is being
/// made is locked.
fn remove_abandoned(target: &Path) -> io::Result<()> {
    let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else { return Ok(()) };
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if path.file_name().is_some_and(|found| is_partial_of(found, name)) {
            remove_if_abandoned(&path)?;
        }
    }
    Ok(())
}

fn remove_if_abandoned(path: &Path) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => found,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // Not ours, or somebody else was faster.
        _ => return Ok(()),
    };
    // It is a second name of a whole backup, which may be an open store: that is not to be opened here, as
    // closing it would drop SQLite's locks.
    if links(&found) > 1 {
        return fs::remove_file(path);
    }
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    if file.try_lock().is_ok() && is_named(&file, path)? { fs::remove_file(path) } else { Ok(()) }
}

/// Whether the file still has this name.
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    match fs::symlink_metadata(path) {
        Ok(found) => Ok(FileId::of(&found) == FileId::of(&file.metadata()?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

#[cfg(unix)]
fn links(found: &Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::nlink(found)
}

#[cfg(not(unix))]
fn links(_: &Metadata) -> u64 {
    1
}

/// `NAME.0123456789abcdef.partial`, and nothing like it.
fn is_partial_of(found: &OsStr, name: &OsStr) -> bool {
    let (found, name) = (found.as_encoded_bytes(), name.as_encoded_bytes());
    let number = found
        .strip_prefix(name)
        .and_then(|rest| rest.strip_prefix(b"."))
        .and_then(|rest| rest.strip_suffix(PARTIAL.as_bytes()));
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    number.is_some_and(|number| number.len() == DIGITS && number.iter().all(is_digit))
}

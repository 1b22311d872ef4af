//! A consistent copy of the file while it is in use.

use std::ffi::OsStr;
use std::fs::{self, File, Metadata, TryLockError};
use std::hash::{BuildHasher as _, RandomState};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::error::failed;
use super::files::beside;
use super::open::APPLICATION_ID;
use crate::engine::durable_files::{for_owner, sync_directory};
use crate::engine::identity::FileId;
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
        io::ErrorKind::NotFound => Error::no_directory(path, source),
        _ => Error::at_path("can't write the backup", path, source),
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

/// Removes the partial copies that processes have left beside `target` which were killed: those of `target`, and those of
/// other names that are copies of a store. A copy that is being made is locked.
fn remove_abandoned(target: &Path) -> io::Result<()> {
    let (Some(directory), Some(name)) = (target.parent(), target.file_name()) else { return Ok(()) };
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        if let Some(of) = path.file_name().and_then(copied_to) {
            remove_if_abandoned(&path, of == name.as_encoded_bytes())?;
        }
    }
    Ok(())
}

/// `is_of_target` says that its name alone shows whose it is.
fn remove_if_abandoned(path: &Path, is_of_target: bool) -> io::Result<()> {
    let found = match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => found,
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        // Not ours, or somebody else was faster.
        _ => return Ok(()),
    };
    // It is a second name of a whole backup, which may be an open store: that is not to be opened here, as
    // closing it would drop SQLite's locks.
    if links(&found) > 1 {
        return if is_of_target { fs::remove_file(path) } else { Ok(()) };
    }
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    let is_left = file.try_lock().is_ok() && is_named(&file, path)?;
    if is_left && (is_of_target || is_a_store(&file)?) {
        // SQLite makes a journal beside the copy.
        let journal = fs::remove_file(beside(path, "-journal"));
        journal.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })?;
        return fs::remove_file(path);
    }
    Ok(())
}

/// Whether it is the beginning of one of our files: SQLite keeps the application's id in its header.
fn is_a_store(file: &File) -> io::Result<bool> {
    let mut header = Vec::new();
    file.take(72).read_to_end(&mut header)?;
    Ok(header.get(68..) == Some(&APPLICATION_ID.to_be_bytes()[4..]))
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

/// The name of a copy that would be called so while it is made: `NAME.0123456789abcdef.partial`, and nothing like it.
fn copied_to(found: &OsStr) -> Option<&[u8]> {
    let (name, number) =
        found.as_encoded_bytes().strip_suffix(PARTIAL.as_bytes())?.split_last_chunk::<DIGITS>()?;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    name.strip_suffix(b".").filter(|_| number.iter().all(is_digit))
}

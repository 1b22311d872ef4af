//! A consistent copy of the file while it is in use.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;

use rusqlite::Connection;

use super::error::failed;
use crate::error::{Error, ErrorKind, Result};
use crate::rewrite::sync_directory;

/// Writes what the connection sees at this moment to `path`, which must not be there yet.
///
/// It is made beside it, synced and renamed, as `VACUUM INTO` syncs nothing: what has the name is
/// whole.
pub(super) fn backup(connection: &Connection, path: &Path) -> Result<()> {
    let storage = |source: io::Error| {
        let message = format!("can't write the backup {}", path.display());
        Error::new(ErrorKind::Storage, message).with_source(source)
    };
    let path = std::path::absolute(path).map_err(storage)?;
    if fs::exists(&path).map_err(storage)? {
        let message = format!("{} is there already: give the backup a new name", path.display());
        return Err(Error::new(ErrorKind::InvalidInput, message));
    }
    let mut partial = path.clone().into_os_string();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let written = write(connection, partial, storage).and_then(|()| {
        fs::rename(partial, &path).map_err(storage)?;
        sync_directory(path.parent().unwrap_or(&path)).map_err(storage)
    });
    if written.is_err() {
        // What could not be written is of no use; where it can't be removed, the next backup tries.
        let _ = fs::remove_file(partial);
    }
    written
}

fn write(connection: &Connection, partial: &Path, storage: impl Fn(io::Error) -> Error + Copy) -> Result<()> {
    match fs::remove_file(partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(storage(error)),
        _ => {}
    }
    // SQLite takes an empty file for none, and would create one readable by others.
    let mut create = OpenOptions::new();
    create.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut create, 0o600);
    create.open(partial).map_err(storage)?;
    let name = partial.to_str().ok_or_else(|| storage(io::ErrorKind::InvalidFilename.into()))?;
    connection.execute("VACUUM INTO ?1", [name]).map_err(failed("to write its backup"))?;
    File::open(partial).and_then(|file| file.sync_all()).map_err(storage)
}

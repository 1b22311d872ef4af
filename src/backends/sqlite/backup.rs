//! A consistent copy of the file while it is in use.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::Connection;

use super::error::failed;
use crate::engine::durable_files::sync_directory;
use crate::model::error::{Error, ErrorKind, Result};

/// Writes what the connection sees at this moment to `path`, which must not be there yet.
///
/// It is made beside it, under a name of its own, synced, and only then given the name, as `VACUUM
/// INTO` syncs nothing: what has the name is whole. A link, not a renaming, gives the name, as it never
/// takes it from another file.
pub(super) fn backup(connection: &Connection, path: &Path) -> Result<()> {
    static BACKUPS: AtomicU64 = AtomicU64::new(0);
    let storage = |source: io::Error| {
        let message = format!("can't write the backup {}", path.display());
        Error::io(message, source)
    };
    let there = || {
        let message = format!("{} is there already: give the backup a new name", path.display());
        Error::new(ErrorKind::AlreadyExists, message)
    };
    let path = std::path::absolute(path).map_err(storage)?;
    if fs::exists(&path).map_err(storage)? {
        return Err(there());
    }
    let mut partial = path.clone().into_os_string();
    partial.push(format!(".{}-{}.partial", std::process::id(), BACKUPS.fetch_add(1, Ordering::Relaxed)));
    let partial = Path::new(&partial);
    let directory = path.parent().unwrap_or(&path);
    let written = write(connection, partial, storage).and_then(|()| {
        fs::hard_link(partial, &path).map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => there(),
            _ => storage(error),
        })
    });
    // The file's other name; where it can't be removed, that much room is lost.
    let _ = fs::remove_file(partial);
    written?;
    sync_directory(directory).map_err(storage)
}

fn write(connection: &Connection, partial: &Path, storage: impl Fn(io::Error) -> Error + Copy) -> Result<()> {
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

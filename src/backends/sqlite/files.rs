//! The file and its companions: where they are.

use std::ffi::OsString;
use std::fs;
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
    move |source| Error::at_path("can't open the SQLite file", path, source)
}

/// The path of the file. It is absolute, so that no name has a special meaning to SQLite, and no link, as SQLite puts
/// the log beside the target of a link. If there is no file, it is created, empty and readable by its owner only.
pub(super) fn find(path: &Path, create: bool) -> Result<PathBuf> {
    let storage = storage(path);
    let target = target(path).map_err(storage)?;
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
    Err(io::Error::new(io::ErrorKind::InvalidInput, "too many links lead to one another"))
}

//! Opening a file to read it only: a backup, a replica, a volume that can't be written.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, OpenFlags};

use super::error::engine_error;
use super::files::{beside, find, storage};
use super::open::{STEP, connect, is_new, set_up_reading, wait_for_locks};
use crate::engine::deadline::Deadline;
use crate::engine::group_commit::{Done, Engine, Task, Upkeep};
use crate::model::error::{Error, ErrorKind, Result};
use crate::model::timestamp::Timestamp;
use crate::store::options::StoreOptions;

/// Bytes of a log without frames: its header.
const EMPTY_LOG_BYTES: u64 = 32;

/// Opens the readers' connections. Nothing is created or written, but for the log's index in shared memory, which
/// SQLite needs to read a log.
pub(super) fn open(path: &Path, options: &StoreOptions) -> Result<(PathBuf, Vec<Connection>)> {
    let (path, until) = (find(path, false)?, Deadline::after(options.busy_timeout()));
    let open_all = |name: &Path, access| {
        let open_one = |_| {
            let connection = connect(name, access, until)?;
            if is_new(&connection, &path)? {
                return Err(Error::no_store(&path));
            }
            set_up_reading(&connection)?;
            wait_for_locks(&connection, STEP)?;
            Ok(connection)
        };
        (0..options.read_threads()).map(open_one).collect::<Result<Vec<_>>>()
    };
    let opened = match open_all(&path, OpenFlags::SQLITE_OPEN_READ_ONLY) {
        Err(error) if needs_files(&error) => {
            // A journal holds the pages that a transaction cut short has overwritten.
            for (ending, empty) in [("-wal", EMPTY_LOG_BYTES), ("-journal", 0)] {
                if bytes_beside(&path, ending)? > empty {
                    let message = format!(
                        "{} can't be read without {}, and that not without writing beside it: open it once where it can be \
                         written, and close it",
                        path.display(),
                        beside(&path, ending).display()
                    );
                    return Err(Error::new(ErrorKind::PermissionDenied, message).with_source(error));
                }
            }
            open_all(&immutable(&path), OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI)
        }
        opened => opened,
    };
    opened.map(|readers| (path, readers))
}

/// Whether SQLite could not create the log and its index, which it does for every file in that mode.
fn needs_files(error: &Error) -> bool {
    let code = engine_error(error).map(|failure| failure.code);
    matches!(code, Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly))
}

fn bytes_beside(path: &Path, ending: &str) -> Result<u64> {
    match std::fs::metadata(beside(path, ending)) {
        Ok(found) => Ok(found.len()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(error) => Err(storage(path)(error)),
    }
}

/// The name by which SQLite takes the file as one that nobody changes: it needs no log, no index and no lock.
fn immutable(path: &Path) -> PathBuf {
    let mut name = "file://".to_owned();
    for byte in path.as_os_str().as_encoded_bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'.' | b'-' | b'_' => {
                name.push(char::from(*byte))
            }
            _ => name.push_str(&format!("%{byte:02X}")),
        }
    }
    (name + "?immutable=1").into()
}

/// In the place of the writer.
pub(super) struct Refusing;

fn refusal() -> Error {
    Error::new(ErrorKind::ReadOnly, "the store was opened for reading only")
}

impl Engine for Refusing {
    fn commit(&mut self, _: &[(&Task, Timestamp)], _: Deadline) -> Result<Vec<Result<Done>>> {
        Err(refusal())
    }

    fn upkeep(&mut self, _: Upkeep, _: Deadline) -> Result<()> {
        Err(refusal())
    }

    fn close(self) -> Result<()> {
        Ok(())
    }

    fn abandon(self) {}
}

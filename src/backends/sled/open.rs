//! Opening the directory: whose it is, its lock, and what a killed process may have left.
//!
//! A marker file names the format, so that a foreign or newer directory is refused before sled
//! touches it. It is locked for as long as the store is open; all repairs happen under that lock.
//!
//! A sled database that is killed while it creates its files can't be opened any more. So a new one
//! is made in a directory beside, synced, and renamed into place.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use super::error::failed;
use super::flusher::Flusher;
use crate::engine::deadline::Deadline;
use crate::engine::durable_files::{rewrite, sync_directory};
use crate::engine::key_value::keys;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::options::StoreOptions;

const OPENING: &str = "to open";
const CLOSING: &str = "to close";

const MARKER: &str = "profile-store";
const MARKER_WORDS: &str = "profile-store sled format ";
const FORMAT: u32 = 2;

/// sled's own file, the one that has to be synced.
const LOG: &str = "db";
/// Present while the store is open, and for as long as it has not been closed well.
const UNSYNCED: &str = "unsynced";
/// Present while the store is closed: how often it has been.
const CLOSED: &str = "closed";
/// That note while it is written.
const CLOSING_NOTE: &str = "closing";
/// Where sled puts what does not fit into a segment.
pub(super) const BLOBS: &str = "blobs";

/// An open directory of ours. Fields are dropped in order: the lock goes last.
#[derive(Debug)]
pub(super) struct Directory {
    pub db: sled::Db,
    /// A descriptor of sled's file, to sync it by.
    pub log: File,
    pub path: PathBuf,
    _lock: File,
}

/// Opens the directory at `path`, and creates it where there is none or an empty one.
pub(super) fn open(path: &Path, options: &StoreOptions) -> Result<Directory> {
    let storage = storage(path);
    let path = std::path::absolute(path).map_err(storage)?;
    let deadline = Deadline::after(options.busy_timeout());
    loop {
        let held = match find(&path)? {
            Found::Ours => lock(&path.join(MARKER), deadline)?,
            Found::Nothing if !options.create() => return Err(Error::no_store(&path)),
            Found::Nothing => match create(&path, deadline)? {
                Some(held) => held,
                // Another process was faster: what it made is there now.
                None => continue,
            },
        };
        check_format(&path, &held)?;
        // sled's threads may let go of its file a moment after its last handle is dropped, and
        // sled itself does not wait. Under our lock nobody else can take it.
        drop(lock(&path.join(LOG), deadline)?);
        heal(&path).map_err(storage)?;
        // Whoever has created it may have been killed before its name was durable.
        path.parent().map_or(Ok(()), sync_directory).map_err(storage)?;
        File::create(path.join(UNSYNCED)).map_err(storage)?;
        let db = config(&path).open().map_err(failed(OPENING))?;
        check_end(&path, &db)?;
        let log = File::open(path.join(LOG)).map_err(storage)?;
        return Ok(Directory { db, log, path, _lock: held });
    }
}

/// Holds what sled has recovered to how the store was closed. Where its file is damaged, sled drops
/// what lies behind, without a sign.
fn check_end(path: &Path, db: &sled::Db) -> Result<()> {
    let note = path.join(CLOSED);
    let noted = match fs::read(&note) {
        // It was killed, and may have been at any point.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        noted => noted.map_err(storage(path))?,
    };
    if db.get(keys::CLOSED).map_err(failed(OPENING))?.as_deref() != Some(&noted) {
        let message = format!(
            "{} is damaged, and sled has dropped some of it: restore it from a backup; what is left may \
             open once the file {CLOSED:?} in it is removed",
            path.display()
        );
        return Err(Error::new(ErrorKind::Corrupt, message));
    }
    // Gone for good before the next end is counted: an old note would be taken for damage.
    fs::remove_file(&note).and_then(|()| sync_directory(path)).map_err(storage(path))
}

impl Directory {
    /// Notes in sled that the store is closed once more, as the last thing; gives what to note beside
    /// it. All of it has to be synced before [`close`](Self::close).
    pub fn last_word(&self) -> Result<Vec<u8>> {
        let before = self.db.get(keys::CLOSED).map_err(failed(CLOSING))?;
        let before = before.and_then(|bytes| bytes.as_ref().try_into().ok()).map_or(0, u64::from_le_bytes);
        let count = before.wrapping_add(1).to_le_bytes().to_vec();
        self.db.insert(keys::CLOSED, count.as_slice()).map_err(failed(CLOSING))?;
        Ok(count)
    }

    /// Lets go of it.
    pub fn close(self, last_word: &[u8]) -> Result<()> {
        let storage = storage(&self.path);
        drop(self.db);
        // Whole or not at all: half a note would be taken for damage.
        let closing = self.path.join(CLOSING_NOTE);
        let note = File::create(&closing).map_err(storage)?;
        (&note).write_all(last_word).and_then(|()| note.sync_all()).map_err(storage)?;
        fs::rename(&closing, self.path.join(CLOSED)).map_err(storage)?;
        sync_directory(&self.path).map_err(storage)?;
        // Where it can't be removed, the next opening syncs for nothing.
        let _ = fs::remove_file(self.path.join(UNSYNCED));
        Ok(())
    }
}

enum Found {
    Ours,
    Nothing,
}

fn find(path: &Path) -> Result<Found> {
    let foreign = |what| {
        let message = format!("{} {what}; it was left as it was", path.display());
        Err(Error::new(ErrorKind::Incompatible, message))
    };
    match fs::read_dir(path) {
        Ok(mut entries) => {
            if path.join(MARKER).is_file() {
                Ok(Found::Ours)
            } else if entries.next().is_none() {
                Ok(Found::Nothing)
            } else {
                foreign("is a directory of something else")
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Found::Nothing),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => foreign("is not a directory"),
        Err(error) => Err(storage(path)(error)),
    }
}

/// Takes the lock on a file, waiting for its holder until the deadline.
fn lock(path: &Path, deadline: Deadline) -> Result<File> {
    let storage = storage(path);
    let file = OpenOptions::new().read(true).write(true).open(path).map_err(storage)?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(storage(error)),
            Err(TryLockError::WouldBlock) if deadline.is_over() => {
                let message = format!("{} is locked, a sled store has one holder", path.display());
                return Err(Error::new(ErrorKind::Busy, message));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Makes a new database in place of `path`, holding its lock. `None` where another process has
/// done so meanwhile.
fn create(path: &Path, deadline: Deadline) -> Result<Option<File>> {
    let storage = storage(path);
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(Error::new(ErrorKind::InvalidInput, format!("{} names no directory", path.display())));
    };
    let mut beside = OsString::from(name);
    beside.push(".creating");
    let beside = parent.join(beside);
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(&beside) {
        // It is left over, or being worked on: the lock tells.
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(storage(error)),
        _ => {}
    }
    match OpenOptions::new().create(true).append(true).open(beside.join(MARKER)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        created => created.map(drop).map_err(storage)?,
    }
    let marker = match lock(&beside.join(MARKER), deadline) {
        Err(_) if !beside.exists() => return Ok(None),
        locked => locked?,
    };
    if matches!(find(path)?, Found::Ours) {
        return Ok(None);
    }
    remove_all_but_the_marker(&beside).map_err(storage)?;
    let db = config(&beside).open().map_err(failed(OPENING))?;
    Flusher::start(&db)?.flush()?;
    drop(db);
    marker.set_len(0).map_err(storage)?;
    (&marker).write_all(format!("{MARKER_WORDS}{FORMAT}\n").as_bytes()).map_err(storage)?;
    sync_tree(&beside).map_err(storage)?;
    // Over an empty directory too.
    fs::rename(&beside, path).map_err(storage)?;
    sync_directory(parent).map_err(storage)?;
    Ok(Some(marker))
}

fn check_format(path: &Path, mut marker: &File) -> Result<()> {
    let mut words = String::new();
    io::Seek::rewind(&mut marker).and_then(|()| marker.read_to_string(&mut words)).map_err(storage(path))?;
    let format = words.strip_prefix(MARKER_WORDS).and_then(|format| format.trim_end().parse::<u32>().ok());
    let what = match format {
        Some(FORMAT) => return Ok(()),
        Some(1) => "was made by an unreleased version of profile-store".to_owned(),
        Some(format) => format!("has format version {format}, this build of profile-store knows {FORMAT}"),
        None => "has a marker file of something else".to_owned(),
    };
    let message = format!("{} {what}; it was left as it was", path.display());
    Err(Error::new(ErrorKind::Incompatible, message))
}

/// Removes the snapshots that a process was killed over, which sled takes for damage, for ever; and
/// makes durable what a process has left that may not have been able to sync.
///
/// The note that it has not ended well is made before, and not when a sync fails: a disk that is full
/// then would not take it. It need not be durable: it is gone with the kernel's memory, and so is
/// what it warns of.
fn heal(path: &Path) -> io::Result<()> {
    if path.join(UNSYNCED).exists() {
        rewrite(&path.join(LOG))?;
        let blobs = path.join(BLOBS);
        for blob in fs::read_dir(&blobs)? {
            rewrite(&blob?.path())?;
        }
        sync_directory(&blobs)?;
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let name = name.to_string_lossy();
        if name.starts_with("snap.") && name.ends_with(".generating") {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

fn config(path: &Path) -> sled::Config {
    sled::Config::new()
        .path(path)
        // The largest there is: only what is over a quarter of it goes to blob files.
        .segment_size(16 << 20)
        .cache_capacity(64 << 20)
        // The commit thread flushes.
        .flush_every_ms(None)
}

fn remove_all_but_the_marker(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else if entry.file_name() != MARKER {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

/// Syncs all files below, and the directories that name them.
fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            File::open(entry.path())?.sync_all()?;
        }
    }
    sync_directory(directory)
}

fn storage(path: &Path) -> impl Fn(io::Error) -> Error + Copy {
    move |source| {
        let message = format!("can't open or close the sled store at {}", path.display());
        Error::io(message, source)
    }
}

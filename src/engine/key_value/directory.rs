//! The directory of a key-value engine: whose it is, who holds it, and how it was left.
//!
//! ```text
//! profile-store   the marker, "profile-store ENGINE format 2\n"; locked while the store is open
//! data/           the engine's own files
//! data.new/       those of a store that is being created or compacted
//! data.old/       those that compaction is about to remove
//! unsynced        there since the first write, and for as long as the store was not closed well
//! closed          there while nothing was written since the store was closed: how often it has been
//! mending         fjall's: there while a byte of its journal is missing
//! ```
//!
//! The marker names the engine and the format, so that a directory of something else, or of a newer format,
//! is refused before the engine touches it. All repairs happen under its lock.
//!
//! An engine that is killed while it creates its files can't open them any more. So they are made in
//! `data.new`, synced, and renamed; only then the marker says that there is a store.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Read as _, Seek as _, Write as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::engine::breaker::Breaker;
use crate::engine::deadline::Deadline;
use crate::engine::durable_files::{for_owner, sync_directory, sync_file};
use crate::engine::identity::Opened;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::options::StoreOptions;

const MARKER: &str = "profile-store";
/// More than a marker of any version has.
const MARKER_BYTES: u64 = 256;
const NO_MARKER: &str = "has a marker file of something else";
const FORMAT: u32 = 2;

const DATA: &str = "data";
const NEW: &str = "data.new";
const OLD: &str = "data.old";
const UNSYNCED: &str = "unsynced";
const CLOSED: &str = "closed";
/// The note of closing while it is written.
const CLOSING: &str = "closing";
/// A file that is made and removed when opening. What a kill leaves of it goes with the next opening, before the engine looks.
const PROBE: &str = "probe";

/// A directory of ours, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    engine: &'static str,
    /// Whether a write has begun since it was opened.
    writing: bool,
    /// The marker.
    opened: Opened,
    _lock: File,
}

impl Directory {
    /// Takes the directory at `path` for the engine of that name. If there is none, or an empty one, `make`
    /// creates the engine's files in the directory it is given, and closes them.
    pub fn open(
        engine: &'static str,
        path: &Path,
        options: &StoreOptions,
        until: Deadline,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<Self> {
        let given = path;
        let path = std::path::absolute(path).and_then(|path| at_the_end_of_links(&path));
        let path = path.map_err(failed(engine, given))?;
        let failed = failed(engine, &path);
        let absent = match path.metadata() {
            Ok(found) if found.is_dir() => false,
            Ok(_) => return Err(foreign(&path, "is not a directory")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => true,
            Err(error) => return Err(failed(error)),
        };
        if absent {
            if !options.create() {
                return Err(Error::no_store(&path));
            }
            private_directory(&path).map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => Error::no_directory(&path, error),
                _ => failed(error),
            })?;
        }
        sync_parent(&path, absent).map_err(failed)?;
        let marker = path.join(MARKER);
        let is_marked = match marker.metadata() {
            Ok(found) if found.is_file() => true,
            Ok(_) => return Err(foreign(&path, "is a directory of something else")),
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        if !is_marked {
            if holds_others(&path, &[]).map_err(failed)? && !marker.exists() {
                return Err(foreign(&path, "is a directory of something else"));
            }
            if !options.create() {
                return Err(Error::no_store(&path));
            }
        }
        let file = for_owner().read(true).create(true).truncate(false).open(&marker);
        let mut lock = hold(file.map_err(failed)?, &path, engine, until)?;
        let mut words = Vec::new();
        (&lock).take(MARKER_BYTES).read_to_end(&mut words).map_err(failed)?;
        let words = String::from_utf8(words).map_err(|_| foreign(&path, NO_MARKER))?;
        let creating = format!("profile-store {engine} creating\n");
        let is_made = !creating.starts_with(&words);
        if is_made {
            check_format(engine, &path, &words)?;
            // An earlier process may have failed to sync it: what is read need not be on the disk.
            if !path.join(CLOSED).exists() {
                lock.rewind().and_then(|()| lock.write_all(words.as_bytes())).map_err(failed)?;
                lock.sync_all().map_err(failed)?;
            }
        } else if !options.create() {
            return Err(Error::no_store(&path));
        } else {
            // Empty if somebody was killed before the words; what we make has these names.
            if holds_others(&path, &[MARKER, NEW, DATA]).map_err(failed)? {
                return Err(foreign(&path, "is a directory of something else"));
            }
            lock.rewind().and_then(|()| lock.write_all(creating.as_bytes())).map_err(failed)?;
            // A power cut must not leave files of ours without the marker that says whose they are.
            lock.sync_all().and_then(|()| sync_directory(&path)).map_err(failed)?;
            remove(&path.join(NEW)).and_then(|()| remove(&path.join(DATA))).map_err(failed)?;
            private_directory(&path.join(NEW)).map_err(failed)?;
            make(&path.join(NEW))?;
            sync_tree(&path.join(NEW)).map_err(failed)?;
            fs::rename(path.join(NEW), path.join(DATA)).map_err(failed)?;
            sync_directory(&path).map_err(failed)?;
            // Both texts have the same length: a failed sync leaves the old one or the new one.
            let made = format!("profile-store {engine} format {FORMAT}\n");
            lock.rewind().and_then(|()| lock.write_all(made.as_bytes())).map_err(failed)?;
            lock.set_len(made.len() as u64).and_then(|()| lock.sync_all()).map_err(failed)?;
        }
        let opened = Opened::new([marker]).map_err(failed)?;
        let directory = Self { path, engine, writing: false, opened, _lock: lock };
        directory.settle()?;
        if is_made {
            probe(&directory.path).and_then(|()| probe_all(&directory.data()))?;
        }
        Ok(directory)
    }

    /// Ends or undoes a compaction that was cut short. The new files are whole once the old ones are renamed.
    fn settle(&self) -> Result<()> {
        let [data, new, old] = [DATA, NEW, OLD].map(|name| self.path.join(name));
        if !data.try_exists().map_err(self.failed())? {
            if !(old.exists() && new.exists()) {
                let message = format!("{} has lost its files", self.path.display());
                return Err(Error::new(ErrorKind::Corrupt, message));
            }
            fs::rename(&new, &data).and_then(|()| sync_directory(&self.path)).map_err(self.failed())?;
        }
        remove(&new).and_then(|()| remove(&old)).map_err(self.failed())
    }

    /// The directory of the engine's files.
    pub fn data(&self) -> PathBuf {
        self.path.join(DATA)
    }

    /// Whether the last process may have left bytes that it could not sync.
    ///
    /// The note is made before the first write, and not when a sync fails: a disk that is full then would not
    /// take it. It need not be durable: it is gone with the kernel's memory, and so is what it warns of.
    pub fn is_unsynced(&self) -> bool {
        self.path.join(UNSYNCED).exists()
    }

    /// Holds what the engine has recovered, the value of [`keys::CLOSED`], to how the store was closed: an
    /// engine may drop what lies after damage, without a sign. After a kill there is nothing to compare with.
    ///
    /// [`keys::CLOSED`]: crate::engine::key_value::keys::CLOSED
    pub fn check_end(&mut self, recovered: Option<&[u8]>) -> Result<()> {
        let noted = match fs::read(self.path.join(CLOSED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            noted => Some(noted.map_err(self.failed())?),
        };
        if noted.is_none_or(|noted| recovered == Some(&noted)) {
            // It is to be closed well, though nothing should be written.
            return if self.is_unsynced() { self.begin_writing(&Breaker::default()) } else { Ok(()) };
        }
        let message = format!(
            "{} is damaged, and {} has dropped some of it: restore it from a backup; what is left may open once \
             the file {CLOSED:?} in it is removed",
            self.path.display(),
            self.engine
        );
        Err(Error::new(ErrorKind::Corrupt, message))
    }

    /// Whether it is still where it was opened.
    ///
    /// # Errors
    /// Those of [`Opened::check`].
    pub fn check(&self, breaker: &Breaker) -> Result<()> {
        self.opened.check(breaker)
    }

    /// To be called before every write: [checks](Self::check) its place. A failed sync trips the breaker.
    pub fn begin_writing(&mut self, breaker: &Breaker) -> Result<()> {
        self.check(breaker)?;
        if self.writing {
            return Ok(());
        }
        for_owner().create(true).truncate(true).open(self.path.join(UNSYNCED)).map_err(self.failed())?;
        // Gone for good before the next end is counted: an old note would be taken for damage.
        match fs::remove_file(self.path.join(CLOSED)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            removed => removed.map_err(self.failed())?,
        }
        sync_directory(&self.path).map_err(self.failed()).inspect_err(|error| breaker.trip(error))?;
        self.writing = true;
        Ok(())
    }

    /// Whether a write has begun since it was opened.
    pub fn is_written(&self) -> bool {
        self.writing
    }

    /// How often the store has been closed once it is closed now, given the value that the engine has of it.
    pub fn next_end(before: Option<&[u8]>) -> Vec<u8> {
        let before = before.and_then(|bytes| bytes.try_into().ok()).map_or(0, u64::from_le_bytes);
        before.wrapping_add(1).to_le_bytes().to_vec()
    }

    /// Notes the end, which the engine holds durably, after the engine is closed.
    pub fn close(self, end: &[u8]) -> Result<()> {
        let failed = self.failed();
        // Whole or not at all: half a note would be taken for damage.
        let closing = self.path.join(CLOSING);
        let note = for_owner().create(true).truncate(true).open(&closing).map_err(failed)?;
        (&note).write_all(end).and_then(|()| note.sync_all()).map_err(failed)?;
        fs::rename(&closing, self.path.join(CLOSED)).map_err(failed)?;
        sync_directory(&self.path).map_err(failed)?;
        // If it can't be removed, the next opening syncs for nothing.
        let _ = fs::remove_file(self.path.join(UNSYNCED));
        Ok(())
    }

    /// An empty directory for the files that compaction makes.
    #[cfg(feature = "fjall")]
    pub fn new_data(&self) -> Result<PathBuf> {
        let new = self.path.join(NEW);
        remove(&new).and_then(|()| private_directory(&new)).map_err(self.failed())?;
        Ok(new)
    }

    /// Puts the new files, which are closed, in the place of the old ones, which are closed too, and removes
    /// those. A kill at any point leaves the old or the new ones.
    #[cfg(feature = "fjall")]
    pub fn swap_data(&self) -> Result<()> {
        let [data, new, old] = [DATA, NEW, OLD].map(|name| self.path.join(name));
        let swap = || {
            sync_tree(&new)?;
            sync_directory(&self.path)?;
            fs::rename(&data, &old)?;
            fs::rename(&new, &data)?;
            sync_directory(&self.path)?;
            remove(&old)?;
            sync_directory(&self.path)
        };
        swap().map_err(self.failed())
    }

    fn failed(&self) -> impl Fn(io::Error) -> Error + Copy {
        failed(self.engine, &self.path)
    }
}

fn failed(engine: &'static str, path: &Path) -> impl Fn(io::Error) -> Error + Copy {
    move |source| Error::at_path(&format!("can't open or close the {engine} store at"), path, source)
}

/// Whether a directory has other entries than these, and than what `mkfs` makes for `fsck`.
fn holds_others(path: &Path, ours: &[&str]) -> io::Result<bool> {
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let name = entry.file_name();
        let is_fscks = name == "lost+found" && entry.file_type()?.is_dir();
        if !is_fscks && !ours.iter().any(|ours| name == *ours) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn foreign(path: &Path, what: &str) -> Error {
    Error::new(ErrorKind::Incompatible, format!("{} {what}; it was left as it was", path.display()))
}

fn check_format(engine: &str, path: &Path, words: &str) -> Result<()> {
    let prefix = format!("profile-store {engine} format ");
    let format = words.strip_prefix(&prefix).and_then(|format| format.trim_end().parse::<u32>().ok());
    match format {
        Some(FORMAT) => Ok(()),
        Some(1) => Err(foreign(path, "was made by an unreleased version of profile-store")),
        Some(format) => {
            let what = format!("has format version {format}, this build of profile-store knows {FORMAT}");
            Err(foreign(path, &what))
        }
        None => Err(foreign(path, NO_MARKER)),
    }
}

/// The path that a path leads to, whether or not something is there (S13).
fn at_the_end_of_links(path: &Path) -> io::Result<PathBuf> {
    // As many as the kernel follows.
    const LINKS: usize = 40;
    let mut path = path.to_owned();
    for _ in 0..LINKS {
        match fs::read_link(&path) {
            Ok(target) => path = path.parent().unwrap_or(&path).join(target),
            // Not a link, or nothing: whatever else is wrong shows when it is opened.
            Err(_) => return Ok(path),
        }
    }
    Err(io::Error::new(io::ErrorKind::InvalidInput, "too many links lead to one another"))
}

/// Makes the name of `path` durable, as its maker may have been killed before. If the directory above is not ours to
/// open, the name is not ours either, unless we have just made it.
fn sync_parent(path: &Path, made: bool) -> io::Result<()> {
    let Some(parent) = path.parent() else { return Ok(()) };
    match sync_directory(parent) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied && !made => Ok(()),
        synced => synced,
    }
}

/// Takes the lock on a file, waiting for its holder until the deadline.
pub(crate) fn hold(file: File, path: &Path, engine: &'static str, until: Deadline) -> Result<File> {
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(error)) => return Err(failed(engine, path)(error)),
            Err(TryLockError::WouldBlock) if until.is_over() => {
                let message = format!("{} is locked: a {engine} store has one holder", path.display());
                return Err(Error::new(ErrorKind::Busy, message));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn private_directory(path: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        // Another process was faster: the lock decides.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

/// Refuses a directory in which files can't be made and removed: an engine may notice only long after (S13).
fn probe(directory: &Path) -> Result<()> {
    let probe = directory.join(PROBE);
    let probed = match for_owner().create(true).open(&probe).map(drop) {
        // The store can be read, and there may be room later.
        Err(error) if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {
            Ok(())
        }
        made => made.and_then(|()| fs::remove_file(&probe)),
    };
    probed.map_err(|error| Error::at_path("can't make and remove files in", directory, error))
}

/// The same for a directory and all below it.
fn probe_all(directory: &Path) -> Result<()> {
    probe(directory)?;
    let reading = |error| Error::at_path("can't read", directory, error);
    for entry in fs::read_dir(directory).map_err(reading)? {
        let entry = entry.map_err(reading)?;
        if entry.file_type().map_err(reading)?.is_dir() {
            probe_all(&entry.path())?;
        }
    }
    Ok(())
}

fn remove(directory: &Path) -> io::Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Syncs all files below, and the directories that name them.
fn sync_tree(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_tree(&entry.path())?;
        } else {
            sync_file(&entry.path())?;
        }
    }
    sync_directory(directory)
}

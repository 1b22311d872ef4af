//! Opening sled's files: what a killed process may have left, and whether sled's threads can be started.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::mpsc;
use std::thread;

use super::error::failed;
use super::flusher::Flusher;
use crate::engine::deadline::Deadline;
use crate::engine::durable_files::{rewrite, sync_directory};
use crate::engine::key_value::directory::{Directory, hold};
use crate::engine::key_value::keys;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::observe::Event;
use crate::store::options::StoreOptions;

const ENGINE: &str = "sled";
const OPENING: &str = "to open";

const HELD: &str = "is still held by sled, as after a failed write: restart the process that had it open";

/// sled's own file, the one that has to be synced.
const LOG: &str = "db";
/// The directory of sled's blobs, which do not fit into a segment.
pub(super) const BLOBS: &str = "blobs";

/// An open database in a directory of ours. Fields are dropped in order: the directory's lock goes last.
#[derive(Debug)]
pub(super) struct Opened {
    pub db: sled::Db,
    /// That of `db`: it tells the error that sled has for all.
    pub config: sled::Config,
    /// A descriptor of sled's file, to sync it by.
    pub log: File,
    /// Whether nothing was left unsynced.
    pub is_clean: bool,
    pub directory: Directory,
}

/// Opens the directory at `path`, and creates it if there is none or an empty one.
pub(super) fn open(path: &Path, options: &StoreOptions) -> Result<Opened> {
    probe_threads()?;
    let until = Deadline::after(options.busy_timeout());
    let mut directory = Directory::open(ENGINE, path, options, until, |new| {
        let db = config(new).open().map_err(failed(OPENING))?;
        Flusher::start(move || db.flush())?.flush()
    })?;
    let data = directory.data();
    let storage = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => {
            let message = format!("the sled store at {} has lost files", path.display());
            Error::new(ErrorKind::Corrupt, message).with_source(source)
        }
        _ => Error::io(format!("can't open the sled store at {}", path.display()), source),
    };
    // sled's threads may let go of its file a moment after its last handle is dropped, or never after a failed write, and
    // sled itself does not wait. Under our lock nobody else can take it.
    let log = OpenOptions::new().read(true).write(true).open(data.join(LOG)).map_err(storage)?;
    drop(hold(log, path, ENGINE, until).map_err(|error| match error.kind() {
        ErrorKind::Busy => Error::new(ErrorKind::Busy, format!("{} {HELD}", path.display())),
        _ => error,
    })?);
    let is_clean = !directory.is_unsynced();
    remove_snapshots(&data).map_err(storage)?;
    if !is_clean {
        let bytes = heal(&data).map_err(storage)?;
        options.observing().tell(|| Event::Healed { bytes });
    }
    let config = config(&data);
    let db = config.open().map_err(failed(OPENING))?;
    directory.check_end(db.get(keys::CLOSED).map_err(failed(OPENING))?.as_deref())?;
    let log = OpenOptions::new().write(true).open(data.join(LOG)).map_err(storage)?;
    Ok(Opened { db, config, log, is_clean, directory })
}

/// sled goes on without the threads that it can't start, and waits for their work for ever. It has seven from
/// the start, and more when it is busy.
fn probe_threads() -> Result<()> {
    const THREADS: usize = 10;
    let mut held = Vec::new();
    for _ in 0..THREADS {
        let (hold, held_up) = mpsc::channel::<()>();
        let wait = move || {
            let _ = held_up.recv();
        };
        let started = thread::Builder::new().name("profile-store-probe".to_owned()).spawn(wait);
        let thread = started.map_err(|source| {
            Error::io(
                "can't open a sled store: the process may not start the threads that sled needs",
                source,
            )
        });
        held.push((hold, thread?));
    }
    for (hold, thread) in held {
        drop(hold);
        // It can't panic.
        let _ = thread.join();
    }
    Ok(())
}

/// Makes durable what a process has left that may not have been able to sync, and returns how many bytes that is.
fn heal(data: &Path) -> io::Result<u64> {
    let mut bytes = rewrite(&data.join(LOG))?;
    let blobs = data.join(BLOBS);
    for blob in fs::read_dir(&blobs)? {
        bytes += rewrite(&blob?.path())?;
    }
    sync_directory(&blobs).map(|()| bytes)
}

/// Removes the snapshots that a process was killed over, which sled takes for damage, for ever.
fn remove_snapshots(data: &Path) -> io::Result<()> {
    for entry in fs::read_dir(data)? {
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

//! Opening the file: whose it is, its schema, its settings.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, TryLockError};
use std::thread;
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::types::Value;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _};

use super::error::{engine_error, failed};
use super::files::{beside, find, storage};
use crate::engine::deadline::Deadline;
use crate::engine::durable_files::{rewrite, sync_directory};
use crate::engine::identity::Opened;
use crate::model::error::{Error, ErrorKind, Result};
use crate::store::observe::Event;
use crate::store::options::{Durability, StoreOptions};

const OPENING: &str = "to open";

/// `PSTO`, in the header of every file of ours (SQLite's `application_id`).
pub(super) const APPLICATION_ID: u64 = 0x5053_544F;

/// The format, in the header (SQLite's `user_version`).
const FORMAT: u64 = 2;

/// The tables of the format. Keys of gurus are never given again (`AUTOINCREMENT`): what a deleted guru has
/// left until it is removed can't become another's.
const SCHEMA: &str = "
    CREATE TABLE guru (
        id                INTEGER PRIMARY KEY AUTOINCREMENT,
        slug              TEXT    NOT NULL UNIQUE,
        checksum          INTEGER NOT NULL,
        profiles          INTEGER,
        profiles_checksum INTEGER
    ) STRICT;
    CREATE TABLE profile (
        guru             INTEGER NOT NULL,
        external_user_id TEXT    NOT NULL,
        memory           TEXT    NOT NULL,
        created_at       INTEGER NOT NULL,
        updated_at       INTEGER NOT NULL,
        checksum         INTEGER NOT NULL,
        UNIQUE (guru, external_user_id)
    ) STRICT;
    CREATE TABLE emptied (
        guru     INTEGER PRIMARY KEY,
        checksum INTEGER NOT NULL
    ) STRICT;
";

/// The statement that made a table.
const MADE_BY: &str = "SELECT sql FROM sqlite_schema WHERE type = 'table' AND name = ?1";

/// The tables by name, each with the statement that makes it.
fn tables() -> impl Iterator<Item = (&'static str, &'static str)> {
    let statements = SCHEMA.split(';').filter(|statement| !statement.trim().is_empty());
    statements.map(|statement| (words(statement).nth(2).expect("it makes a table"), statement))
}

fn words(sql: &str) -> impl Iterator<Item = &str> {
    sql.split_ascii_whitespace()
}

/// Bytes of a page. Random ids dirty a page of the index each once there are many profiles, so that
/// larger pages write more. They are a little faster up to some hundred thousand profiles.
const PAGE_BYTES: i64 = 4096;

/// Page cache of the writer and of each reader, in KiB.
const WRITER_CACHE_KIB: i64 = 32 << 10;
const READER_CACHE_KIB: i64 = 8 << 10;

/// How long an open store lets SQLite wait for the locks of others at a time: its threads try again (P2).
pub(super) const STEP: Duration = Duration::from_millis(50);

/// Held while a file is looked for, and created by a descriptor of its own: no other opening of this process may
/// hold SQLite's locks on it by then, as closing any descriptor of a file drops them all.
static FINDING: Mutex<()> = Mutex::new(());

/// The connections of an open file.
pub(super) struct Connections {
    /// The absolute path of the file, which is no link.
    pub path: PathBuf,
    /// Which file that is.
    pub opened: Opened,
    pub writer: Connection,
    /// Moves the log into the file.
    pub checkpointer: Connection,
    pub readers: Vec<Connection>,
}

/// Opens the file, and creates its schema.
pub(super) fn open(path: &Path, options: &StoreOptions) -> Result<Connections> {
    let deadline = Deadline::after(options.busy_timeout());
    let finding = turn(deadline)?;
    let path = find(path, options.create())?;
    drop(finding);
    // If several connections turn the log on at once, SQLite refuses some without waiting.
    let opened = loop {
        match open_file(path.clone(), options, deadline) {
            Err(error) if error.kind() == ErrorKind::Busy && !deadline.is_over() => thread::sleep(STEP / 5),
            opened => break opened,
        }
    };
    opened.map_err(|error| match engine_error(&error).map(|failure| failure.code) {
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly) => {
            let message = format!(
                "SQLite can't write its log and its shared memory beside {}: see to the permissions of the directory and to \
                 its volume, or open it for reading only",
                path.display()
            );
            Error::new(error.kind(), message).with_source(error)
        }
        _ => error,
    })
}

/// Waits for the other openings of this process to find their files.
fn turn(until: Deadline) -> Result<MutexGuard<'static, ()>> {
    loop {
        match FINDING.try_lock() {
            Ok(turn) => return Ok(turn),
            Err(TryLockError::Poisoned(turn)) => return Ok(turn.into_inner()),
            Err(TryLockError::WouldBlock) if until.is_over() => {
                let message = "the file of another SQLite store of this process is being looked for, which takes longer";
                return Err(Error::new(ErrorKind::Busy, message));
            }
            Err(TryLockError::WouldBlock) => thread::sleep(STEP / 5),
        }
    }
}

fn open_file(path: PathBuf, options: &StoreOptions, until: Deadline) -> Result<Connections> {
    let writer = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE, until)?;
    create(&writer, &path, options, until)?;
    set_up_writer(&writer, options, until)?;
    let checkpointer = connect(&path, OpenFlags::SQLITE_OPEN_READ_WRITE, until)?;
    set_up_checkpointer(&checkpointer, options)?;
    let reader = || {
        let reader = connect(&path, OpenFlags::SQLITE_OPEN_READ_ONLY, until)?;
        set_up_reader(&reader)?;
        Ok(reader)
    };
    let readers = (0..options.read_threads()).map(|_| reader()).collect::<Result<_>>()?;
    // The log is there by now. SQLite syncs its name with the first commit and drops the error.
    let directory = path.parent().unwrap_or(&path);
    sync_directory(directory).map_err(storage(&path))?;
    for opened in [&writer, &checkpointer].into_iter().chain(&readers) {
        wait_for_locks(opened, STEP)?;
    }
    let files = [path.clone(), beside(&path, "-wal"), beside(&path, "-shm")];
    let opened = Opened::new(files).map_err(storage(&path))?;
    Ok(Connections { path, opened, writer, checkpointer, readers })
}

pub(super) fn connect(path: &Path, access: OpenFlags, until: Deadline) -> Result<Connection> {
    let connection = Connection::open_with_flags(path, access | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|error| not_opened(path, failed(OPENING)(error)))?;
    // If SQLite can't open the file for writing, it opens it for reading and says nothing. `BEGIN IMMEDIATE` is
    // then a plain read, and succeeds.
    if access.contains(OpenFlags::SQLITE_OPEN_READ_WRITE)
        && connection.is_readonly("main").map_err(failed(OPENING))?
    {
        let message = format!(
            "{} can't be opened for writing: see to its permissions and its volume, or open it for reading only",
            path.display()
        );
        return Err(Error::new(ErrorKind::PermissionDenied, message));
    }
    wait_for_locks(&connection, until.remaining())?;
    connection.set_prepared_statement_cache_capacity(32);
    for (config, on) in [
        // Until the file is known to be ours, closing does not touch its log.
        (DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true),
        // A schema that somebody else has written into can't run code, or reach shadow tables.
        (DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true),
        (DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false),
    ] {
        connection.set_db_config(config, on).map_err(failed(OPENING))?;
    }
    Ok(connection)
}

/// SQLite gives no reason if it can't open a file. A file that is there is another user's, unless nothing can be opened.
fn not_opened(path: &Path, error: Error) -> Error {
    let cannot_open = engine_error(&error).is_some_and(|failure| failure.code == ErrorCode::CannotOpen);
    if !cannot_open || !path.is_file() {
        return error;
    }
    // Not the file itself: closing that would drop the locks that another store of this process has on it.
    const TOO_MANY_FILES: [Option<i32>; 2] = [Some(23), Some(24)];
    match fs::File::open("/dev/null") {
        Err(source) if TOO_MANY_FILES.contains(&source.raw_os_error()) => {
            Error::at_path("open", path, source)
        }
        _ => {
            let message = format!("{} can't be opened: see to its permissions", path.display());
            Error::new(ErrorKind::PermissionDenied, message).with_source(error)
        }
    }
}

/// Has SQLite wait so long for the locks of others. It counts milliseconds in an `i32`.
pub(super) fn wait_for_locks(connection: &Connection, patience: Duration) -> Result<()> {
    const LONGEST: Duration = Duration::from_millis(i32::MAX as u64);
    connection.busy_timeout(patience.min(LONGEST)).map_err(failed("to set how long it waits"))
}

/// Makes sure that the file is ours, and creates the schema in one that is empty, in one transaction.
fn create(connection: &Connection, path: &Path, options: &StoreOptions, until: Deadline) -> Result<()> {
    let is_new = is_new(connection, path)?;
    if is_new && !options.create() {
        return Err(Error::no_store(path));
    }
    secure_log(connection, path, options)?;
    wait_for_locks(connection, until.remaining())?;
    if is_new {
        set(connection, &format!("PRAGMA page_size = {PAGE_BYTES}"))?;
        // Outside the log this syncs the directory too, so that the file's name is durable.
        set(connection, "PRAGMA synchronous = EXTRA")?;
        set(connection, "BEGIN IMMEDIATE")?;
        // Another process may have been faster.
        if judge(connection, path)? {
            for (_, statement) in tables() {
                set(connection, statement)?;
            }
            set(connection, &format!("PRAGMA user_version = {FORMAT}"))?;
            set(connection, &format!("PRAGMA application_id = {APPLICATION_ID}"))?;
        }
        set(connection, "COMMIT")?;
    }
    let ours = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
    ours.map_err(failed(OPENING)).map(drop)
}

/// Makes the frames durable that recovery has found in an old log, before anything is built on them.
fn secure_log(connection: &Connection, path: &Path, options: &StoreOptions) -> Result<()> {
    let log = beside(path, "-wal");
    if fs::metadata(&log).map_or(0, |found| found.len()) == 0 {
        return Ok(());
    }
    // Under the writer's lock nobody changes the log, and rewriting it is invisible to readers.
    // SQLite has no locks on this file, so that its descriptor may be closed.
    set(connection, "BEGIN IMMEDIATE")?;
    let rewritten = rewrite(&log).map_err(storage(path));
    set(connection, "ROLLBACK")?;
    let bytes = rewritten?;
    options.observing().tell(|| Event::Healed { bytes });
    Ok(())
}

/// Whether the file is empty; else it is ours. All of it is asked of one moment, as another process may be
/// creating the file.
pub(super) fn is_new(connection: &Connection, path: &Path) -> Result<bool> {
    set(connection, "BEGIN")?;
    let found = judge(connection, path);
    let ended = set(connection, "ROLLBACK");
    let is_new = found?;
    ended.map(|()| is_new)
}

/// [`is_new`], within a transaction.
fn judge(connection: &Connection, path: &Path) -> Result<bool> {
    let refuse = |what: &str| {
        let message = format!("{} {what}; it was left as it was", path.display());
        Err(Error::new(ErrorKind::Incompatible, message))
    };
    let number = |sql| number(connection, sql).map_err(failed(OPENING));
    let objects = number("SELECT count(*) FROM sqlite_schema")?;
    // Ids are ordered by the bytes of their UTF-8, and the text of a memory is one sequence of bytes.
    match pragma(connection, "PRAGMA encoding").map_err(failed(OPENING))? {
        Value::Text(encoding) if encoding == "UTF-8" => {}
        other => return refuse(&format!("is an SQLite database whose texts are not in UTF-8 ({other:?})")),
    }
    match (number("PRAGMA application_id")?, number("PRAGMA user_version")?) {
        (0, 0) if objects == 0 => Ok(true),
        (APPLICATION_ID, FORMAT) => {
            for (name, statement) in tables() {
                let made_by = connection.query_row(MADE_BY, [name], |row| row.get::<_, String>(0)).optional();
                match made_by.map_err(failed(OPENING))? {
                    Some(made_by) if words(&made_by).eq(words(statement)) => {}
                    Some(_) => return refuse(&format!("has another table {name} than a store has")),
                    None => return refuse(&format!("has lost its table {name}")),
                }
            }
            Ok(false)
        }
        (APPLICATION_ID, 1) => refuse("was made by an unreleased version of profile-store"),
        (APPLICATION_ID, found @ 2..) => {
            refuse(&format!("has format version {found}, this build of profile-store knows up to {FORMAT}"))
        }
        _ => refuse("is an SQLite database of something else"),
    }
}

fn set_up_writer(connection: &Connection, options: &StoreOptions, until: Deadline) -> Result<()> {
    wait_for_locks(connection, until.remaining())?;
    let mode = pragma(connection, "PRAGMA journal_mode = WAL").map_err(failed(OPENING))?;
    check_log_is_on(&mode)?;
    set_synchronous(connection, options)?;
    for sql in [
        // The log's file keeps this many bytes once the log has begun again: those of a usual one.
        format!("PRAGMA journal_size_limit = {}", options.log_bytes() / 4),
        format!("PRAGMA cache_size = -{WRITER_CACHE_KIB}"),
        format!("PRAGMA secure_delete = {}", if options.erasing() { "ON" } else { "OFF" }),
        "PRAGMA cell_size_check = ON".to_owned(),
    ] {
        set(connection, &sql)?;
    }
    // If SQLite can't open the log for writing, it opens it for reading and says nothing. It then refuses the
    // writer's lock.
    wait_for_locks(connection, until.remaining())?;
    set(connection, "BEGIN IMMEDIATE")?;
    set(connection, "ROLLBACK")
}

fn set_up_checkpointer(connection: &Connection, options: &StoreOptions) -> Result<()> {
    check_log_is_seen(connection)?;
    set_synchronous(connection, options)?;
    set(connection, "PRAGMA wal_autocheckpoint = 0")?;
    // Leaving a clean file is the writer's part.
    let leaves = connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true);
    leaves.map_err(failed(OPENING)).map(drop)
}

fn set_synchronous(connection: &Connection, options: &StoreOptions) -> Result<()> {
    match options.durability() {
        // As FULL with the log on, and safe without it.
        Durability::PowerLoss => set(connection, "PRAGMA synchronous = EXTRA"),
        Durability::ProcessCrash => set(connection, "PRAGMA synchronous = NORMAL"),
    }
}

fn set_up_reader(connection: &Connection) -> Result<()> {
    check_log_is_seen(connection)?;
    set_up_reading(connection)
}

/// The settings of every connection that reads.
pub(super) fn set_up_reading(connection: &Connection) -> Result<()> {
    set(connection, &format!("PRAGMA cache_size = -{READER_CACHE_KIB}"))?;
    set(connection, "PRAGMA cell_size_check = ON")
}

/// Reading the schema makes the connection look at the file itself; only then does it know the mode.
/// `PRAGMA journal_mode = WAL` answers "wal" even if its own write has failed.
fn check_log_is_seen(connection: &Connection) -> Result<()> {
    pragma(connection, "SELECT count(*) FROM sqlite_schema").map_err(failed(OPENING))?;
    let mode = pragma(connection, "PRAGMA journal_mode").map_err(failed(OPENING))?;
    check_log_is_on(&mode)
}

fn check_log_is_on(mode: &Value) -> Result<()> {
    match mode {
        Value::Text(mode) if mode == "wal" => Ok(()),
        _ => {
            let message = "SQLite can't turn on its write-ahead log: another process holds the file, \
                           or the file system has no shared memory";
            Err(Error::new(ErrorKind::Busy, message))
        }
    }
}

fn set(connection: &Connection, sql: &str) -> Result<()> {
    pragma(connection, sql).map(drop).map_err(failed(OPENING))
}

/// The number that a statement gives.
pub(super) fn number(connection: &Connection, sql: &str) -> rusqlite::Result<u64> {
    match pragma(connection, sql)? {
        Value::Integer(number) => Ok(number.cast_unsigned()),
        other => Err(rusqlite::Error::InvalidColumnType(0, sql.to_owned(), other.data_type())),
    }
}

/// Steps a statement to its end, where errors of its syncs show up, and gives the first column of
/// its first row.
pub(super) fn pragma(connection: &Connection, sql: &str) -> rusqlite::Result<Value> {
    let mut statement = connection.prepare(sql)?;
    let mut rows = statement.query([])?;
    let mut first = Value::Null;
    let mut any = false;
    while let Some(row) = rows.next()? {
        if !any {
            first = row.get(0)?;
            any = true;
        }
    }
    Ok(first)
}

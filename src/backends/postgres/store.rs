//! The store: [`PostgresStore`].

use std::sync::Arc;

use crate::engine::threaded::Threaded;
use crate::model::error::Result;
use crate::store::forward::forward;
use crate::store::options::StoreOptions;

use super::connection::{Link, Purpose};
use super::open;
use super::reader::Reader;
use super::target::Target;
use super::writer::Writer;

/// Profiles in a PostgreSQL database, for any number of processes and machines (feature `postgres`).
///
/// - **The same contract**: memories come back byte for byte, with the same ETags, in the same order;
///   a store is moved here by [`copy`](crate::copy()).
/// - **Durable**: a batch is one transaction, committed with `synchronous_commit = on`, unless opened
///   with [`Durability::ProcessCrash`](crate::Durability::ProcessCrash) (S2). A server that runs with
///   `fsync = off` loses data at power loss all the same.
/// - **Nothing for nothing**: what changes nothing writes nothing to the log, locks no row and waits for
///   nobody (S5).
/// - **One round trip**: a batch that replaces memories is one statement, which looks at what is there by itself.
///   Merges, conditions and deletes read first.
/// - **Concurrent**: 8 connections write ([`with_write_connections`](StoreOptions::with_write_connections)) and 4 read
///   ([`with_read_threads`](StoreOptions::with_read_threads)), each with a thread of its own, opened when
///   first needed. Small batches of one process share a transaction. Rows are locked in the order of the
///   key by everyone, so batches never deadlock.
/// - **Any executor**: the connections' tokio runtimes are the store's own and run on its threads. A
///   caller that drops its future leaves no transaction open behind (S10, S11).
/// - **Poolers**: PgBouncer's transaction mode will do: nothing depends on prepared statements or on settings of
///   a session. A connection that writes asks for its settings when it is opened; where they come through, a
///   batch is one statement to read and one to write, prepared. Where a pooler refuses them or leaves them out,
///   each transaction brings them along. A pooler that hands startup options on to the server and yet
///   shares that session between transactions can't be told from a server: have it drop them.
/// - **Citus**, for what outgrows a machine: its tables are in `src/backends/postgres/schema/citus.sql`.
///
/// # What is different from an embedded store
/// - **Time** is the clock of the process that writes. Clocks that differ can stamp a later change of
///   another profile earlier; one profile's `updated_at` still only moves on.
/// - **Isolation**: the history of each profile is linearizable (S9), and no reader sees half a batch. An
///   item that writes nothing (unchanged, or failed on its condition) is judged by what was there when
///   the batch was read, a moment before the others are written.
/// - **Damage**: a memory is replaced without being read. So a plain upsert of a damaged profile puts another
///   memory in the place of what is there, and says unchanged where that is the same, instead of `Corrupt`. What
///   it does not replace, the time of creation, keeps a checksum of its own, so that damage to it still
///   shows on every read; and every other call says `Corrupt` as long as there is any. Citus reads it first,
///   and say `Corrupt`.
/// - **A page** of more than some hundred profiles is read by several statements, each of a state of its
///   own; L1 holds as it does between pages. [`verify`](crate::ProfileStore::verify) and
///   [`get_many`](crate::ProfileStore::get_many) are one state. On Citus `verify` has no
///   snapshot across nodes, so across gurus it is several states.
/// - **Counting** reads the guru's part of the index; [`stats`](crate::ProfileStore::stats) reads all rows.
///   Its bytes are those of the table and its index, not of the server's log.
/// - **Compacting** rewrites the table (`VACUUM FULL`), which takes its owner, and keeps readers out
///   meanwhile. Erased bytes stay in the server's log, its replicas and backups, until those let go of them
///   (L3).
///
/// # Errors and patience
/// Serialization failures, deadlocks, lost connections and a server that is full, starting or gone are
/// tried again, with pauses that vary, for the [busy timeout](StoreOptions::with_busy_timeout), which is
/// also the longest wait for a lock; then the error is [`Busy`](crate::ErrorKind::Busy). A statement
/// that is no scan may take 60 seconds. A full disk, a missing right, or a server that only reads
/// is [`Storage`](crate::ErrorKind::Storage). Words of the server are in the error's source, without
/// the details that could quote a memory (S14).
///
/// Where a connection is lost during a commit, nobody knows whether it was made. The next try looks:
/// a row with the checksum that the lost try gave it is proof, and each item is told what that try did,
/// a create-only one its success. A profile that others have changed or removed again within that moment may
/// be told as updated where it was created or unchanged. If all of them were overwritten by others within that moment, the batch
/// is taken for not stored, and made again. The server is told to stop a lost statement; one that runs on all the same, and
/// is only taken up after its profiles were deleted by a later call, brings them back. If the time is up before the server can be asked, the error
/// says that the batch may be stored.
///
/// ```no_run
/// use profile_store::{PostgresStore, StoreOptions};
///
/// # async fn open() -> profile_store::Result<()> {
/// let url = "postgres://app:secret@db.example/profiles?sslmode=require";
/// let store = PostgresStore::open(url, StoreOptions::default()).await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct PostgresStore(Threaded<Reader>);

impl PostgresStore {
    /// Opens the store in the database that `url` names, and makes its tables if there are none, in the
    /// schema `profile_store`. A role that may not make them is enough once they are there;
    /// `src/backends/postgres/schema/postgresql.sql` says what to run and to grant.
    ///
    /// The URL is one of libpq's, `postgres://USER:PASSWORD@HOST:PORT/DATABASE?…`, with several hosts if need be
    /// (`target_session_attrs=read-write` finds the one that writes). A directory of a Unix socket is
    /// written as a host with its slashes as `%2F`. With the feature `postgres-tls`, TLS is used where the server
    /// offers it (`sslmode=require` insists, `disable` does without), and the server's certificate is always
    /// verified, chain and name, against `sslrootcert=FILE` or else the system's roots. Client certificates
    /// are not supported.
    ///
    /// Dropping the future gives up waiting; what has begun on the store's thread ends by itself.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a URL that can't be read, an unknown database, or a wrong
    /// user or password; [`Unsupported`](crate::ErrorKind::Unsupported) where TLS is asked for and not compiled in;
    /// [`Incompatible`](crate::ErrorKind::Incompatible) for tables of a newer format, or a schema of this name that is
    /// something else's, which are left as they were (S13); [`Busy`](crate::ErrorKind::Busy) where the server can't be
    /// reached; [`Storage`](crate::ErrorKind::Storage) where it refuses, or its certificate can't be verified.
    /// None of them shows the URL.
    pub async fn open(url: &str, options: StoreOptions) -> Result<Self> {
        let target = Arc::new(Target::new(url, &options)?);
        let further = options.write_connections() - 1;
        let opened = Threaded::open(options, further, move |options, _| {
            let writer = |link| Writer::new(link, Arc::clone(&target));
            let link = |purpose| Link::new(Arc::clone(&target), purpose);
            let mut first = link(Purpose::Writing);
            open::prepare(&mut first, &target)?;
            let further = (0..further).map(|_| writer(link(Purpose::Writing))).collect();
            let readers = (0..options.read_threads()).map(|_| Reader::new(link(Purpose::Reading))).collect();
            Ok((writer(first), further, readers))
        });
        Ok(Self(opened.await?))
    }
}

forward!(PostgresStore, |store| store.0);

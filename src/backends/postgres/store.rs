//! The store: [`PostgresStore`].

use std::sync::Arc;

use crate::engine::threaded::Threaded;
use crate::model::error::Result;
use crate::store::forward::forward;
use crate::store::options::StoreOptions;

use super::open;
use super::pool::Pool;
use super::reader::Reader;
use super::target::Target;
use super::writer::Writer;

/// Profiles in a PostgreSQL database, for any number of processes and machines (feature `postgres`).
///
/// The contract is the same: memories come back byte for byte, with the same ETags, in the same order. A store is moved
/// here by [`copy`](crate::copy()). The guide's page on PostgreSQL has setting up, sizing and Citus.
///
/// # Durability
/// A batch is one transaction, committed with `synchronous_commit = on`, unless the store is opened with
/// [`Durability::ProcessCrash`](crate::Durability::ProcessCrash) ([S2]). A batch is read first, without a lock. If it changes
/// nothing, it writes nothing to the server's log, locks no row and waits for nobody ([S5]).
///
/// A server that runs with `fsync = off` can lose everything at a power loss. It is refused, unless the store is opened with
/// [`Durability::ProcessCrash`](crate::Durability::ProcessCrash) or for reading only.
///
/// # Concurrency
/// 8 threads write ([`with_write_connections`](StoreOptions::with_write_connections)) and 4 read
/// ([`with_read_threads`](StoreOptions::with_read_threads)). They share up to as many connections, opened when needed. If
/// the server allows fewer, the threads take turns. Small batches of one process share a transaction. All batches lock
/// their rows in key order, so they never deadlock. A `delete_guru` can; one of the two is then retried.
///
/// Any executor will do: the connections' tokio runtimes are the store's own, on its threads. A caller that drops its
/// future leaves no transaction open ([S10], [S11]).
///
/// # Poolers
/// PgBouncer's transaction mode works: nothing depends on prepared statements or on settings of a session. A connection
/// asks for its settings when it is opened, and prepares its statements if the settings come through. Otherwise each
/// transaction brings the settings along.
///
/// **Warning.** Don't use a pooler that passes startup options to the server and still shares the session between
/// transactions. The store then mistakes the pooler for a server, and its transactions may run on sessions without the store's
/// settings. An acknowledged batch can be lost in a crash of the server. Configure the pooler to drop the options.
///
/// # Differences from an embedded store
/// - **Time** is the clock of the process that writes. Different clocks can stamp a later change of another profile
///   earlier. One profile's `updated_at` still only moves on.
/// - **Isolation**: the history of each profile is linearizable ([S9]), and no reader sees half a batch. An unchanged item, or
///   one that failed on its condition, is judged by the state that the batch read, a moment before the others are written.
/// - **Triggers**: the server returns every row that it has written. If the table has triggers, the store reads the rows again
///   before the commit. If a trigger or a rule has changed a row of the batch or left it out, the batch is not stored, and its
///   error is [`Incompatible`](crate::ErrorKind::Incompatible). Triggers that write elsewhere are fine.
/// - **Pages** of 128 profiles or more may be read by several statements, each of its own state. So may a page from which a
///   filter or a time leaves profiles out. [L1] holds as it does between pages. [`verify`](crate::ProfileStore::verify) and [`get_many`](crate::ProfileStore::get_many) read one state.
///   Citus has no snapshot across nodes, so `verify` there may read different gurus in different states.
/// - **Counting** reads the guru's part of the index. [`stats`](crate::ProfileStore::stats) reads all rows. Its bytes are those
///   of the table and its index, not of the server's log.
/// - **Reading only** ([`with_read_only`](StoreOptions::with_read_only)): transactions are read-only, a role that may read is
///   enough, and the server may be a standby. A standby serves what it has received so far (not [S9]).
///
/// # Erasure ([L3])
/// [`compact`](crate::ProfileStore::compact) rewrites the table (`VACUUM FULL`). Only the owner may, and readers wait until
/// it is done. For an older transaction of the database, whatever it reads, the server would keep deleted rows: `compact` waits
/// for its end, and is [`Busy`](crate::ErrorKind::Busy) after the busy timeout. It does not see those on a standby with
/// `hot_standby_feedback`, nor those on the workers of Citus. Erased bytes stay in the server's log, its replicas and backups until those let go of them. On Citus a
/// guru's slug stays in the receipts of its last writers for a day, and then until a store is opened.
///
/// # Errors and waiting
/// Serialization failures, deadlocks, foreign locks, lost connections, and a server that is full, starting or gone are
/// retried, with pauses that vary. The [busy timeout](StoreOptions::with_busy_timeout) counts from the call. After it the
/// error is [`Busy`](crate::ErrorKind::Busy), and nothing was written ([P2]). A statement that is no scan may take 60
/// seconds. A server that says nothing for two minutes is given up on; in a scan of a guru's profiles (`count`, `gurus`, `delete_guru`) for an
/// hour. A full disk or a missing right is reported at once. The server's words are in the error's source, without
/// the details that could quote a memory ([S14]).
///
/// If the answer to a commit is lost, the store asks the server. Each transaction leaves a receipt with a number of its
/// own, so the answer is certain: each item gets its own outcome, whatever others have done since. The store keeps asking
/// for as long as the busy timeout. If no server answers, the error says that the batch [may be stored](crate::Error::may_be_stored). After
/// a failover to a standby that had not received the commit, the batch is made again.
///
/// ```no_run
/// use profile_store::PostgresStore;
///
/// # async fn open() -> profile_store::Result<()> {
/// let url = "postgres://app:secret@db.example/profiles?sslmode=require";
/// let store = PostgresStore::open(url).await?;
/// # Ok(()) }
/// ```
///
/// [L1]: crate::contract#l1
/// [L3]: crate::contract#l3
/// [P2]: crate::contract#p2
/// [S2]: crate::contract#s2
/// [S5]: crate::contract#s5
/// [S9]: crate::contract#s9
/// [S10]: crate::contract#s10
/// [S11]: crate::contract#s11
/// [S14]: crate::contract#s14
#[derive(Debug)]
pub struct PostgresStore(Threaded<Reader>);

impl PostgresStore {
    /// [`open_with`](Self::open_with) default options.
    ///
    /// # Errors
    /// Those of [`open_with`](Self::open_with).
    pub async fn open(url: &str) -> Result<Self> {
        Self::open_with(url, StoreOptions::default()).await
    }

    /// Opens the store in the database that `url` names, and makes its tables if there are none, in the
    /// schema `profile_store`. A role that may not make them is enough once they are there;
    /// [`postgresql.sql`](https://docs.rs/crate/profile-store/latest/source/src/backends/postgres/schema/postgresql.sql)
    /// says what to run and to grant.
    ///
    /// The URL is one of libpq's, `postgres://USER:PASSWORD@HOST:PORT/DATABASE?…`. A directory of a Unix socket is
    /// written as a host with its slashes as `%2F`. If there are several hosts, separated by commas, the first one that
    /// writes is used, for reads too: a standby lags ([S9](crate::contract#s9)). Each host, and each address of a name, has its share of
    /// the busy timeout, so a silent one does not keep the store from the next.
    ///
    /// These parameters are understood: `user`, `password`, `host`, `hostaddr`, `port`, `dbname`, `application_name`,
    /// `options`, `connect_timeout` (seconds for each address), `keepalives`, `keepalives_idle`, `keepalives_interval`,
    /// `keepalives_count`, `sslmode` (`disable`, `prefer`, `require`, `verify-full`), `sslrootcert`, `sslnegotiation`,
    /// `channel_binding`, `load_balance_hosts`, and `target_session_attrs=read-write`, which is the default. Opened for
    /// reading only, a store also takes `any`, the default then, and `read-only`. All other parameters are refused,
    /// among them client certificates. The environment (`PGHOST`), `.pgpass` and service files
    /// are not read.
    ///
    /// With the feature `postgres-tls`, TLS is used if the server offers it (`sslmode=require` insists, `disable` does
    /// without). The server's certificate is always verified, chain and name, against `sslrootcert=FILE` or else, like
    /// `sslrootcert=system`, the system's roots.
    ///
    /// Dropping the future gives up waiting; what has begun on the store's thread ends by itself.
    ///
    /// # Errors
    /// [`InvalidInput`](crate::ErrorKind::InvalidInput) for a URL that can't be read or kept, that names no host or other numbers of hosts and ports, or
    /// an unreadable file of certificates; [`NotFound`](crate::ErrorKind::NotFound) for an unknown database, or one without tables if none are
    /// to be made; [`PermissionDenied`](crate::ErrorKind::PermissionDenied) for a wrong user or password, a missing
    /// right, or a certificate that can't be verified; [`Unsupported`](crate::ErrorKind::Unsupported) if TLS is asked
    /// for and not compiled in; [`Incompatible`](crate::ErrorKind::Incompatible) for tables of another format, a schema
    /// of this name that is something else's, and a database that can't keep the contract. That is one that is not in UTF-8,
    /// or whose server runs without `fsync`. It is also one with an unlogged table, policies that hide rows, keys in another
    /// order or without their unique index, or other columns or types. All of them are left as they were ([S13](crate::contract#s13)).
    /// [`ReadOnly`](crate::ErrorKind::ReadOnly) if the server only reads, and [`Busy`](crate::ErrorKind::Busy) if it
    /// can't be reached, for the busy timeout.
    /// None of them shows the URL.
    pub async fn open_with(url: &str, options: StoreOptions) -> Result<Self> {
        options.check()?;
        options.refuse_erasing("PostgreSQL")?;
        let target = Target::new(url, &options)?;
        // One thread is enough to refuse.
        let writers = if options.read_only() { 1 } else { options.write_connections() };
        let further = writers - 1;
        let opened = Threaded::open(options, further, move |options, _, _| {
            let pool =
                Arc::new(Pool::new(target, writers + options.read_threads(), options.observing().clone()));
            open::prepare(&pool)?;
            let writer = || Writer::new(Arc::clone(&pool));
            let readers = (0..options.read_threads()).map(|_| Reader::new(Arc::clone(&pool))).collect();
            Ok((writer(), (0..further).map(|_| writer()).collect(), readers))
        });
        Ok(Self(opened.await?))
    }

    /// Identifies the database, whatever names a URL has for it: two stores that return the same text now hold the same
    /// profiles. It is the server's system identifier, the number of the database, and the time at which the server
    /// has started, which differs for a standby and a clone of the server's files.
    ///
    /// Dropping the future changes nothing.
    ///
    /// # Errors
    /// Those of a read, and [`PermissionDenied`](crate::ErrorKind::PermissionDenied) if the role may not call
    /// `pg_control_system()`, which any may by default.
    pub async fn database_id(&self) -> Result<String> {
        self.0.read(|reader| reader.database_id()).await
    }
}

forward!(PostgresStore, |store| store.0);

//! Throw-away servers, from the machine's PostgreSQL binaries.
//!
//! Each lives in a temporary directory, with only a Unix socket and a guardian: a shell script that
//! waits until nobody holds the server's lock any more, and then stops it and removes the directory.
//! So the server goes however the test process ends.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use tokio_postgres::{NoTls, SimpleQueryMessage};

const GUARDIAN: &str = r#"
cd "$1" || exit 1
exec 9<users
until flock --nonblock --exclusive 9; do sleep 1; done
if kill -QUIT "$(head -n 1 data/postmaster.pid)"; then
  while [ -e data/postmaster.pid ]; do sleep 0.1; done
fi
rm -rf "$1"
"#;

/// The server of most tests: the one of the environment, or one that they share.
pub fn shared() -> &'static str {
    static SERVER: LazyLock<Server> = LazyLock::new(|| Server::start("fsync = off"));
    static URL: LazyLock<String> = LazyLock::new(|| {
        std::env::var("PROFILE_STORE_POSTGRES_URL").unwrap_or_else(|_| SERVER.url("postgres"))
    });
    &URL
}

/// A server that this process uses.
#[derive(Debug)]
pub struct Server {
    directory: PathBuf,
    /// Held, shared, as long as the server is needed.
    _users: File,
}

impl Server {
    /// A server of this test's own, with these lines in its configuration.
    pub fn start(settings: &str) -> Self {
        let server = Self::new();
        run(tool("initdb")
            .args(["--no-sync", "--auth=trust", "--username=admin", "--encoding=UTF8", "--locale=C"])
            .arg("-D")
            .arg(server.data())
            .stdout(Stdio::null()));
        server.configure(&format!("listen_addresses = ''\nmax_connections = 200\n{settings}\n"));
        server.begin();
        server
    }

    /// A standby of this server: it follows, and only reads until it is promoted.
    pub fn standby(&self) -> Self {
        let standby = Self::new();
        run(tool("pg_basebackup")
            .args(["--no-sync", "--checkpoint=fast", "--write-recovery-conf", "--username=admin", "--host"])
            .arg(self.directory())
            .arg("-D")
            .arg(standby.data()));
        standby.begin();
        standby
    }

    /// A directory that no other server has.
    fn new() -> Self {
        let directory =
            tempfile::Builder::new().prefix("profile-store-").tempdir().expect("a directory").keep();
        let users = File::create(directory.join("users")).expect("a lock");
        users.lock_shared().expect("the lock of whoever uses the server");
        hand_over(&directory);
        Self { directory, _users: users }
    }

    /// Starts it on its data for the first time, with a socket of its own, and its guardian.
    fn begin(&self) {
        self.configure(&format!("unix_socket_directories = '{}'\n", self.directory.display()));
        self.launch();
        run(Command::new("setsid")
            .args(["--fork", "sh", "-c", GUARDIAN, "guardian"])
            .arg(&self.directory)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()));
    }

    /// The directory of its socket.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Kills all its processes, as losing them without any warning does.
    pub fn crash(&self) {
        let file = self.data().join("postmaster.pid");
        let text = fs::read_to_string(&file).expect("the server runs");
        let postmaster = text.lines().next().expect("its process id");
        let children = Command::new("ps").args(["-o", "pid=", "--ppid", postmaster]).output().expect("ps");
        let children = String::from_utf8(children.stdout).expect("numbers");
        // The postmaster first, so that it starts no more; a child may end by itself meanwhile.
        run(Command::new("kill").args(["-KILL", postmaster]));
        let _ = Command::new("kill").arg("-KILL").args(children.split_whitespace()).output();
        // Dead ones that nobody has waited for may stay, and the next server would take them for alive.
        let alive = || {
            let mut ps = Command::new("ps");
            ps.args(["-o", "stat=", "-p", postmaster]);
            ps.args(children.split_whitespace().flat_map(|child| ["-p", child]));
            let states = String::from_utf8(ps.output().expect("ps").stdout).expect("letters");
            states.lines().any(|state| !state.starts_with('Z'))
        };
        wait_until("all are dead", || !alive());
        fs::remove_file(file).expect("the file of a server that is gone");
        // It names its port.
        for entry in fs::read_dir(&self.directory).expect("the directory").flatten() {
            if entry.file_name().to_string_lossy().starts_with(".s.PGSQL") {
                fs::remove_file(entry.path()).expect("the socket of a server that is gone");
            }
        }
    }

    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Adds lines to the configuration, for the next launch.
    pub fn configure(&self, lines: &str) {
        use std::io::Write as _;
        let file = File::options().append(true).open(self.data().join("postgresql.conf"));
        file.and_then(|mut file| file.write_all(lines.as_bytes())).expect("the configuration takes lines");
    }

    /// Starts the server on its data, and waits until it takes connections.
    pub fn launch(&self) {
        run(tool("pg_ctl")
            .args(["start", "--wait", "--silent", "--log"])
            .arg(self.directory.join("data/log"))
            .arg("-D")
            .arg(self.data())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null()));
    }

    /// A URL for a database of this server, as its superuser.
    pub fn url(&self, database: &str) -> String {
        let sockets = self.directory.to_str().expect("a path in UTF-8").replace('/', "%2F");
        format!("postgres://admin@{sockets}/{database}")
    }
}

/// One of PostgreSQL's programs, as a user that may run a server.
pub fn tool(name: &str) -> Command {
    let path = binaries().join(name);
    let mut command = match unprivileged() {
        Some(user) => {
            let mut command = Command::new("setpriv");
            command.args(["--reuid", user, "--regid", group(user), "--clear-groups"]).arg(path);
            command
        }
        None => Command::new(path),
    };
    // The one the tests run in may be closed to that user.
    command.current_dir("/");
    command
}

fn binaries() -> PathBuf {
    let has = |directory: &PathBuf| directory.join("initdb").exists();
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Debian keeps them out of the PATH, a directory for each version.
    let installed = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = || installed.map(|version| version.path().join("bin")).filter(has).max();
    let found = std::env::split_paths(&path).find(has).or_else(newest);
    let found = found.expect(
        "these tests need a PostgreSQL server: install one (apt-get install postgresql), or name one in \
         PROFILE_STORE_POSTGRES_URL",
    );
    // If the PATH has only links to some of them, the others are beside the targets.
    let program = found.join("initdb").canonicalize().expect("a program that is there");
    program.parent().expect("a directory").to_owned()
}

/// Whom to be instead of root, whom PostgreSQL refuses to serve.
pub fn unprivileged() -> Option<&'static str> {
    static ROOT: LazyLock<bool> = LazyLock::new(|| {
        let id = Command::new("id").arg("-u").output().expect("the program id");
        id.stdout == b"0\n"
    });
    let known = |user: &str| Command::new("id").arg(user).output().is_ok_and(|id| id.status.success());
    ROOT.then(|| if known("postgres") { "postgres" } else { "nobody" })
}

fn group(user: &str) -> &str {
    if user == "nobody" { "nogroup" } else { user }
}

/// Makes a file or a directory the server's own.
pub fn hand_over(path: &Path) {
    if let Some(user) = unprivileged() {
        run(Command::new("chown").arg(format!("{user}:")).arg(path));
    }
}

/// Runs a program to its end, which must be a good one.
pub fn run(command: &mut Command) {
    let status = command.status().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(status.success(), "{command:?}: {status}");
}

/// Runs statements, and gives the columns of the rows that they give.
pub fn sql(url: &str, statements: &str) -> Vec<Vec<String>> {
    try_sql(url, statements).unwrap_or_else(|error| panic!("{statements}: {error:?}"))
}

pub fn try_sql(url: &str, statements: &str) -> Result<Vec<Vec<String>>, tokio_postgres::Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let (client, connection) = tokio_postgres::connect(url, NoTls).await?;
        let connection = tokio::spawn(connection);
        let messages = client.simple_query(statements).await?;
        drop(client);
        let _ = connection.await;
        let rows = messages.into_iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                Some((0..row.len()).map(|at| row.get(at).unwrap_or("NULL").to_owned()).collect())
            }
            _ => None,
        });
        Ok(rows.collect())
    })
}

/// Works while somebody else holds the locks of all profiles.
pub fn while_profiles_are_locked(url: &str, work: impl FnOnce()) {
    while_held(url, "SELECT FROM profile_store.profile FOR UPDATE", work);
}

/// Works while somebody else holds the table, as a migration does.
pub fn while_the_table_is_locked(url: &str, work: impl FnOnce()) {
    while_held(url, "LOCK TABLE profile_store.profile IN ACCESS EXCLUSIVE MODE", work);
}

/// Works while somebody else is in a transaction that has begun with this.
pub fn while_held(url: &str, lock: &str, work: impl FnOnce()) {
    thread::scope(|scope| {
        let holder = scope.spawn(|| {
            let hold = format!("BEGIN; {lock}; SELECT pg_sleep(600)");
            try_sql(url, &hold).expect_err("it is ended from outside");
        });
        wait_until("the lock is held", || !sql(url, ASLEEP).is_empty() || holder.is_finished());
        work();
        sql(url, &format!("SELECT pg_terminate_backend(pid) FROM ({ASLEEP}) AS asleep"));
    });
}

/// Works while somebody else has made this change and not committed it, or, on a machine that is too busy to see that,
/// afterwards.
pub fn while_a_change_sleeps(url: &str, change: &str, work: impl FnOnce()) {
    thread::scope(|scope| {
        let changer = scope.spawn(|| sql(url, &format!("BEGIN; {change}; SELECT pg_sleep(1.5); COMMIT")));
        wait_until("the change is made", || !sql(url, ASLEEP).is_empty() || changer.is_finished());
        work();
    });
}

/// The sessions that hold something while they sleep.
const ASLEEP: &str =
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";

/// Waits for what happens within a minute on any machine.
pub fn wait_until(what: &str, happens: impl Fn() -> bool) {
    let begun = Instant::now();
    while !happens() {
        assert!(begun.elapsed() < Duration::from_secs(60), "waited in vain until {what}");
        sleep(Duration::from_millis(5));
    }
}

/// A database for one test only.
#[derive(Debug)]
pub enum Database {
    /// One that is dropped in the end.
    Own { server: String, name: String },
    /// The sharded one.
    Shared { url: String, _turn: File },
}

impl Database {
    /// For a store: an empty database or, on Citus, one whose tables are empty.
    pub fn new() -> Self {
        let Ok(url) = std::env::var("PROFILE_STORE_SHARDED_URL") else { return Self::blank() };
        let turn = std::env::temp_dir().join("profile-store-sharded");
        let turn = File::options().create(true).append(true).open(turn).expect("a lock");
        turn.lock().expect("the lock of whoever uses the sharded database");
        sql(
            &url,
            "TRUNCATE profile_store.profile, profile_store.receipt; UPDATE profile_store.format SET version = 2",
        );
        Self::Shared { url, _turn: turn }
    }

    /// For what makes tables by itself: an empty database, never a sharded one.
    pub fn blank() -> Self {
        Self::on(shared())
    }

    /// A blank one on the server that this URL leads to.
    pub fn on(server: &str) -> Self {
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let number = NUMBER.fetch_add(1, Ordering::SeqCst);
        let name = format!("test_{}_{number}", std::process::id());
        sql(server, &format!("CREATE DATABASE {name} TEMPLATE template0"));
        Self::Own { server: server.to_owned(), name }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Own { name, .. } => name,
            Self::Shared { url, .. } => parts(url).1,
        }
    }

    pub fn url(&self) -> String {
        match self {
            Self::Own { server, name } => {
                let (server, _, parameters) = parts(server);
                format!("{server}/{name}{parameters}")
            }
            Self::Shared { url, .. } => url.clone(),
        }
    }
}

/// A URL's server, its database, and the parameters with their `?`.
fn parts(url: &str) -> (&str, &str, &str) {
    let (before, parameters) = url.split_at(url.find('?').unwrap_or(url.len()));
    let (server, database) = before.rsplit_once('/').expect("a URL with a database");
    (server, database, parameters)
}

impl Drop for Database {
    fn drop(&mut self) {
        if let Self::Own { server, name } = self {
            // If the server is gone, so is the database.
            let _ = try_sql(server, &format!("DROP DATABASE {name} WITH (FORCE)"));
        }
    }
}

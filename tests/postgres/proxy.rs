//! A way to the server that can be cut right after a commit, before its answer gets through, or with another one in its
//! place.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;

/// The server's answer to a commit.
const COMMIT: &[u8] = b"COMMIT\0";

pub struct Proxy {
    directory: TempDir,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// The next answer to a commit is swallowed, and its connection cut.
    armed: AtomicBool,
    /// What the client is told in the place of the swallowed answer.
    instead: Mutex<Vec<u8>>,
    /// Nobody is let through any more once an answer has been swallowed.
    leaves: AtomicBool,
    cuts: AtomicUsize,
}

impl Proxy {
    /// To the server whose socket is in this directory.
    pub fn to(server: &Path) -> Self {
        let directory = TempDir::new().expect("a directory");
        let proxy = Self { directory, state: Arc::default() };
        let listener = UnixListener::bind(socket(proxy.directory.path())).expect("a socket");
        let (server, state) = (socket(server), Arc::clone(&proxy.state));
        // Ends with the process.
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if state.leaves.load(Ordering::SeqCst) && state.cuts.load(Ordering::SeqCst) > 0 {
                    continue;
                }
                let server = UnixStream::connect(&server).expect("the server is there");
                let cloned = |stream: &UnixStream| stream.try_clone().expect("a second handle");
                let (from_client, to_server, state_of) =
                    (cloned(&client), cloned(&server), Arc::clone(&state));
                thread::spawn(move || forward(from_client, to_server, None));
                thread::spawn(move || forward(server, client, Some(&state_of)));
            }
        });
        proxy
    }

    /// A URL by way of this proxy.
    pub fn url(&self, database: &str) -> String {
        let directory = self.directory.path().to_str().expect("UTF-8").replace('/', "%2F");
        format!("postgres://admin@{directory}/{database}")
    }

    /// Swallows the next answer to a commit.
    pub fn arm(&self) {
        self.state.armed.store(true, Ordering::SeqCst);
    }

    /// Swallows the next answer to a commit, and ends the connection by an error of this severity and code.
    pub fn arm_with(&self, severity: &str, code: &str) {
        let fields = format!("S{severity}\0V{severity}\0C{code}\0Mcould not fdatasync a file\0\0");
        let length = u32::try_from(fields.len() + 4).expect("a short message").to_be_bytes();
        *self.state.instead.lock().expect("nobody panics with it") =
            [b"E".as_slice(), &length, fields.as_bytes()].concat();
        self.arm();
    }

    /// Swallows the next answer to a commit, and then keeps everybody away.
    pub fn arm_and_leave(&self) {
        self.state.leaves.store(true, Ordering::SeqCst);
        self.arm();
    }

    /// Lets everybody through again.
    pub fn comes_back(&self) {
        self.state.leaves.store(false, Ordering::SeqCst);
    }

    /// How many answers have been swallowed.
    pub fn cuts(&self) -> usize {
        self.state.cuts.load(Ordering::SeqCst)
    }
}

fn socket(directory: &Path) -> PathBuf {
    directory.join(".s.PGSQL.5432")
}

fn forward(mut from: UnixStream, mut to: UnixStream, answers: Option<&State>) {
    let mut buffer = [0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut buffer) {
        let bytes = &buffer[..read];
        if let Some(state) = answers
            && bytes.windows(COMMIT.len()).any(|window| window == COMMIT)
            && state.armed.swap(false, Ordering::SeqCst)
        {
            // If the client is gone, it is told nothing.
            let _ = to.write_all(&state.instead.lock().expect("nobody panics with it"));
            state.cuts.fetch_add(1, Ordering::SeqCst);
            break;
        }
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    // The other direction ends by it too.
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

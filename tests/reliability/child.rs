//! This program as its own child: what is killed, hangs or panics does so there.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use profile_store::{Durability, Error};

use crate::beside;
use crate::recorder::{self, Act, Class};
use crate::workload::{self, Backend, Store, observe, perform, state};

/// Longer than any healthy child takes, on a busy machine too.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// It says so, in `key=value` words.
    Done(BTreeMap<String, String>),
    Killed,
    /// It panicked, or found what must not be.
    Failed(String),
    Hung,
}

/// The orders of a child, passed on the command line.
#[derive(Clone, Debug)]
pub struct Job {
    pub role: &'static str,
    pub backend: Backend,
    pub directory: PathBuf,
    words: Vec<(String, String)>,
    patience: Duration,
}

impl Job {
    pub fn new(role: &'static str, backend: Backend, directory: &Path) -> Self {
        Self { role, backend, directory: directory.to_owned(), words: Vec::new(), patience: PATIENCE }
    }

    /// For one that does a lot.
    pub fn patience(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// The same job in another directory.
    pub fn moved(mut self, directory: &Path) -> Self {
        self.directory = directory.to_owned();
        self
    }

    pub fn with(mut self, key: &str, value: impl ToString) -> Self {
        self.words.push((key.to_owned(), value.to_string()));
        self
    }

    pub fn run(&self) -> End {
        self.run_until(None)
    }

    /// Runs it to its end, and gives its words.
    pub fn done(&self) -> BTreeMap<String, String> {
        match self.run() {
            End::Done(words) => words,
            other => panic!("{other:?}"),
        }
    }

    /// Kills it after `time`.
    pub fn run_for(&self, time: Duration) -> End {
        self.run_until(Some(time))
    }

    fn run_until(&self, kill_after: Option<Duration>) -> End {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["child", self.role, self.backend.name()])
            .arg(&self.directory)
            .args(self.words.iter().map(|(key, value)| format!("{key}={value}")))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Read beside, so that no pipe fills up.
        let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let reader = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = std::io::Read::read_to_end(&mut out, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        let errors = std::thread::spawn(move || {
            let mut text = Vec::new();
            let _ = std::io::Read::read_to_end(&mut err, &mut text);
            String::from_utf8_lossy(&text).into_owned()
        });
        // Counted in naps, not by the clock: a machine that sleeps stops both of us.
        let (mut waited, patience) = (Duration::ZERO, kill_after.unwrap_or(self.patience));
        let mut pause = Duration::from_micros(500);
        let status = loop {
            if let Some(status) = child.try_wait().unwrap() {
                break status;
            }
            if waited > patience {
                child.kill().unwrap();
                child.wait().unwrap();
                return if kill_after.is_some() { End::Killed } else { End::Hung };
            }
            std::thread::sleep(pause);
            waited += pause;
            pause = (pause * 5 / 4).min(Duration::from_millis(5));
        };
        let (out, errors) = (reader.join().unwrap(), errors.join().unwrap());
        if status.success() {
            let word = |word: &str| word.split_once('=').map(|(key, value)| (key.into(), value.into()));
            return End::Done(out.split_whitespace().filter_map(word).collect());
        }
        if std::os::unix::process::ExitStatusExt::signal(&status) == Some(libc::SIGKILL) {
            return End::Killed;
        }
        End::Failed(format!("{status}\n{out}{errors}"))
    }
}

/// Runs `work` on each item, on as many threads as there are processors.
pub fn each<T: Sync, R: Send>(items: &[T], work: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, results) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = work(item);
                    results.lock().unwrap().push(result);
                }
            });
        }
    });
    results.into_inner().unwrap()
}

/// The child's side.
pub struct Order {
    pub backend: Backend,
    pub directory: PathBuf,
    words: BTreeMap<String, String>,
}

impl Order {
    pub fn number(&self, key: &str) -> Option<u64> {
        self.words.get(key).map(|value| value.parse().expect("a number"))
    }

    pub fn text(&self, key: &str) -> Option<&str> {
        self.words.get(key).map(String::as_str)
    }

    fn writers(&self) -> u64 {
        self.number("writers").unwrap_or(1)
    }

    /// The writers that this process is.
    fn own_writers(&self) -> Vec<u64> {
        self.number("only").map_or_else(|| (0..self.writers()).collect(), |only| vec![only])
    }

    fn steps(&self) -> u64 {
        self.number("steps").unwrap()
    }

    pub fn durability(&self) -> Durability {
        match self.text("durability") {
            Some("process-crash") => Durability::ProcessCrash,
            _ => Durability::PowerLoss,
        }
    }

    /// Keeps what was recorded where the parent finds it.
    pub fn save(&self, events: &[recorder::Event]) {
        crate::replay::save(Path::new(self.text("record").unwrap()), events);
    }

    pub fn open(&self) -> profile_store::Result<Store> {
        workload::open(self.backend, &self.directory, self.durability())
    }
}

/// The child process's part. The file operations below its directory are watched.
pub fn main(arguments: &[String]) {
    let [role, backend, directory, words @ ..] = arguments else { panic!("what is a child to do?") };
    let words = words.iter().filter_map(|word| word.split_once('='));
    let order = Order {
        backend: backend.parse().unwrap(),
        directory: directory.into(),
        words: words.map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    };
    recorder::watch(&order.directory);
    if order.text("memories") == Some("large") {
        workload::large_memories();
    }
    beside::begin(&order);
    // Also those that the library catches.
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        report(panic);
    }));
    match role.as_str() {
        "work" => work(&order),
        "verify" => verify(&order),
        "backup" => crate::backup::child(&order),
        "verify-backup" => crate::backup::verify(&order),
        "fault" => crate::fault::child(&order),
        "damage" => crate::damage::child(&order),
        "device" => crate::device::child(&order),
        "hold" => beside::hold_child(&order),
        "model" => crate::model::child(&order),
        "rollback" => crate::rollback::child(&order),
        "slow-sync" => crate::callers::slow_sync_child(&order),
        "sync" => crate::sync::child(&order),
        "sync-first" => crate::sync::first_child(&order),
        "failed-sync" => crate::lives::failed_sync_child(&order),
        role if crate::checkpoint::child(role, &order) => {}
        role if crate::findings::child(role, &order) => {}
        role if crate::observing::child(role, &order) => {}
        role if crate::opening::child(role, &order) => {}
        role if crate::places::child(role, &order) => {}
        role if crate::threads::child(role, &order) => {}
        role if crate::volume::child(role, &order) => {}
        _ => panic!("unknown role {role}"),
    }
    println!("panics={}", PANICS.load(Ordering::Relaxed));
}

/// The file in which a child notes acknowledged steps, outside the watched directory.
pub fn acknowledgements(directory: &Path) -> PathBuf {
    directory.with_extension("acknowledged")
}

/// How many steps each writer was told are stored.
pub fn acknowledged(directory: &Path, writers: u64) -> Vec<u64> {
    let text = fs::read_to_string(acknowledgements(directory)).unwrap_or_default();
    let mut steps = vec![0; writers as usize];
    for line in text.lines() {
        let (writer, count) = line.split_once(' ').unwrap();
        steps[writer.parse::<usize>().unwrap()] = count.parse().unwrap();
    }
    steps
}

/// Goes on from what is acknowledged, acknowledging, until it ends or is killed. It does the last
/// `again` steps once more, and compacts before the step `compact`.
fn work(order: &Order) {
    let (writers, steps) = (order.writers(), order.steps());
    let again = order.number("again").unwrap_or(0);
    let acknowledged = acknowledged(&order.directory, writers);
    let path = acknowledgements(&order.directory);
    let file = OpenOptions::new().create(true).append(true).open(path).unwrap();
    let early = order.text("acknowledge") == Some("early");
    recorder::arm(Class::Changes, order.number("kill").unwrap_or(u64::MAX), Act::Kill);
    if order.text("record").is_some() {
        recorder::record();
    }
    let store = order.open().unwrap();
    std::thread::scope(|scope| {
        for writer in order.own_writers() {
            let (store, mut file, from) =
                (&store, &file, acknowledged[writer as usize].saturating_sub(again));
            scope.spawn(move || {
                for n in from..steps {
                    if order.number("compact") == Some(n) {
                        pollster::block_on(store.compact()).unwrap();
                    }
                    if !early {
                        perform(store, writer, n).unwrap();
                    }
                    recorder::acknowledge(writer, n + 1);
                    // In one piece: the next operation may be the last.
                    file.write_all(format!("{writer} {}\n", n + 1).as_bytes()).unwrap();
                    if early {
                        perform(store, writer, n).unwrap();
                    }
                }
            });
        }
    });
    if order.text("close") != Some("no") {
        pollster::block_on(store.close()).unwrap();
    }
    let (_, operations) = recorder::disarm();
    if let Some(path) = order.text("record") {
        crate::replay::save(Path::new(path), &recorder::recorded());
    }
    println!("operations={operations}");
    if order.text("close") == Some("no") {
        // Leaves the files as a kill would.
        std::io::stdout().flush().unwrap();
        unsafe { libc::_exit(0) };
    }
}

/// Opens what a crash has left and compares it with what was acknowledged.
fn verify(order: &Order) {
    let acknowledged = acknowledged(&order.directory, order.writers());
    recorder::arm(Class::Changes, order.number("kill").unwrap_or(u64::MAX), Act::Kill);
    let store = match order.open() {
        Ok(store) => store,
        Err(error) => return refuse("does not open", &error),
    };
    for (writer, steps) in acknowledged.into_iter().enumerate() {
        let writer = writer as u64;
        let found = match observe(&store, writer) {
            Ok(found) => found,
            Err(error) => return refuse("can't be read", &error),
        };
        // Without or with the steps whose acknowledgement did not get through.
        let slack = order.number("slack").unwrap_or(0) + 1;
        if (steps..=steps + slack).all(|steps| found != state(writer, steps)) {
            let older = (0..steps).rev().find(|&steps| found == state(writer, steps));
            println!(
                "acknowledged {steps} steps of writer {writer}, found {older:?} (None: a batch in part)"
            );
            std::process::exit(1);
        }
    }
    if order.text("beside").is_some()
        && let Err(error) = beside::check(&store)
    {
        return refuse("is not sound", &error);
    }
    // It takes writes again, and keeps them over a clean end.
    let (guru, steps) = (99, 2);
    for n in 0..steps {
        if let Err(error) = perform(&store, guru, n) {
            return refuse("can't be written", &error);
        }
    }
    pollster::block_on(store.close()).unwrap();
    drop(store);
    let (_, operations) = recorder::disarm();
    let store = order.open().unwrap();
    assert_eq!(observe(&store, guru).unwrap(), state(guru, steps));
    println!("operations={operations}");
}

fn refuse(what: &str, error: &Error) {
    println!("the store {what}: {error:?}");
    std::process::exit(1);
}

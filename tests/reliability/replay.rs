//! Recorded file operations, and what a power cut after any of them may leave on the disk.
//!
//! Data is durable once its file is synced, a name once its directory is. What is not durable yet
//! may be there, or not, or in part, sector by sector; names come in the order they were made.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::recorder::Event;
use crate::workload::scramble;

const SECTOR: u64 = 512;

/// The fate of changes that were not durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cut {
    Dropped,
    Kept,
    /// Each write by the toss of a coin.
    Half(u64),
    /// Each sector of each write by the toss of a coin.
    Torn(u64),
}

/// A file's content, by sectors; what is missing is zeros.
#[derive(Clone, Default)]
struct Content {
    length: u64,
    sectors: BTreeMap<u64, Box<[u8; SECTOR as usize]>>,
}

impl Content {
    fn write(&mut self, at: u64, bytes: &[u8]) {
        self.length = self.length.max(at + bytes.len() as u64);
        for (at, piece) in pieces(at, bytes) {
            // Unwritten sectors read as zeros anyway.
            if piece.iter().all(|byte| *byte == 0) && !self.sectors.contains_key(&(at / SECTOR)) {
                continue;
            }
            let sector = self.sectors.entry(at / SECTOR).or_insert_with(|| Box::new([0; SECTOR as usize]));
            let from = (at % SECTOR) as usize;
            sector[from..from + piece.len()].copy_from_slice(piece);
        }
    }

    fn resize(&mut self, length: u64) {
        if length < self.length {
            self.sectors.split_off(&length.div_ceil(SECTOR));
            if !length.is_multiple_of(SECTOR)
                && let Some(last) = self.sectors.get_mut(&(length / SECTOR))
            {
                last[(length % SECTOR) as usize..].fill(0);
            }
        }
        self.length = length;
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write(at, bytes) => self.write(*at, bytes),
            Change::Resize(length) => self.resize(*length),
        }
    }
}

/// The pieces of a write that lie in one sector each, with their places.
fn pieces(at: u64, bytes: &[u8]) -> impl Iterator<Item = (u64, &[u8])> {
    let head = ((SECTOR - at % SECTOR) as usize).min(bytes.len());
    let (head, rest) = bytes.split_at(head);
    let rest_at = at + head.len() as u64;
    let rest = rest.chunks(SECTOR as usize).enumerate();
    let head = (!head.is_empty()).then_some((at, head));
    head.into_iter().chain(rest.map(move |(n, piece)| (rest_at + n as u64 * SECTOR, piece)))
}

enum Change {
    Write(u64, Vec<u8>),
    Resize(u64),
}

#[derive(Default)]
struct Object {
    durable: Content,
    pending: Vec<Change>,
}

enum Name {
    File(PathBuf, usize),
    Directory(PathBuf),
    Renamed(PathBuf, PathBuf),
    Linked(PathBuf, PathBuf),
    Removed(PathBuf),
}

impl Name {
    /// The directories that hold it.
    fn is_in(&self, directory: &Path) -> bool {
        match self {
            Self::File(path, _) | Self::Directory(path) | Self::Removed(path) => {
                path.parent() == Some(directory)
            }
            Self::Linked(_, to) => to.parent() == Some(directory),
            Self::Renamed(from, to) => [from, to].iter().any(|path| path.parent() == Some(directory)),
        }
    }
}

/// The disk, as far as the operations have been played.
pub struct Disk {
    root: PathBuf,
    objects: Vec<Object>,
    by_inode: HashMap<u64, usize>,
    names: Vec<(Name, bool)>,
    /// How many steps each writer was told are stored.
    pub acknowledged: Vec<u64>,
}

impl Disk {
    /// An empty directory, `root`.
    pub fn new(root: &Path, writers: u64) -> Self {
        Self {
            root: root.to_owned(),
            objects: Vec::new(),
            by_inode: HashMap::new(),
            names: Vec::new(),
            acknowledged: vec![0; writers as usize],
        }
    }

    fn object(&mut self, inode: u64) -> &mut Object {
        &mut self.objects[self.by_inode[&inode]]
    }

    /// Applies an event. One in another directory is ignored.
    pub fn play(&mut self, event: &Event) {
        let elsewhere = match event {
            Event::Created { path, .. }
            | Event::MadeDirectory { path }
            | Event::SyncedDirectory { path }
            | Event::Renamed { from: path, .. }
            | Event::Linked { from: path, .. }
            | Event::Removed { path } => !path.starts_with(&self.root),
            Event::Written { inode, .. }
            | Event::Resized { inode, .. }
            | Event::Synced { inode }
            | Event::SyncFailed { inode } => !self.by_inode.contains_key(inode),
            Event::Acknowledged { .. } => false,
        };
        if elsewhere {
            return;
        }
        match event {
            Event::Created { path, inode } => {
                // An inode's number may have belonged to a file that is gone.
                self.by_inode.insert(*inode, self.objects.len());
                self.names.push((Name::File(path.clone(), self.objects.len()), false));
                self.objects.push(Object::default());
            }
            Event::MadeDirectory { path } => self.names.push((Name::Directory(path.clone()), false)),
            Event::Written { inode, at, bytes } => {
                self.object(*inode).pending.push(Change::Write(*at, bytes.clone()));
            }
            Event::Resized { inode, length } => self.object(*inode).pending.push(Change::Resize(*length)),
            Event::Synced { inode } => {
                let object = self.object(*inode);
                for change in std::mem::take(&mut object.pending) {
                    object.durable.apply(&change);
                }
            }
            Event::SyncedDirectory { path } => {
                for (name, durable) in &mut self.names {
                    *durable |= name.is_in(path);
                }
            }
            Event::SyncFailed { inode } => {
                // Sizes are metadata, and reach the journal all the same.
                let object = self.object(*inode);
                for change in std::mem::take(&mut object.pending) {
                    match change {
                        Change::Resize(length) => object.durable.resize(length),
                        Change::Write(at, bytes) => {
                            let length = object.durable.length.max(at + bytes.len() as u64);
                            object.durable.resize(length);
                        }
                    }
                }
            }
            Event::Renamed { from, to } => self.names.push((Name::Renamed(from.clone(), to.clone()), false)),
            Event::Linked { from, to } => self.names.push((Name::Linked(from.clone(), to.clone()), false)),
            Event::Removed { path } => self.names.push((Name::Removed(path.clone()), false)),
            Event::Acknowledged { writer, steps } => self.acknowledged[*writer as usize] = *steps,
        }
    }

    /// The content of the disk if the power fails now.
    pub fn image(&self, cut: Cut) -> Image {
        let mut coin = match cut {
            Cut::Half(seed) | Cut::Torn(seed) => scramble(seed),
            _ => 0,
        };
        let mut toss = || {
            coin = scramble(coin);
            match cut {
                Cut::Dropped => false,
                Cut::Kept => true,
                Cut::Half(_) | Cut::Torn(_) => coin.is_multiple_of(2),
            }
        };
        let mut image = Image { directories: Vec::new(), files: BTreeMap::new() };
        let pending = self.names.iter().filter(|(_, durable)| !durable).count();
        let mut kept = match cut {
            Cut::Dropped => 0,
            Cut::Kept => pending,
            Cut::Half(seed) | Cut::Torn(seed) => (scramble(seed ^ 1) % (pending as u64 + 1)) as usize,
        };
        let mut files: BTreeMap<PathBuf, usize> = BTreeMap::new();
        let mut directories = vec![self.root.clone()];
        for (name, durable) in &self.names {
            if !durable {
                if kept == 0 {
                    continue;
                }
                kept -= 1;
            }
            match name {
                Name::File(path, object) => {
                    if path.parent().is_some_and(|parent| directories.iter().any(|there| there == parent)) {
                        files.insert(path.clone(), *object);
                    }
                }
                Name::Directory(path) => directories.push(path.clone()),
                Name::Linked(from, to) => {
                    if let Some(object) = files.get(from) {
                        files.insert(to.clone(), *object);
                    }
                }
                Name::Removed(path) => {
                    files.remove(path);
                    directories.retain(|there| there != path);
                }
                Name::Renamed(from, to) => {
                    let moved = |path: &Path| path.strip_prefix(from).ok().map(|rest| join(to, rest));
                    directories =
                        directories.iter().map(|path| moved(path).unwrap_or(path.clone())).collect();
                    files = files
                        .into_iter()
                        .filter(|(path, _)| path != to)
                        .map(|(path, object)| (moved(&path).unwrap_or(path), object))
                        .collect();
                }
            }
        }
        let relative = |path: &Path| path.strip_prefix(&self.root).unwrap().to_owned();
        image.directories = directories.iter().skip(1).map(|path| relative(path)).collect();
        image.directories.sort();
        for (path, object) in files {
            let object = &self.objects[object];
            let mut content = object.durable.clone();
            for change in &object.pending {
                match (change, cut) {
                    (Change::Write(at, bytes), Cut::Torn(_)) => {
                        for (at, piece) in pieces(*at, bytes) {
                            if toss() {
                                content.write(at, piece);
                            }
                        }
                    }
                    _ if toss() => content.apply(change),
                    _ => {}
                }
            }
            image.files.insert(relative(&path), content);
        }
        image
    }
}

/// `Path::join` without the slash that joining nothing leaves.
fn join(path: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() { path.to_owned() } else { path.join(rest) }
}

/// The files after a power cut.
pub struct Image {
    directories: Vec<PathBuf>,
    files: BTreeMap<PathBuf, Content>,
}

impl Image {
    /// Equal for equal images, as far as 64 bits can tell.
    pub fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.directories.hash(&mut hasher);
        for (path, content) in &self.files {
            (path, content.length, &content.sectors).hash(&mut hasher);
        }
        hasher.finish()
    }

    pub fn lay_out(&self, directory: &Path) {
        for path in &self.directories {
            fs::create_dir_all(directory.join(path)).unwrap();
        }
        for (path, content) in &self.files {
            // Nothing leads to a file whose directory has not come to the disk.
            if !directory.join(path).parent().is_some_and(Path::is_dir) {
                continue;
            }
            let file = OpenOptions::new().create_new(true).write(true).open(directory.join(path)).unwrap();
            file.set_len(content.length).unwrap();
            for (at, sector) in &content.sectors {
                let at = at * SECTOR;
                let length = content.length.saturating_sub(at).min(SECTOR) as usize;
                file.write_all_at(&sector[..length], at).unwrap();
            }
        }
    }
}

/// Keeps a recording in a file; [`load`] brings it back.
pub fn save(path: &Path, events: &[Event]) {
    let mut out = io::BufWriter::new(File::create(path).unwrap());
    let mut put = |tag: u8, numbers: &[u64], parts: &[&[u8]]| {
        out.write_all(&[tag]).unwrap();
        numbers.iter().for_each(|number| out.write_all(&number.to_le_bytes()).unwrap());
        for part in parts {
            out.write_all(&(part.len() as u64).to_le_bytes()).unwrap();
            out.write_all(part).unwrap();
        }
    };
    let bytes = |path: &PathBuf| path.to_str().unwrap().as_bytes().to_vec();
    for event in events {
        match event {
            Event::Created { path, inode } => put(0, &[*inode], &[&bytes(path)]),
            Event::MadeDirectory { path } => put(1, &[], &[&bytes(path)]),
            Event::Written { inode, at, bytes } => put(2, &[*inode, *at], &[bytes]),
            Event::Resized { inode, length } => put(3, &[*inode, *length], &[]),
            Event::Synced { inode } => put(4, &[*inode], &[]),
            Event::SyncedDirectory { path } => put(5, &[], &[&bytes(path)]),
            Event::SyncFailed { inode } => put(6, &[*inode], &[]),
            Event::Renamed { from, to } => put(7, &[], &[&bytes(from), &bytes(to)]),
            Event::Removed { path } => put(8, &[], &[&bytes(path)]),
            Event::Acknowledged { writer, steps } => put(9, &[*writer, *steps], &[]),
            Event::Linked { from, to } => put(10, &[], &[&bytes(from), &bytes(to)]),
        }
    }
}

pub fn load(path: &Path) -> Vec<Event> {
    let mut input = io::BufReader::new(File::open(path).unwrap());
    let mut events = Vec::new();
    let mut tag = [0];
    while input.read(&mut tag).unwrap() == 1 {
        let mut number = || {
            let mut bytes = [0; 8];
            input.read_exact(&mut bytes).unwrap();
            u64::from_le_bytes(bytes)
        };
        let numbers = match tag[0] {
            0 | 4 | 6 => [number(), 0],
            2 | 3 | 9 => [number(), number()],
            _ => [0; 2],
        };
        let [first, second] = numbers;
        let mut part = || {
            let mut length = [0; 8];
            input.read_exact(&mut length).unwrap();
            let mut bytes = vec![0; u64::from_le_bytes(length) as usize];
            input.read_exact(&mut bytes).unwrap();
            bytes
        };
        let mut path = || PathBuf::from(String::from_utf8(part()).unwrap());
        events.push(match tag[0] {
            0 => Event::Created { path: path(), inode: first },
            1 => Event::MadeDirectory { path: path() },
            2 => Event::Written { inode: first, at: second, bytes: part() },
            3 => Event::Resized { inode: first, length: second },
            4 => Event::Synced { inode: first },
            5 => Event::SyncedDirectory { path: path() },
            6 => Event::SyncFailed { inode: first },
            7 => Event::Renamed { from: path(), to: path() },
            8 => Event::Removed { path: path() },
            9 => Event::Acknowledged { writer: first, steps: second },
            10 => Event::Linked { from: path(), to: path() },
            tag => panic!("unknown event {tag}"),
        });
    }
    events
}

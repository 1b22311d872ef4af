//! The file operations of this process below one directory: counted, recorded, failed, killed at.
//!
//! The functions at the end take the C library's place, for Rust's standard library and for the
//! bundled C code alike. What lies elsewhere passes untouched.

use std::ffi::{CStr, OsStr};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI32, AtomicU8, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use libc::{
    O_APPEND, O_CREAT, O_TRUNC, c_char, c_int, c_uint, c_void, iovec, mode_t, off_t, size_t, ssize_t,
};

/// One operation on the files, as it happened.
#[derive(Clone, Debug)]
pub enum Event {
    Created {
        path: PathBuf,
        inode: u64,
    },
    MadeDirectory {
        path: PathBuf,
    },
    Written {
        inode: u64,
        at: u64,
        bytes: Vec<u8>,
    },
    Resized {
        inode: u64,
        length: u64,
    },
    Synced {
        inode: u64,
    },
    SyncedDirectory {
        path: PathBuf,
    },
    /// The kernel has dropped what it could not write, and will call the next sync a success.
    SyncFailed {
        inode: u64,
    },
    Renamed {
        from: PathBuf,
        to: PathBuf,
    },
    /// A file has a further name.
    Linked {
        from: PathBuf,
        to: PathBuf,
    },
    Removed {
        path: PathBuf,
    },
    /// The writer has been told that this many of its steps are stored.
    Acknowledged {
        writer: u64,
        steps: u64,
    },
}

/// Which operations are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Changes and syncs of files and directories.
    Changes,
    /// Reads and openings as well.
    All,
    Syncs,
}

/// The fault at the counted operation of number `at`.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    Kill,
    /// That operation fails; if sticky, all later ones too.
    Fail {
        errno: c_int,
        sticky: bool,
    },
    /// A write takes half of its bytes.
    Short,
    /// Every sync takes this long.
    Delay(Duration),
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    class: Class,
    at: u64,
    act: Act,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read,
    Change,
    Sync,
}

enum Verdict {
    Proceed,
    Fail(c_int),
    Short,
}

static ROOT: OnceLock<PathBuf> = OnceLock::new();
static PLAN: RwLock<Option<Plan>> = RwLock::new(None);
static COUNT: AtomicU64 = AtomicU64::new(0);
static FIRED: AtomicU64 = AtomicU64::new(0);
/// Held over operation and entry, so that the log has the order of the operations.
static LOG: Mutex<Option<Vec<Event>>> = Mutex::new(None);

const UNTRACKED: u8 = 0;
const FILE: u8 = 1;
const DIRECTORY: u8 = 2;
/// SQLite's shared memory, which is no file to the disk: it can fail, and is not recorded.
const SHARED_MEMORY: u8 = 3;
/// By descriptor.
static TRACKED: [AtomicU8; 4096] = [const { AtomicU8::new(UNTRACKED) }; 4096];
/// By descriptor: the error that its next sync reports. Linux reports a failed sync of a file once to each descriptor
/// that was open then (`errseq_t`, since 4.13).
static OWED: [AtomicI32; 4096] = [const { AtomicI32::new(0) }; 4096];

/// Tracks what lies below `root`, once for the process.
pub fn watch(root: &Path) {
    ROOT.set(root.to_owned()).expect("one root a process");
}

pub fn arm(class: Class, at: u64, act: Act) {
    COUNT.store(0, SeqCst);
    FIRED.store(0, SeqCst);
    *PLAN.write().unwrap_or_else(PoisonError::into_inner) = Some(Plan { class, at, act });
}

/// Ends all failures; tells how many operations failed, were cut short or delayed, and how many were
/// counted.
pub fn disarm() -> (u64, u64) {
    *PLAN.write().unwrap_or_else(PoisonError::into_inner) = None;
    (FIRED.load(SeqCst), COUNT.load(SeqCst))
}

/// How many operations have failed, were cut short or delayed so far.
pub fn fired() -> u64 {
    FIRED.load(SeqCst)
}

pub fn record() {
    *LOG.lock().unwrap() = Some(Vec::new());
}

/// Takes the events recorded since the last call. Recording goes on.
pub fn drain() -> Vec<Event> {
    LOG.lock().unwrap().as_mut().map(std::mem::take).unwrap_or_default()
}

pub fn recorded() -> Vec<Event> {
    LOG.lock().unwrap().take().unwrap_or_default()
}

pub fn acknowledge(writer: u64, steps: u64) {
    log(|| (Some(Event::Acknowledged { writer, steps }), ()));
}

fn enter(kind: Kind) -> Verdict {
    let plan = *PLAN.read().unwrap_or_else(PoisonError::into_inner);
    let Some(Plan { class, at, act }) = plan else { return Verdict::Proceed };
    let counted = match class {
        Class::Changes => kind != Kind::Read,
        Class::All => true,
        Class::Syncs => kind == Kind::Sync,
    };
    if !counted {
        return Verdict::Proceed;
    }
    let n = COUNT.fetch_add(1, SeqCst) + 1;
    if let Act::Delay(time) = act {
        if kind == Kind::Sync {
            FIRED.fetch_add(1, SeqCst);
            std::thread::sleep(time);
        }
        return Verdict::Proceed;
    }
    let sticky = matches!(act, Act::Fail { sticky: true, .. });
    if n != at && !(sticky && n > at) {
        return Verdict::Proceed;
    }
    match act {
        Act::Kill => loop {
            unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
        },
        // A full disk can be read.
        Act::Fail { errno: libc::ENOSPC, .. } if kind == Kind::Read => Verdict::Proceed,
        Act::Fail { errno, .. } => {
            FIRED.fetch_add(1, SeqCst);
            Verdict::Fail(errno)
        }
        // Counted where it is a write that is cut.
        Act::Short => Verdict::Short,
        Act::Delay(_) => Verdict::Proceed,
    }
}

/// Does an operation, and logs it where recording is on.
fn log<T>(operation: impl FnOnce() -> (Option<Event>, T)) -> T {
    let mut log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    let (event, result) = operation();
    if let Some(log) = log.as_mut() {
        log.extend(event);
    }
    result
}

fn fail(errno: c_int) -> c_int {
    unsafe { *libc::__errno_location() = errno };
    -1
}

/// # Safety
/// `path` is a C string.
unsafe fn tracked_path(path: *const c_char) -> Option<PathBuf> {
    let path = Path::new(OsStr::from_bytes(unsafe { CStr::from_ptr(path) }.to_bytes()));
    ROOT.get().filter(|root| path.starts_with(root)).map(|_| path.to_owned())
}

fn slot(fd: c_int) -> Option<&'static AtomicU8> {
    usize::try_from(fd).ok().and_then(|fd| TRACKED.get(fd))
}

fn kind_of(fd: c_int) -> u8 {
    slot(fd).map_or(UNTRACKED, |slot| slot.load(SeqCst))
}

/// The descriptor begins or ends: nothing is owed to it.
fn track(fd: c_int, kind: u8) {
    if let Some(slot) = slot(fd) {
        slot.store(kind, SeqCst);
        OWED[fd as usize].store(0, SeqCst);
    }
}

fn status(fd: c_int) -> libc::stat {
    let mut status = unsafe { std::mem::zeroed() };
    unsafe { libc::fstat(fd, &raw mut status) };
    status
}

fn path_of(fd: c_int) -> PathBuf {
    std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default()
}

fn int(value: i64) -> c_int {
    value as c_int
}

unsafe fn open_at(directory: c_int, path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
    let real = || int(unsafe { libc::syscall(libc::SYS_openat, directory, path, flags, mode as c_uint) });
    let Some(name) = (unsafe { tracked_path(path) }) else {
        let fd = real();
        track(fd, UNTRACKED);
        return fd;
    };
    let creates = flags & O_CREAT != 0 && !name.exists();
    let changes = creates || flags & O_TRUNC != 0;
    if let Verdict::Fail(errno) = enter(if changes { Kind::Change } else { Kind::Read }) {
        return fail(errno);
    }
    log(|| {
        let fd = real();
        if fd < 0 {
            return (None, fd);
        }
        let status = status(fd);
        let kind = match status.st_mode & libc::S_IFMT {
            libc::S_IFDIR => DIRECTORY,
            _ if name.as_os_str().as_bytes().ends_with(b"-shm") => SHARED_MEMORY,
            _ => FILE,
        };
        track(fd, kind);
        let inode = status.st_ino;
        let event = match kind {
            FILE if creates => Some(Event::Created { path: name, inode }),
            FILE if flags & O_TRUNC != 0 => Some(Event::Resized { inode, length: 0 }),
            _ => None,
        };
        (event, fd)
    })
}

/// A write of `length` bytes from `bytes`, at `at` or where the descriptor stands.
unsafe fn write_at(fd: c_int, bytes: *const c_void, length: size_t, at: Option<off_t>) -> ssize_t {
    let real = |length: size_t| unsafe {
        match at {
            Some(at) => libc::syscall(libc::SYS_pwrite64, fd, bytes, length, at) as ssize_t,
            None => libc::syscall(libc::SYS_write, fd, bytes, length) as ssize_t,
        }
    };
    let kind = kind_of(fd);
    if kind == UNTRACKED {
        return real(length);
    }
    let length = match enter(Kind::Change) {
        Verdict::Proceed => length,
        Verdict::Short => {
            FIRED.fetch_add(u64::from(length > 1), SeqCst);
            length.div_ceil(2)
        }
        Verdict::Fail(errno) => return fail(errno) as ssize_t,
    };
    if kind != FILE {
        return real(length);
    }
    log(|| {
        let status = status(fd);
        let appends = unsafe { libc::fcntl(fd, libc::F_GETFL) } & O_APPEND != 0;
        let at = match at {
            Some(at) => at,
            None if appends => status.st_size,
            None => unsafe { libc::lseek(fd, 0, libc::SEEK_CUR) },
        };
        let written = real(length);
        let event = usize::try_from(written).ok().map(|written| Event::Written {
            inode: status.st_ino,
            at: at as u64,
            bytes: unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), written) }.to_vec(),
        });
        (event, written)
    })
}

unsafe fn sync(fd: c_int, call: i64) -> c_int {
    let real = || int(unsafe { libc::syscall(call, fd) });
    let kind = kind_of(fd);
    if kind == UNTRACKED {
        return real();
    }
    let verdict = enter(Kind::Sync);
    log(|| {
        if let Verdict::Fail(errno) = verdict {
            return fail_sync(fd, errno);
        }
        let event = match kind {
            FILE => Some(Event::Synced { inode: status(fd).st_ino }),
            DIRECTORY => Some(Event::SyncedDirectory { path: path_of(fd) }),
            _ => None,
        };
        let result = real();
        let owed = slot(fd).map_or(0, |_| OWED[fd as usize].swap(0, SeqCst));
        // Changes since the failure are durable, although this sync reports the failure.
        (event.filter(|_| result == 0), if owed == 0 { result } else { fail(owed) })
    })
}

fn fail_sync(fd: c_int, errno: c_int) -> (Option<Event>, c_int) {
    if kind_of(fd) != FILE {
        return (None, fail(errno));
    }
    let inode = status(fd).st_ino;
    for other in (0..TRACKED.len() as c_int).filter(|&other| other != fd && kind_of(other) == FILE) {
        if status(other).st_ino == inode {
            OWED[other as usize].store(errno, SeqCst);
        }
    }
    (Some(Event::SyncFailed { inode }), fail(errno))
}

unsafe fn resize(fd: c_int, length: off_t) -> c_int {
    let real = || int(unsafe { libc::syscall(libc::SYS_ftruncate, fd, length) });
    let kind = kind_of(fd);
    if kind == UNTRACKED {
        return real();
    }
    if let Verdict::Fail(errno) = enter(Kind::Change) {
        return fail(errno);
    }
    log(|| {
        let event = Event::Resized { inode: status(fd).st_ino, length: length as u64 };
        let result = real();
        (Some(event).filter(|_| kind == FILE && result == 0), result)
    })
}

/// A change of names, made by `real`, that leads to `event`.
fn change_names(event: Option<Event>, real: impl FnOnce() -> c_int) -> c_int {
    let Some(event) = event else { return real() };
    if let Verdict::Fail(errno) = enter(Kind::Change) {
        return fail(errno);
    }
    log(|| {
        let result = real();
        (Some(event).filter(|_| result == 0), result)
    })
}

unsafe fn read_at(fd: c_int, bytes: *mut c_void, length: size_t, at: Option<off_t>) -> ssize_t {
    if kind_of(fd) != UNTRACKED
        && let Verdict::Fail(errno) = enter(Kind::Read)
    {
        return fail(errno) as ssize_t;
    }
    unsafe {
        match at {
            Some(at) => libc::syscall(libc::SYS_pread64, fd, bytes, length, at) as ssize_t,
            None => libc::syscall(libc::SYS_read, fd, bytes, length) as ssize_t,
        }
    }
}

macro_rules! overrides {
    ($($name:ident ( $($arg:ident : $type:ty),* ) -> $result:ty $body:block)*) => {$(
        #[unsafe(no_mangle)]
        unsafe extern "C" fn $name($($arg: $type),*) -> $result {
            unsafe { $body }
        }
    )*};
}

overrides! {
    // The mode is variadic in C, and passed like any third argument.
    open(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_at(libc::AT_FDCWD, path, flags, mode)
    }
    open64(path: *const c_char, flags: c_int, mode: mode_t) -> c_int {
        open_at(libc::AT_FDCWD, path, flags, mode)
    }
    close(fd: c_int) -> c_int {
        track(fd, UNTRACKED);
        int(libc::syscall(libc::SYS_close, fd))
    }
    read(fd: c_int, bytes: *mut c_void, length: size_t) -> ssize_t { read_at(fd, bytes, length, None) }
    pread(fd: c_int, bytes: *mut c_void, length: size_t, at: off_t) -> ssize_t {
        read_at(fd, bytes, length, Some(at))
    }
    pread64(fd: c_int, bytes: *mut c_void, length: size_t, at: off_t) -> ssize_t {
        read_at(fd, bytes, length, Some(at))
    }
    write(fd: c_int, bytes: *const c_void, length: size_t) -> ssize_t { write_at(fd, bytes, length, None) }
    pwrite(fd: c_int, bytes: *const c_void, length: size_t, at: off_t) -> ssize_t {
        write_at(fd, bytes, length, Some(at))
    }
    pwrite64(fd: c_int, bytes: *const c_void, length: size_t, at: off_t) -> ssize_t {
        write_at(fd, bytes, length, Some(at))
    }
    writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
        if kind_of(fd) == UNTRACKED {
            return libc::syscall(libc::SYS_writev, fd, parts, count) as ssize_t;
        }
        // One part alone is a permitted short write.
        let first = std::slice::from_raw_parts(parts, count as usize).iter().find(|part| part.iov_len > 0);
        first.map_or(0, |part| write_at(fd, part.iov_base, part.iov_len, None))
    }
    fsync(fd: c_int) -> c_int { sync(fd, libc::SYS_fsync) }
    fdatasync(fd: c_int) -> c_int { sync(fd, libc::SYS_fdatasync) }
    // Neither a barrier nor a flush of the device's cache: it makes nothing durable.
    sync_file_range(fd: c_int, at: off_t, length: off_t, flags: c_uint) -> c_int {
        if kind_of(fd) != UNTRACKED && let Verdict::Fail(errno) = enter(Kind::Sync) {
            return log(|| fail_sync(fd, errno));
        }
        int(libc::syscall(libc::SYS_sync_file_range, fd, at, length, flags))
    }
    ftruncate(fd: c_int, length: off_t) -> c_int { resize(fd, length) }
    ftruncate64(fd: c_int, length: off_t) -> c_int { resize(fd, length) }
    rename(from: *const c_char, to: *const c_char) -> c_int {
        let event = tracked_path(from).zip(tracked_path(to)).map(|(from, to)| Event::Renamed { from, to });
        let real = || int(libc::syscall(libc::SYS_renameat2, libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0));
        change_names(event, real)
    }
    link(from: *const c_char, to: *const c_char) -> c_int {
        linkat(libc::AT_FDCWD, from, libc::AT_FDCWD, to, 0)
    }
    linkat(from_in: c_int, from: *const c_char, to_in: c_int, to: *const c_char, flags: c_int) -> c_int {
        let event = tracked_path(from).zip(tracked_path(to)).map(|(from, to)| Event::Linked { from, to });
        change_names(event, || int(libc::syscall(libc::SYS_linkat, from_in, from, to_in, to, flags)))
    }
    unlink(path: *const c_char) -> c_int { unlinkat(libc::AT_FDCWD, path, 0) }
    rmdir(path: *const c_char) -> c_int { unlinkat(libc::AT_FDCWD, path, libc::AT_REMOVEDIR) }
    unlinkat(directory: c_int, path: *const c_char, flags: c_int) -> c_int {
        let name = match directory {
            libc::AT_FDCWD => tracked_path(path),
            _ => {
                let name = path_of(directory).join(OsStr::from_bytes(CStr::from_ptr(path).to_bytes()));
                ROOT.get().filter(|root| name.starts_with(root)).map(|_| name)
            }
        };
        let real = || int(libc::syscall(libc::SYS_unlinkat, directory, path, flags));
        change_names(name.map(|path| Event::Removed { path }), real)
    }
    mkdir(path: *const c_char, mode: mode_t) -> c_int {
        let event = tracked_path(path).map(|path| Event::MadeDirectory { path });
        change_names(event, || int(libc::syscall(libc::SYS_mkdirat, libc::AT_FDCWD, path, mode)))
    }
}

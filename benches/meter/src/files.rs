//! The counted operations of this process on its files.
//!
//! The functions at the end take the C library's place, for Rust's standard library and for C code
//! linked into the program alike. Pages written through a memory map are not seen: of the engines
//! measured here only SQLite has one, the index of its log, which is not part of what is stored.

use std::ops::Sub;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use libc::{c_int, c_uint, c_void, iovec, off_t, size_t, ssize_t};

static WRITES: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static SYNCS: AtomicU64 = AtomicU64::new(0);
static RANGE_SYNCS: AtomicU64 = AtomicU64::new(0);

/// Since the process has begun.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Calls that write to a regular file.
    pub writes: u64,
    /// Bytes that they have written.
    pub bytes: u64,
    /// `fsync` and `fdatasync`.
    pub syncs: u64,
    /// `sync_file_range`, which makes nothing durable by itself.
    pub range_syncs: u64,
}

impl Counts {
    #[must_use]
    pub fn now() -> Self {
        Self {
            writes: WRITES.load(Relaxed),
            bytes: BYTES.load(Relaxed),
            syncs: SYNCS.load(Relaxed),
            range_syncs: RANGE_SYNCS.load(Relaxed),
        }
    }

    /// Waits for what an engine still writes by itself: until nothing has been for a while.
    #[must_use]
    pub fn settled() -> Self {
        let mut before = Self::now();
        let mut quiet = 0;
        while quiet < 10 {
            std::thread::sleep(Duration::from_millis(30));
            let now = Self::now();
            quiet = if now == before { quiet + 1 } else { 0 };
            before = now;
        }
        before
    }
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            writes: self.writes - earlier.writes,
            bytes: self.bytes - earlier.bytes,
            syncs: self.syncs - earlier.syncs,
            range_syncs: self.range_syncs - earlier.range_syncs,
        }
    }
}

/// Makes sure that the functions below are the ones that are called.
///
/// # Panics
/// If they are not, no count would mean anything.
pub fn check_counting() {
    let path = std::env::temp_dir().join(format!("profile-store-meter-{}", std::process::id()));
    let before = Counts::now();
    std::fs::write(&path, b"counted").expect("a temporary file");
    std::fs::File::open(&path).and_then(|file| file.sync_all()).expect("a sync");
    std::fs::remove_file(&path).expect("removed");
    let counted = Counts::now() - before;
    assert_eq!((counted.writes, counted.bytes, counted.syncs), (1, 7, 1), "file operations are not counted");
}

fn is_regular(file: c_int) -> bool {
    let mut found = std::mem::MaybeUninit::<libc::stat>::uninit();
    // SAFETY: `fstat` fills what it is given when it returns 0, and only then is it read.
    unsafe {
        libc::fstat(file, found.as_mut_ptr()) == 0
            && found.assume_init().st_mode & libc::S_IFMT == libc::S_IFREG
    }
}

fn count_write(file: c_int, written: ssize_t) -> ssize_t {
    if written > 0 && is_regular(file) {
        WRITES.fetch_add(1, Relaxed);
        BYTES.fetch_add(written as u64, Relaxed);
    }
    written
}

// SAFETY, of all of them: the C library's signatures, and the arguments go on as they came.

#[unsafe(no_mangle)]
unsafe extern "C" fn write(file: c_int, from: *const c_void, bytes: size_t) -> ssize_t {
    // SAFETY: see above.
    count_write(file, unsafe { libc::syscall(libc::SYS_write, file, from, bytes) } as ssize_t)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn writev(file: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    // SAFETY: see above.
    count_write(file, unsafe { libc::syscall(libc::SYS_writev, file, parts, count) } as ssize_t)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(file: c_int, from: *const c_void, bytes: size_t, at: off_t) -> ssize_t {
    // SAFETY: see above.
    count_write(file, unsafe { libc::syscall(libc::SYS_pwrite64, file, from, bytes, at) } as ssize_t)
}

#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite(file: c_int, from: *const c_void, bytes: size_t, at: off_t) -> ssize_t {
    // SAFETY: see above.
    unsafe { pwrite64(file, from, bytes, at) }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fsync(file: c_int) -> c_int {
    SYNCS.fetch_add(1, Relaxed);
    // SAFETY: see above.
    unsafe { libc::syscall(libc::SYS_fsync, file) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn fdatasync(file: c_int) -> c_int {
    SYNCS.fetch_add(1, Relaxed);
    // SAFETY: see above.
    unsafe { libc::syscall(libc::SYS_fdatasync, file) as c_int }
}

#[unsafe(no_mangle)]
unsafe extern "C" fn sync_file_range(file: c_int, from: off_t, bytes: off_t, flags: c_uint) -> c_int {
    RANGE_SYNCS.fetch_add(1, Relaxed);
    // SAFETY: see above.
    unsafe { libc::syscall(libc::SYS_sync_file_range, file, from, bytes, flags) as c_int }
}

//! Files that an earlier process could not sync.
//!
//! When a sync fails, the kernel may forget that the pages were dirty and go on showing them: what
//! is read is not on the disk, and the next sync is called a success without writing it. Who builds
//! on such bytes loses all of it in a power cut. Written again, they are dirty again.

use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

/// Options to create a file that only its owner can read (S13).
pub(crate) fn for_owner() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Writes a file's bytes over themselves, syncs them, and returns how many there are. Nobody may write to it
/// meanwhile; that a crash cuts this short does no harm. A file that is not there is fine.
#[cfg(any(feature = "sqlite", feature = "sled"))]
pub(crate) fn rewrite(path: &Path) -> io::Result<u64> {
    rewrite_if(path, |_| true)
}

/// The same for a file that is zeros if nothing was written to it: such a part of it was not lost.
#[cfg(feature = "fjall")]
pub(crate) fn rewrite_used(path: &Path) -> io::Result<u64> {
    rewrite_if(path, |bytes| bytes.iter().any(|byte| *byte != 0))
}

fn rewrite_if(path: &Path, is_used: impl Fn(&[u8]) -> bool) -> io::Result<u64> {
    let mut file = match OpenOptions::new().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(0),
        opened => opened?,
    };
    let mut bytes = vec![0; 1 << 20];
    let (mut at, mut used) = (0, 0);
    loop {
        file.seek(SeekFrom::Start(at))?;
        let read = file.read(&mut bytes)?;
        if read == 0 {
            return file.sync_all().map(|()| used);
        }
        if is_used(&bytes[..read]) {
            file.seek(SeekFrom::Start(at))?;
            file.write_all(&bytes[..read])?;
            used += read as u64;
        }
        at += read as u64;
    }
}

/// Makes a file's bytes durable. It is opened for writing, as Windows syncs nothing that is only read.
#[cfg(any(feature = "fjall", feature = "sled"))]
pub(crate) fn sync_file(path: &Path) -> io::Result<()> {
    OpenOptions::new().write(true).open(path)?.sync_all()
}

/// Makes the names in a directory durable.
pub(crate) fn sync_directory(directory: &Path) -> io::Result<()> {
    // Only Unix can open, and has to sync, a directory.
    if cfg!(unix) { File::open(directory)?.sync_all() } else { Ok(()) }
}

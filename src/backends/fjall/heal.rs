//! Journals after a crash or a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::engine::durable_files::{for_owner, rewrite_used, sync_directory};
use crate::model::error::{Error, Result};

/// Bytes that are read at a time.
const PIECE: u64 = 1 << 16;

/// Makes durable what a process has left in the journals that may not have been able to sync: fjall replays
/// what it can read of them. Tables are synced before anything refers to them. Returns how many bytes that is.
pub(super) fn sync_journals(data: &Path) -> io::Result<u64> {
    let bytes = journals(data)?.iter().map(|journal| rewrite_used(journal)).sum::<io::Result<u64>>()?;
    sync_directory(data).map(|()| bytes)
}

/// Recovers files that were not closed well, without the last batch if that is what fjall refuses.
///
/// A power cut during a write may leave the end of a batch on the disk, and not a part before it. fjall refuses
/// such a journal, though it drops a batch whose end is missing. That batch was never acknowledged, as its sync
/// had not returned: its end is removed, and fjall drops it. A journal that is not mended by that stays as it was,
/// also over a kill: the byte is noted before it is removed.
pub(super) fn recover_torn<T>(data: &Path, recover: impl Fn() -> Result<T>) -> Result<T> {
    let storage = |source| Error::io(format!("can't mend the journal in {}", data.display()), source);
    if let Some(end) = LastByte::noted(data).map_err(storage)? {
        end.put_back(data).map_err(storage)?;
    }
    let refused = match recover() {
        Err(error) if is_refused_journal(&error) => error,
        opened => return opened,
    };
    let Some(end) = LastByte::of_newest(data).map_err(storage)? else { return Err(refused) };
    end.note(data).and_then(|()| end.write(0)).map_err(storage)?;
    match recover() {
        Ok(opened) => {
            fs::remove_file(note(data)).map_err(storage)?;
            Ok(opened)
        }
        Err(again) => {
            end.put_back(data).map_err(storage)?;
            Err(if is_refused_journal(&again) { refused } else { again })
        }
    }
}

/// There while the last byte of a journal is missing: the journal's name, the place and the byte.
fn note(data: &Path) -> PathBuf {
    data.with_file_name("mending")
}

/// Whether fjall has read a whole batch that can't be right. What it could not read to the end, it drops itself.
fn is_refused_journal(error: &Error) -> bool {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref());
    matches!(source, Some(fjall::Error::JournalRecovery(_)))
}

/// The last byte of the last batch: behind it, a journal is zeros.
struct LastByte {
    journal: PathBuf,
    at: u64,
    byte: u8,
}

impl LastByte {
    /// That of the newest journal, if anything was written to it. fjall syncs a journal before it begins the next.
    fn of_newest(data: &Path) -> io::Result<Option<Self>> {
        let number = |journal: &PathBuf| journal.file_stem()?.to_str()?.parse::<u64>().ok();
        let Some(journal) = journals(data)?.into_iter().max_by_key(number) else { return Ok(None) };
        let mut file = File::open(&journal)?;
        let mut end = file.metadata()?.len();
        while end > 0 {
            let begin = end.saturating_sub(PIECE);
            let mut piece = Vec::new();
            file.seek(SeekFrom::Start(begin))?;
            (&file).take(end - begin).read_to_end(&mut piece)?;
            if let Some(last) = piece.iter().rposition(|byte| *byte != 0) {
                return Ok(Some(Self { journal, at: begin + last as u64, byte: piece[last] }));
            }
            end = begin;
        }
        Ok(None)
    }

    /// The note of an earlier process. One whose note is incomplete had not removed the byte yet.
    fn noted(data: &Path) -> io::Result<Option<Self>> {
        let words = match fs::read_to_string(note(data)) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::InvalidData) => {
                return Ok(None);
            }
            words => words?,
        };
        let parse = || {
            let mut words = words.strip_suffix('\n')?.split(' ');
            let (journal, at, byte) = (words.next()?, words.next()?, words.next()?);
            Some(Self { journal: data.join(journal), at: at.parse().ok()?, byte: byte.parse().ok()? })
        };
        Ok(parse())
    }

    /// Durably, before anything is removed.
    fn note(&self, data: &Path) -> io::Result<()> {
        let journal = self.journal.file_name().unwrap_or_default().display();
        let mut file = for_owner().create(true).truncate(true).open(note(data))?;
        file.write_all(format!("{journal} {} {}\n", self.at, self.byte).as_bytes())?;
        file.sync_all()?;
        note(data).parent().map_or(Ok(()), sync_directory)
    }

    /// Unless fjall has cut or removed the journal.
    fn put_back(&self, data: &Path) -> io::Result<()> {
        if self.journal.metadata().is_ok_and(|journal| journal.len() > self.at) {
            self.write(self.byte)?;
        }
        fs::remove_file(note(data))
    }

    fn write(&self, byte: u8) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).open(&self.journal)?;
        file.seek(SeekFrom::Start(self.at))?;
        file.write_all(&[byte])?;
        file.sync_all()
    }
}

fn journals(data: &Path) -> io::Result<Vec<PathBuf>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(data)? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "jnl") {
            journals.push(path);
        }
    }
    Ok(journals)
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;
    use crate::model::error::ErrorKind;

    const BYTES: &[u8] = b"first last!\0\0\0\0";

    /// S2: the first try is refused, and the second ends as given. It sees the journal without its last byte. Returns what
    /// is left of it.
    fn mend(data: &Path, second: impl Fn() -> Result<()>) -> (Option<Result<()>>, Vec<u8>) {
        let (journal, tries) = (data.join("0.jnl"), Cell::new(0));
        let recover = || {
            tries.set(tries.get() + 1);
            if tries.get() == 1 {
                assert_eq!(fs::read(&journal).unwrap(), BYTES, "as the power cut left it");
                let refused = fjall::Error::JournalRecovery(fjall::JournalRecoveryError::ChecksumMismatch);
                return Err(Error::new(ErrorKind::Corrupt, "refused").with_source(refused));
            }
            assert_eq!(fs::read(&journal).unwrap(), b"first last\0\0\0\0\0");
            second()
        };
        let ended = catch_unwind(AssertUnwindSafe(|| recover_torn(data, recover))).ok();
        (ended, fs::read(journal).unwrap())
    }

    #[test]
    fn a_journal_that_is_not_mended_stays_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().join("data");
        fs::create_dir(&data).unwrap();
        fs::write(data.join("0.jnl"), BYTES).unwrap();
        // Another process was killed while it made its note, and had removed nothing.
        fs::write(directory.path().join("mending"), "0.jnl 1").unwrap();
        for kind in [ErrorKind::Busy, ErrorKind::Storage] {
            let (ended, left) = mend(&data, || Err(Error::new(kind, "another error")));
            assert_eq!(ended.unwrap().unwrap_err().kind(), kind);
            assert_eq!(left, BYTES);
        }
        // A panic cuts it short as a kill does.
        let (ended, left) = mend(&data, || panic!("a kill"));
        assert!(ended.is_none() && left != BYTES);
        let (ended, _) = mend(&data, || Ok(()));
        assert!(ended.unwrap().is_ok());
        let names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["data"], "nothing is left of it");
    }
}

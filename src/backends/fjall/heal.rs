//! Journals after a crash or a power cut.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use crate::engine::durable_files::{rewrite_used, sync_directory};
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
/// had not returned: its end is removed, and fjall drops it. A journal that is refused for anything before the
/// last batch stays as it was.
pub(super) fn recover_torn<T>(data: &Path, recover: impl Fn() -> Result<T>) -> Result<T> {
    let refused = match recover() {
        Err(error) if is_refused_journal(&error) => error,
        opened => return opened,
    };
    let storage = |source| Error::io(format!("can't mend the journal in {}", data.display()), source);
    let Some(end) = LastByte::of_newest(data).map_err(storage)? else { return Err(refused) };
    end.write(0).map_err(storage)?;
    match recover() {
        Err(again) if is_refused_journal(&again) => {
            end.write(end.byte).map_err(storage)?;
            Err(refused)
        }
        opened => opened,
    }
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

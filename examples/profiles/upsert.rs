//! Storing what comes in: one request, or lines without end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::time::Instant;

use profile_store::{Batch, Counts, GuruSlug, ProfileStore, ProfileStoreExt as _, UpsertReport, User};

use crate::arguments::Upsert;
use crate::failure::{Failure, Result};
use crate::progress::Progress;

/// Bytes of lines in one transaction, whatever --batch says: what keeps memory constant.
const BATCH_BYTES: usize = 4 << 20;

/// Of an item besides its memory: an id with every character escaped, keys, and space to spare.
const ITEM_BYTES: usize = 64 << 10;

/// Stores the input and tells whether every item of it is stored.
pub async fn run(store: &dyn ProfileStore, asked: &Upsert, out: &mut impl Write) -> Result<bool> {
    let guru = GuruSlug::new(&asked.guru.slug)?;
    let name = if asked.input == "-" { "standard input" } else { &asked.input };
    let (input, bytes): (Box<dyn Read>, _) = if asked.input == "-" {
        (Box::new(io::stdin()), None)
    } else {
        let file = File::open(&asked.input).map_err(Failure::input(name))?;
        let bytes = file.metadata().map_err(Failure::input(name))?.len();
        (Box::new(file), Some(bytes))
    };
    let progress = Progress::start(bytes);
    let mut input = BufReader::with_capacity(1 << 20, progress.watch(input));
    let mut tally = Tally::start();
    if asked.ndjson {
        lines(store, &guru, asked, name, &mut input, &mut tally, out).await.map_err(
            |failure| match failure {
                Failure::ClosedPipe => Failure::CutShort,
                other => other,
            },
        )?;
    } else {
        let mut body = Vec::new();
        input.read_to_end(&mut body).map_err(Failure::input(name))?;
        let report = store.upsert_json(&guru, &body).await?;
        tally.add(&report);
        writeln!(out, "{}", report.to_json()).map_err(Failure::output)?;
    }
    progress.finish();
    eprintln!("{tally}");
    Ok(tally.counts.failed == 0)
}

/// Stores lines batch after batch, in order, so that the last line of an id wins.
async fn lines(
    store: &dyn ProfileStore,
    guru: &GuruSlug,
    asked: &Upsert,
    name: &str,
    input: &mut impl BufRead,
    tally: &mut Tally,
    out: &mut impl Write,
) -> Result<()> {
    // No admissible line is longer, unless it is blown up by white space.
    let longest = store.limits().memory_bytes() * 2 + ITEM_BYTES;
    let batch_items = store.limits().batch_items().min(usize::try_from(asked.batch).unwrap_or(usize::MAX));
    let mut line_index = 0;
    let mut ended = false;
    while !ended {
        let mut users = Vec::new();
        let mut indexes = Vec::new();
        let mut bytes = 0;
        while users.len() < batch_items && bytes < BATCH_BYTES {
            let Some(line) = read_line(input, longest).map_err(Failure::input(name))? else {
                ended = true;
                break;
            };
            bytes += line.len();
            if !line.trim_ascii().is_empty() {
                users.push(User::from_json(line));
                indexes.push(line_index);
            }
            line_index += 1;
        }
        let report = store.upsert_batch(guru, Batch::from(users)).await?;
        tally.add(&report);
        for failure in report.failures() {
            let mut failure = failure.clone();
            failure.user_index = indexes[failure.user_index];
            serde_json::to_writer(&mut *out, &failure).map_err(|error| Failure::output(error.into()))?;
            writeln!(out).map_err(Failure::output)?;
        }
    }
    Ok(())
}

/// The next line without its end. Of one longer than `longest` only a beginning is kept, which is
/// no JSON object and so fails by itself.
fn read_line(input: &mut impl BufRead, longest: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = u64::try_from(longest).unwrap_or(u64::MAX);
    if input.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.pop_if(|last| *last == b'\n').is_none() && line.len() == longest {
        input.skip_until(b'\n')?;
    }
    Ok(Some(line))
}

/// What has been done so far.
struct Tally {
    started: Instant,
    counts: Counts,
}

impl Tally {
    fn start() -> Self {
        Self { started: Instant::now(), counts: Counts::default() }
    }

    fn add(&mut self, report: &UpsertReport) {
        let counts = report.counts();
        self.counts.created += counts.created;
        self.counts.updated += counts.updated;
        self.counts.unchanged += counts.unchanged;
        self.counts.failed += counts.failed;
    }
}

impl std::fmt::Display for Tally {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Counts { created, updated, unchanged, failed, .. } = self.counts;
        write!(f, "{created} created, {updated} updated, {unchanged} unchanged, {failed} failed")?;
        let stored = created + updated + unchanged;
        let seconds = self.started.elapsed().as_secs_f64();
        if stored >= 1000 && seconds > 0.0 {
            write!(f, "; {:.0} profiles/s", stored as f64 / seconds)?;
        }
        Ok(())
    }
}

//! Upserting the documented request, or any number of users as NDJSON.

use profile_store::{Batch, GuruSlug, ProfileStore, ProfileStoreExt, User, UserResult};

use crate::Done;
use crate::arguments::Upsert;
use crate::failure::Failure;
use crate::input::{Input, Line};
use crate::output::{Output, tell};
use crate::progress::Progress;
use crate::summary::Summary;

impl Upsert {
    pub async fn run(
        self,
        store: &dyn ProfileStore,
        input: Input,
        output: &mut Output,
    ) -> Result<Done, Failure> {
        if self.ndjson {
            let lines = usize::from(self.batch).min(store.limits().batch_items());
            Import::new(store, self.guru.slug, lines, input.bytes(), output).run(input).await
        } else {
            request(store, &self.guru.slug, &input.read_all()?, output).await
        }
    }
}

async fn request(
    store: &dyn ProfileStore,
    guru: &GuruSlug,
    body: &[u8],
    output: &mut Output,
) -> Result<Done, Failure> {
    let mut summary = Summary::new();
    let report = store.upsert_json(guru, body).await?;
    summary.add(report.counts());
    output.line(report.to_json())?;
    tell(summary);
    Ok(Done::whole_if(report.is_complete()))
}

/// An NDJSON input on its way into the store.
///
/// One batch after the other: a later line has to win over an earlier one of the same id, and
/// reading is a small part of the time that a durable commit takes.
struct Import<'a> {
    store: &'a dyn ProfileStore,
    guru: GuruSlug,
    max_lines: usize,
    output: &'a mut Output,
    summary: Summary,
    progress: Progress,
    pending: Pending,
}

/// Lines read but not stored yet.
#[derive(Default)]
struct Pending {
    users: Vec<User>,
    /// The number of each user's line.
    lines: Vec<usize>,
    bytes: usize,
}

impl Pending {
    /// Bytes of users after which a batch takes no more lines, so that memory stays bounded.
    const FULL_BYTES: usize = 8 << 20;

    fn push(&mut self, line: usize, text: &[u8]) {
        self.users.push(User::from_json(text));
        self.lines.push(line);
        self.bytes += text.len();
    }

    fn is_full(&self, max_lines: usize) -> bool {
        self.users.len() >= max_lines || self.bytes >= Self::FULL_BYTES
    }
}

impl<'a> Import<'a> {
    fn new(
        store: &'a dyn ProfileStore,
        guru: GuruSlug,
        max_lines: usize,
        bytes: Option<u64>,
        output: &'a mut Output,
    ) -> Self {
        let (summary, progress) = (Summary::new(), Progress::of(bytes));
        Self { store, guru, max_lines, output, summary, progress, pending: Pending::default() }
    }

    async fn run(mut self, mut input: Input) -> Result<Done, Failure> {
        let imported = self.import(&mut input).await;
        self.progress.finish();
        // Also after a failure: it tells how much is stored.
        tell(&self.summary);
        imported?;
        Ok(Done::whole_if(self.summary.counts.failed == 0))
    }

    async fn import(&mut self, input: &mut Input) -> Result<(), Failure> {
        let mut text = Vec::new();
        let mut number = 0;
        while let Some(line) = input.read_line(&mut text)? {
            match line {
                Line::Whole if text.trim_ascii().is_empty() => {}
                Line::Whole => self.pending.push(number, &text),
                Line::Overlong => {
                    // The results of the lines before it come first.
                    self.store_pending().await?;
                    self.refuse_overlong(number)?;
                }
            }
            if self.pending.is_full(self.max_lines) {
                self.store_pending().await?;
                self.progress.reach(input.position(), self.summary.counts.failed);
            }
            number += 1;
        }
        self.store_pending().await
    }

    async fn store_pending(&mut self) -> Result<(), Failure> {
        let Pending { users, lines, .. } = std::mem::take(&mut self.pending);
        let report = self.store.upsert_batch(&self.guru, Batch::from(users)).await?;
        self.summary.add(report.counts());
        self.progress.aside(|| {
            for failure in report.failures() {
                let mut failure = failure.clone();
                failure.user_index = lines[failure.user_index];
                self.output.line(to_json(&failure))?;
            }
            self.output.flush()
        })
    }

    fn refuse_overlong(&mut self, number: usize) -> Result<(), Failure> {
        self.summary.counts.failed += 1;
        self.progress.aside(|| {
            self.output.line(format_args!(
                r#"{{"user_index":{number},"external_user_id":null,"success":false,"errors":["line must be at most {} bytes"]}}"#,
                Input::MAX_LINE_BYTES,
            ))
        })
    }
}

fn to_json(result: &UserResult) -> String {
    serde_json::to_string(result).expect("strings, numbers and booleans always serialise")
}

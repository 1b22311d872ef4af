//! NDJSON on its way into a store.

use profile_store::{Import, LineFailure, ProfileStore};

use crate::done::Done;
use crate::failure::Failure;
use crate::input::Input;
use crate::output::{Output, tell};
use crate::progress::Progress;
use crate::summary::Summary;

/// Lines being imported, those that fail being printed.
pub struct Lines<'a> {
    import: Import<'a, dyn ProfileStore + 'a>,
    output: &'a mut Output,
    summary: Summary,
}

impl<'a> Lines<'a> {
    pub fn new(import: Import<'a, dyn ProfileStore + 'a>, output: &'a mut Output) -> Self {
        Self { import, output, summary: Summary::new() }
    }

    pub async fn import(mut self, mut input: Input) -> Result<Done, Failure> {
        let imported = self.import_all(&mut input).await;
        input.progress.finish();
        // Also after a failure: it shows how much is stored.
        let told = self.import.imported();
        let counts = &mut self.summary.counts;
        (counts.created, counts.updated) = (told.created as usize, told.updated as usize);
        (counts.unchanged, counts.failed) = (told.unchanged as usize, told.failed as usize);
        tell(&self.summary);
        imported?;
        Ok(Done::whole_if(told.failed == 0))
    }

    async fn import_all(&mut self, input: &mut Input) -> Result<(), Failure> {
        while let Some(piece) = input.read_piece()? {
            let failures = self.import.push(piece).await?;
            self.tell(&failures, &input.progress)?;
        }
        let failures = self.import.finish().await?;
        self.tell(&failures, &input.progress)
    }

    fn tell(&mut self, failures: &[LineFailure], progress: &Progress) -> Result<(), Failure> {
        if failures.is_empty() {
            return Ok(());
        }
        progress.say(format_args!("{} failed", self.import.imported().failed));
        progress.aside(|| {
            for failure in failures {
                self.output.line(as_json(failure))?;
            }
            self.output.flush()
        })
    }
}

fn as_json(failure: &LineFailure) -> String {
    let (line, id) = (failure.line, serde_json::json!(failure.external_user_id.as_deref()));
    let errors = serde_json::json!(failure.errors);
    format!(r#"{{"line":{line},"external_user_id":{id},"errors":{errors}}}"#)
}

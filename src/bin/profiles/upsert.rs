//! Upserting the documented request, or any number of users as NDJSON.

use profile_store::{Batch, Guru, Import, ProfileStore};

use crate::arguments::Upsert;
use crate::done::Done;
use crate::failure::Failure;
use crate::input::Input;
use crate::lines::Lines;
use crate::output::{Output, tell};
use crate::summary::Summary;

impl Upsert {
    pub async fn run(
        self,
        store: &dyn ProfileStore,
        input: Input,
        output: &mut Output,
    ) -> Result<Done, Failure> {
        if !self.ndjson {
            return self.request(store, input, output).await;
        }
        let mut import = Import::users(store, &self.guru.slug).with_batch_lines(self.batch.into());
        if self.merge {
            import = import.merging();
        }
        if self.if_absent {
            import = import.if_absent();
        }
        Lines::new(import, output).import(input).await
    }

    async fn request(
        self,
        store: &dyn ProfileStore,
        input: Input,
        output: &mut Output,
    ) -> Result<Done, Failure> {
        let mut summary = Summary::new();
        let (body, progress) = input.read_all()?;
        progress.say("storing");
        let mut batch = Batch::from_json(body);
        if self.merge {
            batch = batch.merging();
        }
        if self.if_absent {
            batch = batch.if_absent();
        }
        let stored = Guru::new(store, self.guru.slug).upsert_batch(batch).await;
        progress.finish();
        let report = stored?;
        summary.counts = report.counts();
        let printed = output.line(report.to_json()).and_then(|()| output.flush());
        tell(summary);
        printed?;
        Ok(Done::whole_if(report.is_complete()))
    }
}

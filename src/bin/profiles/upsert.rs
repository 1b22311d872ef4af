//! Upserting the documented request, or any number of users as NDJSON.

use profile_store::{Guru, GuruSlug, Import, LineFailure, ProfileStore};

use crate::Done;
use crate::arguments::Upsert;
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
        if self.ndjson {
            let import = Import::users(store, &self.guru.slug).with_batch_lines(self.batch.into());
            Lines::new(import, output, as_result).import(input).await
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
    let report = Guru::new(store, guru.clone()).upsert_json(body).await?;
    summary.counts = report.counts();
    output.line(report.to_json())?;
    tell(summary);
    Ok(Done::whole_if(report.is_complete()))
}

/// A line that failed, as the documented response would tell it.
fn as_result(failure: &LineFailure) -> String {
    let (index, id) = (failure.line - 1, serde_json::json!(failure.external_user_id.as_deref()));
    let errors = serde_json::json!(failure.errors);
    format!(r#"{{"user_index":{index},"external_user_id":{id},"success":false,"errors":{errors}}}"#)
}

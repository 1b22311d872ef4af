//! Profiles at the command line: upsert a request or any amount of NDJSON, read, list, delete.
//!
//! ```text
//! cargo run --release --example profiles -- upsert --guru my-guru request.json
//! cargo run --release --example profiles -- --help
//! ```

mod arguments;
mod command;
mod failure;
mod input;
mod output;
mod progress;
mod summary;
mod upsert;

use std::process::ExitCode;

use clap::Parser;
use profile_store::ProfileStore;

use crate::arguments::{Arguments, Command};
use crate::failure::Failure;
use crate::input::Input;
use crate::output::Output;

/// What became of a command that was not refused.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Done {
    Whole,
    InPart,
}

impl Done {
    fn whole_if(condition: bool) -> Self {
        if condition { Self::Whole } else { Self::InPart }
    }
}

fn main() -> ExitCode {
    match pollster::block_on(run(Arguments::parse())) {
        Ok(Done::Whole) => ExitCode::SUCCESS,
        Ok(Done::InPart) => ExitCode::from(1),
        Err(failure) => {
            output::tell(failure.explanation());
            ExitCode::from(2)
        }
    }
}

async fn run(Arguments { store: url, command }: Arguments) -> Result<Done, Failure> {
    let mut output = Output::new();
    let out = &mut output;
    let done = match command {
        Command::Upsert(upsert) => {
            // Before the store: a mistyped file name must not create one.
            let input = Input::open(&upsert.input)?;
            with_store(&url, async |store| upsert.run(store, input, out).await).await
        }
        Command::Get(get) => with_store(&url, async |store| get.run(store, out).await).await,
        Command::List(list) => with_store(&url, async |store| list.run(store, out).await).await,
        Command::Delete(delete) => with_store(&url, async |store| delete.run(store, out).await).await,
        Command::Count(count) => with_store(&url, async |store| count.run(store, out).await).await,
        Command::Gurus => with_store(&url, async |store| command::gurus(store, out).await).await,
    };
    // What was done before a failure is told as well.
    let told = output.flush();
    let done = done?;
    told?;
    Ok(done)
}

/// Opens the store for `work`, and closes it whatever became of that.
async fn with_store(
    url: &str,
    work: impl AsyncFnOnce(&dyn ProfileStore) -> Result<Done, Failure>,
) -> Result<Done, Failure> {
    let store = profile_store::open(url).await?;
    let done = work(&*store).await;
    let closed = store.close().await;
    let done = done?;
    closed?;
    Ok(done)
}

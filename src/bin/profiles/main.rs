//! Profiles at the command line: upsert a request or any amount of NDJSON, read, list, delete, copy,
//! back up, look after.
//!
//! ```text
//! cargo run --release --features cli -- upsert --guru my-guru request.json
//! cargo run --release --features cli -- --help
//! ```

mod arguments;
mod command;
mod done;
mod failure;
mod identity;
mod input;
mod lines;
mod moving;
mod output;
mod place;
mod progress;
mod selection;
mod summary;
mod upkeep;
mod upsert;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};
use profile_store::{Event, ProfileStore, StoreOptions};

use crate::arguments::{Arguments, Command};
use crate::done::Done;
use crate::failure::Failure;
use crate::input::Input;
use crate::output::Output;
use crate::place::Place;

fn main() -> ExitCode {
    let matches = Arguments::command().get_matches();
    let Arguments { store, verbose, command } =
        Arguments::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
    match pollster::block_on(run(&Place::from_matches(store, &matches), verbose, command)) {
        Ok(Done::Whole) => ExitCode::SUCCESS,
        Ok(Done::InPart) => ExitCode::from(1),
        Err(failure) => {
            output::tell(failure.explanation());
            ExitCode::from(2)
        }
    }
}

/// How the tool opens a store; `verbose` prints what happens inside.
fn options(verbose: bool) -> StoreOptions {
    let options = StoreOptions::default();
    if !verbose {
        return options;
    }
    options.with_observer(|event: &Event| output::tell(format_args!("{event:?}")))
}

async fn run(place: &Place, verbose: bool, command: Command) -> Result<Done, Failure> {
    // The two would share lines of the terminal.
    let has_bar = !verbose;
    let observed = options(verbose);
    let mut output = Output::new()?;
    let out = &mut output;
    let options = observed.clone().with_create(command.creates());
    let done = match command {
        Command::Upsert(upsert) => {
            // Before the store: what can't be read must not create one.
            let mut input = Input::open(&upsert.input, has_bar)?;
            if !upsert.ndjson {
                input.refuse_ndjson()?;
            }
            with_store(place, options, async |store| upsert.run(store, input, out).await).await
        }
        Command::Import(import) => {
            let input = Input::open(&import.input, has_bar)?;
            let options = moving::with_widest_limits(options);
            with_store(place, options, async |store| import.run(store, input, out).await).await
        }
        Command::Copy(copy) => {
            copy.check(place, &observed).await?;
            with_store(place, options, async |store| copy.run(store, place, observed, has_bar).await).await
        }
        Command::Backup(backup) => backup.run(place, options).await,
        command => with_store(place, options, async |store| on_store(command, store, out).await).await,
    };
    // Work done before a failure is reported as well.
    let told = output.flush();
    let done = done?;
    told?;
    Ok(done)
}

async fn on_store(command: Command, store: &dyn ProfileStore, out: &mut Output) -> Result<Done, Failure> {
    match command {
        Command::Get(get) => get.run(store, out).await,
        Command::List(list) => list.run(store, out).await,
        Command::Delete(delete) => delete.run(store, out).await,
        Command::Count(count) => count.run(store, out).await,
        Command::Gurus => command::gurus(store, out).await,
        Command::Export(export) => export.run(store, out).await,
        Command::Sweep(sweep) => sweep.run(store, out).await,
        Command::Stats => upkeep::stats(store, out).await,
        Command::Compact => upkeep::compact(store).await,
        Command::Verify => upkeep::verify(store, out).await,
        Command::Check(check) => check.run(store).await,
        Command::Upsert(_) | Command::Import(_) | Command::Copy(_) | Command::Backup(_) => {
            unreachable!("they have more than a store to go by")
        }
    }
}

/// Opens the store for `work`, and closes it whatever became of that.
async fn with_store(
    place: &Place,
    options: StoreOptions,
    work: impl AsyncFnOnce(&dyn ProfileStore) -> Result<Done, Failure>,
) -> Result<Done, Failure> {
    let store = place.open(options).await.map_err(|error| Failure::opening(error, place))?;
    let done = work(&*store).await;
    let closed = store.close().await;
    let done = done.map_err(|failure| failure.on(&[place]))?;
    closed.map_err(|error| Failure::from(error).on(&[place]))?;
    Ok(done)
}

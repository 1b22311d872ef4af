//! The main job, and an operator's tool: `profiles --help` explains it.

mod arguments;
mod failure;
mod progress;
mod upsert;

use std::io::{BufWriter, Write};
use std::process::ExitCode;

use clap::Parser as _;
use profile_store::{ExternalUserId, GuruSlug, ListOptions, ProfileStore, ProfileStoreExt as _};

use arguments::{Arguments, Task};
use failure::Failure;
type Result<T, E = Failure> = std::result::Result<T, E>;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match pollster::block_on(run(&arguments)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        // Whoever closed the pipe knows why; what was stored is stored.
        Err(Failure::ClosedPipe) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("profiles: {failure}");
            ExitCode::from(2)
        }
    }
}

/// Does what was asked for, and tells whether all of it could be done.
async fn run(arguments: &Arguments) -> Result<bool> {
    let store = profile_store::open(&arguments.store).await?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    let done = task(&*store, &arguments.task, &mut out).await;
    let flushed = out.flush().map_err(Failure::output);
    // Closed in any case: it leaves a clean file.
    let closed = store.close().await;
    let done = done?;
    flushed?;
    closed?;
    Ok(done)
}

async fn task(store: &dyn ProfileStore, task: &Task, out: &mut impl Write) -> Result<bool> {
    match task {
        Task::Upsert(asked) => upsert::run(store, asked, out).await,
        Task::Get { guru, ids } => {
            let guru = GuruSlug::new(&guru.slug)?;
            for id in ids {
                let profile = store.get(&guru, id).await?;
                let memory = profile.as_ref().map_or("null", |profile| profile.memory.as_str());
                writeln!(out, "{memory}").map_err(Failure::output)?;
            }
            Ok(true)
        }
        Task::List { guru, after, limit } => {
            let after = after.as_deref().map(ExternalUserId::new).transpose()?;
            list(store, &GuruSlug::new(&guru.slug)?, after, *limit, out).await?;
            Ok(true)
        }
        Task::Count { guru } => {
            let count = store.count(&GuruSlug::new(&guru.slug)?).await?;
            writeln!(out, "{count}").map_err(Failure::output)?;
            Ok(true)
        }
        Task::Delete { guru, all: true, .. } => {
            let count = store.delete_guru(&GuruSlug::new(&guru.slug)?).await?;
            writeln!(out, r#"{{"deleted":{count}}}"#).map_err(Failure::output)?;
            Ok(true)
        }
        Task::Delete { guru, ids, .. } => {
            let guru = GuruSlug::new(&guru.slug)?;
            let ids = ids.iter().map(|id| ExternalUserId::new(id.as_str())).collect::<Result<Vec<_>, _>>()?;
            let deleted = store.delete_many(&guru, &ids).await?;
            for (id, deleted) in ids.iter().zip(&deleted) {
                let id = serde_json::Value::from(id.as_str());
                writeln!(out, r#"{{"external_user_id":{id},"deleted":{deleted}}}"#)
                    .map_err(Failure::output)?;
            }
            Ok(true)
        }
        Task::Gurus => {
            const PAGE: usize = 1000;
            let mut gurus = store.gurus(None, PAGE).await?;
            loop {
                for guru in &gurus {
                    writeln!(out, "{guru}").map_err(Failure::output)?;
                }
                match gurus.last() {
                    Some(last) if gurus.len() == PAGE => gurus = store.gurus(Some(last), PAGE).await?,
                    _ => return Ok(true),
                }
            }
        }
    }
}

async fn list(
    store: &dyn ProfileStore,
    guru: &GuruSlug,
    mut after: Option<ExternalUserId>,
    mut limit: u64,
    out: &mut impl Write,
) -> Result<()> {
    while limit > 0 {
        let page_limit = usize::try_from(limit.min(1000)).expect("at most 1,000");
        let page = store.list(guru, &ListOptions::default().with_after(after).with_limit(page_limit)).await?;
        for profile in &page.profiles {
            writeln!(out, "{}", profile.to_json()).map_err(Failure::output)?;
        }
        limit -= page.profiles.len() as u64;
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    Ok(())
}

//! The events inside a store, as events of `tracing`.

use std::time::Duration;

use tracing::{debug, error, info, warn};

use crate::store::observe::Event;

const TARGET: &str = "profile_store";

/// An observer that hands everything to `tracing` (feature `tracing`).
///
/// ```
/// use profile_store::{StoreOptions, trace_event};
///
/// let options = StoreOptions::default().with_observer(trace_event);
/// ```
///
/// The target is `profile_store`, the message names the event, and its figures are fields of the same names. Times
/// are seconds. `error.type` is an [`ErrorKind`](crate::ErrorKind), `db.response.status_code` a server's code.
/// No memory, id or slug is among them ([O1](crate::contract#o1)).
///
/// | level | events |
/// |---|---|
/// | `ERROR` | `Refusing`; `Checkpoint` and `Closed` with an error |
/// | `WARN` | `Failed`, `TimedOut`, `RemovalFailed`, `Retrying` |
/// | `INFO` | `Opened`, `Healed`, `Reconnected`, `Closed` |
/// | `DEBUG` | `Committed`, `WaitedForRoom`, `Checkpoint` |
///
/// The subscriber must be the process's own (`set_global_default`): events come from the store's threads.
pub fn trace_event(event: &Event) {
    let seconds = Duration::as_secs_f64;
    match event {
        Event::Opened { took } => info!(target: TARGET, took = seconds(took), "opened"),
        Event::Healed { bytes } => info!(target: TARGET, bytes, "healed"),
        Event::Committed { writes, failed, users, bytes, waited, took } => {
            let (waited, took) = (seconds(waited), seconds(took));
            debug!(target: TARGET, writes, failed, users, bytes, waited, took, "committed");
        }
        Event::Failed { writes, redone, error, took } => {
            warn!(target: TARGET, { "error.type" = ?error, writes, redone, took = seconds(took) }, "failed");
        }
        Event::TimedOut { waited } => warn!(target: TARGET, waited = seconds(waited), "timed out"),
        Event::WaitedForRoom { waited } => {
            debug!(target: TARGET, waited = seconds(waited), "waited for room");
        }
        Event::Checkpoint { pages, took, commits_waited, error: None } => {
            debug!(target: TARGET, pages, took = seconds(took), commits_waited, "checkpoint");
        }
        Event::Checkpoint { took, commits_waited, error: Some(error), .. } => {
            let took = seconds(took);
            error!(target: TARGET, { "error.type" = ?error, took, commits_waited }, "checkpoint failed");
        }
        Event::RemovalFailed { error } => warn!(target: TARGET, { "error.type" = ?error }, "removal failed"),
        Event::Retrying { attempt, error, code } => {
            let code = code.as_deref();
            warn!(target: TARGET, { "error.type" = ?error, "db.response.status_code" = code, attempt }, "retrying");
        }
        Event::Reconnected { took } => info!(target: TARGET, took = seconds(took), "reconnected"),
        Event::Refusing { error } => error!(target: TARGET, { "error.type" = ?error }, "refusing writes"),
        Event::Closed { error: None } => info!(target: TARGET, "closed"),
        Event::Closed { error: Some(error) } => error!(target: TARGET, { "error.type" = ?error }, "closed"),
    }
}

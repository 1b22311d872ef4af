//! The documented "Upsert User Profiles" endpoint and its neighbours, as a service.
//!
//! ```sh
//! cargo run                                            # profiles.db, 127.0.0.1:3000
//! STORE=postgres://app@db/app LISTEN=0.0.0.0:80 cargo run
//! ```
//!
//! | variable | default | meaning |
//! |---|---|---|
//! | `STORE` | `sqlite:profiles.db` | any URL of `profile_store::open` |
//! | `LISTEN` | `127.0.0.1:3000` | address and port |
//! | `BODY_BYTES` | 64 MiB | the largest request body; that of a `PUT` is 2 MiB at most |
//! | `BODIES` | 8 | bodies that are held in memory at a time; the others wait unread |
//! | `BODY_SECONDS` | 30 | the longest time that a body may take to arrive; then its client gets 408. The rest of a refused body is thrown away for as long |
//! | `RUST_LOG` | `info` | what is logged, as `tracing_subscriber::EnvFilter` reads it; `profile_store=debug` shows each call and commit |

mod answer;
mod metrics;
mod routes;
mod unread;

use std::env::VarError;
use std::error::Error;
use std::fmt::Display;
use std::iter::successors;
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use profile_store::{Event, ProfileStore, StoreOptions, Traced, trace_event};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// Requests that have begun may take this long after the signal to end. Docker kills after 10 seconds.
const DRAIN: Duration = Duration::from_secs(8);

fn variable<T: FromStr<Err: Display>>(name: &str, default: &str) -> Result<T, String> {
    let text = match std::env::var(name) {
        Ok(text) => text,
        Err(VarError::NotPresent) => default.to_owned(),
        // It may hold a password: it is not shown.
        Err(VarError::NotUnicode(_)) => return Err(format!("{name} is not Unicode")),
    };
    text.parse::<T>().map_err(|error| format!("{name}: {error}"))
}

#[tokio::main]
async fn main() -> ExitCode {
    let Err(error) = run().await else { return ExitCode::SUCCESS };
    // `main` would print it by `Debug`. The words are in the chain.
    let causes = successors(Some(&*error), |&error| error.source());
    eprintln!("error: {}", causes.map(ToString::to_string).collect::<Vec<_>>().join(": "));
    ExitCode::FAILURE
}

async fn run() -> Result<(), Box<dyn Error>> {
    let filter = tracing_subscriber::EnvFilter::new(variable::<String>("RUST_LOG", "info")?);
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let prometheus = metrics::install()?;
    let refusing = Arc::new(Notify::new());
    let refused = Arc::clone(&refusing);
    let options = StoreOptions::default().with_observer(move |event: &Event| {
        trace_event(event);
        metrics::observe(event);
        if let Event::Refusing { .. } = event {
            refusing.notify_one();
        }
    });
    let url: String = variable("STORE", "sqlite:profiles.db")?;
    let store = profile_store::open_with(&url, options).await?;
    let store: Arc<dyn ProfileStore> = Arc::new(Traced::new(store));
    let app = routes::router(
        Arc::clone(&store),
        prometheus,
        variable("BODY_BYTES", "67108864")?,
        variable("BODIES", "8")?,
        Duration::from_secs(variable("BODY_SECONDS", "30")?),
    );

    // Before anybody knows that the service runs.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let listener = TcpListener::bind(variable::<String>("LISTEN", "127.0.0.1:3000")?).await?;
    println!("listening on {}", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = axum::serve(listener, app).with_graceful_shutdown(async { _ = stopped.await });
    let served = tokio::spawn(serve.into_future());
    let is_refusing = tokio::select! {
        _ = terminate.recv() => false,
        _ = interrupt.recv() => false,
        () = refused.notified() => true,
    };
    tracing::info!("ending: answering what has begun");
    drop(stop);
    if timeout(DRAIN, served).await.is_err() {
        tracing::warn!("ending: some requests are left unanswered");
    }
    // Writes what is queued, and leaves clean files.
    store.close().await?;
    // The supervisor starts the service again, and opening the store recovers it.
    if is_refusing { Err("the store refused writes until it is opened again".into()) } else { Ok(()) }
}

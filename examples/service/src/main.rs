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
//! | `RUST_LOG` | `info` | what is logged, as `tracing_subscriber::EnvFilter` reads it |

mod answer;
mod metrics;
mod routes;

use std::error::Error;
use std::iter::successors;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use profile_store::{Event, ProfileStore, StoreOptions};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, oneshot};
use tokio::time::timeout;

/// Requests that have begun may take this long after the signal to end. Docker kills after 10 seconds.
const DRAIN: Duration = Duration::from_secs(8);

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
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
    let filter = tracing_subscriber::EnvFilter::new(variable("RUST_LOG", "info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let prometheus = metrics::install()?;
    let refusing = Arc::new(Notify::new());
    let refused = Arc::clone(&refusing);
    let options = StoreOptions::default().with_observer(move |event: &Event| {
        metrics::observe(event);
        if let Event::Refusing { .. } = event {
            refusing.notify_one();
        }
    });
    let store = profile_store::open_with(&variable("STORE", "sqlite:profiles.db"), options).await?;
    let (body_bytes, bodies) =
        (variable("BODY_BYTES", "67108864").parse()?, variable("BODIES", "8").parse()?);
    let app = routes::router(Arc::clone(&store), prometheus, body_bytes, bodies);

    let listener = TcpListener::bind(variable("LISTEN", "127.0.0.1:3000")).await?;
    println!("listening on {}", listener.local_addr()?);
    let (stop, stopped) = oneshot::channel::<()>();
    let serve = axum::serve(listener, app).with_graceful_shutdown(async { _ = stopped.await });
    let served = tokio::spawn(serve.into_future());
    let mut terminate = signal(SignalKind::terminate())?;
    let is_refusing = tokio::select! {
        _ = terminate.recv() => false,
        _ = tokio::signal::ctrl_c() => false,
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

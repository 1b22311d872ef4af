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
//! | `BODY_BYTES` | 64 MiB | the largest request body |
//! | `RUST_LOG` | `info` | what is logged, as `tracing_subscriber::EnvFilter` reads it |

mod answer;
mod metrics;
mod routes;

use std::error::Error;
use std::sync::Arc;

use profile_store::{ProfileStore, StoreOptions};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let filter = tracing_subscriber::EnvFilter::new(variable("RUST_LOG", "info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();

    let prometheus = metrics::install()?;
    let options = StoreOptions::default().with_observer(metrics::observe);
    let store = profile_store::open_with(&variable("STORE", "sqlite:profiles.db"), options).await?;
    let body_bytes = variable("BODY_BYTES", "67108864").parse()?;
    let app = routes::router(Arc::clone(&store), prometheus, body_bytes);

    let listener = TcpListener::bind(variable("LISTEN", "127.0.0.1:3000")).await?;
    println!("listening on {}", listener.local_addr()?);
    axum::serve(listener, app).with_graceful_shutdown(told_to_end()).await?;
    // Every request has been answered. What is queued is written, and the files are left clean.
    store.close().await?;
    Ok(())
}

/// Ends with the signal by which a container is stopped, or with Ctrl-C.
async fn told_to_end() {
    let mut terminate = signal(SignalKind::terminate()).expect("a handler of signals");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
    tracing::info!("ending: answering what has begun");
}

//! The guide's page on the first five minutes, as it stands there: its functions, and the axum program over them.

use profile_store::{Error, ErrorKind, HasGurus, ProfileStore};
use serde_json::json;

/// Answers `POST /{guru}/profiles/` with a status and a body.
async fn upsert_profiles(store: &dyn ProfileStore, guru: &str, body: &[u8]) -> (u16, String) {
    let upsert = async { store.guru(guru)?.upsert_json(body).await };
    match upsert.await {
        Ok(report) if report.is_complete() => (200, report.to_json()),
        Ok(report) => (400, report.error_body().to_json()), // some users failed, the others are stored
        Err(error) => refused(&error),
    }
}

/// Answers `GET /{guru}/profiles/{id}`. The memory goes into the prompt.
async fn get_memory(store: &dyn ProfileStore, guru: &str, id: &str) -> (u16, String) {
    let get = async { store.guru(guru)?.get(id).await };
    match get.await {
        Ok(Some(profile)) => (200, profile.memory.as_str().to_owned()),
        Ok(None) => (404, json!({"error": "no such profile"}).to_string()),
        Err(error) => refused(&error),
    }
}

/// The HTTP status of a failed call.
fn status(error: &Error) -> u16 {
    match error.kind() {
        ErrorKind::InvalidRequest | ErrorKind::InvalidInput => 400,
        // The condition of `If-None-Match` or `If-Match` does not hold.
        ErrorKind::AlreadyExists | ErrorKind::Conflict => 412,
        // The client retries later. After `Closed` the service has been restarted by then.
        ErrorKind::Busy | ErrorKind::Storage | ErrorKind::Closed => 503,
        // An operator has to act.
        _ => 500,
    }
}

fn refused(error: &Error) -> (u16, String) {
    let status = status(error);
    if status < 500 {
        return (status, json!({"error": error.to_string()}).to_string());
    }
    eprintln!("{}", error.chain()); // the cause may name files: it is for the log
    (status, json!({"error": "internal error"}).to_string())
}

use std::{sync::Arc, time::Duration};

use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::signal::unix::{SignalKind, signal};

type Store = Arc<dyn ProfileStore>;

fn respond((status, body): (u16, String)) -> Response {
    let status = StatusCode::from_u16(status).expect("a status of ours");
    (status, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

async fn post_profiles(State(store): State<Store>, Path(guru): Path<String>, body: Bytes) -> Response {
    respond(upsert_profiles(&*store, &guru, &body).await)
}

async fn get_profile(State(store): State<Store>, Path((guru, id)): Path<(String, String)>) -> Response {
    respond(get_memory(&*store, &guru, &id).await)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = profile_store::open("sqlite:profiles.db").await?;
    let app = axum::Router::new()
        .route("/{guru}/profiles/", post(post_profiles))
        .route("/{guru}/profiles/{id}", get(get_profile))
        .layer(DefaultBodyLimit::max(64 << 20)) // axum's default, 2 MB, refuses a full batch
        .with_state(Arc::clone(&store));

    let mut terminate = signal(SignalKind::terminate())?; // containers and systemd send it, from now on
    let address = std::env::var("LISTEN").unwrap_or("127.0.0.1:8080".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("listening on {}", listener.local_addr()?);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serve = axum::serve(listener, app).with_graceful_shutdown(async { _ = stopped.await });
    let served = tokio::spawn(serve.into_future());

    tokio::select! { _ = terminate.recv() => {} _ = tokio::signal::ctrl_c() => {} }
    drop(stop); // no new requests; those that have begun get 8 seconds, as Docker kills after 10
    _ = tokio::time::timeout(Duration::from_secs(8), served).await;
    store.close().await?; // finishes what was accepted
    Ok(())
}

//! A service's handler, whatever its web framework: the request body in, status and body out.
//!
//! `cargo run --example handler`

use std::sync::Arc;

use profile_store::{Error, ErrorKind, HasGurus as _, ProfileStore};

/// `POST /{guru_slug}/profiles/`.
///
/// The API documentation shows a 400 where some users failed and calls the same a success
/// elsewhere. This service goes by the first; `report.to_json()` with 200 is the other reading.
async fn upsert_profiles(store: &dyn ProfileStore, guru: &str, body: &[u8]) -> (u16, String) {
    let upsert = async { store.guru(guru)?.upsert_json(body).await };
    match upsert.await {
        Ok(report) if report.is_complete() => (200, report.to_json()),
        Ok(report) => (400, report.error_body().to_json()),
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

/// The part of an error that the caller may know. The cause stays in the log.
fn refused(error: &Error) -> (u16, String) {
    let status = status(error);
    if status < 500 {
        return (status, serde_json::json!({ "error": error.to_string() }).to_string());
    }
    eprintln!("{}", error.chain());
    (status, r#"{"error":"Internal server error while saving profiles"}"#.to_owned())
}

fn main() -> Result<(), Error> {
    pollster::block_on(async {
        let store: Arc<dyn ProfileStore> = profile_store::open("memory:").await?;
        for body in [
            r#"{"users":[{"external_user_id":"ada","memory":{"plan":"pro"}}]}"#,
            r#"{"users":[{"external_user_id":"ada"},{"external_user_id":"bob","memory":{}}]}"#,
            r#"{"users":{}}"#,
        ] {
            let (status, answer) = upsert_profiles(&*store, "my-guru", body.as_bytes()).await;
            println!("{status} {answer}");
        }
        // The user asks something: their memory goes into the prompt.
        let ada = store.guru("my-guru")?.get("ada").await?;
        println!("{}", ada.map_or("{}".to_owned(), |profile| profile.memory.as_str().to_owned()));
        store.close().await
    })
}

//! The endpoint "Upsert User Profiles" of a service, for whichever HTTP framework: a slug and a body
//! come in, a status and a body go out.
//!
//! ```text
//! cargo run --example handler
//! ```

use std::sync::Arc;

use profile_store::{ErrorKind, GuruSlug, ProfileStore, ProfileStoreExt, UpsertReport};

/// Answers the upsert of `body` under `guru`, as they came in. A framework's handler is one line around it:
///
/// ```text
/// async fn post(State(store): State<Arc<dyn ProfileStore>>, Path(guru): Path<String>, body: Bytes) -> Response {
///     let (status, body) = upsert_profiles(&store, &guru, &body).await;
///     (StatusCode::from_u16(status).unwrap(), [(CONTENT_TYPE, "application/json")], body).into_response()
/// }
/// ```
///
/// It may be dropped at any point, as frameworks do when the client hangs up: the batch is then
/// stored whole or not at all, and the client's retry finds out.
async fn upsert_profiles(store: &Arc<dyn ProfileStore>, guru: &str, body: &[u8]) -> (u16, String) {
    match upsert(store, guru, body).await {
        // The documentation leaves open which of its two bodies a partial success gets. Here it is
        // the 200, for clients retry what is answered 400 as a whole; the errors are in both.
        Ok(report) if report.processed_users() > 0 || report.is_complete() => (200, report.to_json()),
        Ok(report) => (400, report.error_body().to_json()),
        Err(error) => refusal(&error),
    }
}

async fn upsert(
    store: &Arc<dyn ProfileStore>,
    guru: &str,
    body: &[u8],
) -> profile_store::Result<UpsertReport> {
    store.upsert_json(&GuruSlug::new(guru)?, body).await
}

fn refusal(error: &profile_store::Error) -> (u16, String) {
    let (status, message) = match error.kind() {
        // These two describe the client's own input.
        ErrorKind::InvalidRequest | ErrorKind::InvalidInput => (400, error.to_string()),
        // The one that passes by itself. A framework adds `Retry-After`.
        ErrorKind::Busy => (503, "The store is busy, try again".to_owned()),
        // All others are for the operator, not for the client.
        _ => {
            eprintln!("upsert failed: {error:?}");
            return (500, r#"{"error":"Internal server error while saving profiles"}"#.to_owned());
        }
    };
    (status, serde_json::json!({ "error": message }).to_string())
}

fn main() -> profile_store::Result<()> {
    pollster::block_on(async {
        let store = profile_store::open("memory:").await?;
        let requests: [(&str, &str, u16); 6] = [
            ("my-guru", r#"{"users":[{"external_user_id":"ada","memory":{"plan":"premium"}}]}"#, 200),
            (
                "my-guru",
                r#"{"users":[{"external_user_id":"ada"},{"external_user_id":"bob","memory":{}}]}"#,
                200,
            ),
            ("my-guru", r#"{"users":[{"external_user_id":"ada"}]}"#, 400),
            ("my-guru", r#"{"users":[]}"#, 200),
            ("my-guru", r#"{"users":"#, 400),
            ("no guru", r#"{"users":[]}"#, 400),
        ];
        for (guru, body, expected) in requests {
            let answer = upsert_profiles(&store, guru, body.as_bytes()).await;
            show(guru, body, &answer);
            assert_eq!(answer.0, expected);
        }

        store.close().await?;
        let body = r#"{"users":[{"external_user_id":"ada","memory":{}}]}"#;
        let answer = upsert_profiles(&store, "my-guru", body.as_bytes()).await;
        show("my-guru", body, &answer);
        assert_eq!(answer, (500, r#"{"error":"Internal server error while saving profiles"}"#.to_owned()));
        Ok(())
    })
}

fn show(guru: &str, request: &str, (status, response): &(u16, String)) {
    println!("{guru} < {request}\n{status} > {response}\n");
}

//! Which request does what.
//!
//! | request | answer |
//! |---|---|
//! | `POST /{guru}/profiles/` | the documented upsert: 200 if all users are stored, else the documented 400 |
//! | `GET /{guru}/profiles/?after=&prefix=&limit=` | a page: `{"profiles":[…],"next":…}` |
//! | `GET /{guru}/profiles/{id}` | a profile with its `ETag`, 304, or 404 |
//! | `PUT /{guru}/profiles/{id}` | stores the body as its memory, and answers with its `ETag`; `If-Match: "…"` and `If-None-Match: *` hold, or 412 |
//! | `DELETE /{guru}/profiles/{id}` | 204, or 404; `If-Match: "…"` holds, or 412 |
//! | `GET /health/live` | 200 while the process answers |
//! | `GET /health/ready` | 200 while the store can write, else 503 |
//! | `GET /metrics` | Prometheus text |

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequest, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state, map_request, map_response};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use metrics_exporter_prometheus::PrometheusHandle;
use profile_store::{
    Error, ErrorKind, ExternalUserId, Guru, HasGurus as _, ListOptions, Memory, Probe, ProfileStore, User,
};
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::answer::{self, Condition, Failure};
use crate::metrics::gauges;
use crate::unread::drained;

type Store = Arc<dyn ProfileStore>;

#[derive(Clone)]
struct App {
    store: Store,
    prometheus: PrometheusHandle,
    body_time: Duration,
}

impl App {
    fn guru(&self, slug: &str) -> Result<Guru<&Store>, Failure> {
        Ok(self.store.guru(slug)?)
    }
}

pub fn router(
    store: Store,
    prometheus: PrometheusHandle,
    body_bytes: usize,
    bodies: NonZeroUsize,
    body_time: Duration,
) -> Router {
    let in_turn =
        from_fn_with_state(Arc::new(Semaphore::new(bodies.get().min(Semaphore::MAX_PERMITS))), in_turn);
    Router::new()
        .route("/{guru}/profiles/", post(upsert).route_layer(in_turn.clone()).get(list))
        .route(
            "/{guru}/profiles/{id}",
            put(write)
                .route_layer(in_turn)
                // The largest memory has 1 MiB without its whitespace.
                .layer(DefaultBodyLimit::max(body_bytes.min(2 << 20)))
                .get(read)
                .delete(delete),
        )
        .route("/health/live", get(|| async { StatusCode::OK }))
        .route("/health/ready", get(ready))
        .route("/metrics", get(show_metrics))
        // axum's default of 2 MB refuses documented requests.
        .layer(DefaultBodyLimit::max(body_bytes))
        .layer(map_response(answer::refusals_as_json))
        .layer(map_request(move |request| async move { drained(request, body_time) }))
        .with_state(App { store, prometheus, body_time })
}

type Answer = Result<Response, Failure>;

/// A body is held in memory until it is answered: only so many are read at a time.
async fn in_turn(State(room): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let _room = room.acquire().await.expect("it is never closed");
    next.run(request).await
}

/// A body that has arrived in time. Only its reading is timed: a call of the store would go on after its time-out.
struct InTime<B>(B);

impl<B: FromRequest<App>> FromRequest<App> for InTime<B> {
    type Rejection = Response;

    async fn from_request(request: Request, app: &App) -> Result<Self, Response> {
        match timeout(app.body_time, B::from_request(request, app)).await {
            Ok(body) => body.map(Self).map_err(B::Rejection::into_response),
            Err(_) => Err(StatusCode::REQUEST_TIMEOUT.into_response()),
        }
    }
}

/// The API documentation shows a 400 if some users failed, and calls the same a success elsewhere. This
/// service goes by the first; `report.to_json()` with 200 is the other reading.
async fn upsert(State(app): State<App>, Path(guru): Path<String>, InTime(body): InTime<Bytes>) -> Answer {
    let report = app.guru(&guru)?.upsert_json(&*body).await.map_err(Failure::of_upsert)?;
    Ok(if report.is_complete() {
        answer::json(StatusCode::OK, report.to_json())
    } else {
        answer::json(StatusCode::BAD_REQUEST, report.error_body().to_json())
    })
}

#[derive(Deserialize)]
struct Paging {
    after: Option<String>,
    prefix: Option<String>,
    limit: Option<usize>,
}

async fn list(State(app): State<App>, Path(guru): Path<String>, Query(paging): Query<Paging>) -> Answer {
    let mut options = ListOptions::default().with_limit(paging.limit.unwrap_or(100).clamp(1, 1000));
    if let Some(after) = paging.after {
        options = options.with_after(ExternalUserId::new(after)?);
    }
    if let Some(prefix) = paging.prefix {
        options = options.with_prefix(prefix);
    }
    let page = app.guru(&guru)?.list(&options).await?;
    Ok(answer::json(StatusCode::OK, serde_json::to_string(&page).expect("a page is JSON")))
}

async fn read(
    State(app): State<App>,
    Path((guru, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let profile = app.guru(&guru)?.get(&id).await?;
    Ok(profile.map_or_else(not_found, |profile| answer::profile(&headers, &profile)))
}

async fn write(
    State(app): State<App>,
    Path((guru, id)): Path<(String, String)>,
    headers: HeaderMap,
    InTime(body): InTime<String>,
) -> Answer {
    let memory = Memory::from_json(&body)?;
    let etag = [(header::ETAG, answer::quoted(memory.etag()))];
    let user = User::new(id, memory);
    let user = match Condition::of(&headers)? {
        Condition::None => user,
        Condition::Match(etag) => user.if_match(etag),
        Condition::Absent => user.if_absent(),
    };
    let outcome = app.guru(&guru)?.upsert(user).await?;
    let stored = answer::json(StatusCode::OK, serde_json::json!({ "outcome": outcome }).to_string());
    Ok((etag, stored).into_response())
}

async fn delete(
    State(app): State<App>,
    Path((guru, id)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let guru = app.guru(&guru)?;
    let was_there = match Condition::of(&headers)? {
        Condition::Match(etag) => guru.delete_if_match(&id, etag).await.map(|()| true)?,
        Condition::Absent => {
            return Err(Error::new(ErrorKind::InvalidInput, "a deletion takes only If-Match").into());
        }
        Condition::None => guru.delete(&id).await?,
    };
    Ok(if was_there { StatusCode::NO_CONTENT.into_response() } else { not_found() })
}

fn not_found() -> Response {
    answer::json(StatusCode::NOT_FOUND, r#"{"error":"there is no such profile"}"#.to_owned())
}

async fn ready(State(app): State<App>) -> Response {
    let Err(error) = app.store.health(Probe::Write).await else { return StatusCode::OK.into_response() };
    tracing::error!(kind = ?error.kind(), "{}", error.chain());
    answer::json(StatusCode::SERVICE_UNAVAILABLE, r#"{"error":"the store can't write"}"#.to_owned())
}

async fn show_metrics(State(app): State<App>) -> String {
    gauges(&app.store.gauges());
    app.prometheus.render()
}

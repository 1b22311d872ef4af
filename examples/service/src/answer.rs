//! The library's results as HTTP.

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use profile_store::{ETag, Error, ErrorKind, Profile};

const JSON: &str = "application/json";

/// An error. The text goes to the client if the fault is the server's.
pub struct Failure(Error, &'static str);

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self(error.into(), "Internal server error")
    }
}

impl Failure {
    /// In the words of the API documentation.
    pub fn of_upsert(error: Error) -> Self {
        Self(error, "Internal server error while saving profiles")
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

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let Self(error, told) = self;
        let status = StatusCode::from_u16(status(&error)).expect("a status of ours");
        let message = if status.is_server_error() {
            // The chain names files and servers: it is for the log.
            tracing::error!(kind = ?error.kind(), "{}", error.chain());
            told.to_owned()
        } else {
            error.to_string()
        };
        let mut response = json(status, serde_json::json!({ "error": message }).to_string());
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}

pub fn json(status: StatusCode, body: String) -> Response {
    (status, [(header::CONTENT_TYPE, JSON)], body).into_response()
}

/// Answers refusals without JSON as the rest is answered: an unknown path, another method, a body too large or too slow.
pub async fn refusals_as_json(response: Response) -> Response {
    let status = response.status();
    if !status.is_client_error()
        || response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == JSON)
    {
        return response;
    }
    let reason = status.canonical_reason().unwrap_or("refused");
    let mut refusal = json(status, serde_json::json!({ "error": reason }).to_string());
    if let Some(allowed) = response.headers().get(header::ALLOW) {
        refusal.headers_mut().insert(header::ALLOW, allowed.clone());
    }
    refusal
}

/// A profile with its ETag, or 304 if the client has it already.
pub fn profile(request: &HeaderMap, profile: &Profile) -> Response {
    let etag = quoted(profile.etag());
    let known = values(request, header::IF_NONE_MATCH)
        .any(|value| value == "*" || value.trim_start_matches("W/") == etag);
    let (status, body) =
        if known { (StatusCode::NOT_MODIFIED, String::new()) } else { (StatusCode::OK, profile.to_json()) };
    ([(header::ETAG, etag)], json(status, body)).into_response()
}

/// As RFC 9110, 8.8.3 has it.
pub fn quoted(etag: ETag) -> String {
    format!("\"{etag}\"")
}

fn values(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        // Bytes beyond ASCII are legal, and in none of our ETags.
        .map(|value| value.to_str().unwrap_or("?"))
        .flat_map(|list| list.split(','))
        .map(str::trim)
}

/// The condition of a write, by its headers.
pub enum Condition {
    None,
    /// `If-Match: "…"`
    Match(ETag),
    /// `If-None-Match: *`
    Absent,
}

impl Condition {
    pub fn of(headers: &HeaderMap) -> Result<Self, Failure> {
        let refuse = |what| Err(Failure::from(Error::new(ErrorKind::InvalidInput, what)));
        let [matching, other]: [Vec<&str>; 2] =
            [header::IF_MATCH, header::IF_NONE_MATCH].map(|name| values(headers, name).collect());
        match (&*matching, &*other) {
            ([], []) => Ok(Self::None),
            ([], ["*"]) => Ok(Self::Absent),
            ([quoted], []) => match quoted.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
                Some(etag) => Ok(Self::Match(etag.parse()?)),
                None => refuse("If-Match takes one ETag in quotes"),
            },
            _ => refuse("a write takes one ETag in If-Match, or * in If-None-Match"),
        }
    }
}

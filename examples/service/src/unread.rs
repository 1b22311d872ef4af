//! Request bodies that are answered before they have arrived.

use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use http_body::{Frame, SizeHint};
use tokio::runtime::Handle;
use tokio::time::timeout;

/// Has what nobody reads of a body thrown away for this long, beside the answer.
///
/// Many clients send everything before they read the answer. If the connection ended with a 404 or a 413, what
/// they still send would be refused, and they would report a broken pipe in its place.
pub fn drained(request: Request, rest: Duration) -> Request {
    // This client sends nothing until the body is asked for.
    let is_sent = !request.headers().contains_key(header::EXPECT);
    request.map(|body| Body::new(Drained { body, is_sent, rest }))
}

struct Drained {
    body: Body,
    is_sent: bool,
    rest: Duration,
}

impl HttpBody for Drained {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.is_sent = true;
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Drained {
    fn drop(&mut self) {
        let mut body = mem::take(&mut self.body);
        if !self.is_sent || body.is_end_stream() {
            return;
        }
        // There is none while the process ends.
        let Ok(runtime) = Handle::try_current() else { return };
        runtime.spawn(timeout(self.rest, async move {
            while let Some(Ok(_)) =
                std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await
            {}
        }));
    }
}

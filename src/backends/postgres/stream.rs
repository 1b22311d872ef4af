//! Rows as they come in: no more of them are held than the connection has read.

use std::future::poll_fn;
use std::pin::Pin;

use futures_core::Stream as _;
use tokio_postgres::{Row, RowStream};

/// The next row; `None` behind the last.
pub(super) async fn next(mut rows: Pin<&mut RowStream>) -> Result<Option<Row>, tokio_postgres::Error> {
    poll_fn(|context| rows.as_mut().poll_next(context)).await.transpose()
}

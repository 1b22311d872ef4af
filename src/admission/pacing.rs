//! Long work in slices, between which other tasks of the executor run (S11).

use std::future::poll_fn;
use std::task::Poll;

/// Bytes of JSON that are worked on before others get a turn: about a quarter of a millisecond.
pub(crate) const SLICE_BYTES: usize = 128 << 10;

/// The cost of an item besides its bytes.
const ITEM_BYTES: usize = 128;

/// Counts work, item by item.
#[derive(Debug, Default)]
pub(crate) struct Pacing {
    bytes: usize,
}

impl Pacing {
    /// Counts bytes that `serde_json` is about to read. Many of them are read in a poll of their own.
    pub async fn take_for_serde(&mut self, bytes: usize) {
        if bytes > 0 {
            self.take(bytes.saturating_mul(SERDE_FACTOR)).await;
        }
    }

    /// Counts an item of so many bytes that is about to be worked on.
    pub async fn take(&mut self, bytes: usize) {
        self.bytes += bytes.saturating_add(ITEM_BYTES);
        if self.bytes >= SLICE_BYTES {
            self.bytes = 0;
            yield_now().await;
        }
    }
}

/// How much longer `serde_json` takes for a byte.
const SERDE_FACTOR: usize = 16;

/// Lets the executor run something else, whichever executor it is.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

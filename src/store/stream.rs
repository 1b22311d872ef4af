//! Profiles one after the other, the next page read ahead.

use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_core::Stream;

use crate::model::error::Result;
use crate::model::name::{ExternalUserId, GuruSlug};
use crate::model::profile::Profile;
use crate::store::contract::ProfileStore;
use crate::store::list::ListOptions;
use crate::store::page::Page;

type PageFuture<'a> = Pin<Box<dyn Future<Output = Result<Page>> + Send + 'a>>;

/// All profiles of a guru, ascending by the bytes of their ids ([L1](crate::contract#l1)): a [`Stream`], and something to
/// call [`next`](Self::next) on. Made by
/// [`Guru::profiles`](crate::Guru::profiles).
///
/// The next page is read while this one is handed out, so at most two are in memory; no lock is held
/// however slow the consumer is. A profile that exists from start to end is seen exactly once,
/// whatever is written meanwhile. The stream ends after an error, such as
/// [`Corrupt`](crate::ErrorKind::Corrupt) if the store's cursor does not move.
#[must_use = "it reads nothing until it is asked for a profile"]
pub struct Profiles<'a> {
    read: Box<dyn Fn(Option<ExternalUserId>) -> PageFuture<'a> + Send + 'a>,
    ready: std::vec::IntoIter<Profile>,
    ahead: Ahead<'a>,
}

/// The page after the one that is handed out.
enum Ahead<'a> {
    Reading(PageFuture<'a>),
    Read(Result<Page>),
    End,
}

impl<'a> Profiles<'a> {
    /// The profiles of a guru after the options' cursor. The options' limit is the size of a page, and does not end the
    /// stream. An `Arc` of a store makes a stream that borrows nothing.
    pub fn new<S: ProfileStore + 'a>(store: S, guru: &GuruSlug, options: ListOptions) -> Self {
        let (store, guru, after) = (Arc::new(store), guru.clone(), options.after().cloned());
        let read = move |after| -> PageFuture<'a> {
            let (store, guru) = (Arc::clone(&store), guru.clone());
            let options = options.clone().with_after(after);
            Box::pin(async move { store.list(&guru, &options).await?.moved_on(&guru, &options) })
        };
        let ahead = Ahead::Reading(read(after));
        Self { read: Box::new(read), ready: Vec::new().into_iter(), ahead }
    }

    /// The next profile; `None` after the last. Cancel-safe: a future dropped has taken nothing.
    pub async fn next(&mut self) -> Option<Result<Profile>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }
}

impl Stream for Profiles<'_> {
    type Item = Result<Profile>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Profile>>> {
        let this = self.get_mut();
        loop {
            if let Ahead::Reading(page) = &mut this.ahead
                && let Poll::Ready(page) = page.as_mut().poll(context)
            {
                this.ahead = Ahead::Read(page);
            }
            if let Some(profile) = this.ready.next() {
                return Poll::Ready(Some(Ok(profile)));
            }
            match std::mem::replace(&mut this.ahead, Ahead::End) {
                Ahead::Read(Ok(page)) => {
                    this.ready = page.profiles.into_iter();
                    this.ahead = page.next.map_or(Ahead::End, |next| Ahead::Reading((this.read)(Some(next))));
                    if this.ready.len() == 0 && matches!(this.ahead, Ahead::Reading(_)) {
                        // Others get a turn, also if the store answers at once (S11).
                        context.waker().wake_by_ref();
                        return Poll::Pending;
                    }
                }
                Ahead::Read(Err(error)) => return Poll::Ready(Some(Err(error))),
                reading @ Ahead::Reading(_) => {
                    this.ahead = reading;
                    return Poll::Pending;
                }
                Ahead::End => return Poll::Ready(None),
            }
        }
    }
}

impl fmt::Debug for Profiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Profiles({} read)", self.ready.len())
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// S11: one poll takes one page, if no profile of it matches.
    #[test]
    fn others_get_a_turn_between_empty_pages() {
        let read = |after: Option<ExternalUserId>| -> PageFuture<'static> {
            let next = match after.as_ref().map(ExternalUserId::as_str) {
                None => Some("a"),
                Some("a") => Some("b"),
                Some(_) => None,
            };
            let next = next.map(|id| id.parse().unwrap());
            Box::pin(async { Ok(Page { next, ..Page::default() }) })
        };
        let ready = Vec::new().into_iter();
        let mut profiles = Profiles { read: Box::new(read), ready, ahead: Ahead::Reading(read(None)) };
        let mut context = Context::from_waker(Waker::noop());
        let mut poll = || Pin::new(&mut profiles).poll_next(&mut context);
        assert!(poll().is_pending());
        assert!(poll().is_pending());
        assert!(matches!(poll(), Poll::Ready(None)));
    }
}

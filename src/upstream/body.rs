//! Bodies on their way through: as they are, but not for ever.
//!
//! A body that stands still for longer than its limit is broken off. The clock runs only while the body's source is
//! asked for more and has none: a reader that is slow to ask costs the source nothing.

use std::{
    pin::{Pin, pin},
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::{
    sync::OwnedSemaphorePermit,
    time::{Instant, Sleep, sleep, timeout},
};

use super::{BoxError, Server};

/// The body of an upstream's answer.
#[derive(Debug)]
pub struct ResponseBody {
    body: Timed<Incoming>,
    /// The room that the request takes at its upstream until its answer has ended.
    _place: (Arc<Server>, OwnedSemaphorePermit),
}

impl ResponseBody {
    pub(super) const fn new(
        body: Incoming,
        idle: Duration,
        place: (Arc<Server>, OwnedSemaphorePermit),
    ) -> Self {
        Self { body: Timed::new(body, idle), _place: place }
    }
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Its source sent nothing for this long.
    #[error("nothing came for {0:?}")]
    Stalled(Duration),
    /// It is longer than this many bytes, which is what its route takes.
    #[error("it is longer than the {0} bytes that its route takes")]
    TooLong(u64),
    /// Its source broke off.
    #[error("its source broke off")]
    Broken(#[source] BoxError),
}

/// The body of a request on its way up.
#[derive(Debug)]
pub(super) struct Upload<B> {
    body: Timed<B>,
    pace: Pace,
    limit: u64,
    /// How much more of the limit is left.
    left: u64,
}

impl<B> Upload<B> {
    /// `body`, unless it stands still for `idle` or is longer than `limit` bytes.
    pub(super) const fn new(body: B, idle: Duration, limit: u64, pace: Pace) -> Self {
        Self { body: Timed::new(body, idle), pace, limit, left: limit }
    }
}

impl<B> Body for Upload<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.pace.note(polled.is_ready());
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            let length = frame.data_ref().map_or(0, Bytes::len);
            match u64::try_from(length).ok().and_then(|length| self.left.checked_sub(length)) {
                Some(left) => self.left = left,
                None => return Poll::Ready(Some(Err(BodyError::TooLong(self.limit)))),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Whose turn it is while a request goes up: the client's to send more of its body, or the upstream's to take it or to
/// answer.
///
/// An upstream has its time to the first byte of an answer from when it was last given something, not from the beginning
/// of an upload that takes long.
#[derive(Clone, Debug)]
pub(super) struct Pace(Option<Arc<Mutex<Turn>>>);

#[derive(Clone, Copy, Debug)]
enum Turn {
    Client,
    Upstream { since: Instant },
}

impl Pace {
    /// The pace of a request with `body`.
    pub(super) fn of<B: Body>(body: &B) -> Self {
        let turn = || Arc::new(Mutex::new(Turn::Upstream { since: Instant::now() }));
        Self((!body.is_end_stream()).then(turn))
    }

    /// Waits for `answer` until the upstream has had its turn for as long as `patience`.
    pub(super) async fn wait<F: Future>(&self, patience: Duration, answer: F) -> Option<F::Output> {
        let mut answer = pin!(answer);
        let mut left = patience;
        loop {
            if let Ok(output) = timeout(left, answer.as_mut()).await {
                return Some(output);
            }
            left = match self.turn()? {
                Turn::Client => patience,
                Turn::Upstream { since } => patience.saturating_sub(since.elapsed()),
            };
            if left.is_zero() {
                return None;
            }
        }
    }

    fn note(&self, is_given: bool) {
        if let Some(turn) = &self.0 {
            let now =
                if is_given { Turn::Upstream { since: Instant::now() } } else { Turn::Client };
            *turn.lock().unwrap_or_else(PoisonError::into_inner) = now;
        }
    }

    fn turn(&self) -> Option<Turn> {
        self.0.as_ref().map(|turn| *turn.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A body whose source may be silent only for so long.
#[derive(Debug)]
struct Timed<B> {
    body: B,
    limit: Duration,
    /// Made when the source is first waited for: most bodies are there at once.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl<B> Timed<B> {
    const fn new(body: B, limit: Duration) -> Self {
        Self { body, limit, timer: None, is_waiting: false }
    }

    /// Ready when the source has been silent for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        if !self.is_waiting {
            self.is_waiting = true;
            timer.set(sleep(self.limit));
        }
        timer.as_mut().poll(cx)
    }
}

impl<B> Body for Timed<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Unpin,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.is_waiting = false;
            return Poll::Ready(
                frame.map(|frame| frame.map_err(|error| BodyError::Broken(error.into()))),
            );
        }
        ready!(self.poll_patience(cx));
        Poll::Ready(Some(Err(BodyError::Stalled(self.limit))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

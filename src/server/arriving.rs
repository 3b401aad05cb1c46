//! The body of a request as it comes from the client, and what becomes of it when nobody wants it any more.
//!
//! An answer may go out before the request's body has come in: a 402 never waits for one. What is left of the body is then
//! read and thrown away, so that the connection takes the next request, which most often is the same one with a payment;
//! or, where that would be too much, the answer says that the connection is closed. Without a word, a client that has
//! sent all of it would use a connection again that is about to go.
//!
//! Source: RFC 9112 section 9.3 and 9.6.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{runtime::Handle, time::timeout};

/// The body of a request.
#[derive(Debug)]
pub struct Arriving {
    /// `None` once it has ended, or was taken out.
    body: Option<Incoming>,
    /// What an HTTP/1 connection has to know of a body that is left; HTTP/2 looks after each stream by itself.
    left: Option<Left>,
}

/// Whether a body was left that is too long to be read to its end. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Left {
    is_too_long: Arc<AtomicBool>,
    /// Whether the client waits to be asked for the body: to read of it would ask.
    is_held: bool,
}

impl Arriving {
    /// A body that comes over HTTP/2, or is left to the connection.
    pub(super) const fn new(body: Incoming) -> Self {
        Self { body: Some(body), left: None }
    }

    /// The body of a request with `headers` that comes over HTTP/1, and what becomes of it; there is nothing to know of
    /// one that has ended.
    pub(super) fn of_h1(body: Incoming, headers: &HeaderMap) -> (Self, Option<Left>) {
        let left = (!body.is_end_stream()).then(|| Left {
            is_too_long: Arc::default(),
            is_held: headers.contains_key(header::EXPECT),
        });
        (Self { body: Some(body), left: left.clone() }, left)
    }

    /// The body itself.
    #[must_use]
    pub fn into_inner(mut self) -> Option<Incoming> {
        self.body.take()
    }
}

impl Left {
    /// Whether the connection ends with the answer.
    pub(super) fn closes(&self) -> bool {
        self.is_too_long.load(Ordering::Relaxed)
    }
}

impl Body for Arriving {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = ready!(Pin::new(body).poll_frame(cx));
        // A body in chunks does not say by itself that it has ended.
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        let (Some(body), Some(left)) = (self.body.take(), self.left.take()) else { return };
        if body.is_end_stream() {
            return;
        }
        // One of unknown length is tried.
        let is_short = body.size_hint().upper().is_none_or(|left| left <= MOST);
        match Handle::try_current() {
            Ok(runtime) if is_short && !left.is_held => {
                runtime.spawn(timeout(LONGEST, read_out(body)));
            }
            _ => left.is_too_long.store(true, Ordering::Relaxed),
        }
    }
}

/// Reads a body to its end, if that is not too far.
async fn read_out(mut body: Incoming) {
    let mut left = MOST;
    while let Some(Ok(frame)) = body.frame().await {
        let length = frame.data_ref().map_or(0, Bytes::len);
        match u64::try_from(length).ok().and_then(|length| left.checked_sub(length)) {
            Some(rest) => left = rest,
            None => return,
        }
    }
}

/// As much is read for nothing to keep a connection: as long as a body may be where a route says nothing else.
const MOST: u64 = 1 << 20;
/// A client that takes longer gets a connection that is closed.
const LONGEST: Duration = Duration::from_secs(10);

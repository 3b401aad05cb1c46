//! Bodies on their way through: as they are, but not for ever.
//!
//! A body that stands still for longer than its limit is broken off. The clock runs only while the body's source is
//! asked for more and has none: a reader that is slow to ask costs the source nothing.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::Bytes;
use http::HeaderName;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tokio::time::{Sleep, sleep, sleep_until};

use super::{
    BoxError, headers,
    lease::Lease,
    pace::{Gate, Pace},
    room::Place,
};
use crate::haste::{Haste, Meter, Timer};

/// The body of an upstream's answer.
pub struct ResponseBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    body: Timed<Incoming>,
    lease: Lease<B>,
    ending: Ending,
    /// The length that the answer names, though no body comes with it.
    told: Option<u64>,
    /// The room that the request takes at its upstream until its answer has ended.
    _place: Option<Place>,
}

impl<B> ResponseBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// `body`, which answers the request of `pace` and comes over the connection in `lease`. `told` is the length of a body
    /// that does not come.
    pub(super) fn new(
        body: Incoming,
        idle: Duration,
        mut lease: Lease<B>,
        pace: Pace,
        told: Option<u64>,
        place: Option<Place>,
    ) -> Self {
        let ending = Ending(pace.clone());
        if body.is_end_stream() {
            lease.end();
            ending.0.finish();
        }
        Self { body: Timed::new(body, idle, pace), lease, ending, told, _place: place }
    }
}

impl<B> Body for ResponseBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.told = None;
        let mut frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &mut frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::strip_trailers(trailers);
                }
                if self.body.is_end_stream() {
                    self.lease.end();
                    self.ending.0.finish();
                }
            }
            Some(Err(_)) => self.lease.cut(),
            None => {
                self.lease.end();
                self.ending.0.finish();
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.told.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.told.map_or_else(|| self.body.size_hint(), SizeHint::with_exact)
    }
}

impl<B> fmt::Debug for ResponseBody<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseBody").field("body", &self.body).finish_non_exhaustive()
    }
}

/// Tells the body of the request that its answer has ended, or that nobody wants any more of it.
#[derive(Debug)]
struct Ending(Pace);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// Why a body ended early.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Its source sent nothing for this long.
    #[error("nothing came for {0:?}")]
    Stalled(Duration),
    /// Less than 4 KiB of it came in this long.
    #[error("hardly anything came for {0:?}")]
    Slow(Duration),
    /// Its answer had ended this long before it did.
    #[error("its answer ended {0:?} ago")]
    Late(Duration),
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
    /// What has to open first.
    gate: Option<Gate>,
    haste: Option<(Haste, Meter, Timer)>,
    limit: u64,
    /// How much more of the limit is left.
    left: u64,
    /// Made when all of the answer has come.
    end: Option<Pin<Box<Sleep>>>,
    /// What a client may not say in its trailers, besides what none may.
    withheld: Box<[HeaderName]>,
}

impl<B> Upload<B> {
    /// `body`, once `gate` is open, unless it stands still for `idle`, or comes in less `haste` than it should before it is
    /// answered, or is longer than `limit` bytes.
    pub(super) fn new(
        body: B,
        idle: Duration,
        haste: Option<Haste>,
        limit: u64,
        pace: Pace,
        gate: Option<Gate>,
    ) -> Self {
        let haste = haste.map(|haste| (haste, Meter::new(), Timer::new()));
        let body = Timed::new(body, idle, pace);
        Self { body, gate, haste, limit, left: limit, end: None, withheld: Box::default() }
    }

    /// Takes `withheld` out of its trailers.
    pub(super) fn withhold(&mut self, withheld: Box<[HeaderName]>) {
        self.withheld = withheld;
    }

    /// Called when the client is waited for: ready with why that has to end.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<BodyError> {
        let pace = &self.body.pace;
        if let Some((haste, meter, timer)) = &mut self.haste
            && pace.is_unanswered()
            && meter.poll(haste.0, timer, cx).is_ready()
        {
            return Poll::Ready(BodyError::Slow(haste.0));
        }
        let Some(end) = pace.ends(cx) else { return Poll::Pending };
        let timer = self.end.get_or_insert_with(|| Box::pin(sleep_until(end)));
        timer.as_mut().poll(cx).map(|()| BodyError::Late(pace.after()))
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
        if let Some(gate) = &mut self.gate {
            ready!(gate.poll(cx));
            self.gate = None;
        }
        let mut polled = Pin::new(&mut self.body).poll_frame(cx);
        if polled.is_pending() {
            polled = self.poll_patience(cx).map(|late| Some(Err(late)));
        }
        self.body.pace.note(polled.is_ready());
        match &mut polled {
            Poll::Ready(Some(Ok(frame))) => {
                if let Some(trailers) = frame.trailers_mut() {
                    headers::strip_request_trailers(trailers, &self.withheld);
                }
                let length = frame.data_ref().map_or(0, Bytes::len);
                if let Some((_, meter, _)) = &mut self.haste {
                    meter.has_moved(length);
                }
                match u64::try_from(length).ok().and_then(|length| self.left.checked_sub(length)) {
                    Some(left) => self.left = left,
                    None => polled = Poll::Ready(Some(Err(BodyError::TooLong(self.limit)))),
                }
            }
            Poll::Ready(Some(Err(_)) | None) | Poll::Pending => {}
        }
        if let Poll::Ready(Some(Err(error))) = &polled {
            self.body.pace.lose(error);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.gate.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Upload<B> {
    fn drop(&mut self) {
        self.body.pace.end();
    }
}

/// A body whose source may be silent only for so long, unless something comes the other way meanwhile.
#[derive(Debug)]
struct Timed<B> {
    body: B,
    limit: Duration,
    pace: Pace,
    /// Made when the source is first waited for: most bodies are there at once.
    timer: Option<Pin<Box<Sleep>>>,
    is_waiting: bool,
}

impl<B> Timed<B> {
    const fn new(body: B, limit: Duration, pace: Pace) -> Self {
        Self { body, limit, pace, timer: None, is_waiting: false }
    }

    /// Ready when both directions have been silent for too long.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep(self.limit)));
        if !self.is_waiting {
            self.is_waiting = true;
            timer.set(sleep(self.limit));
        }
        loop {
            ready!(timer.as_mut().poll(cx));
            // One direction may live alone: a stream of events, or an upload that was answered early.
            let until = self.pace.moved().and_then(|moved| moved.checked_add(self.limit));
            match until.filter(|until| *until > timer.deadline()) {
                Some(until) => timer.as_mut().reset(until),
                None => return Poll::Ready(()),
            }
        }
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
        while let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            // An empty piece is nothing, however often it comes.
            if let Some(Ok(frame)) = &frame
                && frame.data_ref().is_some_and(Bytes::is_empty)
            {
                continue;
            }
            self.is_waiting = false;
            self.pace.note_moved();
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

#[cfg(test)]
mod tests;

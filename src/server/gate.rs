//! What stands between a connection and hyper: it lets requests through that the [framing](super::framing) agrees with,
//! and sees to it that a client does not keep a connection for nothing.
//!
//! A request that is refused is answered in its turn, after those before it. So hyper is handed another one in its place,
//! whose head no client can send, and the service answers that with the refusal: see [`Turn::refused`]. If it is a body
//! that breaks the rules, hyper is told that it broke off, and the service says why. Nothing behind it is read.
//!
//! Behind a request for another protocol nothing is handed on until that is granted or refused: [`Turn::answered`].

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker, ready},
};

use http::{Method, Request, StatusCode};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    time::Instant,
};

use super::{
    Limits,
    framing::{Bounds, Framing, Refused},
    places::Place,
    stream::Stream,
};
use crate::haste::{Meter, Timer, after};

/// A connection as hyper sees it; when it is dropped, the stream goes back to its [`Keeper`].
#[derive(Debug)]
pub(super) struct Gate {
    /// `None` only while it is dropped.
    stream: Option<Stream>,
    framing: Framing,
    /// What cannot be handed on yet, or did not fit.
    held: Vec<u8>,
    /// So much of it can.
    passed: usize,
    /// Why the body that was being handed on has broken off.
    broken: Option<Refused>,
    patience: Patience,
    limits: Limits,
    keeper: Keeper,
}

/// What a gate and those who answer its requests tell each other.
#[derive(Clone, Debug)]
pub(super) struct Keeper(Arc<Shared>);

/// The turn of one request, from when it is handed to the service until its answer has ended.
#[derive(Debug)]
pub(super) struct Turn {
    keeper: Keeper,
    /// Counted from 1.
    number: u64,
}

#[derive(Debug)]
struct Shared {
    /// The connection's, for as long as there is one, whatever protocol is spoken on it.
    _place: Place,
    /// The requests that were handed to the service, the last whose answer's head has come, and those that have ended.
    begun: AtomicU64,
    answered: AtomicU64,
    ended: AtomicU64,
    /// The request that asks for another protocol.
    asking: AtomicU64,
    /// What was refused, and of which request: nothing is read behind it, so there is but one on a connection.
    refused: OnceLock<(u64, Refused)>,
    desk: Mutex<Desk>,
}

#[derive(Debug, Default)]
struct Desk {
    /// Whether another protocol was granted, and who waits for that.
    granted: Option<bool>,
    waiting: Option<Waker>,
    /// The stream that has come back, and whether the client may still be sending.
    back: Option<(Stream, bool)>,
}

impl Keeper {
    pub(super) fn new(place: Place) -> Self {
        Self(Arc::new(Shared {
            _place: place,
            begun: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            ended: AtomicU64::new(0),
            asking: AtomicU64::new(0),
            refused: OnceLock::new(),
            desk: Mutex::default(),
        }))
    }

    /// Puts a gate before a stream.
    pub(super) fn gate(&self, stream: Stream, limits: Limits) -> Gate {
        let bounds = Bounds { bytes: limits.header_bytes, fields: limits.headers };
        Gate {
            stream: Some(stream),
            framing: Framing::new(bounds),
            held: Vec::new(),
            passed: 0,
            broken: None,
            patience: Patience::new(),
            limits,
            keeper: self.clone(),
        }
    }

    /// Begins the turn of the next request.
    pub(super) fn begin(&self) -> Turn {
        let number = self.0.begun.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        Turn { keeper: self.clone(), number }
    }

    /// The stream, if it has come back, and whether the client may still be sending.
    pub(super) fn take_back(&self) -> Option<(Stream, bool)> {
        self.desk().back.take()
    }

    fn is_busy(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed) != self.0.ended.load(Ordering::Relaxed)
    }

    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.0.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Turn {
    /// Why the request that this one stands for was refused, if it stands for one.
    pub(super) fn refused<B>(&self, request: &Request<B>) -> Option<Refused> {
        let is_stand_in = request.method() == Method::TRACE && request.uri().path() == "*";
        is_stand_in.then(|| self.own_refusal()).flatten()
    }

    /// Tells what the service has answered; the status that the client is to see instead, if the request's body was
    /// refused and the service could only tell that it did not come.
    pub(super) fn answered(&self, status: StatusCode) -> Option<Refused> {
        let shared = &self.keeper.0;
        shared.answered.store(self.number, Ordering::Relaxed);
        if shared.asking.load(Ordering::Relaxed) == self.number {
            let mut desk = self.keeper.desk();
            desk.granted = Some(status == StatusCode::SWITCHING_PROTOCOLS);
            let waiting = desk.waiting.take();
            drop(desk);
            if let Some(waiting) = waiting {
                waiting.wake();
            }
        }
        let is_lost = status == StatusCode::REQUEST_TIMEOUT;
        is_lost.then(|| self.own_refusal()).flatten()
    }

    /// Why this request was refused, and not one that was read ahead.
    fn own_refusal(&self) -> Option<Refused> {
        let (number, refused) = *self.keeper.0.refused.get()?;
        (number == self.number).then_some(refused)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.keeper.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Gate {
    /// Looks at what is held.
    fn look(&mut self) {
        let passed = self.framing.read(&self.held);
        self.passed = passed.length;
        if let Some(refused) = passed.refused {
            self.held.truncate(passed.length);
            self.refuse(refused);
        } else {
            self.note_asking();
        }
    }

    /// Has the service answer with a refusal, in its turn.
    fn refuse(&mut self, refused: Refused) {
        let is_body = self.framing.is_in_body();
        let heads = self.framing.heads();
        let number = if is_body { heads } else { heads.saturating_add(1) };
        let _first = self.keeper.0.refused.set((number, refused));
        if is_body {
            self.broken = Some(refused);
        } else {
            self.held.extend_from_slice(STAND_IN);
            self.passed = self.held.len();
        }
        self.framing.close();
    }

    /// Before the head goes on: the answer may come before the body has.
    fn note_asking(&self) {
        if self.framing.asks() {
            self.keeper.0.asking.store(self.framing.heads(), Ordering::Relaxed);
        }
    }

    /// Hands on what can be handed on of what is held.
    fn hand_on(&mut self, buffer: &mut ReadBuf<'_>) {
        let length = self.passed.min(buffer.remaining());
        buffer.put_slice(self.held.get(..length).unwrap_or_default());
        self.held.drain(..length.min(self.held.len()));
        self.passed = self.passed.saturating_sub(length);
        if self.held.is_empty() {
            // Most connections never hold anything: an idle one keeps no room for it.
            self.held = Vec::new();
        }
    }

    /// Goes on behind a request for another protocol, if that was answered.
    fn go_on(&mut self, cx: &Context<'_>) -> Poll<()> {
        let mut desk = self.keeper.desk();
        match desk.granted.take() {
            None => {
                desk.waiting = Some(cx.waker().clone());
                Poll::Pending
            }
            Some(is_granted) => {
                drop(desk);
                self.framing.answer(is_granted);
                self.look();
                Poll::Ready(())
            }
        }
    }

    /// Reads some more: whether there is something that can be handed on, or the end.
    fn poll_more(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<bool>> {
        let start = buffer.filled().len();
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let Poll::Ready(read) = Pin::new(stream).poll_read(cx, buffer) else {
            return self.poll_patience(cx);
        };
        read?;
        let new = buffer.filled().get(start..).unwrap_or_default();
        if new.is_empty() || self.framing.is_open() {
            return Poll::Ready(Ok(true));
        }
        self.patience.has_come(new.len());
        if self.held.is_empty() {
            let passed = self.framing.read(new);
            if passed.length == new.len() {
                self.note_asking();
                return Poll::Ready(Ok(true));
            }
            let behind = start.saturating_add(passed.length);
            match passed.refused {
                None => self.held.extend_from_slice(new.get(passed.length..).unwrap_or_default()),
                Some(refused) => self.refuse(refused),
            }
            self.note_asking();
            buffer.set_filled(behind);
            return Poll::Ready(Ok(passed.length > 0));
        }
        self.held.extend_from_slice(new);
        buffer.set_filled(start);
        if !self.framing.is_asked() {
            self.look();
        }
        Poll::Ready(Ok(false))
    }

    /// Ready when the client has had its time: with the end of a connection that nobody uses, with a refusal to hand on,
    /// or with an error.
    fn poll_patience(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let is_silent = !self.keeper.is_busy();
        let why = if self.framing.is_in_head() && !self.held.is_empty() {
            Waiting::Head
        } else if self.framing.is_in_body()
            && self.keeper.0.answered.load(Ordering::Relaxed) < self.framing.heads()
        {
            Waiting::Body
        } else if self.framing.is_in_head() && is_silent {
            if self.framing.heads() == 0 { Waiting::First } else { Waiting::Next }
        } else {
            self.patience.rest();
            return Poll::Pending;
        };
        ready!(self.patience.poll(why, &self.limits, cx));
        match why {
            Waiting::First | Waiting::Next => Poll::Ready(Ok(true)),
            Waiting::Body => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Waiting::Head => {
                self.held.clear();
                self.refuse(Refused::Slow);
                Poll::Ready(Ok(false))
            }
        }
    }

    fn poll_out<T>(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut Stream>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        let this = &mut *self;
        let stream = this.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        if let Poll::Ready(written) = write(Pin::new(stream), cx) {
            return Poll::Ready(written);
        }
        ready!(this.patience.poll_sent(&this.limits, cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    /// Notes what the client, or the kernel for it, has taken.
    fn note_sent(mut self: Pin<&mut Self>, taken: io::Result<usize>) -> Poll<io::Result<usize>> {
        if let Ok(bytes) = taken {
            self.patience.sent.has_moved(bytes);
        }
        Poll::Ready(taken)
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        let is_between = self.framing.is_in_head() && self.held.is_empty();
        let back =
            self.stream.take().map(|stream| (stream, !is_between && !self.framing.is_open()));
        self.keeper.desk().back = back;
    }
}

impl AsyncRead for Gate {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        loop {
            if this.passed > 0 {
                this.hand_on(buffer);
                return Poll::Ready(Ok(()));
            }
            if let Some(refused) = this.broken {
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, refused)));
            }
            if this.framing.is_closed() {
                return Poll::Pending;
            }
            if this.framing.is_asked() {
                if this.go_on(cx).is_ready() {
                    continue;
                }
                if this.held.len() >= MOST_HELD {
                    return Poll::Pending;
                }
            }
            if ready!(this.poll_more(cx, buffer))? {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Gate {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let taken = ready!(self.as_mut().poll_out(cx, |stream, cx| stream.poll_write(cx, bytes)));
        self.note_sent(taken)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_out(cx, |stream, cx| stream.poll_flush(cx)))?;
        // There was nothing more to be taken.
        self.patience.sent.restart();
        // The last thing that hyper does with a connection before nobody uses it.
        if self.framing.is_in_head() && self.held.is_empty() && !self.keeper.is_busy() {
            let waits = self.poll_patience(cx);
            debug_assert!(!matches!(waits, Poll::Ready(Err(_))), "it waits for no body");
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_out(cx, |stream, cx| stream.poll_shutdown(cx))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let write =
            |stream: Pin<&mut Stream>, cx: &mut Context<'_>| stream.poll_write_vectored(cx, slices);
        let taken = ready!(self.as_mut().poll_out(cx, write));
        self.note_sent(taken)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// What a gate waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    /// The first byte of all.
    First,
    /// The first byte of a further request.
    Next,
    /// The rest of a head.
    Head,
    /// More of a body, before its request was answered.
    Body,
}

/// How long a client may take.
#[derive(Debug)]
struct Patience {
    /// For anything but a body.
    waiting: Option<(Waiting, Instant)>,
    body: Meter,
    /// What the client takes of what it is sent.
    sent: Meter,
    timer: Timer,
}

impl Patience {
    const fn new() -> Self {
        Self { waiting: None, body: Meter::new(), sent: Meter::new(), timer: Timer::new() }
    }

    fn has_come(&mut self, bytes: usize) {
        self.body.has_moved(bytes);
        // However often some more of a head comes, it has its time once.
        if !matches!(self.waiting, Some((Waiting::Head, _))) {
            self.waiting = None;
        }
    }

    /// The client is not waited for.
    const fn rest(&mut self) {
        self.waiting = None;
        self.body.restart();
    }

    fn poll(&mut self, why: Waiting, limits: &Limits, cx: &mut Context<'_>) -> Poll<()> {
        let patience = match why {
            Waiting::First | Waiting::Head => limits.header_timeout,
            Waiting::Next => limits.idle_timeout,
            Waiting::Body => {
                self.waiting = None;
                return self.body.poll(limits.body_timeout, &mut self.timer, cx);
            }
        };
        self.body.restart();
        let until = match self.waiting {
            Some((already, until)) if already == why => until,
            _ => after(patience),
        };
        self.waiting = Some((why, until));
        self.timer.poll(until, cx)
    }

    fn poll_sent(&mut self, limits: &Limits, cx: &mut Context<'_>) -> Poll<()> {
        self.sent.poll(limits.write_timeout, &mut self.timer, cx)
    }
}

/// What is handed to hyper in place of a refused request: no client can send it, as its target is never let through, and
/// if it were taken for a request, it would be refused.
const STAND_IN: &[u8] = b"TRACE * HTTP/1.1\r\nConnection: close\r\n\r\n";
/// As much is read behind a request for another protocol before that is answered.
const MOST_HELD: usize = 16 * 1024;

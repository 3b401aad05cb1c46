//! The connections to one server: those that wait for the next request, and those that many share.
//!
//! An HTTP/1.1 connection comes back only when its answer was read to the end; the one that came back last is used
//! first, so that the others can end. Before it is used it must have seen the end of what was said: bytes that nobody
//! asked for close it. HTTP/2 connections are shared up to the number of streams that the server takes.

use std::{
    collections::VecDeque,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::uri::Authority;
use http_body::Body;
use hyper::client::conn::{http1, http2};
use tokio::{
    sync::Semaphore,
    task::AbortHandle,
    time::{Instant, sleep, timeout},
};

use super::{
    BoxError,
    body::Upload,
    connect::{DialError, Dialer, Tasks},
};

/// One server of an upstream, and the connections to it.
pub(super) struct Server<B> {
    pub(super) address: Authority,
    /// Whoever uses the server holds a clone, and so the count says how many do.
    pub(super) load: Arc<()>,
    shelf: Mutex<Shelf<B>>,
    /// Who asks a server that may speak HTTP/2 waits for the one that connects, and shares what it gets.
    dialing: Semaphore,
    tasks: Tasks,
}

struct Shelf<B> {
    /// In the order in which they came back.
    idle: VecDeque<(Instant, Link<B>)>,
    sessions: Vec<Session<B>>,
    /// Whether the server has chosen HTTP/1.1 though it was offered HTTP/2.
    chose_h1: bool,
    /// Whether a task looks after what is idle.
    is_swept: bool,
}

/// A connection, as it is made.
pub(super) enum Line<B> {
    Link(Link<B>),
    /// With the number of streams that the server takes.
    Session {
        sender: http2::SendRequest<Upload<B>>,
        most: Arc<AtomicUsize>,
    },
}

/// A connection, as it is used.
pub(super) enum Use<B> {
    Link(Link<B>),
    Stream(Stream<B>),
}

/// An HTTP/1.1 connection.
pub(super) struct Link<B> {
    pub(super) sender: http1::SendRequest<Upload<B>>,
    task: AbortHandle,
}

/// A place for one more request on an HTTP/2 connection.
pub(super) struct Stream<B> {
    pub(super) sender: http2::SendRequest<Upload<B>>,
    pub(super) place: Arc<()>,
}

/// An HTTP/2 connection.
struct Session<B> {
    sender: http2::SendRequest<Upload<B>>,
    most: Arc<AtomicUsize>,
    /// Every stream holds a clone.
    streams: Arc<()>,
    was_idle: bool,
}

impl<B> Server<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    pub(super) fn new(address: Authority, tasks: Tasks) -> Self {
        let shelf =
            Shelf { idle: VecDeque::new(), sessions: Vec::new(), chose_h1: false, is_swept: false };
        Self {
            address,
            load: Arc::new(()),
            shelf: Mutex::new(shelf),
            dialing: Semaphore::new(1),
            tasks,
        }
    }

    /// Leaves a connection to itself for `patience`: its upstream need not ever take the rest of what it is sent.
    pub(super) fn cut_later(&self, link: &Link<B>, patience: Duration) {
        let task = link.cutter();
        self.tasks.spawn(async move {
            sleep(patience).await;
            task.abort();
        });
    }

    /// A connection for one request, and whether it was made for it; one of HTTP/1.1 if `needs_h1`.
    pub(super) async fn connection(
        self: &Arc<Self>,
        dialer: &Dialer,
        needs_h1: bool,
    ) -> Result<(Use<B>, bool), DialError> {
        while let Some(found) = self.find(needs_h1) {
            match found {
                Use::Link(mut link) if !link.sender.is_ready() => {
                    // Its task is a moment behind, or it is closing.
                    if let Ok(Ok(())) = timeout(SETTLING, link.sender.ready()).await {
                        return Ok((Use::Link(link), false));
                    }
                }
                found => return Ok((found, false)),
            }
        }
        if needs_h1 || !dialer.may_speak_h2() || self.shelf().chose_h1 {
            // Boxed: most requests find a connection, and have no room to keep for making one.
            let line = Box::pin(dialer.dial(&self.address, needs_h1)).await?;
            return Ok((self.keep(line, needs_h1), true));
        }
        let turn = self.dialing.acquire().await;
        if let Some(stream) = self.shelf().stream() {
            return Ok((Use::Stream(stream), false));
        }
        if self.shelf().chose_h1 {
            // Each needs a connection of its own: there is nothing to take turns for.
            drop(turn);
        }
        Ok((self.keep(Box::pin(dialer.dial(&self.address, false)).await?, false), true))
    }

    /// Takes a connection back whose answer has been read to its end.
    pub(super) fn put_back(self: &Arc<Self>, link: Link<B>) {
        if link.sender.is_closed() {
            return;
        }
        let now = Instant::now();
        let mut shelf = self.shelf();
        shelf.idle.push_back((now, link));
        self.look_after(&mut shelf);
    }

    fn find(&self, needs_h1: bool) -> Option<Use<B>> {
        let mut shelf = self.shelf();
        if !needs_h1 && let Some(stream) = shelf.stream() {
            return Some(Use::Stream(stream));
        }
        loop {
            let (since, link) = shelf.idle.pop_back()?;
            if since.elapsed() > POOL_IDLE {
                // So are all before it.
                shelf.idle.clear();
                return None;
            }
            if !link.sender.is_closed() {
                return Some(Use::Link(link));
            }
        }
    }

    fn keep(self: &Arc<Self>, line: Line<B>, was_told: bool) -> Use<B> {
        match line {
            Line::Link(link) => {
                if !was_told && !link.sender.is_closed() {
                    self.shelf().chose_h1 = true;
                }
                Use::Link(link)
            }
            Line::Session { sender, most } => {
                let mut shelf = self.shelf();
                let session = Session { sender, most, streams: Arc::new(()), was_idle: false };
                let stream = session.stream();
                shelf.sessions.push(session);
                self.look_after(&mut shelf);
                Use::Stream(stream)
            }
        }
    }

    /// Has what stays idle closed, by a task that ends when there is nothing left.
    fn look_after(self: &Arc<Self>, shelf: &mut Shelf<B>) {
        if shelf.is_swept {
            return;
        }
        shelf.is_swept = true;
        let server = Arc::downgrade(self);
        self.tasks.spawn(async move {
            loop {
                sleep(SWEEP).await;
                let Some(server) = server.upgrade() else { return };
                let mut shelf = server.shelf();
                shelf.sweep();
                if shelf.idle.is_empty() && shelf.sessions.is_empty() {
                    shelf.is_swept = false;
                    return;
                }
            }
        });
    }

    fn shelf(&self) -> MutexGuard<'_, Shelf<B>> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Shelf<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// A place on a session that has one; forgets those that have ended.
    fn stream(&mut self) -> Option<Stream<B>> {
        if self.sessions.is_empty() {
            return None;
        }
        self.sessions.retain(|session| !session.sender.is_closed());
        let session = self.sessions.iter_mut().find(|session| session.has_room())?;
        session.was_idle = false;
        Some(session.stream())
    }

    /// Closes what has been idle for too long.
    fn sweep(&mut self) {
        while self
            .idle
            .front()
            .is_some_and(|(since, link)| since.elapsed() > POOL_IDLE || link.sender.is_closed())
        {
            self.idle.pop_front();
        }
        self.sessions.retain_mut(|session| {
            let is_idle = Arc::strong_count(&session.streams) == 1;
            let ends = session.sender.is_closed() || (is_idle && session.was_idle);
            session.was_idle = is_idle;
            !ends
        });
    }
}

impl<B> Session<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    fn has_room(&self) -> bool {
        let most = self.most.load(Ordering::Relaxed).min(MOST_STREAMS);
        Arc::strong_count(&self.streams) <= most
    }

    fn stream(&self) -> Stream<B> {
        Stream { sender: self.sender.clone(), place: self.streams.clone() }
    }
}

impl<B> Link<B> {
    pub(super) const fn new(sender: http1::SendRequest<Upload<B>>, task: AbortHandle) -> Self {
        Self { sender, task }
    }

    /// What cuts the connection off, whoever has it.
    pub(super) fn cutter(&self) -> AbortHandle {
        self.task.clone()
    }

    /// Cuts the connection off.
    pub(super) fn cut(self) {
        self.task.abort();
    }
}

impl<B> fmt::Debug for Server<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Shorter than the 5 seconds after which Node and uvicorn close an idle connection: a request that is sent while the
/// other side closes is lost, and a paid one must not be sent twice.
const POOL_IDLE: Duration = Duration::from_secs(4);
const SWEEP: Duration = Duration::from_secs(2);
/// How long a connection that came back may take until its own task has seen the end as well.
const SETTLING: Duration = Duration::from_millis(10);
/// The most streams on one session, whatever its server takes.
const MOST_STREAMS: usize = 100;

#[cfg(test)]
mod tests;

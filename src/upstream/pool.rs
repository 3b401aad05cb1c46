//! The connections to one server: those that wait for the next request, and those that many share.
//!
//! An HTTP/1.1 connection comes back only when its answer was read to the end; the one that came back last is used
//! first, so that the others can end. Before it is used it must have seen the end of what was said: bytes that nobody
//! asked for close it. HTTP/2 connections are shared up to the number of streams that the server takes.
//!
//! Each [worker](crate::workers) keeps its own, so that no other thread is woken for a request. It takes one of another's
//! only where that is better than one more: see [`Server::borrow`].

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
use crate::workers::{self, Each};

/// One server of an upstream, and the connections to it.
pub(super) struct Server<B> {
    pub(super) address: Authority,
    /// Whoever uses the server holds a clone, and so the count says how many do.
    pub(super) load: Arc<()>,
    shelves: Each<Shelf<B>>,
    /// Every HTTP/1.1 connection holds a clone.
    links: Arc<()>,
    tasks: Tasks,
}

/// What one worker keeps.
struct Shelf<B> {
    kept: Mutex<Kept<B>>,
    /// Who asks a server that may speak HTTP/2 waits for the one that connects, and shares what it gets.
    dialing: Semaphore,
}

struct Kept<B> {
    /// In the order in which they came back.
    idle: VecDeque<(Instant, Link<B>)>,
    sessions: Vec<Session<B>>,
    /// When the server last chose HTTP/1.1 though it was offered HTTP/2.
    chose_h1: Option<Instant>,
    /// Whether a task looks after what is idle.
    is_swept: bool,
}

/// A connection, as it is made.
pub(super) enum Line<B> {
    /// With the task that drives it.
    Link { sender: http1::SendRequest<Upload<B>>, task: AbortHandle },
    /// With the number of streams that the server takes.
    Session { sender: http2::SendRequest<Upload<B>>, most: Arc<AtomicUsize> },
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
    /// The number of the worker that drives it.
    worker: usize,
    _one: Arc<()>,
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
        Self { address, load: Arc::new(()), shelves: Each::default(), links: Arc::new(()), tasks }
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
        let worker = workers::current();
        let shelf = self.shelves.of(worker);
        while let Some(found) =
            shelf.find(needs_h1).or_else(|| self.borrow(dialer.most_links).map(Use::Link))
        {
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
        if needs_h1 || !dialer.may_speak_h2() || shelf.kept().chooses_h1() {
            // Boxed: most requests find a connection, and have no room to keep for making one.
            let line = Box::pin(dialer.dial(&self.address, needs_h1)).await?;
            return Ok((self.keep(line, worker, needs_h1), true));
        }
        let turn = shelf.dialing.acquire().await;
        if let Some(stream) = shelf.kept().stream() {
            return Ok((Use::Stream(stream), false));
        }
        if shelf.kept().chooses_h1() {
            // Each needs a connection of its own: there is nothing to take turns for.
            drop(turn);
        }
        let line = Box::pin(dialer.dial(&self.address, false)).await?;
        Ok((self.keep(line, worker, false), true))
    }

    /// Takes a connection back whose answer has been read to its end.
    pub(super) fn put_back(self: &Arc<Self>, link: Link<B>) {
        if link.sender.is_closed() {
            return;
        }
        let (now, worker) = (Instant::now(), link.worker);
        let mut kept = self.shelves.of(worker).kept();
        kept.idle.push_back((now, link));
        self.look_after(worker, &mut kept);
    }

    /// An idle connection of another worker: one that nobody has needed for a while, since the server may have no more to
    /// give; or any, if no other request is under way to the server, or it has as many connections as it takes requests.
    fn borrow(&self, most_links: usize) -> Option<Link<B>> {
        // This request is one, and the server itself holds one of each.
        let is_alone = Arc::strong_count(&self.load) <= 2;
        let is_full = || Arc::strong_count(&self.links) > most_links;
        let any = if is_alone || is_full() { Shelf::idle } else { Shelf::spare };
        self.shelves.iter().find_map(any)
    }

    fn keep(self: &Arc<Self>, line: Line<B>, worker: usize, was_told: bool) -> Use<B> {
        let mut kept = self.shelves.of(worker).kept();
        match line {
            Line::Link { sender, task } => {
                if !was_told && !sender.is_closed() {
                    kept.chose_h1 = Some(Instant::now());
                }
                Use::Link(Link { sender, task, worker, _one: self.links.clone() })
            }
            Line::Session { sender, most } => {
                let session = Session { sender, most, streams: Arc::new(()), was_idle: false };
                let stream = session.stream();
                kept.sessions.push(session);
                self.look_after(worker, &mut kept);
                Use::Stream(stream)
            }
        }
    }

    /// Has what stays idle closed, by a task that ends when there is nothing left.
    fn look_after(self: &Arc<Self>, worker: usize, kept: &mut Kept<B>) {
        if kept.is_swept {
            return;
        }
        kept.is_swept = true;
        let server = Arc::downgrade(self);
        self.tasks.spawn(async move {
            loop {
                sleep(SWEEP).await;
                let Some(server) = server.upgrade() else { return };
                let mut kept = server.shelves.of(worker).kept();
                kept.sweep();
                if kept.idle.is_empty() && kept.sessions.is_empty() {
                    kept.is_swept = false;
                    return;
                }
            }
        });
    }
}

impl<B> Shelf<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    fn find(&self, needs_h1: bool) -> Option<Use<B>> {
        if !needs_h1 && let Some(stream) = self.kept().stream() {
            return Some(Use::Stream(stream));
        }
        self.idle().map(Use::Link)
    }

    /// A connection that was idle for so long that others do for what this worker has to do.
    fn spare(&self) -> Option<Link<B>> {
        let mut kept = self.kept();
        let (since, link) = kept.idle.front()?;
        let is_spare = since.elapsed() > SPARE && !link.sender.is_closed();
        if is_spare { kept.idle.pop_front().map(|(_, link)| link) } else { None }
    }

    /// The idle connection that came back last.
    fn idle(&self) -> Option<Link<B>> {
        let mut kept = self.kept();
        loop {
            let (since, link) = kept.idle.pop_back()?;
            if since.elapsed() > POOL_IDLE {
                // So are all before it.
                kept.idle.clear();
                return None;
            }
            if !link.sender.is_closed() {
                return Some(link);
            }
        }
    }
}

impl<B> Shelf<B> {
    fn kept(&self) -> MutexGuard<'_, Kept<B>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B> Default for Shelf<B> {
    fn default() -> Self {
        let kept =
            Kept { idle: VecDeque::new(), sessions: Vec::new(), chose_h1: None, is_swept: false };
        Self { kept: Mutex::new(kept), dialing: Semaphore::new(1) }
    }
}

impl<B> Kept<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// Whether the server is asked for HTTP/1.1 at once. It may have learned HTTP/2 since it last chose.
    fn chooses_h1(&self) -> bool {
        self.chose_h1.is_some_and(|chose| chose.elapsed() < CHOICE)
    }

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
/// Longer than a connection is idle between two requests of a worker that is busy.
const SPARE: Duration = Duration::from_millis(20);
/// How long a connection that came back may take until its own task has seen the end as well.
const SETTLING: Duration = Duration::from_millis(10);
/// How long a server's choice of HTTP/1.1 holds.
const CHOICE: Duration = Duration::from_secs(60);
/// The most streams on one session, whatever its server takes.
const MOST_STREAMS: usize = 100;

#[cfg(test)]
mod tests;

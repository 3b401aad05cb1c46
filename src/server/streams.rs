//! The streams of an HTTP/2 connection: each is a task that the server waits for, and none is kept for nothing.
//!
//! A client that opens streams and takes them back, and one that takes nothing of what it asked for, cost more than they
//! should. What h2 bounds by itself is set in [`super`]; here is what it cannot see: whether a stream's answer is taken, how
//! many requests were taken back before they were answered, and whether a connection is used at all.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf, Bytes};
use hyper::rt::Executor;
use tokio::{
    sync::Notify,
    task_local,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use crate::haste::{LEAST, Timer};

/// The streams of one connection; clones share them.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    tasks: TaskTracker,
    cut: CancellationToken,
    write_timeout: Duration,
    crowd: Arc<Crowd>,
}

/// How many streams there were, and what became of them.
#[derive(Debug, Default)]
struct Crowd {
    begun: AtomicU64,
    ended: AtomicU64,
    answered: AtomicU64,
    /// Requests that were taken back before they were answered.
    taken_back: AtomicU64,
    abused: Notify,
    /// Streams whose answers were given whole and, as they ended, not taken whole.
    left: Mutex<Vec<Arc<Pace>>>,
}

/// How a stream's answer is taken.
#[derive(Debug)]
pub(super) struct Pace {
    given: Mutex<Given>,
    crowd: Arc<Crowd>,
}

/// What the client can take, as far as it opens its windows.
#[derive(Debug, Default)]
struct Given {
    bytes: usize,
    /// Since when there has been something; set anew whenever [`LEAST`] of it has been taken.
    since: Option<Instant>,
    taken: usize,
}

/// A piece of an answer, which tells its stream how much of it has been sent.
#[derive(Debug)]
pub(super) struct Piece {
    bytes: Bytes,
    pace: Option<Arc<Pace>>,
}

/// A request that is not answered yet.
#[derive(Debug)]
pub(super) struct Open {
    crowd: Arc<Crowd>,
    is_answered: bool,
}

impl Streams {
    /// The streams of a new connection; their tasks end early when `cut` is cancelled.
    pub(super) fn new(tasks: TaskTracker, cut: CancellationToken, write_timeout: Duration) -> Self {
        Self { tasks, cut, write_timeout, crowd: Arc::default() }
    }

    /// How many streams there were, if none is open.
    pub(super) fn ended(&self) -> Option<u64> {
        let begun = self.crowd.begun.load(Ordering::Relaxed);
        (begun == self.crowd.ended.load(Ordering::Relaxed)).then_some(begun)
    }

    /// Waits until the client has taken back more requests than one that means them would.
    pub(super) async fn abused(&self) {
        self.crowd.abused.notified().await;
    }

    /// Waits until the client has had its time with the end of an answer. The stream is done, so only the connection can
    /// be closed: what waits to be sent would stay in memory.
    pub(super) async fn stalled(&self) {
        loop {
            sleep(self.write_timeout).await;
            let mut left = self.crowd.left();
            left.retain(|pace| pace.waits());
            if left.iter().any(|pace| pace.has_waited(self.write_timeout)) {
                return;
            }
        }
    }
}

/// The pace of the stream whose task this is.
pub(super) fn current() -> Option<Arc<Pace>> {
    PACE.try_with(Clone::clone).ok()
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.crowd.begun.fetch_add(1, Ordering::Relaxed);
        let crowd = self.crowd.clone();
        let pace = Arc::new(Pace { given: Mutex::default(), crowd: crowd.clone() });
        let stalled =
            Stalled { pace: pace.clone(), patience: self.write_timeout, timer: Timer::new() };
        let work = PACE.scope(pace.clone(), async move {
            let _ended = Ended(crowd);
            tokio::select! {
                biased;
                () = stream => pace.leave(),
                () = stalled => debug!("a client takes nothing of an answer"),
            }
        });
        self.tasks.spawn(self.cut.clone().run_until_cancelled_owned(work));
    }
}

impl Pace {
    /// A request has come.
    pub(super) fn open(&self) -> Open {
        Open { crowd: self.crowd.clone(), is_answered: false }
    }

    /// There are so many more bytes that the client can take.
    fn give(&self, bytes: usize) {
        let mut given = self.given();
        if given.bytes == 0 && bytes > 0 {
            *given = Given { bytes: 0, since: Some(Instant::now()), taken: 0 };
        }
        given.bytes = given.bytes.saturating_add(bytes);
    }

    /// So many of them have been sent, or are not to be sent any more.
    fn take(&self, bytes: usize) {
        let mut given = self.given();
        given.bytes = given.bytes.saturating_sub(bytes);
        given.taken = given.taken.saturating_add(bytes);
        if given.bytes == 0 {
            *given = Given::default();
        } else if given.taken >= LEAST {
            (given.since, given.taken) = (Some(Instant::now()), 0);
        }
    }

    /// The stream has given all that it has.
    fn leave(self: &Arc<Self>) {
        if self.waits() {
            let mut left = self.crowd.left();
            // Nearly all are sent as soon as the connection has its turn.
            if left.len() >= SOME {
                left.retain(|pace| pace.waits());
            }
            left.push(self.clone());
        }
    }

    fn waits(&self) -> bool {
        self.given().since.is_some()
    }

    fn has_waited(&self, patience: Duration) -> bool {
        self.given().since.is_some_and(|since| since.elapsed() >= patience)
    }

    fn given(&self) -> MutexGuard<'_, Given> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Crowd {
    fn left(&self) -> MutexGuard<'_, Vec<Arc<Pace>>> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Piece {
    /// A piece of the answer of the stream of `pace`, if it is of HTTP/2.
    pub(super) fn new(bytes: Bytes, pace: Option<Arc<Pace>>) -> Self {
        if let Some(pace) = &pace {
            pace.give(bytes.len());
        }
        Self { bytes, pace }
    }
}

impl Buf for Piece {
    fn remaining(&self) -> usize {
        self.bytes.len()
    }

    fn chunk(&self) -> &[u8] {
        &self.bytes
    }

    fn advance(&mut self, length: usize) {
        self.bytes.advance(length);
        if let Some(pace) = &self.pace {
            pace.take(length);
        }
    }

    fn copy_to_bytes(&mut self, length: usize) -> Bytes {
        let copied = self.bytes.copy_to_bytes(length);
        if let Some(pace) = &self.pace {
            pace.take(length);
        }
        copied
    }
}

impl Drop for Piece {
    fn drop(&mut self) {
        if let Some(pace) = &self.pace {
            pace.take(self.bytes.len());
        }
    }
}

impl Open {
    /// It is answered.
    pub(super) fn answer(mut self) {
        self.crowd.answered.fetch_add(1, Ordering::Relaxed);
        self.is_answered = true;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if self.is_answered {
            return;
        }
        let taken_back = self.crowd.taken_back.fetch_add(1, Ordering::Relaxed);
        let answered = self.crowd.answered.load(Ordering::Relaxed);
        if taken_back >= MOST_TAKEN_BACK.saturating_add(answered) {
            self.crowd.abused.notify_one();
        }
    }
}

struct Ended(Arc<Crowd>);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

/// Ready when the client has taken nothing of what it could for so long.
#[derive(Debug)]
struct Stalled {
    pace: Arc<Pace>,
    patience: Duration,
    timer: Timer,
}

impl Future for Stalled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        // Asked whenever the stream has had its turn, so it is known here as soon as there is something to take.
        let Some(given) = this.pace.given().since else { return Poll::Pending };
        let until = given.checked_add(this.patience).unwrap_or(given);
        this.timer.poll(until, cx)
    }
}

task_local! {
    static PACE: Arc<Pace>;
}

/// As many streams may wait to be sent to their ends before those are looked for that are.
const SOME: usize = 128;
/// As many more requests than were answered may be taken back: a person who leaves a page takes back what it was loading.
const MOST_TAKEN_BACK: u64 = 200;
/// As many streams may be taken back before they were looked at, and as many may break the rules of HTTP/2.
pub(super) const MOST_RESETS: usize = 20;
pub(super) const MOST_ERRORS: usize = 100;
/// How often an HTTP/2 client is asked whether it is still there.
pub(super) const PING_EVERY: Duration = Duration::from_secs(30);
/// How long its answer may take. What asks stands behind all that is on its way to the client, which a slow one takes its
/// time for: who takes nothing is left by another clock.
pub(super) const PING_PATIENCE: Duration = Duration::from_secs(300);

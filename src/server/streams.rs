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
    task::{Context, Poll, ready},
    time::Duration,
};

use hyper::rt::Executor;
use tokio::{
    sync::Notify,
    task_local,
    time::{Instant, Sleep, sleep_until},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

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
}

/// How a stream's answer is taken.
#[derive(Debug)]
pub(super) struct Pace {
    /// Since when the client has had something to take, if it has.
    given: Mutex<Option<Instant>>,
    crowd: Arc<Crowd>,
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
}

/// The pace of the stream whose task this is.
pub(super) fn current() -> Option<Arc<Pace>> {
    PACE.try_with(Clone::clone).ok()
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Streams {
    fn execute(&self, stream: F) {
        self.crowd.begun.fetch_add(1, Ordering::Relaxed);
        let crowd = self.crowd.clone();
        let pace = Arc::new(Pace { given: Mutex::new(None), crowd: crowd.clone() });
        let stalled = Stalled { pace: pace.clone(), patience: self.write_timeout, timer: None };
        let work = PACE.scope(pace, async move {
            let _ended = Ended(crowd);
            tokio::select! {
                biased;
                () = stream => {}
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

    /// There is something that the client can take.
    pub(super) fn give(&self) {
        *self.given() = Some(Instant::now());
    }

    /// The client has taken it.
    pub(super) fn take(&self) {
        *self.given() = None;
    }

    fn given(&self) -> MutexGuard<'_, Option<Instant>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
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
    timer: Option<Pin<Box<Sleep>>>,
}

impl Future for Stalled {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        loop {
            // Asked whenever the stream has had its turn, so it is known here as soon as there is something to take.
            let Some(given) = *this.pace.given() else { return Poll::Pending };
            let until = given.checked_add(this.patience).unwrap_or(given);
            let timer = this.timer.get_or_insert_with(|| Box::pin(sleep_until(until)));
            if timer.deadline() > until {
                timer.as_mut().reset(until);
            }
            ready!(timer.as_mut().poll(cx));
            if timer.deadline() >= until {
                return Poll::Ready(());
            }
            timer.as_mut().reset(until);
        }
    }
}

task_local! {
    static PACE: Arc<Pace>;
}

/// As many more requests than were answered may be taken back: a person who leaves a page takes back what it was loading.
const MOST_TAKEN_BACK: u64 = 200;

//! One thread per core, each with a runtime of its own: a connection lives on one of them, with all that its requests need.
//!
//! Nothing is stolen from one worker by another, so a request wakes no other thread on its way: what a client's
//! connection, the work of its requests and the connections to the upstream tell each other stays on one core. Whatever
//! the whole process shares lives on the runtime that the workers were started from.

use std::{
    cell::Cell,
    io,
    num::NonZero,
    sync::{Arc, LazyLock, Mutex, PoisonError, mpsc},
    thread,
    time::{Duration, Instant},
};

use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio_util::{
    sync::{CancellationToken, DropGuard},
    task::TaskTracker,
};

/// The workers of a process. Clones share them; they end when the last is dropped.
#[derive(Clone, Debug)]
pub struct Workers(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    workers: Box<[Worker]>,
    /// Dropped with the last handle: then the threads end, and whatever still runs on them.
    _stop: DropGuard,
}

#[derive(Debug)]
struct Worker {
    runtime: Handle,
    /// Everything that was given to the worker and has not ended holds a clone.
    load: Arc<()>,
}

/// Whether the workers get round to what they are given. Clones share it; it keeps no worker alive.
#[derive(Clone, Debug)]
pub struct Pulse(Arc<[Beat]>);

/// That of one worker.
#[derive(Debug)]
struct Beat {
    runtime: Handle,
    /// When it was asked for a sign of life that it has not given yet.
    asked: Arc<Mutex<Option<Instant>>>,
}

/// A worker that has been chosen for a task.
#[derive(Debug)]
pub(crate) struct Chosen<'a>(&'a Worker);

impl Workers {
    /// Starts one worker per core that the process may use.
    ///
    /// # Errors
    /// If a thread or its runtime cannot be had.
    pub fn start() -> io::Result<Self> {
        let stop = CancellationToken::new();
        // Dropped with what was started so far if one fails.
        let guard = stop.clone().drop_guard();
        let workers = (0..*CORES).map(|number| Worker::start(number, stop.clone()));
        let workers = workers.collect::<io::Result<_>>()?;
        Ok(Self(Arc::new(Shared { workers, _stop: guard })))
    }

    /// What tells whether they get on.
    pub(crate) fn pulse(&self) -> Pulse {
        let beat =
            |worker: &Worker| Beat { runtime: worker.runtime.clone(), asked: Arc::default() };
        Pulse(self.0.workers.iter().map(beat).collect())
    }

    /// The worker with the least to do; `None` only if there is none at all.
    pub(crate) fn least_busy(&self) -> Option<Chosen<'_>> {
        self.0.workers.iter().min_by_key(|worker| Arc::strong_count(&worker.load)).map(Chosen)
    }
}

impl Pulse {
    /// Whether none of them owes a sign of life for longer than 10 s. Those that owe none are asked for the next
    /// one, so who wants to know asks again and again; nobody is woken up for nothing in between.
    #[must_use]
    pub fn is_steady(&self) -> bool {
        self.is_steady_at(Instant::now())
    }

    fn is_steady_at(&self, now: Instant) -> bool {
        // Each is asked, whatever the others say.
        self.0.iter().filter(|beat| !beat.is_felt(now)).count() == 0
    }
}

impl Beat {
    fn is_felt(&self, now: Instant) -> bool {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = *asked {
            return now.saturating_duration_since(at) <= PATIENCE;
        }
        *asked = Some(now);
        let asked = self.asked.clone();
        drop(self.runtime.spawn(async move {
            *asked.lock().unwrap_or_else(PoisonError::into_inner) = None;
        }));
        true
    }
}

impl Chosen<'_> {
    /// What is registered with a runtime from now on, by this thread, is registered with the worker's.
    pub(crate) fn enter(&self) -> EnterGuard<'_> {
        self.0.runtime.enter()
    }

    /// Runs a task on the worker.
    pub(crate) fn spawn<F>(&self, tasks: &TaskTracker, task: F)
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let load = self.0.load.clone();
        let task = async move {
            let ended = task.await;
            drop(load);
            ended
        };
        tasks.spawn_on(task, &self.0.runtime);
    }
}

impl Worker {
    fn start(number: usize, stop: CancellationToken) -> io::Result<Self> {
        let (tell, told) = mpsc::sync_channel(1);
        thread::Builder::new().name(format!("worker-{number}")).spawn(move || {
            NUMBER.set(number);
            // It ends where it began: a runtime must not be dropped within another.
            match Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => {
                    drop(tell.send(Ok(runtime.handle().clone())));
                    runtime.block_on(stop.cancelled());
                }
                Err(error) => drop(tell.send(Err(error))),
            }
        })?;
        let runtime = told.recv().map_err(io::Error::other)??;
        Ok(Self { runtime, load: Arc::new(()) })
    }
}

/// One of something for each worker; every other thread shares the first.
#[derive(Debug)]
pub(crate) struct Each<T> {
    first: T,
    others: Box<[T]>,
}

impl<T: Default> Default for Each<T> {
    fn default() -> Self {
        let others = (1..*CORES).map(|_| T::default()).collect();
        Self { first: T::default(), others }
    }
}

impl<T> Each<T> {
    /// That of the worker with this number.
    pub(crate) fn of(&self, number: usize) -> &T {
        let other = number.checked_sub(1).and_then(|other| self.others.get(other));
        other.unwrap_or(&self.first)
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

/// The number of the worker that this runs on; 0 on every other thread.
pub(crate) fn current() -> usize {
    NUMBER.get()
}

/// A worker that takes longer over one step than this holds up all of its connections.
const PATIENCE: Duration = Duration::from_secs(10);

/// How many cores the process may use.
static CORES: LazyLock<usize> =
    LazyLock::new(|| thread::available_parallelism().map_or(1, NonZero::get));

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use tokio::sync::{mpsc::unbounded_channel, oneshot};

    use super::*;

    #[tokio::test]
    async fn each_worker_gets_as_much_as_the_others() {
        let workers = Workers::start().unwrap();
        let tasks = TaskTracker::new();
        let (tell, mut told) = unbounded_channel();
        let goes_on = CancellationToken::new();
        for _ in 0..*CORES {
            let (tell, goes_on) = (tell.clone(), goes_on.clone());
            workers.least_busy().unwrap().spawn(&tasks, async move {
                tell.send(current()).unwrap();
                goes_on.cancelled().await;
            });
        }
        let mut seen = BTreeSet::new();
        for _ in 0..*CORES {
            seen.insert(told.recv().await.unwrap());
        }
        assert_eq!(seen, (0..*CORES).collect());
        goes_on.cancel();
        tasks.close();
        tasks.wait().await;
        let mut loads = workers.0.workers.iter().map(|worker| Arc::strong_count(&worker.load));
        assert!(loads.all(|load| load == 1));
    }

    #[tokio::test]
    async fn a_worker_that_does_not_get_on_is_felt_until_it_does() {
        let workers = Workers::start().unwrap();
        let (pulse, tasks) = (workers.pulse(), TaskTracker::new());
        let now = Instant::now();
        let (entered, is_in) = oneshot::channel();
        let (go_on, wait) = std::sync::mpsc::channel::<()>();
        workers.least_busy().unwrap().spawn(&tasks, async move {
            entered.send(()).unwrap();
            wait.recv().unwrap();
        });
        is_in.await.unwrap();
        assert!(pulse.is_steady_at(now), "it is asked");
        assert!(pulse.is_steady_at(now + PATIENCE), "it may take its time");
        let late = now + PATIENCE * 2;
        assert!(!pulse.is_steady_at(late));
        go_on.send(()).unwrap();
        let steady = async {
            while !pulse.is_steady_at(late) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, steady).await.expect("it gets on");
    }

    #[tokio::test]
    async fn what_still_runs_is_dropped_with_the_last_handle() {
        let workers = Workers::start().unwrap();
        let tasks = TaskTracker::new();
        let (held, dropped) = oneshot::channel::<()>();
        workers.least_busy().unwrap().spawn(&tasks, async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(workers);
        assert!(dropped.await.is_err());
    }
}

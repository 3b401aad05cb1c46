//! The store of one gateway, in one file: any number of callers, one writer thread, group commit.
//!
//! Callers put what they want into a queue. The writer takes everything that waits there, carries it out against what
//! is stored and what is held, makes one durable commit of it, and only then answers. So no step ever sees half of
//! another, and the price of a sync is shared by all who came while the one before was under way.
//!
//! Who holds a claim is known to this process alone, and the file is locked to it: the holds live in memory, a claim
//! costs no write, and when the process dies its holds die with it.

mod channels;
mod log;
mod outbox;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread,
    time::Duration,
};

use redb::StorageBackend;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

pub(super) use self::channels::Flight;
use self::{tables::Tables, writer::Writer};
use super::{
    Claim, ClaimKey, Claiming, Error, Notice, Outcome, Pending, Submitting,
    channel::{Account, Page, Stepped},
    claim::Step,
    time::CLOCK_SLACK_SECONDS,
};
use crate::{
    protocol::stellar::ContractId,
    store::channel,
    telemetry::{histogram::Histogram, metrics::Metrics, page::Kind},
};

/// A handle on the writer.
#[derive(Clone)]
pub(super) struct Embedded {
    queue: mpsc::UnboundedSender<Queued>,
    /// Bounds the queue: one permit rides with everything in it.
    room: Arc<Semaphore>,
    stopped: Arc<OnceLock<Arc<str>>>,
    /// How long commits take.
    commits: Arc<Histogram>,
}

/// The right to move one claim on; let go of when dropped.
pub(super) struct Hold {
    permit: Permit,
    /// Where to let go; `None` once the writer has been told to end the hold.
    queue: Option<mpsc::WeakUnboundedSender<Queued>>,
}

/// Which hold on which claim. The number is never used twice, so a late holder cannot touch a newer claim.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Permit {
    key: ClaimKey,
    number: u64,
}

struct Queued {
    wish: Wish,
    /// Nothing for a hold that is let go of: there are no more of those than there were claims.
    room: Option<OwnedSemaphorePermit>,
}

/// What callers want of the writer. A reply that is dropped says that the store has stopped.
enum Wish {
    Claim(Claim, Reply<Claiming>),
    /// With what it tells.
    Step(Permit, Step, Vec<Notice>, Reply<()>),
    LetGo(Permit),
    Resolve {
        key: ClaimKey,
        submitting: Submitting,
        outcome: Outcome,
        told: Vec<Notice>,
        reply: Reply<bool>,
    },
    Pending {
        after: Option<ClaimKey>,
        reply: Reply<Vec<Pending>>,
    },
    Secret {
        name: &'static str,
        reply: Reply<[u8; 32]>,
    },
    Outbox(outbox::Wish),
    Channel(ContractId, channel::Step, Reply<Stepped>),
    Account(ContractId, Reply<Option<Account>>),
    Accounts {
        after: Option<ContractId>,
        reply: Reply<Page>,
    },
    Forget {
        channel: ContractId,
        used_by: u64,
        reply: Reply<bool>,
    },
    /// A reservation that was dropped.
    Dropped(ContractId, channel::Token),
    Close(Reply<()>),
}

type Reply<T> = oneshot::Sender<Result<T, Error>>;

impl Embedded {
    pub(super) async fn open(path: PathBuf) -> Result<Self, Error> {
        Self::start(move || Tables::open(&path), CLOCK_SLACK_SECONDS).await
    }

    pub(super) async fn in_memory() -> Result<Self, Error> {
        Self::start_on(redb::backends::InMemoryBackend::new(), CLOCK_SLACK_SECONDS).await
    }

    async fn start_on(backend: impl StorageBackend, slack: u64) -> Result<Self, Error> {
        Self::start(move || Tables::open_on(backend), slack).await
    }

    /// Starts the writer on what `open` opens; claims may tell a time that is `slack` seconds ahead. Both run on a thread of
    /// their own, since both wait for the disk.
    async fn start(
        open: impl FnOnce() -> Result<Tables, Error> + Send + 'static,
        slack: u64,
    ) -> Result<Self, Error> {
        let (queue, wishes) = mpsc::unbounded_channel();
        let stopped = Arc::new(OnceLock::new());
        let commits = Arc::<Histogram>::default();
        let handle = Self {
            queue,
            room: Arc::new(Semaphore::new(QUEUE)),
            stopped: Arc::clone(&stopped),
            commits: commits.clone(),
        };
        let weak = handle.queue.downgrade();
        let (opened, is_open) = oneshot::channel();
        let work = move || match open() {
            Ok(tables) => {
                if opened.send(Ok(())).is_ok() {
                    Writer::new(tables, weak, stopped, slack, commits).run(wishes);
                }
            }
            Err(error) => drop(opened.send(Err(error))),
        };
        thread::Builder::new().name("store".into()).spawn(work).map_err(|error| {
            Error::Stopped { reason: format!("no thread can be started: {error}").into() }
        })?;
        match is_open.await {
            Ok(Ok(())) => Ok(handle),
            Ok(Err(error)) => Err(error),
            // redb promises errors, not panics, for a file that it checks; if it breaks the promise, this holds it.
            Err(_) => Err(Error::Corrupt { what: "opening it failed without an answer".into() }),
        }
    }

    /// Has `metrics` tell how long commits take.
    pub(super) fn expose(&self, metrics: &Metrics) {
        let commits = self.commits.clone();
        metrics.add_source(move |page| {
            let help = "How long it takes until what is stored together is on the disk";
            let mut family = page.family("store_commit_seconds", Kind::Histogram, help);
            family.tell_histogram(&[], &commits.snapshot());
        });
    }

    pub(super) async fn claim(&self, claim: Claim) -> Result<Claiming, Error> {
        self.ask(|reply| Wish::Claim(claim, reply)).await
    }

    pub(super) async fn step(
        &self,
        hold: &Hold,
        step: Step,
        told: Vec<Notice>,
    ) -> Result<(), Error> {
        self.ask(|reply| Wish::Step(hold.permit, step, told, reply)).await
    }

    /// A last step. Should it not even get into the queue, dropping the hold lets go of the claim.
    pub(super) async fn end(
        &self,
        mut hold: Hold,
        step: Step,
        told: Vec<Notice>,
    ) -> Result<(), Error> {
        let permit = hold.permit;
        self.ask(|reply| {
            hold.queue = None;
            Wish::Step(permit, step, told, reply)
        })
        .await
    }

    pub(super) async fn resolve(
        &self,
        key: ClaimKey,
        submitting: Submitting,
        outcome: Outcome,
        told: Vec<Notice>,
    ) -> Result<bool, Error> {
        self.ask(|reply| Wish::Resolve { key, submitting, outcome, told, reply }).await
    }

    pub(super) async fn pending(&self, after: Option<ClaimKey>) -> Result<Vec<Pending>, Error> {
        self.ask(|reply| Wish::Pending { after, reply }).await
    }

    pub(super) async fn secret(&self, name: &'static str) -> Result<[u8; 32], Error> {
        self.ask(|reply| Wish::Secret { name, reply }).await
    }

    pub(super) async fn close(&self) -> Result<(), Error> {
        self.ask(Wish::Close).await
    }

    pub(super) fn is_running(&self) -> bool {
        !self.queue.is_closed()
    }

    /// Puts a wish into the queue, as soon as there is room, and waits for the answer.
    async fn ask<T>(&self, wish: impl FnOnce(Reply<T>) -> Wish) -> Result<T, Error> {
        let answered = async {
            let room = Arc::clone(&self.room).acquire_owned().await.map_err(|_| self.stopped())?;
            let (reply, answer) = oneshot::channel();
            let queued = Queued { wish: wish(reply), room: Some(room) };
            self.queue.send(queued).map_err(|_| self.stopped())?;
            answer.await.map_err(|_| self.stopped())?
        };
        match tokio::time::timeout(PATIENCE, answered).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unreachable { waited: PATIENCE }),
        }
    }

    fn stopped(&self) -> Error {
        let reason = self.stopped.get().cloned();
        Error::Stopped { reason: reason.unwrap_or_else(|| "its thread has ended".into()) }
    }
}

impl fmt::Debug for Embedded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Embedded").field("is_running", &self.is_running()).finish_non_exhaustive()
    }
}

impl Hold {
    pub(super) const fn key(&self) -> ClaimKey {
        self.permit.key
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some(queue) = self.queue.take().and_then(|queue| queue.upgrade()) {
            // A queue that is closed has no holds to let go of.
            drop(queue.send(Queued { wish: Wish::LetGo(self.permit), room: None }));
        }
    }
}

/// Wishes that may wait; a caller beyond them waits for room.
const QUEUE: usize = 4096;

/// How long a caller waits, for room and for the answer: a disk that syncs slower than this serves nobody.
const PATIENCE: Duration = Duration::from_secs(5);

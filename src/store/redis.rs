//! The store of several gateways, in one Redis or Valkey: any number of callers, one task that talks to the server.
//!
//! Every record is a value that begins with a random revision. Callers put what they want into a queue. The task takes
//! everything that waits there, carries it out on the records as they were last seen, and sends the records that come of
//! it in one round: each set of records that belong together replaces the former one if that is still what was seen, and
//! otherwise the server returns what is there now, on which the same is carried out again. A step is answered once the
//! server has said that it is stored. All rules are Rust's, the same as in the embedded store; the server compares and
//! stores bytes.
//!
//! Who holds a claim stands in its record, with a lease that the task renews: when a gateway dies, its claims are free once
//! their leases end. An answer that is lost is asked for again; if it cannot be had in time, nobody is told that anything
//! was done, and the records themselves say later what was.

mod actor;
mod channels;
mod claims;
mod envelope;
mod exposure;
mod fence;
mod gate;
mod group;
mod journal;
mod link;
mod lists;
mod promise;
mod record;
mod transaction;
mod whereabouts;

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU8,
    path::PathBuf,
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::Duration,
};

use ::redis::RedisError;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::{
    sync::{Semaphore, mpsc, oneshot},
    task::spawn_blocking,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub(super) use self::channels::Flight;
pub use self::fence::{Member, MemberId};
use self::{
    actor::{Actor, Queued, Wish},
    claims::{Answer, Permit},
    envelope::Key,
    exposure::{Exposure, Probe},
    gate::Gate,
    journal::Journal,
    lists::List,
    transaction::{Asked, Draft, Facts, Reply, Told, Transaction},
    whereabouts::Whereabouts,
};
use super::{
    Claim, ClaimKey, Claiming, Error, Outcome, Pending, Submitting, Ticket, backend,
    channel::Token,
    claim::{Presented, Step},
    time::{CLOCK_SLACK_SECONDS, Time},
};
use crate::telemetry::metrics::Metrics;

/// How a Redis or Valkey is used.
#[derive(Clone)]
pub struct Settings {
    /// `redis://`, or `rediss://` for TLS; or `redis+sentinel://HOST,HOST…/NAME` for the primary that Sentinels name. It may
    /// hold a password.
    pub url: SecretString,
    /// Before the name of every key, such as `gw:prod:`. Gateways with the same prefix share their payments.
    pub prefix: String,
    /// How long a verb may take.
    pub timeout: Duration,
    /// How long a claim is held by a gateway that says nothing.
    pub lease: Duration,
    /// What the server must promise.
    pub durability: Durability,
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("prefix", &self.prefix)
            .field("timeout", &self.timeout)
            .field("lease", &self.lease)
            .field("durability", &self.durability)
            .finish_non_exhaustive()
    }
}

/// What the server promises of what it has acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    /// One server that syncs every write to its disk and evicts nothing. What it acknowledged it has after a crash.
    Single,
    /// Such a server, and replicas of it that may take over: Redis 7.2 or later, or Valkey. What is acknowledged all of them
    /// have on their disks, and so has this gateway of its own accounts.
    Replicated {
        /// How many replicas may take over. While fewer are attached nothing is stored.
        promotable_replicas: NonZeroU8,
        /// A file of this gateway's own, on a disk that outlives it.
        journal: PathBuf,
    },
    /// Nothing: what was acknowledged may be lost, and bought again.
    BestEffort,
}

/// A handle on the task.
#[derive(Clone)]
pub(super) struct Redis {
    queue: mpsc::UnboundedSender<Queued>,
    /// Bounds the queue: one permit rides with everything in it.
    room: Arc<Semaphore>,
    holds: Arc<Holds>,
    timeout: Duration,
    stopped: Arc<OnceLock<Arc<str>>>,
    exposure: Option<Exposure>,
    tasks: TaskTracker,
}

/// The claims that this process has in hand.
#[derive(Default)]
struct Holds(Mutex<HashMap<Token, Permit>>);

/// The right to move one claim on; let go of when dropped.
pub(super) struct Hold {
    permit: Permit,
    holds: Arc<Holds>,
    /// Where to let go; `None` once that was told otherwise.
    queue: Option<mpsc::WeakUnboundedSender<Queued>>,
}

impl Redis {
    /// Connects, and asks the server whether it keeps what the settings want kept.
    pub(super) async fn open(settings: Settings) -> Result<Self, Error> {
        // Its message says nothing of the URL itself, which may hold a password.
        let unreadable = |error: RedisError| Error::Unavailable {
            reason: format!("its URL does not read: {error}").into(),
        };
        let whereabouts = Whereabouts::read(settings.url.expose_secret()).map_err(unreadable)?;
        let gate = match &settings.durability {
            Durability::Replicated { journal, .. } => {
                let (path, prefix) = (journal.clone(), settings.prefix.clone());
                let opened = spawn_blocking(move || Journal::open(&path, &prefix)).await;
                let stopped = |error| Error::Stopped { reason: format!("{error}").into() };
                Some(Gate::new(opened.map_err(stopped)??)?)
            }
            Durability::Single | Durability::BestEffort => None,
        };
        let exposure = (settings.durability == Durability::BestEffort).then(Exposure::default);
        let probe = match &exposure {
            Some(exposure) => {
                let whereabouts = Whereabouts::read(settings.url.expose_secret());
                let whereabouts = whereabouts.map_err(unreadable)?;
                Some(Probe::new(exposure.clone(), whereabouts, &settings))
            }
            None => None,
        };
        let facts = Facts {
            server_now: 0,
            epoch: None,
            lease: settings.lease,
            time: Time::new(CLOCK_SLACK_SECONDS),
            witness: HashMap::new(),
        };
        let (queue, wishes) = mpsc::unbounded_channel();
        let holds = Arc::new(Holds::default());
        let stopped = Arc::new(OnceLock::new());
        let timeout = settings.timeout;
        let mut actor = Actor::new(
            settings,
            whereabouts,
            (gate, exposure.clone()),
            facts,
            Arc::clone(&holds),
            Arc::clone(&stopped),
        );
        // A future of many layers, which those of the callers need not contain.
        Box::pin(actor.start()).await?;
        let tasks = TaskTracker::new();
        let is_over = CancellationToken::new();
        if let Some(probe) = probe {
            tasks.spawn(probe.run(is_over.clone()));
        }
        // Ends with the actor.
        let is_over = is_over.drop_guard();
        tasks.spawn(async move {
            actor.run(wishes).await;
            drop(is_over);
        });
        tasks.close();
        let room = Arc::new(Semaphore::new(QUEUE));
        Ok(Self { queue, room, holds, timeout, stopped, exposure, tasks })
    }

    pub(super) async fn claim(&self, claim: Claim) -> Result<Claiming, Error> {
        let permit = Permit { key: claim.key, alias: claim.alias, token: Token::draw() };
        // Whatever comes of asking, what may be held is let go of when this is dropped.
        let hold =
            Hold { permit, holds: Arc::clone(&self.holds), queue: Some(self.queue.downgrade()) };
        let keys = permit.keys();
        let verb = move |draft: &mut Draft<'_>| claims::claim(draft, &claim, permit.token);
        let answer = self.transact(keys, verb).await?;
        let ticket = |hold: Hold| {
            hold.holds.lock().insert(hold.permit.token, hold.permit);
            Ticket(backend::Hold::Redis(hold))
        };
        Ok(match answer {
            Answer::Fresh => Claiming::Fresh(ticket(hold)),
            Answer::Redeliver(settled) => Claiming::Redeliver(ticket(hold), settled),
            other => {
                hold.forget();
                other.into()
            }
        })
    }

    pub(super) async fn step(&self, hold: &Hold, step: Step) -> Result<(), Error> {
        let permit = hold.permit;
        self.transact(permit.keys(), move |draft| claims::step(draft, permit, &step)).await
    }

    /// A last step. Should nobody know whether it was carried out, the hold is let go of all the same.
    pub(super) async fn end(&self, hold: Hold, step: Step) -> Result<(), Error> {
        let ended = self.step(&hold, step).await;
        if ended.is_ok() || matches!(ended, Err(Error::OutOfOrder { .. })) {
            hold.forget();
        }
        ended
    }

    pub(super) async fn resolve(
        &self,
        key: ClaimKey,
        submitting: Submitting,
        outcome: Outcome,
    ) -> Result<bool, Error> {
        let verb = move |draft: &mut Draft<'_>| claims::resolve(draft, key, &submitting, &outcome);
        self.transact(vec![Key::Claim(key)], verb).await
    }

    pub(super) async fn pending(&self, after: Option<ClaimKey>) -> Result<Vec<Pending>, Error> {
        self.ask(|reply| Wish::List(List::Pending { after, reply })).await
    }

    pub(super) async fn secret(&self, name: &'static str) -> Result<[u8; 32], Error> {
        let mut drawn = [0; 32];
        let (halves, _) = drawn.as_chunks_mut();
        halves.iter_mut().for_each(|half| *half = Token::draw().0);
        let verb = move |draft: &mut Draft<'_>| claims::secret(draft, name, drawn);
        self.transact(vec![Key::Secret(name)], verb).await
    }

    pub(super) fn expose(&self, metrics: &Metrics) {
        if let Some(exposure) = &self.exposure {
            exposure.expose(metrics);
        }
    }

    /// The gateways that share the store, where replicas may take over.
    pub(super) async fn members(&self) -> Result<Vec<Member>, Error> {
        self.transact(vec![Key::Fence], gate::members).await
    }

    /// Waits for a member no more. Whether it was one.
    pub(super) async fn dismiss(&self, id: MemberId) -> Result<bool, Error> {
        let verb = move |draft: &mut Draft<'_>| gate::leave(draft, id);
        self.transact(vec![Key::Fence], verb).await
    }

    pub(super) async fn close(&self) -> Result<(), Error> {
        self.ask(Wish::Close).await?;
        self.tasks.wait().await;
        Ok(())
    }

    pub(super) fn is_running(&self) -> bool {
        !self.queue.is_closed()
    }

    async fn transact<T: Send + 'static>(
        &self,
        keys: Vec<Key>,
        verb: impl FnMut(&mut Draft<'_>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        self.ask(|reply| Wish::Carry(Box::new(Asked::new(keys, verb, reply)))).await
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
        // What it may take itself, after what is under way.
        let waited = self.timeout.saturating_mul(2);
        match tokio::time::timeout(waited, answered).await {
            Ok(answer) => answer,
            Err(_) => Err(Error::Unreachable { waited }),
        }
    }

    fn stopped(&self) -> Error {
        let reason = self.stopped.get().cloned();
        Error::Stopped { reason: reason.unwrap_or_else(|| "its task has ended".into()) }
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Redis").field("is_running", &self.is_running()).finish_non_exhaustive()
    }
}

impl Holds {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Token, Permit>> {
        // Nothing in here can be half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What has every hold last for another lease.
    fn renewals(&self) -> Vec<Box<dyn Transaction>> {
        // One that fails is let be: the next comes soon enough, or the hold is over.
        let renew = |permit: &Permit| renewal(*permit);
        self.lock().values().map(renew).collect()
    }

    /// What ends every hold.
    fn endings(&self) -> Vec<Box<dyn Transaction>> {
        self.lock().drain().map(|(_, permit)| ending(permit)).collect()
    }
}

fn renewal(permit: Permit) -> Box<dyn Transaction> {
    let verb = move |draft: &mut Draft<'_>| drop(claims::renew(draft, permit));
    Box::new(Told { keys: permit.keys(), verb, is_kept: false })
}

/// One that cannot be let go of is free when its lease ends.
fn ending(permit: Permit) -> Box<dyn Transaction> {
    let verb = move |draft: &mut Draft<'_>| drop(claims::let_go(draft, permit));
    Box::new(Told { keys: permit.keys(), verb, is_kept: true })
}

impl Permit {
    fn keys(self) -> Vec<Key> {
        let alias = self.alias.map(Key::Alias);
        std::iter::once(Key::Claim(self.key)).chain(alias).collect()
    }
}

impl Hold {
    pub(super) const fn key(&self) -> ClaimKey {
        self.permit.key
    }

    /// There is nothing to let go of.
    fn forget(mut self) {
        self.queue = None;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let permit = self.permit;
        self.holds.lock().remove(&permit.token);
        if let Some(queue) = self.queue.take().and_then(|queue| queue.upgrade()) {
            drop(queue.send(Queued { wish: Wish::Carry(ending(permit)), room: None }));
        }
    }
}

impl From<Answer> for Claiming {
    /// Of an answer without a ticket.
    fn from(answer: Answer) -> Self {
        match answer {
            Answer::Fresh | Answer::Redeliver(_) | Answer::InFlight => Self::InFlight,
            Answer::AliasTaken(by) => Self::AliasTaken(by),
            Answer::Presented(presented) => match presented {
                Presented::Pending(submitting) => Self::Pending(submitting),
                Presented::Delivered { settled, status } => Self::Delivered { settled, status },
                Presented::Refused { reason } => Self::Refused { reason },
                Presented::OtherRequest => Self::OtherRequest,
                Presented::Exhausted | Presented::Redeliver { .. } => Self::Exhausted,
            },
        }
    }
}

/// Wishes that may wait; a caller beyond them waits for room.
const QUEUE: usize = 4096;

//! The store of several gateways, in one Redis or Valkey, or a cluster: any number of callers, and one task for each primary
//! that talks to it.
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
mod cluster;
mod envelope;
mod exposure;
mod fence;
mod gate;
mod group;
mod journal;
mod link;
mod lists;
mod outbox;
mod promise;
mod record;
mod shards;
mod slots;
mod transaction;
mod warden;
mod whereabouts;
mod wish;

use std::{
    collections::HashMap,
    fmt,
    num::NonZeroU8,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use secrecy::SecretString;

pub(super) use self::channels::Flight;
pub use self::fence::{Member, MemberId};
use self::{
    claims::{Answer, Permit},
    envelope::Key,
    lists::List,
    shards::Shards,
    slots::{CLAIMS, slot_of},
    transaction::{Draft, Told, Transaction},
    wish::Wish,
};
use super::{
    Claim, ClaimKey, Claiming, Error, Notice, Outcome, Pending, Submitting, Ticket, backend,
    channel::Token,
    claim::{Presented, Step},
};
use crate::telemetry::metrics::Metrics;

/// How a Redis or Valkey is used.
#[derive(Clone)]
pub struct Settings {
    /// `redis://`, or `rediss://` for TLS; or `redis+sentinel://HOST,HOST…/NAME` for the primary that Sentinels name; or
    /// `redis+cluster://HOST,HOST…` for the primaries of a cluster. It may hold a password.
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

/// A handle on the tasks.
#[derive(Clone)]
pub(super) struct Redis(Arc<Shards>);

/// The claims that this process has in hand.
#[derive(Default)]
struct Holds(Mutex<HashMap<Token, Permit>>);

/// The right to move one claim on; let go of when dropped.
pub(super) struct Hold {
    permit: Permit,
    holds: Arc<Holds>,
    /// Where to let go; `None` once that was told otherwise.
    shards: Option<Weak<Shards>>,
}

impl Redis {
    /// Connects, and asks the servers whether they keep what the settings want kept.
    pub(super) async fn open(settings: Settings) -> Result<Self, Error> {
        Shards::open(settings).await.map(Self)
    }

    pub(super) async fn claim(&self, claim: Claim) -> Result<Claiming, Error> {
        let permit = Permit { key: claim.key, alias: claim.alias, token: Token::draw() };
        // Whatever comes of asking, what may be held is let go of when this is dropped.
        let holds = Arc::clone(&self.0.holds);
        let hold = Hold { permit, holds, shards: Some(Arc::downgrade(&self.0)) };
        let verb = move |draft: &mut Draft<'_>| claims::claim(draft, &claim, permit.token);
        let answer = self.0.transact(permit.keys(), verb).await?;
        let ticket = |hold: Hold| {
            hold.holds.lock().insert(hold.permit.token, hold.permit);
            Ticket::new(backend::Hold::Redis(hold))
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

    pub(super) async fn step(
        &self,
        hold: &Hold,
        step: Step,
        told: Vec<Notice>,
    ) -> Result<(), Error> {
        let permit = hold.permit;
        let verb = move |draft: &mut Draft<'_>| {
            claims::step(draft, permit, &step)?;
            draft.tell(&told);
            Ok(())
        };
        self.0.transact(permit.keys(), verb).await
    }

    /// A last step. Should nobody know whether it was carried out, the hold is let go of all the same.
    pub(super) async fn end(&self, hold: Hold, step: Step, told: Vec<Notice>) -> Result<(), Error> {
        let ended = self.step(&hold, step, told).await;
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
        told: Vec<Notice>,
    ) -> Result<bool, Error> {
        let verb = move |draft: &mut Draft<'_>| {
            let resolved = claims::resolve(draft, key, &submitting, &outcome)?;
            if resolved {
                draft.tell(&told);
            }
            Ok(resolved)
        };
        self.0.transact(vec![Key::Claim(key)], verb).await
    }

    pub(super) async fn pending(&self, after: Option<ClaimKey>) -> Result<Vec<Pending>, Error> {
        let wish = |reply| Wish::List(List::Pending { after, reply });
        self.0.ask(slot_of(CLAIMS), wish).await
    }

    pub(super) async fn secret(&self, name: &'static str) -> Result<[u8; 32], Error> {
        let mut drawn = [0; 32];
        let (halves, _) = drawn.as_chunks_mut();
        halves.iter_mut().for_each(|half| *half = Token::draw().0);
        let verb = move |draft: &mut Draft<'_>| claims::secret(draft, name, drawn);
        self.0.transact(vec![Key::Secret(name)], verb).await
    }

    pub(super) fn expose(&self, metrics: &Metrics) {
        self.0.expose(metrics);
    }

    /// The gateways that share the store, where replicas may take over.
    pub(super) async fn members(&self) -> Result<Vec<Member>, Error> {
        warden::members(&self.0).await
    }

    /// Waits for a member no more. Whether it was one.
    pub(super) async fn dismiss(&self, id: MemberId) -> Result<bool, Error> {
        let verb = move |draft: &mut Draft<'_>| warden::leave(draft, id);
        self.0.transact(vec![Key::Fence], verb).await
    }

    pub(super) async fn close(&self) -> Result<(), Error> {
        self.0.close().await
    }

    pub(super) fn is_running(&self) -> bool {
        self.0.is_running()
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
        self.shards = None;
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let permit = self.permit;
        self.holds.lock().remove(&permit.token);
        if let Some(shards) = self.shards.take().and_then(|shards| shards.upgrade()) {
            shards.tell(slot_of(CLAIMS), ending(permit));
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

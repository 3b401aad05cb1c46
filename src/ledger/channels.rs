//! The gateway's view of payment channels on the ledger: read once, vetted, remembered, and watched.
//!
//! Any channel may be asked for: one that nobody knows is read from the ledger, within bounds for whoever asks, and one
//! that is fit is watched while it is in use. It is not known here whom a route pays, in which token or how much, nor what
//! was committed; commitments are checked against a [`View`] without asking the ledger.
//! Source: mpp.md, "Checks a gateway must add", "Direct state read", "TTL".
//!
//! A view is at most [`Settings::max_state_age`] old, or it is none. So what a payer does on the ledger, such as to begin
//! a close, is known here within a ledger or two, and after that long at the latest.

mod desk;
mod ledgers;
mod memory;
mod reader;
mod rounds;
mod strangers;
mod view;

use std::{
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{sync::broadcast, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::view::{Unfit, View};
use self::{
    desk::{Answer, Desk, Want},
    memory::{Memory, Recalled},
    reader::Reader,
    strangers::Strangers,
    view::Judged,
};
use super::{facilitator::NotReady, health::Watch, rpc::Rpc};
use crate::{protocol::stellar::ContractId, telemetry::Clock};

/// Looks at channels. Clones share what was seen.
#[derive(Clone, Debug)]
pub struct Channels(Arc<Shared>);

/// Which channels are taken, and how old what is known of them may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The hashes of trusted code.
    pub code: Vec<[u8; 32]>,
    /// How many ledgers at least a payer waits for its money after it began to close a channel.
    pub min_refund_waiting_ledgers: u32,
    /// How old the ledger may be that a channel was seen as of. A ledger comes every five seconds or so: several of them.
    pub max_state_age: Duration,
}

#[derive(Debug)]
struct Shared {
    memory: Memory,
    reader: Reader,
    desk: Desk,
    strangers: Mutex<Strangers>,
    health: Watch,
}

/// Why there is no view of a channel.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LookError {
    /// The channel is not one to be paid by: its payer's doing.
    #[error(transparent)]
    Unfit(Unfit),
    /// Too many channels that nobody knows were asked for, by this client or by all.
    #[error("too many unknown channels were asked for: try again in {} ms", retry_after.as_millis())]
    TooMany {
        /// When to ask again.
        retry_after: Duration,
    },
    /// The ledger cannot be asked, or what it tells is too old.
    #[error("{0}")]
    Failed(String),
}

impl Channels {
    /// Starts watching by `rpc`, on `tasks`, until `stop`; it looks after the RPC in the background too.
    #[must_use]
    pub fn start(
        settings: Settings,
        rpc: Rpc,
        clock: Clock,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let health = Watch::start("channel", rpc.clone(), clock, tasks, stop.clone());
        let (desk, queues) = Desk::new();
        let shared = Arc::new(Shared {
            memory: Memory::new(settings.max_state_age, Instant::now()),
            reader: Reader::new(rpc, settings),
            desk,
            strangers: Mutex::default(),
            health,
        });
        tasks.spawn(desk::serve(shared.clone(), queues, tasks.clone(), stop.clone()));
        tasks.spawn(rounds::watch(shared.clone(), stop));
        Self(shared)
    }

    /// A channel that is fit to be paid by: from memory, if it was seen lately, and from the ledger if not. `asker` is the
    /// client on whose behalf, whose share of look-ups an unknown channel takes from; without one only the shares of all
    /// bound it.
    ///
    /// # Errors
    /// [`LookError`]. That a channel is unfit is remembered for some seconds.
    pub async fn look(
        &self,
        channel: ContractId,
        asker: Option<IpAddr>,
    ) -> Result<Arc<View>, LookError> {
        let now = Instant::now();
        match self.0.memory.recall(channel, now) {
            Recalled::Fresh(answer) => answer.map_err(LookError::Unfit),
            Recalled::Stale => self.0.ask_known(channel, Want::Any, || Err(unseen())).await,
            Recalled::Unknown => self.0.ask_strange(channel, asker).await,
        }
    }

    /// The last that was seen of a channel, however long ago, and fit or not.
    #[must_use]
    pub fn seen(&self, channel: ContractId) -> Option<Arc<View>> {
        self.0.memory.seen(channel)
    }

    /// As [`Self::look`], but from the ledger as it is now: the payer may have paid more in. Once a second for one channel;
    /// asked for more often it tells what it saw then.
    ///
    /// # Errors
    /// [`LookError`].
    pub async fn refresh(
        &self,
        channel: ContractId,
        asker: Option<IpAddr>,
    ) -> Result<Arc<View>, LookError> {
        match self.0.memory.recall(channel, Instant::now()) {
            Recalled::Fresh(answer @ Err(Unfit::Closing { .. })) => {
                answer.map_err(LookError::Unfit)
            }
            Recalled::Fresh(answer) => {
                let as_before = || answer.map_err(LookError::Unfit);
                self.0.ask_known(channel, Want::New, as_before).await
            }
            Recalled::Stale => self.0.ask_known(channel, Want::New, || Err(unseen())).await,
            Recalled::Unknown => self.0.ask_strange(channel, asker).await,
        }
    }

    /// Keeps a channel watched whether anybody asks for it or not, until [`Self::forget`]: it has money to collect.
    pub fn keep_watching(&self, channel: ContractId) {
        self.0.memory.keep(channel);
    }

    /// Watches a channel only while somebody asks for it, from now on.
    pub fn let_go(&self, channel: ContractId) {
        self.0.memory.let_go(channel);
    }

    /// Forgets a channel. Who asks for it again has it read anew.
    pub fn forget(&self, channel: ContractId) {
        self.0.memory.forget(channel);
    }

    /// Tells from now on of each known channel that began to close, was paid out of, lost money, needs its entries
    /// extended, or is fit no more or again. Who falls behind ([`broadcast::error::RecvError::Lagged`]) has to look at all
    /// that it keeps watched by [`Self::seen`].
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<ContractId> {
        self.0.memory.changes()
    }

    /// Whether channels can be looked up now.
    ///
    /// # Errors
    /// [`NotReady`], a sentence for the operator.
    pub fn supported(&self) -> Result<(), NotReady> {
        self.0.health.trouble().map_or(Ok(()), |trouble| Err(NotReady(trouble)))
    }
}

impl Shared {
    /// Reads a channel that is known, or kept watched. Not all the time: `else_` is the answer if it was just read.
    async fn ask_known(
        &self,
        channel: ContractId,
        want: Want,
        else_: impl FnOnce() -> Answer,
    ) -> Answer {
        // What is not asked for now does not keep others from asking within the second.
        let health = self.check_health();
        let may = health.is_err() || self.memory.may_seek(channel, Instant::now());
        // What was asked for within the second is as good as new.
        let want = if may { want } else { Want::Any };
        let admit = || if may { health.map_err(Err) } else { Err(else_()) };
        self.desk.ask(channel, want, true, admit).await
    }

    /// Reads a channel that is not known, if it was not found unfit a moment ago and its asker may have it read.
    async fn ask_strange(&self, channel: ContractId, asker: Option<IpAddr>) -> Answer {
        let now = Instant::now();
        if let Some(unfit) = self.strangers().unfit(channel, now) {
            return Err(LookError::Unfit(unfit));
        }
        let admit = || {
            self.check_health().map_err(Err)?;
            let admitted = asker.map_or(Ok(()), |asker| self.strangers().admit(asker, now));
            admitted.map_err(|retry_after| Err(LookError::TooMany { retry_after }))
        };
        self.desk.ask(channel, Want::Any, false, admit).await
    }

    /// Takes in what the ledger says of a channel that was asked for.
    fn take(&self, channel: ContractId, judged: Judged, asked: Instant) -> Answer {
        self.hear_health();
        match self.memory.take(channel, judged, asked) {
            Ok(Ok(view)) => Ok(view),
            Ok(Err(unfit)) => {
                self.strangers().refuse(channel, unfit, Instant::now());
                Err(LookError::Unfit(unfit))
            }
            Err(too_old) => Err(LookError::Failed(too_old.to_string())),
        }
    }

    /// Hears of the ledger that the look-out for the RPC knows: it looks when no channel is in use, too.
    fn hear_health(&self) {
        if let Some((ledger, since)) = self.health.latest() {
            self.memory.hear(ledger, since);
        }
    }

    /// Nobody waits for an RPC that is known not to answer.
    fn check_health(&self) -> Result<(), LookError> {
        self.health.trouble().map_or(Ok(()), |trouble| Err(LookError::Failed(trouble)))
    }

    fn strangers(&self) -> std::sync::MutexGuard<'_, Strangers> {
        self.strangers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unseen() -> LookError {
    LookError::Failed("the Stellar RPC has told nothing new of the channel for too long".to_owned())
}

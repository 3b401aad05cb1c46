//! Collects the money of payment channels on the ledger, on its own.
//!
//! It settles what has become much, or old, or is about to be taken back; closes what is idle or asked to be closed; keeps
//! entries of the ledger from lapsing; and finds out what became of every transaction that it lost sight of, its own and
//! those of gateways that are gone. What it does about a channel follows from its account and the view of it (`plan`);
//! it has no memory of its own but of when to look again. The hash of a transaction is durable before it is sent, so none is
//! sent twice. Knows no requests and no prices.

mod collect;
mod figures;
mod overview;
mod plan;
mod scan;
mod told;
mod worker;

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::warn;

pub use self::overview::{Deadline, Exposure, Owed, Standing, Standings};
use self::{
    figures::Figures,
    plan::{Facts, Plan},
    worker::{Wish, Worker},
};
use crate::{
    ledger::{
        channels::{Channels, LookError},
        collector::{self, Collector, Way},
        facilitator::Failure,
    },
    protocol::{
        money::Amount,
        stellar::{Address, ContractId, TxHash},
    },
    store::{
        self, Store,
        channel::{Account, Phase, Summary},
    },
    telemetry::{Clock, metrics::Metrics},
};

/// Collects what is delivered. Clones share it.
#[derive(Clone, Debug)]
pub struct Closer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    channels: Channels,
    collector: Collector,
    clock: Clock,
    settings: Mutex<Settings>,
    wishes: mpsc::Sender<Wish>,
    nudged: Mutex<HashSet<ContractId>>,
    urged: Mutex<HashSet<ContractId>>,
    /// Whether all accounts are to be looked at anew.
    rescan: AtomicBool,
    wake: Notify,
    exposure: Mutex<Exposure>,
    untold: Mutex<told::Untold>,
    figures: Figures,
}

/// When money is collected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// A channel is settled once so much of it is delivered and not withdrawn.
    pub at_claimable: Amount,
    /// The most that a channel may owe: it is settled then, whatever `at_claimable` says.
    pub max_unsettled: Amount,
    /// It is settled once something of it has been unsettled for so long.
    pub unsettled_for: Duration,
    /// Less than this is not worth what a transaction costs: it is left where it is until it has become more, or somebody
    /// asks for it.
    pub min_value: Amount,
    /// A channel that nobody used for so long is closed, if it has brought as much as `min_value`.
    pub idle_for: Duration,
    /// What can be taken back so soon is tried again sooner when it could not be collected.
    pub before_refund: Duration,
}

/// What was collected from a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Collected {
    /// The transaction that did it, where it was ours.
    pub transaction: Option<TxHash>,
    /// All that was withdrawn from the channel so far.
    pub withdrawn: Amount,
    /// Whether the channel is closed.
    pub closed: bool,
}

/// Why a channel was not settled or closed now.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CloseError {
    /// Nothing was ever paid from it here.
    #[error("no commitment of the channel {0} is held")]
    Unknown(ContractId),
    /// All that was delivered is withdrawn.
    #[error("nothing was delivered that is not withdrawn already")]
    Nothing,
    /// It has ended.
    #[error("the channel is closed")]
    Closed,
    /// Its account was not rolled back.
    #[error("the account of the channel is not behind what was withdrawn from it")]
    NotBehind,
    /// The ledger does not show it.
    #[error("the channel cannot be looked at")]
    Unseen(#[from] LookError),
    /// Its payee is somebody else.
    #[error("the channel pays {payee}, and the key of `signer` is of {ours}")]
    OtherPayee {
        /// Who is paid by it.
        payee: Address,
        /// Whose key we have.
        ours: Address,
    },
    /// The ledger, its fees, or our funds do not allow it.
    #[error(transparent)]
    Refused(#[from] collector::Error),
    /// A transaction of ours was applied and failed.
    #[error("the transaction {0} was applied, and failed")]
    Failed(TxHash),
    /// The outcome is not known yet; it is looked for.
    #[error("what became of it is not known yet ({}): it is looked for", .0.detail)]
    Pending(Failure),
    /// The accounts cannot be read or written.
    #[error("the store failed")]
    Store(#[from] store::Error),
    /// The gateway is shutting down.
    #[error("the gateway is shutting down: the next one goes on with it")]
    Stopping,
}

impl Closer {
    /// Starts collecting, on `tasks`, until `stop`. What was under way when the last gateway ended is resolved first.
    #[must_use]
    pub fn start(
        settings: Settings,
        store: Store,
        channels: Channels,
        collector: Collector,
        clock: Clock,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let (wishes, asked) = mpsc::channel(MOST_WISHES);
        let changes = channels.changes();
        let inner = Arc::new(Inner {
            store,
            channels,
            collector,
            clock,
            settings: Mutex::new(settings),
            wishes,
            nudged: Mutex::default(),
            urged: Mutex::default(),
            rescan: AtomicBool::new(false),
            wake: Notify::new(),
            exposure: Mutex::default(),
            untold: Mutex::default(),
            figures: Figures::default(),
        });
        let closer = Self(inner.clone());
        let worker = Worker::new(inner, asked, changes, tasks.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = worker.run() => {}
            }
        });
        closer
    }

    /// Goes by other settings from now on.
    pub fn reconfigure(&self, settings: Settings) {
        *lock(&self.0.settings) = settings;
        self.0.rescan.store(true, Ordering::Relaxed);
        self.0.wake.notify_one();
    }

    /// Says that something was delivered through `channel`, or given back: it is looked at soon. Waits for nothing.
    pub fn nudge(&self, channel: ContractId) {
        let mut nudged = lock(&self.0.nudged);
        let is_first = nudged.is_empty();
        nudged.insert(channel);
        drop(nudged);
        if is_first {
            self.0.wake.notify_one();
        }
    }

    /// Has `channel` settled soon, however little it owes: it may not owe more. Waits for nothing.
    pub fn urge(&self, channel: ContractId) {
        lock(&self.0.urged).insert(channel);
        self.0.wake.notify_one();
    }

    /// Settles `channel` now, and waits for the outcome.
    ///
    /// # Errors
    /// [`CloseError`]; [`CloseError::Nothing`] if there is nothing to settle.
    ///
    /// # Cancellation
    /// The settlement goes on.
    pub async fn settle(&self, channel: ContractId) -> Result<Collected, CloseError> {
        let account = self.account(channel).await?;
        if let Phase::Closed { .. } = account.phase() {
            return Err(CloseError::Closed);
        }
        self.check_payee(channel)?;
        self.wish(channel, Way::Settle).await
    }

    /// Closes `channel` and waits for the outcome: from now on it takes no commitments, and once nothing of it is in
    /// flight it is closed with the smallest commitment that covers what was delivered. One that is closed already answers
    /// what closed it.
    ///
    /// Nothing of the channel changes if it could not be closed now for a reason of ours: no fees, no key, no ledger. Do
    /// not hold a reservation of the channel meanwhile.
    ///
    /// # Errors
    /// [`CloseError`]; [`CloseError::Nothing`] if no commitment is held that would not charge the payer for what it did
    /// not get: then its payer can close it.
    ///
    /// # Cancellation
    /// The close goes on.
    pub async fn close(&self, channel: ContractId) -> Result<Collected, CloseError> {
        let account = self.account(channel).await?;
        if let Some(collected) = closed(&account.summary()) {
            return Ok(collected);
        }
        self.check_payee(channel)?;
        if account.phase() == Phase::Open && account.collection().is_none() {
            // What is in flight may yet be delivered, and covered by another commitment: that one is of the same channel.
            let in_flight = || plan::highest(&account).filter(|_| !account.in_flight().is_zero());
            let commitment = account.closes_with().or_else(in_flight);
            let commitment = commitment.ok_or(CloseError::Nothing)?;
            self.0.collector.check(channel, Way::Close, &commitment.into()).await?;
        }
        self.0.store.begin_closing(channel).await?;
        self.wish(channel, Way::Close).await
    }

    /// Goes on with a channel whose account was rolled back: what the ledger says was withdrawn counts as authorised and
    /// spent. Returns what now counts so. What was delivered beyond that is lost, so this is for an operator to say.
    ///
    /// # Errors
    /// [`CloseError::NotBehind`] if the account is not behind the ledger, [`CloseError::Unseen`], or that of the store.
    pub async fn adopt(&self, channel: ContractId) -> Result<Amount, CloseError> {
        let view = self.0.channels.refresh(channel, None).await?;
        self.check_payee(channel)?;
        if !self.0.store.adopt(channel, view.withdrawn).await? {
            return Err(CloseError::NotBehind);
        }
        let authorised = self.account(channel).await?.standing().authorised;
        warn!(
            %channel, withdrawn = %view.withdrawn, %authorised,
            "an operator has a channel's account go on from what the ledger shows; what was delivered beyond that is lost"
        );
        self.nudge(channel);
        Ok(authorised)
    }

    /// What is at risk now, as of the last look at all channels.
    #[must_use]
    pub fn exposure(&self) -> Exposure {
        lock(&self.0.exposure).clone()
    }

    /// Has `metrics` tell what channels owe, and what collecting costs.
    pub fn expose(&self, metrics: &Metrics) {
        self.0.figures.expose(metrics);
        self.0.collector.expose(metrics);
    }

    async fn account(&self, channel: ContractId) -> Result<Account, CloseError> {
        self.0.store.account(channel).await?.ok_or(CloseError::Unknown(channel))
    }

    fn check_payee(&self, channel: ContractId) -> Result<(), CloseError> {
        let ours = Address::Account(self.0.collector.payee());
        match self.0.channels.seen(channel) {
            Some(view) if view.payee != ours => {
                Err(CloseError::OtherPayee { payee: view.payee, ours })
            }
            _ => Ok(()),
        }
    }

    async fn wish(&self, channel: ContractId, way: Way) -> Result<Collected, CloseError> {
        let (answer, outcome) = oneshot::channel();
        let wish = Wish { channel, way, answer };
        self.0.wishes.send(wish).await.map_err(|_| CloseError::Stopping)?;
        outcome.await.unwrap_or(Err(CloseError::Stopping))
    }
}

impl Inner {
    fn settings(&self) -> Settings {
        *lock(&self.settings)
    }

    /// What is to be done about `channel` as far as is known now.
    fn plan(
        &self,
        channel: ContractId,
        account: &Summary,
        asked: Option<Way>,
        urged: bool,
    ) -> Plan {
        let view = self.channels.seen(channel);
        plan::plan(&Facts {
            account,
            view: view.as_deref(),
            settings: &self.settings(),
            now: self.clock.now(),
            asked,
            urged,
        })
    }
}

/// What is known of the end of `account`, if it has ended.
const fn closed(account: &Summary) -> Option<Collected> {
    match account.phase() {
        Phase::Closed { transaction } => {
            Some(Collected { transaction, withdrawn: account.withdrawn(), closed: true })
        }
        Phase::Open | Phase::Closing => None,
    }
}

fn lock<T>(slot: &Mutex<T>) -> MutexGuard<'_, T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Wishes that may wait: they come from operators and from clients that close.
const MOST_WISHES: usize = 256;

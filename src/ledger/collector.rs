//! Takes the money of payment channels out of them, by transactions of the payee's own account.
//!
//! The contract lets nobody but the payee collect, so its key signs. Its account sends one transaction a ledger, and pays the
//! fee; others at the same time are sent and paid for by the lanes of a sponsor, if there is one, with the payee's leave. Fees
//! are within a ceiling for each transaction and a budget for all. Collecting is two steps, so that the caller can make the transaction's hash
//! durable in between: [`Collector::prepare`] signs and sends nothing, [`Collector::send`] sends. Knows no account of
//! what was delivered, and not which channels are worth their fee.
//! Source: the one-way channel contract's `settle` and `close`.

mod build;
mod figures;
mod turn;
mod upkeep;

use std::{sync::Arc, time::Duration};

use rand_core::{OsRng, RngCore as _};
use stellar_xdr as xdr;
use tokio::sync::Mutex;

use self::{
    build::{Draft, Leave, Sender},
    figures::Figures,
    turn::Turn,
};
use super::{
    Budget,
    budget::{Exceeded, Reservation, Spending},
    classic,
    facilitator::{Failure, Sent},
    own::{self, first_line, lumens},
    post::{self, Fate, Sending},
    rpc::{self, AuthMode, Lookup, Rpc, Simulated, Simulation},
    signer::Seed,
    sponsor::HeldLane,
};
use crate::{
    protocol::{
        channel,
        commitment::Commitment,
        stellar::{AccountId, Address, ContractId, Network, TxHash},
    },
    telemetry::Clock,
};

/// Collects with the key of one payee. Clones share it.
#[derive(Clone, Debug)]
pub struct Collector(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    rpc: Rpc,
    clock: Clock,
    spending: Spending,
    /// Whoever holds it may use the payee's next sequence number.
    turn: Arc<Mutex<()>>,
    sponsor: Option<own::Facilitator>,
    figures: Figures,
}

/// What a collector works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The payee's key.
    pub signer: Seed,
    /// The most that one transaction may cost, in stroops, all fees included.
    pub max_fee_stroops: u32,
    /// The most that transactions may cost in a while; `per_payer` is of one channel, and what paid us does not count.
    pub budget: Budget,
}

/// How money is taken out of a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Way {
    /// The channel goes on.
    Settle,
    /// The channel ends, and its payer gets back the rest.
    Close,
}

/// What a transaction of ours is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// It collects.
    Collect(Way),
    /// It extends entries.
    Extend,
}

impl From<Way> for Purpose {
    fn from(way: Way) -> Self {
        Self::Collect(way)
    }
}

/// A signed transaction that nobody has yet. Nobody else sends by the same account before this is sent or dropped.
#[derive(Debug)]
pub struct Prepared {
    transaction: TxHash,
    sent: Sent,
    envelope: xdr::TransactionEnvelope,
    reservation: Reservation,
    purpose: Purpose,
    turn: Turn,
}

impl Prepared {
    /// The transaction's hash.
    #[must_use]
    pub const fn transaction(&self) -> TxHash {
        self.transaction
    }

    /// The time, in Unix seconds, after which it cannot land any more.
    #[must_use]
    pub const fn valid_until(&self) -> u64 {
        self.sent.valid_until
    }

    /// The latest closed ledger when it was made; it lands after this one or not at all.
    #[must_use]
    pub const fn since_ledger(&self) -> u32 {
        self.sent.since
    }
}

/// What became of a transaction that was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it says.
    Landed,
    /// It was applied and did nothing; its fee is spent.
    Failed,
    /// It has not landed, and never will. Another one may.
    Gone(Failure),
    /// It may still land, or have landed: [`Collector::find`] tells later.
    Unknown(Failure),
}

/// What is known of a transaction that somebody lost sight of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// It did what it says.
    Landed,
    /// It was applied and did nothing.
    Failed,
    /// It has not landed, and never will.
    Gone,
    /// It cannot land any more, and the RPC's history does not reach back to when it could. What its channel holds as of
    /// this ledger, or a later one, tells whether it did.
    Over {
        /// A ledger that closed after its time.
        ledger: u32,
    },
}

/// Why nothing was prepared or sent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// It would fail on the ledger as it is now.
    #[error("the ledger would refuse it: {0}")]
    WouldFail(String),
    /// The payee has no account.
    #[error("the payee {0} has no account on the ledger: send it XLM for fees")]
    NoAccount(AccountId),
    /// The payee's lumens do not reach.
    #[error(
        "the payee {payee} has {} XLM to spend, and the fee is up to {}: send it XLM",
        lumens(*.spendable),
        lumens((*.needed).into())
    )]
    NoFunds {
        /// Whose.
        payee: AccountId,
        /// What it has above its reserve, in stroops.
        spendable: i64,
        /// What the transaction may cost, in stroops.
        needed: u32,
    },
    /// The payee's own key is not enough to sign for it.
    #[error("the payee {0} has several signers, and its own key is not enough: give it the weight")]
    Shared(AccountId),
    /// The fee passes the ceiling.
    #[error("it costs {} XLM in fees, and at most {} may be spent: raise the limit", lumens((*.needed).into()), lumens((*.most).into()))]
    TooDear {
        /// What it would cost, in stroops.
        needed: u32,
        /// The ceiling, in stroops.
        most: u32,
    },
    /// The fee budget is spent for now.
    #[error("the fee budget for collecting is spent: raise it, or wait")]
    OverBudget,
    /// The ledger cannot be asked.
    #[error("{}", .0.detail)]
    Unavailable(Failure),
}

impl Collector {
    /// Collects over `rpc` for the payee of `settings`, by lanes of `sponsor` too. Sends nothing by itself.
    #[must_use]
    pub fn new(
        settings: Settings,
        rpc: Rpc,
        clock: Clock,
        sponsor: Option<own::Facilitator>,
    ) -> Self {
        let spending = Spending::new(settings.budget);
        let turn = Arc::new(Mutex::new(()));
        let figures = Figures::default();
        Self(Arc::new(Inner { settings, rpc, clock, spending, turn, sponsor, figures }))
    }

    /// Whose channels it can collect from.
    #[must_use]
    pub fn payee(&self) -> AccountId {
        self.0.settings.signer.account()
    }

    /// The network that it collects on.
    #[must_use]
    pub fn network(&self) -> Network {
        self.0.rpc.network()
    }

    /// Checks that `commitment` could be collected from `channel` now: by the ledger, by the payee's funds, and by what
    /// may be spent on fees. Signs and sends nothing.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn check(
        &self,
        channel: ContractId,
        way: Way,
        commitment: &Commitment,
    ) -> Result<(), Error> {
        let draft = self.draft(&collect(channel, way, commitment), None).await?;
        let (channel, fee) = (Address::Contract(channel), draft.fee);
        let now = self.0.clock.now();
        self.0.spending.check(channel, fee.into(), now).map_err(|_: Exceeded| Error::OverBudget)
    }

    /// Whether more than half of what may be spent on fees is left: what can wait waits else.
    #[must_use]
    pub fn has_leeway(&self) -> bool {
        self.0.spending.has_leeway(self.0.clock.now())
    }

    /// Readies the transaction that collects `commitment` from `channel`. Waits for its turn: for a lane, or until the one
    /// before was sent and its fate is known, or cannot be known yet.
    ///
    /// Make the hash durable before [`Collector::send`]; dropping the result gives the transaction up.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn prepare(
        &self,
        channel: ContractId,
        way: Way,
        commitment: &Commitment,
    ) -> Result<Prepared, Error> {
        let turn = self.turn().await;
        let draft = self.draft(&collect(channel, way, commitment), turn.lane()).await?;
        self.ready(channel, way.into(), draft, turn)
    }

    /// Sends a prepared transaction and waits for its outcome.
    ///
    /// # Cancellation
    /// Once it was polled the transaction may have been sent: a dropped call is [`Outcome::Unknown`].
    pub async fn send(&self, prepared: Prepared) -> Outcome {
        let purpose = prepared.purpose;
        self.0.figures.sending(purpose);
        let outcome = self.send_and_follow(prepared).await;
        self.0.figures.sent(purpose, &outcome);
        outcome
    }

    async fn send_and_follow(&self, prepared: Prepared) -> Outcome {
        let Prepared { transaction, sent, envelope, mut reservation, mut turn, .. } = prepared;
        let Inner { rpc, clock, figures, .. } = &*self.0;
        turn.sending(sent.valid_until);
        reservation.spend();
        match post::send(rpc, clock, &envelope, sent.valid_until).await {
            Sending::Out | Sending::Known => {}
            Sending::In(failure) => {
                turn.unsent();
                reservation.release();
                return Outcome::Gone(failure);
            }
            // Not in the queue, and nowhere else: another transaction of the payee's was first, or its funds are gone.
            Sending::Refused(code) => {
                turn.out_of_step();
                reservation.release();
                let detail = format!("the network refused our transaction with {}", code.name());
                return Outcome::Gone(Failure::unavailable(detail));
            }
        }
        match post::follow(rpc, clock, &envelope, transaction, &sent, PATIENCE_SECONDS).await {
            Fate::Applied(applied) => {
                turn.landed();
                let charged = u64::try_from(applied.fee_charged).unwrap_or_default();
                figures.charged(charged);
                if applied.success {
                    reservation.paid(charged);
                    Outcome::Landed
                } else {
                    reservation.lost(charged);
                    Outcome::Failed
                }
            }
            Fate::Gone => {
                turn.out_of_step();
                reservation.release();
                Outcome::Gone(Failure::unavailable("the transaction never got into a ledger"))
            }
            Fate::Unknown(failure) => Outcome::Unknown(failure),
        }
    }

    /// Finds out what became of a transaction that was sent, or about to be, when somebody lost sight of it.
    ///
    /// # Errors
    /// What kept the RPC from telling, or that it may still land.
    pub async fn find(
        &self,
        transaction: TxHash,
        valid_until: u64,
        since_ledger: u32,
    ) -> Result<Found, Failure> {
        match self.0.rpc.transaction(transaction).await? {
            Lookup::Applied(applied) if applied.success => Ok(Found::Landed),
            Lookup::Applied(_) => Ok(Found::Failed),
            Lookup::NotFound { latest, .. }
                if latest.closed_at.is_none_or(|closed| closed <= valid_until) =>
            {
                Err(Failure::unavailable("the transaction has not landed yet"))
            }
            Lookup::NotFound { oldest, .. } if oldest <= since_ledger => Ok(Found::Gone),
            Lookup::NotFound { latest, .. } => Ok(Found::Over { ledger: latest.sequence }),
        }
    }

    /// Simulates `work` as the next transaction of the payee, or of `lane`, and reckons what it costs.
    async fn draft(&self, work: &build::Work, lane: Option<&HeldLane>) -> Result<Draft, Error> {
        let Inner { settings, rpc, clock, .. } = &*self.0;
        let payee = self.payee();
        let accounts = [payee];
        let (account, latest, bid) =
            tokio::join!(rpc.accounts(&accounts), rpc.latest_ledger(), rpc.inclusion_fee());
        let account = account?.into_iter().next().ok_or(Error::NoAccount(payee))?;
        let latest = latest?;
        // Its bounds are judged by the ledger's time; ours where the server does not tell.
        let now = latest.closed_at.unwrap_or_else(|| clock.now());
        let valid_until = now.saturating_add(LIFE_SECONDS);
        let sender = match lane {
            None => Sender {
                account: payee,
                sequence: account.seq_num.0.saturating_add(1),
                valid_until,
                leave: None,
            },
            Some(lane) => Sender {
                account: lane.keys().seed.account(),
                sequence: lane.next_sequence(),
                valid_until,
                leave: Some(Leave {
                    payee: &settings.signer,
                    network: rpc.network(),
                    nonce: i64::from_ne_bytes(OsRng.next_u64().to_ne_bytes()),
                    expiration_ledger: latest.sequence.saturating_add(LEAVE_LEDGERS),
                }),
            },
        };
        let mut transaction = work.transaction(&sender);
        let mode = work.auth_mode();
        let simulated = simulate(rpc, transaction.clone(), mode).await?;
        // A server without fee statistics is no reason to leave the money where it is.
        let bid = bid.unwrap_or(build::LEAST_BID);
        let (resources, most) = (simulated.min_resource_fee, settings.max_fee_stroops);
        let (declared, fee) = match lane {
            None => build::fee(resources, bid, most).map(|fee| (fee, fee))?,
            Some(_) => build::fees(resources, bid, most)?,
        };
        let spendable = classic::spendable_stroops(&account);
        self.0.figures.spendable(spendable);
        if lane.is_none() && spendable < i64::from(fee) {
            return Err(Error::NoFunds { payee, spendable, needed: fee });
        }
        // Master key, low, medium, high: a contract call is of the medium kind.
        let [master, _, medium, _] = account.thresholds.0;
        if master < medium {
            return Err(Error::Shared(payee));
        }
        transaction.fee = declared;
        let resource_fee = simulated.min_resource_fee.into();
        transaction.ext =
            xdr::TransactionExt::V1(xdr::SorobanTransactionData { resource_fee, ..simulated.data });
        // What is older: the transaction can land in no ledger before either.
        let since = latest.sequence.min(simulated.ledger);
        Ok(Draft { transaction, valid_until, since, fee })
    }

    /// Sets the fee aside, and signs.
    fn ready(
        &self,
        channel: ContractId,
        purpose: Purpose,
        draft: Draft,
        turn: Turn,
    ) -> Result<Prepared, Error> {
        let Inner { settings, rpc, clock, spending, .. } = &*self.0;
        let payer = Address::Contract(channel);
        let Draft { transaction, valid_until, since, fee } = draft;
        let reservation = spending.reserve(payer, fee.into(), clock.now());
        let reservation = reservation.map_err(|_: Exceeded| Error::OverBudget)?;
        let network = rpc.network();
        let signed = match &turn {
            Turn::Payee { .. } => build::sign(transaction, &settings.signer, network),
            Turn::Lane(lane) => own::sign(transaction, fee, lane.keys(), network),
        };
        let (envelope, hash) = signed
            .ok_or_else(|| Error::WouldFail("the transaction cannot be encoded".to_owned()))?;
        let sent = Sent { transaction: Some(hash), valid_until, since };
        Ok(Prepared { transaction: hash, sent, envelope, reservation, purpose, turn })
    }
}

impl From<rpc::Error> for Error {
    fn from(error: rpc::Error) -> Self {
        Self::Unavailable(error.into())
    }
}

fn collect(channel: ContractId, way: Way, commitment: &Commitment) -> build::Work {
    build::Work::Call(match way {
        Way::Settle => channel::settle(channel, commitment),
        Way::Close => channel::close(channel, commitment),
    })
}

async fn simulate(
    rpc: &Rpc,
    transaction: xdr::Transaction,
    mode: AuthMode,
) -> Result<Simulated, Error> {
    let envelope = crate::protocol::transfer::unsigned(transaction);
    match rpc.simulate(&envelope, mode).await? {
        Simulation::Success(simulated) if !simulated.needs_restore => Ok(*simulated),
        Simulation::Success(_) => {
            Err(Error::WouldFail("archived ledger entries have to be restored first".to_owned()))
        }
        Simulation::Failure { error, .. } => Err(Error::WouldFail(first_line(&error))),
    }
}

/// The ceiling on the fee of one transaction where an operator says nothing: 2 XLM. Collecting costs a hundredth of it;
/// bringing back a channel whose entries and code are archived costs most of it.
pub const MAX_FEE_STROOPS: u32 = 20_000_000;
/// What all may cost where an operator says nothing: 20 XLM an hour, and a quarter of it for what one channel's
/// transactions cost that failed.
pub const BUDGET: Budget =
    Budget { stroops: 200_000_000, per_payer: 50_000_000, per: Duration::from_secs(3_600) };

/// How long the payee's leave counts: as long as its transaction may wait, with ledgers that come fast.
const LEAVE_LEDGERS: u32 = 60;
/// How long a transaction may wait for a ledger.
const LIFE_SECONDS: u64 = 60;
/// How long the fate of one transaction may keep the next one waiting: four ledgers. It is found out later then.
const PATIENCE_SECONDS: u64 = 20;

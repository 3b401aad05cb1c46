//! The gateway's own facilitator: checks, rebuilds, signs, sends, and watches.
//!
//! Of the client's transaction it takes the call and the authorization. Everything that costs us something is ours:
//! source, sequence, time bounds, resources from our own simulation, and a fee that never passes the ceiling. So a client
//! cannot make us pay more than the operator allowed, whatever it declares.
//! Source: x402 v2, scheme `exact` on Stellar, facilitator.

mod funds;
mod keeper;
mod settle;

use std::{
    ops::RangeInclusive,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use stellar_xdr as xdr;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::funds::lumens;
pub(super) use self::settle::sign;
use super::{
    Budget,
    budget::{Reservation, Spending},
    facilitator::{
        Failure, Invalid, NotReady, Outcome, Payment, SIMULATION_FAILED, Sent, Supported,
        VerifyError,
    },
    rpc::{AuthMode, Rpc, Simulated, Simulation},
    search,
    signer::Seed,
    sponsor::{HeldLane, Lanes},
};
use crate::{
    protocol::{
        stellar::{AccountId, Address, Network},
        transfer::{self, unsigned, unsigned_envelope},
    },
    telemetry::{
        Clock,
        metrics::{Gauge, Metrics},
        timings::Timings,
    },
};

/// Settles payments with sponsor keys of its own; one transaction a lane and ledger, side by side. Clones share it.
#[derive(Clone, Debug)]
pub struct Facilitator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    rpc: Rpc,
    clock: Clock,
    lanes: Lanes,
    spending: Spending,
    /// What we bid for inclusion at most, in stroops an operation.
    bid: AtomicU32,
    /// Why payments cannot be taken, if so.
    trouble: Mutex<Option<String>>,
    /// Whoever must not pay: sponsors, lanes, payees.
    excluded: Vec<AccountId>,
    timings: Timings,
    /// What the sponsors have, as it was seen last.
    balances: Gauge,
    /// Those of them that have little.
    low: Mutex<Vec<Low>>,
}

/// A sponsor that has little left to pay fees with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Low {
    /// Whose account.
    pub sponsor: AccountId,
    /// What it has.
    pub balance_stroops: i64,
    /// With less than this no payments are taken.
    pub needed_stroops: i64,
}

/// What the facilitator works with.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The network of all payments.
    pub network: Network,
    /// The keys that pay the network's fees; never empty.
    pub sponsors: Vec<Seed>,
    /// How many lanes each sponsor owns.
    pub lanes: u32,
    /// The most that one transaction may cost, in stroops, all fees included.
    pub max_fee_stroops: u32,
    /// The most that transactions may cost in a while.
    pub budget: Budget,
    /// Accounts that must not pay: the payees.
    pub excluded: Vec<AccountId>,
}

impl Facilitator {
    /// Starts the facilitator; it creates its lanes in the background, on `tasks`, until `stop`.
    #[must_use]
    pub fn start(
        settings: Settings,
        rpc: Rpc,
        clock: Clock,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let lanes = Lanes::new(&settings.sponsors, settings.lanes, settings.network);
        let sponsors = settings.sponsors.iter().map(Seed::account);
        let excluded =
            sponsors.chain(lanes.accounts()).chain(settings.excluded.iter().copied()).collect();
        let facilitator = Self(Arc::new(Inner {
            spending: Spending::new(settings.budget),
            settings,
            rpc,
            clock,
            lanes,
            bid: AtomicU32::new(LEAST_BID),
            trouble: Mutex::new(Some("the lanes are not looked up yet".to_owned())),
            excluded,
            timings: Timings::default(),
            balances: Gauge::default(),
            low: Mutex::default(),
        }));
        tasks.spawn(keeper::keep(facilitator.clone(), stop));
        facilitator
    }

    /// How long verifying and settling took.
    pub(super) fn timings(&self) -> &Timings {
        &self.0.timings
    }

    /// Has `metrics` tell what the accounts have that pay the network's fees.
    pub fn expose(&self, metrics: &Metrics) {
        let help = "What an account that pays fees has, as it was seen last";
        metrics.add_gauge("fee_payer_balance_stroops", help, &self.0.balances);
    }

    /// The sponsors that had less than twice what they need when they were looked at last.
    #[must_use]
    pub fn low_sponsors(&self) -> Vec<Low> {
        self.0.low.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The accounts that pay the network's fees.
    pub fn signers(&self) -> impl Iterator<Item = AccountId> + '_ {
        self.0.settings.sponsors.iter().map(Seed::account)
    }

    /// The accounts that must not pay: sponsors, lanes, payees.
    #[must_use]
    pub fn excluded(&self) -> &[AccountId] {
        &self.0.excluded
    }

    /// Whether payments can be taken now.
    ///
    /// # Errors
    /// [`NotReady`], a sentence for the operator.
    pub fn supported(&self) -> Result<Supported, NotReady> {
        match &*self.0.trouble.lock().unwrap_or_else(PoisonError::into_inner) {
            None => Ok(Supported { are_fees_sponsored: true }),
            Some(trouble) => Err(NotReady(trouble.clone())),
        }
    }

    /// Its lanes, for others that send side by side.
    pub(super) fn lanes(&self) -> &Lanes {
        &self.0.lanes
    }

    /// As [`super::facilitator::Facilitator::verify`].
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn verify(&self, payment: &Payment) -> Result<(), VerifyError> {
        // What is to come before it is settled, and settling itself.
        let life = payment.min_remaining.saturating_sub(1).saturating_add(LEAST_LIFE);
        self.check(payment, life)?;
        let operation = payment.transfer.operation();
        let envelope = unsigned_envelope(operation, None, LEAST_BID, 0);
        let simulated = self.simulate(payment, &envelope, life).await?;
        let fee = self.fee_of(payment, &simulated)?;
        // Asked before anything is forwarded: a payer beyond its budget must not make the upstream work for nothing.
        let (payer, now) = (payment.transfer.payer(), self.0.clock.now());
        let within = self.0.spending.check(payer, fee.outer.into(), now);
        within.map_err(|exceeded| unavailable(&exceeded))
    }

    /// As [`super::facilitator::Facilitator::prepare`].
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn prepare(&self, payment: &Payment) -> Result<Prepared, VerifyError> {
        self.check(payment, LEAST_LIFE)?;
        let lane = self.0.lanes.acquire(PATIENCE).await.map_err(|busy| unavailable(&busy))?;
        let now = self.0.clock.now();
        // Once more: waiting for a lane took its time.
        let in_time = payment.transfer.check_time(now, LEAST_LIFE);
        in_time.map_err(|error| invalid(payment, error))?;
        let valid_until = valid_until(payment, now);
        let mut inner = rebuilt(payment, &lane, valid_until);
        let simulated = self.simulate(payment, &unsigned(inner.clone()), LEAST_LIFE).await?;
        let fee = self.fee_of(payment, &simulated)?;
        let payer = payment.transfer.payer();
        let reservation = self
            .0
            .spending
            .reserve(payer, fee.outer.into(), now)
            .map_err(|exceeded| unavailable(&exceeded))?;
        inner.fee = fee.inner;
        let resource_fee = simulated.min_resource_fee.into();
        inner.ext =
            xdr::TransactionExt::V1(xdr::SorobanTransactionData { resource_fee, ..simulated.data });
        let (envelope, transaction) =
            settle::sign(inner, fee.outer, lane.keys(), self.0.rpc.network()).ok_or_else(|| {
                VerifyError::Failed(Failure::unavailable("the transaction cannot be encoded"))
            })?;
        let sent = Sent { transaction: Some(transaction), valid_until, since: simulated.ledger };
        Ok(Prepared { sent, transaction, envelope, lane, reservation })
    }

    /// As [`super::facilitator::Facilitator::submit`].
    pub async fn submit(&self, payment: &Payment, prepared: Prepared) -> Outcome {
        settle::submit(&self.0, payment, prepared).await
    }

    /// As [`super::facilitator::Facilitator::resolve`].
    pub async fn resolve(&self, payment: &Payment, sent: &Sent) -> Outcome {
        search::resolve(&self.0.rpc, &payment.into(), sent).await
    }

    /// As [`Facilitator::verify`], of what never changes: network, parties, amount, and who signed.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`].
    pub fn check_terms(&self, payment: &Payment) -> Result<(), VerifyError> {
        let Payment { transfer, expected, .. } = payment;
        if expected.network != self.0.settings.network {
            return Err(VerifyError::Invalid(Invalid {
                reason: "network_mismatch".into(),
                detail: format!("this facilitator settles on {} only", self.0.settings.network),
                payer: None,
            }));
        }
        transfer
            .check(expected, &self.0.excluded)
            .and_then(|()| transfer.check_signature(expected.network))
            .map_err(|error| invalid(payment, error))
    }

    /// Everything that needs no ledger, of a payment that must live for `life` ledgers more.
    fn check(&self, payment: &Payment, life: u32) -> Result<(), VerifyError> {
        self.check_terms(payment)?;
        self.supported().map_err(|not_ready| unavailable(&not_ready))?;
        let transfer = &payment.transfer;
        transfer
            .check_time(self.0.clock.now(), life)
            .and_then(|()| transfer.check_fee(0, self.0.settings.max_fee_stroops))
            .map_err(|error| invalid(payment, error))
    }

    /// Runs `envelope` on the ledger as it is now, where it has to be this payment and nothing else.
    async fn simulate(
        &self,
        payment: &Payment,
        envelope: &xdr::TransactionEnvelope,
        min_remaining: u32,
    ) -> Result<Simulated, VerifyError> {
        let simulation = self.0.rpc.simulate(envelope, AuthMode::Enforce).await;
        let simulation = simulation.map_err(|error| VerifyError::Failed(error.into()))?;
        let transfer = &payment.transfer;
        let ledger = simulation.ledger();
        // Looked at first, because an expired authorization fails the simulation too, and tells less.
        transfer
            .check_life(ledger, payment.max_timeout_seconds, min_remaining)
            .map_err(|error| invalid(payment, error))?;
        let simulated = match simulation {
            Simulation::Success(simulated) if !simulated.needs_restore => *simulated,
            Simulation::Success(_) => {
                let why = "archived ledger entries have to be restored first";
                return Err(simulation_failed(transfer.payer(), why));
            }
            Simulation::Failure { error, .. } => {
                return Err(simulation_failed(transfer.payer(), &error));
            }
        };
        // The payer's own simulation was some ledgers ago, when fees may have been a little lower.
        let fee = simulated.min_resource_fee;
        let enough = fee.saturating_sub(fee.div_ceil(10));
        let minimum = if payment.declares_fee { enough } else { 0 };
        transfer
            .check_fee(minimum, self.0.settings.max_fee_stroops)
            .and_then(|()| transfer.movement().check_events(&simulated.events))
            .and_then(|()| transfer.movement().check_changes(&simulated.changed))
            .map_err(|error| invalid(payment, error))?;
        Ok(simulated)
    }

    fn fee_of(&self, payment: &Payment, simulated: &Simulated) -> Result<Fee, VerifyError> {
        self.fee(simulated).ok_or_else(|| invalid(payment, transfer::Error::FeeAboveMaximum))
    }

    /// The fees to declare, or `None` where even the least would pass the ceiling.
    fn fee(&self, simulated: &Simulated) -> Option<Fee> {
        let resources = simulated.min_resource_fee;
        let room = self.0.settings.max_fee_stroops.checked_sub(resources)?.checked_div(2)?;
        let bid = self.0.bid.load(Ordering::Relaxed).min(room);
        if bid < LEAST_BID {
            return None;
        }
        // A fee bump counts as one more operation, and the network asks for the same bid for each.
        let outer = bid.checked_mul(2)?.checked_add(resources)?;
        Some(Fee { inner: bid.checked_add(resources)?, outer })
    }
}

/// A signed transaction that holds its lane and its part of the budget.
#[derive(Debug)]
pub struct Prepared {
    sent: Sent,
    transaction: crate::protocol::stellar::TxHash,
    envelope: xdr::TransactionEnvelope,
    lane: HeldLane,
    reservation: Reservation,
}

impl Prepared {
    /// How to find the transaction again.
    #[must_use]
    pub const fn sent(&self) -> &Sent {
        &self.sent
    }

    /// The transaction as it will be sent.
    #[must_use]
    pub const fn envelope(&self) -> &xdr::TransactionEnvelope {
        &self.envelope
    }
}

/// What a transaction declares to pay at most, in stroops.
struct Fee {
    inner: u32,
    outer: u32,
}

/// The client's call and authorization in a transaction of the lane, without resources yet.
fn rebuilt(payment: &Payment, lane: &HeldLane, valid_until: u64) -> xdr::Transaction {
    xdr::Transaction {
        source_account: lane.keys().seed.account().to_muxed(),
        fee: LEAST_BID,
        seq_num: xdr::SequenceNumber(lane.next_sequence()),
        cond: xdr::Preconditions::Time(xdr::TimeBounds {
            min_time: xdr::TimePoint(0),
            max_time: xdr::TimePoint(valid_until),
        }),
        memo: xdr::Memo::None,
        operations: vec![payment.transfer.operation()]
            .try_into()
            .expect("one operation is below the bound of 100"),
        ext: xdr::TransactionExt::V0,
    }
}

/// Our own limit, and the client's where it is tighter.
fn valid_until(payment: &Payment, now: u64) -> u64 {
    let ours = now.saturating_add(payment.max_timeout_seconds.into());
    match payment.transfer.time_bounds().max {
        0 => ours,
        theirs => ours.min(theirs),
    }
}

fn invalid(payment: &Payment, error: transfer::Error) -> VerifyError {
    VerifyError::Invalid(Invalid::new(error, Some(payment.transfer.payer())))
}

/// A transfer by `payer` that would fail on the ledger as it is now.
pub(super) fn simulation_failed(payer: Address, why: &str) -> VerifyError {
    VerifyError::Invalid(Invalid {
        reason: SIMULATION_FAILED.into(),
        detail: format!("the transfer would fail on the ledger: {}", first_line(why)),
        payer: Some(payer),
    })
}

/// The host follows its error with a page of diagnostic events.
pub(super) fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

fn unavailable(why: &dyn std::error::Error) -> VerifyError {
    VerifyError::Failed(Failure::unavailable(why.to_string()))
}

/// How many lanes a sponsor may own: one transaction creates them all.
pub const LANE_COUNTS: RangeInclusive<u32> = 1..=100;
/// How many it owns where an operator says nothing.
pub const LANES: u32 = 32;
/// What a ceiling on the fee of one transaction may be, in stroops: below, not even the network's least bid fits.
pub const MAX_FEES: RangeInclusive<u32> = 200..=1_000_000_000;
/// The ceiling where an operator says nothing: a transfer costs about a tenth of it.
pub const MAX_FEE_STROOPS: u32 = 200_000;

/// The network's least bid for one operation, in stroops.
const LEAST_BID: u32 = 100;
/// How many ledgers a payment must still live when it is sent: what misses the next one and lands dead costs us its fee,
/// and what never lands holds its lane for nothing.
const LEAST_LIFE: u32 = 2;
/// How long a payment waits for a lane.
const PATIENCE: Duration = Duration::from_secs(20);

//! A facilitator: verifies a payment, and puts it on the ledger once.
//!
//! Settling is two steps, so that the caller can make the transaction's hash durable in between: [`Facilitator::prepare`]
//! signs and sends nothing, [`Facilitator::submit`] sends. What it cannot find out it calls unknown, never failed, and
//! [`Facilitator::resolve`] finds out later. It keeps no record of payments: that is the caller's store.

use std::{
    borrow::Cow,
    error::Error as _,
    time::{Duration, Instant},
};

use serde_json::Value;

use super::{own, remote, rpc};
use crate::{
    protocol::{
        stellar::{Address, Network, TxHash},
        transfer::{self, Expected, Transfer},
    },
    telemetry::{metrics::Metrics, page::Kind, timings::Timings},
};

/// Who verifies and settles: this gateway itself, or another service over HTTP.
#[derive(Debug)]
pub enum Facilitator {
    /// This gateway, with sponsor keys of its own.
    Own(own::Facilitator),
    /// A facilitator of x402 v2 elsewhere.
    Remote(remote::Facilitator),
}

impl Facilitator {
    /// Whether payments can be taken now, and on which conditions.
    ///
    /// # Errors
    /// [`NotReady`], a sentence for the operator.
    pub fn supported(&self) -> Result<Supported, NotReady> {
        match self {
            Self::Own(own) => own.supported(),
            Self::Remote(remote) => remote.supported(),
        }
    }

    /// Checks that the payment would settle now. Signs and sends nothing.
    ///
    /// # Errors
    /// [`VerifyError::Invalid`] is the payer's doing, [`VerifyError::Failed`] is not.
    pub async fn verify(&self, presented: &Presented) -> Result<(), VerifyError> {
        let began = Instant::now();
        let verdict = match self {
            Self::Own(own) => own.verify(&presented.payment).await,
            Self::Remote(remote) => remote.verify(presented).await,
        };
        let outcome = match &verdict {
            Ok(()) => "ok",
            Err(VerifyError::Invalid(_)) => "invalid",
            Err(VerifyError::Failed(_)) => "error",
        };
        self.timings().note("verify", outcome, began.elapsed());
        verdict
    }

    /// Verifies the payment anew and readies its transaction; nothing is sent before [`Facilitator::submit`].
    ///
    /// Make [`Prepared::sent`] durable before submitting. Dropping the result gives up the transaction.
    ///
    /// # Errors
    /// As [`Facilitator::verify`].
    pub async fn prepare(&self, presented: &Presented) -> Result<Prepared, VerifyError> {
        let payment = &presented.payment;
        match self {
            Self::Own(own) => {
                own.prepare(payment).await.map(|prepared| Prepared::Own(Box::new(prepared)))
            }
            Self::Remote(remote) => remote.prepare(payment).await.map(Prepared::Remote),
        }
    }

    /// Sends a prepared transaction and waits for its outcome.
    ///
    /// # Cancellation
    /// Once it was polled the transaction may have been sent: a dropped call is an unknown outcome.
    pub async fn submit(&self, presented: &Presented, prepared: Prepared) -> Outcome {
        let began = Instant::now();
        let outcome = match (self, prepared) {
            (Self::Own(own), Prepared::Own(prepared)) => {
                own.submit(&presented.payment, *prepared).await
            }
            (Self::Remote(remote), Prepared::Remote(_)) => remote.submit(presented).await,
            _ => Outcome::Unsent(Failure::unavailable("prepared by another facilitator")),
        };
        let told = match &outcome {
            Outcome::Settled(_) => "ok",
            Outcome::Rejected { .. } | Outcome::Stale | Outcome::Refused { .. } => "invalid",
            Outcome::Unknown { .. } | Outcome::Unsent(_) => "error",
        };
        self.timings().note("settle", told, began.elapsed());
        outcome
    }

    /// Has `metrics` tell how long it takes.
    pub fn expose(&self, metrics: &Metrics) {
        let timings = self.timings().clone();
        let name = match self {
            Self::Own(_) => "self",
            Self::Remote(_) => "remote",
        };
        metrics.add_source(move |page| {
            let help = "How long the facilitator takes to verify a payment, and to settle one";
            let name_of = "facilitator_request_duration_seconds";
            let mut family = page.family(name_of, Kind::Histogram, help);
            timings.tell(&mut family, &[("facilitator", name)], "op");
        });
    }

    fn timings(&self) -> &Timings {
        match self {
            Self::Own(own) => own.timings(),
            Self::Remote(remote) => remote.timings(),
        }
    }

    /// Finds out what became of a payment that was submitted, by its hash or by its authorization.
    ///
    /// [`Outcome::Unknown`] means ask again later; it never becomes [`Outcome::Rejected`] by time alone, only when the
    /// ledger's history proves that the payment did not land and cannot any more.
    pub async fn resolve(&self, payment: &Payment, sent: &Sent) -> Outcome {
        match self {
            Self::Own(own) => own.resolve(payment, sent).await,
            Self::Remote(remote) => remote.resolve(payment, sent).await,
        }
    }
}

/// A payment to verify and settle.
#[derive(Clone, Debug)]
pub struct Payment {
    /// The transfer that its transaction carries.
    pub transfer: Transfer,
    /// What it has to move.
    pub expected: Expected,
    /// How long settling may take, in seconds.
    pub max_timeout_seconds: u32,
    /// For how many ledgers the authorization must still live: enough for what comes before it is settled.
    pub min_remaining: u32,
    /// Whether the fee that the client declares has to cover the transaction, though we pay one of our own reckoning: x402
    /// asks for that.
    pub declares_fee: bool,
}

/// A payment with the x402 messages that it came in, which a remote facilitator wants to see.
#[derive(Clone, Debug)]
pub struct Presented {
    /// The payment itself.
    pub payment: Payment,
    /// The whole `PaymentPayload` as the client sent it.
    pub payload: Value,
    /// The `PaymentRequirements` that we asked, never the client's copy.
    pub requirements: Value,
}

/// A transaction that is ready to be submitted, and holds what it needs for that.
#[derive(Debug)]
pub enum Prepared {
    /// Built and signed here.
    Own(Box<own::Prepared>),
    /// To be built by the remote facilitator.
    Remote(Sent),
}

impl Prepared {
    /// What to record before submitting, so that a crash loses nothing.
    #[must_use]
    pub const fn sent(&self) -> &Sent {
        match self {
            Self::Own(prepared) => prepared.sent(),
            Self::Remote(sent) => sent,
        }
    }
}

/// How to find a submitted payment again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    /// The transaction's hash, where it is known before the network has it.
    pub transaction: Option<TxHash>,
    /// The time, in Unix seconds, after which the transaction cannot land any more.
    pub valid_until: u64,
    /// The latest closed ledger when it was made; it landed after this one or not at all.
    pub since: u32,
}

/// What a facilitator offers on its network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Supported {
    /// Whether the facilitator pays the network's fees: `extra.areFeesSponsored`.
    pub are_fees_sponsored: bool,
}

/// Payments cannot be taken; a sentence that names what the operator can look at.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NotReady(pub String);

/// Why a payment was not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VerifyError {
    /// The payer's doing.
    Invalid(Invalid),
    /// Ours or a dependency's; the payment may be good.
    Failed(Failure),
}

/// A payment that does not pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invalid {
    /// The x402 reason code: short, printable ASCII.
    pub reason: Cow<'static, str>,
    /// The same as a sentence, for the log and for our own clients; never a facilitator's text.
    pub detail: String,
    /// Who would have paid, where it is known.
    pub payer: Option<Address>,
}

impl Invalid {
    /// What a local check found, of a payment by `payer`.
    pub(super) fn new(error: transfer::Error, payer: Option<Address>) -> Self {
        Self { reason: Cow::Borrowed(error.reason()), detail: error.to_string(), payer }
    }
}

/// A payment could not be judged, through no fault of the payer: a dependency does not answer, or answers nonsense, or
/// we are at a limit of our own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// What happened, for the log; never for a client.
    pub detail: String,
    /// When it is worth trying again.
    pub retry_after: Duration,
}

impl Failure {
    /// Something that cannot answer now, or answered nonsense.
    pub(crate) fn unavailable(detail: impl Into<String>) -> Self {
        Self { detail: detail.into(), retry_after: RETRY_AFTER }
    }
}

impl From<rpc::Error> for Failure {
    fn from(error: rpc::Error) -> Self {
        let detail = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Self::unavailable(detail)
    }
}

/// What became of a submitted payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The money moved.
    Settled(Settled),
    /// The money did not move, and this transaction will not move it.
    Rejected {
        /// The x402 reason code: short, printable ASCII.
        reason: Cow<'static, str>,
        /// The transaction that failed, where there was one.
        transaction: Option<TxHash>,
    },
    /// Not known yet: never a reason to ask for another payment.
    Unknown {
        /// The transaction to watch, where known.
        transaction: Option<TxHash>,
        /// What happened.
        failure: Failure,
    },
    /// The transaction was refused before it entered the network, and can never land: prepare anew and submit that.
    Stale,
    /// It did not enter the network from here, or never landed in its time, by the payer's doing. Nothing is held against
    /// it: the payer may present it again, or prove otherwise that it landed.
    Refused {
        /// The reason: short, printable ASCII.
        reason: Cow<'static, str>,
    },
    /// Nothing was sent.
    Unsent(Failure),
}

/// A payment that landed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The transaction that moved the money.
    pub transaction: TxHash,
    /// Who paid.
    pub payer: Address,
    /// Where.
    pub network: Network,
}

/// The x402 reason code of a transfer that would fail on the ledger as it is now.
pub(crate) const SIMULATION_FAILED: &str = "invalid_exact_stellar_payload_simulation_failed";
/// The reason code of a fate that is not known yet; it makes `@x402/core` ask once more.
pub(crate) const SETTLEMENT_PENDING: &str = "settlement_pending";
/// The reason code of a transaction that failed, or that never landed.
pub(super) const TRANSACTION_FAILED: Cow<'static, str> =
    Cow::Borrowed("settle_exact_stellar_transaction_failed");

const RETRY_AFTER: Duration = Duration::from_secs(2);

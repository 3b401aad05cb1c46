//! The payment methods: what a route asks, and how a credential becomes a receipt.
//!
//! [`x402`] and [`charge`] say what pays and how it reaches the ledger; [`claims`] walks every payment through the same
//! states; [`methods`] is what a gateway has of them. A method knows nothing of HTTP forwarding and picks no status code:
//! it says [`Refusal`] (the client's doing) or [`Fault`] (ours, or a dependency's), the guard answers.

pub mod channel;
pub mod charge;
pub mod claims;
pub mod methods;
pub mod mpp;
pub mod room;
pub mod x402;

mod offer;
mod told;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, StatusCode};
use rand_core::{OsRng, RngCore as _};
use serde_json::Value;

pub use self::offer::{MethodName, Offer, Wording};
use self::room::Seat;
use crate::protocol::{mpp::CredentialHeader, stellar::TxHash};
use crate::store::Pending;
use crate::telemetry::{Clock, label::Rail};
pub use crate::{store::Redelivery, telemetry::worth::Worth};

/// What a priced route asks: the offers and the rules of when money moves. Resolved when the configuration loads.
#[derive(Clone, Debug)]
pub struct Terms {
    /// The route's name, which binds every payment to it.
    pub route: Arc<str>,
    /// What the route is, for the 402.
    pub description: Arc<str>,
    /// The methods on offer, most preferred first; never empty.
    pub offers: Vec<Offer>,
    /// Whether the payment settles before the request is forwarded, or after the answer's head has come.
    pub settle: SettleOrder,
    /// Which upstream answers are worth money.
    pub charge_when: ChargeWhen,
    /// How often, and for how long, a settled payment whose upstream failed may be presented again.
    pub redelivery: Redelivery,
    /// How long the upstream may take to its first response byte.
    pub timeout: Duration,
    /// The header that an MPP credential is asked for in; an upstream may want `Authorization` for itself.
    pub credential_header: CredentialHeader,
    /// Whether a payment buys its request with this very body; such bodies are read whole before they are forwarded.
    pub bind_body: bool,
}

impl Terms {
    /// The offer to pay by x402, if the route makes one.
    #[must_use]
    pub fn x402(&self) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.method == MethodName::X402)
    }

    /// The offer to pay by an MPP charge, if the route makes one, and whether the gateway pays its fee.
    #[must_use]
    pub fn charge(&self) -> Option<(&Offer, bool)> {
        self.offers.iter().find_map(|offer| match offer.method {
            MethodName::Charge { sponsored } => Some((offer, sponsored)),
            MethodName::X402 | MethodName::Channel => None,
        })
    }

    /// The offer to pay from a channel, if the route makes one.
    #[must_use]
    pub fn channel(&self) -> Option<&Offer> {
        self.offers.iter().find(|offer| offer.method == MethodName::Channel)
    }

    /// Whether nothing but a channel pays.
    #[must_use]
    pub fn takes_channels_only(&self) -> bool {
        self.offers.iter().all(|offer| offer.method == MethodName::Channel)
    }

    /// How many ledgers a payment of the request `bound` must still live when it is presented: as long as forwarding may
    /// take, where that comes before settling, and a margin to settle in. `life` is how long one of its kind lives at most.
    #[must_use]
    pub fn life_needed(&self, bound: &Bound, life: Duration) -> u32 {
        let forwarding = match self.settle.of(&bound.method) {
            SettleOrder::AfterHead => self.forwarding(bound, life).as_secs(),
            SettleOrder::BeforeForward | SettleOrder::ByMethod => 0,
        };
        let ledgers = forwarding.div_ceil(LEDGER_SECONDS).saturating_add(SETTLE_LEDGERS);
        u32::try_from(ledgers).unwrap_or(u32::MAX)
    }

    /// How long forwarding the request `bound` may take, up to the answer's head: the upstream's time, and that of a body
    /// that is still on its way. Where a payment that lives no longer than `life` settles after that, a body has half of
    /// what the upstream leaves of it: the other half is the client's to sign and send it.
    #[must_use]
    pub fn forwarding(&self, bound: &Bound, life: Duration) -> Duration {
        let uploading = match self.settle.of(&bound.method) {
            SettleOrder::BeforeForward | SettleOrder::ByMethod => UPLOADING,
            SettleOrder::AfterHead if !bound.streams => Duration::ZERO,
            SettleOrder::AfterHead => {
                let left = life.saturating_sub(self.timeout).saturating_sub(SETTLING);
                left.checked_div(2).unwrap_or_default().min(UPLOADING)
            }
        };
        self.timeout.saturating_add(uploading)
    }
}

/// When a payment settles. See the table "When money moves" in ARCHITECTURE.md.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SettleOrder {
    /// Once the upstream's answer has begun; for work that can be thrown away.
    AfterHead,
    /// Before the request is forwarded; for work that cannot be undone.
    BeforeForward,
    /// `AfterHead` for GET and HEAD, `BeforeForward` for every other method.
    ByMethod,
}

impl SettleOrder {
    /// The order for a request with `method`: never [`SettleOrder::ByMethod`].
    #[must_use]
    pub fn of(self, method: &http::Method) -> Self {
        match self {
            Self::ByMethod if method == http::Method::GET || method == http::Method::HEAD => {
                Self::AfterHead
            }
            Self::ByMethod => Self::BeforeForward,
            order => order,
        }
    }
}

/// Which upstream statuses are worth money: those below a bound (`<400` by default).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChargeWhen {
    /// The first status that is not charged.
    pub below: u16,
}

impl ChargeWhen {
    /// Whether an answer with `status` is charged.
    #[must_use]
    pub fn charges(self, status: StatusCode) -> bool {
        status.as_u16() < self.below
    }
}

/// The request that a payment is for; it must be the same when the credential comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The request's method as the route prices it: HEAD counts as GET.
    pub method: http::Method,
    /// The canonical target, path and query, as the route is found by.
    pub target: String,
    /// The SHA-256 of the body, where the route binds payments to it.
    pub body: Option<[u8; 32]>,
    /// Whether there is a body that is still on its way; says nothing of what is bound.
    pub streams: bool,
}

/// Proof to the client that it paid, put on the answer.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// The response header that says so, for the client.
    pub header: (http::HeaderName, HeaderValue),
    /// What the next request can be paid with; only on an answer that is charged.
    pub next: Option<(http::HeaderName, HeaderValue)>,
    /// Whether it also goes with an answer that is not charged, while the payment may be presented again.
    pub with_failures: bool,
}

/// Why a payment did not open the valve.
#[derive(Debug)]
pub enum Denied {
    /// The client's doing: told how to pay rightly.
    Refused(Refusal),
    /// Ours or a dependency's: nothing was forwarded, and nothing was charged as far as we know.
    Failed(Fault),
    /// The payment has bought its answer, and its client asks by name what became of it.
    Replayed(Box<Replay>),
    /// Its payer pays too often: it was not looked at, and may come again after so long.
    Later(Duration),
}

/// The stored outcome of a payment: never its body.
#[derive(Debug)]
pub struct Replay {
    /// The status of the answer that it bought.
    pub status: StatusCode,
    /// The receipt that went with it.
    pub receipt: Receipt,
}

/// The client's doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What kind, which decides the status.
    pub kind: RefusalKind,
    /// A short machine-readable reason: an x402 reason code or a problem name.
    pub reason: String,
    /// The reason as a sentence that tells how to pay rightly.
    pub detail: String,
    /// A response header that goes with it, such as a failed settlement's `PAYMENT-RESPONSE`.
    pub header: Option<Box<(http::HeaderName, HeaderValue)>>,
}

impl Refusal {
    /// A refusal without an extra header.
    #[must_use]
    pub fn new(kind: RefusalKind, reason: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { kind, reason: reason.into(), detail: detail.into(), header: None }
    }
}

/// What kind of refusal it is; the guard picks the status from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusalKind {
    /// No credential (402).
    Unpaid,
    /// A credential that cannot be read (402).
    Malformed,
    /// A credential for terms that were not offered here, or one that was used already (402).
    NotOffered,
    /// A credential for an offer that has expired (402).
    Expired,
    /// A credential whose payload is not of a kind that pays (402).
    InvalidPayload,
    /// A credential that does not pay (402).
    Invalid,
    /// A commitment that its channel's key did not sign (402).
    BadSignature,
    /// A commitment whose amount buys nothing, however much it is (402).
    DeltaTooSmall,
    /// A commitment that does not cover the request (402).
    InsufficientBalance,
    /// A commitment to more than its channel was given (402).
    OverDeposit,
    /// A channel that does not pay here (402).
    ChannelRejected,
    /// A channel that takes no commitments any more (410).
    ChannelEnded,
    /// The payment was verified and then failed to settle (402).
    SettlementFailed,
    /// The request carries more than one payment (400).
    Ambiguous,
    /// Another request with this payment is under way, or another payment for its challenge, or the network has its
    /// transaction already (409).
    InUse,
    /// Another payment has this payment's identifier (409).
    IdentifierTaken,
}

/// Our fault, or that of something we depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What kind, which decides the status.
    pub kind: FaultKind,
    /// What happened, for the log; never shown to a client.
    pub detail: String,
    /// When it is worth trying again.
    pub retry_after: Duration,
}

/// What kind of fault it is; the guard picks the status from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// A dependency cannot answer now, or answers nonsense (503).
    Unavailable,
    /// The payment was sent and its outcome is not known yet (503 `settlement-pending`).
    Pending {
        /// The transaction to watch, where known.
        transaction: Option<TxHash>,
    },
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Fault> for Denied {
    fn from(fault: Fault) -> Self {
        Self::Failed(fault)
    }
}

impl Fault {
    /// A payment that was sent and whose outcome is not known yet.
    #[must_use]
    pub fn pending(detail: impl fmt::Display, transaction: Option<TxHash>) -> Self {
        Self { kind: FaultKind::Pending { transaction }, ..Self::unavailable(detail) }
    }

    /// A dependency that cannot answer now.
    #[must_use]
    pub fn unavailable(detail: impl fmt::Display) -> Self {
        Self {
            kind: FaultKind::Unavailable,
            detail: detail.to_string(),
            retry_after: Duration::from_secs(2),
        }
    }
}

/// What a 402 carries for one method.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// The header that carries the challenge.
    pub header: (http::HeaderName, HeaderValue),
    /// What the challenge is known by, where it has a name.
    pub id: Option<String>,
}

/// What a challenge takes from the world: it is a pure function of these and the terms.
#[derive(Clone, Copy, Debug)]
pub struct Draw {
    /// The time now, in milliseconds since 1970.
    pub now_ms: u64,
    /// Fresh random bits.
    pub random: [u8; 16],
    /// The channel that would pay, if there is one.
    pub channel: Option<channel::Named>,
}

impl Draw {
    /// The world as it is now, and no channel.
    #[must_use]
    pub fn now(clock: &Clock) -> Self {
        let mut random = [0; 16];
        OsRng.fill_bytes(&mut random);
        Self { now_ms: clock.now_ms(), random, channel: None }
    }
}

/// A way to pay. They are a closed set: the guard names each, and there is no registry.
///
/// Every [`Method::Verified`] ends in exactly one of [`Method::deliver`] and [`Method::release`]; a crash in between
/// is the store's to sort out.
pub trait Method: Send + Sync + 'static {
    /// What the client sends as proof, read but not verified.
    type Credential: Send;
    /// A payment that is verified and claimed for one request, and perhaps settled.
    type Verified: Send;

    /// What its payments count under.
    const RAIL: Rail;

    /// Whether payments of `terms` can be taken now.
    ///
    /// # Errors
    /// [`Fault`] says for the log what stands in the way.
    fn ready(&self, terms: &Terms) -> Result<(), Fault>;

    /// The challenge to pay `offer`, one of `terms`, for the request `bound`; pure. `reason` says why there was no answer
    /// yet. `None` if what it takes is not in `draw`.
    fn challenge(
        &self,
        offer: &Offer,
        terms: &Terms,
        bound: &Bound,
        draw: &Draw,
        reason: &str,
    ) -> Option<Challenge>;

    /// Finds this method's credential among the headers of a request to a route with `terms`; pure. `None` if there is
    /// none.
    ///
    /// # Errors
    /// [`Refusal`] if there is one that cannot be read, or more than one.
    fn parse(
        &self,
        terms: &Terms,
        headers: &HeaderMap,
    ) -> Result<Option<Self::Credential>, Refusal>;

    /// Checks that the credential pays `terms` for the request `bound`, claims it for this request, and has the ledger
    /// judge it, in this order: of any number of copies one alone costs a call. One that is on the ledger already is looked
    /// up there first, since its name is in what is found, and is recorded as settled when this returns.
    ///
    /// The `seat` is told who pays as soon as that is certain, which for all but contracts is before the ledger is asked.
    ///
    /// # Errors
    /// [`Denied`]; the claim is let go of then.
    ///
    /// # Cancellation
    /// A claim that a dropped call has made is let go of.
    fn verify(
        &self,
        terms: &Arc<Terms>,
        bound: &Bound,
        credential: Self::Credential,
        seat: &mut Seat,
    ) -> impl Future<Output = Result<Self::Verified, Denied>> + Send;

    /// Makes the payment ours, once: one that is settled already gives the same receipt again.
    ///
    /// # Errors
    /// [`Denied`] ends the payment: it is recorded as what it is, which is free again, refused for good, or pending.
    fn settle(
        &self,
        verified: Self::Verified,
    ) -> impl Future<Output = Result<(Self::Verified, Receipt), Denied>> + Send;

    /// Records, durably, that the payment has bought its delivery, an answer with `status`; where that is perhaps recorded,
    /// the answer may leave.
    ///
    /// # Errors
    /// [`Fault`] if it is surely not recorded: the answer must not leave, and the payment may be presented again.
    fn deliver(
        &self,
        verified: Self::Verified,
        status: StatusCode,
    ) -> impl Future<Output = Result<(), Fault>> + Send;

    /// Gives the payment back undelivered: unsettled it is free again, settled it may be presented again. If nothing was
    /// asked to deliver, which `tried` says, that counts as no attempt.
    fn release(&self, verified: Self::Verified, tried: bool) -> impl Future<Output = ()> + Send;

    /// How long forwarding the request `bound` may take in all, up to the answer's head: the payment must not come to its
    /// end meanwhile, nor its room be held for as long as a client likes.
    fn patience(&self, terms: &Terms, bound: &Bound) -> Duration;

    /// Whether the money has moved.
    fn is_settled(&self, verified: &Self::Verified) -> bool;

    /// What the payment comes to.
    fn worth(&self, verified: &Self::Verified) -> Worth;

    /// Finds out what became of a payment of this method that was submitted by a request that is gone, and records it;
    /// `memo` is what was remembered of it.
    ///
    /// # Errors
    /// [`Denied`] while it cannot be known; nothing has changed then.
    fn resume(
        &self,
        pending: &Pending,
        memo: &Value,
    ) -> impl Future<Output = Result<(), Denied>> + Send;
}

/// The usual time between two ledgers.
const LEDGER_SECONDS: u64 = 5;
/// Ledgers left to settle in.
const SETTLE_LEDGERS: u64 = 1;
/// The same as a time.
const SETTLING: Duration = Duration::from_secs(LEDGER_SECONDS * SETTLE_LEDGERS);
/// How long a request's body may take at most, besides the upstream's own time.
const UPLOADING: Duration = Duration::from_secs(60);

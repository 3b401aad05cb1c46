//! The payment methods: what a route asks, and how a credential becomes a receipt.
//!
//! A method knows nothing of HTTP forwarding and picks no status code: it says [`Refusal`] (the
//! client's doing) or [`Fault`] (ours, or a dependency's), and the guard turns that into an answer.

pub mod x402;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderValue, StatusCode};
use serde_json::Value;

use crate::protocol::{
    money::Amount,
    stellar::{Address, Asset, Network, TxHash},
};

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
}

/// One way to pay a route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// How the money comes.
    pub method: MethodName,
    /// The network it moves on.
    pub network: Network,
    /// How much, in the asset's base units; never zero.
    pub amount: Amount,
    /// Of what.
    pub asset: Asset,
    /// Who is paid.
    pub payee: Address,
}

/// The payment methods by their names in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MethodName {
    /// x402 `exact`.
    X402,
}

impl MethodName {
    /// The name as the configuration and the metrics write it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::X402 => "x402",
        }
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

/// How a settled but undelivered payment may be presented again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redelivery {
    /// Deliveries tried in all, the first one included.
    pub attempts: u8,
    /// How long after settling.
    pub within: Duration,
}

/// The request a payment is for: what must be the same when a credential comes again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bound {
    /// The request's method as the route prices it: HEAD counts as GET.
    pub method: http::Method,
    /// The canonical target, path and query, exactly as forwarded.
    pub target: String,
}

/// Proof to the client that it paid, put on the answer.
#[derive(Clone, Debug)]
pub struct Receipt {
    /// Who paid.
    pub payer: Option<String>,
    /// The transaction that moved the money.
    pub transaction: Option<TxHash>,
    /// The response header that says so, for the client.
    pub header: (http::HeaderName, HeaderValue),
}

/// Why a payment did not open the valve.
#[derive(Debug)]
pub enum Denied {
    /// The client's doing: told how to pay rightly.
    Refused(Refusal),
    /// Ours or a dependency's: nothing was forwarded, and nothing was charged as far as we know.
    Failed(Fault),
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
    pub header: Option<(http::HeaderName, HeaderValue)>,
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
    /// No credential, one that cannot be read, or one that pays nothing here: pay anew (402, with a fresh challenge).
    PayAnew,
    /// The payment was verified and then failed to settle (402).
    SettlementFailed,
    /// The request carries more than one payment (400).
    Ambiguous,
    /// Another request with this payment is under way, or it belongs to another request (409).
    Conflict,
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
    /// A dependency cannot answer now (503).
    Unavailable,
    /// A dependency answered nonsense (502).
    BadAnswer,
    /// The payment was sent and its outcome is not known yet (503 `settlement-pending`).
    Pending {
        /// The transaction to watch, where known.
        transaction: Option<TxHash>,
    },
}

impl Fault {
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

/// What a 402 carries for one method: response headers, each of which goes out as it is.
#[derive(Clone, Debug)]
pub struct Challenge {
    /// The headers that carry the challenge.
    pub headers: Vec<(http::HeaderName, HeaderValue)>,
    /// The challenge as JSON, for the body's reader.
    pub body: Value,
}

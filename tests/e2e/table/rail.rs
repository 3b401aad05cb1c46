//! The rails: how a payment is made by each, how it is presented, and what its receipt looks like.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
pub(super) use tollgate::client::Until;
use tollgate::protocol::x402::Settlement;

use super::cell::Cell;

/// How the money comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rail {
    X402,
}

/// When it moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settle {
    After,
    Before,
}

/// A payment that was made.
#[derive(Clone, Debug)]
pub(super) struct Proof {
    /// As it is presented.
    pub(super) header: (HeaderName, HeaderValue),
    /// The last moment at which it can be settled.
    pub(super) until: Until,
}

impl Rail {
    /// The column of the table.
    pub(super) const fn column(self, settle: Settle) -> usize {
        match (self, settle) {
            (Self::X402, Settle::After) => 0,
            (Self::X402, Settle::Before) => 1,
        }
    }

    /// The name in a route's `accept`.
    pub(super) const fn accept(self) -> &'static str {
        match self {
            Self::X402 => "x402",
        }
    }

    /// More of `payments`.
    pub(super) const fn payments(self) -> &'static str {
        match self {
            Self::X402 => "",
        }
    }

    /// Makes a payment for what `cell` sells.
    pub(super) async fn pay(self, cell: &Cell) -> Proof {
        match self {
            Self::X402 => {
                let credential = cell.agent.sign_for(Method::GET, super::cell::PATH).await;
                Proof {
                    header: ("payment-signature".parse().unwrap(), credential.header().clone()),
                    until: credential.holds_until().unwrap(),
                }
            }
        }
    }

    /// The transaction that a receipt among `headers` names, if there is one of a payment that succeeded.
    pub(super) fn receipt(self, headers: &HeaderMap) -> Option<String> {
        match self {
            Self::X402 => {
                let header = headers.get("payment-response")?;
                let settlement = Settlement::decode(header.as_bytes()).unwrap();
                settlement.success.then_some(settlement.transaction)
            }
        }
    }

    /// Whether an answer that is not charged tells of the payment that was made for it.
    pub(super) const fn tells_with_failures(self) -> bool {
        match self {
            Self::X402 => true,
        }
    }

    /// Whether the gateway puts the payment on the ledger, or has it put there.
    pub(super) const fn is_settled_by_us(self) -> bool {
        match self {
            Self::X402 => true,
        }
    }

    /// The header that asks for a payment.
    pub(super) const fn challenge(self) -> &'static str {
        match self {
            Self::X402 => "payment-required",
        }
    }
}

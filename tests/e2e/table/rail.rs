//! The rails: how a payment is made by each, how it is presented, and what its receipt looks like.

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use stellar_xdr as xdr;
use tollgate::{
    client::{Credential, Overrides, Until},
    protocol::{mpp::Receipt, stellar::TxHash, x402::Settlement},
};
use tollgate_sandbox::ledger::Submission;

use super::cell::{Cell, PATH};
use crate::world::until;

/// How the money comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rail {
    X402,
    /// A charge whose fee the gateway pays.
    Sponsored,
    /// A charge by the payer's own transaction, which the gateway sends.
    Unsponsored,
    /// A charge by the payer's own transaction, which the payer has sent.
    Pushed,
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
    /// The last moment at which it can be settled; of one that was pushed, that at which its challenge ends.
    pub(super) until: Until,
    /// The transaction that was put on the ledger before it is presented.
    pub(super) pushed: Option<TxHash>,
}

impl Rail {
    /// The column of the table.
    pub(super) const fn column(self, settle: Settle) -> usize {
        match (self, settle) {
            (Self::Pushed, _) => 2,
            (_, Settle::Before) => 1,
            (_, Settle::After) => 0,
        }
    }

    /// A route's `accept`.
    pub(super) const fn accept(self) -> &'static str {
        match self {
            Self::X402 => "[x402]",
            Self::Sponsored => "{ mpp.charge: { sponsored: true } }",
            Self::Unsponsored | Self::Pushed => "{ mpp.charge: { sponsored: false } }",
        }
    }

    /// Makes a payment for what `cell` sells.
    pub(super) async fn pay(self, cell: &Cell) -> Proof {
        let agent = &cell.agent;
        match self {
            Self::X402 => proof(&agent.sign_for(Method::GET, PATH).await),
            Self::Sponsored => proof(&agent.sign_charge(PATH, &Overrides::default()).await),
            Self::Unsponsored => {
                let max_time = Some(cell.world.clock.now() + LIFE_SECONDS);
                proof(
                    &agent.sign_charge(PATH, &Overrides { max_time, ..Overrides::default() }).await,
                )
            }
            Self::Pushed => {
                let offer = agent.charge_offer_of(Method::GET, PATH).await;
                let made = agent.client.transaction(&offer, &Overrides::default()).await.unwrap();
                let transaction = agent.client.hash(&made.envelope).unwrap();
                let ledger = cell.world.sandbox.ledger();
                let taken = ledger.submit(made.envelope);
                assert!(matches!(taken, Submission::Pending { .. }), "{taken:?}");
                let hash = xdr::Hash(transaction.0);
                until("its ledger is closed", || !ledger.is_pending(&hash)).await;
                let credential = offer.push(transaction, &cell.payer.secret().parse().unwrap());
                let header = (credential.name(), credential.header().clone());
                let until = Until::Time(offer.expires.unwrap());
                Proof { header, until, pushed: Some(transaction) }
            }
        }
    }

    /// Whether the gateway puts the payment on the ledger, or has it put there.
    pub(super) fn is_settled_by_us(self) -> bool {
        self != Self::Pushed
    }

    /// The transaction that a receipt among `headers` names, if there is one of a payment that succeeded.
    pub(super) fn receipt(self, headers: &HeaderMap) -> Option<String> {
        if self == Self::X402 {
            let header = headers.get("payment-response")?;
            let settlement = Settlement::decode(header.as_bytes()).unwrap();
            return settlement.success.then_some(settlement.transaction);
        }
        let header = headers.get("payment-receipt")?;
        Some(Receipt::decode(header.as_bytes()).unwrap().reference)
    }

    /// Whether an answer that is not charged tells of the payment that was made for it: the `Payment` scheme forbids it.
    pub(super) fn tells_with_failures(self) -> bool {
        self == Self::X402
    }

    /// The header that asks for a payment.
    pub(super) const fn challenge(self) -> &'static str {
        match self {
            Self::X402 => "payment-required",
            Self::Sponsored | Self::Unsponsored | Self::Pushed => "www-authenticate",
        }
    }
}

fn proof(credential: &Credential) -> Proof {
    let header = (credential.name(), credential.header().clone());
    Proof { header, until: credential.holds_until().unwrap(), pushed: None }
}

/// How long the payer's own transaction can land: less than its challenge can be paid.
const LIFE_SECONDS: u64 = 60;

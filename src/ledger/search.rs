//! What became of a payment: found by its hash, or by its event in a transaction that used up its very authorization.
//!
//! "Not found" is an answer only where the history that was searched covers all ledgers in which the payment could have
//! landed; everything less is unknown.

use stellar_xdr as xdr;

use super::{
    facilitator::{Failure, Outcome, Payment, Sent, Settled, TRANSACTION_FAILED},
    rpc::{Error, EventQuery, Lookup, Rpc, Start, Transaction},
};
use crate::protocol::{
    stellar::{Network, TxHash},
    transfer::Movement,
};

/// A payment as the ledger tells of it.
#[derive(Clone, Debug)]
pub(super) struct Sought<'a> {
    /// What it moves.
    pub(super) movement: &'a Movement,
    /// What its payer signed for it.
    pub(super) authorization: xdr::SorobanAuthorizationEntry,
    /// The last ledger in which that counts.
    pub(super) expires: u32,
    /// Where.
    pub(super) network: Network,
}

impl<'a> From<&'a Payment> for Sought<'a> {
    fn from(payment: &'a Payment) -> Self {
        Self {
            movement: payment.transfer.movement(),
            authorization: payment.transfer.authorization(),
            expires: payment.transfer.expiration_ledger(),
            network: payment.expected.network,
        }
    }
}

/// Finds out what became of a payment, which was submitted as `sent`.
pub(super) async fn resolve(rpc: &Rpc, sought: &Sought<'_>, sent: &Sent) -> Outcome {
    let gone = match sent.transaction {
        None => false,
        Some(hash) => match look_up(rpc, sought, hash, sent).await {
            Ok(Found::Settled(settled)) => return Outcome::Settled(settled),
            Ok(Found::Gone) => true,
            Ok(Found::Nothing) => false,
            Err(error) => return unknown(sent, error.into()),
        },
    };
    match search(rpc, sought, sent.since).await {
        Ok(Search::Found(settled)) => Outcome::Settled(settled),
        Ok(Search::Nothing { through }) if gone || through > sought.expires => {
            Outcome::Rejected { reason: TRANSACTION_FAILED, transaction: sent.transaction }
        }
        Ok(Search::Nothing { .. }) => unknown(sent, Failure::unavailable("not on the ledger yet")),
        Err(error) => unknown(sent, error.into()),
    }
}

/// As [`resolve`], by the hash alone.
pub(super) async fn by_hash(rpc: &Rpc, sought: &Sought<'_>, hash: TxHash, sent: &Sent) -> Outcome {
    match look_up(rpc, sought, hash, sent).await {
        Ok(Found::Settled(settled)) => Outcome::Settled(settled),
        Ok(Found::Gone) => {
            Outcome::Rejected { reason: TRANSACTION_FAILED, transaction: Some(hash) }
        }
        Ok(Found::Nothing) => unknown(sent, Failure::unavailable("not on the ledger yet")),
        Err(error) => unknown(sent, error.into()),
    }
}

/// What a hash tells of a payment.
enum Found {
    /// It landed and paid.
    Settled(Settled),
    /// It landed and did not pay, or can never land.
    Gone,
    /// It may still land.
    Nothing,
}

async fn look_up(
    rpc: &Rpc,
    sought: &Sought<'_>,
    hash: TxHash,
    sent: &Sent,
) -> Result<Found, Error> {
    match rpc.transaction(hash).await? {
        Lookup::Applied(transaction) => {
            Ok(judge(sought, hash, &transaction).map_or(Found::Gone, Found::Settled))
        }
        Lookup::NotFound { latest, oldest, .. } => {
            let late = latest.closed_at.is_some_and(|closed| closed > sent.valid_until)
                || latest.sequence > sought.expires;
            Ok(if late && oldest <= sent.since { Found::Gone } else { Found::Nothing })
        }
    }
}

const fn unknown(sent: &Sent, failure: Failure) -> Outcome {
    Outcome::Unknown { transaction: sent.transaction, failure }
}

/// The settlement, if `transaction` is one that moved this payment's money under its own authorization.
///
/// A transaction may carry authorizations that it does not use, and one transfer is one payment: it has to use this one
/// up, and to move the money as often as it uses any for the same transfer.
pub(super) fn judge(
    sought: &Sought<'_>,
    hash: TxHash,
    transaction: &Transaction,
) -> Option<Settled> {
    let times = sought.movement.times_told_by(&transaction.events);
    let paid = transaction.success
        && transaction.used(&sought.authorization)
        && times >= transaction.uses_of(&sought.authorization.root_invocation);
    paid.then_some(Settled {
        transaction: hash,
        payer: sought.movement.payer,
        network: sought.network,
    })
}

/// What the events tell.
enum Search {
    /// The payment landed.
    Found(Settled),
    /// It did not, from the first ledger asked for through this one.
    Nothing { through: u32 },
}

/// Looks for this payment's event in all ledgers from `since` on.
async fn search(rpc: &Rpc, sought: &Sought<'_>, since: u32) -> Result<Search, Error> {
    let movement = sought.movement;
    let value = movement.event_value();
    let mut query = EventQuery {
        start: Start::Ledger(since),
        contract: movement.asset,
        topics: movement.event_topics(),
    };
    for _ in 0..MOST_PAGES {
        let page = rpc.events(&query).await?;
        for event in page.events.iter().filter(|event| event.value == value) {
            let Lookup::Applied(transaction) = rpc.transaction(event.transaction).await? else {
                continue;
            };
            if let Some(settled) = judge(sought, event.transaction, &transaction) {
                return Ok(Search::Found(settled));
            }
        }
        match page.next {
            Some(cursor) => query.start = Start::Cursor(cursor),
            // A server searches some 10,000 ledgers at once, far more than a payment can take to land.
            None => return Ok(Search::Nothing { through: page.latest }),
        }
    }
    Ok(Search::Nothing { through: 0 })
}

/// A payer that pays the same payee the same amount this often in a minute can wait for its answer.
const MOST_PAGES: usize = 20;

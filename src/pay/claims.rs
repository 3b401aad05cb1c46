//! The life of a payment's claim, the same for every method whose money moves by a transaction.
//!
//! `claimed → submitting → settled → delivered`, with `released` and `refused` as other ends: what the store remembers is
//! written here, before and after each step on the ledger. How a payment is put there, what its receipt says and how its
//! failure is told is the method's: see `Rail`. See the table "When money moves" in ARCHITECTURE.md.

use std::sync::Arc;

use bytes::Bytes;
use http::StatusCode;
use serde_json::{Map, Value};
use sha2::{Digest as _, Sha256};
use tracing::{error, warn};

use super::{Denied, Fault, Receipt, Refusal, RefusalKind, Replay, Worth, told};
use crate::{
    ledger::facilitator::{Failure, Outcome, Sent, VerifyError},
    protocol::stellar::{Network, TxHash},
    store::{
        self, Claim, ClaimKey, Claiming, Pending, Settled, Store, Submitting, TakenBy, Ticket,
    },
};

/// How the payments of one method get onto the ledger.
pub(super) trait Rail: Sync {
    /// A payment that was checked.
    type Payment: Send + Sync;
    /// A transaction that is ready to be sent.
    type Prepared: Send;

    /// Readies the payment's transaction, and says how it is found again; sends nothing.
    fn prepare(
        &self,
        payment: &Self::Payment,
    ) -> impl Future<Output = Result<(Self::Prepared, Sent), VerifyError>> + Send;

    /// Sends it, and waits for its outcome.
    fn submit(
        &self,
        payment: &Self::Payment,
        prepared: Self::Prepared,
    ) -> impl Future<Output = Outcome> + Send;

    /// Finds out what became of what was sent.
    fn resolve(&self, payment: &Self::Payment, sent: &Sent)
    -> impl Future<Output = Outcome> + Send;

    /// The transaction that moved the money before the payment was presented, if one did.
    fn landed(&self, payment: &Self::Payment) -> Option<TxHash>;

    /// What a later process needs to find out what became of the payment, at most 16 KiB with its route.
    fn memo(&self, payment: &Self::Payment) -> Map<String, Value>;

    /// The method, as the configuration writes it, and the network.
    fn place(&self, payment: &Self::Payment) -> (&'static str, Network);

    /// What the payment comes to, without its transaction.
    fn worth(&self, payment: &Self::Payment) -> Worth;

    /// What is recorded once `transaction` has moved the money.
    fn settled(&self, payment: &Self::Payment, transaction: TxHash) -> Settled;

    /// The receipt of a settled payment.
    ///
    /// # Errors
    /// [`Fault`] if what was recorded cannot be read: pending, since the money has moved.
    fn receipt(&self, settled: &Settled) -> Result<Receipt, Fault>;

    /// Whether the client gave the payment a name to ask for it by.
    fn is_named(&self, payment: &Self::Payment) -> bool;

    /// The refusal of a payment that did not settle; `transaction` is the one that failed, if there was one.
    fn settlement_failed(
        &self,
        payment: &Self::Payment,
        reason: &str,
        transaction: Option<TxHash>,
    ) -> Refusal;

    /// Why the payment cannot be made where its alias belongs to another.
    fn alias_taken(&self, taken: &TakenBy) -> Denied;
}

/// A payment that is claimed for one request, and perhaps settled.
#[derive(Debug)]
pub struct Held<P> {
    pub(super) ticket: Ticket,
    pub(super) payment: P,
    pub(super) settled: Option<Settled>,
    /// The name of the route that it is for.
    pub(super) route: Arc<str>,
}

/// Claims the payment for this request to `route`, or says what became of it before.
pub(super) async fn claim<R: Rail>(
    rail: &R,
    store: &Store,
    claim: Claim,
    payment: R::Payment,
    route: &Arc<str>,
) -> Result<Held<R::Payment>, Denied> {
    let held = |ticket, payment, settled| Held { ticket, payment, settled, route: route.clone() };
    // A pending payment is looked up once on the ledger, and what was found is claimed like any other.
    for _ in 0..2 {
        match store.claim(claim.clone()).await.map_err(store_fault)? {
            Claiming::Fresh(ticket) => return Ok(held(ticket, payment, None)),
            Claiming::Redeliver(ticket, settled) => {
                return Ok(held(ticket, payment, Some(settled)));
            }
            Claiming::Pending(submitting) => {
                let lost = Lost { key: claim.key, submitting: &submitting, route };
                resolve(rail, store, &payment, lost).await?;
            }
            Claiming::AliasTaken(taken) => return Err(rail.alias_taken(&taken)),
            Claiming::Delivered { settled, status } if rail.is_named(&payment) => {
                return Err(replayed(rail, &settled, status));
            }
            other => return Err(used(&other, rail.is_named(&payment)).into()),
        }
    }
    Err(Fault::pending("resolved, and claimed by another request meanwhile", None).into())
}

/// A payment whose outcome was unknown.
pub(super) struct Lost<'a> {
    pub(super) key: ClaimKey,
    pub(super) submitting: &'a Submitting,
    pub(super) route: &'a str,
}

impl<'a> Lost<'a> {
    /// One whose request is gone, with what was remembered of it.
    pub(super) fn of(pending: &'a Pending, memo: &'a Value) -> Self {
        // A version before this one remembered no route.
        let route = memo.get("route").and_then(Value::as_str).unwrap_or_default();
        let Pending { key, submitting } = pending;
        Self { key: *key, submitting, route }
    }
}

/// Finds out what became of a payment whose outcome was unknown, and records it.
///
/// # Errors
/// A pending fault while it cannot be known.
pub(super) async fn resolve<R: Rail>(
    rail: &R,
    store: &Store,
    payment: &R::Payment,
    lost: Lost<'_>,
) -> Result<(), Denied> {
    let Lost { key, submitting, route } = lost;
    let sent = Sent {
        transaction: submitting.transaction,
        valid_until: submitting.valid_until,
        since: submitting.since_ledger,
    };
    let outcome = match rail.resolve(payment, &sent).await {
        Outcome::Settled(settled) => {
            store::Outcome::Settled(rail.settled(payment, settled.transaction))
        }
        Outcome::Rejected { reason, .. } => store::Outcome::Refused { reason: reason.into_owned() },
        Outcome::Stale | Outcome::Refused { .. } => store::Outcome::Free,
        Outcome::Unknown { transaction, failure } => {
            let transaction = transaction.or(submitting.transaction);
            return Err(Fault::pending(failure.detail, transaction).into());
        }
        Outcome::Unsent(failure) => {
            return Err(Fault::pending(failure.detail, submitting.transaction).into());
        }
    };
    let told = match &outcome {
        store::Outcome::Settled(settled) => {
            told::Paid { rail, store, key, payment, settled, route }.told()
        }
        store::Outcome::Refused { .. } | store::Outcome::Free => Vec::new(),
    };
    let resolved = store.resolve_and_tell(key, submitting, outcome, told).await;
    resolved.map_err(store_fault)?;
    Ok(())
}

/// Makes the payment ours, once.
///
/// After an error the claim is what the error says: refused for good, pending, or free again.
pub(super) async fn settle<R: Rail>(
    rail: &R,
    store: &Store,
    held: Held<R::Payment>,
) -> Result<(Held<R::Payment>, Receipt), Denied> {
    let Held { ticket, payment, settled, route } = held;
    if let Some(settled) = settled {
        let receipt = rail.receipt(&settled)?;
        return Ok((Held { ticket, payment, settled: Some(settled), route }, receipt));
    }
    let (mut ticket, transaction) = match rail.landed(&payment) {
        Some(transaction) => (ticket, transaction),
        None => submit(rail, store, ticket, &payment, &route).await?,
    };
    let settled = rail.settled(&payment, transaction);
    let key = ticket.key();
    let paid = told::Paid { rail, store, key, payment: &payment, settled: &settled, route: &route };
    ticket.tell(paid.told());
    // The money has moved: where that cannot be recorded, the recorded hash will tell later.
    store.settled(&mut ticket, settled.clone()).await.map_err(|error| {
        error!(%error, %transaction, "a settled payment could not be recorded; it stays pending");
        Fault::pending(error, Some(transaction))
    })?;
    let receipt = rail.receipt(&settled)?;
    Ok((Held { ticket, payment, settled: Some(settled), route }, receipt))
}

/// Records that a settled payment bought its delivery, answered with `status`.
///
/// # Errors
/// [`Fault`] if it is surely not recorded: the answer must not leave.
pub(super) async fn deliver<P>(
    store: &Store,
    held: Held<P>,
    status: StatusCode,
) -> Result<(), Fault> {
    let transaction = held.settled.and_then(|settled| settled.transaction);
    match store.delivered(held.ticket, status.as_u16()).await {
        Ok(()) => Ok(()),
        // It may be recorded all the same, and then the payer could not come again for what it paid. Served now, it
        // buys one more delivery at most.
        Err(error @ (store::Error::Unreachable { .. } | store::Error::Stopped { .. })) => {
            warn!(%error, ?transaction, %status, "a delivery may not be recorded");
            Ok(())
        }
        // The money has moved, so "nothing was charged" would be false: the payment may be presented again.
        Err(error) => Err(Fault::pending(error, transaction)),
    }
}

/// Gives the payment back undelivered; `tried` says whether anything was asked to deliver.
pub(super) async fn release<P>(store: &Store, held: Held<P>, tried: bool) {
    let released = match tried {
        true => store.release(held.ticket).await,
        false => store.release_untried(held.ticket).await,
    };
    if let Err(error) = released {
        warn!(%error, "a claim could not be released; it is free again after a restart");
    }
}

/// The SHA-256 of fields, each behind its length.
pub(super) fn digest(fields: &[&[u8]]) -> [u8; 32] {
    let mut digest = Sha256::new();
    for field in fields {
        digest.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(field);
    }
    digest.finalize().into()
}

/// What kept the store from recording it.
pub(super) fn store_fault(error: store::Error) -> Fault {
    Fault::unavailable(error)
}

/// What kept the ledger's side from judging it.
pub(super) fn fault(failure: &Failure) -> Fault {
    Fault { retry_after: failure.retry_after, ..Fault::unavailable(&failure.detail) }
}

fn replayed<R: Rail>(rail: &R, settled: &Settled, status: u16) -> Denied {
    let pending = |detail: String| Denied::from(Fault::pending(detail, settled.transaction));
    let status = StatusCode::from_u16(status);
    match (status, rail.receipt(settled)) {
        (Ok(status), Ok(receipt)) => Denied::Replayed(Box::new(Replay { status, receipt })),
        (Err(error), _) => pending(format!("the stored status: {error}")),
        (_, Err(fault)) => fault.into(),
    }
}

/// Puts the payment on the ledger; its hash is durable before anything is sent.
async fn submit<R: Rail>(
    rail: &R,
    store: &Store,
    mut ticket: Ticket,
    payment: &R::Payment,
    route: &str,
) -> Result<(Ticket, TxHash), Denied> {
    for _ in 0..SUBMISSIONS {
        let (prepared, sent) = match rail.prepare(payment).await {
            Ok(prepared) => prepared,
            Err(VerifyError::Invalid(invalid)) => {
                return Err(rail.settlement_failed(payment, &invalid.reason, None).into());
            }
            Err(VerifyError::Failed(failure)) => return Err(fault(&failure).into()),
        };
        let submitting = Submitting {
            transaction: sent.transaction,
            valid_until: sent.valid_until,
            since_ledger: sent.since,
            memo: memo(rail, payment, route),
        };
        store.submitting(&mut ticket, submitting).await.map_err(store_fault)?;
        match rail.submit(payment, prepared).await {
            Outcome::Settled(settled) => return Ok((ticket, settled.transaction)),
            // It cost a fee and moved nothing: not a second time.
            Outcome::Rejected { reason, transaction } => {
                store.refuse(ticket, reason.clone()).await.map_err(store_fault)?;
                return Err(rail.settlement_failed(payment, &reason, transaction).into());
            }
            // The claim stays pending; only the ticket is dropped.
            Outcome::Unknown { transaction, failure } => {
                let transaction = transaction.or(sent.transaction);
                return Err(Fault::pending(failure.detail, transaction).into());
            }
            Outcome::Stale => store.recall(&mut ticket).await.map_err(store_fault)?,
            Outcome::Refused { reason } => {
                store.recall(&mut ticket).await.map_err(store_fault)?;
                return Err(rail.settlement_failed(payment, &reason, None).into());
            }
            Outcome::Unsent(failure) => {
                store.recall(&mut ticket).await.map_err(store_fault)?;
                return Err(fault(&failure).into());
            }
        }
    }
    Err(Fault::unavailable("the transaction went stale time and again").into())
}

/// What is remembered of a payment while it is pending.
fn memo<R: Rail>(rail: &R, payment: &R::Payment, route: &str) -> Bytes {
    let mut memo = rail.memo(payment);
    memo.insert("method".into(), rail.place(payment).0.into());
    memo.insert("route".into(), route.into());
    Bytes::from(Value::from(memo).to_string())
}

/// Why a claim that exists cannot be had.
fn used(claiming: &Claiming, is_named: bool) -> Refusal {
    let (kind, detail) = match claiming {
        Claiming::InFlight => (
            RefusalKind::InUse,
            "another request with this payment is under way: a payment buys one answer",
        ),
        Claiming::Refused { .. } => {
            (RefusalKind::SettlementFailed, "this payment failed to settle before: sign a new one")
        }
        Claiming::OtherRequest if is_named => (
            RefusalKind::IdentifierTaken,
            "the payment of this identifier was made for another request, or in another form",
        ),
        Claiming::OtherRequest => {
            (RefusalKind::NotOffered, "this payment was made for another request")
        }
        Claiming::Exhausted => (
            RefusalKind::NotOffered,
            "this payment was settled, and may not be presented again: ask the operator for help",
        ),
        _ => {
            (RefusalKind::NotOffered, "this payment has bought its answer already: sign a new one")
        }
    };
    Refusal::new(kind, "duplicate_settlement", detail)
}

/// How long after its challenge a transfer that landed in time may be pushed: as long as a settled payment may come again
/// by default.
pub(super) const PUSHED_WITHIN_SECONDS: u64 = 24 * 3_600;
/// How long after its challenge a claim is remembered where transfers can be pushed.
///
/// A transfer can be pushed for any challenge that was issued before it landed, however it was presented first: until that
/// challenge ends, which is half an hour at most, and for as long after. All its claims must be remembered by then.
pub(super) const REMEMBERED_SECONDS: u64 = PUSHED_WITHIN_SECONDS + 2 * 3_600;
/// How often a transaction that went stale is made anew.
const SUBMISSIONS: usize = 4;

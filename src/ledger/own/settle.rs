//! Sends a prepared transaction and follows it until its fate is known, or cannot be known yet.
//!
//! Sending the same signed bytes again is always safe: the network knows them by their hash. What must never happen is to
//! call a transaction failed that may still land.

use std::time::Duration;

use stellar_xdr as xdr;
use tokio::time::sleep;
use tracing::{debug, error, warn};
use xdr::TransactionResultCode as Code;

use super::{Inner, Prepared};
use crate::{
    ledger::{
        facilitator::{Failure, Outcome, Payment},
        rpc::{Lookup, Submission},
        search,
        sponsor::LaneKeys,
    },
    protocol::stellar::{Network, TxHash},
};

/// Signs `inner` by the lane and wraps it in a fee bump by the sponsor; `None` if it cannot be encoded.
pub(super) fn sign(
    inner: xdr::Transaction,
    fee: u32,
    keys: &LaneKeys,
    network: Network,
) -> Option<(xdr::TransactionEnvelope, TxHash)> {
    let hash = inner.hash(network.id()).ok()?;
    let signatures = vec![keys.seed.sign(&hash)].try_into().ok()?;
    let bump = xdr::FeeBumpTransaction {
        fee_source: keys.sponsor.account().to_muxed(),
        fee: fee.into(),
        inner_tx: xdr::FeeBumpTransactionInnerTx::Tx(xdr::TransactionV1Envelope {
            tx: inner,
            signatures,
        }),
        ext: xdr::FeeBumpTransactionExt::V0,
    };
    let hash = bump.hash(network.id()).ok()?;
    let signatures = vec![keys.sponsor.sign(&hash)].try_into().ok()?;
    let envelope = xdr::FeeBumpTransactionEnvelope { tx: bump, signatures };
    Some((xdr::TransactionEnvelope::TxFeeBump(envelope), TxHash(hash)))
}

/// How sending went.
enum Sending {
    /// The network has it, or may have it.
    Out,
    /// It never reached the network.
    In(Failure),
    /// The network refused it as invalid.
    Refused(Code),
}

/// As [`super::Facilitator::submit`].
pub(super) async fn submit(inner: &Inner, payment: &Payment, mut prepared: Prepared) -> Outcome {
    prepared.lane.sending(prepared.sent.valid_until);
    prepared.reservation.spend();
    match send(inner, &prepared).await {
        Sending::Out => follow(inner, payment, prepared).await,
        Sending::In(failure) => {
            prepared.lane.unsent();
            prepared.reservation.release();
            Outcome::Unsent(failure)
        }
        Sending::Refused(code) => {
            prepared.reservation.release();
            match code {
                Code::TxBadSeq => {
                    prepared.lane.out_of_step();
                    Outcome::Stale
                }
                // Ours: the sponsor's funds, our keys, our fee, our clock.
                Code::TxInsufficientBalance
                | Code::TxNoAccount
                | Code::TxBadAuth
                | Code::TxBadAuthExtra
                | Code::TxInsufficientFee
                | Code::TxTooEarly
                | Code::TxTooLate
                | Code::TxInternalError => {
                    prepared.lane.out_of_step();
                    error!(code = code.name(), "the network refuses our transactions");
                    let detail =
                        format!("the network refused our transaction with {}", code.name());
                    Outcome::Unsent(Failure::unavailable(detail))
                }
                _ => {
                    prepared.lane.unsent();
                    warn!(code = code.name(), "the network refused a payment");
                    let reason = "settle_exact_stellar_transaction_submission_failed".into();
                    Outcome::Rejected { reason, transaction: None }
                }
            }
        }
    }
}

/// Sends until the network has the transaction, or refuses it, or the time for trying is over.
async fn send(inner: &Inner, prepared: &Prepared) -> Sending {
    let started = inner.clock.now();
    let deadline = started.saturating_add(SENDING_SECONDS).min(prepared.sent.valid_until);
    let mut pause = SHORT_PAUSE;
    // Once an answer was lost the network may have it, and only the ledger can tell otherwise.
    let mut doubtful = false;
    loop {
        let failure = match inner.rpc.send(&prepared.envelope).await {
            Ok(Submission::Pending | Submission::Duplicate) => return Sending::Out,
            Ok(Submission::Refused(_)) if doubtful => return Sending::Out,
            Ok(Submission::Refused(code)) => return Sending::Refused(code),
            Ok(Submission::TryAgainLater) => {
                Failure::unavailable("the network's queue takes no transaction now")
            }
            Err(error) => {
                doubtful |= !error.surely_unsent();
                error.into()
            }
        };
        debug!(detail = failure.detail, "sending again");
        if inner.clock.now() >= deadline {
            return if doubtful { Sending::Out } else { Sending::In(failure) };
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONG_PAUSE);
    }
}

/// Follows a transaction that the network has, or may have.
async fn follow(inner: &Inner, payment: &Payment, prepared: Prepared) -> Outcome {
    let Prepared { sent, transaction: hash, envelope, lane, reservation } = prepared;
    let give_up = sent.valid_until.saturating_add(GRACE_SECONDS);
    let mut heard = inner.clock.now();
    let mut polls: u32 = 0;
    let mut failure = Failure::unavailable("the transaction has not landed yet");
    loop {
        sleep(POLL).await;
        polls = polls.saturating_add(1);
        match inner.rpc.transaction(hash).await {
            Ok(Lookup::Applied(transaction)) => {
                lane.landed();
                let charged = u64::try_from(transaction.fee_charged).unwrap_or_default();
                if let Some(settled) = search::judge(payment, hash, &transaction) {
                    reservation.paid(charged);
                    return Outcome::Settled(settled);
                }
                reservation.lost(charged);
                if transaction.success {
                    error!(transaction = %hash, "a transaction succeeded without its transfer: is the asset a SEP-41 token?");
                }
                // It may have failed because the same authorization landed by another transaction: payment all the same.
                return search::resolve(&inner.rpc, payment, &sent).await;
            }
            Ok(Lookup::NotFound { latest, oldest }) => {
                heard = inner.clock.now();
                let late = latest.closed_at.is_some_and(|closed| closed > sent.valid_until);
                if late && oldest <= sent.since {
                    lane.out_of_step();
                    reservation.release();
                    return search::resolve(&inner.rpc, payment, &sent).await;
                }
            }
            Err(error) => failure = error.into(),
        }
        let now = inner.clock.now();
        // A payer waits as long as there is hope: while the RPC says nothing at all, it had better come back later.
        if now > give_up || now.saturating_sub(heard) > SILENCE_SECONDS {
            warn!(transaction = %hash, "the fate of a transaction is unknown");
            return Outcome::Unknown { transaction: Some(hash), failure };
        }
        // A node may lose a transaction that it took.
        if polls.is_multiple_of(POLLS_TO_RESEND) {
            match inner.rpc.send(&envelope).await {
                Ok(answer) => debug!(?answer, "sent again"),
                Err(error) => debug!(%error, "sent again"),
            }
        }
    }
}

/// Between two looks: ledgers close every five seconds, and a payer waits.
const POLL: Duration = Duration::from_millis(500);
const POLLS_TO_RESEND: u32 = 10;
const SHORT_PAUSE: Duration = Duration::from_millis(250);
const LONG_PAUSE: Duration = Duration::from_secs(2);
/// How long to try sending.
const SENDING_SECONDS: u64 = 15;
/// How long the RPC may fail to answer before the outcome is called unknown.
const SILENCE_SECONDS: u64 = 20;
/// How long after its time bounds a transaction is looked for.
const GRACE_SECONDS: u64 = 6;

//! Signs a prepared transaction, sends it, and keeps the books of its lane and of the budget.

use stellar_xdr as xdr;
use tracing::{error, warn};
use xdr::TransactionResultCode as Code;

use super::{Inner, Prepared};
use crate::{
    ledger::{
        facilitator::{Failure, Outcome, Payment},
        post::{self, Fate, Sending},
        search,
        sponsor::LaneKeys,
    },
    protocol::stellar::{Network, TxHash},
};

/// Signs `inner` by the lane and wraps it in a fee bump by the sponsor; `None` if it cannot be encoded.
pub(in crate::ledger) fn sign(
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

/// As [`super::Facilitator::submit`].
pub(super) async fn submit(inner: &Inner, payment: &Payment, mut prepared: Prepared) -> Outcome {
    prepared.lane.sending(prepared.sent.valid_until);
    prepared.reservation.spend();
    let valid_until = prepared.sent.valid_until;
    match post::send(&inner.rpc, &inner.clock, &prepared.envelope, valid_until).await {
        Sending::Out | Sending::Known => follow(inner, payment, prepared).await,
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

/// Follows a transaction that the network has, or may have.
async fn follow(inner: &Inner, payment: &Payment, prepared: Prepared) -> Outcome {
    let Prepared { sent, transaction: hash, envelope, lane, reservation } = prepared;
    let fate = post::follow(&inner.rpc, &inner.clock, &envelope, hash, &sent, u64::MAX).await;
    match fate {
        Fate::Applied(transaction) => {
            lane.landed();
            let charged = u64::try_from(transaction.fee_charged).unwrap_or_default();
            if let Some(settled) = search::judge(&payment.into(), hash, &transaction) {
                reservation.paid(charged);
                return Outcome::Settled(settled);
            }
            reservation.lost(charged);
            if transaction.success {
                error!(transaction = %hash, "a transaction succeeded without its transfer: is the asset a SEP-41 token?");
            }
        }
        Fate::Gone => {
            lane.out_of_step();
            reservation.release();
        }
        Fate::Unknown(failure) => {
            return Outcome::Unknown { transaction: Some(hash), failure };
        }
    }
    // It may have failed because the same authorization landed by another transaction: payment all the same.
    search::resolve(&inner.rpc, &payment.into(), &sent).await
}

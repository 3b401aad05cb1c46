//! Sends a transaction and follows it until its fate is known, or cannot be known yet.
//!
//! Sending the same signed bytes again is always safe: the network knows them by their hash. What must never happen is to
//! call a transaction failed that may still land.

use std::time::Duration;

use stellar_xdr as xdr;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::{
    facilitator::{Failure, Sent},
    rpc::{Lookup, Rpc, Submission, Transaction},
};
use crate::{protocol::stellar::TxHash, telemetry::Clock};

/// How sending went.
pub(crate) enum Sending {
    /// The network has it, or may have it.
    Out,
    /// The network had it before it was sent from here.
    Known,
    /// It never reached the network.
    In(Failure),
    /// The network refused it as invalid.
    Refused(xdr::TransactionResultCode),
}

/// What became of a transaction that was sent.
pub(crate) enum Fate {
    /// It was applied, and succeeded or failed.
    Applied(Box<Transaction>),
    /// It has not landed and never will.
    Gone,
    /// It may still land, or have landed.
    Unknown(Failure),
}

/// Sends until the network has the transaction, or refuses it, or the time for trying is over.
pub(crate) async fn send(
    rpc: &Rpc,
    clock: &Clock,
    envelope: &xdr::TransactionEnvelope,
    valid_until: u64,
) -> Sending {
    let deadline = clock.now().saturating_add(SENDING_SECONDS).min(valid_until);
    let mut pause = SHORT_PAUSE;
    // Once an answer was lost the network may have it, and only the ledger can tell otherwise.
    let mut doubtful = false;
    let is_bump = matches!(envelope, xdr::TransactionEnvelope::TxFeeBump(_));
    loop {
        let failure = match rpc.send(envelope).await {
            Ok(Submission::Duplicate) if !doubtful => return Sending::Known,
            Ok(Submission::Pending | Submission::Duplicate) => return Sending::Out,
            Ok(Submission::Refused(_)) if doubtful => return Sending::Out,
            // Another gateway with the same sponsor was first with this sequence number, and a fee bump could only outbid
            // it: the next ledger tells who is next.
            Ok(Submission::Refused(xdr::TransactionResultCode::TxInsufficientFee)) if is_bump => {
                Failure::unavailable("the network's queue wants a higher fee for our transaction")
            }
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
        if clock.now() >= deadline {
            return if doubtful { Sending::Out } else { Sending::In(failure) };
        }
        sleep(pause).await;
        pause = pause.saturating_mul(2).min(LONG_PAUSE);
    }
}

/// Follows the transaction `hash`, which the network has, or may have.
///
/// A payer waits as long as there is hope: until the transaction cannot land any more, or the RPC says nothing at all, but
/// for `patience` seconds at most.
pub(crate) async fn follow(
    rpc: &Rpc,
    clock: &Clock,
    envelope: &xdr::TransactionEnvelope,
    hash: TxHash,
    sent: &Sent,
    patience: u64,
) -> Fate {
    let started = clock.now();
    let give_up =
        sent.valid_until.saturating_add(GRACE_SECONDS).min(started.saturating_add(patience));
    let mut heard = started;
    let mut polls: u32 = 0;
    let mut failure = Failure::unavailable("the transaction has not landed yet");
    loop {
        sleep(POLL).await;
        polls = polls.saturating_add(1);
        match rpc.transaction(hash).await {
            Ok(Lookup::Applied(transaction)) => return Fate::Applied(transaction),
            Ok(Lookup::NotFound { latest, oldest, .. }) => {
                heard = clock.now();
                let late = latest.closed_at.is_some_and(|closed| closed > sent.valid_until);
                if late && oldest <= sent.since {
                    return Fate::Gone;
                }
            }
            Err(error) => failure = error.into(),
        }
        let now = clock.now();
        if now > give_up || now.saturating_sub(heard) > SILENCE_SECONDS {
            warn!(transaction = %hash, "the fate of a transaction is unknown");
            return Fate::Unknown(failure);
        }
        // A node may lose a transaction that it took.
        if polls.is_multiple_of(POLLS_TO_RESEND) {
            match rpc.send(envelope).await {
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

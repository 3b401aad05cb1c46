//! What is counted of a payment that did not open the valve.

use crate::{
    pay::{Denied, FaultKind, Method as _, Refusal, RefusalKind, channel::Channel, charge::Charge},
    pay::{methods::Credential, x402::X402},
    telemetry::{
        label::{Outcome, Rail, Reason},
        traffic::Counts,
    },
};

/// What a payment with this credential counts under.
pub(super) const fn rail_of(credential: &Credential) -> Rail {
    match credential {
        Credential::X402(..) => X402::RAIL,
        Credential::Charge(..) => Charge::RAIL,
        Credential::Channel(..) => Channel::RAIL,
    }
}

/// What became of a payment whose request was not served: whether its money had moved.
pub(super) const fn unserved(has_paid: bool) -> Outcome {
    if has_paid { Outcome::NotServed } else { Outcome::Returned }
}

/// Counts a payment that was denied.
pub(super) fn denied(counts: &Counts, rail: Rail, denied: &Denied) {
    match denied {
        Denied::Refused(refusal) => refused(counts, rail, refusal),
        Denied::Failed(fault) => counts.ended(
            rail,
            match fault.kind {
                FaultKind::Unavailable => Outcome::Failed,
                FaultKind::Pending { .. } => Outcome::Pending,
            },
        ),
        Denied::Replayed(_) => counts.ended(rail, Outcome::Replayed),
    }
}

/// Counts a payment that was refused.
pub(super) fn refused(counts: &Counts, rail: Rail, refusal: &Refusal) {
    if let Some(reason) = reason_of(refusal.kind) {
        counts.rejected(rail, reason);
    }
}

/// `None` of what is said to those who do not pay.
const fn reason_of(kind: RefusalKind) -> Option<Reason> {
    Some(match kind {
        RefusalKind::Unpaid => return None,
        RefusalKind::Malformed => Reason::Malformed,
        RefusalKind::NotOffered => Reason::NotOffered,
        RefusalKind::Expired => Reason::Expired,
        RefusalKind::InvalidPayload => Reason::InvalidPayload,
        RefusalKind::Invalid => Reason::Invalid,
        RefusalKind::BadSignature => Reason::BadSignature,
        RefusalKind::DeltaTooSmall => Reason::DeltaTooSmall,
        RefusalKind::InsufficientBalance => Reason::InsufficientBalance,
        RefusalKind::OverDeposit => Reason::OverDeposit,
        RefusalKind::ChannelRejected => Reason::ChannelRejected,
        RefusalKind::ChannelEnded => Reason::ChannelEnded,
        RefusalKind::SettlementFailed => Reason::SettlementFailed,
        RefusalKind::Ambiguous => Reason::Ambiguous,
        RefusalKind::InUse => Reason::InUse,
        RefusalKind::IdentifierTaken => Reason::IdentifierTaken,
    })
}

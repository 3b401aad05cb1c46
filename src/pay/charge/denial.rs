//! Why a charge does not open the valve, in the words that go to the client.

use crate::{
    ledger::relay::SENT_ALREADY,
    pay::{Denied, Fault, Refusal, RefusalKind, mpp::not_ours},
    store::{TakenBy, TakenState},
};

/// A payment that does not pay; `reason` may be an x402 code, whose prefix says nothing here.
pub(super) fn invalid(reason: &str, detail: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::Invalid, plain(reason), detail)
}

/// A payment that the ledger's side finds wanting.
pub(super) fn unpaid(reason: &str, detail: impl Into<String>) -> Refusal {
    if reason == SENT_ALREADY { sent_already() } else { invalid(reason, detail) }
}

/// A payment that was verified and then did not settle.
pub(super) fn settlement_failed(reason: &str) -> Refusal {
    if reason == SENT_ALREADY {
        return sent_already();
    }
    let detail = "the payment could not be settled, and no money moved: sign a new one";
    Refusal::new(RefusalKind::SettlementFailed, plain(reason), detail)
}

/// A challenge that another payment has.
pub(super) fn challenge_taken(taken: &TakenBy) -> Denied {
    match &taken.state {
        TakenState::Held => Refusal::new(
            RefusalKind::InUse,
            "challenge_in_use",
            "another payment for this challenge is under way: a challenge is paid once",
        )
        .into(),
        TakenState::Pending(submitting) => {
            let detail = "another payment for this challenge is pending";
            Fault::pending(detail, submitting.transaction).into()
        }
        TakenState::Settled | TakenState::Delivered => not_ours(
            "another payment was made for this challenge: present that one, or take the new challenge",
        )
        .into(),
    }
}

/// A transaction that somebody has sent before it was presented: perhaps the payer, and so no reason to pay again.
fn sent_already() -> Refusal {
    Refusal::new(
        RefusalKind::InUse,
        SENT_ALREADY,
        "this transaction was sent to the network before it was presented; do not pay again: once it has landed, present \
         its hash, signed over this challenge (`signedHash`)",
    )
}

fn plain(reason: &str) -> &str {
    ["invalid_exact_stellar_payload_", "invalid_exact_stellar_", "settle_exact_stellar_"]
        .iter()
        .find_map(|prefix| reason.strip_prefix(prefix))
        .unwrap_or(reason)
}

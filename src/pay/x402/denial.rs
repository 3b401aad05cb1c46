//! Why a payment does not open the valve, in the words that go to the client or to the log.

use crate::{
    ledger::facilitator::{Invalid, Payment},
    pay::{Refusal, RefusalKind},
    protocol::{
        stellar::TxHash,
        x402::{self, Settlement},
    },
};

/// A payment that was verified and then did not settle; `transaction` is the one that failed, if there was one.
pub(super) fn settlement_failed(
    payment: &Payment,
    reason: &str,
    transaction: Option<TxHash>,
) -> Refusal {
    let settlement = Settlement {
        success: false,
        error_reason: Some(reason.to_owned()),
        transaction: transaction.map(|hash| hash.to_string()).unwrap_or_default(),
        network: payment.expected.network.name().to_owned(),
        payer: Some(payment.transfer.payer().to_string()),
        amount: None,
    };
    let header = (x402::PAYMENT_RESPONSE, x402::encode(&settlement.to_json()));
    let detail = "the payment could not be settled, and no money moved: sign a new one";
    Refusal {
        header: Some(Box::new(header)),
        ..Refusal::new(RefusalKind::SettlementFailed, reason, detail)
    }
}

/// An offer that is gone by.
pub(super) fn expired() -> Refusal {
    let detail = "the offer that this payment accepts has expired: take the new one";
    Refusal::new(RefusalKind::Expired, "payment_expired", detail)
}

/// What the facilitator found wrong with the payment.
pub(super) fn refusal(invalid: &Invalid) -> Refusal {
    Refusal::new(RefusalKind::Invalid, invalid.reason.clone(), invalid.detail.clone())
}

/// A payment identifier that another payment has.
pub(super) fn payment_id_taken() -> Refusal {
    Refusal::new(
        RefusalKind::IdentifierTaken,
        "payment_identifier_conflict",
        "another payment was made with this payment identifier: present that one, or choose a new identifier",
    )
}

//! What a facilitator's answers mean.
//!
//! Its words are opaque and go no further than the log, but for a reason code that looks like one.

use std::borrow::Cow;

use http::StatusCode;
use serde_json::Value;

use crate::{
    ledger::facilitator::{
        Failure, Invalid, Outcome, Payment, SETTLEMENT_PENDING, Settled, VerifyError,
    },
    protocol::{
        json,
        stellar::TxHash,
        x402::{Settlement, Verification},
    },
};

/// Whether an answer with `status` says more about the facilitator than about the payment.
pub(super) fn is_outage(status: StatusCode) -> bool {
    status.is_server_error()
        || status.is_redirection()
        || matches!(
            status,
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
        )
}

/// The meaning of an answer of `/verify`.
pub(super) fn verified(
    status: StatusCode,
    body: &[u8],
    payment: &Payment,
) -> Result<(), VerifyError> {
    let bad = |what: &str| VerifyError::Failed(Failure::unavailable(what));
    let json = json::parse(body).ok();
    let told = json.as_ref().and_then(|json| Verification::from_json(json).ok());
    let Some(told) = told else {
        return Err(if status.is_success() {
            bad("the answer is no verification")
        } else {
            VerifyError::Failed(Failure::unavailable(format!("status {status}")))
        });
    };
    let payer = payment.transfer.payer();
    if !told.is_valid {
        let reason = reason(told.invalid_reason.as_deref(), "unexpected_verify_error");
        let detail = format!("the facilitator does not take this payment ({reason})");
        return Err(VerifyError::Invalid(Invalid { reason, detail, payer: Some(payer) }));
    }
    if !status.is_success() {
        return Err(VerifyError::Failed(Failure::unavailable(format!("status {status}"))));
    }
    match told.payer {
        Some(told) if told != payer.to_string() => Err(bad("it verified another payer")),
        _ => Ok(()),
    }
}

/// The meaning of an answer of `/settle`.
pub(super) fn settled(status: StatusCode, body: &[u8], payment: &Payment) -> Outcome {
    let json = json::parse(body).ok();
    let told = json.as_ref().and_then(|json| Settlement::from_json(json).ok());
    let Some(told) = told else {
        let failure = Failure::unavailable(format!("status {status}"));
        return if status.is_success() {
            let failure = Failure::unavailable("the answer is no settlement");
            Outcome::Unknown { transaction: hash_in(json.as_ref()), failure }
        } else if status.is_server_error() {
            Outcome::Unknown { transaction: None, failure }
        } else {
            // Refused before the payment was looked at: a wrong key, a wrong path, too many calls.
            Outcome::Unsent(failure)
        };
    };
    let transaction: Option<TxHash> = told.transaction.parse().ok();
    if !told.success {
        let reason = reason(told.error_reason.as_deref(), "unexpected_settle_error");
        return if reason == SETTLEMENT_PENDING {
            let failure = Failure::unavailable("the settlement is pending");
            Outcome::Unknown { transaction, failure }
        } else {
            Outcome::Rejected { reason, transaction }
        };
    }
    let (transfer, network) = (&payment.transfer, payment.expected.network);
    let payer = transfer.payer();
    let wrong = if told.network != network.name() {
        Some("it settled on another network")
    } else if told.payer.is_some_and(|told| told != payer.to_string()) {
        Some("it settled another payer's payment")
    } else if told.amount.is_some_and(|told| told != transfer.movement().amount.to_string()) {
        Some("it settled another amount")
    } else if !status.is_success() {
        Some("success with a status of failure")
    } else {
        None
    };
    match (wrong, transaction) {
        (None, Some(transaction)) => Outcome::Settled(Settled { transaction, payer, network }),
        (None, None) => {
            let failure = Failure::unavailable("it settled without a transaction hash");
            Outcome::Unknown { transaction: None, failure }
        }
        (Some(wrong), transaction) => {
            Outcome::Unknown { transaction, failure: Failure::unavailable(wrong) }
        }
    }
}

fn hash_in(json: Option<&Value>) -> Option<TxHash> {
    json?.get("transaction")?.as_str()?.parse().ok()
}

/// A reason code as it may reach a client: what does not look like one is replaced.
fn reason(told: Option<&str>, otherwise: &'static str) -> Cow<'static, str> {
    let code = |text: &&str| {
        let length = 1..=MOST_REASON;
        length.contains(&text.len())
            && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
    };
    told.filter(code).map_or(Cow::Borrowed(otherwise), |text| Cow::Owned(text.to_owned()))
}

const MOST_REASON: usize = 80;

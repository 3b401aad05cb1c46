//! A facilitator's answers read without a facilitator: the way in for the checks of [`crate::fuzz`].

use http::StatusCode;

use super::{answer, kinds};
use crate::{
    ledger::facilitator::{Outcome, Payment, Supported, VerifyError},
    protocol::{json, stellar::Network},
};

/// The meaning of an answer of `/verify`.
pub(crate) fn verified(
    status: StatusCode,
    body: &[u8],
    payment: &Payment,
) -> Result<(), VerifyError> {
    answer::verified(status, body, payment)
}

/// The meaning of an answer of `/settle`.
pub(crate) fn settled(status: StatusCode, body: &[u8], payment: &Payment) -> Outcome {
    answer::settled(status, body, payment)
}

/// The meaning of an answer of `/supported`; `None` if it cannot be read or offers nothing.
pub(crate) fn supported(body: &[u8], network: Network) -> Option<Supported> {
    kinds::read(&json::parse(body).ok()?, network).ok()
}

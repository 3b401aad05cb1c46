//! What is said to a request that pays nothing, or that nothing can be taken from now.

use tracing::warn;

use super::problem::Problem;
use crate::pay::{Fault, FaultKind, Refusal, RefusalKind, Terms};

/// Of a request without a payment.
pub(super) fn unpaid() -> Refusal {
    Refusal::new(
        RefusalKind::Unpaid,
        "Payment required",
        "this resource costs money: pay as the challenge in the headers says, and send the request again",
    )
}

/// Of a request that could be paid if it named a channel.
pub(super) fn unnamed() -> Refusal {
    Refusal::new(
        RefusalKind::Unpaid,
        "channel_not_named",
        "this resource is paid from a payment channel: name yours in the header `Payment-Channel: C…`, and the answer \
         says what to commit to",
    )
}

/// Of a fault that is ours, or a dependency's.
pub(super) fn faulty(terms: &Terms, fault: &Fault) -> Problem {
    match fault.kind {
        FaultKind::Pending { transaction } => {
            warn!(route = %terms.route, ?transaction, detail = %fault.detail, "settlement pending");
        }
        FaultKind::Unavailable => {
            warn!(route = %terms.route, detail = %fault.detail, "payments unavailable");
        }
    }
    Problem::from(fault)
}

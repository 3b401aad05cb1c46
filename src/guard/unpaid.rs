//! What is said to a request that pays nothing.

use crate::pay::{Refusal, RefusalKind};

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

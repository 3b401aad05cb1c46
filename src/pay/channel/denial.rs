//! Why a commitment does not open the valve, in the words that go to the client.

use super::check::Checked;
use crate::{
    closer::CloseError,
    ledger::channels::{LookError, Unfit as UnfitChannel},
    pay::{Denied, Fault, Receipt, Refusal, RefusalKind, Replay},
    protocol::stellar::ContractId,
    store::{
        self,
        channel::{Phase, Reserving, Standing, Unfit},
    },
};

/// What the account says to a commitment that it does not take.
pub(super) fn refused(
    outcome: &Reserving,
    checked: &Checked,
    receipt: impl FnOnce(Standing) -> Receipt,
) -> Denied {
    match outcome {
        Reserving::InFlight => Refusal::new(
            RefusalKind::InUse,
            "commitment_in_use",
            "another request with this commitment is under way: a commitment buys one answer",
        )
        .into(),
        Reserving::Bought { status, standing } => match http::StatusCode::from_u16(*status) {
            Ok(status) => {
                Denied::Replayed(Box::new(Replay { status, receipt: receipt(*standing) }))
            }
            Err(error) => Fault::unavailable(format!("the stored status: {error}")).into(),
        },
        Reserving::Refused(unfit) => unpaid(*unfit, checked).into(),
        Reserving::Ended(Phase::Closed { .. }) => ended("the channel is closed").into(),
        Reserving::Ended(_) => ended("the channel is being closed").into(),
        Reserving::Unsettled => Fault::unavailable(format!(
            "channel {} has as much unsettled as it may have; it is collected first",
            checked.request.channel
        ))
        .into(),
        Reserving::Busy => Fault::unavailable(format!(
            "channel {} has as many requests in flight as it may have",
            checked.request.channel
        ))
        .into(),
        Reserving::RolledBack { found, at_least } => Fault::unavailable(format!(
            "the store was rolled back: channel {} had authorised {at_least} at least, and {found} is stored: \
             restore it, or have an operator adopt the channel",
            checked.request.channel
        ))
        .into(),
        // Not an outcome that is refused.
        Reserving::Reserved(_) => Fault::unavailable("a reservation was lost").into(),
    }
}

fn unpaid(unfit: Unfit, checked: &Checked) -> Refusal {
    let amount = checked.payload.amount;
    match unfit {
        Unfit::Used => Refusal::new(
            RefusalKind::DeltaTooSmall,
            "amount_used",
            format!("a commitment to {amount} was used before: sign a higher one"),
        ),
        Unfit::TooLow => Refusal::new(
            RefusalKind::DeltaTooSmall,
            "amount_too_low",
            format!(
                "a commitment to {amount} is not above what its challenge named, or what was collected: sign a higher one"
            ),
        ),
        Unfit::ChallengeUsed => Refusal::new(
            RefusalKind::NotOffered,
            "challenge_used",
            "this challenge was answered before: answer the new one",
        ),
        Unfit::Spent => Refusal::new(
            RefusalKind::NotOffered,
            "commitment_used",
            "this commitment was for another request, or may not come again; what it did not buy is credit",
        ),
        Unfit::OverDeposit => Refusal::new(
            RefusalKind::OverDeposit,
            "amount_exceeds_deposit",
            format!("a commitment to {amount} is more than the channel was given: top it up"),
        ),
        Unfit::Expired => crate::pay::mpp::expired(),
        Unfit::Short { needed } => Refusal::new(
            RefusalKind::InsufficientBalance,
            "insufficient_balance",
            format!("a commitment to {amount} does not cover the request: {needed} at least does"),
        ),
    }
}

/// A commitment that its channel's key did not sign.
pub(super) fn bad_signature() -> Refusal {
    Refusal::new(
        RefusalKind::BadSignature,
        "invalid_signature",
        "the commitment is not signed by the channel's commitment key, for this network, channel and amount",
    )
}

/// A channel that does not pay here.
pub(super) fn unfit(channel: ContractId, detail: &str) -> Refusal {
    let detail = format!("channel {channel} does not pay here: {detail}");
    Refusal::new(RefusalKind::ChannelRejected, "channel_rejected", detail)
}

pub(super) fn rejected(unfit: &UnfitChannel) -> Refusal {
    Refusal::new(RefusalKind::ChannelRejected, "channel_rejected", unfit.to_string())
}

/// A route that takes no channels.
pub(super) fn not_offered() -> Refusal {
    crate::pay::mpp::not_ours("this route takes no payments from channels any more")
}

/// A request to close that a stranger could have sent.
pub(super) fn stale_close() -> Refusal {
    Refusal::new(
        RefusalKind::DeltaTooSmall,
        "stale_close",
        "to close, sign a commitment that is above the highest one so far",
    )
}

fn ended(detail: &str) -> Refusal {
    let detail = format!("{detail}, and takes no commitments: open another");
    Refusal::new(RefusalKind::ChannelEnded, "channel_finalized", detail)
}

/// Why a channel cannot be looked at.
pub(super) fn fault_of_look(error: LookError) -> Denied {
    match error {
        LookError::Unfit(unfit) => rejected(&unfit).into(),
        LookError::TooMany { retry_after } => {
            let detail = "too many unknown channels are asked for";
            Fault { retry_after, ..Fault::unavailable(detail) }.into()
        }
        LookError::Failed(detail) => Fault::unavailable(detail).into(),
    }
}

/// Why a commitment is not taken of a channel that cannot be looked at, or is not good any more.
pub(super) fn not_taken(error: LookError) -> Denied {
    match error {
        LookError::Unfit(UnfitChannel::Closing { .. }) => {
            ended("its payer has begun to close the channel").into()
        }
        error => fault_of_look(error),
    }
}

/// Too many payers wait for their channels to be closed.
pub(super) fn closing_elsewhere() -> Fault {
    Fault::unavailable("as many channels are being closed as can be at once")
}

/// What kept the store from answering.
pub(super) fn fault_of_store(error: store::Error) -> Denied {
    Fault::unavailable(error).into()
}

/// Why a channel is not closed.
pub(super) fn not_closed(error: CloseError) -> Denied {
    match error {
        CloseError::Nothing | CloseError::Unknown(_) => Refusal::new(
            RefusalKind::Invalid,
            "nothing_to_collect",
            "nothing was delivered from this channel that could be collected: its payer ends it with `close_start`",
        )
        .into(),
        CloseError::Closed => ended("the channel is closed").into(),
        CloseError::Pending(failure) => Fault::pending(failure.detail, None).into(),
        error => Fault::unavailable(error).into(),
    }
}

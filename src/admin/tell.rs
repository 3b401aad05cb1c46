//! Where channels and payments stand, as JSON. Amounts are decimal digits of base units, in text: not every reader has integers so large.

use serde_json::{Value, json};

use super::Unresolved;
use crate::{
    closer::{Collected, Standing},
    protocol::{
        money::Amount,
        stellar::{Asset, ContractId},
    },
    store::{Member, channel::Phase},
};

/// One channel; `assets` are those with a name.
pub(super) fn standing(standing: &Standing, assets: &[Asset]) -> Value {
    let Standing {
        channel,
        token,
        authorised,
        spent,
        delivered,
        settled,
        at_risk,
        deposited,
        phase,
        collecting,
        deadline,
        unsettled_since,
        used_at,
        live_until,
    } = standing;
    let (state, closed_by) = match phase {
        Phase::Open => ("open", None),
        Phase::Closing => ("closing", None),
        Phase::Closed { transaction } => ("closed", *transaction),
    };
    json!({
        "channel": channel.to_string(),
        "state": state,
        "token": token.map(|token| token.to_string()),
        "asset": token.and_then(|token| asset(token, assets)),
        "authorised": authorised.to_string(),
        "spent": spent.to_string(),
        "delivered": delivered.to_string(),
        "settled": settled.to_string(),
        "at_risk": at_risk.to_string(),
        "deposited": deposited.as_ref().map(Amount::to_string),
        "deadline": deadline.map(|deadline| {
            json!({ "ledger": deadline.ledger, "seconds": deadline.seconds })
        }),
        "unsettled_since": unsettled_since,
        "used_at": used_at,
        "live_until": live_until,
        "collecting": collecting.map(|transaction| transaction.to_string()),
        "closed_by": closed_by.map(|transaction| transaction.to_string()),
    })
}

/// What was collected from `channel`.
pub(super) fn collected(channel: ContractId, collected: &Collected) -> Value {
    let Collected { transaction, withdrawn, closed } = collected;
    json!({
        "channel": channel.to_string(),
        "transaction": transaction.map(|transaction| transaction.to_string()),
        "settled": withdrawn.to_string(),
        "closed": closed,
    })
}

/// The account of `channel` goes on from `authorised`.
pub(super) fn adopted(channel: ContractId, authorised: Amount) -> Value {
    json!({ "channel": channel.to_string(), "authorised": authorised.to_string() })
}

/// One gateway that shares the store.
pub(super) fn member(member: &Member) -> Value {
    let Member { id, name, is_reconciled } = member;
    json!({ "id": id.to_string(), "name": name, "is_reconciled": is_reconciled })
}

/// Payments whose outcome is not known, whether or not they are all; `assets` are those with a name.
pub(super) fn payments(unresolved: &[Unresolved], is_all: bool, assets: &[Asset]) -> Value {
    let payment = |Unresolved { pending, payment }: &Unresolved| {
        let worth = payment.map(|(_, worth)| worth);
        let submitting = &pending.submitting;
        json!({
            "id": hex::encode(pending.key.0),
            "method": payment.map(|(method, _)| method),
            "amount": worth.map(|worth| worth.amount.to_string()),
            "token": worth.map(|worth| worth.asset.to_string()),
            "asset": worth.and_then(|worth| asset(worth.asset, assets)),
            "payer": worth.and_then(|worth| worth.payer).map(|payer| payer.to_string()),
            "transaction": submitting.transaction.map(|transaction| transaction.to_string()),
            "valid_until": submitting.valid_until,
        })
    };
    let told: Vec<_> = unresolved.iter().map(payment).collect();
    json!({ "unresolved": told, "more": !is_all })
}

fn asset(token: ContractId, assets: &[Asset]) -> Option<Value> {
    let asset = assets.iter().find(|asset| asset.contract == token)?;
    Some(json!({ "name": &*asset.name, "decimals": asset.decimals.places() }))
}

//! What is told of channels: before it is recorded, so that a gateway that dies in between tells it again and not never.

use serde_json::json;

use super::Inner;
use crate::{
    events::{self, Event, Kind},
    protocol::stellar::ContractId,
    store::{Error, channel::Collection},
};

/// The payer of `channel` has begun to take back what it holds.
pub(super) async fn closing(inner: &Inner, channel: ContractId) -> Result<(), Error> {
    if !events::is_heard(&inner.store, Kind::ChannelClosing) {
        return Ok(());
    }
    let Some(view) = inner.channels.seen(channel) else { return Ok(()) };
    let Some(effective_at) = view.close_effective_at else { return Ok(()) };
    let unsettled = inner.store.account(channel).await?.map(|account| account.at_risk());
    let notices = events::notices(&inner.store, Kind::ChannelClosing, || Event {
        kind: Kind::ChannelClosing,
        key: [&channel.0[..], &effective_at.to_be_bytes()].concat(),
        at: inner.clock.now(),
        data: json!({
            "channel": channel.to_string(),
            "asset": view.token.to_string(),
            "payer": view.payer.to_string(),
            "unsettled": unsettled.unwrap_or_default().to_string(),
            "ledger": view.ledger,
            "effective_at_ledger": effective_at,
        }),
    });
    inner.store.tell(notices).await
}

/// A transaction has collected from `channel`; its account does not know yet.
pub(super) async fn collected(
    inner: &Inner,
    channel: ContractId,
    collection: &Collection,
) -> Result<(), Error> {
    if !events::is_heard(&inner.store, Kind::ChannelCollected) {
        return Ok(());
    }
    let Collection { closes, amount, transaction, .. } = *collection;
    let withdrawn = inner.store.account(channel).await?.map(|account| account.withdrawn());
    if inner.channels.seen(channel).is_none() {
        // What it says of the channel's fitness does not matter.
        drop(inner.channels.refresh(channel, None).await);
    }
    let asset = inner.channels.seen(channel).map(|view| view.token.to_string());
    let notices = events::notices(&inner.store, Kind::ChannelCollected, || Event {
        kind: Kind::ChannelCollected,
        key: transaction.0.to_vec(),
        at: inner.clock.now(),
        data: json!({
            "channel": channel.to_string(),
            "asset": asset,
            "amount": amount.less(withdrawn.unwrap_or_default()).to_string(),
            "withdrawn": amount.to_string(),
            "closed": closes,
            "transaction": transaction.to_string(),
        }),
    });
    inner.store.tell(notices).await
}

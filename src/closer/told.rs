//! What is told of channels: before it is recorded, so that a gateway that dies in between tells it again and not never.
//!
//! Money comes first: where the outbox does not take what is told, it is kept here and told later, and the channel's
//! business goes on meanwhile.

use std::collections::HashSet;

use serde_json::json;
use tracing::{error, warn};

use super::{Inner, lock};
use crate::{
    events::{self, Event, Kind},
    protocol::stellar::ContractId,
    store::{Notice, channel::Collection},
};

/// What is not told yet, and what need not be told again.
#[derive(Debug, Default)]
pub(super) struct Untold {
    /// What the outbox did not take. It goes with the process.
    notices: Vec<Notice>,
    /// Channels whose end was told, with the ledger at which it takes effect.
    ends: HashSet<(ContractId, u32)>,
}

/// The payer of `channel` has begun to take back what it holds, if the ledger shows that; whoever else is closing it too.
pub(super) async fn closing(inner: &Inner, channel: ContractId) {
    let Some(view) = inner.channels.seen(channel) else { return };
    let Some(effective_at) = view.close_effective_at else { return };
    if !events::is_heard(&inner.store, Kind::ChannelClosing)
        || lock(&inner.untold).ends.contains(&(channel, effective_at))
    {
        return;
    }
    let account = inner.store.account(channel).await.ok().flatten();
    let notices = events::notices(&inner.store, Kind::ChannelClosing, || Event {
        kind: Kind::ChannelClosing,
        key: [&channel.0[..], &effective_at.to_be_bytes()].concat(),
        at: inner.clock.now(),
        data: json!({
            "channel": channel.to_string(),
            "asset": view.token.to_string(),
            "payer": view.payer.to_string(),
            "unsettled": account.map(|account| account.at_risk().to_string()),
            "ledger": view.ledger,
            "effective_at_ledger": effective_at,
        }),
    });
    tell(inner, channel, notices).await;
    let mut untold = lock(&inner.untold);
    if untold.ends.len() >= MOST_ENDS {
        untold.ends.clear();
    }
    untold.ends.insert((channel, effective_at));
}

/// A transaction has collected from `channel`; its account does not know yet.
pub(super) async fn collected(inner: &Inner, channel: ContractId, collection: &Collection) {
    if !events::is_heard(&inner.store, Kind::ChannelCollected) {
        return;
    }
    let Collection { closes, amount, transaction, .. } = *collection;
    let account = inner.store.account(channel).await.ok().flatten();
    let under_way = account.as_ref().map(|account| account.collection());
    if under_way.is_some_and(|under_way| under_way.is_none_or(|it| it.transaction != transaction)) {
        // Whoever has recorded it has told it.
        return;
    }
    if inner.channels.seen(channel).is_none() {
        // What it says of the channel's fitness does not matter.
        drop(inner.channels.refresh(channel, None).await);
    }
    let asset = inner.channels.seen(channel).map(|view| view.token.to_string());
    let more = account.map(|account| amount.less(account.withdrawn()).to_string());
    let notices = events::notices(&inner.store, Kind::ChannelCollected, || Event {
        kind: Kind::ChannelCollected,
        key: transaction.0.to_vec(),
        at: inner.clock.now(),
        data: json!({
            "channel": channel.to_string(),
            "asset": asset,
            "amount": more,
            "withdrawn": amount.to_string(),
            "closed": closes,
            "transaction": transaction.to_string(),
        }),
    });
    tell(inner, channel, notices).await;
}

/// Tells what the outbox did not take, if it does by now.
pub(super) async fn again(inner: &Inner) {
    let notices = std::mem::take(&mut lock(&inner.untold).notices);
    if let Err(error) = inner.store.tell(notices.clone()).await {
        warn!(%error, events = notices.len(), "what was to be told of channels is not told yet");
        keep(inner, notices);
    }
}

async fn tell(inner: &Inner, channel: ContractId, notices: Vec<Notice>) {
    if let Err(error) = inner.store.tell(notices.clone()).await {
        warn!(%error, %channel, "what happened to a channel cannot be told yet: the outbox does not take it");
        keep(inner, notices);
    }
}

fn keep(inner: &Inner, notices: Vec<Notice>) {
    let mut untold = lock(&inner.untold);
    untold.notices.extend(notices);
    let over = untold.notices.len().saturating_sub(MOST_UNTOLD);
    if over > 0 {
        untold.notices.drain(..over);
        error!(events = over, "too much is to be told of channels: the oldest is dropped");
    }
}

const MOST_UNTOLD: usize = 1_000;
const MOST_ENDS: usize = 10_000;

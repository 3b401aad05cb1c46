//! What the operator's systems are told of: events, as signed webhooks, each at least once.
//!
//! An event is put into the store's outbox in the commit of what it tells where that is one commit, and before what it tells is
//! recorded where it is not; so a gateway that dies loses none. Each has a name that follows from what it tells: who hears of
//! it twice knows that it is one. Payments out of a channel are told when they are collected, not one by one: at thousands of
//! requests a second that would be a message each. Knows who is told, and how; what is worth telling, those say who do it.
//! Source: Standard Webhooks 1.0.

mod alarms;
mod deliveries;
mod figures;
mod messenger;
mod secret;
mod sender;
#[cfg(test)]
mod tests;

use std::{fmt, sync::Arc};

use bytes::Bytes;
use http::Uri;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::{sync::Mutex, time::Instant};

pub use self::{
    alarms::Alarms,
    figures::Figures,
    secret::{NotSecret, Secret},
    sender::Sender,
};
use crate::{
    protocol::mpp::timestamp,
    store::{ClaimKey, Notice, Receiver, Store, Subscription, Told, Topic, channel::Token},
};

/// What can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A payment has moved its money: x402, or a charge.
    PaymentSettled,
    /// A payment has moved its money, and a while later no answer was delivered for it. It may be presented again.
    PaymentUndelivered,
    /// A payer has begun to take back what its channel holds.
    ChannelClosing,
    /// What was delivered was collected from a channel.
    ChannelCollected,
    /// A sponsor has little left to pay fees with.
    SponsorLow,
    /// The store does not answer: nothing can be paid.
    StoreUnavailable,
    /// Whoever settles payments cannot.
    FacilitatorUnavailable,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::PaymentSettled,
        Self::PaymentUndelivered,
        Self::ChannelClosing,
        Self::ChannelCollected,
        Self::SponsorLow,
        Self::StoreUnavailable,
        Self::FacilitatorUnavailable,
    ];

    /// As it is called in the configuration and in what is told.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::PaymentSettled => "payment.settled",
            Self::PaymentUndelivered => "payment.undelivered",
            Self::ChannelClosing => "channel.closing",
            Self::ChannelCollected => "channel.collected",
            Self::SponsorLow => "sponsor.low",
            Self::StoreUnavailable => "store.unavailable",
            Self::FacilitatorUnavailable => "facilitator.unavailable",
        }
    }

    const fn topic(self) -> Topic {
        Topic(match self {
            Self::PaymentSettled => 0,
            Self::PaymentUndelivered => 1,
            Self::ChannelClosing => 2,
            Self::ChannelCollected => 3,
            Self::SponsorLow => 4,
            Self::StoreUnavailable => 5,
            Self::FacilitatorUnavailable => 6,
        })
    }
}

/// Somebody who is told.
#[derive(Clone)]
pub struct Webhook {
    /// Where; it may carry a key: not for logs.
    pub url: Uri,
    /// What is sent is signed with it.
    pub secret: Secret,
    /// Of what.
    pub kinds: Vec<Kind>,
}

impl Webhook {
    /// What waits for it in the outbox waits under this name: its URL, so that it may have another secret meanwhile.
    #[must_use]
    pub fn receiver(&self) -> Receiver {
        let digest = Sha256::digest(self.url.to_string());
        Receiver(*digest.first_chunk().expect("32 bytes begin with 8"))
    }

    /// Where it is, for logs and figures.
    #[must_use]
    pub fn host(&self) -> &str {
        self.url.authority().map_or("", |authority| authority.as_str())
    }
}

impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook")
            .field("host", &self.host())
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

/// What telling has for as long as a gateway runs, whoever is told. Clones share it.
#[derive(Clone, Debug)]
pub struct Telling {
    /// What becomes of what is told.
    pub figures: Figures,
    /// What is told though the store is away.
    pub alarms: Alarms,
    /// What this gateway is called among those that share a store.
    teller: Token,
    /// When the outbox is rid of what nobody sends, next.
    forgets_at: Arc<Mutex<Instant>>,
}

impl Default for Telling {
    fn default() -> Self {
        let (figures, alarms) = Default::default();
        let forgets_at = Arc::new(Mutex::new(Instant::now()));
        Self { figures, alarms, teller: Token::draw(), forgets_at }
    }
}

/// Something that happened.
#[derive(Clone, Debug)]
pub struct Event {
    /// What.
    pub kind: Kind,
    /// What tells it from others of its kind: the same event has the same.
    pub key: Vec<u8>,
    /// When, in seconds since 1970.
    pub at: u64,
    /// The rest of it: an object whose amounts are text, and which holds no secret and no signature.
    pub data: Value,
}

/// Whether anybody wants to hear of events of `kind`.
#[must_use]
pub fn is_heard(store: &Store, kind: Kind) -> bool {
    store.is_heard(kind.topic())
}

/// The notices of an event of `kind`, for all who want to hear of it. What it tells is only looked up if there is one.
#[must_use]
pub fn notices(store: &Store, kind: Kind, event: impl FnOnce() -> Event) -> Vec<Notice> {
    store.notices(kind.topic(), || event().told())
}

/// The notice of an event about the claim `key`, which has settled: it is told if nothing was delivered for that in half a
/// minute and nobody is about to, whether or not the process lives.
#[must_use]
pub fn unless_delivered(
    store: &Store,
    key: ClaimKey,
    event: impl FnOnce() -> Event,
) -> Vec<Notice> {
    match is_heard(store, Kind::PaymentUndelivered) {
        true => vec![deliveries::doubt(key, event().told())],
        false => Vec::new(),
    }
}

impl Event {
    fn told(self) -> Told {
        let Self { kind, key, at, data } = self;
        // No name of a kind holds the byte between them.
        let digest = Sha256::new().chain_update(kind.as_str()).chain_update([0]).chain_update(key);
        let id = *digest.finalize().first_chunk().expect("32 bytes begin with 16");
        let body = json!({
            "id": name(&id),
            "type": kind.as_str(),
            "time": timestamp::write(at.saturating_mul(1_000)),
            "data": data,
        });
        Told { id, at, body: Bytes::from(body.to_string()) }
    }
}

/// Has the store make notices for these, and no others.
pub fn subscribe(store: &Store, webhooks: &[Webhook]) {
    let subscription = |webhook: &Webhook| Subscription {
        receiver: webhook.receiver(),
        topics: webhook.kinds.iter().map(|kind| kind.topic()).collect(),
    };
    store.subscribe(webhooks.iter().map(subscription).collect());
}

/// What an event is called: `evt_` and 32 hexadecimal digits.
fn name(id: &[u8; 16]) -> String {
    format!("evt_{}", hex::encode(id))
}

//! What others are to be told, kept until they were: the *outbox*.
//!
//! A *notice* is one message to one receiver. It is stored in the commit of what it tells, or by itself, and stays until it
//! is said to have arrived: nothing that was stored is lost with the process. What waits for one receiver is bounded; beyond
//! that the oldest is dropped, and counted. Where nobody subscribes, nothing is stored and nothing is asked of the store.
//! Knows neither what a notice says nor how it gets there.

use std::{fmt, time::Duration};

use ::bytes::Bytes;
use arc_swap::ArcSwap;
use tokio::sync::watch;

use super::{ClaimKey, Error, Store, bytes::Reader, channel::Token};

/// Who is told: a digest of what names it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Receiver(pub [u8; 8]);

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Receiver({})", hex::encode(self.0))
    }
}

/// What a notice is about, by a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Topic(pub u8);

/// Who wants to be told of what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// Who.
    pub receiver: Receiver,
    /// Of what.
    pub topics: Vec<Topic>,
}

/// One message to one receiver.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    /// To whom.
    pub receiver: Receiver,
    /// What it is known by: one that is told twice has one name.
    pub id: [u8; 16],
    /// When what it tells came to be, in seconds since 1970.
    pub at: u64,
    /// What is said, a few KiB at most; the store does not read it.
    pub body: Bytes,
}

impl fmt::Debug for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (id, at) = (hex::encode(self.id), self.at);
        f.debug_struct("Notice")
            .field("receiver", &self.receiver)
            .field("id", &id)
            .field("at", &at)
            .finish_non_exhaustive()
    }
}

/// Where a notice stands among those to the same receiver: later ones are greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place(pub(super) u64, pub(super) u64);

/// A page of what waits for a receiver, the oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// At most 64.
    pub notices: Vec<(Place, Notice)>,
    /// After which place there may be more; `None` if these were the last.
    pub next: Option<Place>,
    /// How many wait for it in all.
    pub waiting: u64,
    /// How many were dropped for it since this was asked last.
    pub dropped: u64,
}

/// Who subscribes, and the news that something was stored.
#[derive(Debug)]
pub(super) struct Outbox {
    subscriptions: ArcSwap<Vec<Subscription>>,
    news: watch::Sender<()>,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { subscriptions: ArcSwap::default(), news: watch::Sender::new(()) }
    }
}

impl Outbox {
    /// Something was stored.
    pub(super) fn tell(&self) {
        self.news.send_replace(());
    }
}

impl Store {
    /// Has notices made for these from now on, and for no others. What waits for others stays as it is, until its time has
    /// passed.
    pub fn subscribe(&self, subscriptions: Vec<Subscription>) {
        self.2.subscriptions.store(subscriptions.into());
    }

    /// Whether anybody wants to hear of `topic`.
    #[must_use]
    pub fn is_heard(&self, topic: Topic) -> bool {
        self.2.subscriptions.load().iter().any(|one| one.topics.contains(&topic))
    }

    /// The notices of what `make` tells, one for each who wants to hear of `topic`. Nothing is made where that is nobody.
    #[must_use]
    pub fn notices(&self, topic: Topic, make: impl FnOnce() -> Told) -> Vec<Notice> {
        let subscriptions = self.2.subscriptions.load();
        let mut hear = subscriptions.iter().filter(|one| one.topics.contains(&topic)).peekable();
        if hear.peek().is_none() {
            return Vec::new();
        }
        let Told { id, at, body } = make();
        hear.map(|one| Notice { receiver: one.receiver, id, at, body: body.clone() }).collect()
    }

    /// Stores notices; they are durable when this returns. Of what is stored in a commit of its own, that is: what a claim's
    /// next step tells goes with [`super::Ticket::tell`].
    ///
    /// # Errors
    /// As [`Store::claim`]. They may be stored all the same: told again they have the same name.
    pub async fn tell(&self, notices: Vec<Notice>) -> Result<(), Error> {
        if notices.is_empty() {
            return Ok(());
        }
        let told = self.0.tell(notices).await;
        self.2.tell();
        told
    }

    /// What waits for `receiver`, of it what stands after `after`.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn waiting(
        &self,
        receiver: Receiver,
        after: Option<Place>,
    ) -> Result<Waiting, Error> {
        self.0.waiting(receiver, after).await
    }

    /// Takes what has arrived at `receiver` out of the outbox, or what will never.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn arrived(&self, receiver: Receiver, places: Vec<Place>) -> Result<(), Error> {
        if places.is_empty() {
            return Ok(());
        }
        self.0.arrived(receiver, places).await
    }

    /// Whether it is for `teller` to tell `receiver` what waits: for one gateway of several at a time, which has it for as
    /// long as `lease` and has to ask again before that ends.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn is_teller(
        &self,
        receiver: Receiver,
        teller: Token,
        lease: Duration,
    ) -> Result<bool, Error> {
        self.0.is_teller(receiver, teller, lease).await
    }

    /// Whether something was delivered for the payment `key`, which has settled.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn delivery(&self, key: ClaimKey) -> Result<Delivery, Error> {
        self.0.delivery(key).await
    }

    /// Forgets what came to be before `before`, in seconds since 1970, and waits for whomever: its time has passed.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn forget_notices(&self, before: u64) -> Result<(), Error> {
        self.0.forget_notices(before).await
    }

    /// Changes whenever this process has stored notices.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<()> {
        self.2.news.subscribe()
    }
}

/// What has become of a payment that has settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// A request has it in hand.
    UnderWay,
    /// Nothing was delivered for it, and nobody is about to.
    Missing,
    /// It has bought its delivery, or is forgotten.
    Done,
}

/// What a notice says, whoever it goes to.
#[derive(Clone, Debug)]
pub struct Told {
    /// As in [`Notice`].
    pub id: [u8; 16],
    /// As in [`Notice`].
    pub at: u64,
    /// As in [`Notice`].
    pub body: Bytes,
}

impl Notice {
    /// As it is stored; the receiver stands elsewhere.
    pub(super) fn encode(&self) -> Vec<u8> {
        [&[FORMAT], &self.at.to_be_bytes()[..], &self.id, &self.body].concat()
    }

    pub(super) fn decode(receiver: Receiver, stored: &[u8]) -> Option<Self> {
        let mut reader = Reader::new(stored);
        let (format, at, id) = (reader.u8()?, reader.u64()?, reader.array()?);
        let body = Bytes::copy_from_slice(reader.rest());
        (format == FORMAT).then_some(Self { receiver, id, at, body })
    }
}

/// How much waits for one receiver at most.
pub(super) const MOST_WAITING: u64 = 10_000;
/// How much of it is asked for at once.
pub(super) const PAGE: usize = 64;
/// How long what waits is kept where nobody sends it.
pub const KEPT: Duration = Duration::from_secs(7 * 24 * 3_600);
const FORMAT: u8 = 1;

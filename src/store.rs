//! Remembers which payments were made and what became of them, so that each buys one delivery.
//!
//! Payments that move the money one by one are claims; those from a channel are the steps of its account: see
//! [`channel`].
//!
//! A payment is a *claim*: `claimed → submitting → settled → delivered`, with `released` and `refused` as other ends.
//! Whoever holds a claim has its [`Ticket`]; every verb that moves the claim on takes it. A verb is one atomic step, and
//! is durable before it returns. Knows no HTTP, no ledger and no clock: bytes, hashes and seconds come in as arguments.

pub mod channel;

mod backend;
mod bytes;
mod channels;
mod claim;
mod embedded;
mod error;
mod file;
mod known;
mod outbox;
mod record;
mod redis;
mod time;

use std::{fmt, path::PathBuf, sync::Arc, time::Duration};

use ::bytes::Bytes;

use self::{backend::Backend, known::Known, outbox::Outbox};
pub use self::{
    channels::{KEEPING, Reservation},
    error::Error,
    outbox::{
        Delivery, KEPT as NOTICES_KEPT, Notice, Place, Receiver, Subscription, Told, Topic, Waiting,
    },
    redis::{Durability, Member, MemberId, Settings as RedisSettings},
};
use crate::{protocol::stellar::TxHash, telemetry::metrics::Metrics};

/// Names one payment: a digest of what makes it unrepeatable, such as network, payer and nonce.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClaimKey(pub [u8; 32]);

impl fmt::Debug for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClaimKey({})", hex::encode(self.0))
    }
}

/// What a payment is for: a digest of all that must be the same when it comes again (the request's route, method and
/// canonical target, the offer that was accepted, and the authorization).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Binding(pub [u8; 32]);

impl fmt::Debug for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Binding({})", hex::encode(self.0))
    }
}

/// A payment that asks to be claimed.
#[derive(Clone, Debug)]
pub struct Claim {
    /// Which payment.
    pub key: ClaimKey,
    /// What else it uses up, if anything: a digest of the MPP challenge that it answers, or of the x402 payment identifier
    /// that it came with. An alias belongs to one claim at a time; aliases and keys may be equal and mean nothing by it.
    pub alias: Option<ClaimKey>,
    /// What it is for.
    pub binding: Binding,
    /// The time now, in seconds since 1970.
    pub now: u64,
    /// Until when the claim is remembered at least: not before the last instant at which the credential could still
    /// verify, with a margin; nor before the last at which another could come with this alias. In seconds since 1970.
    pub keep_until: u64,
    /// How it may come again if it was settled and not delivered. What the first claim said holds: it was paid for.
    pub redelivery: Redelivery,
}

/// How a payment that was settled and not delivered may be presented again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redelivery {
    /// Deliveries tried in all, the first one included.
    pub attempts: u8,
    /// How long after settling.
    pub within: Duration,
}

/// What became of asking for a claim.
#[derive(Debug)]
pub enum Claiming {
    /// The claim is the caller's, and nothing happened to it before.
    Fresh(Ticket),
    /// The payment was settled and not delivered; this is one more attempt, already counted.
    Redeliver(Ticket, Settled),
    /// Another request holds the claim now.
    InFlight,
    /// The payment was submitted and its outcome is not known: find it, then [`Store::resolve`] and claim again.
    Pending(Submitting),
    /// The payment bought its delivery.
    Delivered {
        /// As it was given to [`Store::settled`].
        settled: Settled,
        /// The status of the answer that was delivered, as it was given to [`Store::delivered`].
        status: u16,
    },
    /// The payment was refused for good.
    Refused {
        /// As it was given to [`Store::refuse`].
        reason: String,
    },
    /// The payment belongs to a request with another [`Binding`] or another alias, or with none where this one has one.
    OtherRequest,
    /// The alias belongs to another payment, whatever became of this one.
    AliasTaken(TakenBy),
    /// The payment was settled and not delivered, but its attempts are used up or its time has passed.
    Exhausted,
}

/// The claim that an alias belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakenBy {
    /// Which payment.
    pub key: ClaimKey,
    /// How far it has come.
    pub state: TakenState,
}

/// How far the claim has come that an alias belongs to. There is no refused one: it moved no money, so its alias is free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TakenState {
    /// A request holds it now, and may yet let go of the alias with it.
    Held,
    /// It was submitted and its outcome is not known; the alias may be free once it is resolved.
    Pending(Submitting),
    /// The money moved, and nothing was delivered for it yet.
    Settled,
    /// It bought its delivery.
    Delivered,
}

/// A transaction that may be on its way to the ledger. Its `Debug` shows no memo, which may hold a payment.
#[derive(Clone, PartialEq, Eq)]
pub struct Submitting {
    /// Its hash; unknown while a remote facilitator has it.
    pub transaction: Option<TxHash>,
    /// After this instant it cannot be applied any more, in seconds since 1970.
    pub valid_until: u64,
    /// The latest ledger when it was submitted: where a search begins.
    pub since_ledger: u32,
    /// What the payment method needs to resolve it after a restart, at most 16 KiB; the store does not read it.
    pub memo: Bytes,
}

impl fmt::Debug for Submitting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitting")
            .field("transaction", &self.transaction)
            .field("valid_until", &self.valid_until)
            .field("since_ledger", &self.since_ledger)
            .finish_non_exhaustive()
    }
}

/// A payment that moved the money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settled {
    /// The transaction that did.
    pub transaction: Option<TxHash>,
    /// The receipt, to be given again, at most 16 KiB; the store does not read it.
    pub receipt: Bytes,
    /// When, in seconds since 1970.
    pub at: u64,
}

/// What was found out about a pending claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The money moved: the claim may be presented for its delivery.
    Settled(Settled),
    /// The money did not move, and this payment will not be tried again.
    Refused {
        /// Said to whoever presents it again.
        reason: String,
    },
    /// The money did not move and the transaction is certain never to land: the claim is free again.
    Free,
}

/// A claim whose outcome is not known and that no request holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Which payment.
    pub key: ClaimKey,
    /// What was submitted.
    pub submitting: Submitting,
}

/// The permit to move one claim on: there is at most one for a claim at any time.
///
/// Dropping it is [`Store::release`] without waiting, so a panic or a cancelled request leaves no claim stuck.
pub struct Ticket {
    hold: backend::Hold,
    /// What the next step tells.
    told: Vec<Notice>,
}

impl Ticket {
    const fn new(hold: backend::Hold) -> Self {
        Self { hold, told: Vec::new() }
    }

    /// Has the next step store `notices` too, in the same commit.
    pub fn tell(&mut self, notices: Vec<Notice>) {
        self.told.extend(notices);
    }

    /// Which payment it is for.
    #[must_use]
    pub const fn key(&self) -> ClaimKey {
        self.hold.key()
    }
}

impl fmt::Debug for Ticket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Ticket").field(&self.key()).finish()
    }
}

/// The store. Clones share it.
///
/// # Cancellation
/// A verb whose future is dropped may or may not be carried out; a ticket that it would have returned is released.
#[derive(Clone, Debug)]
pub struct Store(Backend, Arc<Known>, Arc<Outbox>);

impl Store {
    /// Opens the file at `path`, making it if it does not exist, and locks it against other processes.
    ///
    /// The whole file is checked; it is small, since claims are forgotten once they cannot be presented any more.
    ///
    /// # Errors
    /// [`Error::Locked`], [`Error::NoFolder`], [`Error::Open`], [`Error::Corrupt`] or [`Error::UnknownFormat`].
    pub async fn open(path: impl Into<PathBuf>) -> Result<Self, Error> {
        embedded::Embedded::open(path.into()).await.map(Self::on_file)
    }

    /// A store that lives in memory and is gone with the process: for tests and demonstrations.
    ///
    /// # Errors
    /// [`Error::Stopped`] if no thread can be started for it.
    pub async fn in_memory() -> Result<Self, Error> {
        embedded::Embedded::in_memory().await.map(Self::on_file)
    }

    /// Connects to a server that several gateways may share, and asks whether it keeps what it is given as the settings
    /// want it.
    ///
    /// # Errors
    /// [`Error::Unavailable`], which says what is to be done about it.
    pub async fn redis(settings: RedisSettings) -> Result<Self, Error> {
        redis::Redis::open(settings).await.map(Self::on_server)
    }

    fn on_file(store: embedded::Embedded) -> Self {
        Self(Backend::Embedded(store), Arc::default(), Arc::default())
    }

    fn on_server(store: redis::Redis) -> Self {
        Self(Backend::Redis(store), Arc::default(), Arc::default())
    }

    /// Has `metrics` tell what a server that promises nothing may yet lose, if this is one.
    pub fn expose(&self, metrics: &Metrics) {
        self.0.expose(metrics);
    }

    /// The gateways that share the store, in the order of their names; empty unless replicas of the server may take over.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn members(&self) -> Result<Vec<Member>, Error> {
        self.0.members().await
    }

    /// Waits no more for a gateway that is gone for good, with its journal. Whether it was waited for. One that comes back
    /// is a member again.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn dismiss(&self, member: MemberId) -> Result<bool, Error> {
        self.0.dismiss(member).await
    }

    /// Claims a payment for one request.
    ///
    /// Its alias is held with it, and recorded with the first step that is durable. It is free again once the claim is let
    /// go of unrecorded, recalled and let go of, found to be free, refused (no money moved, so another payment may take the
    /// place of this one), or forgotten. Until then no other key can be claimed with it; that is looked at first. A claim
    /// that comes again must have the alias that it was recorded with.
    ///
    /// # Atomicity
    /// Of any number of calls with one key, at most one holds a ticket at any time; so it is for one alias. Of the claims
    /// with one alias, one at most is ever settled while it is remembered.
    ///
    /// # Errors
    /// As for every verb: [`Error::Unreachable`], [`Error::Stopped`]; [`Error::Corrupt`] and [`Error::UnknownFormat`] for
    /// this record.
    pub async fn claim(&self, claim: Claim) -> Result<Claiming, Error> {
        self.0.claim(claim).await
    }

    /// Records what is about to be submitted. Durable when it returns, so a crash never loses the hash: call it before
    /// sending.
    ///
    /// May be called again to add a hash that was not known the first time.
    ///
    /// # Errors
    /// As [`Store::claim`]; [`Error::OutOfOrder`] if another transaction may be on its way already: [`Store::recall`] it
    /// first.
    pub async fn submitting(
        &self,
        ticket: &mut Ticket,
        submitting: Submitting,
    ) -> Result<(), Error> {
        self.step(ticket, claim::Step::Submitting(submitting)).await
    }

    /// Takes back a submission that is certain never to land; the ticket may submit again, or end otherwise.
    ///
    /// # Errors
    /// As [`Store::claim`]; [`Error::OutOfOrder`] if the claim is settled.
    pub async fn recall(&self, ticket: &mut Ticket) -> Result<(), Error> {
        self.step(ticket, claim::Step::Recall).await
    }

    /// Records that the money moved; the delivery that is under way counts as the first attempt.
    ///
    /// # Errors
    /// As [`Store::claim`]; [`Error::OutOfOrder`] if it is settled otherwise already.
    pub async fn settled(&self, ticket: &mut Ticket, settled: Settled) -> Result<(), Error> {
        self.step(ticket, claim::Step::Settled(settled)).await
    }

    /// Records that a settled payment bought its delivery, an answer with `status`, and ends the ticket.
    ///
    /// # Errors
    /// As [`Store::claim`]; [`Error::OutOfOrder`] if it is not settled. After [`Error::Unreachable`] and [`Error::Stopped`]
    /// nobody knows whether it counts as delivered; after any other it does not.
    pub async fn delivered(&self, ticket: Ticket, status: u16) -> Result<(), Error> {
        self.end(ticket, claim::Step::Delivered { status }).await
    }

    /// Lets go of a claim. Not settled: it is free, as if it had never been claimed. Settled: it may be presented again.
    /// Submitted: it stays pending, whatever the caller believes; see [`Store::recall`].
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn release(&self, ticket: Ticket) -> Result<(), Error> {
        self.end(ticket, claim::Step::Release).await
    }

    /// As [`Store::release`], where nothing was asked to deliver: a settled payment has its attempt back.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn release_untried(&self, ticket: Ticket) -> Result<(), Error> {
        self.end(ticket, claim::Step::Untried).await
    }

    /// Refuses a payment for good, for `reason` (cut at 1 KiB): it did not move money, and is not tried again.
    ///
    /// # Errors
    /// As [`Store::claim`]; [`Error::OutOfOrder`] if it is settled.
    pub async fn refuse(&self, ticket: Ticket, reason: impl Into<String>) -> Result<(), Error> {
        self.end(ticket, claim::Step::Refused { reason: reason.into() }).await
    }

    /// Records what became of a pending claim. Does nothing, and says `false`, if `submitting` is not what the claim is
    /// pending on any more, or a request holds it: whoever got there first has resolved it. The outcome must be true of
    /// every submission equal to `submitting`, should the same one have been made twice.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn resolve(
        &self,
        key: ClaimKey,
        submitting: &Submitting,
        outcome: Outcome,
    ) -> Result<bool, Error> {
        self.resolve_and_tell(key, submitting, outcome, Vec::new()).await
    }

    /// As [`Store::resolve`], and stores `notices` in the same commit if this did it.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn resolve_and_tell(
        &self,
        key: ClaimKey,
        submitting: &Submitting,
        outcome: Outcome,
        notices: Vec<Notice>,
    ) -> Result<bool, Error> {
        let tells = !notices.is_empty();
        let resolved = self.0.resolve(key, submitting.clone(), outcome, notices).await;
        if tells {
            self.2.tell();
        }
        resolved
    }

    /// The claims that are pending and not held, at most 256 of them, in the order of their keys, after `after`. Fewer than
    /// 256 are the last. What a request lets go of meanwhile may stand before `after`: begin anew to find it.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn pending(&self, after: Option<ClaimKey>) -> Result<Vec<Pending>, Error> {
        self.0.pending(after).await
    }

    /// The secret called `name`: 32 random bytes, made once and the same ever after.
    ///
    /// # Errors
    /// As [`Store::claim`].
    pub async fn secret(&self, name: &'static str) -> Result<[u8; 32], Error> {
        self.0.secret(name).await
    }

    /// Whether the store can still record anything. Once it cannot, it stays so until the process starts again.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.0.is_running()
    }

    /// Carries out what was asked so far, closes the file and unlocks it. Later verbs fail with [`Error::Stopped`].
    ///
    /// # Errors
    /// [`Error::Stopped`] if it had stopped already.
    pub async fn close(&self) -> Result<(), Error> {
        self.0.close().await
    }

    async fn step(&self, ticket: &mut Ticket, step: claim::Step) -> Result<(), Error> {
        let told = std::mem::take(&mut ticket.told);
        let tells = !told.is_empty();
        let done = self.0.step(&ticket.hold, step, told).await;
        if tells {
            self.2.tell();
        }
        done
    }

    async fn end(&self, ticket: Ticket, step: claim::Step) -> Result<(), Error> {
        let Ticket { hold, told } = ticket;
        let tells = !told.is_empty();
        let done = self.0.end(hold, step, told).await;
        if tells {
            self.2.tell();
        }
        done
    }
}

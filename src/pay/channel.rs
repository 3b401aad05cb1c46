//! MPP `channel` by method `stellar`: one deposit, then a signed cumulative commitment a request.
//!
//! No transaction and no ledger call for a request: the channel is read once and watched, its commitments are verified here,
//! and what they are worth is the account's that the store keeps. Collecting what is held is the closer's.
//! Source: `@stellar/mpp` 0.7; design of the accounting in ARCHITECTURE.md, "Channel accounting".

mod check;
mod close;
mod denial;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use serde_json::Value;
use tokio::sync::Semaphore;
use tracing::warn;

pub use self::close::Closed;
use self::denial::{fault_of_look, fault_of_store, refused};
use super::{
    Bound, Challenge, Denied, Draw, Fault, Method, Offer, Receipt, Refusal, RefusalKind, Terms,
    UPLOADING, Worth,
    mpp::{Issue, Issuer, scope},
    room::Seat,
};
use crate::{
    closer::Closer,
    ledger::channels::{Channels, View},
    protocol::{
        money::Amount,
        mpp::{
            self, Credential,
            channel::{self as wire, INTENT, PAYMENT_NEXT, Request, SESSION_INTENT, reference},
        },
        stellar::{Address, ContractId},
    },
    store::{
        self, Pending, Reservation, Store,
        channel::{Held, Phase, Reserve, Standing, Token},
    },
    telemetry::{Clock, label::Rail},
};

/// The channel method of a gateway.
#[derive(Debug)]
pub struct Channel {
    settings: Settings,
    channels: Channels,
    closer: Closer,
    store: Store,
    clock: Clock,
    /// Places for payers who wait for their channel to be closed: they must not keep others from paying.
    closing: Semaphore,
}

/// How a gateway takes payments from channels.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who issues the challenges.
    pub issuer: Issuer,
    /// The channel of requests that name none.
    pub configured: Option<ContractId>,
    /// The most of one channel that may be delivered and not collected.
    pub most_unsettled: Amount,
}

/// The channel that a request would be paid from, and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Named {
    /// Which one.
    pub channel: ContractId,
    /// Where it stands.
    pub standing: Standing,
}

/// Who asks, as far as that matters to what may be looked up for it.
#[derive(Clone, Debug, Default)]
pub struct Asker {
    /// The channel that the request's headers name.
    pub channel: Option<Result<ContractId, wire::NotChannel>>,
    /// Where the request came from.
    pub address: Option<IpAddr>,
}

impl Asker {
    /// What the headers of a request say of it, and where it came from.
    #[must_use]
    pub fn of(headers: &HeaderMap, address: Option<IpAddr>) -> Self {
        Self { channel: wire::named(headers).transpose(), address }
    }
}

impl Asker {
    /// The same asker, whose channel is the one that its credential pays from where its headers name none.
    #[must_use]
    pub fn paying_with(mut self, credential: &Credential) -> Self {
        if self.channel.is_none() {
            let request = Request::decode(&credential.challenge.request).ok();
            self.channel = request.map(|request| Ok(request.channel));
        }
        self
    }
}

/// A commitment that was checked, and that reserved the price of one request.
pub struct Verified {
    reservation: Reservation,
    terms: Arc<Terms>,
    /// What the next challenge is for.
    scope: String,
    body: Option<[u8; 32]>,
    price: Amount,
    challenge: mpp::ChallengeId,
    request: Request,
    worth: Worth,
}

impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("reservation", &self.reservation).finish_non_exhaustive()
    }
}

impl Channel {
    /// Method and intent as they stand on the wire.
    pub const NAME: (&'static str, &'static str) = (mpp::charge::METHOD, INTENT);
    /// The other name of the same.
    pub const SESSION: (&'static str, &'static str) = (mpp::charge::METHOD, SESSION_INTENT);

    /// The method over what is known of `channels`, with its store; `closer` collects.
    #[must_use]
    pub const fn new(
        settings: Settings,
        channels: Channels,
        closer: Closer,
        store: Store,
        clock: Clock,
    ) -> Self {
        let closing = Semaphore::const_new(close::MOST_AT_ONCE);
        Self { settings, channels, closer, store, clock, closing }
    }

    /// Whether a credential answers a challenge of this method.
    #[must_use]
    pub fn is_for_us(credential: &Credential) -> bool {
        INTENTS.contains(&credential.challenge.intent.as_str())
    }

    /// The channel that `asker` would pay `terms` from, if there is one.
    ///
    /// # Errors
    /// [`Denied`] says why the one that it names does not pay, or cannot be looked up now.
    pub async fn named(&self, terms: &Terms, asker: &Asker) -> Result<Option<Named>, Denied> {
        let Some(offer) = terms.channel() else { return Ok(None) };
        let channel = match &asker.channel {
            Some(Ok(channel)) => *channel,
            Some(Err(error)) => {
                let detail = format!("{error}: send one `C…` address");
                return Err(
                    Refusal::new(RefusalKind::Malformed, "malformed_channel", detail).into()
                );
            }
            None => match self.settings.configured {
                Some(channel) => channel,
                None => return Ok(None),
            },
        };
        let view = self.look(channel, asker).await?;
        check::fits(&view, offer)?;
        // Anybody may ask, and as often as they like.
        let (standing, phase) = self.store.standing(channel).await.map_err(fault_of_store)?;
        if phase != Phase::Open {
            return Err(denial::unfit(channel, "it is being closed: open another one").into());
        }
        Ok(Some(Named { channel, standing }))
    }

    /// As [`Method::challenge`], for the channel that `draw` names; `intent` is the name that the client knows this by.
    fn issue(
        &self,
        intent: &'static str,
        offer: &Offer,
        terms: &Terms,
        bound: &Bound,
        draw: &Draw,
    ) -> Option<mpp::Challenge> {
        let named = draw.channel?;
        let scope = scope(terms, bound);
        Some(self.issue_for(intent, terms, &scope, bound.body, offer.amount, named, draw))
    }

    #[expect(clippy::too_many_arguments, reason = "what a challenge is made of")]
    fn issue_for(
        &self,
        intent: &'static str,
        terms: &Terms,
        scope: &str,
        body: Option<[u8; 32]>,
        price: Amount,
        named: Named,
        draw: &Draw,
    ) -> mpp::Challenge {
        let request = Request {
            amount: asked(price, named.standing),
            channel: named.channel,
            cumulative: named.standing.authorised,
            external_id: None,
            network: self.settings.issuer.network,
            reference: reference(draw.random),
        };
        let issue = Issue {
            intent,
            request: request.encode(),
            // The price is bound too: what is asked may be less, by what was paid too much before.
            scope: format!("{scope} {price}"),
            body,
        };
        self.settings.issuer.issue(terms, issue, draw)
    }

    /// The challenge as [`Method::challenge`] has it, under the intent's other name.
    #[must_use]
    pub fn session_challenge(
        &self,
        offer: &Offer,
        terms: &Terms,
        bound: &Bound,
        draw: &Draw,
    ) -> Option<Challenge> {
        self.issue(SESSION_INTENT, offer, terms, bound, draw).map(|challenge| header_of(&challenge))
    }

    /// The challenge as [`Method::challenge`] has it; `None` where no channel is named.
    #[must_use]
    pub fn channel_challenge(
        &self,
        offer: &Offer,
        terms: &Terms,
        bound: &Bound,
        draw: &Draw,
    ) -> Option<Challenge> {
        self.issue(INTENT, offer, terms, bound, draw).map(|challenge| header_of(&challenge))
    }

    async fn look(&self, channel: ContractId, asker: &Asker) -> Result<Arc<View>, Denied> {
        self.channels.look(channel, asker.address).await.map_err(fault_of_look)
    }

    /// Takes the commitment, as it was checked.
    async fn reserve(
        &self,
        terms: &Terms,
        bound: &Bound,
        checked: &check::Checked,
        view: &View,
    ) -> Result<Reservation, Denied> {
        let now = self.clock.now();
        let commitment = checked.payload.commitment();
        let ask = Reserve {
            commitment: Held { amount: commitment.amount, signature: commitment.signature },
            challenge: checked.digest(),
            base: checked.request.cumulative,
            binding: check::binding(terms, bound, checked),
            price: checked.price,
            deposited: view.deposited(),
            withdrawn: view.withdrawn,
            at_least: Amount::ZERO,
            most_unsettled: self.settings.most_unsettled,
            expired: now > checked.expires,
            token: Token::draw(),
            now,
            lease_until: now.saturating_add(lease(terms).as_secs()),
            redelivery: terms.redelivery,
        };
        let channel = checked.request.channel;
        match self.store.reserve(channel, ask).await.map_err(fault_of_store)? {
            Ok(reservation) => Ok(reservation),
            Err(outcome) => {
                if outcome == store::channel::Reserving::Unsettled {
                    self.closer.urge(channel);
                }
                Err(refused(&outcome, checked, |standing| self.receipt(checked, standing)))
            }
        }
    }

    fn receipt(&self, checked: &check::Checked, standing: Standing) -> Receipt {
        self.receipt_of(&checked.challenge, &checked.request, standing)
    }

    fn receipt_of(
        &self,
        challenge: &mpp::ChallengeId,
        request: &Request,
        standing: Standing,
    ) -> Receipt {
        let receipt = wire::Receipt {
            reference: request.reference.clone(),
            timestamp_ms: self.clock.now_ms(),
            external_id: request.external_id.clone(),
            challenge_id: challenge.as_str().to_owned(),
            channel: request.channel,
            accepted: standing.authorised,
            spent: standing.spent,
        };
        Receipt {
            header: (mpp::PAYMENT_RECEIPT, receipt.to_mpp().encode()),
            next: None,
            with_failures: false,
        }
    }

    /// The challenge that the next request can be paid with, if it is like this one.
    fn next(&self, verified: &Verified) -> http::HeaderValue {
        let named =
            Named { channel: verified.request.channel, standing: verified.reservation.standing() };
        let draw = Draw::now(&self.clock);
        let Verified { terms, scope, body, price, .. } = verified;
        self.issue_for(INTENT, terms, scope, *body, *price, named, &draw).to_next()
    }
}

impl Method for Channel {
    const RAIL: Rail = Rail::Channel;

    type Credential = (Credential, Asker);
    type Verified = Verified;

    fn ready(&self, _terms: &Terms) -> Result<(), Fault> {
        if !self.store.is_running() {
            return Err(Fault::unavailable("the store has stopped"));
        }
        self.channels.supported().map_err(Fault::unavailable)
    }

    fn parse(
        &self,
        _terms: &Terms,
        headers: &HeaderMap,
    ) -> Result<Option<Self::Credential>, Refusal> {
        let found = super::mpp::find(headers)?;
        Ok(found.map(|credential| (credential, Asker::of(headers, None))))
    }

    async fn verify(
        &self,
        terms: &Arc<Terms>,
        bound: &Bound,
        (credential, asker): Self::Credential,
        seat: &mut Seat,
    ) -> Result<Verified, Denied> {
        let checked = self.check(terms, bound, credential)?;
        let offer = terms.channel().ok_or_else(denial::not_offered)?;
        let channel = checked.request.channel;
        let mut view = match self.channels.look(channel, asker.address).await {
            Ok(view) => view,
            Err(error) => return Err(denial::not_taken(error)),
        };
        check::fits(&view, offer)?;
        self.check_signature(&checked, &view)?;
        seat.come_as(Address::Contract(channel))?;
        if checked.payload.amount > view.deposited() {
            // Its payer may have topped it up since it was last seen.
            match self.channels.refresh(channel, asker.address).await {
                Ok(fresh) => view = fresh,
                Err(error) => return Err(denial::not_taken(error)),
            }
        }
        let reservation = self.reserve(terms, bound, &checked, &view).await?;
        Ok(Verified {
            reservation,
            terms: Arc::clone(terms),
            scope: scope(terms, bound),
            body: bound.body,
            price: offer.amount,
            challenge: checked.challenge,
            worth: Worth {
                channel: Some((channel, checked.payload.amount)),
                ..Worth::of(offer.asset.contract, checked.price)
            },
            request: checked.request,
        })
    }

    async fn settle(&self, verified: Verified) -> Result<(Verified, Receipt), Denied> {
        let standing = verified.reservation.standing();
        let receipt = self.receipt_of(&verified.challenge, &verified.request, standing);
        let next = Some((PAYMENT_NEXT, self.next(&verified)));
        Ok((verified, Receipt { next, ..receipt }))
    }

    async fn deliver(&self, verified: Verified, status: StatusCode) -> Result<(), Fault> {
        let channel = verified.reservation.channel();
        let kept = self.store.keep(verified.reservation, status.as_u16()).await;
        self.closer.nudge(channel);
        match kept {
            Ok(_) => Ok(()),
            // A reservation alone is no record: if this gateway dies it is given back, and an answer that has left would be
            // unpaid. The same credential finds out whether it was recorded, and comes again if it was not.
            Err(error) => {
                warn!(%error, %channel, %status, "an answer is held back: its payment cannot be recorded, and is given back");
                Err(Fault::pending(error, None))
            }
        }
    }

    async fn release(&self, verified: Verified, tried: bool) {
        let channel = verified.reservation.channel();
        if let Err(error) = self.store.give_back(verified.reservation, tried).await {
            warn!(%error, %channel, "a reservation is given back when its lease ends");
        }
        self.closer.nudge(channel);
    }

    /// A reservation is given back when its lease ends. A request whose body is still on its way then would reach the
    /// upstream unpaid.
    fn patience(&self, terms: &Terms, _bound: &Bound) -> Duration {
        terms.timeout.saturating_add(UPLOADING)
    }

    /// Nothing is on the ledger yet: a request that finds no room is let go of at once.
    fn is_settled(&self, _verified: &Verified) -> bool {
        false
    }

    fn worth(&self, verified: &Verified) -> Worth {
        verified.worth
    }

    async fn resume(&self, _pending: &Pending, _memo: &Value) -> Result<(), Denied> {
        Err(Fault::unavailable("a channel's payments are not resumed one by one").into())
    }

    fn challenge(
        &self,
        offer: &Offer,
        terms: &Terms,
        bound: &Bound,
        draw: &Draw,
        _reason: &str,
    ) -> Option<Challenge> {
        self.channel_challenge(offer, terms, bound, draw)
    }
}

/// What a challenge asks for: the price, less what was authorised and not spent, and something at least.
fn asked(price: Amount, standing: Standing) -> Amount {
    price.less(standing.credit()).max(Amount::ONE)
}

fn header_of(challenge: &mpp::Challenge) -> Challenge {
    Challenge {
        header: (http::header::WWW_AUTHENTICATE, challenge.to_header()),
        id: Some(challenge.id.as_str().to_owned()),
    }
}

/// How long a reservation is its gateway's: as long as forwarding may take, and time to record what came of it.
fn lease(terms: &Terms) -> Duration {
    terms.timeout.saturating_add(UPLOADING).saturating_add(RECORDING)
}

/// The intents that this method answers to.
const INTENTS: [&str; 2] = [INTENT, SESSION_INTENT];

/// Ample: past it another gateway may give a reservation back.
const RECORDING: Duration = Duration::from_secs(30);

const _: () = assert!(
    RECORDING.as_secs() >= 2 * store::KEEPING.as_secs(),
    "a lease outlasts the asking for its end, by clocks that differ"
);

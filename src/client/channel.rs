//! Pays by a channel: one deposit, then a signed total for each request.
//!
//! A [`Payer`] answers challenges out of a [`Purse`], any number at a time. A paid answer brings the challenge for the next
//! request, which is then paid in one round trip; where there is none at hand, a 402 brings it. A commitment whose fate is
//! unknown is presented again as it is. How a channel is opened and ended is [`contract`]'s.
//! Source: `@stellar/mpp` 0.7, method `stellar`, intent `channel`; design of the accounting in ARCHITECTURE.md.

mod offer;
mod purse;

mod file;

pub mod contract;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, header::WWW_AUTHENTICATE};
use hyper::body::Incoming;

use self::purse::{Draft, Place};
pub use self::{
    file::PurseError,
    offer::Offer,
    purse::{Limits, Purse, Terms},
};
use super::{Credential, Error, SHORT, pending, retry_after};
use crate::{
    ledger::{Http, read_body},
    protocol::{
        money::Amount,
        mpp::{
            self, ACCEPT_PAYMENT,
            channel::{Action, PAYMENT_CHANNEL, Receipt},
        },
    },
    telemetry::Clock,
};

/// An HTTP client that pays from one purse. Clones share it, and its connections.
#[derive(Clone, Debug)]
pub struct Payer {
    http: Http,
    purse: Arc<Purse>,
    /// For how long a commitment whose outcome is pending is presented again, in all.
    patience: Duration,
    clock: Clock,
}

/// What came of a request.
#[derive(Debug)]
pub struct Paid {
    /// The last answer, whatever its status; its body is not read yet.
    pub response: Response<Incoming>,
    /// The payment, if one was asked for.
    pub payment: Option<Payment>,
}

/// A commitment that was presented.
#[derive(Clone, Debug)]
pub struct Payment {
    /// What was asked.
    pub offer: Offer,
    /// What was presented, to be presented again if the answer was no delivery.
    pub credential: Credential,
    /// The total that it commits to.
    pub total: Amount,
    /// What the server says of it, if it took it.
    pub receipt: Option<Receipt>,
}

/// What happens while a request is under way.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The server asks for money, or did so with an earlier answer.
    Asked(&'a Offer),
    /// A commitment to this total was signed, and is about to be presented.
    Signed(Amount),
    /// The server did not take the commitment, and asks anew.
    Refused,
    /// The outcome is pending; the same commitment is presented again after `wait`.
    Pending {
        /// How long that is.
        wait: Duration,
    },
    /// The server took the commitment.
    Taken(&'a Receipt),
}

impl Payer {
    /// A client that pays from `purse`, and presents what is pending for as long as `patience`.
    #[must_use]
    pub fn new(purse: Arc<Purse>, patience: Duration) -> Self {
        Self { http: Http::new(), purse, patience, clock: Clock::system() }
    }

    /// The same client, by another clock.
    #[must_use]
    pub fn by_clock(self, clock: &Clock) -> Self {
        Self { clock: clock.clone(), ..self }
    }

    /// What it pays from.
    #[must_use]
    pub const fn purse(&self) -> &Arc<Purse> {
        &self.purse
    }

    /// Sends `request`, which has an absolute URI, and pays if that is asked; tells `observe` what happens.
    ///
    /// A 402 that asks for no payment of the scheme is an answer like any other.
    ///
    /// # Errors
    /// [`Error`]; see [`Error::may_have_paid`].
    ///
    /// # Cancellation
    /// What was signed may be taken; the next request is signed for beyond it.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        observe: impl FnMut(Event<'_>),
    ) -> Result<Paid, Error> {
        self.run(request, Action::Voucher, observe).await
    }

    /// As [`Payer::send`], and asks the server to close the channel with it: whose receipt then names the transaction.
    ///
    /// # Errors
    /// As [`Payer::send`].
    pub async fn close(
        &self,
        request: Request<Bytes>,
        observe: impl FnMut(Event<'_>),
    ) -> Result<Paid, Error> {
        self.run(request, Action::Close, observe).await
    }

    async fn run(
        &self,
        mut request: Request<Bytes>,
        action: Action,
        mut observe: impl FnMut(Event<'_>),
    ) -> Result<Paid, Error> {
        let headers = request.headers_mut();
        if !matches!(mpp::find(headers), Ok(None)) {
            return Err(Error::AlreadyPaid);
        }
        let channel = HeaderValue::try_from(self.purse.terms().channel.to_string())
            .expect("an address is visible ASCII");
        headers.insert(PAYMENT_CHANNEL, channel);
        if !headers.contains_key(ACCEPT_PAYMENT) {
            headers.insert(ACCEPT_PAYMENT, HeaderValue::from_static("stellar/channel"));
        }
        let place = Place::of(&request);
        let mut at_hand = self.purse.at_hand(&request, self.clock.now());
        let mut tries = TRIES;
        loop {
            let offer = match at_hand.take() {
                Some(offer) => offer,
                None => {
                    let since = self.purse.mark();
                    let response = self.exchange(request.clone()).await?;
                    match self.offer(&response, since) {
                        Ok(Some(offer)) => offer,
                        Ok(None) => return Ok(Paid { response, payment: None }),
                        Err(mut reasons) => {
                            reasons.extend(detail(response).await);
                            return Err(Error::NoOffer { reasons });
                        }
                    }
                }
            };
            observe(Event::Asked(&offer));
            let draft = self.sign(&offer, &place, action).await?;
            let total = draft.commitment.amount;
            observe(Event::Signed(total));
            let credential = draft.credential(&offer);
            let presented = self.present_until_known(&request, &credential, &mut observe).await?;
            let Presented { response, again } = presented;
            // Only what was presented once and refused was surely not delivered: else there is nothing to pay for anew.
            if response.status() == StatusCode::PAYMENT_REQUIRED && !again {
                let fresh = self.offer(&response, draft.mark_if_refused()).ok().flatten();
                draft.refused();
                tries = tries.saturating_sub(1);
                if fresh.is_some() && tries > 0 {
                    observe(Event::Refused);
                    at_hand = fresh;
                    continue;
                }
                let payment = Payment { offer, credential, total, receipt: None };
                return Ok(Paid { response, payment: Some(payment) });
            }
            let receipt = draft.answered(response.headers());
            if let Some(receipt) = &receipt {
                observe(Event::Taken(receipt));
            }
            let payment = Payment { offer, credential, total, receipt };
            return Ok(Paid { response, payment: Some(payment) });
        }
    }

    /// What a 402 asks of this purse, or of each of its challenges why the purse cannot answer it; `None` if it asks for no
    /// payment of the scheme.
    fn offer(
        &self,
        response: &Response<Incoming>,
        since: Amount,
    ) -> Result<Option<Offer>, Vec<String>> {
        if response.status() != StatusCode::PAYMENT_REQUIRED {
            return Ok(None);
        }
        let challenges = mpp::parse_challenges(response.headers().get_all(WWW_AUTHENTICATE));
        if challenges.is_empty() {
            return Ok(None);
        }
        let mut reasons = Vec::new();
        for challenge in &challenges {
            let read = match challenge {
                Ok(challenge) => Offer::read(challenge, self.purse.terms(), since),
                Err(error) => Err(format!("its `Payment` challenge cannot be read: {error}")),
            };
            match read {
                Ok(offer) => return Ok(Some(offer)),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(reasons)
    }

    /// Signs; where that is written to a disk, in a thread that may wait for it.
    async fn sign(&self, offer: &Offer, place: &Place, action: Action) -> Result<Draft, Error> {
        let purse = Arc::clone(&self.purse);
        if !purse.is_on_file() {
            return purse.sign(offer, place.clone(), action);
        }
        let (offer, place) = (offer.clone(), place.clone());
        let signing = tokio::task::spawn_blocking(move || purse.sign(&offer, place, action));
        signing.await.expect("signing does not panic")
    }

    /// Presents the same commitment again as long as its outcome is not known.
    async fn present_until_known(
        &self,
        request: &Request<Bytes>,
        credential: &Credential,
        observe: &mut impl FnMut(Event<'_>),
    ) -> Result<Presented, Error> {
        let mut request = request.clone();
        credential.insert_into(request.headers_mut());
        let (mut left, mut again) = (self.patience, false);
        // Whether an attempt may have been taken that got no answer.
        let mut doubtful = false;
        loop {
            let sent = self.http.exchange(request.clone()).await;
            let wait = match &sent {
                // The one before it is under way still.
                Ok(response) if again && response.status() == StatusCode::CONFLICT => {
                    retry_after(response)
                }
                Ok(response) => pending(response, false),
                Err(error) => {
                    doubtful |= !error.is_connect();
                    Some(SHORT)
                }
            };
            let rest = wait.and_then(|wait| Some((wait, left.checked_sub(wait)?)));
            let Some((wait, rest)) = rest else {
                let uri = request.uri().clone();
                return match sent {
                    Ok(response) => Ok(Presented { response, again }),
                    Err(source) if doubtful => {
                        Err(Error::Unanswered { uri, source: Arc::new(source) })
                    }
                    Err(source) => Err(Error::Send { uri, source: Arc::new(source) }),
                };
            };
            left = rest;
            // What was never sent was not presented.
            again |= doubtful || sent.is_ok();
            observe(Event::Pending { wait });
            tokio::time::sleep(wait).await;
        }
    }

    async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Incoming>, Error> {
        let uri = request.uri().clone();
        let sent = self.http.exchange(request).await;
        sent.map_err(|source| Error::Send { uri, source: Arc::new(source) })
    }
}

/// The answer to a commitment.
struct Presented {
    response: Response<Incoming>,
    /// Whether it was presented more than once.
    again: bool,
}

/// What a server says in its own words of why it asks, if it does so as a problem document (RFC 9457).
async fn detail(response: Response<Incoming>) -> Option<String> {
    let body = tokio::time::timeout(SHORT, read_body(response.into_body(), DETAIL_BYTES));
    let problem: serde_json::Value = serde_json::from_slice(&body.await.ok()?.ok()?).ok()?;
    let detail: String = problem.get("detail")?.as_str()?.chars().take(300).collect();
    Some(format!("the server says {detail:?}"))
}

/// More of a problem document is not for people.
const DETAIL_BYTES: usize = 16 << 10;
/// How often a commitment is signed for one request, while a server refuses it and asks anew.
const TRIES: u32 = 3;

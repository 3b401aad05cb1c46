//! An HTTP client that pays: what `tollgate pay`, the tests and the benches send their requests with.
//!
//! It sends a request; where the answer is a 402 it signs a transfer for what is asked, once, and sends the same request
//! with it. It never signs a second payment for one request: what is pending is presented again as it is. It follows no
//! redirect, since a credential must not travel to where it was not asked for.
//! Source: x402 v2, HTTP transport (client side) and scheme `exact` on Stellar.

mod credential;
mod offer;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use tokio::sync::OnceCell;

pub use self::{
    credential::{Credential, Overrides},
    offer::{Challenge, Money, Offer},
};
use crate::{
    ledger::{Http, rpc, rpc::Rpc, signer::Seed},
    protocol::{
        money::Amount,
        stellar::{AccountId, Asset, Network},
        transfer,
        x402::{Malformed, PAYMENT_RESPONSE, PAYMENT_SIGNATURE, Settlement},
    },
    telemetry::Clock,
};

/// How a client pays.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Whose money it is.
    pub seed: Seed,
    /// The network it is on.
    pub network: Network,
    /// The Stellar RPC of that network.
    pub rpc_url: Uri,
    /// What one request may cost at most; without a limit, whatever is asked is paid.
    pub limit: Option<Limit>,
    /// How long a payment whose outcome is pending is presented again, in all.
    pub patience: Duration,
}

/// The most that one request may cost. Other assets are not paid in at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// How much.
    pub amount: Amount,
    /// Of what.
    pub asset: Asset,
}

/// A client. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: Http,
    settings: Settings,
    rpc: Rpc,
    /// Filled once the RPC has said that it serves the network.
    checked: Arc<OnceCell<()>>,
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

/// A payment that was presented.
#[derive(Clone, Debug)]
pub struct Payment {
    /// What was asked.
    pub offer: Offer,
    /// What was presented, to be presented again if the answer was no delivery.
    pub credential: Credential,
    /// What the server says became of it, if it said something.
    pub settlement: Option<Settlement>,
}

/// What happens while a request is under way.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// The server asks for money.
    Asked(&'a Offer),
    /// A payment was signed, and is about to be presented.
    Signed(&'a Credential),
    /// The outcome is pending; the same payment is presented again after `wait`.
    Pending {
        /// How long the server wants it to take.
        wait: Duration,
    },
    /// The server says what became of the payment.
    Settled(&'a Settlement),
}

impl Client {
    /// A client that pays as `settings` say.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        let http = Http::new();
        let rpc = Rpc::new(http.clone(), settings.rpc_url.clone(), settings.network);
        let checked = Arc::new(OnceCell::new());
        Self { http, settings, rpc, checked, clock: Clock::system() }
    }

    /// The account that pays.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.settings.seed.account()
    }

    /// Sends `request`, which has an absolute URI, and pays if that is asked; tells `observe` what happens.
    ///
    /// A 402 that says nothing about x402 is an answer like any other.
    ///
    /// # Errors
    /// [`Error`]; [`Error::Unanswered`] alone comes after money may have moved.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        mut observe: impl FnMut(Event<'_>),
    ) -> Result<Paid, Error> {
        if request.headers().contains_key(PAYMENT_SIGNATURE) {
            return Err(Error::AlreadyPaid);
        }
        let response = self.exchange(request.clone()).await?;
        let Some(challenge) = Challenge::of(&response)? else {
            return Ok(Paid { response, payment: None });
        };
        let limit = self.settings.limit.as_ref();
        let offer = challenge.choose(self.settings.network, limit.map(|limit| &limit.asset))?;
        observe(Event::Asked(&offer));
        if let Some(limit) = limit
            && offer.requirements.amount > limit.amount
        {
            return Err(Error::OverLimit {
                asked: offer.money(),
                limit: Money::of(limit.amount, &limit.asset),
            });
        }
        let credential = self.sign(&challenge, &offer, &Overrides::default()).await?;
        observe(Event::Signed(&credential));
        let response = self.present_until_known(&request, &credential, &mut observe).await?;
        let settlement = settlement(response.headers());
        if let Some(settlement) = &settlement {
            observe(Event::Settled(settlement));
        }
        Ok(Paid { response, payment: Some(Payment { offer, credential, settlement }) })
    }

    /// Sends `request` unpaid and reads what it would cost; `None` if it is not asked for money.
    ///
    /// # Errors
    /// [`Error::Send`], [`Error::Challenge`].
    pub async fn challenge(&self, request: Request<Bytes>) -> Result<Option<Challenge>, Error> {
        Challenge::of(&self.exchange(request).await?)
    }

    /// Signs a payment of `offer`, changed as `overrides` say. Sends nothing but questions to the RPC.
    ///
    /// # Errors
    /// [`Error::Rpc`], [`Error::Refused`], [`Error::Archived`].
    pub async fn sign(
        &self,
        challenge: &Challenge,
        offer: &Offer,
        overrides: &Overrides,
    ) -> Result<Credential, Error> {
        self.checked.get_or_try_init(|| self.rpc.check_network()).await.map_err(Error::Rpc)?;
        let signer = credential::Signer {
            seed: &self.settings.seed,
            network: self.settings.network,
            rpc: &self.rpc,
            now: self.clock.now(),
        };
        signer.sign(challenge, offer, overrides).await
    }

    /// Sends `request` with `credential`, once, whatever the answer.
    ///
    /// # Errors
    /// [`Error::Unanswered`].
    pub async fn present(
        &self,
        mut request: Request<Bytes>,
        credential: &Credential,
    ) -> Result<Response<Incoming>, Error> {
        request.headers_mut().insert(PAYMENT_SIGNATURE, credential.header().clone());
        self.exchange(request).await.map_err(|error| match error {
            Error::Send { uri, source } => Error::Unanswered { uri, source },
            other => other,
        })
    }

    /// Sends `request` as it is, once.
    ///
    /// # Errors
    /// [`Error::Send`].
    pub async fn exchange(&self, request: Request<Bytes>) -> Result<Response<Incoming>, Error> {
        let uri = request.uri().clone();
        let sent = self.http.exchange(request).await;
        sent.map_err(|source| Error::Send { uri, source: Arc::new(source) })
    }

    /// Presents the same payment again as long as the server says that its outcome is not known.
    async fn present_until_known(
        &self,
        request: &Request<Bytes>,
        credential: &Credential,
        observe: &mut impl FnMut(Event<'_>),
    ) -> Result<Response<Incoming>, Error> {
        let mut left = self.settings.patience;
        loop {
            let response = self.present(request.clone(), credential).await?;
            let Some(wait) = pending(&response) else { return Ok(response) };
            let Some(rest) = left.checked_sub(wait) else { return Ok(response) };
            left = rest;
            observe(Event::Pending { wait });
            tokio::time::sleep(wait).await;
        }
    }
}

/// When a payment that was presented is to be presented again: never signed anew, since the first may have moved money.
fn pending(response: &Response<Incoming>) -> Option<Duration> {
    if response.status() != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    let seconds = response.headers().get(header::RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    // A wait of nothing would be a busy loop.
    Some(Duration::from_secs(seconds).max(Duration::from_secs(1)))
}

fn settlement(headers: &HeaderMap) -> Option<Settlement> {
    headers
        .get(PAYMENT_RESPONSE)
        .map(HeaderValue::as_bytes)
        .and_then(|header| Settlement::decode(header).ok())
}

/// Why a request has no paid answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The unpaid request got no answer.
    #[error("no answer from `{uri}`")]
    Send {
        /// Where it went.
        uri: Uri,
        /// Why.
        source: Arc<hyper_util::client::legacy::Error>,
    },
    /// The paid request got no answer: the payment may have been taken. Present the same one again.
    #[error("no answer from `{uri}` to the paid request; the payment may have been taken")]
    Unanswered {
        /// Where it went.
        uri: Uri,
        /// Why.
        source: Arc<hyper_util::client::legacy::Error>,
    },
    /// The request carries a payment already.
    #[error("the request carries a payment already")]
    AlreadyPaid,
    /// The 402 cannot be read.
    #[error("the server asks for a payment in a way that cannot be read")]
    Challenge(#[source] Malformed),
    /// No way to pay is one that this client has.
    #[error("none of the ways to pay can be used: {}", reasons.join("; "))]
    NoOffer {
        /// For each way, why not.
        reasons: Vec<String>,
    },
    /// More is asked than may be paid; nothing was signed.
    #[error("{asked} is asked, and at most {limit} may be paid")]
    OverLimit {
        /// What is asked.
        asked: Money,
        /// What may be paid.
        limit: Money,
    },
    /// The Stellar RPC did not help.
    #[error(transparent)]
    Rpc(rpc::Error),
    /// The transfer would fail on the ledger, such as for want of money; nothing was presented.
    #[error("the transfer would fail: {reason}")]
    Refused {
        /// The ledger's words.
        reason: String,
    },
    /// Something that the transfer needs is archived and must be restored first.
    #[error("the transfer needs archived ledger entries, which must be restored first")]
    Archived,
    /// The payment cannot be signed or encoded.
    #[error("the payment cannot be made")]
    Sign(#[source] transfer::Error),
}

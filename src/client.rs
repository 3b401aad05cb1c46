//! An HTTP client that pays: what `tollgate pay`, the tests and the benches send their requests with.
//!
//! It sends a request; where the answer is a 402 it signs a transfer for what is asked, once, puts it on the ledger if that
//! is wanted (push), and sends the same request with it. It never signs a second payment for one request: what is pending
//! is presented again as it is. It follows no redirect, since a credential must not travel to where it was not asked for.
//! Source: x402 v2, HTTP transport (client side) and scheme `exact` on Stellar; draft-httpauth-payment-00 and
//! draft-stellar-charge-00.

mod offer;

pub mod channel;
pub mod charge;
mod x402;

mod credential;
mod settlement;
mod transaction;

mod error;
mod push;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Uri, header};
use hyper::body::Incoming;
use tokio::sync::OnceCell;

pub use self::{
    charge::ChargeOffer,
    credential::Credential,
    error::Error,
    offer::{Challenge, Method, Mode, Money, Offer, Wanted},
    settlement::Settlement,
    transaction::{Overrides, Until},
    x402::X402Offer,
};
use crate::{
    ledger::{Http, rpc::Rpc, signer::Seed},
    protocol::{
        money::Amount,
        mpp::{self, ACCEPT_PAYMENT},
        stellar::{AccountId, Asset, Network, TxHash},
        x402::PAYMENT_SIGNATURE,
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
    /// The rail to pay by.
    pub method: Method,
    /// Who puts the payment on the ledger.
    pub mode: Mode,
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
    /// A transfer was signed, and is about to be presented or pushed.
    Signed(Until),
    /// The transaction is about to be put on the ledger (push); from here on money may move.
    Submitted(TxHash),
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

    /// The same client, by another clock.
    #[must_use]
    pub fn by_clock(self, clock: &Clock) -> Self {
        Self { clock: clock.clone(), ..self }
    }

    /// The same client, paying by another rail.
    #[must_use]
    pub fn paying_by(self, method: Method, mode: Mode) -> Self {
        Self { settings: Settings { method, mode, ..self.settings }, ..self }
    }

    /// The account that pays.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.settings.seed.account()
    }

    /// The Stellar RPC that it asks.
    #[must_use]
    pub const fn rpc(&self) -> &Rpc {
        &self.rpc
    }

    /// Sends `request`, which has an absolute URI, and pays if that is asked; tells `observe` what happens.
    ///
    /// A 402 that says nothing about x402 or `Payment` is an answer like any other.
    ///
    /// # Errors
    /// [`Error`]; see [`Error::may_have_paid`].
    pub async fn send(
        &self,
        mut request: Request<Bytes>,
        mut observe: impl FnMut(Event<'_>),
    ) -> Result<Paid, Error> {
        let headers = request.headers_mut();
        if headers.contains_key(PAYMENT_SIGNATURE) || !matches!(mpp::find(headers), Ok(None)) {
            return Err(Error::AlreadyPaid);
        }
        // A server that is told of it keeps its other offers back, so it is told only who wants nothing else.
        if self.settings.method == Method::Charge && !headers.contains_key(ACCEPT_PAYMENT) {
            headers.insert(ACCEPT_PAYMENT, HeaderValue::from_static("stellar/charge"));
        }
        let response = self.exchange(request.clone()).await?;
        let Some(challenge) = Challenge::of(&response)? else {
            return Ok(Paid { response, payment: None });
        };
        let offer = self.choose(&challenge)?;
        observe(Event::Asked(&offer));
        if let Some(limit) = &self.settings.limit
            && offer.amount() > limit.amount
        {
            return Err(Error::OverLimit {
                asked: offer.money(),
                limit: Money::of(limit.amount, &limit.asset),
            });
        }
        let credential = self.pay(&offer, &mut observe).await?;
        let response = self.present_until_known(&request, &credential, &mut observe).await?;
        let settlement = Settlement::of(response.headers(), &credential);
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

    /// The offer that this client pays; see [`Challenge::choose`].
    ///
    /// # Errors
    /// [`Error::NoOffer`].
    pub fn choose(&self, challenge: &Challenge) -> Result<Offer, Error> {
        let Settings { network, limit, method, mode, .. } = &self.settings;
        let asset = limit.as_ref().map(|limit| &limit.asset);
        challenge.choose(&Wanted { network: *network, asset, method: *method, mode: *mode })
    }

    /// Signs a payment of an x402 offer, changed as `overrides` say. Sends nothing but questions to the RPC.
    ///
    /// # Errors
    /// [`Error::Rpc`], [`Error::Refused`], [`Error::Archived`].
    pub async fn sign_x402(
        &self,
        offer: &X402Offer,
        overrides: &Overrides,
    ) -> Result<Credential, Error> {
        self.signer().await?.sign_x402(offer, overrides, self.clock.now()).await
    }

    /// Makes the transaction that pays a charge, changed as `overrides` say. Sends nothing but questions to the RPC.
    ///
    /// An unsponsored one takes the next sequence number of its source, so of two that are made at a time one lands.
    ///
    /// # Errors
    /// [`Error::Rpc`], [`Error::Refused`], [`Error::Archived`], [`Error::NoAccount`], [`Error::Ended`].
    pub async fn transaction(
        &self,
        offer: &ChargeOffer,
        overrides: &Overrides,
    ) -> Result<charge::Transaction, Error> {
        self.signer().await?.transaction(offer, overrides, self.clock.now()).await
    }

    /// Makes and signs a payment of a charge for the server to send (pull).
    ///
    /// # Errors
    /// As [`Client::transaction`].
    pub async fn sign_charge(
        &self,
        offer: &ChargeOffer,
        overrides: &Overrides,
    ) -> Result<Credential, Error> {
        let made = self.transaction(offer, overrides).await?;
        Ok(offer.pull(&made.envelope, made.payer)?.until(made.until))
    }

    /// Makes a payment of a charge, puts it on the ledger, and signs that it is for this challenge (push).
    ///
    /// # Errors
    /// As [`Client::transaction`] and [`Client::land`]. Unless the fate of the transaction is known, no other may be made.
    pub async fn push_charge(
        &self,
        offer: &ChargeOffer,
        overrides: &Overrides,
    ) -> Result<Credential, Error> {
        self.push(offer, overrides, &mut |_| {}).await
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
        credential.insert_into(request.headers_mut());
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

    async fn signer(&self) -> Result<transaction::Signer<'_>, Error> {
        self.checked.get_or_try_init(|| self.rpc.check_network()).await.map_err(Error::Rpc)?;
        let Settings { seed, network, .. } = &self.settings;
        Ok(transaction::Signer { seed, network: *network, rpc: &self.rpc })
    }

    async fn pay(
        &self,
        offer: &Offer,
        observe: &mut impl FnMut(Event<'_>),
    ) -> Result<Credential, Error> {
        let honest = Overrides::default();
        let credential = match (offer, self.settings.mode) {
            (Offer::Charge(offer), Mode::Push) => return self.push(offer, &honest, observe).await,
            (Offer::Charge(offer), Mode::Pull) => self.sign_charge(offer, &honest).await?,
            (Offer::X402(offer), _) => self.sign_x402(offer, &honest).await?,
        };
        if let Some(until) = credential.holds_until() {
            observe(Event::Signed(until));
        }
        Ok(credential)
    }

    async fn push(
        &self,
        offer: &ChargeOffer,
        overrides: &Overrides,
        observe: &mut impl FnMut(Event<'_>),
    ) -> Result<Credential, Error> {
        let made = self.transaction(offer, overrides).await?;
        observe(Event::Signed(made.until));
        observe(Event::Submitted(self.hash(&made.envelope)?));
        let hash = self.land(&made.envelope).await?;
        let seed = overrides.seed.as_ref().unwrap_or(&self.settings.seed);
        Ok(offer.push(hash, seed))
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
            let presented = self.present(request.clone(), credential).await;
            let wait = match (&presented, credential.pushed()) {
                (Ok(response), pushed) => pending(response, pushed.is_some()),
                // The money is the server's already.
                (Err(_), Some(_)) => Some(SHORT),
                (Err(_), None) => None,
            };
            let rest = wait.and_then(|wait| Some((wait, left.checked_sub(wait)?)));
            let Some((wait, rest)) = rest else {
                return presented.map_err(|error| match credential.pushed() {
                    Some(transaction) => {
                        Error::Undelivered { transaction, source: Box::new(error) }
                    }
                    None => error,
                });
            };
            left = rest;
            observe(Event::Pending { wait });
            tokio::time::sleep(wait).await;
        }
    }
}

/// When a payment that was presented is to be presented again: never signed anew, since the first may have moved money.
fn pending(response: &Response<Incoming>, pushed: bool) -> Option<Duration> {
    if response.status() != StatusCode::SERVICE_UNAVAILABLE {
        return None;
    }
    // What is paid for is worth another try.
    retry_after(response).or_else(|| pushed.then_some(SHORT))
}

/// When the server wants to be asked again, if it says so.
fn retry_after(response: &Response<Incoming>) -> Option<Duration> {
    let told = response.headers().get(header::RETRY_AFTER)?;
    // A wait of nothing would be a busy loop.
    Some(Duration::from_secs(told.to_str().ok()?.parse().ok()?).max(SHORT))
}

/// Between two tries, where the server does not say.
const SHORT: Duration = Duration::from_secs(1);

//! A facilitator of x402 v2 elsewhere, over HTTP.
//!
//! What it says of a payment counts, but not against what we can see ourselves: the transfer is checked here before it
//! goes out, and an answer about another payer, network or amount is nonsense. Of its words only a reason code reaches a
//! client. It needs the Stellar RPC to find out about settlements whose answer was lost.
//! Source: x402 v2, facilitator API.

mod answer;
mod breaker;
mod kinds;

#[cfg(any(test, fuzzing))]
pub(crate) mod door;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;
use tokio::time::{Instant, sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::kinds::{Trouble, Unsupported};
use self::{breaker::Breaker, kinds::Kinds};
use super::{
    Http, HttpError,
    facilitator::{
        Failure, Invalid, NotReady, Outcome, Payment, Presented, Sent, Supported, VerifyError,
    },
    rpc::Rpc,
    search,
};
use crate::{
    protocol::stellar::Network,
    telemetry::{Clock, timings::Timings},
};

/// A client of a remote facilitator. Clones share it.
#[derive(Clone, Debug)]
pub struct Facilitator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: Settings,
    base: String,
    /// Changes when the key does.
    key: ArcSwap<Key>,
    http: Http,
    rpc: Rpc,
    clock: Clock,
    breaker: Breaker,
    kinds: Mutex<Kinds>,
    /// The ledger as of a moment ago.
    ledger: Mutex<Option<(Instant, u32)>>,
    timings: Timings,
}

/// What it is shown.
#[derive(Debug)]
struct Key {
    /// How the operator set it, for messages.
    name: Option<String>,
    /// `None` if there is none, or it is of no use in a header.
    header: Option<HeaderValue>,
    is_set: bool,
}

/// How to reach a remote facilitator.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The network of all payments.
    pub network: Network,
    /// Its base URL; `/verify`, `/settle` and `/supported` are appended.
    pub url: Uri,
    /// Sent as `Authorization: Bearer` on all three.
    pub api_key: Option<SecretString>,
    /// How the operator set the key, for messages: `OZ_API_KEY`.
    pub api_key_name: Option<String>,
    /// How long `/verify` and `/supported` may take.
    pub timeout: Duration,
}

impl Key {
    fn of(settings: &Settings) -> Self {
        let header = settings.api_key.as_ref().and_then(|key| {
            let mut value =
                HeaderValue::from_str(&format!("Bearer {}", key.expose_secret())).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self { name: settings.api_key_name.clone(), header, is_set: settings.api_key.is_some() }
    }
}

impl Facilitator {
    /// Starts the client; it asks for the supported kinds in the background, on `tasks`, until `stop`.
    #[must_use]
    pub fn start(
        settings: Settings,
        http: Http,
        rpc: Rpc,
        clock: Clock,
        tasks: &TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        let facilitator = Self::new(settings, http, rpc, clock);
        tasks.spawn(kinds::refresh(facilitator.clone(), stop));
        facilitator
    }

    /// The client by itself: it can be asked with [`Facilitator::ask`], and takes no payment.
    #[must_use]
    pub fn new(settings: Settings, http: Http, rpc: Rpc, clock: Clock) -> Self {
        let key = ArcSwap::from_pointee(Key::of(&settings));
        let base = settings.url.to_string().trim_end_matches('/').to_owned();
        let kinds = Mutex::new(Kinds::unknown(&base));
        Self(Arc::new(Inner {
            settings,
            base,
            key,
            http,
            rpc,
            clock,
            breaker: Breaker::default(),
            kinds,
            ledger: Mutex::new(None),
            timings: Timings::default(),
        }))
    }

    /// Shows the key of these settings from now on; what else they say stays as it was.
    pub fn change_key(&self, settings: &Settings) {
        self.0.key.store(Arc::new(Key::of(settings)));
    }

    /// How long verifying and settling took.
    pub(super) fn timings(&self) -> &Timings {
        &self.0.timings
    }

    /// Asks what it supports, now.
    ///
    /// # Errors
    /// [`Unsupported`], if payments cannot be taken by it.
    pub async fn ask(&self) -> Result<Supported, Unsupported> {
        kinds::ask(self).await
    }

    /// Whether payments can be taken now, by the last answer of `/supported`.
    ///
    /// # Errors
    /// [`NotReady`], a sentence for the operator.
    pub fn supported(&self) -> Result<Supported, NotReady> {
        self.0.kinds.lock().unwrap_or_else(PoisonError::into_inner).supported()
    }

    /// As [`super::facilitator::Facilitator::verify`].
    ///
    /// # Errors
    /// [`VerifyError`].
    pub async fn verify(&self, presented: &Presented) -> Result<(), VerifyError> {
        let payment = &presented.payment;
        self.supported()
            .map_err(|not_ready| VerifyError::Failed(Failure::unavailable(not_ready.0)))?;
        let transfer = &payment.transfer;
        let invalid = |error| VerifyError::Invalid(Invalid::new(error, Some(transfer.payer())));
        transfer
            .check(&payment.expected, &[])
            .and_then(|()| transfer.check_signature(payment.expected.network))
            .map_err(invalid)?;
        if payment.min_remaining > 1 {
            let ledger = self.latest_ledger().await.map_err(VerifyError::Failed)?;
            transfer
                .check_life(ledger, payment.max_timeout_seconds, payment.min_remaining)
                .map_err(invalid)?;
        }
        let answered = self.call("verify", presented, self.0.settings.timeout).await;
        let (status, body) = answered
            .map_err(|unanswered| VerifyError::Failed(self.failure("verify", unanswered)))?;
        answer::verified(status, &body, payment).map_err(|error| match error {
            VerifyError::Failed(failure) => VerifyError::Failed(self.at("verify", failure)),
            invalid => invalid,
        })
    }

    /// As [`super::facilitator::Facilitator::prepare`]: the transaction is for the facilitator to build.
    ///
    /// # Errors
    /// Never: whether the payment is good is asked when it settles.
    pub async fn prepare(&self, payment: &Payment) -> Result<Sent, VerifyError> {
        // Without the RPC the search for a lost settlement begins as early as this authorization can have been made.
        let since = self.latest_ledger().await.unwrap_or_else(|_| {
            let life = payment.max_timeout_seconds.div_ceil(SHORTEST_LEDGER_SECONDS);
            payment.transfer.expiration_ledger().saturating_sub(life)
        });
        let seconds = u64::from(payment.max_timeout_seconds).saturating_add(MARGIN_SECONDS);
        let valid_until = self.0.clock.now().saturating_add(seconds);
        Ok(Sent { transaction: None, valid_until, since })
    }

    /// As [`super::facilitator::Facilitator::submit`].
    pub async fn submit(&self, presented: &Presented) -> Outcome {
        let payment = &presented.payment;
        let seconds = u64::from(payment.max_timeout_seconds).saturating_add(MARGIN_SECONDS);
        let timeout = Duration::from_secs(seconds);
        let mut tries = SETTLE_TRIES;
        let answered = loop {
            match self.call("settle", presented, timeout).await {
                // The one error after which nothing can have happened.
                Err(Unanswered::Silent(HttpError::Connect)) if tries > 1 => {
                    tries = tries.saturating_sub(1);
                    sleep(RETRY_PAUSE).await;
                }
                answered => break answered,
            }
        };
        let (status, body) = match answered {
            Ok(answered) => answered,
            Err(unanswered) => {
                let sent = unanswered.may_have_been_sent();
                let failure = self.failure("settle", unanswered);
                return if sent {
                    Outcome::Unknown { transaction: None, failure }
                } else {
                    Outcome::Unsent(failure)
                };
            }
        };
        match answer::settled(status, &body, payment) {
            // A hash that failed, or only did not land in the facilitator's patience? The ledger knows.
            Outcome::Rejected { transaction: Some(hash), reason } => {
                let since = payment.transfer.expiration_ledger();
                let sent = Sent { transaction: Some(hash), valid_until: u64::MAX, since };
                match search::by_hash(&self.0.rpc, &payment.into(), hash, &sent).await {
                    Outcome::Rejected { .. } => {
                        Outcome::Rejected { reason, transaction: Some(hash) }
                    }
                    outcome => outcome,
                }
            }
            Outcome::Unknown { transaction, failure } => {
                Outcome::Unknown { transaction, failure: self.at("settle", failure) }
            }
            Outcome::Unsent(failure) => Outcome::Unsent(self.at("settle", failure)),
            outcome => outcome,
        }
    }

    /// As [`super::facilitator::Facilitator::resolve`].
    pub async fn resolve(&self, payment: &Payment, sent: &Sent) -> Outcome {
        search::resolve(&self.0.rpc, &payment.into(), sent).await
    }

    async fn call(
        &self,
        endpoint: &'static str,
        presented: &Presented,
        timeout: Duration,
    ) -> Result<(StatusCode, Bytes), Unanswered> {
        let body = json!({
            "x402Version": 2,
            "paymentPayload": presented.payload,
            "paymentRequirements": presented.requirements,
        });
        let pass = self.0.breaker.enter().map_err(Unanswered::Open)?;
        let answered = self.send(Method::POST, endpoint, body.to_string().into(), timeout).await;
        match &answered {
            Ok((status, _)) if answer::is_outage(*status) => pass.failed(),
            Ok(_) => pass.succeeded(),
            Err(_) => pass.failed(),
        }
        answered.map_err(Unanswered::Silent)
    }

    async fn send(
        &self,
        method: Method,
        endpoint: &str,
        body: Bytes,
        timeout: Duration,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}/{endpoint}", self.0.base))
            .header(header::ACCEPT, "application/json");
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.0.key.load().header {
            request = request.header(header::AUTHORIZATION, authorization.clone());
        }
        let request = request.body(body).map_err(|_| HttpError::Connect)?;
        self.0.http.send(request, timeout, CAP).await
    }

    /// The latest closed ledger, at most a moment old.
    async fn latest_ledger(&self) -> Result<u32, Failure> {
        let known = *self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((at, ledger)) = known
            && at.elapsed() < MOMENT
        {
            return Ok(ledger);
        }
        let ledger = self.0.rpc.latest_ledger().await?.sequence;
        *self.0.ledger.lock().unwrap_or_else(PoisonError::into_inner) =
            Some((Instant::now(), ledger));
        Ok(ledger)
    }

    fn failure(&self, endpoint: &str, unanswered: Unanswered) -> Failure {
        match unanswered {
            Unanswered::Silent(error) => self.at(endpoint, Failure::unavailable(error.to_string())),
            Unanswered::Open(retry_after) => Failure {
                retry_after,
                ..self.at(endpoint, Failure::unavailable("it has not answered for some time"))
            },
        }
    }

    fn at(&self, endpoint: &str, failure: Failure) -> Failure {
        let detail = format!("the facilitator's {}/{endpoint}: {}", self.0.base, failure.detail);
        Failure { detail, ..failure }
    }
}

/// Why there is no answer.
enum Unanswered {
    /// None came.
    Silent(HttpError),
    /// It was not even asked: it does not answer these days.
    Open(Duration),
}

impl Unanswered {
    const fn may_have_been_sent(&self) -> bool {
        !matches!(self, Self::Open(_) | Self::Silent(HttpError::Connect))
    }
}

/// No answer of a facilitator is longer.
const CAP: usize = 256 << 10;
/// A facilitator polls for as long as the payment allows, and answers then.
const MARGIN_SECONDS: u64 = 10;
const SETTLE_TRIES: u32 = 3;
const RETRY_PAUSE: Duration = Duration::from_millis(200);
const MOMENT: Duration = Duration::from_secs(1);
/// No network closes ledgers faster: a bound for how many there can have been.
const SHORTEST_LEDGER_SECONDS: u32 = 1;

//! The gateway's own facilitator as a service to others: `/supported`, `/verify`, `/settle` and `/health` over HTTP.
//!
//! It speaks what `@x402/core` speaks: 200 for every verdict about a payment, good or bad, and other statuses only for
//! what is no verdict. What a payment is worth is [`crate::ledger::own`]'s to say. A settlement runs on when its caller
//! goes away, and the same payment asked again gets the same answer, within this process.
//! Source: x402 v2, facilitator API.

mod ask;
mod desk;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use secrecy::SecretString;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;
use tracing::warn;

use self::{
    ask::{Ask, NotAsked},
    desk::Desk,
};
#[cfg(any(test, fuzzing))]
use crate::ledger::facilitator::Payment;
use crate::{
    ledger::{facilitator::VerifyError, own::Facilitator},
    protocol::{
        stellar::Network,
        x402::{Settlement, Verification},
    },
    server::{Arriving, Inbound, Refused, Service, bearer},
    telemetry::Clock,
};

/// The payment that a question is about, if it can be judged: the way in for the checks of [`crate::fuzz`].
#[cfg(any(test, fuzzing))]
pub(crate) fn read_ask(json: &Value, network: Network) -> Option<Payment> {
    Ask::from_json(json, network).map(|ask| ask.payment).ok()
}

/// The service. Clones share it.
#[derive(Clone, Debug)]
pub struct Facilitate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    facilitator: Facilitator,
    network: Network,
    api_key: Option<SecretString>,
    desk: Desk,
}

impl Facilitate {
    /// The service of `facilitator`, which settles on `network`; with `api_key` only to those who have it.
    ///
    /// Settlements run on `tasks`: wait for them before the process ends.
    #[must_use]
    pub fn new(
        facilitator: Facilitator,
        network: Network,
        api_key: Option<SecretString>,
        clock: Clock,
        tasks: TaskTracker,
    ) -> Self {
        let desk = Desk::new(facilitator.clone(), clock, tasks);
        Self(Arc::new(Inner { facilitator, network, api_key, desk }))
    }

    async fn respond(self, request: Request<Arriving>) -> Answer {
        let (head, body) = request.into_parts();
        let endpoint = match (&head.method, head.uri.path()) {
            (&Method::GET | &Method::HEAD, "/health") => return self.health(),
            (&Method::GET | &Method::HEAD, "/supported") => Endpoint::Supported,
            (&Method::POST, "/verify") => Endpoint::Verify,
            (&Method::POST, "/settle") => Endpoint::Settle,
            (_, "/health" | "/supported" | "/verify" | "/settle") => {
                return error(StatusCode::METHOD_NOT_ALLOWED, "method not allowed");
            }
            _ => return error(StatusCode::NOT_FOUND, "not found"),
        };
        if !self.admits(&head.headers) {
            let mut answer = error(StatusCode::UNAUTHORIZED, "Unauthorized");
            let bearer = http::HeaderValue::from_static("Bearer");
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, bearer);
            return answer;
        }
        let asked = match endpoint {
            Endpoint::Supported => return self.supported(),
            Endpoint::Verify | Endpoint::Settle => Ask::read(body, self.0.network).await,
        };
        match endpoint {
            Endpoint::Settle => self.settle(asked).await,
            Endpoint::Verify | Endpoint::Supported => self.verify(asked).await,
        }
    }

    /// Whether the request carries our key, if there is one.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let Some(key) = &self.0.api_key else { return true };
        bearer::carries(headers, key)
    }

    fn health(&self) -> Answer {
        match self.0.facilitator.supported() {
            Ok(_) => answer(StatusCode::OK, &json!({ "status": "ok" })),
            Err(_) => answer(StatusCode::SERVICE_UNAVAILABLE, &json!({ "status": "not ready" })),
        }
    }

    fn supported(&self) -> Answer {
        let Ok(supported) = self.0.facilitator.supported() else { return busy() };
        let signers: Vec<String> =
            self.0.facilitator.signers().map(|signer| signer.to_string()).collect();
        let kind = json!({
            "x402Version": 2,
            "scheme": "exact",
            "network": self.0.network.name(),
            "extra": { "areFeesSponsored": supported.are_fees_sponsored },
        });
        let kinds = json!({
            "kinds": [kind],
            "extensions": [],
            "signers": { "stellar:*": signers },
        });
        answer(StatusCode::OK, &kinds)
    }

    async fn verify(&self, asked: Result<Ask, NotAsked>) -> Answer {
        let invalid = |reason: &str, payer: Option<String>| {
            let invalid_reason = Some(reason.to_owned());
            let verdict = Verification { is_valid: false, invalid_reason, payer };
            answer(StatusCode::OK, &verdict.to_json())
        };
        let payment = match asked {
            Ok(Ask { payment }) => payment,
            Err(NotAsked::Invalid { reason, payer }) => return invalid(reason, payer),
            Err(NotAsked::Unreadable(status, what)) => return error(status, what),
        };
        let payer = payment.transfer.payer().to_string();
        match self.0.facilitator.verify(&payment).await {
            Ok(()) => {
                let payer = Some(payer);
                let verdict = Verification { is_valid: true, invalid_reason: None, payer };
                answer(StatusCode::OK, &verdict.to_json())
            }
            Err(VerifyError::Invalid(why)) => {
                invalid(&why.reason, why.payer.map(|payer| payer.to_string()))
            }
            Err(VerifyError::Failed(failure)) => {
                warn!(detail = failure.detail, "a payment could not be verified");
                busy()
            }
        }
    }

    async fn settle(&self, asked: Result<Ask, NotAsked>) -> Answer {
        let payment = match asked {
            Ok(Ask { payment }) => payment,
            Err(NotAsked::Invalid { reason, payer }) => {
                let settlement = Settlement {
                    success: false,
                    error_reason: Some(reason.to_owned()),
                    transaction: String::new(),
                    network: self.0.network.name().to_owned(),
                    payer,
                    amount: None,
                };
                return answer(StatusCode::OK, &settlement.to_json());
            }
            Err(NotAsked::Unreadable(status, what)) => return error(status, what),
        };
        match self.0.desk.settle(payment).await {
            Some(settlement) => answer(StatusCode::OK, &settlement.to_json()),
            None => busy(),
        }
    }
}

impl Service for Facilitate {
    type Body = Full<Bytes>;

    fn answer(&self, inbound: Inbound) -> impl Future<Output = Answer> + Send + 'static {
        self.clone().respond(inbound.request)
    }

    fn refuse(&self, refused: Refused, _: &HeaderMap) -> Answer {
        error(refused.status(), &refused.to_string())
    }
}

type Answer = Response<Full<Bytes>>;

#[derive(Clone, Copy)]
enum Endpoint {
    Supported,
    Verify,
    Settle,
}

fn answer(status: StatusCode, json: &Value) -> Answer {
    let mut answer = Response::new(Full::from(json.to_string()));
    *answer.status_mut() = status;
    let json = http::HeaderValue::from_static("application/json");
    answer.headers_mut().insert(header::CONTENT_TYPE, json);
    let no_store = http::HeaderValue::from_static("no-store");
    answer.headers_mut().insert(header::CACHE_CONTROL, no_store);
    answer
}

fn error(status: StatusCode, what: &str) -> Answer {
    answer(status, &json!({ "error": what }))
}

/// Our trouble is nobody's business: it is in the log.
fn busy() -> Answer {
    let mut answer = error(StatusCode::SERVICE_UNAVAILABLE, "not ready");
    let seconds = http::HeaderValue::from(RETRY_AFTER.as_secs());
    answer.headers_mut().insert(header::RETRY_AFTER, seconds);
    answer
}

const RETRY_AFTER: Duration = Duration::from_secs(2);

//! One message to a webhook: signed, posted, and what the receiver said to it.
//!
//! Redirects are not followed: they would lead where the operator has not pointed.
//! Source: Standard Webhooks 1.0, "Webhook Headers".

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, header};
use tokio::time::timeout;

use super::{Webhook, name};
use crate::{
    ledger::{Http, read_body},
    telemetry::Clock,
};

/// Brings messages to one webhook.
#[derive(Clone, Debug)]
pub(super) struct Messenger {
    pub(super) webhook: Webhook,
    /// Where it is, for logs and figures.
    pub(super) host: String,
    pub(super) http: Http,
    pub(super) clock: Clock,
}

/// What a receiver did with a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Reply {
    Taken,
    /// It is there, and does not want this one.
    Refused(StatusCode),
    /// It is not there, or has no time: another one would fare no better.
    Away(String),
}

impl Messenger {
    pub(super) async fn post(&self, id: [u8; 16], body: &Bytes) -> Reply {
        let (id, now) = (name(&id), self.clock.now());
        let signature = self.webhook.secret.sign(&id, now, body);
        let request = Request::post(self.webhook.url.clone())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::USER_AGENT, concat!("tollgate/", env!("CARGO_PKG_VERSION")))
            .header("webhook-id", id)
            .header("webhook-timestamp", now)
            .header("webhook-signature", signature)
            .body(body.clone());
        let Ok(request) = request else { return Reply::Away("the request cannot be made".into()) };
        let exchanged = match timeout(PATIENCE, self.http.exchange(request)).await {
            Err(_) => return Reply::Away("no answer in time".into()),
            Ok(Err(error)) if error.is_connect() => return Reply::Away("cannot connect".into()),
            Ok(Err(_)) => return Reply::Away("the connection broke".into()),
            Ok(Ok(response)) => response,
        };
        let status = exchanged.status();
        // Read so that the connection can be used again; what it says does not matter.
        drop(timeout(READING, read_body(exchanged.into_body(), MOST_READ)).await);
        match status.as_u16() {
            200..=299 => Reply::Taken,
            408 | 429 => Reply::Away(format!("it answers {status}")),
            400..=499 => Reply::Refused(status),
            _ => Reply::Away(format!("it answers {status}")),
        }
    }
}

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(15);
const READING: Duration = Duration::from_secs(1);
const MOST_READ: usize = 16 * 1024;

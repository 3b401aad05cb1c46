//! What is asked of the admin port: paths, methods, and what comes with an order.

use std::time::Duration;

use http::{HeaderMap, Method, StatusCode, header};
use http_body::Body as _;
use serde_json::Value;
use tokio::time::timeout;

use super::{Answer, error};
use crate::{
    ledger::{HttpError, read_body},
    protocol::{json, stellar::ContractId},
    server::Arriving,
    store::MemberId,
};

/// What is asked of the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Health,
    Ready,
    Metrics,
    Config,
    Routes,
    Reload,
    List,
    Show(ContractId),
    Settle(ContractId),
    Close(ContractId),
    Adopt(ContractId),
    CloseAll,
    Members,
    Dismiss(MemberId),
    Payments,
}

/// Why nothing is done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotAsked {
    NotFound,
    WrongMethod { allow: &'static str },
    NoChannel,
    NoMember,
    NotJson,
    TooLarge,
    TooSlow,
    BrokeOff,
    NotEmpty,
}

impl Asked {
    pub(super) fn read(method: &Method, path: &str) -> Result<Self, NotAsked> {
        let channel = |text: &str| text.parse::<ContractId>().map_err(|_| NotAsked::NoChannel);
        let segments: Vec<_> = path.trim_start_matches('/').split('/').collect();
        let asked = match *segments {
            ["healthz" | "live"] => Self::Health,
            ["readyz" | "ready"] => Self::Ready,
            ["metrics"] => Self::Metrics,
            ["config_dump"] => Self::Config,
            ["routes"] => Self::Routes,
            ["-", "reload"] => Self::Reload,
            ["channels"] => Self::List,
            ["channels", "close"] => Self::CloseAll,
            ["channels", one] => Self::Show(channel(one)?),
            ["channels", one, "settle"] => Self::Settle(channel(one)?),
            ["channels", one, "close"] => Self::Close(channel(one)?),
            ["channels", one, "adopt"] => Self::Adopt(channel(one)?),
            ["payments"] => Self::Payments,
            ["members"] => Self::Members,
            ["members", one, "dismiss"] => {
                Self::Dismiss(one.parse().map_err(|_| NotAsked::NoMember)?)
            }
            _ => return Err(NotAsked::NotFound),
        };
        match (asked.changes_something(), method) {
            (true, &Method::POST) | (false, &Method::GET | &Method::HEAD) => Ok(asked),
            (true, _) => Err(NotAsked::WrongMethod { allow: "POST" }),
            (false, _) => Err(NotAsked::WrongMethod { allow: "GET, HEAD" }),
        }
    }

    pub(super) const fn changes_something(self) -> bool {
        match self {
            Self::Health
            | Self::Ready
            | Self::Metrics
            | Self::Config
            | Self::Routes
            | Self::List
            | Self::Show(_)
            | Self::Members
            | Self::Payments => false,
            Self::Settle(_)
            | Self::Close(_)
            | Self::Adopt(_)
            | Self::CloseAll
            | Self::Reload
            | Self::Dismiss(_) => true,
        }
    }
}

/// An order comes as the JSON object `{}`, which a form of another site cannot send; it has no members yet.
pub(super) async fn check_order(
    asked: Asked,
    headers: &HeaderMap,
    body: Arriving,
) -> Result<(), NotAsked> {
    // As other servers take it; the gate has kept out who comes from another site.
    if asked == Asked::Reload && body.is_end_stream() {
        return Ok(());
    }
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next()).unwrap_or_default();
    if !essence.trim().eq_ignore_ascii_case("application/json") {
        return Err(NotAsked::NotJson);
    }
    let bytes = timeout(PATIENCE, read_body(body, MOST_BYTES))
        .await
        .map_err(|_| NotAsked::TooSlow)?
        .map_err(|error| match error {
            HttpError::TooLarge { .. } => NotAsked::TooLarge,
            _ => NotAsked::BrokeOff,
        })?;
    match json::parse(&bytes) {
        Ok(Value::Object(members)) if members.is_empty() => Ok(()),
        _ => Err(NotAsked::NotEmpty),
    }
}

impl NotAsked {
    pub(super) fn answer(&self) -> Answer {
        let (status, what) = match self {
            Self::NotFound => (StatusCode::NOT_FOUND, "not found"),
            Self::WrongMethod { .. } => (StatusCode::METHOD_NOT_ALLOWED, "method not allowed"),
            Self::NoChannel => {
                (StatusCode::NOT_FOUND, "a channel is a contract: `C…`, 56 characters")
            }
            Self::NoMember => (StatusCode::NOT_FOUND, "a member is 32 hexadecimal digits"),
            Self::NotJson => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected `Content-Type: application/json`")
            }
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "the body is too large"),
            Self::TooSlow => (StatusCode::REQUEST_TIMEOUT, "the body took too long"),
            Self::BrokeOff => (StatusCode::BAD_REQUEST, "the body broke off"),
            Self::NotEmpty => (StatusCode::BAD_REQUEST, "expected the JSON object `{}`"),
        };
        let mut answer = error(status, what);
        if let Self::WrongMethod { allow } = self {
            let allow = http::HeaderValue::from_static(allow);
            answer.headers_mut().insert(header::ALLOW, allow);
        }
        answer
    }
}

pub(super) const MOST_BYTES: usize = 4 * 1024;
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

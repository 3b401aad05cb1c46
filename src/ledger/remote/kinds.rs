//! What the facilitator supports, asked in the background; the last good answer stays in force.

use std::{fmt, sync::PoisonError, time::Duration};

use bytes::Bytes;
use http::{Method, StatusCode};
use serde_json::Value;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::Facilitator;
use crate::{
    ledger::{
        HttpError,
        facilitator::{NotReady, Supported},
    },
    protocol::{json, stellar::Network},
};

/// The last good answer, or why there is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kinds(Result<Supported, String>);

impl Kinds {
    pub(super) fn unknown(base: &str) -> Self {
        Self(Err(format!("the facilitator at {base} has not been asked yet")))
    }

    /// A good answer replaces what was known; a failure only another failure.
    fn learn(&mut self, asked: Result<Supported, String>) {
        match (&self.0, &asked) {
            (Ok(_), Err(reason)) => {
                warn!(reason, "the facilitator's kinds could not be refreshed: the last ones stay");
                return;
            }
            (Err(before), Err(now)) if before != now => {
                warn!(reason = now, "payments cannot be taken");
            }
            (Err(_), Ok(_)) => info!("the facilitator takes payments"),
            _ => {}
        }
        self.0 = asked;
    }

    pub(super) fn supported(&self) -> Result<Supported, NotReady> {
        self.0.clone().map_err(NotReady)
    }
}

/// Asks again and again until `stop`: soon after a failure, seldom after a success.
pub(super) async fn refresh(facilitator: Facilitator, stop: CancellationToken) {
    let mut pause = SHORT_PAUSE;
    loop {
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            asked = ask(&facilitator) => asked,
        };
        let wait = if asked.is_ok() { LONG_PAUSE } else { pause };
        pause = if asked.is_ok() { SHORT_PAUSE } else { pause.saturating_mul(2).min(MIDDLE_PAUSE) };
        let asked = asked.map_err(|error| error.to_string());
        facilitator.0.kinds.lock().unwrap_or_else(PoisonError::into_inner).learn(asked);
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(wait) => {}
        }
    }
}

/// Asks once.
pub(super) async fn ask(facilitator: &Facilitator) -> Result<Supported, Unsupported> {
    let inner = &facilitator.0;
    let key = inner.key.load_full();
    let trouble =
        |trouble| Unsupported { base: inner.base.clone(), key: key.name.clone(), trouble };
    if key.is_set && key.header.is_none() {
        return Err(trouble(Trouble::UnusableKey));
    }
    let timeout = inner.settings.timeout;
    let answered = facilitator.send(Method::GET, "supported", Bytes::new(), timeout).await;
    let (status, body) = answered.map_err(|error| trouble(Trouble::Silent(error)))?;
    match status {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            return Err(trouble(Trouble::KeyRefused(status)));
        }
        status => return Err(trouble(Trouble::Status(status))),
    }
    let network = inner.settings.network;
    let answer = json::parse(&body).map_err(|_| trouble(Trouble::Nonsense))?;
    read(&answer, network).map_err(|what| trouble(Trouble::NoKind { what, network }))
}

/// Why a facilitator cannot be used: a sentence for the operator, with what to look at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    base: String,
    key: Option<String>,
    /// What is wrong.
    pub trouble: Trouble,
}

/// What is wrong with a facilitator.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The key cannot be sent in a header.
    UnusableKey,
    /// It does not answer.
    Silent(HttpError),
    /// It does not take the key.
    KeyRefused(StatusCode),
    /// It answers something else.
    Status(StatusCode),
    /// Its answer cannot be read.
    Nonsense,
    /// It does not settle what we need.
    NoKind {
        /// `offers no`, or `does not sponsor the fees of`.
        what: &'static str,
        /// On which network.
        network: Network,
    },
}

impl Unsupported {
    /// What is wrong, without what to look at.
    #[must_use]
    pub fn what(&self) -> String {
        let base = &self.base;
        match &self.trouble {
            Trouble::UnusableKey => {
                format!("the key for the facilitator at {base} is no header value")
            }
            Trouble::Silent(error) => {
                format!("the facilitator at {base} is out of reach ({error})")
            }
            Trouble::KeyRefused(status) => {
                format!("the facilitator at {base} refuses the key (status {status})")
            }
            Trouble::Status(status) => {
                format!("the facilitator at {base} answered /supported with status {status}")
            }
            Trouble::Nonsense => {
                format!("the facilitator at {base} answered /supported with nonsense")
            }
            Trouble::NoKind { what, network } => {
                format!("the facilitator at {base} {what} x402 `exact` on {network}")
            }
        }
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what();
        match &self.key {
            Some(name) => {
                write!(f, "{what}: see `payments.x402.facilitator.url` and the key {name}")
            }
            None => write!(f, "{what}: see `payments.x402.facilitator.url`; no key is set"),
        }
    }
}

impl std::error::Error for Unsupported {}

/// Finds our kind, leniently: `signers` and `extensions` may be absent, `extra` may be null.
pub(super) fn read(answer: &Value, network: Network) -> Result<Supported, &'static str> {
    let kinds = answer.get("kinds").and_then(Value::as_array).ok_or("offers no")?;
    let ours = |kind: &&Value| {
        kind.get("x402Version").and_then(Value::as_u64) == Some(2)
            && kind.get("scheme").and_then(Value::as_str) == Some("exact")
            && kind.get("network").and_then(Value::as_str) == Some(network.name())
    };
    let kind = kinds.iter().find(ours).ok_or("offers no")?;
    // Clients refuse to pay unless fees are sponsored, so a facilitator that is silent about it must mean it.
    match kind.pointer("/extra/areFeesSponsored") {
        Some(Value::Bool(false)) => Err("does not sponsor the fees of"),
        _ => Ok(Supported { are_fees_sponsored: true }),
    }
}

const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// After a failure: a facilitator that returns is in use again within five seconds.
const MIDDLE_PAUSE: Duration = Duration::from_secs(4);
const LONG_PAUSE: Duration = Duration::from_secs(300);

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn kind(network: &str, extra: Value) -> Value {
        json!({"x402Version": 2, "scheme": "exact", "network": network, "extra": extra})
    }

    #[test]
    fn the_last_good_kinds_outlive_an_outage() {
        let mut kinds = Kinds::unknown("https://a");
        let out = || Err("out of reach".to_owned());
        kinds.learn(out());
        assert_eq!(kinds.supported(), Err(NotReady("out of reach".to_owned())));
        let good = Supported { are_fees_sponsored: true };
        kinds.learn(Ok(good));
        kinds.learn(out());
        assert_eq!(kinds.supported(), Ok(good));
    }

    #[test]
    fn kinds_are_read_as_facilitators_spell_them() {
        let sponsored = Ok(Supported { are_fees_sponsored: true });
        let good = json!({"areFeesSponsored": true});
        for (answer, verdict) in [
            (
                json!({"kinds": [kind("stellar:testnet", good.clone())], "extensions": [],
                    "signers": {"stellar:*": ["G"]}}),
                sponsored,
            ),
            (json!({"kinds": [kind("stellar:testnet", good.clone())]}), sponsored),
            (json!({"kinds": [kind("stellar:testnet", Value::Null)]}), sponsored),
            (
                json!({"kinds": [kind("eip155:1", good.clone()), kind("stellar:testnet", good.clone())]}),
                sponsored,
            ),
            (json!({"kinds": [kind("stellar:pubnet", good)]}), Err("offers no")),
            (json!({"kinds": []}), Err("offers no")),
            (json!({}), Err("offers no")),
            (json!([1]), Err("offers no")),
            (
                json!({"kinds": [kind("stellar:testnet", json!({"areFeesSponsored": false}))]}),
                Err("does not sponsor the fees of"),
            ),
        ] {
            assert_eq!(read(&answer, Network::Testnet), verdict, "{answer}");
        }
    }
}

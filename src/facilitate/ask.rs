//! What a resource server asks of us: a payment, and what it has to pay.
//!
//! Read leniently where others may know more than we do (unknown members are theirs), and strictly in what we use.

use std::time::Duration;

use http::StatusCode;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    ledger::{HttpError, facilitator::Payment, read_body},
    protocol::{
        json,
        money::Amount,
        stellar::Network,
        transfer::{Expected, Transfer},
        x402::Payload,
    },
    server::Arriving,
};

/// A request that can be judged.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) payment: Payment,
}

/// Why it cannot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotAsked {
    /// A verdict all the same: the payment cannot be good.
    Invalid { reason: &'static str, payer: Option<String> },
    /// No question at all.
    Unreadable(StatusCode, &'static str),
}

impl Ask {
    /// Reads the body of a request about a payment on `network`.
    pub(super) async fn read(body: Arriving, network: Network) -> Result<Self, NotAsked> {
        let unreadable = NotAsked::Unreadable;
        let bytes = timeout(TIMEOUT, read_body(body, MOST_BYTES))
            .await
            .map_err(|_| unreadable(StatusCode::REQUEST_TIMEOUT, "the body took too long"))?
            .map_err(|error| match error {
                HttpError::TooLarge { .. } => {
                    unreadable(StatusCode::PAYLOAD_TOO_LARGE, "the body is larger than 64 KiB")
                }
                _ => unreadable(StatusCode::BAD_REQUEST, "the body broke off"),
            })?;
        let json = json::parse(&bytes)
            .map_err(|_| unreadable(StatusCode::BAD_REQUEST, "the body is not JSON"))?;
        Self::from_json(&json, network)
    }

    /// In the order of the reference facilitator: version, scheme, network, and then the payment.
    pub(super) fn from_json(json: &Value, network: Network) -> Result<Self, NotAsked> {
        let object = |key: &'static str, what: &'static str| {
            json.get(key)
                .filter(|value| value.is_object())
                .ok_or(NotAsked::Unreadable(StatusCode::BAD_REQUEST, what))
        };
        let payload = object("paymentPayload", "paymentPayload must be an object")?;
        let requirements = object("paymentRequirements", "paymentRequirements must be an object")?;
        let versions = [json.get("x402Version"), payload.get("x402Version")];
        if versions.iter().any(|version| version.and_then(Value::as_u64) != Some(2)) {
            return Err(invalid("invalid_x402_version"));
        }
        let accepted = payload.get("accepted").unwrap_or(&Value::Null);
        let both = |key: &str| {
            [accepted, requirements].map(|value| value.get(key).and_then(Value::as_str))
        };
        if both("scheme") != [Some("exact"); 2] {
            return Err(invalid("unsupported_scheme"));
        }
        if both("network") != [Some(network.name()); 2] {
            return Err(invalid("network_mismatch"));
        }
        let (expected, max_timeout_seconds) = read_requirements(requirements, network)
            .ok_or(invalid("invalid_payment_requirements"))?;
        let payload = Payload::from_json(payload.clone())
            .map_err(|_| invalid("invalid_exact_stellar_payload_malformed"))?;
        let transfer = Transfer::parse(&payload.transaction)
            .map_err(|error| NotAsked::Invalid { reason: error.reason(), payer: None })?;
        Ok(Self {
            payment: Payment {
                transfer,
                expected,
                max_timeout_seconds,
                min_remaining: 1,
                declares_fee: true,
            },
        })
    }
}

const fn invalid(reason: &'static str) -> NotAsked {
    NotAsked::Invalid { reason, payer: None }
}

fn read_requirements(json: &Value, network: Network) -> Option<(Expected, u32)> {
    let text = |key: &str| json.get(key).and_then(Value::as_str);
    let amount = Amount::parse_units(text("amount")?).ok().filter(|amount| !amount.is_zero())?;
    let (asset, payee) = (text("asset")?.parse().ok()?, text("payTo")?.parse().ok()?);
    let seconds = match json.get("maxTimeoutSeconds") {
        None | Some(Value::Null) => DEFAULT_SECONDS,
        // JavaScript writes 60 as 60, but others may write 60.0.
        Some(value) => match value.as_u64() {
            Some(seconds) => u32::try_from(seconds).ok()?,
            None => value.to_string().strip_suffix(".0")?.parse().ok()?,
        },
    };
    (1..=MOST_SECONDS)
        .contains(&seconds)
        .then_some((Expected { network, asset, payee, amount }, seconds))
}

/// A payment is about 2 kB, and some more with its extensions.
const MOST_BYTES: usize = 64 << 10;
const TIMEOUT: Duration = Duration::from_secs(10);
/// As in the reference facilitator.
const DEFAULT_SECONDS: u32 = 60;
/// A lane would be held for as long: nobody needs an hour.
const MOST_SECONDS: u32 = 3_600;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const VECTOR_A: &str = include_str!("../protocol/transfer/vector_a.txt");

    fn asked() -> Value {
        let requirements = json!({
            "scheme": "exact", "network": "stellar:testnet", "amount": "10000",
            "asset": "CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA",
            "payTo": "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG",
            "maxTimeoutSeconds": 60, "extra": {"areFeesSponsored": true},
        });
        json!({
            "x402Version": 2,
            "paymentPayload": {
                "x402Version": 2, "accepted": requirements,
                "payload": {"transaction": VECTOR_A.trim()}, "resource": {"url": "https://a"},
            },
            "paymentRequirements": requirements,
        })
    }

    fn changed(pointer: &str, value: Value) -> Result<Ask, NotAsked> {
        let mut asked = asked();
        *asked.pointer_mut(pointer).unwrap() = value;
        Ask::from_json(&asked, Network::Testnet)
    }

    #[test]
    fn a_question_is_read_with_what_it_needs() {
        let Ask { payment } = Ask::from_json(&asked(), Network::Testnet).unwrap();
        assert_eq!(payment.expected.amount.units(), 10_000);
        assert_eq!(payment.max_timeout_seconds, 60);
        assert_eq!(payment.transfer.check(&payment.expected, &[]), Ok(()));
        for seconds in [json!(60.0), Value::Null] {
            let asked = changed("/paymentRequirements/maxTimeoutSeconds", seconds).unwrap();
            assert_eq!(asked.payment.max_timeout_seconds, 60);
        }
    }

    #[test]
    fn what_cannot_be_good_has_the_reference_reason() {
        let malformed = "invalid_exact_stellar_payload_malformed";
        let requirements = "invalid_payment_requirements";
        for (pointer, value, reason) in [
            ("/x402Version", json!(1), "invalid_x402_version"),
            ("/paymentPayload/x402Version", json!(3), "invalid_x402_version"),
            ("/paymentPayload/accepted/scheme", json!("upto"), "unsupported_scheme"),
            ("/paymentRequirements/scheme", json!("upto"), "unsupported_scheme"),
            ("/paymentPayload/accepted/network", json!("stellar:pubnet"), "network_mismatch"),
            ("/paymentRequirements/network", json!("stellar:pubnet"), "network_mismatch"),
            ("/paymentPayload/payload/transaction", json!("AAAA"), malformed),
            ("/paymentPayload/payload/transaction", json!(7), malformed),
            ("/paymentPayload/payload", json!({}), malformed),
            ("/paymentRequirements/amount", json!("0"), requirements),
            ("/paymentRequirements/amount", json!(10_000), requirements),
            ("/paymentRequirements/asset", json!("USDC:G"), requirements),
            ("/paymentRequirements/payTo", json!("M"), requirements),
            ("/paymentRequirements/maxTimeoutSeconds", json!(0), requirements),
            ("/paymentRequirements/maxTimeoutSeconds", json!("60"), requirements),
        ] {
            assert_eq!(changed(pointer, value).unwrap_err(), invalid(reason), "{pointer}");
        }
    }

    #[test]
    fn what_is_no_question_is_a_bad_request() {
        for pointer in ["/paymentPayload", "/paymentRequirements"] {
            for value in [Value::Null, json!([]), json!("a")] {
                let verdict = changed(pointer, value).unwrap_err();
                assert!(matches!(verdict, NotAsked::Unreadable(StatusCode::BAD_REQUEST, _)));
            }
        }
        let verdict = Ask::from_json(&json!([]), Network::Testnet).unwrap_err();
        assert!(matches!(verdict, NotAsked::Unreadable(StatusCode::BAD_REQUEST, _)));
    }
}

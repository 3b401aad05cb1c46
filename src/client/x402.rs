//! What an x402 challenge asks, read leniently, and the payment that answers it.
//!
//! Whatever this client does not know of it is echoed, and not understood.
//! Source: x402 v2, HTTP transport (client side) and scheme `exact` on Stellar.

use serde_json::{Map, Value, json};

use super::{
    Credential, Error, Overrides,
    offer::shown,
    transaction::{Order, Sender, Signer, encode, life},
};
use crate::protocol::{
    stellar::{Asset, Network},
    transfer::unsigned,
    x402::{self, Malformed, Requirements},
};

/// An x402 challenge, with every member as it came.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Challenge(Map<String, Value>);

/// One way to pay by x402, which this client understands.
#[derive(Clone, Debug, PartialEq)]
pub struct X402Offer {
    /// What it asks.
    pub requirements: Requirements,
    /// The object that it was read from, to be echoed.
    pub accepted: Value,
    /// The members of the challenge that are echoed too: `resource`, `extensions`.
    pub echoed: Map<String, Value>,
}

impl Challenge {
    pub(super) fn decode(header: &[u8]) -> Result<Self, Malformed> {
        match x402::decode_challenge(header)? {
            Value::Object(object) if object.get("accepts").is_some_and(Value::is_array) => {
                Ok(Self(object))
            }
            _ => Err(Malformed::Shape("accepts")),
        }
    }

    /// Each way to pay on `network`, in `asset` if that is given; or why it cannot be used.
    pub(super) fn offers(
        &self,
        network: Network,
        asset: Option<&Asset>,
    ) -> impl Iterator<Item = Result<X402Offer, String>> {
        let accepts = self.member("accepts").and_then(Value::as_array).into_iter().flatten();
        accepts.map(move |accepted| self.read(accepted, network, asset))
    }

    fn member(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    fn read(
        &self,
        accepted: &Value,
        network: Network,
        asset: Option<&Asset>,
    ) -> Result<X402Offer, String> {
        let text = |name| accepted.get(name).and_then(Value::as_str).unwrap_or("nothing");
        if text("scheme") != "exact" {
            return Err(format!("its scheme is `{}`, not `exact`", shown(text("scheme"))));
        }
        if text("network") != network.name() {
            return Err(format!("it is on `{}`, not `{network}`", shown(text("network"))));
        }
        let requirements =
            Requirements::from_json(&known(accepted)).map_err(|error| match error.0 {
                "extra.areFeesSponsored" => "its fees are not sponsored".to_owned(),
                member => format!("its `{member}` is not as the scheme says"),
            })?;
        if let Some(asset) = asset
            && asset.contract != requirements.asset
        {
            return Err(format!("it is in {}, not {}", requirements.asset, asset.name));
        }
        let echoed = ["resource", "extensions"]
            .into_iter()
            .filter_map(|name| Some((name.to_owned(), self.member(name)?.clone())))
            .collect();
        Ok(X402Offer { requirements, accepted: accepted.clone(), echoed })
    }
}

impl X402Offer {
    /// What is sold, in the server's words; may be empty.
    #[must_use]
    pub fn description(&self) -> &str {
        let description = self.echoed.get("resource").and_then(|of| of.get("description"));
        description.and_then(Value::as_str).unwrap_or_default()
    }
}

impl Signer<'_> {
    /// Signs a payment of `offer` at `now`, in Unix seconds.
    pub(super) async fn sign_x402(
        &self,
        offer: &X402Offer,
        overrides: &Overrides,
        now: u64,
    ) -> Result<Credential, Error> {
        let asked = &offer.requirements;
        let order = Order {
            asset: asked.asset,
            payee: asked.pay_to,
            amount: asked.amount,
            sender: Sender::Sponsor,
            life: life(asked.max_timeout_seconds).max(MIN_LIFE),
            max_time: now.saturating_add(VALID_SECONDS),
        };
        let made = self.make(&order, overrides).await?;
        let accepted = overrides.accepted.as_ref().unwrap_or(&offer.accepted);
        let mut payload = offer.echoed.clone();
        payload.insert("x402Version".to_owned(), 2.into());
        payload.insert("accepted".to_owned(), accepted.clone());
        let transaction = encode(&unsigned(made.tx))?;
        payload.insert("payload".to_owned(), json!({ "transaction": transaction }));
        Ok(Credential::x402(Value::Object(payload)).until(made.until))
    }
}

/// The members that the scheme has; a server may have put others beside them, and whole numbers as `60.0`.
fn known(accepted: &Value) -> Value {
    let mut object: Map<String, Value> = accepted
        .as_object()
        .into_iter()
        .flatten()
        .filter(|(name, _)| x402::KEYS.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    if let Some(seconds) = object.get_mut("maxTimeoutSeconds")
        && let Some(whole) = seconds.as_f64().filter(|seconds| seconds.fract() == 0.0)
        && let Ok(whole) = format!("{whole:.0}").parse::<u64>()
    {
        *seconds = whole.into();
    }
    Value::Object(object)
}

/// In ledgers: less is too short to be settled.
const MIN_LIFE: u32 = 3;
/// How long the client's own transaction could land, as the reference clients set it. Nobody sends it as it is.
const VALID_SECONDS: u64 = 300;

//! What a 402 asks, read leniently: whatever this client does not know is echoed, and not understood.

use std::fmt;

use http::{Response, StatusCode};
use serde_json::{Map, Value};

use super::Error;
use crate::protocol::{
    money::Amount,
    stellar::{Asset, Network},
    x402::{self, Malformed, PAYMENT_REQUIRED, Requirements},
};

/// The challenge of a 402, with every member as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Challenge(Map<String, Value>);

/// One way to pay, which this client understands.
#[derive(Clone, Debug, PartialEq)]
pub struct Offer {
    /// What it asks.
    pub requirements: Requirements,
    /// The object that it was read from, to be echoed.
    pub accepted: Value,
    /// What is sold, in the server's words; may be empty.
    pub description: String,
}

/// An amount of an asset, as people read it: `0.001 USDC`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Money(String);

impl Challenge {
    /// The challenge of `response`; `None` if it asks for no x402 payment.
    ///
    /// # Errors
    /// [`Error::Challenge`] if it asks for one in a way that cannot be read.
    pub fn of<B>(response: &Response<B>) -> Result<Option<Self>, Error> {
        if response.status() != StatusCode::PAYMENT_REQUIRED {
            return Ok(None);
        }
        match response.headers().get(PAYMENT_REQUIRED) {
            Some(header) => Self::decode(header.as_bytes()).map(Some).map_err(Error::Challenge),
            None => Ok(None),
        }
    }

    fn decode(header: &[u8]) -> Result<Self, Malformed> {
        match x402::decode_challenge(header)? {
            Value::Object(object) if object.get("accepts").is_some_and(Value::is_array) => {
                Ok(Self(object))
            }
            _ => Err(Malformed::Shape("accepts")),
        }
    }

    /// A member such as `resource`, to be echoed.
    #[must_use]
    pub fn member(&self, name: &str) -> Option<&Value> {
        self.0.get(name).filter(|value| !value.is_null())
    }

    /// Why the server gave no answer, in its words.
    #[must_use]
    pub fn error(&self) -> &str {
        self.member("error").and_then(Value::as_str).unwrap_or_default()
    }

    /// The first way to pay on `network`, in `asset` if that is given.
    ///
    /// # Errors
    /// [`Error::NoOffer`] tells of each way why it cannot be used.
    pub fn choose(&self, network: Network, asset: Option<&Asset>) -> Result<Offer, Error> {
        let mut reasons = Vec::new();
        for accepted in self.member("accepts").and_then(Value::as_array).into_iter().flatten() {
            match self.read(accepted, network, asset) {
                Ok(offer) => return Ok(offer),
                Err(reason) => reasons.push(reason),
            }
        }
        Err(Error::NoOffer { reasons })
    }

    fn read(
        &self,
        accepted: &Value,
        network: Network,
        asset: Option<&Asset>,
    ) -> Result<Offer, String> {
        let text = |name| accepted.get(name).and_then(Value::as_str).unwrap_or("nothing");
        if text("scheme") != "exact" {
            return Err(format!("its scheme is `{}`, not `exact`", text("scheme")));
        }
        if text("network") != network.name() {
            return Err(format!("it is on `{}`, not `{network}`", text("network")));
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
        let description = self.member("resource").and_then(|resource| resource.get("description"));
        let description = description.and_then(Value::as_str).unwrap_or_default().to_owned();
        Ok(Offer { requirements, accepted: accepted.clone(), description })
    }
}

impl Offer {
    /// What it costs.
    #[must_use]
    pub fn money(&self) -> Money {
        let Requirements { network, amount, asset, .. } = self.requirements;
        match [network.usdc(), network.xlm()].into_iter().find(|known| known.contract == asset) {
            Some(asset) => Money::of(amount, &asset),
            None => Money(format!("{amount} base units of {asset}")),
        }
    }
}

impl Money {
    /// `amount` of `asset`.
    #[must_use]
    pub fn of(amount: Amount, asset: &Asset) -> Self {
        Self(format!("{} {}", amount.to_decimal(asset.decimals), asset.name))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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

//! The `request` of a channel challenge.

use serde::Serialize;
use serde_json::Value;

use super::super::{
    Malformed, decode_json, encode_ordered, only, optional_text, parsed, text, units,
};
use crate::protocol::{
    json::as_text,
    money::Amount,
    stellar::{ContractId, Network},
};

/// What a channel challenge asks: a commitment to at least `cumulative` + `amount`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// What this request costs, in base units, never zero.
    pub amount: Amount,
    /// The channel to commit from.
    pub channel: ContractId,
    /// The highest commitment that the server holds; zero before the first.
    pub cumulative: Amount,
    /// The merchant's own id of the sale, echoed in the receipt.
    pub external_id: Option<String>,
    /// The network that the channel is on.
    pub network: Network,
    /// What the receipt will know the payment by: unlike any other's, see [`reference()`].
    pub reference: String,
}

impl Request {
    /// The request as JSON.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self.wire()).expect("texts have a form")
    }

    /// The text of the challenge's `request` parameter.
    #[must_use]
    pub fn encode(&self) -> String {
        encode_ordered(&self.wire())
    }

    /// Reads the text of a challenge's `request` parameter.
    ///
    /// Strict in what it asks: an unknown member may change what is owed. A server that names no network means testnet.
    ///
    /// # Errors
    /// [`Malformed`] tells which rule it breaks.
    pub fn decode(request: &str) -> Result<Self, Malformed> {
        let value = decode_json(request.as_bytes())?;
        only(&value, &KEYS, "request")?;
        let details = value.get("methodDetails").ok_or(Malformed::Member("methodDetails"))?;
        only(details, &DETAIL_KEYS, "methodDetails")?;
        optional_text(&value, "description")?;
        let amount = units(&value, "amount")?;
        if amount.is_zero() {
            return Err(Malformed::Member("amount"));
        }
        Ok(Self {
            amount,
            channel: parsed(&value, "channel")?,
            cumulative: units(details, "cumulativeAmount")?,
            external_id: optional_text(&value, "externalId")?,
            network: match details.get("network") {
                None => Network::Testnet,
                Some(_) => parsed(details, "network")?,
            },
            reference: text(details, "reference")?,
        })
    }
}

impl Request {
    fn wire(&self) -> Wire<'_> {
        Wire {
            amount: self.amount,
            channel: self.channel,
            external_id: self.external_id.as_deref(),
            method_details: Details {
                cumulative_amount: self.cumulative,
                network: self.network.name(),
                reference: &self.reference,
            },
        }
    }
}

/// Its members, in their order.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    #[serde(serialize_with = "as_text")]
    amount: Amount,
    #[serde(serialize_with = "as_text")]
    channel: ContractId,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<&'a str>,
    method_details: Details<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    #[serde(serialize_with = "as_text")]
    cumulative_amount: Amount,
    network: &'static str,
    reference: &'a str,
}

/// A reference of 16 random bytes, six bits of which give way to the form of a version 4 UUID (RFC 9562 § 5.4).
#[must_use]
pub fn reference(random: [u8; 16]) -> String {
    let [a, b, c, d, e, f, version, g, variant, h, i, j, k, l, m, n] = random;
    let version = version & 0x0f | 0x40;
    let variant = variant & 0x3f | 0x80;
    let groups: [&[u8]; 5] =
        [&[a, b, c, d], &[e, f], &[version, g], &[variant, h], &[i, j, k, l, m, n]];
    groups.map(hex::encode).join("-")
}

const KEYS: [&str; 5] = ["amount", "channel", "description", "externalId", "methodDetails"];
const DETAIL_KEYS: [&str; 3] = ["cumulativeAmount", "network", "reference"];

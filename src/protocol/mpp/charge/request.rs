//! The `request` of a charge challenge.

use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use super::super::{Malformed, decode_json, encode_ordered, only, optional_text, parsed, units};
use crate::protocol::{
    json::as_text,
    money::Amount,
    stellar::{Address, ContractId, Network},
};

/// What a charge asks: one transfer of exactly this.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Base units, never zero.
    pub amount: Amount,
    /// The SEP-41 contract to transfer in.
    pub currency: ContractId,
    /// Who is paid.
    pub recipient: Address,
    /// The merchant's own id of the sale, echoed in the receipt.
    pub external_id: Option<String>,
    /// The network to pay on.
    pub network: Network,
    /// Whether the server pays the network's fee: then only a [`CredentialType::Transaction`] pays.
    pub fee_payer: bool,
    /// What pays, in the order of the wire.
    pub credential_types: Vec<CredentialType>,
}

/// A way to present a transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CredentialType {
    /// A signed transaction, which the server sends (pull).
    Transaction,
    /// The hash of a transaction that the client sent, signed over with the challenge (push).
    SignedHash,
    /// The bare hash of a transaction that the client sent: anyone who watches the ledger has it.
    Hash,
}

impl CredentialType {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Transaction => "transaction",
            Self::SignedHash => "signedHash",
            Self::Hash => "hash",
        }
    }

    pub(super) fn from_name(name: &str) -> Option<Self> {
        [Self::Transaction, Self::SignedHash, Self::Hash]
            .into_iter()
            .find(|kind| kind.name() == name)
    }
}

impl Request {
    /// The request as JSON; `credentialTypes` is always told, `feePayer` only if it is true.
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
    /// Strict in what it asks: an unknown member may change what is owed. A server that names no network means testnet,
    /// one that names no credential types takes a transaction; types that we do not know are left out.
    ///
    /// # Errors
    /// [`Malformed`] tells which rule it breaks.
    pub fn decode(request: &str) -> Result<Self, Malformed> {
        let value = decode_json(request.as_bytes())?;
        only(&value, &KEYS, "request")?;
        let details = value.get("methodDetails").cloned().unwrap_or_else(|| json!({}));
        only(&details, &DETAIL_KEYS, "methodDetails")?;
        optional_text(&value, "description")?;
        let amount = units(&value, "amount")?;
        if amount.is_zero() {
            return Err(Malformed::Member("amount"));
        }
        Ok(Self {
            amount,
            currency: parsed(&value, "currency")?,
            recipient: parsed(&value, "recipient")?,
            external_id: optional_text(&value, "externalId")?,
            network: match details.get("network") {
                None => Network::Testnet,
                Some(_) => parsed(&details, "network")?,
            },
            fee_payer: match details.get("feePayer") {
                None => false,
                Some(told) => told.as_bool().ok_or(Malformed::Member("feePayer"))?,
            },
            credential_types: credential_types(&details)?,
        })
    }
}

impl Request {
    fn wire(&self) -> Wire<'_> {
        Wire {
            amount: self.amount,
            currency: self.currency,
            external_id: self.external_id.as_deref(),
            method_details: Details {
                credential_types: &self.credential_types,
                fee_payer: self.fee_payer.then_some(true),
                network: self.network.name(),
            },
            recipient: self.recipient,
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
    currency: ContractId,
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<&'a str>,
    method_details: Details<'a>,
    #[serde(serialize_with = "as_text")]
    recipient: Address,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Details<'a> {
    credential_types: &'a [CredentialType],
    #[serde(skip_serializing_if = "Option::is_none")]
    fee_payer: Option<bool>,
    network: &'static str,
}

impl Serialize for CredentialType {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

fn credential_types(details: &Value) -> Result<Vec<CredentialType>, Malformed> {
    const MEMBER: Malformed = Malformed::Member("credentialTypes");
    let Some(kinds) = details.get("credentialTypes") else {
        return Ok(vec![CredentialType::Transaction]);
    };
    let names = kinds.as_array().ok_or(MEMBER)?.iter().map(|kind| kind.as_str().ok_or(MEMBER));
    let known = names.map(|name| Ok(CredentialType::from_name(name?)));
    Ok(known.collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

const KEYS: [&str; 6] =
    ["amount", "currency", "description", "externalId", "methodDetails", "recipient"];
const DETAIL_KEYS: [&str; 3] = ["credentialTypes", "feePayer", "network"];

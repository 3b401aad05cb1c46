//! What the server says, as JSON: members in the order of their names, as in every [`Value`].

use serde::Serialize;
use serde_json::Value;

use crate::protocol::{
    json::as_text,
    money::Amount,
    stellar::{Address, ContractId},
};

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PaymentRequired<'a, A> {
    /// A list.
    pub(super) accepts: A,
    pub(super) error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) extensions: Option<&'a Value>,
    pub(super) resource: Resource<'a>,
    #[serde(rename = "x402Version")]
    pub(super) version: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Resource<'a> {
    pub(super) description: &'a str,
    pub(super) mime_type: &'a str,
    pub(super) url: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Requirements<'a> {
    #[serde(serialize_with = "as_text")]
    pub(super) amount: Amount,
    #[serde(serialize_with = "as_text")]
    pub(super) asset: ContractId,
    pub(super) extra: Extra<'a>,
    pub(super) max_timeout_seconds: u32,
    pub(super) network: &'static str,
    #[serde(serialize_with = "as_text")]
    pub(super) pay_to: Address,
    pub(super) scheme: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Extra<'a> {
    pub(super) are_fees_sponsored: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) quote: Option<&'a str>,
}

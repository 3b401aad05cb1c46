//! `simulateTransaction`. A transaction that would fail is a result with an `error`, not a JSON-RPC error.

use serde::{Deserialize, Serialize};
use stellar_xdr::TransactionEnvelope;

use super::message::Error;
use super::view::View;
use super::xdr;
use crate::blocking;
use crate::ledger::{AuthMode, SimulateOptions, Simulation, SimulationFailure, StateChange};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Query {
    transaction: String,
    resource_config: Option<ResourceConfig>,
    auth_mode: Option<String>,
    /// SDK 17 asks for it; the entries that come then are undecodable for SDK 14 and 15.
    #[serde(default, alias = "authV2")]
    use_upgraded_auth: bool,
    xdr_format: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceConfig {
    #[serde(default)]
    instruction_leeway: u64,
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Reply {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transaction_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_resource_fee: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    events: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    results: Vec<HostFunctionResult>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restore_preamble: Option<Preamble>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    state_changes: Vec<Change>,
    latest_ledger: u32,
}

#[derive(Serialize)]
struct HostFunctionResult {
    xdr: String,
    auth: Vec<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Preamble {
    transaction_data: String,
    min_resource_fee: String,
}

#[derive(Serialize)]
struct Change {
    r#type: &'static str,
    key: String,
    before: Option<String>,
    after: Option<String>,
}

pub(super) async fn simulate(view: View, query: Query) -> Result<Reply, Error> {
    let latest_ledger = view.latest_mark().sequence;
    let (envelope, options) = match parse(&query) {
        Ok(parsed) => parsed,
        Err(error) => return Ok(Reply { error: Some(error), latest_ledger, ..Reply::default() }),
    };
    let work = move || view.ledger().simulate_at(view.snapshot(), &envelope, options);
    match blocking::run(work).await {
        None => Err(Error::internal("the host panicked")),
        Some(Ok(found)) => success(&found),
        Some(Err(failure)) => refusal(&failure),
    }
}

fn parse(query: &Query) -> Result<(TransactionEnvelope, SimulateOptions), String> {
    xdr::only_base64(query.xdr_format.as_deref()).map_err(|error| error.message)?;
    let envelope = xdr::decode(&query.transaction).ok_or("Could not unmarshal transaction")?;
    let auth_mode = match query.auth_mode.as_deref() {
        None | Some("") => None,
        Some("enforce") => Some(AuthMode::Enforce),
        Some("record") => Some(AuthMode::Record),
        Some("record_allow_nonroot") => Some(AuthMode::RecordAllowNonroot),
        Some(_) => {
            let modes = "enforce,record,record_allow_nonroot";
            return Err(format!("optional 'authMode' must be one of {modes} when included"));
        }
    };
    let instruction_leeway =
        query.resource_config.as_ref().map_or(0, |config| config.instruction_leeway);
    let use_upgraded_auth = query.use_upgraded_auth;
    Ok((envelope, SimulateOptions { instruction_leeway, auth_mode, use_upgraded_auth }))
}

fn success(found: &Simulation) -> Result<Reply, Error> {
    let results = match &found.result {
        None => Vec::new(),
        Some(value) => vec![HostFunctionResult {
            xdr: xdr::encode(value)?,
            auth: xdr::encode_all(&found.auth)?,
        }],
    };
    let restore_preamble = match &found.restore_preamble {
        None => None,
        Some(preamble) => Some(Preamble {
            transaction_data: xdr::encode(&preamble.transaction_data)?,
            min_resource_fee: preamble.min_resource_fee.to_string(),
        }),
    };
    Ok(Reply {
        error: None,
        transaction_data: Some(xdr::encode(&found.transaction_data)?),
        min_resource_fee: Some(found.min_resource_fee.to_string()),
        events: xdr::encode_all(&found.events)?,
        results,
        restore_preamble,
        state_changes: found.state_changes.iter().map(change).collect::<Result<_, _>>()?,
        latest_ledger: found.ledger,
    })
}

fn refusal(failure: &SimulationFailure) -> Result<Reply, Error> {
    Ok(Reply {
        error: Some(failure.message.clone()),
        events: xdr::encode_all(&failure.events)?,
        latest_ledger: failure.ledger,
        ..Reply::default()
    })
}

fn change(change: &StateChange) -> Result<Change, Error> {
    Ok(Change {
        r#type: match (&change.before, &change.after) {
            (None, _) => "created",
            (Some(_), Some(_)) => "updated",
            (Some(_), None) => "deleted",
        },
        key: xdr::encode(&change.key)?,
        before: change.before.as_ref().map(xdr::encode).transpose()?,
        after: change.after.as_ref().map(xdr::encode).transpose()?,
    })
}

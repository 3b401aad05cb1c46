//! Friendbot and the USDC faucet, as people and SDKs ask for them: a query in, JSON out.
//!
//! Source: friendbot answers as SDF's does; problems are RFC 7807 as Horizon writes them.

use http::StatusCode;
use serde_json::{Value, json};
use stellar_strkey::Strkey;
use stellar_xdr::{AccountId, Limits, WriteXdr};

use crate::balance;
use crate::ledger::TransactionRecord;
use crate::treasury::{Error, Inclusion, Treasury};
use crate::usdc::{UNITS, USDC_ISSUER};

/// Creates the account that `query` names (`addr=G…`) with 10,000 XLM, and answers once it is in a ledger.
pub(crate) async fn friendbot(treasury: &Treasury, query: &str) -> (StatusCode, Value) {
    let account = match account(query) {
        Ok(account) => account,
        Err(problem) => return problem,
    };
    match treasury.create_account(&account, FRIENDBOT_STROOPS, Inclusion::NextLedger).await {
        Ok(record) => paid(&record),
        // SDKs look for this code in `detail`, and then read the account.
        Err(Error::AccountExists) => {
            problem("createAccountAlreadyExist: the account is already funded")
        }
        Err(error) => failed(&error),
    }
}

/// Issues USDC to the account that `query` names (`addr=G…&amount=10`), and answers once it is in a ledger.
pub(crate) async fn faucet(
    treasury: &Treasury,
    query: &str,
    friendbot_url: &str,
) -> (StatusCode, Value) {
    let account = match account(query) {
        Ok(account) => account,
        Err(problem) => return problem,
    };
    let amount = value(query, "amount").unwrap_or(FAUCET_DEFAULT);
    let Some(units) = units(amount) else {
        return field("amount", "not a positive amount of USDC with at most 7 decimals");
    };
    match treasury.send_usdc(&account, units, Inclusion::NextLedger).await {
        Ok(record) => paid(&record),
        Err(Error::NoAccount) => problem(&format!(
            "the account does not exist: create it with {friendbot_url}?addr=G…, then open its USDC trustline"
        )),
        Err(Error::NoTrustline) => problem(&format!(
            "the account has no USDC trustline: have it sign a changeTrust for USDC:{USDC_ISSUER}, then ask again"
        )),
        Err(error) => failed(&error),
    }
}

fn account(query: &str) -> Result<AccountId, (StatusCode, Value)> {
    let address = value(query, "addr").unwrap_or_default();
    match Strkey::from_string(address) {
        Ok(Strkey::PublicKeyEd25519(key)) => Ok(balance::ed25519_account(key.0)),
        Ok(_) => Err(field("addr", "only G addresses are funded")),
        Err(_) => Err(field("addr", "not a G address")),
    }
}

/// The value of `name`. Nothing is unescaped: neither addresses nor amounts have anything to escape.
fn value<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    query
        .split('&')
        .find_map(|pair| pair.split_once('=').filter(|(key, _)| *key == name))
        .map(|(_, value)| value)
}

/// Base units of a decimal amount; `None` unless it is positive, exact and fits.
fn units(amount: &str) -> Option<i64> {
    let (whole, fraction) = amount.split_once('.').unwrap_or((amount, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || fraction.len() > 7 || !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<7}").parse().ok()?;
    let units = whole.parse::<i64>().ok()?.checked_mul(UNITS)?.checked_add(fraction)?;
    (units > 0).then_some(units)
}

fn paid(record: &TransactionRecord) -> (StatusCode, Value) {
    let xdr = |encoded: Result<String, _>| encoded.unwrap_or_default();
    let body = json!({
        "successful": true,
        "hash": hex::encode(record.hash.0),
        "ledger": record.ledger,
        "envelope_xdr": xdr(record.envelope.to_xdr_base64(Limits::none())),
        "result_xdr": xdr(record.result.to_xdr_base64(Limits::none())),
        "result_meta_xdr": xdr(record.meta.to_xdr_base64(Limits::none())),
    });
    (StatusCode::OK, body)
}

fn field(name: &str, reason: &str) -> (StatusCode, Value) {
    let (status, mut body) = problem("The request you sent was invalid in some way.");
    if let Some(body) = body.as_object_mut() {
        body.insert("extras".into(), json!({ "invalid_field": name, "reason": reason }));
    }
    (status, body)
}

fn problem(detail: &str) -> (StatusCode, Value) {
    let body = json!({
        "type": "https://stellar.org/horizon-errors/bad_request",
        "title": "Bad Request",
        "status": 400,
        "detail": detail,
    });
    (StatusCode::BAD_REQUEST, body)
}

fn failed(error: &Error) -> (StatusCode, Value) {
    let body = json!({
        "type": "https://stellar.org/horizon-errors/server_error",
        "title": "Internal Server Error",
        "status": 500,
        "detail": error.to_string(),
    });
    (StatusCode::INTERNAL_SERVER_ERROR, body)
}

/// What SDF's friendbot gives.
const FRIENDBOT_STROOPS: i64 = 100_000_000_000;

const FAUCET_DEFAULT: &str = "10";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        for (text, expected) in [
            ("10", Some(100_000_000)),
            ("0.0000001", Some(1)),
            ("1.5", Some(15_000_000)),
            ("922337203685.4775807", Some(i64::MAX)),
            ("922337203685.4775808", None),
            ("0", None),
            ("-1", None),
            ("1e3", None),
            (".5", None),
            ("0.00000001", None),
        ] {
            assert_eq!(units(text), expected, "{text}");
        }
    }
}

//! What a file means, and what an operator reads when it means nothing.

mod access;
mod address;
mod admin;
mod caller;
mod channel;
mod charge;
mod env_file;
mod health;
mod listener;
mod money;
mod mpp;
mod payment;
mod route;
mod schema;
mod secret;
mod shape;
mod store;
mod upstream;
mod webhook;
mod whole;

use std::path::Path;

use super::{Env, Settings, parse};

/// The short form, with x402 alone.
const SHORT: &str = r#"version: 1
listen: 127.0.0.1:8402
upstream: http://127.0.0.1:3000
network: { env: STELLAR_NETWORK, default: "stellar:testnet" }
stellar:
  rpc_url: { env: STELLAR_RPC_URL }
  pay_to: { env: STELLAR_RECIPIENT }
  sponsors: [{ env: SPONSOR_SECRET }]
payments: { x402: { facilitator: self } }
store: { embedded: { path: ./state.redb } }
routes:
  - { match: GET /weather, price: "$0.001", accept: [x402] }
  - { match: GET /health, free: true }
"#;

const RECIPIENT: &str = "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG";
/// The seed of 32 bytes that are 1, and its account.
const SPONSOR: &str = "SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY";
const SPONSOR_ACCOUNT: &str = "GCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOJR";

fn variables() -> Vec<(&'static str, &'static str)> {
    vec![
        ("STELLAR_RPC_URL", "http://127.0.0.1:8000"),
        ("STELLAR_RECIPIENT", RECIPIENT),
        ("SPONSOR_SECRET", SPONSOR),
    ]
}

#[track_caller]
fn read(text: &str) -> Result<Settings, String> {
    read_with(text, &Env::fixed(variables()))
}

#[track_caller]
fn read_with(text: &str, env: &Env) -> Result<Settings, String> {
    let read = parse(text, "gateway.yaml", Path::new("/etc/gateway"), env);
    if read.is_ok() {
        schema::assert_takes(text);
    }
    read.map_err(|faults| faults.to_string())
}

/// What an operator reads when the file is `text`.
fn faults(text: &str) -> String {
    read(text).expect_err("the file has a fault")
}

/// What an operator reads when `old` in the short form is `new` instead.
fn broken(old: &str, new: &str) -> String {
    faults(&changed(old, new))
}

fn changed(old: &str, new: &str) -> String {
    assert!(SHORT.contains(old), "the short form has no `{old}`");
    SHORT.replacen(old, new, 1)
}

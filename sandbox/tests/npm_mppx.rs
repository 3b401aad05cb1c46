//! mppx, the reference package of the `Payment` scheme, on both sides of a `stellar` charge on the sandbox: the wallet of
//! these tests is understood by others than the gateway; and what a gateway relies on in its client.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test ends where it finds something else"
)]

#[path = "support/npm.rs"]
mod npm;

#[path = "support/server.rs"]
mod server;

use std::time::Duration;

use self::npm::{OverTls, json_lines};
use self::server::Server;

#[tokio::test]
async fn npm_mppx_0_6_pays_its_own_server_in_every_mode() {
    pays_in_every_mode("mppx-0.6").await;
}

#[tokio::test]
async fn npm_mppx_0_11_pays_its_own_server_in_every_mode() {
    pays_in_every_mode("mppx-0.11").await;
}

/// How often it pays by what it is answered, among others: see `tests/interop/shared/mppx-checks.mjs`.
#[tokio::test]
async fn npm_mppx_0_6_behaves_as_a_gateway_expects() {
    behaves("mppx-0.6").await;
}

#[tokio::test]
async fn npm_mppx_0_11_behaves_as_a_gateway_expects() {
    behaves("mppx-0.11").await;
}

/// The client of `package` pays three times for the weather, and everybody's balance says so.
async fn pays_in_every_mode(package: &str) {
    let network = OverTls::start(Duration::from_secs(1)).await;
    let sandbox = &network.sandbox;
    let accounts = sandbox.accounts();
    let usdc = |address: &str| sandbox.usdc_balance(address).unwrap();
    let before = usdc(&accounts.payer.address());
    for (paid, (sponsored, mode)) in
        (1..).zip([("true", "pull"), ("false", "pull"), ("false", "push")])
    {
        let mut shop = network.node(package, "server.mjs");
        shop.env("SPONSORED", sponsored);
        let shop = Server::start(shop).await;
        let lumens = sandbox.xlm_balance(&accounts.payer.address());

        let mut client = network.node(package, "client.mjs");
        client.arg(&shop.url).env("CLIENT_SECRET", accounts.payer.secret()).env("MODE", mode);
        let told = json_lines(client).await.pop().unwrap();
        assert_eq!(told["status"], 200, "{mode}: {told}");
        assert_eq!(told["credentials"].as_array().unwrap().len(), 1, "{mode}: {told}");
        assert_eq!(told["receipt"]["method"], "stellar", "{mode}: {told}");
        let hash = hex::decode(told["receipt"]["reference"].as_str().unwrap()).unwrap();
        let hash = stellar_xdr::Hash(hash.try_into().unwrap());
        assert!(sandbox.ledger().transaction(&hash).is_some(), "the receipt names it: {told}");
        assert_eq!(usdc(&accounts.recipient.address()), paid * PRICE);
        assert_eq!(usdc(&accounts.payer.address()), before - paid * PRICE);
        let untouched = sandbox.xlm_balance(&accounts.payer.address()) == lumens;
        assert_eq!(untouched, sponsored == "true", "{mode}");
    }
}

/// Runs the checks of one version; the process fails if one of them does.
async fn behaves(package: &str) {
    let network = OverTls::start(Duration::from_secs(1)).await;
    let checks = json_lines(network.node(package, "check.mjs")).await;
    assert!(checks.len() >= 20, "{package} ran {} checks", checks.len());
    assert!(checks.iter().all(|check| check["ok"] == true), "{checks:#?}");
}

const PRICE: i128 = 10_000;

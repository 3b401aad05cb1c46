//! The x402 reference packages, unmodified, pay each other on the sandbox: client, resource server, facilitator.

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

use serde_json::Value;
use tollgate_sandbox::{Method, UNITS};

use self::npm::{OverTls, json_lines};
use self::server::Server;

#[tokio::test]
async fn npm_x402_2_9_pays_an_express_server_through_a_facilitator() {
    pays("x402-2.9").await;
}

#[tokio::test]
async fn npm_x402_2_27_pays_an_express_server_through_a_facilitator() {
    pays("x402-2.27").await;
}

#[tokio::test]
async fn npm_x402_client_without_usdc_is_not_served() {
    let network = OverTls::start(Duration::from_secs(1)).await;
    let (_facilitator, shop) = open_shop(&network).await;
    // It holds lumens and a trustline, and no USDC: its own simulation fails.
    let poor = network.sandbox.accounts().sponsor.secret();
    let mut client = network.node("x402-2.9", "client.mjs");
    client.arg(format!("{}/weather", shop.url)).env("CLIENT_SECRET", poor);
    let output = client.output().await.unwrap();
    assert!(!output.status.success());
    assert_eq!(network.sandbox.calls(Method::SendTransaction), 0);
}

/// The client of `package` pays $0.001 for the weather, and everybody's balance says so.
async fn pays(package: &str) {
    let network = OverTls::start(Duration::from_secs(1)).await;
    let (_facilitator, shop) = open_shop(&network).await;
    let accounts = network.sandbox.accounts();
    let mut client = network.node(package, "client.mjs");
    // A payer without lumens: the facilitator pays the fee.
    client.arg(format!("{}/weather", shop.url));
    client.env("CLIENT_SECRET", accounts.zero_xlm_payer.secret());

    let paid = json_lines(client).await.pop().unwrap();
    assert_eq!(paid["status"], 200, "{paid}");
    assert_eq!(paid["paymentResponse"]["success"], true, "{paid}");
    assert_eq!(paid["paymentResponse"]["payer"], accounts.zero_xlm_payer.address());
    assert_eq!(paid["body"], base64_of(&serde_json::json!({ "sky": "clear" })));
    let usdc = |address: &str| network.sandbox.usdc_balance(address);
    let price = 10_000;
    assert_eq!(usdc(&accounts.recipient.address()), Some(price));
    let before = i128::from(100 * UNITS);
    assert_eq!(usdc(&accounts.zero_xlm_payer.address()), Some(before - price));
    let hash = paid["paymentResponse"]["transaction"].as_str().unwrap();
    let hash = stellar_xdr::Hash(hex::decode(hash).unwrap().try_into().unwrap());
    let record = network.sandbox.ledger().transaction(&hash).expect("the receipt names it");
    // The default ceiling of the reference facilitator.
    assert!(record.result.fee_charged <= 50_000, "{}", record.result.fee_charged);
}

/// A facilitator that settles from the sponsor's account, and a server that sells the weather through it.
async fn open_shop(network: &OverTls) -> (Server, Server) {
    let accounts = network.sandbox.accounts();
    let mut facilitator = network.node("x402-2.9", "facilitator-server.mjs");
    facilitator.env("FACILITATOR_SECRET", accounts.sponsor.secret()).env("BEARER", KEY);
    let facilitator = Server::start(facilitator).await;
    let mut shop = network.node("x402-2.9", "express-server.mjs");
    shop.env("FACILITATOR_URL", &facilitator.url).env("FACILITATOR_KEY", KEY);
    shop.env("PAY_TO", accounts.recipient.address());
    (facilitator, Server::start(shop).await)
}

fn base64_of(value: &Value) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(value.to_string())
}

const KEY: &str = "a key of the tests";

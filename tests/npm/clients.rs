//! The reference clients pay through a gateway that settles by itself, to upstreams in other languages.

use std::process::Stdio;

use http::StatusCode;
use serde_json::Value;
use tollgate_sandbox::{DevAccount, UNITS};

use crate::{
    shop::{Language, Shop, assert_same_bytes},
    world::{PRICE, Plan, assert_on_the_ledger, get},
};

#[tokio::test]
async fn npm_fetch_2_9_pays_for_the_bytes_of_a_python_upstream() {
    Shop::open(Language::Python, Plan::own).await.sells_the_weather("x402-2.9").await;
}

#[tokio::test]
async fn npm_fetch_2_9_pays_for_the_bytes_of_a_node_upstream() {
    Shop::open(Language::Node, Plan::own).await.sells_the_weather("x402-2.9").await;
}

#[tokio::test]
async fn npm_fetch_2_27_pays_for_the_bytes_of_a_python_upstream() {
    Shop::open(Language::Python, Plan::own).await.sells_the_weather("x402-2.27").await;
}

#[tokio::test]
async fn npm_fetch_2_27_pays_for_the_bytes_of_a_node_upstream() {
    Shop::open(Language::Node, Plan::own).await.sells_the_weather("x402-2.27").await;
}

#[tokio::test]
async fn npm_fetch_2_9_pays_to_have_a_python_upstream_echo_a_body() {
    Shop::open(Language::Python, Plan::own).await.echoes("x402-2.9").await;
}

#[tokio::test]
async fn npm_fetch_2_9_pays_to_have_a_node_upstream_echo_a_body() {
    Shop::open(Language::Node, Plan::own).await.echoes("x402-2.9").await;
}

#[tokio::test]
async fn npm_fetch_2_9_pays_without_any_lumens() {
    let shop = Shop::open(Language::Node, Plan::own).await;
    let sandbox = &shop.world.network.sandbox;
    let payer = sandbox.accounts().zero_xlm_payer.clone();
    let reserve = sandbox.xlm_balance(&payer.address());
    let before = sandbox.usdc_balance(&payer.address()).unwrap();
    assert_eq!(before, i128::from(100 * UNITS));

    let url = shop.world.url("/weather");
    let paid = shop.world.npm_pays("x402-2.9", &payer, &[&url]).await;
    shop.assert_bought(&paid, &payer, "/weather").await;
    assert_eq!(sandbox.usdc_balance(&payer.address()), Some(before - PRICE));
    assert_eq!(sandbox.xlm_balance(&payer.address()), reserve, "the sponsor pays the fee");
    shop.world.end().await;
}

/// Without a payment nothing is forwarded, and with one that the ledger does not back neither.
#[tokio::test]
async fn npm_fetch_2_9_without_usdc_gets_nothing() {
    let shop = Shop::open(Language::Node, Plan::own).await;
    assert_eq!(get(&shop.world.url("/weather")).await.0, StatusCode::PAYMENT_REQUIRED);
    // The sponsor holds lumens, and no USDC: the client's own simulation fails.
    let poor = shop.world.network.sandbox.accounts().sponsor.secret();
    let mut client = shop.world.network.node("x402-2.9", "client.mjs");
    client.arg(shop.world.url("/weather")).env("CLIENT_SECRET", poor);
    assert!(!client.stderr(Stdio::null()).status().await.unwrap().success());
    assert_eq!(shop.hits("/weather").await, "0");
    assert_eq!(shop.world.payee_usdc(), 0);
    shop.world.end().await;
}

impl Shop {
    /// A client of `package` pays for what a stranger gets from the upstream itself.
    async fn sells_the_weather(self, package: &str) {
        let payer = self.world.network.sandbox.accounts().payer.clone();
        let paid = self.world.npm_pays(package, &payer, &[&self.world.url("/weather")]).await;
        self.assert_bought(&paid, &payer, "/weather").await;
        assert_same_bytes(&paid, &self.weather().await);
        assert_eq!(paid["contentType"], "application/json");
        self.world.end().await;
    }

    async fn echoes(self, package: &str) {
        let body = "{ \"a\" : 1,\t\"sun\":\"\u{2600}\" ,\"a\":2}\r\n ";
        let payer = self.world.network.sandbox.accounts().payer.clone();
        let url = self.world.url("/echo");
        let paid = self.world.npm_pays(package, &payer, &[&url, "POST", body]).await;
        self.assert_bought(&paid, &payer, "/echo").await;
        assert_same_bytes(&paid, body.as_bytes());
        assert_eq!(paid["contentType"], "application/json");
        self.world.end().await;
    }

    /// Asserts that `payer` paid the price once, has a receipt that the ledger knows, and reached `path` once.
    async fn assert_bought(&self, paid: &Value, payer: &DevAccount, path: &str) {
        assert_eq!(paid["status"], 200, "{paid}");
        let receipt = &paid["paymentResponse"];
        assert_eq!(receipt["success"], true, "{paid}");
        assert_eq!(receipt["payer"], payer.address());
        assert_eq!(receipt["network"], "stellar:testnet");
        let sandbox = &self.world.network.sandbox;
        assert_on_the_ledger(sandbox, receipt["transaction"].as_str().unwrap());
        assert_eq!(self.world.payee_usdc(), PRICE);
        assert_eq!(self.hits(path).await, "1");
    }
}

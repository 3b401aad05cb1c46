//! The reference clients pay through a gateway that settles by itself, to upstreams in other languages.

use std::{path::Path, process::Stdio, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use http::StatusCode;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::process::Command;
use tollgate_sandbox::{DevAccount, UNITS};

use crate::{
    npm::OverTls,
    server::Server,
    world::{PRICE, Plan, World, assert_on_the_ledger, get},
};

const TICK: Duration = Duration::from_secs(1);

#[tokio::test]
async fn npm_fetch_2_9_pays_for_the_bytes_of_a_python_upstream() {
    Shop::open(Language::Python).await.sells_the_weather("x402-2.9").await;
}

#[tokio::test]
async fn npm_fetch_2_9_pays_for_the_bytes_of_a_node_upstream() {
    Shop::open(Language::Node).await.sells_the_weather("x402-2.9").await;
}

#[tokio::test]
async fn npm_fetch_2_27_pays_for_the_bytes_of_a_python_upstream() {
    Shop::open(Language::Python).await.sells_the_weather("x402-2.27").await;
}

#[tokio::test]
async fn npm_fetch_2_27_pays_for_the_bytes_of_a_node_upstream() {
    Shop::open(Language::Node).await.sells_the_weather("x402-2.27").await;
}

#[tokio::test]
async fn npm_fetch_2_9_pays_to_have_a_python_upstream_echo_a_body() {
    Shop::open(Language::Python).await.echoes("x402-2.9").await;
}

#[tokio::test]
async fn npm_fetch_2_9_pays_to_have_a_node_upstream_echo_a_body() {
    Shop::open(Language::Node).await.echoes("x402-2.9").await;
}

#[tokio::test]
async fn npm_fetch_2_9_pays_without_any_lumens() {
    let shop = Shop::open(Language::Node).await;
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
    let shop = Shop::open(Language::Node).await;
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

/// A gateway that settles by itself before an upstream in another language.
struct Shop {
    world: World,
    upstream: String,
    _server: Server,
}

enum Language {
    Python,
    Node,
}

impl Shop {
    async fn open(language: Language) -> Self {
        let network = OverTls::start(TICK).await;
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/upstreams");
        let mut command = match language {
            Language::Python => Command::new("python3"),
            Language::Node => Command::new("node"),
        };
        command.arg(folder.join(match language {
            Language::Python => "upstream.py",
            Language::Node => "upstream.mjs",
        }));
        command.stdin(Stdio::null()).kill_on_drop(true);
        let server = Server::start(command).await;
        let port = server.url.strip_prefix("PORT ").unwrap();
        let upstream = format!("127.0.0.1:{port}");
        let world = World::ready(network, &Plan::own(&upstream)).await;
        Self { world, upstream, _server: server }
    }

    /// A client of `package` pays for what a stranger gets from the upstream itself.
    async fn sells_the_weather(self, package: &str) {
        let payer = self.world.network.sandbox.accounts().payer.clone();
        let paid = self.world.npm_pays(package, &payer, &[&self.world.url("/weather")]).await;
        self.assert_bought(&paid, &payer, "/weather").await;
        let (_, weather) = get(&format!("http://{}/weather", self.upstream)).await;
        assert!(!weather.is_empty());
        assert_same_bytes(&paid, &weather);
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

    /// How often the upstream was asked for `path`, by its own count.
    async fn hits(&self, path: &str) -> String {
        let (_, hits) = get(&format!("http://{}/hits?path={path}", self.upstream)).await;
        String::from_utf8(hits.to_vec()).unwrap()
    }
}

/// Asserts that the npm client got these bytes, by its own account and by its digest.
#[track_caller]
fn assert_same_bytes(paid: &Value, bytes: &[u8]) {
    assert_eq!(STANDARD.decode(paid["body"].as_str().unwrap()).unwrap(), bytes);
    assert_eq!(paid["sha256"], hex::encode(Sha256::digest(bytes)));
}

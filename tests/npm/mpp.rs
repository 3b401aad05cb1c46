//! mppx, the reference client of the `Payment` scheme, pays through a gateway to a Python upstream by `stellar` charge.

use std::{collections::BTreeMap, net::SocketAddr, process::Stdio};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use serde_json::Value;
use tokio::process::Command;
use tollgate::ledger::Http;
use tollgate_sandbox::{DevAccount, UNITS};

use crate::{
    npm::{OverTls, json_lines},
    shop::{Language, Shop, TICK, assert_same_bytes},
    upstream::{BODY, Script, Upstream},
    world::{PATIENCE, PRICE, Plan, World, assert_on_the_ledger, get},
};

#[tokio::test]
async fn npm_mppx_0_6_pays_by_a_pull_that_is_sponsored() {
    Mode::Sponsored.pays_by("mppx-0.6").await;
}

#[tokio::test]
async fn npm_mppx_0_6_pays_by_a_pull_of_its_own() {
    Mode::Pull.pays_by("mppx-0.6").await;
}

#[tokio::test]
async fn npm_mppx_0_6_pays_by_a_push() {
    Mode::Push.pays_by("mppx-0.6").await;
}

#[tokio::test]
async fn npm_mppx_0_11_pays_by_a_pull_that_is_sponsored() {
    Mode::Sponsored.pays_by("mppx-0.11").await;
}

#[tokio::test]
async fn npm_mppx_0_11_pays_by_a_pull_of_its_own() {
    Mode::Pull.pays_by("mppx-0.11").await;
}

#[tokio::test]
async fn npm_mppx_0_11_pays_by_a_push() {
    Mode::Push.pays_by("mppx-0.11").await;
}

#[tokio::test]
async fn npm_mppx_0_6_pays_to_have_a_body_echoed() {
    echoes("mppx-0.6").await;
}

#[tokio::test]
async fn npm_mppx_0_11_pays_to_have_a_body_echoed() {
    echoes("mppx-0.11").await;
}

#[tokio::test]
async fn npm_mppx_0_6_pays_where_the_description_would_choke_it() {
    pays_where_described("mppx-0.6").await;
}

#[tokio::test]
async fn npm_mppx_0_11_pays_where_the_description_would_choke_it() {
    pays_where_described("mppx-0.11").await;
}

#[tokio::test]
async fn npm_x402_2_9_pays_where_charge_is_taken_too() {
    pays_by_x402("x402-2.9").await;
}

#[tokio::test]
async fn npm_x402_2_27_pays_where_charge_is_taken_too() {
    pays_by_x402("x402-2.27").await;
}

/// Its page may see no offer of x402 there, at which it would break off.
#[tokio::test]
async fn npm_mppx_0_6_in_a_page_of_another_origin_pays_where_charge_stands_first() {
    let page =
        Page::open(|upstream| Plan { charge_first: true, ..Plan::both(true, upstream) }).await;
    page.pays_by("mppx-0.6").await;
    page.world.end().await;
}

/// And elsewhere it breaks off before it pays, which is why the order is the operator's.
#[tokio::test]
async fn npm_mppx_0_11_in_a_page_of_another_origin_pays_where_x402_stands_first() {
    let page = Page::open(|upstream| Plan::both(true, upstream)).await;
    let old = page.client("mppx-0.6").stderr(Stdio::null()).status().await.unwrap();
    assert!(!old.success());
    assert_eq!((page.upstream.hits().len(), page.world.payee_usdc()), (0, 0));
    page.pays_by("mppx-0.11").await;
    page.world.end().await;
}

/// 0.11 pays up to three times while it is answered 402. What it pushed is the payee's before the upstream is asked:
/// there is no 402 for it, and what failed is had for the same credential.
#[tokio::test]
async fn npm_mppx_0_11_that_pushed_pays_once_though_the_upstream_fails() {
    let page = Page::open(|upstream| Plan::both(false, upstream)).await;
    let failing = Script { status: StatusCode::INTERNAL_SERVER_ERROR, ..Script::default() };
    page.upstream.play(failing);
    let payer = &page.world.network.sandbox.accounts().payer;
    let url = page.world.url("/weather");
    let mut client = page.world.network.node("mppx-0.11", "client.mjs");
    client.arg(&url).env("CLIENT_SECRET", payer.secret()).env("MODE", "push");
    let failed = json_lines(client).await.pop().unwrap();
    assert_eq!((&failed["status"], &failed["receipt"]), (&500.into(), &Value::Null), "{failed}");
    let credential = only_credential(&failed);
    assert_eq!((page.upstream.hits().len(), page.world.payee_usdc()), (1, PRICE));

    page.upstream.play(Script::default());
    assert_eq!(present(&url, credential).await, (StatusCode::OK, BODY.into()));
    assert_eq!(present(&url, credential).await.0, StatusCode::PAYMENT_REQUIRED);
    assert_eq!((page.upstream.hits().len(), page.world.payee_usdc()), (2, PRICE));
    page.world.end().await;
}

#[tokio::test]
async fn npm_mppx_without_usdc_gets_nothing() {
    let shop = Shop::open(Language::Python, |upstream| Plan::both(false, upstream)).await;
    let url = shop.world.url("/weather");
    assert_eq!(get(&url).await.0, StatusCode::PAYMENT_REQUIRED);
    // The sponsor holds lumens, and no USDC: the client's own simulation fails.
    let poor = shop.world.network.sandbox.accounts().sponsor.clone();
    for (package, mode) in [("mppx-0.6", "pull"), ("mppx-0.11", "push")] {
        let mut client = shop.world.network.node(package, "client.mjs");
        client.arg(&url).env("CLIENT_SECRET", poor.secret()).env("MODE", mode);
        let told = client.stderr(Stdio::piped()).output().await.unwrap();
        let errors = String::from_utf8(told.stderr).unwrap();
        assert!(!told.status.success());
        assert!(errors.contains("the transfer cannot be made"), "{errors}");
    }
    assert_eq!(shop.hits("/weather").await, "0");
    assert_eq!(shop.world.payee_usdc(), 0);
    // Whoever has some is served by the same gateway.
    let payer = shop.payer();
    let before = shop.books(&payer, "/weather").await;
    let paid = shop.world.npm_pays("mppx-0.11", &payer, &[&url]).await;
    shop.assert_charged(&paid, &payer, "/weather", &before).await;
    shop.world.end().await;
}

/// A gateway whose upstream lets pages of other origins read what it answers.
struct Page {
    world: World,
    upstream: Upstream,
}

impl Page {
    /// The gateway is as `plan` says of the upstream.
    async fn open(plan: impl FnOnce(SocketAddr) -> Plan) -> Self {
        let upstream = Upstream::start().await;
        let headers = vec![("access-control-allow-origin", "*")];
        upstream.play(Script { headers, ..Script::default() });
        let plan = plan(upstream.address);
        let world = World::ready(OverTls::start(TICK).await, &plan).await;
        Self { world, upstream }
    }

    fn client(&self, package: &str) -> Command {
        let payer = &self.world.network.sandbox.accounts().zero_xlm_payer;
        let mut client = self.world.network.node(package, "client.mjs");
        client.arg(self.world.url("/weather")).env("CLIENT_SECRET", payer.secret());
        client.env("PAGE", "https://agents.example");
        client
    }

    async fn pays_by(&self, package: &str) {
        let paid = json_lines(self.client(package)).await.pop().unwrap();
        assert_eq!(paid["status"], 200, "{paid}");
        only_credential(&paid);
        let receipt = &paid["receipt"]["reference"];
        assert_on_the_ledger(&self.world.network.sandbox, receipt.as_str().unwrap());
        assert_same_bytes(&paid, BODY);
        assert_eq!((self.upstream.hits().len(), self.world.payee_usdc()), (1, PRICE));
    }
}

/// How a client pays a charge.
#[derive(Clone, Copy, PartialEq)]
enum Mode {
    /// The gateway submits and pays the fee.
    Sponsored,
    /// The gateway submits what the payer pays the fee of.
    Pull,
    /// The payer submits.
    Push,
}

impl Mode {
    /// A client of `package` pays in this way: where charges alone are taken, and where x402 is too.
    async fn pays_by(self, package: &str) {
        let sponsored = self == Self::Sponsored;
        let shop = Shop::open(Language::Python, |upstream| Plan::charge(sponsored, upstream)).await;
        self.buys_the_weather(&shop, package).await;
        let shop = shop.reopen(|upstream| Plan::both(sponsored, upstream)).await;
        self.buys_the_weather(&shop, package).await;
        shop.world.end().await;
    }

    async fn buys_the_weather(self, shop: &Shop, package: &str) {
        let accounts = shop.world.network.sandbox.accounts();
        // Whose fees are paid needs no lumens.
        let payer =
            if self == Self::Sponsored { &accounts.zero_xlm_payer } else { &accounts.payer };
        let before = shop.books(payer, "/weather").await;
        let mut client = shop.world.network.node(package, "client.mjs");
        client.arg(shop.world.url("/weather")).env("CLIENT_SECRET", payer.secret());
        client.env("MODE", if self == Self::Push { "push" } else { "pull" });
        let paid = json_lines(client).await.pop().unwrap();

        let after = shop.assert_charged(&paid, payer, "/weather", &before).await;
        let lumens = (before.lumens, after.lumens);
        assert_eq!(lumens.0 == lumens.1, self == Self::Sponsored, "who pays the fee: {lumens:?}");
        assert_same_bytes(&paid, &shop.weather().await);
        assert_eq!(paid["contentType"], "application/json");
    }
}

/// What is where, before and after a payment.
struct Books {
    payer_usdc: i128,
    payee_usdc: i128,
    lumens: Option<i64>,
    /// How often the upstream was asked.
    hits: u32,
}

impl Shop {
    fn payer(&self) -> DevAccount {
        self.world.network.sandbox.accounts().payer.clone()
    }

    async fn books(&self, payer: &DevAccount, path: &str) -> Books {
        let sandbox = &self.world.network.sandbox;
        Books {
            payer_usdc: sandbox.usdc_balance(&payer.address()).unwrap(),
            payee_usdc: self.world.payee_usdc(),
            lumens: sandbox.xlm_balance(&payer.address()),
            hits: self.hits(path).await.parse().unwrap(),
        }
    }

    /// Asserts that `payer` signed one credential since `before`, paid the price once, has a receipt that the ledger
    /// knows, and reached `path` once.
    async fn assert_charged(
        &self,
        paid: &Value,
        payer: &DevAccount,
        path: &str,
        before: &Books,
    ) -> Books {
        assert_eq!(paid["status"], 200, "{paid}");
        only_credential(paid);
        let receipt = &paid["receipt"];
        assert_eq!(
            (&receipt["method"], &receipt["status"]),
            (&"stellar".into(), &"success".into())
        );
        assert_on_the_ledger(&self.world.network.sandbox, receipt["reference"].as_str().unwrap());
        let after = self.books(payer, path).await;
        assert_eq!(after.payer_usdc, before.payer_usdc - PRICE);
        assert_eq!(after.payee_usdc, before.payee_usdc + PRICE);
        assert_eq!(after.hits, before.hits + 1);
        after
    }
}

/// The credential of a client that signed no other.
#[track_caller]
fn only_credential(told: &Value) -> &str {
    let credentials = told["credentials"].as_array().unwrap();
    assert_eq!(credentials.len(), 1, "{told}");
    credentials[0].as_str().unwrap()
}

async fn present(url: &str, credential: &str) -> (StatusCode, Bytes) {
    let request = Request::get(url).header("authorization", credential).body(Bytes::new()).unwrap();
    Http::new().send(request, PATIENCE, 1 << 20).await.unwrap()
}

async fn echoes(package: &str) {
    let shop = Shop::open(Language::Python, |upstream| Plan::both(false, upstream)).await;
    let body = "{ \"a\" : 1,\t\"sun\":\"\u{2600}\" ,\"a\":2}\r\n ";
    let payer = shop.payer();
    let before = shop.books(&payer, "/echo").await;
    let url = shop.world.url("/echo");
    let paid = shop.world.npm_pays(package, &payer, &[&url, "POST", body]).await;
    shop.assert_charged(&paid, &payer, "/echo", &before).await;
    assert_same_bytes(&paid, body.as_bytes());
    assert_eq!(paid["contentType"], "application/json");
    shop.world.end().await;
}

/// The operator's description says `Payment for "API" — ☀`, and the upstream sees nothing of the payment.
async fn pays_where_described(package: &str) {
    let shop = Shop::open(Language::Python, |upstream| Plan::charge(true, upstream)).await;
    let asked = shop.world.agent().ask(Method::GET, "/headers").await;
    let challenge = asked.headers["www-authenticate"].to_str().unwrap();
    let (_, described) = challenge.split_once(" description=\"").unwrap();
    assert!(described.contains("API"), "{challenge}");
    let schemes = challenge.to_ascii_lowercase().matches("payment ").count();
    assert_eq!(schemes, 1, "{challenge}");
    let payer = shop.payer();
    let before = shop.books(&payer, "/headers").await;
    let paid = shop.world.npm_pays(package, &payer, &[&shop.world.url("/headers")]).await;
    shop.assert_charged(&paid, &payer, "/headers", &before).await;
    let body = STANDARD.decode(paid["body"].as_str().unwrap()).unwrap();
    let seen: Vec<(String, String)> = serde_json::from_slice(&body).unwrap();
    let seen: BTreeMap<_, _> =
        seen.into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    assert!(seen.contains_key("user-agent"), "{seen:?}");
    for name in ["authorization", "accept-payment"] {
        assert!(!seen.contains_key(name), "{seen:?}");
    }
    shop.world.end().await;
}

async fn pays_by_x402(package: &str) {
    let shop = Shop::open(Language::Python, |upstream| Plan::both(true, upstream)).await;
    let payer = shop.world.network.sandbox.accounts().zero_xlm_payer.clone();
    let before = shop.books(&payer, "/weather").await;
    assert_eq!(before.payer_usdc, i128::from(100 * UNITS));
    let paid = shop.world.npm_pays(package, &payer, &[&shop.world.url("/weather")]).await;
    assert_eq!(paid["status"], 200, "{paid}");
    let receipt = &paid["paymentResponse"];
    assert_eq!(receipt["success"], true, "{paid}");
    assert_on_the_ledger(&shop.world.network.sandbox, receipt["transaction"].as_str().unwrap());
    let after = shop.books(&payer, "/weather").await;
    assert_eq!(after.payer_usdc, before.payer_usdc - PRICE);
    assert_eq!(after.payee_usdc, before.payee_usdc + PRICE);
    assert_eq!((after.lumens, after.hits), (before.lumens, 1));
    assert_same_bytes(&paid, &shop.weather().await);
    shop.world.end().await;
}

//! `tollgate facilitator`, the command, behind the reference resource server and beside the reference facilitator.

use std::{process::Stdio, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::process::Command;
use tollgate::{
    client::{Credential, Overrides},
    ledger::Http,
};

use crate::{
    agent::Agent,
    asked::Asked,
    binary::{Tollgate, until},
    npm::OverTls,
    server::Server,
    world::{KEY, PATIENCE, PRICE, assert_on_the_ledger, facilitator, get, npm_pays, payee_usdc},
};

const TICK: Duration = Duration::from_secs(1);
const WEATHER: Asked = (Method::GET, "/weather");

#[tokio::test]
async fn npm_express_2_9_is_paid_through_tollgate_facilitator() {
    let network = OverTls::start(TICK).await;
    let facilitator = start(&network).await;
    let shop = express(&network, &facilitator.url("")).await;
    let accounts = network.sandbox.accounts().clone();
    for (sales, payer) in [(1, &accounts.payer), (2, &accounts.zero_xlm_payer)] {
        let url = format!("{}/weather", shop.url);
        let paid = npm_pays(&network, "x402-2.9", payer, &[&url]).await;
        assert_eq!(paid["status"], 200, "{paid}");
        assert_eq!(paid["body"], "eyJza3kiOiJjbGVhciJ9", "the base64 of the shop's JSON");
        let receipt = &paid["paymentResponse"];
        assert_eq!(receipt["success"], true, "{paid}");
        assert_eq!(receipt["payer"], payer.address());
        assert_on_the_ledger(&network.sandbox, receipt["transaction"].as_str().unwrap());
        assert_eq!(payee_usdc(&network.sandbox), sales * PRICE);
        assert_eq!(hits(&shop).await, sales.to_string());
    }
    network.sandbox.shutdown().await;
}

#[tokio::test]
async fn npm_express_2_9_with_a_wrong_key_sells_nothing() {
    let network = OverTls::start(TICK).await;
    let facilitator = start(&network).await;
    // Left alone, it ends by its own error.
    let mut command = express_command(&network, &facilitator.url(""), "sesame");
    let output = command.stdout(Stdio::null()).stderr(Stdio::piped()).output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success());
    assert!(said.contains(r#"Facilitator getSupported failed (401): {"error":"Unauthorized"}"#));
    assert!(said.contains("no supported payment kinds loaded from any facilitator"), "{said}");

    // Kept alive, it refuses everybody.
    let mut command = express_command(&network, &facilitator.url(""), "sesame");
    command.env("NODE_OPTIONS", "--unhandled-rejections=warn").stderr(Stdio::null());
    let shop = Server::start(command).await;
    let payer = network.sandbox.accounts().payer.clone();
    let url = format!("{}/weather", shop.url);
    let told = npm_pays(&network, "x402-2.9", &payer, &[&url]).await;
    assert_eq!(told["status"], 500, "{told}");
    assert!(told["paymentResponse"].is_null(), "{told}");
    assert_eq!(hits(&shop).await, "0");
    assert_eq!(payee_usdc(&network.sandbox), 0);

    for key in [None, Some("sesame"), Some(KEY)] {
        let expected = if key == Some(KEY) { StatusCode::OK } else { StatusCode::UNAUTHORIZED };
        let url = facilitator.url("/supported");
        assert_eq!(call(Method::GET, &url, key, &Value::Null).await.0, expected, "{key:?}");
        assert_eq!(get(&facilitator.url("/health")).await.0, StatusCode::OK);
    }
    network.sandbox.shutdown().await;
}

/// The same questions to both, and the same answers.
#[tokio::test]
async fn npm_tollgate_facilitator_answers_as_the_reference_facilitator_does() {
    let network = OverTls::start(TICK).await;
    let (ours, theirs) = (start(&network).await, facilitator(&network).await);
    let ask = async |path: &str, question: &Value| {
        let mut answers = Vec::new();
        for base in [&ours.url(""), &theirs.url] {
            let method = if question.is_null() { Method::GET } else { Method::POST };
            let (status, answer) =
                call(method, &format!("{base}{path}"), Some(KEY), question).await;
            assert_eq!(status, StatusCode::OK, "{base}{path}: {answer}");
            answers.push(answer);
        }
        let theirs = answers.pop().unwrap();
        (answers.pop().unwrap(), theirs)
    };

    let (our_kinds, their_kinds) = ask("/supported", &Value::Null).await;
    assert_eq!(our_kinds, their_kinds);

    let shop = express(&network, &ours.url("")).await;
    let payer = network.sandbox.accounts().payer.clone();
    let agent = Agent::new(&network.sandbox, &payer, shop.url.clone());
    let sign = async |overrides: Overrides| question(&agent.sign(WEATHER, &overrides).await);
    let honest = sign(Overrides::default()).await;
    let payer = Some(payer.address());
    let (valid, _) = ask("/verify", &honest).await;
    assert_eq!(valid, json!({ "isValid": true, "payer": payer }));

    let fee = |fee| Overrides { fee: Some(fee), ..Overrides::default() };
    let mut wrong = negatives(&honest, &network.sandbox.accounts().sponsor.address());
    wrong.push((sign(fee(200_001)).await, "invalid_exact_stellar_payload_fee_exceeds_maximum"));
    wrong.push((sign(fee(100)).await, "invalid_exact_stellar_payload_fee_below_minimum"));
    for (question, reason) in wrong {
        let (our, their) = ask("/verify", &question).await;
        let told = |answer: &Value| (answer["isValid"].clone(), answer["invalidReason"].clone());
        assert_eq!(told(&our), (json!(false), json!(reason)), "{our}");
        assert_eq!(told(&our), told(&their), "{reason}");
        // Where they tell the payer so do we; we may tell it where they do not.
        assert!(their["payer"].is_null() || their["payer"] == our["payer"], "{our} {their}");
        let (our, their) = ask("/settle", &question).await;
        let told = |answer: &Value| {
            ["success", "errorReason", "transaction"].map(|member| answer[member].clone())
        };
        assert_eq!(told(&our), [json!(false), json!(reason), json!("")], "{our}");
        assert_eq!(told(&our), told(&their), "{reason}");
    }
    let (our, _) = ask("/verify", &honest).await;
    assert_eq!(our["isValid"], true, "nothing of it used the payment up");
    assert_eq!(payee_usdc(&network.sandbox), 0);
    network.sandbox.shutdown().await;
}

/// What is asked of a facilitator about a credential.
fn question(credential: &Credential) -> Value {
    let payload = credential.payload();
    json!({ "x402Version": 2, "paymentPayload": payload, "paymentRequirements": payload["accepted"] })
}

/// `honest` with one thing wrong at a time, the reason for which it is refused.
fn negatives(honest: &Value, stranger: &str) -> Vec<(Value, &'static str)> {
    let pubnet_usdc = "CCW67TSZV3SSS2HXMBQ5JFGCKJNXKZM7UQUWUZPUTHXSTZLEO7SJMI75";
    [
        (
            "/paymentRequirements/amount",
            json!("10001"),
            "invalid_exact_stellar_payload_wrong_amount",
        ),
        (
            "/paymentRequirements/payTo",
            json!(stranger),
            "invalid_exact_stellar_payload_wrong_recipient",
        ),
        (
            "/paymentRequirements/asset",
            json!(pubnet_usdc),
            "invalid_exact_stellar_payload_wrong_asset",
        ),
        (
            "/paymentPayload/payload/transaction",
            json!("AAAA"),
            "invalid_exact_stellar_payload_malformed",
        ),
        (
            "/paymentRequirements/maxTimeoutSeconds",
            json!(5),
            "invalid_exact_stellar_signature_expiration_too_far",
        ),
        ("/paymentPayload/accepted/network", json!("stellar:pubnet"), "network_mismatch"),
        ("/paymentPayload/accepted/scheme", json!("upto"), "unsupported_scheme"),
    ]
    .into_iter()
    .map(|(pointer, value, reason)| {
        let mut question = honest.clone();
        *question.pointer_mut(pointer).unwrap() = value;
        (question, reason)
    })
    .collect()
}

/// `tollgate facilitator` with [`KEY`], ready.
async fn start(network: &OverTls) -> Tollgate {
    let mut env = network.sandbox.env_lines();
    env.push(("FACILITATOR_API_KEY", KEY.to_owned()));
    let arguments = ["facilitator", "--listen", "127.0.0.1:0", "--lanes", "2"];
    let tollgate = Tollgate::start(&arguments, env).await;
    until("the facilitator is ready", async || {
        (get(&tollgate.url("/health")).await.0 == StatusCode::OK).then_some(())
    })
    .await;
    tollgate
}

/// The reference resource server at 2.9.0, which sells the weather through the facilitator at `url`.
async fn express(network: &OverTls, url: &str) -> Server {
    Server::start(express_command(network, url, KEY)).await
}

fn express_command(network: &OverTls, url: &str, key: &str) -> Command {
    let mut command = network.node("x402-2.9", "express-server.mjs");
    command.env("FACILITATOR_URL", url).env("FACILITATOR_KEY", key);
    command.env("PAY_TO", network.sandbox.accounts().recipient.address());
    command
}

/// How often the express server's handler ran.
async fn hits(shop: &Server) -> String {
    let (_, hits) = get(&format!("{}/hits", shop.url)).await;
    String::from_utf8(hits.to_vec()).unwrap()
}

async fn call(
    method: Method,
    url: &str,
    key: Option<&str>,
    question: &Value,
) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(url);
    if let Some(key) = key {
        request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
    }
    let request = request.header(header::CONTENT_TYPE, "application/json");
    let body = if question.is_null() { Bytes::new() } else { question.to_string().into() };
    let (status, body) =
        Http::new().send(request.body(body).unwrap(), PATIENCE, 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}

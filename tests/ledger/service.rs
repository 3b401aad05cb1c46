//! `tollgate facilitator` as its callers see it: the endpoints over real sockets, on a real ledger.

use std::{collections::HashSet, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, StatusCode, header};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate::{
    facilitate::Facilitate,
    ledger::{Http, facilitator::Presented, own::Facilitator},
    protocol::{money::Amount, stellar::Network},
    server::{self, Limits},
    telemetry::Clock,
};
use tollgate_sandbox::{Fault, Method, Times};

use super::support::{World, until_ready};

const TICK: Duration = Duration::from_millis(500);

pub(crate) struct Service {
    pub(crate) url: String,
    http: Http,
    key: Option<&'static str>,
    stop: CancellationToken,
}

impl Drop for Service {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Service {
    pub(crate) async fn start(facilitator: Facilitator, key: Option<&'static str>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let api_key = key.map(|key| key.to_owned().into());
        let service =
            Facilitate::new(facilitator, Network::Testnet, api_key, Clock::system(), tasks);
        let grace = Duration::from_secs(1);
        let serving = server::serve(listener, service, Limits::default(), grace, stop.clone());
        TaskTracker::new().spawn(serving);
        Self { url, http: Http::new(), key, stop }
    }

    async fn call(&self, method: &str, path: &str, body: Bytes) -> (StatusCode, Value) {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        if let Some(key) = self.key {
            request = request.header(header::AUTHORIZATION, format!("Bearer {key}"));
        }
        let request = request.body(body).unwrap();
        let (status, body) =
            self.http.send(request, Duration::from_secs(100), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn ask(&self, path: &str, payment: &Presented) -> Value {
        let (status, answer) = self.call("POST", path, question(payment)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer
    }
}

fn question(payment: &Presented) -> Bytes {
    let question = json!({"x402Version": 2, "paymentPayload": payment.payload,
        "paymentRequirements": payment.requirements});
    question.to_string().into()
}

#[tokio::test]
async fn a_payment_is_verified_and_settled_over_http() {
    let world = World::start(TICK).await;
    let service = Service::start(world.ready(2).await, None).await;
    let (status, kinds) = service.call("GET", "/supported", Bytes::new()).await;
    assert_eq!(status, StatusCode::OK);
    let kind = json!({"x402Version": 2, "scheme": "exact", "network": "stellar:testnet",
        "extra": {"areFeesSponsored": true}});
    let sponsor = world.sandbox.accounts().sponsor.address();
    let all = json!({"kinds": [kind], "extensions": [], "signers": {"stellar:*": [sponsor]}});
    assert_eq!(kinds, all);
    assert_eq!(service.call("GET", "/health", Bytes::new()).await.0, StatusCode::OK);

    let payment = world.presented(&world.payer()).await;
    let payer = world.payer().address();
    let verdict = service.ask("/verify", &payment).await;
    assert_eq!(verdict, json!({"isValid": true, "payer": payer}));
    let settled = service.ask("/settle", &payment).await;
    assert_eq!(settled["success"], true);
    assert_eq!(settled["network"], "stellar:testnet");
    assert_eq!(settled["payer"], payer);
    assert_eq!(settled["transaction"].as_str().unwrap().len(), 64);
    assert_eq!(world.payee_units(), 10_000);
    // Asked again, the same answer; nothing moves.
    assert_eq!(service.ask("/settle", &payment).await, settled);
    let verdict = service.ask("/verify", &payment).await;
    assert_eq!(verdict["invalidReason"], "invalid_exact_stellar_payload_simulation_failed");
    assert_eq!(world.payee_units(), 10_000);
}

#[tokio::test]
async fn a02_fifty_settlements_of_one_payment_at_once_are_one() {
    let world = World::start(TICK).await;
    let service = Service::start(world.ready(4).await, None).await;
    let payment = world.presented(&world.payer()).await;
    let sent = world.sandbox.calls(Method::SendTransaction);
    let answers = join_all((0..50).map(|_| service.ask("/settle", &payment))).await;
    let hashes: HashSet<&str> =
        answers.iter().map(|answer| answer["transaction"].as_str().unwrap()).collect();
    assert_eq!(hashes.len(), 1);
    assert!(answers.iter().all(|answer| answer["success"] == true));
    assert_eq!(world.sandbox.calls(Method::SendTransaction), sent + 1);
    assert_eq!(world.payee_units(), 10_000);
}

#[tokio::test]
async fn verdicts_carry_the_reference_reasons() {
    let world = World::start(TICK).await;
    let service = Service::start(world.ready(1).await, None).await;
    let payment = world.presented(&world.payer()).await;
    for (member, value, reason) in [
        ("amount", json!("10001"), "invalid_exact_stellar_payload_wrong_amount"),
        (
            "payTo",
            json!(world.sandbox.accounts().sponsor.address()),
            "invalid_exact_stellar_payload_wrong_recipient",
        ),
        (
            "asset",
            json!(Network::Testnet.xlm().contract.to_string()),
            "invalid_exact_stellar_payload_wrong_asset",
        ),
        ("network", json!("stellar:pubnet"), "network_mismatch"),
        ("scheme", json!("upto"), "unsupported_scheme"),
        ("maxTimeoutSeconds", json!(5), "invalid_exact_stellar_signature_expiration_too_far"),
    ] {
        let mut asked = payment.clone();
        asked.requirements[member] = value;
        let verdict = service.ask("/verify", &asked).await;
        assert_eq!(
            (&verdict["isValid"], &verdict["invalidReason"]),
            (&json!(false), &json!(reason))
        );
        let settled = service.ask("/settle", &asked).await;
        assert_eq!((&settled["success"], &settled["errorReason"]), (&json!(false), &json!(reason)));
        assert_eq!(
            (&settled["transaction"], &settled["network"]),
            (&json!(""), &json!("stellar:testnet"))
        );
    }
    assert_eq!(service.ask("/settle", &payment).await["success"], true);
}

#[tokio::test]
async fn the_key_is_asked_for_where_there_is_one() {
    let world = World::start(TICK).await;
    let facilitator = world.ready(1).await;
    let mut service = Service::start(facilitator, Some("right")).await;
    let payment = world.presented(&world.payer()).await;
    for wrong in [None, Some("wrong"), Some("righ"), Some("right, right")] {
        service.key = wrong;
        for (method, path) in [("GET", "/supported"), ("POST", "/verify"), ("POST", "/settle")] {
            let (status, answer) = service.call(method, path, question(&payment)).await;
            let refused = (StatusCode::UNAUTHORIZED, json!({"error": "Unauthorized"}));
            assert_eq!((status, answer), refused, "{wrong:?} {path}");
        }
        assert_eq!(service.call("GET", "/health", Bytes::new()).await.0, StatusCode::OK);
    }
    service.key = Some("right");
    assert_eq!(service.ask("/verify", &payment).await["isValid"], true);
}

#[tokio::test]
async fn what_is_no_question_has_a_status_of_its_own() {
    let world = World::start(TICK).await;
    let service = Service::start(world.ready(1).await, None).await;
    let large = Bytes::from(vec![b' '; 70_000]);
    for (method, path, body, status) in [
        ("GET", "/", Bytes::new(), StatusCode::NOT_FOUND),
        ("GET", "/settle", Bytes::new(), StatusCode::METHOD_NOT_ALLOWED),
        ("POST", "/supported", Bytes::new(), StatusCode::METHOD_NOT_ALLOWED),
        ("POST", "/settle", Bytes::new(), StatusCode::BAD_REQUEST),
        ("POST", "/verify", Bytes::from_static(b"{}"), StatusCode::BAD_REQUEST),
        ("POST", "/verify", Bytes::from_static(b"{\"a\":1,\"a\":2}"), StatusCode::BAD_REQUEST),
        ("POST", "/verify", large, StatusCode::PAYLOAD_TOO_LARGE),
    ] {
        let (got, answer) = service.call(method, path, body).await;
        assert_eq!(got, status, "{method} {path}");
        assert!(answer["error"].is_string());
    }
}

#[tokio::test]
async fn a_facilitator_that_is_not_ready_says_so_without_its_reasons() {
    let world = World::start(TICK).await;
    world.sandbox.faults().arm(None, Times::Always, Fault::Drop);
    let facilitator = world.facilitator(world.settings(1));
    let service = Service::start(facilitator.clone(), None).await;
    for path in ["/supported", "/health"] {
        let (status, answer) = service.call("GET", path, Bytes::new()).await;
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(!answer.to_string().contains(world.sandbox.rpc_url()));
    }
    world.sandbox.faults().clear();
    until_ready(&facilitator).await;
    assert_eq!(service.call("GET", "/supported", Bytes::new()).await.0, StatusCode::OK);
}

#[tokio::test]
async fn a_settlement_goes_on_when_its_caller_is_gone() {
    let world = World::start(TICK).await;
    let service = Service::start(world.ready(1).await, None).await;
    let payment = world.presented(&world.payer()).await;
    let calls = || world.sandbox.calls(Method::SendTransaction);
    let sent = calls();
    tokio::select! {
        _ = service.ask("/settle", &payment) => panic!("settled too soon"),
        () = async { while calls() == sent { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
    }
    let settled = service.ask("/settle", &payment).await;
    assert_eq!(settled["success"], true);
    assert_eq!(calls(), sent + 1);
}

#[tokio::test]
async fn a_settlement_whose_fate_is_unknown_is_pending_and_found_when_asked_again() {
    let world = World::start(TICK).await;
    let service = Service::start(world.ready(1).await, None).await;
    let payment = world.presented_of(&world.payer(), 10_000, 2).await;
    world.sandbox.faults().arm(
        Method::GetTransaction,
        Times::Always,
        Fault::Error { code: -32603, message: "unwell".to_owned() },
    );
    let pending = service.ask("/settle", &payment).await;
    assert_eq!(pending["errorReason"], "settlement_pending");
    let hash = pending["transaction"].as_str().unwrap().to_owned();
    assert_eq!(hash.len(), 64);
    world.sandbox.faults().clear();
    let settled = service.ask("/settle", &payment).await;
    assert_eq!((&settled["success"], &settled["transaction"]), (&json!(true), &json!(hash)));
    assert_eq!(world.payee_units(), 10_000);
}

#[tokio::test]
async fn a_nonce_is_not_taken_by_whoever_names_it() {
    let world = World::start(TICK).await;
    let service = Service::start(world.ready(1).await, None).await;
    let good = world.presented(&world.payer()).await;
    let mut dear = good.clone();
    dear.requirements["amount"] = json!(Amount::from_units(20_000).unwrap().to_string());
    assert_eq!(service.ask("/settle", &dear).await["success"], false);
    assert_eq!(service.ask("/settle", &good).await["success"], true);
    // Settled already, and still not what this one asks.
    assert_eq!(service.ask("/settle", &dear).await["success"], false);
}

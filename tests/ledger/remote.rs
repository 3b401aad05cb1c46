//! A remote facilitator that answers well, badly, late, or not at all: what the gateway makes of it.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate::ledger::signer::Seed;
use tollgate::{
    ledger::{
        Http,
        facilitator::{Failure, Outcome, Presented, Settled, VerifyError},
        remote::{Facilitator, Settings},
        rpc::Rpc,
    },
    protocol::{
        money::Amount,
        stellar::{Address, Network, TxHash},
        transfer::{self, Expected},
    },
    telemetry::Clock,
};

use super::{
    stub::{Asked, Reply, Stub},
    support::payment_with,
};

const HASH: &str = "7d3e7704ab26fb0a373e1af0eb223b4af9a313ed5b2bc5bcfdefaee1a67a79fe";
const TIMEOUT: Duration = Duration::from_secs(1);

pub(crate) struct Remote {
    pub(crate) facilitator: Facilitator,
    stop: CancellationToken,
}

impl Drop for Remote {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn settings(url: &str, key: Option<&str>) -> Settings {
    Settings {
        network: Network::Testnet,
        url: url.parse().unwrap(),
        api_key: key.map(|key| key.to_owned().into()),
        api_key_name: key.map(|_| "OZ_API_KEY".to_owned()),
        timeout: TIMEOUT,
    }
}

impl Remote {
    pub(crate) fn start(url: &str, key: Option<&str>, rpc: &str) -> Self {
        let settings = settings(url, key);
        let (http, stop) = (Http::new(), CancellationToken::new());
        let rpc = Rpc::new(http.clone(), rpc.parse().unwrap(), Network::Testnet);
        let tasks = TaskTracker::new();
        let facilitator =
            Facilitator::start(settings, http, rpc, Clock::system(), &tasks, stop.clone());
        Self { facilitator, stop }
    }

    /// A facilitator at `stub` whose kinds are known.
    async fn ready(stub: &Stub) -> Self {
        // Two trailing slashes: they are stripped.
        let remote = Self::start(&format!("{}//", stub.url), Some("the key"), NOWHERE);
        remote.until_ready().await;
        remote
    }

    pub(crate) async fn until_ready(&self) {
        let ready = async {
            while self.facilitator.supported().is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(10), ready).await.unwrap();
    }

    pub(crate) async fn trouble(&self, part: &str) -> String {
        let said = async {
            loop {
                match self.facilitator.supported() {
                    Err(trouble) if trouble.0.contains(part) => return trouble.0,
                    _ => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(10), said).await;
        waited.unwrap_or_else(|_| panic!("{:?}", self.facilitator.supported()))
    }

    async fn settle(&self, payment: &Presented) -> Outcome {
        let prepared = self.facilitator.prepare(&payment.payment).await.unwrap();
        assert_eq!(prepared.transaction, None);
        self.facilitator.submit(payment).await
    }
}

/// Nothing listens there.
const NOWHERE: &str = "http://127.0.0.1:9";

fn key(seed: u8) -> Seed {
    Seed::from_bytes(&[seed; 32])
}

fn payer() -> Address {
    Address::Account(key(1).account())
}

fn payment() -> Presented {
    let expected = Expected {
        network: Network::Testnet,
        asset: Network::Testnet.usdc().contract,
        payee: Address::Account(key(3).account()),
        amount: Amount::from_units(10_000).unwrap(),
    };
    let call = transfer::transfer_call(expected.asset, payer(), expected.payee, expected.amount);
    let mut entry = transfer::authorization(call.clone(), payer(), 7, 1_012);
    key(1).sign_authorization(&mut entry, expected.network).unwrap();
    let operation = stellar_xdr::Operation {
        source_account: None,
        body: stellar_xdr::OperationBody::InvokeHostFunction(stellar_xdr::InvokeHostFunctionOp {
            host_function: stellar_xdr::HostFunction::InvokeContract(call),
            auth: vec![entry].try_into().unwrap(),
        }),
    };
    payment_with(expected, transfer::unsigned_envelope(operation, None, 45_100, 0), 60)
}

fn supported() -> Reply {
    // As OpenZeppelin's, without `signers` and `extensions`.
    let kind = json!({"x402Version": 2, "scheme": "exact", "network": "stellar:testnet",
        "extra": {"areFeesSponsored": true}});
    Reply::Json(200, json!({ "kinds": [kind] }))
}

/// A facilitator that answers `/supported` well, and the rest by `script`.
async fn facilitator(script: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Stub {
    Stub::start(well(script)).await
}

fn well(
    script: impl Fn(&Asked) -> Reply + Send + Sync + 'static,
) -> impl Fn(&Asked) -> Reply + Send + Sync + 'static {
    move |asked| if asked.line == "GET /supported" { supported() } else { script(asked) }
}

fn good_settlement() -> Value {
    json!({"success": true, "transaction": HASH, "network": "stellar:testnet",
        "payer": payer().to_string()})
}

fn good(asked: &Asked) -> Reply {
    match asked.line.as_str() {
        "POST /verify" => Reply::Json(200, json!({"isValid": true, "payer": payer().to_string()})),
        "POST /settle" => Reply::Json(200, good_settlement()),
        _ => Reply::Json(404, json!({})),
    }
}

fn failed(verdict: Result<(), VerifyError>) -> Failure {
    match verdict {
        Err(VerifyError::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_payment_goes_out_as_it_came_and_settles() {
    let stub = facilitator(good).await;
    let remote = Remote::ready(&stub).await;
    let payment = payment();
    remote.facilitator.verify(&payment).await.unwrap();
    let outcome = remote.settle(&payment).await;
    let transaction: TxHash = HASH.parse().unwrap();
    let network = Network::Testnet;
    assert_eq!(outcome, Outcome::Settled(Settled { transaction, payer: payer(), network }));
    for line in ["POST /verify", "POST /settle", "GET /supported"] {
        let asked = stub.asked(line);
        assert_eq!(asked.len(), 1, "{line}");
        assert_eq!(asked[0].authorization.as_deref(), Some("Bearer the key"), "{line}");
        if line != "GET /supported" {
            let body = json!({"x402Version": 2, "paymentPayload": payment.payload,
                "paymentRequirements": payment.requirements});
            assert_eq!(asked[0].body, body);
        }
    }
}

#[tokio::test]
async fn another_key_is_shown_from_the_moment_that_it_is_set() {
    let stub = facilitator(good).await;
    let remote = Remote::ready(&stub).await;
    let payment = payment();
    for key in [Some("another"), None] {
        remote.facilitator.change_key(&settings(&stub.url, key));
        remote.facilitator.verify(&payment).await.unwrap();
        let asked = stub.asked("POST /verify");
        let expected = key.map(|key| format!("Bearer {key}"));
        assert_eq!(asked.last().unwrap().authorization, expected);
    }
}

#[tokio::test]
async fn a_facilitator_that_cannot_be_used_is_named_with_its_key() {
    let unsupported = Reply::Json(200, json!({"kinds": []}));
    for (reply, part) in [
        (Reply::Json(401, json!({"error": "Unauthorized"})), "refuses the key"),
        (Reply::Json(500, json!({})), "status 500"),
        (Reply::Text(200, "a: b", "<html>".to_owned()), "nonsense"),
        (Reply::Cut, "out of reach"),
        (Reply::Silence, "out of reach"),
        (unsupported, "offers no x402 `exact` on stellar:testnet"),
    ] {
        let stub = Stub::start(move |_| reply.clone()).await;
        let remote = Remote::start(&stub.url, Some("wrong key"), NOWHERE);
        let told = remote.trouble(part).await;
        assert!(told.contains(&stub.url) && told.contains("OZ_API_KEY"), "{told}");
        assert!(!told.contains("wrong key"));
        failed(remote.facilitator.verify(&payment()).await);
        assert!(stub.asked("POST /verify").is_empty());
    }
    let remote = Remote::start(NOWHERE, None, NOWHERE);
    assert!(remote.trouble("out of reach").await.contains("no key is set"));
}

#[tokio::test]
async fn d09_a_facilitator_that_returns_is_used_within_five_seconds() {
    let stub = Stub::start(|_| Reply::Cut).await;
    let remote = Remote::start(&stub.url, None, NOWHERE);
    remote.trouble("out of reach").await;
    stub.script(well(good));
    let returned = Instant::now();
    while remote.facilitator.verify(&payment()).await.is_err() {
        assert!(returned.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn verify_answers_mean_what_the_table_says() {
    let invalid = |reason: &str| json!({"isValid": false, "invalidReason": reason});
    let long = "a".repeat(5_000);
    for (reply, reason) in [
        (Reply::Json(200, invalid("insufficient_funds")), "insufficient_funds"),
        (Reply::Json(400, invalid("invalid_payload")), "invalid_payload"),
        (Reply::Json(200, json!({"isValid": false})), "unexpected_verify_error"),
        (
            Reply::Json(200, json!({"isValid": false, "invalidReason": null})),
            "unexpected_verify_error",
        ),
        (Reply::Json(200, invalid("see <b>http://evil</b>")), "unexpected_verify_error"),
        (Reply::Json(200, invalid("a\r\nset-cookie: b")), "unexpected_verify_error"),
        (Reply::Json(200, invalid(&long)), "unexpected_verify_error"),
    ] {
        let stub = facilitator(move |_| reply.clone()).await;
        match Remote::ready(&stub).await.facilitator.verify(&payment()).await {
            Err(VerifyError::Invalid(invalid)) => assert_eq!(invalid.reason, reason),
            other => panic!("{other:?}"),
        }
    }
    let twice = r#"{"isValid":false,"isValid":true}"#.to_owned();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let elsewhere = "location: http://169.254.169.254/";
    for reply in [
        Reply::Json(401, json!({"error": "Unauthorized"})),
        Reply::Json(429, json!({})),
        Reply::Json(500, json!({"error": "secret inside"})),
        Reply::Text(302, elsewhere, String::new()),
        Reply::Cut,
        Reply::Silence,
        Reply::Drip,
        Reply::Json(500, json!({"isValid": true})),
        Reply::Flood,
        Reply::Json(200, json!({})),
        Reply::Json(200, json!({"isValid": "true"})),
        Reply::Json(200, json!({"isValid": true, "payer": "GABC"})),
        Reply::Text(200, "a: b", "<html>ok</html>".to_owned()),
        Reply::Text(200, "content-encoding: gzip", "\u{1f}".to_owned()),
        Reply::Text(200, "a: b", twice),
        Reply::Text(200, "a: b", deep),
    ] {
        let named = format!("{reply:.60?}");
        let stub = facilitator(move |_| reply.clone()).await;
        let remote = Remote::ready(&stub).await;
        let begun = Instant::now();
        let failure = failed(remote.facilitator.verify(&payment()).await);
        assert!(begun.elapsed() < TIMEOUT * 3, "{named}");
        assert!(!failure.detail.contains("secret inside"), "{}", failure.detail);
        assert_eq!(stub.asked("POST /verify").len(), 1, "verify is not repeated: {named}");
    }
}

#[tokio::test]
async fn d01_a_settlement_that_failed_with_status_200_is_no_payment() {
    for status in [200, 400, 402, 500] {
        let answer = json!({"success": false, "errorReason": "insufficient_funds",
            "transaction": "", "network": "stellar:testnet"});
        let stub = facilitator(move |_| Reply::Json(status, answer.clone())).await;
        let outcome = Remote::ready(&stub).await.settle(&payment()).await;
        let reason = "insufficient_funds".into();
        assert_eq!(outcome, Outcome::Rejected { reason, transaction: None }, "{status}");
    }
}

#[tokio::test]
async fn d02_a_settlement_that_is_not_this_one_is_nonsense() {
    let other = Address::Account(key(9).account()).to_string();
    for (member, value) in [
        ("transaction", json!("")),
        ("transaction", json!("0x00")),
        ("transaction", json!(HASH.to_uppercase())),
        ("transaction", json!(7)),
        ("network", json!("stellar:pubnet")),
        ("network", json!("")),
        ("payer", json!(other)),
        ("amount", json!("9999")),
        ("success", json!("true")),
    ] {
        let mut answer = good_settlement();
        answer[member] = value.clone();
        let stub = facilitator(move |_| Reply::Json(200, answer.clone())).await;
        match Remote::ready(&stub).await.settle(&payment()).await {
            Outcome::Unknown { failure, .. } => {
                assert!(failure.detail.contains("settle"), "{member} {value}: {}", failure.detail);
            }
            other => panic!("{member} {value}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn d03_a_settlement_without_a_good_answer_is_unknown_and_asked_once() {
    let cut = format!("{}{}", "{", "\"success\":tru");
    for reply in [
        Reply::Cut,
        Reply::Json(500, json!({"error": "boom"})),
        Reply::Json(502, json!({})),
        Reply::Text(200, "a: b", cut),
        Reply::Text(200, "a: b", r#"{"success":false,"success":true}"#.to_owned()),
        Reply::Flood,
        Reply::Json(
            200,
            json!({"success": false, "errorReason": "settlement_pending",
            "transaction": HASH, "network": "stellar:testnet"}),
        ),
    ] {
        let named = format!("{reply:.60?}");
        let stub = facilitator(move |_| reply.clone()).await;
        let outcome = Remote::ready(&stub).await.settle(&payment()).await;
        assert!(matches!(outcome, Outcome::Unknown { .. }), "{named}: {outcome:?}");
        assert_eq!(stub.asked("POST /settle").len(), 1, "{named}");
    }
    let stub =
        facilitator(|_| Reply::Late(TIMEOUT * 2, Box::new(Reply::Json(200, good_settlement()))))
            .await;
    let outcome = Remote::ready(&stub).await.settle(&payment()).await;
    assert!(matches!(outcome, Outcome::Settled(_)), "settling may take longer: {outcome:?}");
}

#[tokio::test]
async fn a_settlement_that_was_refused_at_the_door_was_not_sent() {
    for status in [301, 302, 400, 401, 403, 404, 429] {
        let stub = facilitator(move |_| Reply::Json(status, json!({"error": "no"}))).await;
        let outcome = Remote::ready(&stub).await.settle(&payment()).await;
        assert!(matches!(outcome, Outcome::Unsent(_)), "{status}: {outcome:?}");
    }
}

#[tokio::test]
async fn d09_the_breaker_opens_answers_at_once_and_closes_again() {
    let stub = facilitator(|_| Reply::Json(500, json!({}))).await;
    let remote = Remote::ready(&stub).await;
    for _ in 0..10 {
        failed(remote.facilitator.verify(&payment()).await);
    }
    let asked = stub.asked("POST /verify").len();
    assert!(asked <= 10, "{asked}");
    let begun = Instant::now();
    let failure = failed(remote.facilitator.verify(&payment()).await);
    assert!(begun.elapsed() < Duration::from_millis(20) && !failure.retry_after.is_zero());
    let unsent = remote.facilitator.submit(&payment()).await;
    assert!(matches!(unsent, Outcome::Unsent(_)), "{unsent:?}");
    assert_eq!(stub.asked("POST /verify").len(), asked);
    stub.script(well(good));
    let returned = Instant::now();
    while remote.facilitator.verify(&payment()).await.is_err() {
        assert!(returned.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn what_we_can_see_ourselves_is_not_asked() {
    let stub = facilitator(good).await;
    let remote = Remote::ready(&stub).await;
    let mut cheap = payment();
    cheap.payment.expected.amount = Amount::from_units(10_001).unwrap();
    let mut elsewhere = payment();
    elsewhere.payment.expected.payee = Address::Account(key(4).account());
    for payment in [cheap, elsewhere] {
        let verdict = remote.facilitator.verify(&payment).await;
        assert!(matches!(verdict, Err(VerifyError::Invalid(_))), "{verdict:?}");
    }
    assert!(stub.asked("POST /verify").is_empty());
    remote.facilitator.verify(&payment()).await.unwrap();
}

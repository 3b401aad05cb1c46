//! How many instructions a step of the road takes, which no other load on the machine changes: `cargo bench --bench
//! instructions`.
//!
//! This program runs itself under callgrind, each step a thousand times and then three thousand times: the difference is
//! the steps' alone. The kernel's share is not in it, and SHA-256 is dearer than it is outside, since valgrind knows no
//! instructions for it. Needs `valgrind`.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a bench ends where it finds something else than it expects"
)]

use std::{hint::black_box, process::Command, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{Empty, Full};
use secrecy::SecretString;
use tokio_util::task::TaskTracker;
use tollgate::{
    guard::{Admitted, Comer, Forward, Guard, Obstacle, Onward},
    pay::methods::Methods,
    protocol::{
        money::Amount,
        mpp::{self, Challenge, CredentialHeader, Opaque, Parts, Secrets, channel, charge},
        quote,
        stellar::{Address, ContractId, Network},
        target::Target,
        x402::{Requirements, Resource, Template},
    },
    route::{Access, Match, Pattern, Route, Table},
    telemetry::{Clock, traffic::Counts},
};

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, name, times] = arguments.as_slice()
        && let Some((_, step)) = STEPS.iter().find(|(known, _)| known == name)
    {
        return step(times.parse().unwrap());
    }
    // Without this flag cargo only wants to know that it runs.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    println!("| step | instructions |\n|---|---|");
    for (name, _) in STEPS {
        let [few, many] = [FEW, MANY].map(|times| counted(name, times));
        println!("| {name} | {} |", (many - few) / (MANY - FEW));
    }
}

/// The instructions of a run of this program that takes the step `name` so many times.
fn counted(name: &str, times: u64) -> u64 {
    let ran = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(std::env::current_exe().unwrap())
        .args([name, &times.to_string()])
        .output()
        .expect("valgrind is installed: `apt-get install valgrind`");
    let said = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success(), "{said}");
    let collected = said.lines().find_map(|line| line.split_once("Collected :"));
    collected
        .unwrap_or_else(|| panic!("callgrind tells its count: {said}"))
        .1
        .trim()
        .parse()
        .unwrap()
}

/// A name, and what takes the step so many times.
type Step = (&'static str, fn(u64));

const STEPS: [Step; 8] = [
    ("reading a target", |times| {
        repeat(times, || Target::parse(black_box("/v1/weather/rome?day=1")).unwrap())
    }),
    ("a route of 10", |times| find(10, times)),
    ("a route of 10,000", |times| find(10_000, times)),
    ("the guard, a free route", |times| pass(Access::Free, StatusCode::OK, times)),
    ("the guard, a problem document", |times| pass(DENIED, StatusCode::NOT_FOUND, times)),
    ("an x402 challenge", ask_x402),
    ("a charge challenge", ask_charge),
    ("a channel challenge", ask_channel),
];

fn repeat<T>(times: u64, step: impl Fn() -> T) {
    for _ in 0..times {
        drop(black_box(step()));
    }
}

fn find(size: usize, times: u64) {
    let routes =
        (0..size).map(|i| route(&format!("GET /v1/service{i}/weather/{{city}}"), Access::Free));
    let table = Table::new(routes.collect()).unwrap();
    repeat(times, || {
        let found = table.find(black_box(&Method::GET), black_box("/v1/service7/weather/rome"));
        assert!(matches!(found, Match::Found(_)));
    });
}

fn pass(access: Access, status: StatusCode, times: u64) {
    let guard = Guard::new(Near, Methods::default(), Clock::system(), TaskTracker::new());
    let route = Arc::new(route("GET /weather", access));
    repeat(times, || {
        let request = Request::get("http://bench/weather").body(Empty::<Bytes>::new()).unwrap();
        let answer = guard.answer(request, route.clone(), "/weather").now_or_never().unwrap();
        assert_eq!(answer.status(), status);
    });
}

fn ask_x402(times: u64) {
    let key = quote::Key::new([7; 32]);
    let scope = quote::Scope { route: "weather", method: "GET", body: None };
    let requirements = Requirements {
        network: Network::Testnet,
        amount: amount(),
        asset: Network::Testnet.usdc().contract,
        pay_to: payee(),
        max_timeout_seconds: 60,
        quote: None,
    };
    let template = Template::new(&requirements);
    repeat(times, || {
        let quote = quote::issue(&key, scope, &requirements, [1; 16], 1_900_000_000);
        let resource = Resource {
            url: "https://api.example.com/weather".to_owned(),
            description: "Current weather".to_owned(),
            mime_type: String::new(),
        };
        template.challenge("Payment required", &resource, &quote)
    });
}

fn ask_charge(times: u64) {
    let secrets = secrets();
    let request = charge::Request {
        amount: amount(),
        currency: Network::Testnet.usdc().contract,
        recipient: payee(),
        external_id: None,
        network: Network::Testnet,
        fee_payer: true,
        credential_types: vec![charge::CredentialType::Transaction],
    };
    let request = request.encode();
    repeat(times, || issued(&secrets, charge::INTENT, request.clone()));
}

fn ask_channel(times: u64) {
    let secrets = secrets();
    repeat(times, || {
        let request = channel::Request {
            amount: amount(),
            channel: ContractId([9; 32]),
            cumulative: amount(),
            external_id: None,
            network: Network::Testnet,
            reference: channel::reference([1; 16]),
        };
        issued(&secrets, channel::INTENT, request.encode())
    });
}

fn issued(secrets: &Secrets, intent: &'static str, request: String) -> http::HeaderValue {
    let opaque =
        Opaque { scope: "GET weather".to_owned(), nonce: [1; 16], issued_at: 1_900_000_000 };
    let parts = Parts {
        realm: "api.example.com",
        method: mpp::charge::METHOD,
        intent,
        request,
        description: Some("Current weather"),
        body: None,
        expires_ms: 1_900_000_300_000,
        header: CredentialHeader::Authorization,
        opaque: Some(&opaque),
    };
    Challenge::issue(secrets, parts).to_header()
}

/// An upstream that answers at once.
#[derive(Clone)]
struct Near;

impl Forward<Onward<Empty<Bytes>>> for Near {
    type Slot = ();
    type Body = Full<Bytes>;

    async fn reserve(&self, _: &Route, _: Comer, _: Duration) -> Result<(), Obstacle> {
        Ok(())
    }

    async fn forward(
        &self,
        (): (),
        _: &Route,
        _: Admitted<Box<Request<Onward<Empty<Bytes>>>>>,
    ) -> Result<Response<Full<Bytes>>, Obstacle> {
        Ok(Response::new(Full::from("17 °C")))
    }
}

fn route(pattern: &str, access: Access) -> Route {
    Route {
        name: pattern.into(),
        pattern: Pattern::parse(pattern).unwrap(),
        access,
        upstream: 0,
        timeout: Duration::ZERO,
        body_limit: 0,
        tunnel: None,
        rewrite: None,
        counts: Counts::default(),
        callers: Default::default(),
    }
}

fn secrets() -> Secrets {
    Secrets::new(SecretString::from("a secret of thirty-two bytes or more"), []).unwrap()
}

fn amount() -> Amount {
    Amount::from_units(10_000).unwrap()
}

fn payee() -> Address {
    Address::Contract(ContractId([3; 32]))
}

const DENIED: Access = Access::Denied(StatusCode::NOT_FOUND);
const FEW: u64 = 1_000;
const MANY: u64 = 3_000;

//! Three servers of one upstream, of which one is killed, hangs, or answers 500, while clients pay on the ledger for every
//! request: half of them before it is forwarded, half when its answer has begun.
//!
//! CI runs a short form. The long one is a command, and its figures are printed:
//! `TOLLGATE_SERVERS_REQUESTS=300 cargo test -p tollgate --test e2e -- --nocapture servers`

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use http::{Method, StatusCode};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tollgate::client::{self, Credential, Overrides};
use tollgate_sandbox::{Clock as Ledgers, Funds};

use crate::{
    agent::{Agent, Answer},
    origins::{Conduct, Origin, serving},
    world::{PRICE, Plan, World},
};

/// What the clients of a run have seen.
#[derive(Default)]
struct Seen {
    served: AtomicUsize,
    failed: AtomicUsize,
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_of_three_fails_and_who_pays_by_x402_pays_for_what_is_answered() {
    hold_out(client::Method::X402, "x402").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_server_of_three_fails_and_who_pays_by_charge_pays_for_what_is_answered() {
    hold_out(client::Method::Charge, "mpp.charge").await;
}

async fn hold_out(rail: client::Method, name: &str) {
    let mut origins = [Origin::start().await, Origin::start().await, Origin::start().await];
    let servers = origins.each_ref().map(|origin| format!("http://{}", origin.address)).join(", ");
    let upstreams = format!(
        "upstreams: {{ api: {{ servers: [{servers}], \
         health: {{ path: /health, interval: 300ms, unhealthy_after: 2 }}, \
         eject: {{ after: {AFTER}, for: 200ms, server_errors: true }} }} }}"
    );
    let route = |path: &str, method: &str, settle: &str| {
        format!(
            "  - {{ name: {path}, match: {method} /{path}, price: \"$0.001\", accept: [{name}], settle: {settle}, \
             timeout: 3s, redelivery: {{ attempts: 50, for: 1h }} }}\n",
        )
    };
    let routes = route("weather", "GET", "after") + &route("order", "POST", "before");
    let plan = Plan {
        routes: &routes,
        payments: ", mpp: { charge: { sponsored: true } }",
        upstreams: Some(&upstreams),
        // So that some are always at the upstream.
        ledgers: Ledgers::Interval(Duration::from_millis(600)),
        ..Plan::default()
    };
    let world = World::build(plan).await;
    let before = world.payee_usdc();
    let funds = Funds { usdc_units: 100_000_000, spare_stroops: 10_000_000 };
    let accounts = world.sandbox.new_payers(CLIENTS, funds).await.unwrap();
    let (seen, stop) = (Arc::new(Seen::default()), CancellationToken::new());
    let start = |(number, account): (usize, _)| {
        let agent = (world.agent_of(account), rail);
        let place = match number % 2 {
            0 => (Method::GET, "/weather"),
            _ => (Method::POST, "/order"),
        };
        tokio::spawn(pay(agent, place, seen.clone(), stop.clone()))
    };
    let clients: Vec<_> = accounts.iter().enumerate().map(start).collect();
    let requests = requests();
    serving(&origins.each_ref(), 2).await;
    assert_eq!(seen.failed.load(Ordering::Relaxed), 0);
    for (conduct, most) in [
        // What is under way at it fails; what comes then is not even sent there.
        (Conduct::Killed, CLIENTS),
        // Each client can get stuck there once, and by then it has failed a check.
        (Conduct::Hangs, CLIENTS),
        // It takes so many until it is seen.
        (Conduct::Answers500, AFTER + CLIENTS),
    ] {
        let failed_before = seen.failed.load(Ordering::Relaxed);
        origins[0].become_so(conduct).await;
        serving(&[&origins[1], &origins[2]], requests).await;
        if conduct == Conduct::Hangs {
            // Longer than the route waits: whoever is stuck there is told.
            sleep(Duration::from_millis(3_500)).await;
        }
        let failed = seen.failed.load(Ordering::Relaxed) - failed_before;
        assert!(failed <= most, "{conduct:?}: {failed} failed");
        let back = Instant::now();
        origins[0].become_so(Conduct::Fine).await;
        serving(&[&origins[0]], 1).await;
        println!("{name}: {conduct:?}: {failed} failed, back after {:?}", back.elapsed());
        serving(&[&origins[0]], requests / 4).await;
        let later = seen.failed.load(Ordering::Relaxed) - failed_before;
        assert_eq!(later, failed, "{conduct:?}: it fails nobody on its way back");
    }
    stop.cancel();
    for client in join_all(clients).await {
        client.unwrap();
    }
    let (served, failed) =
        (seen.served.load(Ordering::Relaxed), seen.failed.load(Ordering::Relaxed));
    let answered: usize = origins.iter().map(Origin::served).sum();
    println!("{name}: {served} served and paid, {failed} failed");
    // What was cut off on its way back was worked for, and not paid.
    assert!((served..=served + failed).contains(&answered), "{served} of {answered}");
    let paid = world.payee_usdc() - before;
    assert_eq!(paid, PRICE * i128::try_from(served).unwrap(), "{served} were served");
    world.end().await;
}

/// Pays for one request after the other until `stop`; what fails is presented again, unchanged, until it is answered.
async fn pay(
    (agent, rail): (Agent, client::Method),
    (method, path): (Method, &'static str),
    seen: Arc<Seen>,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let credential = sign(&agent, rail, method.clone(), path).await;
        let mut has_failed = false;
        loop {
            let answer = agent.present_with(method.clone(), path, &credential).await;
            match answer.status {
                StatusCode::OK => {
                    assert!(has_receipt(&answer), "{answer:?}");
                    seen.served.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                // What it signed has ended while it was stuck, and has paid nothing.
                StatusCode::PAYMENT_REQUIRED if has_failed => break,
                status => assert!(status.is_server_error(), "{answer:?}"),
            }
            has_failed = true;
            seen.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn sign(agent: &Agent, rail: client::Method, method: Method, path: &str) -> Credential {
    let overrides = Overrides::default();
    if rail == client::Method::X402 {
        let offer = agent.offer_of(method, path).await;
        agent.client.sign_x402(&offer, &overrides).await.unwrap()
    } else {
        let offer = agent.charge_offer_of(method, path).await;
        agent.client.sign_charge(&offer, &overrides).await.unwrap()
    }
}

fn has_receipt(answer: &Answer) -> bool {
    answer.receipt().is_some() || answer.settlement().is_some_and(|told| told.success)
}

fn requests() -> usize {
    std::env::var("TOLLGATE_SERVERS_REQUESTS").map_or(8, |count| count.parse().unwrap())
}

/// How many pay at a time.
const CLIENTS: usize = 6;
/// How many failures in a row eject a server.
const AFTER: usize = 3;

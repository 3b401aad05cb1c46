//! Three servers of one upstream, of which one is killed, hangs, or answers 500, while clients pay for every request.

#![expect(clippy::print_stdout, reason = "how many failed is told by who runs it")]

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use http::StatusCode;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    origins::{Conduct, Origin, serving},
    payer::{Payer, due},
    world::{PRICE, Plan, World},
};

/// What the clients of a run have seen.
#[derive(Default)]
struct Seen {
    /// The highest amount that was signed.
    signed: Mutex<i128>,
    served: AtomicUsize,
    failed: AtomicUsize,
}

/// Pays for one request after the other until `stop`; what fails is presented again, unchanged.
async fn pay(payer: Payer, seen: Arc<Seen>, stop: CancellationToken) {
    let mut next = payer.challenge("/weather").await;
    while !stop.is_cancelled() {
        let amount = {
            let mut signed = seen.signed.lock().unwrap();
            *signed = due(&next).max(*signed + PRICE);
            *signed
        };
        let credential = payer.commit(&next, amount);
        let mut has_failed = false;
        next = loop {
            let answer = payer.present("/weather", &credential).await;
            match answer.status {
                StatusCode::OK => {
                    answer.assert_channel_paid();
                    seen.served.fetch_add(1, Ordering::Relaxed);
                    break answer.next().unwrap();
                }
                // The others have signed so much meanwhile that its amount is forgotten: what it paid is still theirs.
                StatusCode::PAYMENT_REQUIRED if has_failed => {
                    break payer.challenge("/weather").await;
                }
                status => assert!(status.is_server_error(), "{answer:?}"),
            }
            has_failed = true;
            seen.failed.fetch_add(1, Ordering::Relaxed);
        };
    }
}

#[tokio::test]
async fn one_server_of_three_fails_and_only_what_was_under_way_there_does_and_nobody_loses_money() {
    let mut origins = [Origin::start().await, Origin::start().await, Origin::start().await];
    let servers = origins.each_ref().map(|origin| format!("http://{}", origin.address)).join(", ");
    let upstream = format!(
        "upstreams: {{ api: {{ servers: [{servers}], \
         health: {{ path: /health, interval: 300ms, unhealthy_after: 2 }}, \
         eject: {{ after: {AFTER}, for: 200ms, server_errors: true }} }} }}"
    );
    let routes = r#"  - { name: weather, match: GET /weather, price: "$0.001", accept: [mpp.channel], timeout: 3s, redelivery: { attempts: 50, for: 1h } }"#;
    let channel = r#", close: { at_claimable: "$50" }"#;
    let plan = Plan { routes, channel, upstream: Some(&upstream), ..Plan::default() };
    let world = World::build(plan).await;
    let payer = world.payer_with(7, 50_000_000).await;
    let channel = payer.channel;
    let (seen, stop) = (Arc::new(Seen::default()), CancellationToken::new());
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| tokio::spawn(pay(payer.clone(), seen.clone(), stop.clone())))
        .collect();
    serving(&origins.each_ref(), 10).await;
    assert_eq!(seen.failed.load(Ordering::Relaxed), 0);
    for (conduct, most) in [
        // What is under way at it fails; what comes then is not even sent there.
        (Conduct::Killed, CLIENTS),
        // Each client can get stuck there once, and by then it has failed a check.
        (Conduct::Hangs, CLIENTS),
        // It takes so many until it is seen.
        (Conduct::Answers500, AFTER + CLIENTS),
    ] {
        let before = seen.failed.load(Ordering::Relaxed);
        origins[0].become_so(conduct).await;
        serving(&[&origins[1], &origins[2]], 100).await;
        if conduct == Conduct::Hangs {
            // Longer than the route waits: whoever is stuck there is told.
            sleep(Duration::from_millis(3_500)).await;
        }
        let failed = seen.failed.load(Ordering::Relaxed) - before;
        println!("{conduct:?}: {failed} failed");
        assert!(failed <= most, "{conduct:?}: {failed} failed");
        origins[0].become_so(Conduct::Fine).await;
        serving(&[&origins[0]], 10).await;
        let later = seen.failed.load(Ordering::Relaxed) - before;
        assert_eq!(later, failed, "{conduct:?}: it fails nobody on its way back");
    }
    stop.cancel();
    for client in join_all(clients).await {
        client.unwrap();
    }
    let served = seen.served.load(Ordering::Relaxed);
    let answered: usize = origins.iter().map(Origin::served).sum();
    let failed = seen.failed.load(Ordering::Relaxed);
    // What was cut off on its way back was worked for, and not paid.
    assert!(
        (served..=served + failed).contains(&answered),
        "{served} of {answered} were delivered"
    );
    let account = world.end_and_read(channel).await.unwrap();
    let standing = account.standing();
    assert_eq!(standing.spent.units(), i128::try_from(served).unwrap() * PRICE);
    assert!(standing.authorised.units() <= *seen.signed.lock().unwrap());
}

/// How many pay at a time.
const CLIENTS: usize = 6;
/// How many failures in a row eject a server.
const AFTER: usize = 3;

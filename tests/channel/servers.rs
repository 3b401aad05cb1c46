//! Three servers of one upstream, of which one is killed, hangs, or answers 500, while clients pay for every request.

#![expect(clippy::print_stdout, reason = "how many failed is told by who runs it")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    payer::{Payer, due},
    world::{PRICE, Plan, World},
};

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Conduct {
    Fine,
    Hangs,
    Answers500,
    /// Nobody listens, and every connection was cut off.
    Killed,
}

/// A server that can be in any state.
struct Origin {
    address: SocketAddr,
    state: Arc<State>,
    life: CancellationToken,
}

struct State {
    conduct: Mutex<Conduct>,
    /// Requests of clients that were answered 200.
    served: AtomicUsize,
}

impl Origin {
    async fn start() -> Self {
        let conduct = Mutex::new(Conduct::Fine);
        let state = Arc::new(State { conduct, served: AtomicUsize::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let life = CancellationToken::new();
        tokio::spawn(serve(listener, state.clone(), life.clone()));
        Self { address, state, life }
    }

    async fn become_so(&mut self, conduct: Conduct) {
        let before = std::mem::replace(&mut *self.state.conduct.lock().unwrap(), conduct);
        if conduct == Conduct::Killed {
            self.life.cancel();
        } else if before == Conduct::Killed {
            self.life = CancellationToken::new();
            let listener = TcpListener::bind(self.address).await.unwrap();
            tokio::spawn(serve(listener, self.state.clone(), self.life.clone()));
        }
    }

    fn served(&self) -> usize {
        self.state.served.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.life.cancel();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>, life: CancellationToken) {
    while let Some(Ok((stream, _))) = life.run_until_cancelled(listener.accept()).await {
        let (state, life) = (state.clone(), life.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), request));
            let conversation =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            drop(life.run_until_cancelled(conversation).await);
        });
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // So that some are always under way.
    sleep(Duration::from_millis(15)).await;
    let conduct = *state.conduct.lock().unwrap();
    let status = match conduct {
        Conduct::Fine => StatusCode::OK,
        Conduct::Answers500 => StatusCode::INTERNAL_SERVER_ERROR,
        Conduct::Hangs | Conduct::Killed => std::future::pending().await,
    };
    if status == StatusCode::OK && request.uri().path() == "/weather" {
        state.served.fetch_add(1, Ordering::Relaxed);
    }
    Ok(Response::builder().status(status).body(Full::from("ok")).unwrap())
}

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

/// Waits until every one of `origins` has served `more` requests more.
async fn serving(origins: &[&Origin], more: usize) {
    let before: Vec<_> = origins.iter().map(|origin| origin.served()).collect();
    let waiting = async {
        while !origins.iter().zip(&before).all(|(origin, before)| origin.served() >= before + more)
        {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.expect("they are asked");
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

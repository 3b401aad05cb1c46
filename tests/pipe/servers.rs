//! Several servers of one upstream, of which some are away, hang, or answer badly.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::{
    net::TcpListener,
    time::{Duration, sleep},
};
use tollgate::upstream::{Check, Eject};

use crate::harness::{Gateway, Options, Origin, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BAD: &str = "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n";
const GET: &str = "GET /free/ HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n";

async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Asks until the answer has this status.
async fn until(gateway: &Gateway, status: u16) {
    let asking = async {
        while gateway.status(GET).await != status {
            sleep(Duration::from_millis(10)).await;
        }
    };
    within(asking).await;
}

/// One that answers 500 as long as it is told to.
async fn moody(is_bad: &Arc<AtomicBool>) -> Origin {
    let is_bad = is_bad.clone();
    Origin::start(move |mut peer| {
        let is_bad = is_bad.clone();
        async move {
            while peer.head().await.is_some() {
                peer.send(if is_bad.load(Ordering::Relaxed) { BAD } else { OK }).await;
            }
        }
    })
    .await
}

fn ejecting(after: u32, most_percent: u32) -> Options {
    let time = Duration::from_millis(200);
    let eject = Eject { after, time, most_percent, server_errors: true };
    Options { eject, ..Options::default() }
}

#[tokio::test]
async fn a_request_that_meets_a_server_that_is_away_goes_to_the_next() {
    let origin = Origin::answering(OK).await;
    let servers = [nobody().await, nobody().await, origin.address];
    let gateway = Gateway::start(&servers, Options::default()).await;
    for _ in 0..20 {
        assert_eq!(gateway.status(GET).await, 200);
    }
    assert_eq!(origin.heads().len(), 20);
}

#[tokio::test]
async fn an_upstream_without_a_server_is_503_before_it_is_asked_and_comes_back_by_itself() {
    let address = nobody().await;
    let gateway = Gateway::start(&[address, nobody().await], Options::default()).await;
    assert_eq!(gateway.status(GET).await, 502, "that nobody is there is found out by a request");
    let refused = gateway.exchange(GET).await;
    assert!(refused.starts_with("HTTP/1.1 503 "), "{refused}");
    assert!(refused.contains("\r\nretry-after: 1\r\n"), "{refused}");
    let origin = Origin::at(address, OK).await;
    until(&gateway, 200).await;
    // Not by a request: those were refused until a connection could be made.
    assert_eq!(origin.heads().len(), 1);
}

#[tokio::test]
async fn a_server_that_hangs_gets_few_of_the_requests() {
    let hung = Origin::start(|mut peer| async move {
        peer.rest().await;
    })
    .await;
    let origins = [Origin::answering(OK).await, Origin::answering(OK).await];
    let servers = [hung.address, origins[0].address, origins[1].address];
    let gateway = Gateway::start(&servers, Options::default()).await;
    let mut stuck = Vec::new();
    let mut served = 0;
    while served < 50 {
        let mut client = gateway.client().await;
        client.send(GET).await;
        // Whoever waits at the hung server goes on waiting, and counts as busy there.
        match tokio::time::timeout(Duration::from_millis(500), client.head()).await {
            Ok(head) => {
                assert!(head.unwrap().starts_with("HTTP/1.1 200 "));
                served += 1;
            }
            Err(_) => stuck.push(client),
        }
    }
    assert!(stuck.len() <= 1, "{} are stuck", stuck.len());
}

#[tokio::test]
async fn a_server_that_answers_500_is_passed_over_and_then_tried_by_one_request_at_a_time() {
    let is_bad = Arc::new(AtomicBool::new(true));
    let (bad, good) = (moody(&is_bad).await, Origin::answering(OK).await);
    let gateway = Gateway::start(&[bad.address, good.address], ejecting(3, 50)).await;
    let mut failed = 0;
    while bad.heads().len() < 3 {
        failed += usize::from(gateway.status(GET).await == 500);
    }
    assert_eq!(failed, 3);
    for _ in 0..20 {
        assert_eq!(gateway.status(GET).await, 200);
    }
    is_bad.store(false, Ordering::Relaxed);
    // One request tries it, and then it is as good as the other.
    let back = async {
        while bad.heads().len() < 10 {
            assert_eq!(gateway.status(GET).await, 200);
        }
    };
    within(back).await;
}

#[tokio::test]
async fn no_more_servers_are_ejected_than_the_operator_allows() {
    let is_bad = Arc::new(AtomicBool::new(true));
    let origins = [moody(&is_bad).await, moody(&is_bad).await, moody(&is_bad).await];
    let servers: Vec<_> = origins.iter().map(|origin| origin.address).collect();
    let gateway = Gateway::start(&servers, ejecting(1, 67)).await;
    for _ in 0..30 {
        // Never 503: one is always asked.
        assert_eq!(gateway.status(GET).await, 500);
    }
    // Of three, two thirds are two; one of three is not half of them.
    let alone = Gateway::start(&servers[..1], ejecting(1, 67)).await;
    for _ in 0..5 {
        assert_eq!(alone.status(GET).await, 500);
    }
}

#[tokio::test]
async fn answers_of_500_count_for_nothing_unless_the_operator_says_so() {
    let (bad, good) = (Origin::answering(BAD).await, Origin::answering(OK).await);
    let options = Options { eject: Eject { after: 1, ..Eject::default() }, ..Options::default() };
    let gateway = Gateway::start(&[bad.address, good.address], options).await;
    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(gateway.status(GET).await == 500);
    }
    assert!(failed > 20, "{failed}");
}

const MOMENT: Duration = Duration::from_millis(50);

fn checked(unhealthy_after: u32) -> Options {
    let check = Check {
        path: "/ready?deep=1".parse().unwrap(),
        interval: MOMENT,
        timeout: MOMENT,
        healthy_after: 2,
        unhealthy_after,
        expect: 200..=399,
    };
    let set_headers = vec![("x-api-key", "secret")];
    Options { check: Some(check), set_headers, ..Options::default() }
}

#[tokio::test]
async fn a_server_that_fails_its_health_checks_is_asked_by_no_request_until_it_passes_them() {
    let is_bad = Arc::new(AtomicBool::new(true));
    let (bad, good) = (moody(&is_bad).await, Origin::answering(OK).await);
    let gateway = Gateway::start(&[bad.address, good.address], checked(3)).await;
    let health =
        || -> Vec<bool> { gateway.upstreams.servers().map(|server| server.is_healthy).collect() };
    let become_so = async |wanted: [bool; 2]| {
        while health() != wanted {
            sleep(Duration::from_millis(5)).await;
        }
    };
    // The very first check counts.
    within(become_so([false, true])).await;
    for _ in 0..20 {
        assert_eq!(gateway.status(GET).await, 200);
    }
    let heads = bad.heads();
    assert!(
        heads.iter().all(|head| head.starts_with("GET /ready?deep=1 HTTP/1.1\r\n")),
        "{heads:?}"
    );
    let head = &heads[0];
    assert!(head.contains(&format!("\r\nhost: {}\r\n", bad.address)), "{head}");
    assert!(head.contains("\r\nx-api-key: secret\r\n"), "{head}");
    assert!(head.contains("\r\nuser-agent: tollgate-health\r\n"), "{head}");
    is_bad.store(false, Ordering::Relaxed);
    within(become_so([true, true])).await;
    let asked = async {
        while !bad.heads().iter().any(|head| head.starts_with("GET /free/ ")) {
            assert_eq!(gateway.status(GET).await, 200);
        }
    };
    within(asked).await;
    // A single bad answer does not count any more.
    is_bad.store(true, Ordering::Relaxed);
    within(become_so([false, true])).await;
}

#[tokio::test]
async fn an_upstream_whose_servers_all_fail_their_checks_is_503_and_comes_back() {
    let is_bad = Arc::new(AtomicBool::new(true));
    let origin = moody(&is_bad).await;
    let gateway = Gateway::start(&[origin.address], checked(1)).await;
    until(&gateway, 503).await;
    is_bad.store(false, Ordering::Relaxed);
    until(&gateway, 200).await;
}

#[tokio::test]
async fn a_server_that_is_silent_when_it_is_asked_fails_its_checks() {
    let silent = Origin::start(|mut peer| async move {
        peer.rest().await;
    })
    .await;
    let gateway = Gateway::start(&[silent.address], checked(1)).await;
    let unhealthy = async {
        while gateway.upstreams.servers().any(|server| server.is_healthy) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    within(unhealthy).await;
    assert_eq!(gateway.status(GET).await, 503);
}

//! What an upstream keeps when its configuration is swapped.

use std::sync::Arc;

use tokio::{net::TcpListener, sync::Notify};
use tollgate::upstream::Protocol;

use crate::harness::{Gateway, Options, Origin, Peer};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n";

/// Asks, and reads all of the answer.
async fn ask(client: &mut Peer) {
    client.send(GET).await;
    assert_eq!(client.status().await, 200);
    assert_eq!(client.take(2).await, b"ok");
}

#[tokio::test]
async fn a_server_that_stays_keeps_its_connections_and_one_that_is_spoken_to_otherwise_does_not() {
    let (origin, other) = (Origin::answering(OK).await, Origin::answering(OK).await);
    let mut gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    ask(&mut client).await;
    gateway.reload(|settings| {
        let other = other.address.to_string();
        settings.servers.push(other.parse().unwrap());
        settings.max_in_flight = 7;
    });
    while origin.heads().len() < 3 {
        ask(&mut client).await;
    }
    assert_eq!(origin.connections(), 1);
    gateway.reload(|settings| settings.name = "another".to_owned());
    while origin.heads().len() < 5 {
        ask(&mut client).await;
    }
    assert_eq!(origin.connections(), 2, "of another upstream nothing is known");
    gateway.reload(|settings| settings.protocol = Protocol::Http2);
    client.send(GET).await;
    assert_eq!(client.status().await, 502, "it speaks HTTP/1.1 alone");
}

#[tokio::test]
async fn a_server_that_was_away_is_away_after_a_reload_until_it_is_back() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut gateway = Gateway::start(&[nobody], Options::default()).await;
    assert_eq!(gateway.status(GET).await, 502);
    for _ in 0..3 {
        gateway.reload(|_| {});
        assert_eq!(gateway.status(GET).await, 503);
    }
    let _origin = Origin::at(nobody, OK).await;
    let back = async {
        while gateway.status(GET).await != 200 {
            tokio::task::yield_now().await;
        }
    };
    crate::harness::within(back).await;
}

#[tokio::test]
async fn requests_under_way_before_a_reload_count_after_it() {
    let go = Arc::new(Notify::new());
    let wait = go.clone();
    let origin = Origin::start(move |mut peer| {
        let wait = wait.clone();
        async move {
            peer.head().await;
            wait.notified().await;
            peer.send(OK).await;
        }
    })
    .await;
    let options = Options { max_in_flight: 1, ..Options::default() };
    let mut gateway = Gateway::start(&[origin.address], options).await;
    let mut first = gateway.client().await;
    first.send(GET).await;
    while origin.heads().is_empty() {
        tokio::task::yield_now().await;
    }
    gateway.reload(|settings| settings.idle_timeout *= 2);
    assert_eq!(gateway.status(GET).await, 503);
    assert_eq!(gateway.upstreams.servers().next().unwrap().under_way, 1);
    // An address has half of it.
    gateway.reload(|settings| settings.max_in_flight = 4);
    let mut second = gateway.client().await;
    second.send(GET).await;
    while origin.heads().len() < 2 {
        tokio::task::yield_now().await;
    }
    go.notify_waiters();
    assert_eq!((first.status().await, second.status().await), (200, 200));
}

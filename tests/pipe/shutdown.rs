//! How the door closes, and how many may be inside.

use std::sync::Arc;

use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::Notify,
    time::{Duration, sleep},
};
use tollgate::server::Limits;

use crate::harness::{Gateway, Options, Origin};

const GET: &str = "GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n";
const SHORT: Duration = Duration::from_millis(200);

/// An upstream that answers when it is told to.
async fn patient() -> (Origin, Arc<Notify>) {
    let go = Arc::new(Notify::new());
    let wait = go.clone();
    let origin = Origin::start(move |mut peer| {
        let wait = wait.clone();
        async move {
            peer.head().await;
            wait.notified().await;
            peer.send("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
            peer.rest().await;
        }
    })
    .await;
    (origin, go)
}

async fn reached(origin: &Origin) {
    while origin.heads().is_empty() {
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_body_that_nobody_reads_any_more_does_not_hold_up_the_end() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send("POST /kept/ HTTP/1.1\r\nHost: gw\r\nContent-Length: 1000000\r\n\r\n").await;
    assert_eq!(client.status().await, 403);
    let mut dribbling = tokio::task::JoinSet::new();
    dribbling.spawn(async move {
        while client.stream.write_all(b"b").await.is_ok() {
            sleep(SHORT).await;
        }
    });
    gateway.stop();
    // What the client still sends would go on for longer than the gateway waits.
    assert_eq!(gateway.stopped().await, 0);
}

#[tokio::test]
async fn a_request_under_way_finishes_and_idle_connections_close() {
    let (origin, go) = patient().await;
    let gateway = Gateway::before(&origin).await;
    let mut idle = gateway.client().await;
    idle.send("GET /kept/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    assert_eq!(idle.status().await, 403);
    let mut silent = gateway.client().await;
    let mut busy = gateway.client().await;
    busy.send(GET).await;
    reached(&origin).await;
    gateway.stop();
    idle.rest().await;
    silent.rest().await;
    while TcpStream::connect(gateway.address).await.is_ok() {
        sleep(Duration::from_millis(5)).await;
    }
    go.notify_one();
    assert_eq!(busy.status().await, 200);
    assert_eq!(busy.rest().await, b"ok");
    assert_eq!(gateway.stopped().await, 0);
}

#[tokio::test]
async fn a_request_that_does_not_finish_in_the_grace_is_cut_off() {
    let (origin, _go) = patient().await;
    let gateway =
        Gateway::start(&[origin.address], Options { grace: SHORT, ..Options::default() }).await;
    let mut busy = gateway.client().await;
    busy.send(GET).await;
    reached(&origin).await;
    gateway.stop();
    assert_eq!(gateway.stopped().await, 1);
    assert_eq!(busy.rest().await, b"");
}

#[tokio::test]
async fn a_head_that_takes_too_long_closes_its_connection() {
    let (origin, _go) = patient().await;
    let limits = Limits { header_timeout: SHORT, ..Limits::default() };
    let gateway = Gateway::start(&[origin.address], Options { limits, ..Options::default() }).await;
    for start in ["", "P", "PRI * HTTP", "GET /free/ HTTP/1.1\r\nHost: gw\r\n"] {
        let mut client = gateway.client().await;
        client.send(start).await;
        client.rest().await;
    }
    assert_eq!(origin.heads(), Vec::<String>::new());
}

//! How bodies flow: an event at once, a gibibyte in little memory.
//!
//! `TOLLGATE_GIB=1` sends a whole gibibyte each way instead of 64 MiB, and says how much memory it took.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    sync::mpsc,
    task::JoinSet,
};

use crate::harness::{Gateway, Options, Origin, within};

const PIECE: usize = 64 * 1024;

/// An upstream that sends one event whenever it is told to.
async fn events() -> (Origin, mpsc::UnboundedSender<()>) {
    let (go, gone) = mpsc::unbounded_channel();
    let gone = std::sync::Arc::new(tokio::sync::Mutex::new(gone));
    let origin = Origin::start(move |mut peer| {
        let gone = gone.clone();
        async move {
            peer.head().await.unwrap();
            peer.send(
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n",
            )
            .await;
            while gone.lock().await.recv().await.is_some() {
                peer.send("f\r\ndata: event\r\n\r\n\r\n").await;
            }
        }
    })
    .await;
    (origin, go)
}

const EVENT: &[u8] = b"data: event\r\n\r\n";

fn report(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    println!("{what}: median {:?}, worst {:?}", times[times.len() / 2], times[times.len() - 1]);
}

#[tokio::test]
async fn an_event_reaches_the_client_before_the_next_one_is_made() {
    let (origin, go) = events().await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send("GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    assert_eq!(client.status().await, 200);
    let mut times = Vec::new();
    for _ in 0..50 {
        let begun = Instant::now();
        go.send(()).unwrap();
        assert_eq!(client.chunk().await, EVENT);
        times.push(begun.elapsed());
    }
    report("an event over HTTP/1.1", times);
}

#[tokio::test]
async fn an_event_reaches_an_http2_client_before_the_next_one_is_made() {
    let (origin, go) = events().await;
    let gateway = Gateway::before(&origin).await;
    let io = TokioIo::new(TcpStream::connect(gateway.address).await.unwrap());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
    let mut running = JoinSet::new();
    running.spawn(async move { drop(connection.await) });
    let request = Request::get("http://gw/free/").body(Empty::<Bytes>::new()).unwrap();
    let mut answer = within(sender.send_request(request)).await.unwrap();
    let mut times = Vec::new();
    for _ in 0..50 {
        let begun = Instant::now();
        go.send(()).unwrap();
        let event = within(answer.body_mut().frame()).await.unwrap().unwrap();
        assert_eq!(event.data_ref().unwrap(), EVENT);
        times.push(begun.elapsed());
    }
    report("an event over HTTP/2", times);
}

/// So many bytes each way.
fn amount() -> usize {
    let is_long = std::env::vars().any(|(name, _)| name == "TOLLGATE_GIB");
    if is_long { 1 << 30 } else { 64 << 20 }
}

/// The memory of this process, both ends and the gateway, in bytes.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim_end_matches("kB").trim().parse::<usize>().unwrap() * 1024
}

/// The most memory that is seen while `work` is done, above what there was before.
async fn growth<T>(work: impl Future<Output = T>) -> (T, usize) {
    let before = resident();
    let mut most = before;
    let mut watching = tokio::time::interval(Duration::from_millis(20));
    let mut work = std::pin::pin!(work);
    loop {
        tokio::select! {
            done = work.as_mut() => return (done, most.max(resident()) - before),
            _ = watching.tick() => most = most.max(resident()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_a_gibibyte_each_way_takes_little_memory() {
    let amount = amount();
    let origin = Origin::start(move |mut peer| async move {
        let mut piece = vec![7; PIECE];
        while let Some(head) = peer.head().await {
            if head.starts_with("POST") {
                let mut left = amount - peer.buffered();
                while left > 0 {
                    let length = PIECE.min(left);
                    peer.stream.read_exact(&mut piece[..length]).await.unwrap();
                    left -= length;
                }
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
            } else {
                peer.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {amount}\r\n\r\n")).await;
                for _ in 0..amount / PIECE {
                    peer.stream.write_all(&piece).await.unwrap();
                }
            }
        }
    })
    .await;
    let gateway = Gateway::start(&[origin.address], Options::default()).await;
    let mut client = gateway.client().await;
    let mut piece = vec![7; PIECE];
    // Once before, so that what is made once is there.
    client.send("GET /kept/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    client.status().await;
    let mut client = gateway.client().await;
    let begun = Instant::now();
    let ((), up) = growth(async {
        client
            .send(format!("POST /free/ HTTP/1.1\r\nHost: gw\r\nContent-Length: {amount}\r\n\r\n"))
            .await;
        for _ in 0..amount / PIECE {
            client.stream.write_all(&piece).await.unwrap();
        }
        assert_eq!(client.status().await, 200);
    })
    .await;
    let up_took = begun.elapsed();
    let begun = Instant::now();
    let ((), down) = growth(async {
        client.send("GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
        assert_eq!(client.status().await, 200);
        let mut left = amount - client.buffered();
        while left > 0 {
            let length = PIECE.min(left);
            left -= client.stream.read(&mut piece[..length]).await.unwrap();
        }
    })
    .await;
    println!(
        "{} MiB: up {up_took:?}, {} KiB more memory; down {:?}, {} KiB more",
        amount >> 20,
        up >> 10,
        begun.elapsed(),
        down >> 10
    );
    assert!(up < 16 << 20 && down < 16 << 20, "{up} bytes more up, {down} down");
}

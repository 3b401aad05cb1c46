//! Connections to upstreams: which are used again, which are shared, and whom they are trusted to.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::{server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    net::TcpListener,
    sync::{Barrier, Notify},
    task::JoinSet,
};
use tollgate::upstream::{Protocol, Tls, TlsSettings};

use crate::{
    exchange::{Trust, Version, alpn},
    harness::{Gateway, Options, Origin, within},
};

const GET: &str = "GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[tokio::test]
async fn a_connection_that_was_closed_while_idle_costs_nobody_a_request() {
    let closed = Arc::new(Notify::new());
    let close = closed.clone();
    let origin = Origin::start(move |mut peer| {
        let close = close.clone();
        async move {
            use tokio::io::AsyncWriteExt as _;
            peer.head().await.unwrap();
            peer.send(OK).await;
            peer.stream.shutdown().await.unwrap();
            // The gateway has seen it when it closes its own side.
            assert_eq!(peer.rest().await, b"");
            close.notify_one();
        }
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    for _ in 0..3 {
        assert_eq!(gateway.status(GET).await, 200);
        within(closed.notified()).await;
    }
    assert_eq!((origin.connections(), origin.heads().len()), (3, 3));
}

#[tokio::test]
async fn a_request_of_which_something_was_sent_is_not_sent_again() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.send(OK).await;
        peer.head().await.unwrap();
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send(GET).await;
    assert_eq!(client.status().await, 200);
    client.take(2).await;
    client.send(GET).await;
    assert_eq!(client.status().await, 502);
    assert_eq!((origin.connections(), origin.heads().len()), (1, 2));
}

#[tokio::test]
async fn an_upstream_that_says_close_is_connected_to_anew() {
    let origin =
        Origin::answering("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok")
            .await;
    let gateway = Gateway::before(&origin).await;
    for _ in 0..3 {
        assert_eq!(gateway.status(GET).await, 200);
    }
    assert_eq!(origin.connections(), 3);
}

#[tokio::test]
async fn an_answer_that_nobody_reads_to_its_end_costs_its_connection() {
    let origin = Origin::start(|mut peer| async move {
        while peer.head().await.is_some() {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10000000\r\n\r\n").await;
            peer.rest().await;
        }
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    for _ in 0..3 {
        assert_eq!(gateway.status(GET).await, 200);
    }
    assert_eq!(origin.connections(), 3);
}

/// An upstream of HTTP/2 that answers when as many requests are under way as it waits for.
struct Shared {
    address: std::net::SocketAddr,
    connections: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Shared {
    async fn start(together: usize, streams: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let (count, barrier) = (connections.clone(), Arc::new(Barrier::new(together)));
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut conversations = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let barrier = barrier.clone();
                let service = service_fn(move |_request: Request<hyper::body::Incoming>| {
                    let barrier = barrier.clone();
                    async move {
                        barrier.wait().await;
                        Ok::<_, std::convert::Infallible>(Response::new(Full::new(
                            Bytes::from_static(b"ok"),
                        )))
                    }
                });
                let mut builder = http2::Builder::new(TokioExecutor::new());
                builder.max_concurrent_streams(streams);
                let connection = builder.serve_connection(TokioIo::new(stream), service);
                conversations.spawn(async move { drop(connection.await) });
            }
        });
        Self { address, connections, _serving: serving }
    }
}

async fn ask_together(gateway: &Gateway, count: usize) {
    let mut asking = JoinSet::new();
    for _ in 0..count {
        let mut client = gateway.client().await;
        asking.spawn(async move {
            client.send(GET).await;
            client.status().await
        });
    }
    assert_eq!(within(asking.join_all()).await, vec![200; count]);
}

#[tokio::test]
async fn requests_share_a_session_of_http2() {
    let upstream = Shared::start(20, 100).await;
    let options = Options { protocol: Protocol::Http2, ..Options::default() };
    let gateway = Gateway::start(&[upstream.address], options).await;
    for _ in 0..3 {
        ask_together(&gateway, 20).await;
    }
    assert_eq!(upstream.connections.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_session_that_is_full_is_joined_by_another() {
    let upstream = Shared::start(1, 10).await;
    let options = Options { protocol: Protocol::Http2, ..Options::default() };
    let gateway = Gateway::start(&[upstream.address], options).await;
    // Once before, so that the server has said how many streams it takes.
    ask_together(&gateway, 1).await;
    ask_together(&gateway, 60).await;
    let connections = upstream.connections.load(Ordering::Relaxed);
    assert!((1..=7).contains(&connections), "{connections}");
}

/// An upstream over TLS which says whom it met: the protocol, and whether the gateway showed a certificate.
async fn secured(trust: &Trust, protocols: &[Version]) -> Origin {
    let protocols: Vec<_> = protocols.iter().map(|version| alpn(*version)).collect();
    let acceptor = trust.acceptor(&protocols);
    Origin::start(move |peer| {
        let acceptor = acceptor.clone();
        async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            // A client that does not trust it goes away.
            let Ok(mut stream) = acceptor.accept(peer.stream).await else { return };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read_u8().await {
                    Ok(byte) => head.push(byte),
                    Err(_) => return,
                }
            }
            let answer = if head.windows(8).any(|window| window == b"upgrade:") {
                "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"
            } else {
                OK
            };
            stream.write_all(answer.as_bytes()).await.unwrap();
            stream.flush().await.unwrap();
            let mut rest = Vec::new();
            drop(stream.read_to_end(&mut rest).await);
        }
    })
    .await
}

async fn before(origin: &Origin, protocol: Protocol, tls: Tls) -> Gateway {
    let options = Options { protocol, tls: Some(tls), ..Options::default() };
    Gateway::start(&[origin.address], options).await
}

#[tokio::test]
async fn a_server_that_cannot_prove_its_name_gets_no_request() {
    let (trust, other) = (Trust::new(), Trust::new());
    let origin = secured(&trust, &[Version::H1]).await;
    let trusting = |trust: &Trust| trust.trusted(Protocol::Negotiated);
    let gateway = before(&origin, Protocol::Negotiated, trusting(&trust)).await;
    assert_eq!(gateway.status(GET).await, 200);
    let gateway = before(&origin, Protocol::Negotiated, trusting(&other)).await;
    assert_eq!(gateway.status(GET).await, 502);
    // Its certificate is for another name than the address of the URL.
    let settings = TlsSettings { authorities: Some(trust.authorities()), ..TlsSettings::default() };
    let unnamed = Tls::new(settings, Protocol::Negotiated).unwrap();
    let gateway = before(&origin, Protocol::Negotiated, unnamed).await;
    assert_eq!(gateway.status(GET).await, 502);
}

#[tokio::test]
async fn a_server_that_does_not_speak_what_is_demanded_is_502() {
    let trust = Trust::new();
    let origin = secured(&trust, &[Version::H1]).await;
    let gateway = before(&origin, Protocol::Http2, trust.trusted(Protocol::Http2)).await;
    assert_eq!(gateway.status(GET).await, 502);
    let gateway = before(&origin, Protocol::Http1, trust.trusted(Protocol::Http1)).await;
    assert_eq!(gateway.status(GET).await, 200);
}

#[tokio::test]
async fn a_server_that_speaks_both_switches_protocols_over_http1() {
    let trust = Trust::new();
    let origin = secured(&trust, &[Version::H2, Version::H1]).await;
    let gateway = before(&origin, Protocol::Negotiated, trust.trusted(Protocol::Negotiated)).await;
    let asking = GET.replace("\r\n\r\n", "\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(gateway.status(&asking).await, 101);
}

#[tokio::test]
async fn a_server_that_asks_who_the_gateway_is_is_shown_its_certificate() {
    let (trust, own) = (Trust::new(), Trust::new());
    let acceptor = trust.acceptor_for(&own);
    let origin = Origin::start(move |peer| {
        let acceptor = acceptor.clone();
        async move {
            use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
            let Ok(mut stream) = acceptor.accept(peer.stream).await else { return };
            let mut some = [0; 1024];
            if stream.read(&mut some).await.is_ok_and(|length| length > 0) {
                stream.write_all(OK.as_bytes()).await.unwrap();
                stream.flush().await.unwrap();
            }
        }
    })
    .await;
    let settings = |identity| TlsSettings {
        authorities: Some(trust.authorities()),
        identity,
        server_name: Some(crate::exchange::name()),
    };
    let shown = Tls::new(settings(Some(own.identity())), Protocol::Http1).unwrap();
    let gateway = before(&origin, Protocol::Http1, shown).await;
    assert_eq!(gateway.status(GET).await, 200);
    let silent = Tls::new(settings(None), Protocol::Http1).unwrap();
    let gateway = before(&origin, Protocol::Http1, silent).await;
    assert_eq!(gateway.status(GET).await, 502);
}

#[tokio::test]
async fn those_who_wait_for_one_session_are_told_together_that_there_is_none() {
    let silent = Origin::start(|mut peer| async move {
        peer.rest().await;
    })
    .await;
    let tls = Some(Trust::new().trusted(Protocol::Http2));
    let connect = std::time::Duration::from_millis(300);
    let options = Options { protocol: Protocol::Http2, tls, connect, ..Options::default() };
    let gateway = Gateway::start(&[silent.address], options).await;
    let mut asking = JoinSet::new();
    for _ in 0..20 {
        let mut client = gateway.client().await;
        asking.spawn(async move {
            client.send(GET).await;
            client.status().await
        });
    }
    let answers = within(asking.join_all()).await;
    // Who came when it was known already was not let as far as that.
    assert!(answers.iter().all(|status| matches!(status, 502 | 503)), "{answers:?}");
    assert!(answers.contains(&502));
    // One for all of them, and perhaps one to see whether it is back.
    assert!(silent.connections() <= 2, "{}", silent.connections());
}

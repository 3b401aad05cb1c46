//! Connections whose protocol is switched: WebSocket and others, from HTTP/1.1 to HTTP/1.1.

use std::sync::Arc;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    sync::Notify,
    time::Duration,
};

use tollgate::upstream::Protocol;

use crate::{
    exchange::{Trust, Version},
    harness::{Gateway, Options, Origin, sorted, within},
};

const ASKING: &str = "GET /free/ws HTTP/1.1\r\nHost: gw\r\nConnection: keep-alive, Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n";
const SWITCHED: &str = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
const SHORT: Duration = Duration::from_millis(200);

/// Switches, says hello at once, and then sends back what comes.
async fn echo() -> Origin {
    Origin::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.send(SWITCHED.to_owned() + "hello").await;
        let mut piece = vec![0; 64 * 1024];
        loop {
            let length = peer.stream.read(&mut piece).await.unwrap();
            if length == 0 {
                return peer.send("bye").await;
            }
            peer.send(&piece[..length]).await;
        }
    })
    .await
}

#[tokio::test]
async fn both_ends_agree_and_talk_until_both_are_done() {
    let origin = echo().await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    // The client says something before it is told that it may.
    client.send(ASKING.to_owned() + "early").await;
    let head = client.head().await.unwrap();
    assert_eq!(
        sorted(&head),
        [
            "HTTP/1.1 101 Switching Protocols",
            "connection: upgrade",
            "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=",
            "upgrade: websocket",
        ]
    );
    let mut talk = client.take(10).await;
    talk.sort_unstable();
    let mut expected = b"helloearly".to_vec();
    expected.sort_unstable();
    assert_eq!(talk, expected);
    client.stream.shutdown().await.unwrap();
    assert_eq!(client.rest().await, b"bye");
    assert_eq!(
        sorted(&origin.heads()[0]),
        [
            "GET /free/ws HTTP/1.1",
            "connection: upgrade",
            "host: gw",
            "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==",
            "sec-websocket-version: 13",
            "upgrade: websocket",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: gw",
            "x-forwarded-proto: http",
        ]
    );
}

#[tokio::test]
async fn ten_megabytes_pass_both_ways_at_once() {
    let origin = echo().await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send(ASKING).await;
    assert_eq!(client.status().await, 101);
    assert_eq!(client.take(5).await, b"hello");
    let sent: Vec<u8> =
        (0..10_000_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let (mut read, mut write) = client.stream.into_split();
    let sending = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let receiving = async {
        let mut received = Vec::new();
        read.read_to_end(&mut received).await.unwrap();
        received
    };
    let ((), received) = within(async { tokio::join!(sending, receiving) }).await;
    assert_eq!(received.len(), sent.len() + 3);
    assert!(received.starts_with(&sent) && received.ends_with(b"bye"));
}

#[tokio::test]
async fn ten_megabytes_pass_both_ways_over_tls() {
    let trust = Trust::new();
    let acceptor = trust.acceptor(&[b"http/1.1"]);
    let origin = Origin::start(move |peer| {
        let acceptor = acceptor.clone();
        async move {
            let mut stream = acceptor.accept(peer.stream).await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(SWITCHED.as_bytes()).await.unwrap();
            let (mut read, mut write) = tokio::io::split(stream);
            tokio::io::copy(&mut read, &mut write).await.unwrap();
            write.shutdown().await.unwrap();
        }
    })
    .await;
    let options = Options {
        protocol: Protocol::Negotiated,
        tls: Some(trust.trusted(Protocol::Negotiated)),
        shown: Some(trust.shown()),
        ..Options::default()
    };
    let gateway = Gateway::start(&[origin.address], options).await;
    let mut client = trust.connect(gateway.address, Version::H1).await;
    client.write_all(ASKING.as_bytes()).await.unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(within(client.read_u8()).await.unwrap());
    }
    assert!(head.starts_with(b"HTTP/1.1 101 "));
    let sent: Vec<u8> =
        (0..10_000_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let (mut read, mut write) = tokio::io::split(client);
    let sending = async {
        write.write_all(&sent).await.unwrap();
        write.shutdown().await.unwrap();
    };
    let receiving = async {
        let mut received = vec![0; sent.len()];
        read.read_exact(&mut received).await.unwrap();
        received
    };
    let ((), received) = within(async { tokio::join!(sending, receiving) }).await;
    assert!(received == sent);
}

#[tokio::test]
async fn an_upstream_that_does_not_switch_answers_as_ever() {
    let origin =
        Origin::answering("HTTP/1.1 426 Upgrade Required\r\nContent-Length: 2\r\n\r\nno").await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send(ASKING).await;
        assert_eq!(client.status().await, 426);
        assert_eq!(client.take(2).await, b"no");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn f06_http_itself_is_switched_to_by_nobody() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    for upgrade in
        ["h2c", "H2C", "h2", "TLS/1.0", "HTTP/2.0", "websocket, h2c", "h2c, websocket", ""]
    {
        client
            .send(format!(
                "GET /free/ HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: {upgrade}\r\n\
                 HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n\r\n"
            ))
            .await;
        assert_eq!(client.status().await, 200, "{upgrade}");
    }
    // Who does not ask for it in `Connection` does not ask for it.
    client.send("GET /free/ HTTP/1.1\r\nHost: gw\r\nUpgrade: websocket\r\n\r\n").await;
    assert_eq!(client.status().await, 200);
    let heads = origin.heads();
    assert_eq!(heads.len(), 9);
    assert!(
        heads.iter().all(|head| !head.contains("upgrade") && !head.contains("settings")),
        "{heads:?}"
    );
}

#[tokio::test]
async fn f05_f12_a_switch_that_was_not_asked_for_is_502() {
    let origin = Origin::answering(SWITCHED).await;
    let gateway = Gateway::before(&origin).await;
    let asking_for = |upgrade: &str| ASKING.replace("websocket\r", &format!("{upgrade}\r"));
    assert_eq!(gateway.status("GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await, 502);
    assert_eq!(gateway.status(&asking_for("other")).await, 502);
    assert_eq!(gateway.status(&asking_for("h2c")).await, 502);
    assert_eq!(gateway.status(&asking_for("WebSocket")).await, 101);
}

#[tokio::test]
async fn what_was_switched_takes_room_at_its_upstream_until_it_ends() {
    let origin = echo().await;
    let options = Options { max_in_flight: 1, ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    let mut client = gateway.client().await;
    client.send(ASKING).await;
    assert_eq!(client.status().await, 101);
    assert_eq!(gateway.status(ASKING).await, 503);
    client.stream.shutdown().await.unwrap();
    client.rest().await;
    while gateway.status(ASKING).await != 101 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn i06_what_was_switched_for_nothing_leaves_room_to_others_and_half_of_it_to_who_pays() {
    let origin = echo().await;
    let options = Options { max_in_flight: 16, is_sold: true, ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    let mut held = Vec::new();
    let numbers = std::iter::repeat_n(1, 16).chain((2..=12).cycle().take(44));
    for number in numbers {
        let mut client = gateway.stranger(number).await;
        client.send(ASKING).await;
        match client.status().await {
            101 => held.push((number, client)),
            status => assert_eq!(status, 503),
        }
    }
    // The first had what it left to the others.
    assert_eq!(held.iter().filter(|(number, _)| *number == 1).count(), 4);
    assert_eq!(held.len(), 8);
    assert_eq!(gateway.status(ASKING).await, 503, "who pays nothing has half of it");
    // Where nobody pays, nothing is kept for those who do.
    let options = Options { max_in_flight: 16, ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    let mut clients = Vec::new();
    for number in 1..=16 {
        let mut client = gateway.stranger(number).await;
        client.send(ASKING).await;
        assert_eq!(client.status().await, 101);
        clients.push(client);
    }
    assert_eq!(gateway.status(ASKING).await, 503);
}

#[tokio::test]
async fn what_moves_nothing_any_more_ends() {
    let origin = echo().await;
    let options = Options { idle: SHORT, ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    let mut client = gateway.client().await;
    client.send(ASKING).await;
    assert_eq!(client.status().await, 101);
    for _ in 0..6 {
        tokio::time::sleep(SHORT / 2).await;
        client.send("x").await;
    }
    assert_eq!(client.rest().await, b"helloxxxxxx");
}

/// G05: what was bought at the handshake has an end, if the operator says so.
#[tokio::test]
async fn g05_what_was_switched_ends_when_its_time_is_over_whatever_moves() {
    let origin = echo().await;
    for (tunnel, is_over) in [(Some(SHORT), true), (None, false)] {
        let gateway =
            Gateway::start(&[origin.address], Options { tunnel, ..Options::default() }).await;
        let mut client = gateway.client().await;
        client.send(ASKING).await;
        assert_eq!(client.status().await, 101);
        let (mut heard, mut said) = (b"hello".to_vec(), 0);
        assert_eq!(client.take(5).await, heard);
        // More often than anything has to move, and for longer than this one may go on.
        let talking = async {
            loop {
                tokio::time::sleep(SHORT / 10).await;
                client.send("x").await;
                match client.stream.read_u8().await {
                    Ok(byte) => heard.push(byte),
                    Err(_) => return said,
                }
                said += 1;
            }
        };
        let talked = tokio::time::timeout(SHORT * 10, talking).await;
        assert_eq!(talked.is_ok(), is_over, "{talked:?}");
        assert!(heard.len() > 5);
    }
}

#[tokio::test]
async fn what_was_switched_goes_on_while_the_gateway_stops_and_ends_with_the_grace() {
    let origin = echo().await;
    let options = Options { grace: SHORT * 2, ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    let mut client = gateway.client().await;
    client.send(ASKING).await;
    assert_eq!(client.status().await, 101);
    assert_eq!(client.take(5).await, b"hello");
    gateway.stop();
    client.send("still").await;
    assert_eq!(client.take(5).await, b"still");
    assert_eq!(gateway.stopped().await, 1);
    assert_eq!(client.rest().await, b"");
}

#[tokio::test]
async fn a_client_that_leaves_ends_it_at_the_upstream() {
    let ended = Arc::new(Notify::new());
    let end = ended.clone();
    let origin = Origin::start(move |mut peer| {
        let end = end.clone();
        async move {
            peer.head().await.unwrap();
            peer.send(SWITCHED).await;
            peer.rest().await;
            end.notify_one();
        }
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send(ASKING).await;
    assert_eq!(client.status().await, 101);
    drop(client);
    within(ended.notified()).await;
}

//! What comes before an answer: `100 Continue`, hints, and floods of them.

use tokio::time::Duration;

use crate::harness::{Gateway, Origin, Peer, within};

const ASKING: &str =
    "POST /free/ HTTP/1.1\r\nHost: gw\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

async fn is_silent(peer: &mut Peer) -> bool {
    tokio::time::timeout(Duration::from_millis(50), peer.stream.readable()).await.is_err()
}

#[tokio::test]
async fn a_client_that_asks_first_is_told_to_go_on_when_the_upstream_says_so() {
    let (ask, asked) = tokio::sync::oneshot::channel();
    let ask = std::sync::Mutex::new(Some(ask));
    let (go, gone) = tokio::sync::mpsc::unbounded_channel();
    let gone = std::sync::Arc::new(tokio::sync::Mutex::new(gone));
    let origin = Origin::start(move |mut peer| {
        let (ask, gone) = (ask.lock().unwrap().take(), gone.clone());
        async move {
            let head = peer.head().await.unwrap();
            assert!(head.contains("expect: 100-continue\r\n"), "{head}");
            assert!(is_silent(&mut peer).await, "no body before the upstream wants it");
            ask.unwrap().send(()).unwrap();
            gone.lock().await.recv().await.unwrap();
            peer.send("HTTP/1.1 100 Continue\r\n\r\n").await;
            assert_eq!(peer.take(5).await, b"hello");
            peer.send(OK).await;
            peer.head().await;
        }
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send(ASKING).await;
    within(asked).await.unwrap();
    assert!(is_silent(&mut client).await, "nobody has said that the body is wanted");
    go.send(()).unwrap();
    assert_eq!(client.status().await, 100);
    client.send("hello").await;
    assert_eq!(client.status().await, 200);
    // Who is refused here is not asked for a body.
    assert_eq!(gateway.status(&ASKING.replace("/free/", "/kept/")).await, 403);
}

#[tokio::test]
async fn an_upstream_that_refuses_a_body_never_gets_it_and_its_connection_ends() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.send("HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\n\r\nlong").await;
        assert_eq!(peer.rest().await, b"");
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    for _ in 0..2 {
        let mut client = gateway.client().await;
        client.send(ASKING).await;
        assert_eq!(client.status().await, 413);
        assert_eq!(client.take(4).await, b"long");
        assert_eq!(client.rest().await, b"");
    }
    assert_eq!(origin.connections(), 2);
}

#[tokio::test]
async fn an_upstream_that_never_says_it_wants_the_body_gets_it_after_a_while() {
    let origin = Origin::start(|mut peer| async move {
        while peer.head().await.is_some() {
            assert_eq!(peer.take(5).await, b"hello");
            peer.send(OK).await;
        }
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send(ASKING).await;
    assert_eq!(client.status().await, 100);
    client.send("hello").await;
    assert_eq!(client.status().await, 200);
}

#[tokio::test]
async fn hints_before_an_answer_are_left_out() {
    let origin = Origin::answering(
        "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    )
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send("GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
        let head = client.head().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && !head.contains("link"), "{head}");
        assert_eq!(client.take(2).await, b"ok");
    }
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn f12_a_flood_of_hints_is_502() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await.unwrap();
        use tokio::io::AsyncWriteExt as _;
        let hints = "HTTP/1.1 103 Early Hints\r\n\r\n".repeat(100);
        for _ in 0..100_000 {
            if peer.stream.write_all(hints.as_bytes()).await.is_err() {
                return;
            }
        }
        panic!("nobody stopped it");
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    assert_eq!(gateway.status("GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await, 502);
}

//! Uploads that live alone, and those that nobody waits for any more.

use tokio::time::{Duration, sleep};

use crate::harness::{Gateway, Options, Origin, within};

const SHORT: Duration = Duration::from_millis(300);
const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const POST: &str = "POST /free/x HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n";
const GET: &str = "GET /free/y HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n";

async fn gateway(origin: &Origin) -> Gateway {
    let options = Options { idle: SHORT, max_in_flight: 1, ..Options::default() };
    Gateway::start(&[origin.address], options).await
}

#[tokio::test]
async fn a_direction_may_be_silent_while_the_other_is_not() {
    let origin = Origin::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n").await;
        if head.contains("/free/x") {
            // The client says nothing, and listens.
            for _ in 0..8 {
                sleep(SHORT / 3).await;
                peer.send("x").await;
            }
            assert_eq!(peer.chunks().await, b"end");
        } else {
            assert_eq!(peer.chunks().await, b"xxxxxxxx");
            peer.send("xxxxxxxx").await;
        }
        peer.rest().await;
    })
    .await;
    let gateway = gateway(&origin).await;
    let mut client = gateway.client().await;
    client.send(POST).await;
    assert_eq!(client.status().await, 200);
    assert_eq!(client.take(8).await, b"xxxxxxxx");
    client.send("3\r\nend\r\n0\r\n\r\n").await;
    drop(client);
    // And the other way round.
    let mut client = gateway.client().await;
    within(async {
        loop {
            client.send(POST.replace("/x", "/up")).await;
            if client.status().await == 200 {
                break;
            }
            client = gateway.client().await;
        }
    })
    .await;
    for _ in 0..8 {
        sleep(SHORT / 3).await;
        client.send("1\r\nx\r\n").await;
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.take(8).await, b"xxxxxxxx");
}

#[tokio::test]
async fn both_directions_silent_are_broken_off() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nx").await;
        peer.rest().await;
    })
    .await;
    let gateway = gateway(&origin).await;
    let mut client = gateway.client().await;
    client.send(POST).await;
    assert_eq!(client.status().await, 200);
    assert_eq!(client.rest().await, b"x");
}

/// Whether there is room at an upstream for one request within the time that a test has.
async fn has_room(gateway: &Gateway) -> bool {
    within(async {
        while gateway.status(GET).await != 200 {
            sleep(Duration::from_millis(10)).await;
        }
        true
    })
    .await
}

#[tokio::test]
async fn i06_an_upload_that_dribbles_on_behind_its_answer_does_not_keep_its_room() {
    // The one reads what still comes, the other does not.
    for reads in [true, false] {
        let origin = Origin::start(move |mut peer| async move {
            let head = peer.head().await.unwrap();
            peer.send(OK).await;
            match head.contains("/free/x") && !reads {
                true => std::future::pending().await,
                false => drop(peer.rest().await),
            }
        })
        .await;
        let gateway = gateway(&origin).await;
        let mut client = gateway.client().await;
        client.send(POST).await;
        assert_eq!(client.status().await, 200);
        assert_eq!(client.take(2).await, b"ok");
        let (mut read, mut write) = client.stream.into_split();
        let mut dribbling = tokio::task::JoinSet::new();
        dribbling.spawn(async move {
            use tokio::io::AsyncWriteExt as _;
            let piece = if reads {
                "1\r\nx\r\n".to_owned()
            } else {
                format!("10000\r\n{}\r\n", "x".repeat(65_536))
            };
            while write.write_all(piece.as_bytes()).await.is_ok() {
                sleep(SHORT / 10).await;
            }
        });
        assert!(has_room(&gateway).await);
        // Nor its connection, of which the gateway reads no more than it has to.
        let mut rest = Vec::new();
        drop(within(tokio::io::AsyncReadExt::read_to_end(&mut read, &mut rest)).await);
    }
}

#[tokio::test]
async fn an_upload_that_ends_soon_behind_its_answer_comes_whole() {
    let (come, mut comes) = tokio::sync::mpsc::unbounded_channel();
    let origin = Origin::start(move |mut peer| {
        let come = come.clone();
        async move {
            while peer.head().await.is_some() {
                peer.send(OK).await;
                come.send(peer.chunks().await).unwrap();
            }
        }
    })
    .await;
    let gateway = gateway(&origin).await;
    let mut client = gateway.client().await;
    client.send(POST).await;
    assert_eq!(client.status().await, 200);
    assert_eq!(client.take(2).await, b"ok");
    sleep(SHORT / 3).await;
    client.send("5\r\nhello\r\n0\r\n\r\n").await;
    assert_eq!(within(comes.recv()).await.unwrap(), b"hello");
}

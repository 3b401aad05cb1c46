//! What becomes of a request whose upstream or whose client fails.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    net::TcpListener,
    sync::Notify,
    time::{Duration, Instant, sleep},
};

use crate::harness::{Gateway, Options, Origin, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const GET: &str = "GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n";
const SHORT: Duration = Duration::from_millis(200);

async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

#[tokio::test]
async fn a_dead_upstream_is_502_at_once() {
    let gateway = Gateway::start(&[nobody().await], Options::default()).await;
    assert_eq!(gateway.status(GET).await, 502);
}

#[tokio::test]
async fn a_silent_upstream_is_504_in_the_routes_time() {
    let origin = Origin::start(|mut peer| async move {
        peer.rest().await;
    })
    .await;
    let options = Options { patience: SHORT, ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    let begun = Instant::now();
    assert_eq!(gateway.status(GET).await, 504);
    let took = begun.elapsed();
    assert!(took >= SHORT && took < SHORT * 10, "{took:?}");
}

#[tokio::test]
async fn an_upstream_that_closes_before_it_answers_is_502() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await;
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    assert_eq!(gateway.status(GET).await, 502);
}

#[tokio::test]
async fn f12_what_is_no_answer_is_502() {
    for answer in [
        "nonsense\r\n\r\n",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\n\r\nok",
        "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
    ] {
        let origin = Origin::answering(answer).await;
        let gateway = Gateway::before(&origin).await;
        for connections in 1..3 {
            assert_eq!(gateway.status(GET).await, 502, "{answer}");
            assert_eq!(origin.connections(), connections, "used again after {answer}");
        }
    }
}

#[tokio::test]
async fn bytes_behind_an_answer_are_no_answer_to_the_next_request() {
    let origin = Origin::answering(
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged",
    )
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    for _ in 0..3 {
        client.send(GET).await;
        assert_eq!(client.status().await, 200);
        assert_eq!(client.take(2).await, b"ok");
    }
    assert_eq!(
        origin.connections(),
        3,
        "a connection with bytes nobody asked for is not used again"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_at_the_client() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf").await;
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let answer = gateway.exchange(GET).await;
    assert!(
        answer.contains("content-length: 10\r\n") && answer.ends_with("\r\n\r\nhalf"),
        "{answer}"
    );
}

#[tokio::test]
async fn an_answer_that_stands_still_is_broken_off_and_a_slow_one_is_not() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n").await;
        for _ in 0..6 {
            sleep(SHORT / 2).await;
            peer.send("x").await;
        }
        peer.rest().await;
    })
    .await;
    let options = Options { idle: SHORT, patience: SHORT, ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    let answer = gateway.exchange(GET).await;
    assert!(answer.ends_with("\r\n\r\nxxxxxx"), "{answer}");
}

#[tokio::test]
async fn an_upload_that_stands_still_is_broken_off_and_a_slow_one_is_not() {
    let ended = Arc::new(Notify::new());
    let end = ended.clone();
    let origin = Origin::start(move |mut peer| {
        let end = end.clone();
        async move {
            let head = peer.head().await.unwrap();
            if head.contains("/free/slow") {
                peer.take(6).await;
                peer.send(OK).await;
            } else {
                peer.rest().await;
                end.notify_one();
            }
        }
    })
    .await;
    let options = Options { idle: SHORT, patience: SHORT, ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    let mut client = gateway.client().await;
    client.send("POST /free/slow HTTP/1.1\r\nHost: gw\r\nContent-Length: 6\r\n\r\n").await;
    for _ in 0..6 {
        sleep(SHORT / 2).await;
        client.send("x").await;
    }
    assert_eq!(client.status().await, 200);

    let mut client = gateway.client().await;
    client.send("POST /free/still HTTP/1.1\r\nHost: gw\r\nContent-Length: 6\r\n\r\nx").await;
    assert_eq!(client.status().await, 408);
    within(ended.notified()).await;
}

#[tokio::test]
async fn an_upstream_that_takes_no_more_of_an_upload_is_504() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await;
        std::future::pending().await
    })
    .await;
    let options = Options { patience: SHORT, ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    let client = gateway.client().await;
    let (mut read, mut write) = client.stream.into_split();
    let uploading = async {
        use tokio::io::AsyncWriteExt as _;
        write
            .write_all(b"POST /free/ HTTP/1.1\r\nHost: gw\r\nContent-Length: 1073741824\r\n\r\n")
            .await?;
        let piece = vec![0; 64 * 1024];
        loop {
            write.write_all(&piece).await?;
        }
        #[expect(unreachable_code, reason = "names the type of the error above")]
        Ok::<(), std::io::Error>(())
    };
    let answered = async {
        use tokio::io::AsyncReadExt as _;
        let mut start = [0; 12];
        read.read_exact(&mut start).await.unwrap();
        start
    };
    let answer = within(async {
        tokio::select! {
            biased;
            answer = answered => answer,
            failure = uploading => panic!("the upload ended without an answer: {failure:?}"),
        }
    })
    .await;
    assert_eq!(&answer, b"HTTP/1.1 504");
}

#[tokio::test]
async fn a_body_longer_than_the_route_takes_never_reaches_the_upstream_whole() {
    let origin = Origin::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        if head.contains("/free/fits") {
            peer.chunks().await;
            peer.send(OK).await;
        } else {
            peer.rest().await;
        }
    })
    .await;
    let options = Options { body_limit: 5, ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    let post = |name: &str, body: &str| {
        format!(
            "POST /free/{name} HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n{body}\r\n0\r\n\r\n"
        )
    };
    assert_eq!(gateway.status(&post("fits", "5\r\nhello")).await, 200);
    assert_eq!(gateway.status(&post("long", "5\r\nhello\r\n1\r\n!")).await, 413);
    // Who says how long it is does not get as far as the upstream.
    let declared = "POST /free/ HTTP/1.1\r\nHost: gw\r\nContent-Length: 6\r\n\r\nhello!";
    assert_eq!(gateway.status(declared).await, 413);
    assert_eq!(origin.heads().len(), 2);
}

#[tokio::test]
async fn a_full_upstream_is_503_until_an_answer_has_ended() {
    let go = Arc::new(Notify::new());
    let wait = go.clone();
    let origin = Origin::start(move |mut peer| {
        let wait = wait.clone();
        async move {
            while peer.head().await.is_some() {
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no").await;
                wait.notified().await;
                peer.send("k").await;
            }
        }
    })
    .await;
    let options = Options { max_in_flight: 1, ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    let mut first = gateway.client().await;
    first.send(GET).await;
    assert_eq!(first.status().await, 200);
    let busy = gateway.exchange(&GET.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n")).await;
    assert!(busy.starts_with("HTTP/1.1 503 ") && busy.contains("retry-after: 1\r\n"), "{busy}");
    go.notify_one();
    assert_eq!(first.take(2).await, b"ok");
    first.send(GET).await;
    assert_eq!(first.status().await, 200);
    go.notify_one();
    assert_eq!(origin.heads().len(), 2);
}

#[tokio::test]
async fn requests_go_to_the_server_with_the_fewest_under_way() {
    let (came, stuck) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (come, wait) = (came.clone(), stuck.clone());
    let slow = Origin::start(move |mut peer| {
        let (come, wait) = (come.clone(), wait.clone());
        async move {
            peer.head().await;
            come.notify_one();
            wait.notified().await;
            peer.send(OK).await;
        }
    })
    .await;
    let quick = Origin::answering(OK).await;
    let gateway = Gateway::start(&[slow.address, quick.address], Options::default()).await;
    // As long as both have nothing to do, either is asked.
    let mut waiting = loop {
        let mut client = gateway.client().await;
        client.send(GET).await;
        let status = tokio::select! {
            status = client.status() => Some(status),
            () = came.notified() => None,
        };
        match status {
            Some(status) => assert_eq!(status, 200),
            None => break client,
        }
    };
    let before = quick.heads().len();
    for _ in 0..6 {
        assert_eq!(gateway.status(GET).await, 200);
    }
    assert_eq!((slow.heads().len(), quick.heads().len()), (1, before + 6));
    stuck.notify_one();
    assert_eq!(waiting.status().await, 200);
}

//! Bodies pass byte for byte, as they come, in both directions.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::AsyncWriteExt as _,
    sync::Notify,
    time::{Duration, sleep},
};

use crate::harness::{Gateway, Origin, sorted, within};

/// Bytes of every value, the same for a given length.
fn bytes(length: usize) -> Vec<u8> {
    let mut state = 1_u32;
    std::iter::repeat_with(|| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    })
    .take(length)
    .collect()
}

#[tokio::test]
async fn a_body_with_a_length_keeps_its_length_and_its_bytes() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await.unwrap();
        let body = peer.take(100_000).await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n").await;
        peer.send(body).await;
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send("POST /free/ HTTP/1.1\r\nHost: gw\r\nContent-Length: 100000\r\n\r\n").await;
    client.send(bytes(100_000)).await;
    let head = client.head().await.unwrap();
    assert_eq!(sorted(&head), ["HTTP/1.1 200 OK", "content-length: 100000"]);
    assert_eq!(client.take(100_000).await, bytes(100_000));
    let upstream_head = &origin.heads()[0];
    assert!(upstream_head.contains("content-length: 100000\r\n"), "{upstream_head}");
    assert!(!upstream_head.contains("transfer-encoding"), "{upstream_head}");
}

#[tokio::test]
async fn a_chunked_body_stays_chunked() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await.unwrap();
        let body = peer.chunks().await;
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        for piece in body.chunks(7) {
            peer.send(format!("{:x};x=y\r\n", piece.len())).await;
            peer.send(piece).await;
            peer.send("\r\n").await;
        }
        peer.send("0\r\n\r\n").await;
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client
        .send("POST /free/ HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n")
        .await;
    let head = client.head().await.unwrap();
    assert_eq!(sorted(&head), ["HTTP/1.1 200 OK", "transfer-encoding: chunked"]);
    assert_eq!(client.chunks().await, b"hello world");
    let upstream_head = &origin.heads()[0];
    assert!(upstream_head.contains("transfer-encoding: chunked\r\n"), "{upstream_head}");
}

#[tokio::test]
async fn an_answer_without_a_length_ends_with_its_connection() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end").await;
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send("GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    assert_eq!(client.status().await, 200);
    assert_eq!(client.chunks().await, b"until the end");
}

#[tokio::test]
async fn a_mebibyte_streams_both_ways_at_once_past_a_slow_reader() {
    // An echo: the answer comes while the request is still being sent, so nothing on the way may wait for its end.
    let origin = Origin::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
        loop {
            let chunk = peer.chunk().await;
            peer.send(format!("{:x}\r\n", chunk.len())).await;
            peer.send(&chunk).await;
            peer.send("\r\n").await;
            if chunk.is_empty() {
                return;
            }
        }
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send("POST /free/ HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let mut is_first = true;
    for piece in bytes(1024 * 1024).chunks(16 * 1024) {
        client.send(format!("{:x}\r\n", piece.len())).await;
        client.send(piece).await;
        client.send("\r\n").await;
        if std::mem::take(&mut is_first) {
            assert_eq!(client.status().await, 200);
        }
        let mut echo = Vec::new();
        while echo.len() < piece.len() {
            sleep(Duration::from_micros(200)).await;
            echo.extend(client.chunk().await);
        }
        assert_eq!(echo, piece);
    }
    client.send("0\r\n\r\n").await;
    assert_eq!(client.chunks().await, b"");
}

#[tokio::test]
async fn a_reader_that_stops_stops_the_upstream_and_one_that_leaves_ends_it() {
    let written = Arc::new(AtomicUsize::new(0));
    let ended = Arc::new(Notify::new());
    let (count, end) = (written.clone(), ended.clone());
    let origin = Origin::start(move |mut peer| {
        let (count, end) = (count.clone(), end.clone());
        async move {
            peer.head().await.unwrap();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n").await;
            let piece = bytes(64 * 1024);
            while peer.stream.write_all(&piece).await.is_ok() {
                count.fetch_add(piece.len(), Ordering::Relaxed);
            }
            end.notify_one();
        }
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send("GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    assert_eq!(client.status().await, 200);
    // The sockets' buffers fill, and then nothing moves.
    let mut before = usize::MAX;
    while before != written.load(Ordering::Relaxed) {
        before = written.load(Ordering::Relaxed);
        sleep(Duration::from_millis(200)).await;
    }
    assert!(before < 64 * 1024 * 1024, "{before} bytes of 1 GiB were taken that nobody read");
    drop(client);
    within(ended.notified()).await;
}

#[tokio::test]
async fn a_client_that_leaves_before_the_answer_takes_its_request_back() {
    let ended = Arc::new(Notify::new());
    let begun = Arc::new(Notify::new());
    let (begin, end) = (begun.clone(), ended.clone());
    let origin = Origin::start(move |mut peer| {
        let (begin, end) = (begin.clone(), end.clone());
        async move {
            peer.head().await.unwrap();
            begin.notify_one();
            assert_eq!(peer.rest().await, b"");
            end.notify_one();
        }
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send("GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    within(begun.notified()).await;
    drop(client);
    within(ended.notified()).await;
}

#[tokio::test]
async fn an_answer_to_head_has_its_length_and_no_body() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n").await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send("HEAD /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
        let head = client.head().await.unwrap();
        assert_eq!(sorted(&head), ["HTTP/1.1 200 OK", "content-length: 5"]);
    }
    assert!(origin.heads().iter().all(|head| head.starts_with("HEAD ")));
}

#[tokio::test]
async fn an_answer_to_head_without_a_length_gets_none() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    for _ in 0..2 {
        client.send("HEAD /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
        let head = client.head().await.unwrap();
        assert!(!head.contains("content-length"), "{head}");
    }
}

#[tokio::test]
async fn not_modified_and_no_content_have_no_body() {
    let origin = Origin::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            let answer = if head.contains("/free/304") {
                "HTTP/1.1 304 Not Modified\r\nETag: \"e\"\r\nContent-Length: 5\r\n\r\n"
            } else {
                "HTTP/1.1 204 No Content\r\n\r\n"
            };
            peer.send(answer).await;
        }
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send("GET /free/304 HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert_eq!(sorted(&head), ["HTTP/1.1 304 Not Modified", "content-length: 5", "etag: \"e\""]);
    client.send("GET /free/204 HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    assert_eq!(sorted(&client.head().await.unwrap()), ["HTTP/1.1 204 No Content"]);
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_upload() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.send(
            "HTTP/1.1 413 Content Too Large\r\nContent-Length: 4\r\nConnection: close\r\n\r\nlong",
        )
        .await;
        peer.rest().await;
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client
        .send("POST /free/ HTTP/1.1\r\nHost: gw\r\nContent-Length: 1000000\r\n\r\nonly this")
        .await;
    assert_eq!(client.status().await, 413);
    assert_eq!(client.take(4).await, b"long");
}

#[tokio::test]
async fn a_client_that_sends_all_before_it_reads_gets_an_answer_that_did_not_wait() {
    let origin = Origin::answering("").await;
    let gateway = Gateway::before(&origin).await;
    for length in [10_000, 1_000_000, 8_000_000] {
        let mut client = gateway.client().await;
        client
            .send(format!("POST /kept/ HTTP/1.1\r\nHost: gw\r\nContent-Length: {length}\r\n\r\n"))
            .await;
        client.send(bytes(length)).await;
        assert_eq!(client.status().await, 403, "{length}");
    }
}

#[tokio::test]
async fn announced_trailers_pass_both_ways() {
    let origin = Origin::start(|mut peer| async move {
        let head = peer.head().await.unwrap();
        assert!(head.contains("te: trailers\r\n") && head.contains("trailer: X-Sum\r\n"), "{head}");
        let expected = "5\r\nhello\r\n0\r\nx-sum: 1\r\n\r\n";
        assert_eq!(peer.take(expected.len()).await, expected.as_bytes());
        peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-End\r\n\r\n2\r\nok\r\n0\r\nX-End: 2\r\n\r\n")
            .await;
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let answer = gateway
        .exchange(
            "POST /free/ HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nTE: trailers\r\nTrailer: X-Sum\r\n\
             Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        )
        .await;
    assert!(answer.ends_with("2\r\nok\r\n0\r\nx-end: 2\r\n\r\n"), "{answer}");
}

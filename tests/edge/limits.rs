//! I06, I07: nobody keeps a connection for nothing, and there is an end to how many there are.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::site::{LARGE, Site, Wire, status_of, within};

const GET: &str = "GET /free/x HTTP/1.1\r\nHost: gw\r\n\r\n";

/// A site whose listener has these limits.
async fn site(limits: &str) -> Site {
    let listeners =
        format!("listeners: [{{ name: a, address: 127.0.0.1:0, limits: {{ {limits} }} }}]");
    Site::with(&listeners, |_| {}).await
}

/// Sends `bytes` again and again until the other side has had enough; what it says then.
async fn dribble(site: &Site, start: &str, bytes: &str) -> String {
    let client = site.client().await;
    let (reader, mut writer) = client.stream.into_split();
    let mut dribbling = tokio::task::JoinSet::new();
    let (start, bytes) = (start.to_owned(), bytes.to_owned());
    dribbling.spawn(async move {
        use tokio::io::AsyncWriteExt as _;
        writer.write_all(start.as_bytes()).await.unwrap();
        while writer.write_all(bytes.as_bytes()).await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    });
    let mut reader = Wire::new(tokio::io::join(reader, tokio::io::sink()));
    reader.rest().await
}

#[tokio::test]
async fn i06_a_head_has_its_time_however_often_some_more_of_it_comes() {
    let site = site("header_timeout: 300ms").await;
    for start in ["G", "GET /free/x HTTP/1.1\r\nHost: gw\r\n", "\r\n"] {
        let more = if start == "\r\n" { "G" } else { "X: y\r\n" };
        let more = if start == "G" { "E" } else { more };
        let answer = dribble(&site, start, more).await;
        assert_eq!(status_of(&answer), 408, "{start:?}: {answer}");
    }
    // The same behind a request that was served.
    let answer = dribble(&site, &format!("{GET}GET /free/y HTTP/1.1\r\n"), "X: y\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("HTTP/1.1 408 "), "{answer}");
    assert_eq!(site.origin.targets(), ["GET /free/x"]);
}

#[tokio::test]
async fn i06_a_connection_that_says_nothing_is_closed() {
    let site = site("header_timeout: 300ms").await;
    assert_eq!(site.exchange("").await, "");
}

#[tokio::test]
async fn i06_a_body_has_its_time_unless_enough_of_it_comes() {
    let site = site("body_timeout: 1s").await;
    let head = "POST /free/x HTTP/1.1\r\nHost: gw\r\nContent-Length: 100000\r\n\r\n";
    let answer = dribble(&site, head, "b").await;
    assert_eq!(status_of(&answer), 408, "{answer}");
    let chunked = "POST /free/x HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = dribble(&site, chunked, "1\r\nb\r\n").await;
    assert_eq!(status_of(&answer), 408, "{answer}");
    assert_eq!(site.origin.requests(), Vec::<String>::new());
    // One that takes longer in all, and brings enough at a time.
    let mut client = site.client().await;
    client.send(head).await;
    for _ in 0..20 {
        client.send("b".repeat(5000)).await;
        sleep(Duration::from_millis(80)).await;
    }
    assert_eq!(client.status().await, 200);
}

#[tokio::test]
async fn i06_a_reader_that_takes_nothing_is_left() {
    let site = site("write_timeout: 1s").await;
    let mut client = site.client().await;
    client.send("GET /free/large HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    sleep(Duration::from_secs(3)).await;
    assert!(client.rest().await.len() < LARGE);
    // One that takes some now and then gets all of it.
    let mut client = site.client().await;
    client.send("GET /free/large HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n").await;
    let mut taken = 0;
    let mut some = vec![0; LARGE / 16];
    while let length @ 1.. =
        within(tokio::io::AsyncReadExt::read(&mut client.stream, &mut some)).await.unwrap()
    {
        taken += length;
        if taken < LARGE / 2 {
            sleep(Duration::from_millis(20)).await;
        }
    }
    assert!(taken > LARGE, "{taken}");
}

#[tokio::test]
async fn i07_an_unused_connection_is_closed_and_a_used_one_is_not() {
    let site = site("idle_timeout: 1s").await;
    let mut client = site.client().await;
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(2500) {
        client.send(GET).await;
        assert_eq!(client.status().await, 200);
        sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn i07_an_answer_that_takes_long_is_not_an_unused_connection() {
    let site = site("idle_timeout: 200ms, header_timeout: 200ms").await;
    let mut client = site.client().await;
    client.send("GET /free/never HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    let waited = tokio::time::timeout(Duration::from_secs(1), client.status()).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test]
async fn i07_a_connection_too_many_is_told_so_and_has_room_later() {
    for limits in ["connections: 2, connections_per_address: 9", "connections: 4"] {
        let site = site(limits).await;
        let mut held = Vec::new();
        for _ in 0..2 {
            let mut client = site.client().await;
            client.send(GET).await;
            assert_eq!(client.status().await, 200);
            held.push(client);
        }
        let answer = site.exchange(GET).await;
        assert_eq!(status_of(&answer), 503, "{answer}");
        assert!(answer.contains("\r\nretry-after: 1\r\n"), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert_eq!(site.origin.requests().len(), 2);
        // Those inside are as well off as before.
        held[1].send(GET).await;
        assert_eq!(held[1].status().await, 200);
        drop(held.pop());
        within(async {
            loop {
                let mut client = site.client().await;
                client.send(GET).await;
                if client.status().await == 200 {
                    break;
                }
            }
        })
        .await;
    }
}

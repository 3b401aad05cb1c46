//! I06 over HTTP/2: bodies that dribble in, and answers that are hardly taken.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use crate::{
    frames::{
        DATA, END_HEADERS, END_STREAM, Frames, HEADERS, Outcome, RST_STREAM, WINDOW_UPDATE, block,
    },
    site::Site,
};

const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":authority", "gw"), (":path", "/free/x")];
const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "gw"), (":path", "/free/x")];
const GET_LARGE: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "gw"), (":path", "/free/large")];
/// The setting `INITIAL_WINDOW_SIZE`.
const WINDOW: u16 = 4;

async fn site(limits: &str) -> Site {
    let listeners =
        format!("listeners: [{{ name: a, address: 127.0.0.1:0, limits: {{ {limits} }} }}]");
    Site::with(&listeners, |_| {}).await
}

#[tokio::test]
async fn i06_a_body_over_http2_has_its_time_unless_enough_of_it_comes() {
    let site = site("body_timeout: 1s").await;
    for piece in [&b"x"[..], b""] {
        let mut frames = Frames::connect(&site, &[]).await;
        frames.send(HEADERS, END_HEADERS, 1, &block(&POST)).await;
        let begun = Instant::now();
        let outcome = loop {
            frames.send(DATA, 0, 1, piece).await;
            if let Ok(outcome) = timeout(Duration::from_millis(20), frames.outcome(1)).await {
                break outcome;
            }
            assert!(begun.elapsed() < Duration::from_secs(15), "nobody stops {piece:?}");
        };
        assert_eq!(outcome, Outcome::Status(408), "{piece:?}");
    }
    assert_eq!(site.origin.requests(), Vec::<String>::new());
    let mut frames = Frames::connect(&site, &[]).await;
    frames.send(HEADERS, END_HEADERS, 1, &block(&POST)).await;
    for _ in 0..12 {
        // Its window is 64 KiB.
        frames.send(DATA, 0, 1, &[b'x'; 4500]).await;
        sleep(Duration::from_millis(150)).await;
    }
    frames.send(DATA, END_STREAM, 1, b"").await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
}

#[tokio::test]
async fn i06_a_reader_whose_window_opens_by_a_byte_at_a_time_is_left() {
    let site = site("write_timeout: 1s").await;
    let mut frames = Frames::connect(&site, &[(WINDOW, 1)]).await;
    frames.request(1, &GET_LARGE).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
    let begun = Instant::now();
    let one = 1_u32.to_be_bytes();
    loop {
        let frame = timeout(Duration::from_millis(20), frames.next()).await;
        match frame {
            Ok(None) => break,
            Ok(Some(frame)) if frame.kind == RST_STREAM => break,
            Ok(Some(_)) => {}
            Err(_) => drop(frames.send(WINDOW_UPDATE, 0, 1, &one).await),
        }
        assert!(begun.elapsed() < Duration::from_secs(15), "nobody stops it");
    }
    // The stream alone was left: the connection goes on.
    let mut frames_of_another = Frames::connect(&site, &[]).await;
    frames_of_another.request(1, &GET).await;
    assert_eq!(frames_of_another.outcome(1).await, Outcome::Status(200));
}

#[tokio::test]
async fn i06_the_end_of_an_answer_that_is_not_taken_ends_the_connection() {
    let site = site("write_timeout: 1s").await;
    // All of the answer has been given, and one byte of two may go.
    let mut frames = Frames::connect(&site, &[(WINDOW, 1)]).await;
    frames.request(1, &GET).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
    let begun = Instant::now();
    while frames.next().await.is_some() {}
    assert!(begun.elapsed() < Duration::from_secs(15));
    // One that takes the rest in time has the connection for as long as it likes.
    let mut frames = Frames::connect(&site, &[(WINDOW, 1)]).await;
    for stream in [1, 3, 5, 7] {
        frames.request(stream, &GET).await;
        assert_eq!(frames.outcome(stream).await, Outcome::Status(200));
        sleep(Duration::from_millis(400)).await;
        frames.send(WINDOW_UPDATE, 0, stream, &LARGE_WINDOW.to_be_bytes()).await;
        sleep(Duration::from_millis(400)).await;
    }
}

const LARGE_WINDOW: u32 = 1 << 16;

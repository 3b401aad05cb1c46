//! G: HTTP/2, by frames that are written by hand.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    task::JoinSet,
    time::{sleep, timeout},
};

use crate::{
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GOAWAY, HEADERS, Outcome, PING,
        RST_STREAM, SETTINGS, WINDOW_UPDATE, block, field, frame,
    },
    site::{LARGE, Site, within},
};

const METHOD: (&str, &str) = (":method", "GET");
const SCHEME: (&str, &str) = (":scheme", "http");
const AUTHORITY: (&str, &str) = (":authority", "gw");
const PATH: (&str, &str) = (":path", "/free/x");
const GET: [(&str, &str); 4] = [METHOD, SCHEME, AUTHORITY, PATH];

/// The settings `INITIAL_WINDOW_SIZE` and `MAX_FRAME_SIZE`.
const WINDOW: u16 = 4;

/// A plain request on a connection of its own is served.
async fn is_well(site: &Site) {
    let mut frames = Frames::connect(site, &[]).await;
    frames.request(1, &GET).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
}

async fn site(limits: &str) -> Site {
    let listeners =
        format!("listeners: [{{ name: a, address: 127.0.0.1:0, limits: {{ {limits} }} }}]");
    Site::with(&listeners, |_| {}).await
}

#[tokio::test]
async fn g01_fields_that_http2_does_not_have_are_refused() {
    let site = Site::start().await;
    for bad in [
        &[METHOD, SCHEME, AUTHORITY, PATH, ("transfer-encoding", "chunked")][..],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("connection", "close")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("upgrade", "foo")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("X-Upper", "y")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("x", "a\r\nx-smuggled: b")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("x", "a\nb")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("x", "a\0b")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("x y", "z")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("x: y", "z")],
        &[METHOD, SCHEME, AUTHORITY, PATH, PATH],
        &[METHOD, SCHEME, AUTHORITY, PATH, METHOD],
        &[METHOD, SCHEME, AUTHORITY, ("x", "y"), PATH],
        &[METHOD, SCHEME, AUTHORITY, PATH, (":status", "200")],
        &[METHOD, SCHEME, AUTHORITY, PATH, (":odd", "y")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("te", "gzip")],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("content-length", "5")],
        &[METHOD, SCHEME, AUTHORITY],
        &[SCHEME, AUTHORITY, PATH],
        &[METHOD, AUTHORITY, PATH],
        &[METHOD, SCHEME, AUTHORITY, (":path", "")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "free/x")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "/free/x y")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "/free/x HTTP/1.1\r\nX: y")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "http://gw/free/x")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "*")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "/free/../kept")],
        &[METHOD, SCHEME, AUTHORITY, (":path", "/free//x")],
        &[(":method", "GET /free/y HTTP/1.1"), SCHEME, AUTHORITY, PATH],
        &[(":method", "get"), SCHEME, AUTHORITY, PATH],
        &[(":method", ""), SCHEME, AUTHORITY, PATH],
    ] {
        let mut frames = Frames::connect(&site, &[]).await;
        frames.request(1, bad).await;
        let outcome = frames.outcome(1).await;
        assert!(!matches!(outcome, Outcome::Status(..=399)), "{bad:?}: {outcome:?}");
    }
    assert_eq!(site.origin.requests(), Vec::<String>::new());
    is_well(&site).await;
    let fields = [METHOD, SCHEME, AUTHORITY, PATH, ("te", "trailers"), ("x", "a\tb")];
    let mut frames = Frames::connect(&site, &[]).await;
    frames.request(1, &fields).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
}

#[tokio::test]
async fn e08_a_fragment_in_http2_is_matched_by_nobody_and_forwarded_to_nobody() {
    let site = Site::start().await;
    let fields = |path| [METHOD, SCHEME, AUTHORITY, (":path", path)];
    for (path, outcome) in [("/free/x#/../kept", 200), ("/kept/x#/../free", 403)] {
        let mut frames = Frames::connect(&site, &[]).await;
        frames.request(1, &fields(path)).await;
        assert_eq!(frames.outcome(1).await, Outcome::Status(outcome), "{path}");
    }
    assert_eq!(site.origin.targets(), ["GET /free/x"]);
}

#[tokio::test]
async fn g02_g03_the_authority_is_one_and_plain() {
    let site = Site::start().await;
    for bad in [
        &[METHOD, SCHEME, AUTHORITY, PATH, ("host", "evil")][..],
        &[METHOD, SCHEME, AUTHORITY, PATH, ("host", "gw"), ("host", "gw")],
        &[METHOD, SCHEME, (":authority", "a@gw"), PATH],
        &[METHOD, SCHEME, (":authority", "gw:0"), PATH],
        &[METHOD, SCHEME, (":authority", "gw."), PATH],
        &[METHOD, SCHEME, (":authority", "[fe80::1%25eth0]"), PATH],
        &[METHOD, SCHEME, (":authority", "gw/x"), PATH],
        &[METHOD, SCHEME, (":authority", ""), PATH],
        &[METHOD, SCHEME, PATH],
    ] {
        let mut frames = Frames::connect(&site, &[]).await;
        frames.request(1, bad).await;
        let outcome = frames.outcome(1).await;
        assert!(!matches!(outcome, Outcome::Status(..=399)), "{bad:?}: {outcome:?}");
    }
    assert_eq!(site.origin.requests(), Vec::<String>::new());
    for good in [&[METHOD, SCHEME, AUTHORITY, PATH, ("host", "gw")][..], &GET] {
        let mut frames = Frames::connect(&site, &[]).await;
        frames.request(1, good).await;
        assert_eq!(frames.outcome(1).await, Outcome::Status(200), "{good:?}");
    }
    assert!(site.origin.requests().iter().all(|request| request.contains("\r\nhost: gw\r\n")));
}

#[tokio::test]
async fn a_grpc_call_that_the_edge_refuses_is_told_so_as_a_grpc_status() {
    let site = Site::start().await;
    let stream = tokio::net::TcpStream::connect(site.address()).await.unwrap();
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let mut running = JoinSet::new();
    running.spawn(async move { drop(connection.await) });
    let mut call = async |kind: &str, host: &str| {
        let request = Request::post("http://gw/free/x").header("host", host);
        let request = request.header("content-type", kind).body(Full::<Bytes>::default()).unwrap();
        within(sender.send_request(request)).await.unwrap()
    };
    let told = call("application/grpc", "evil").await;
    assert_eq!(told.status(), 200);
    assert_eq!(told.headers()["grpc-status"], "3");
    assert_eq!(told.headers()["grpc-message"], "the request names two hosts");
    let told = call("application/json", "evil").await;
    assert_eq!(told.headers().get("grpc-status"), None);
    assert_eq!(told.status(), 400);
    let served = call("application/grpc", "gw").await;
    assert_eq!(served.headers().get("grpc-status"), None);
    assert_eq!(site.origin.targets(), ["POST /free/x"]);
}

#[tokio::test]
async fn g04_connect_is_not_served_in_either_form() {
    let site = Site::start().await;
    for bad in [
        &[(":method", "CONNECT"), (":authority", "gw:80")][..],
        &[(":method", "CONNECT"), SCHEME, AUTHORITY, PATH],
        &[(":method", "CONNECT"), (":protocol", "websocket"), SCHEME, AUTHORITY, PATH],
        &[METHOD, (":protocol", "websocket"), SCHEME, AUTHORITY, PATH],
        &[(":method", "TRACE"), SCHEME, AUTHORITY, PATH],
    ] {
        let mut frames = Frames::connect(&site, &[]).await;
        frames.request(1, bad).await;
        let outcome = frames.outcome(1).await;
        assert!(!matches!(outcome, Outcome::Status(..=399)), "{bad:?}: {outcome:?}");
    }
    assert_eq!(site.origin.requests(), Vec::<String>::new());
    is_well(&site).await;
}

#[tokio::test]
async fn g06_a_client_that_takes_its_requests_back_is_left() {
    let site = Site::start().await;
    let mut frames = Frames::connect(&site, &[]).await;
    let mut sent = 0_u32;
    let never = block(&[METHOD, SCHEME, AUTHORITY, (":path", "/free/never")]);
    while sent < 100_000 {
        let mut bytes = Vec::new();
        for _ in 0..10 {
            let stream = 2 * sent + 1;
            sent += 1;
            bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, stream, &never));
            bytes.extend(frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
        }
        if !frames.raw(&bytes).await {
            break;
        }
        // What is sent in one piece is bounded by h2; what comes in many has begun to be worked on.
        sleep(Duration::from_millis(1)).await;
    }
    assert!(sent < 20_000, "{sent}");
    is_well(&site).await;
    // In one piece, too.
    let mut frames = Frames::connect(&site, &[]).await;
    let mut bytes = Vec::new();
    for index in 0..5000_u32 {
        bytes.extend(frame(HEADERS, END_HEADERS | END_STREAM, 2 * index + 1, &never));
        bytes.extend(frame(RST_STREAM, 0, 2 * index + 1, &8_u32.to_be_bytes()));
    }
    frames.raw(&bytes).await;
    while frames.next().await.is_some_and(|frame| frame.kind != GOAWAY) {}
    is_well(&site).await;
}

#[tokio::test]
async fn g06_a_head_without_an_end_is_cut_off() {
    let site = Site::start().await;
    let mut frames = Frames::connect(&site, &[]).await;
    frames.send(HEADERS, END_STREAM, 1, &block(&GET)).await;
    let more = block(&[("x", &"y".repeat(16_000))]);
    let mut sent = 0;
    while frames.send(CONTINUATION, 0, 1, &more).await && sent < 10_000 {
        sent += 1;
    }
    assert!(sent < 10_000);
    let mut frames = Frames::connect(&site, &[]).await;
    frames.send(HEADERS, END_STREAM, 1, &block(&GET)).await;
    let mut sent = 0;
    // Empty ones are as endless.
    while frames.send(CONTINUATION, 0, 1, &[]).await && sent < 100_000 {
        sent += 1;
    }
    assert!(sent < 100_000);
    assert_eq!(site.origin.requests(), Vec::<String>::new());
    is_well(&site).await;
    let mut frames = Frames::connect(&site, &[]).await;
    let whole = block(&GET);
    let (first, second) = whole.split_at(10);
    frames.send(HEADERS, END_STREAM, 1, first).await;
    frames.send(CONTINUATION, END_HEADERS, 1, second).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
}

#[tokio::test]
async fn g06_floods_of_settings_and_pings_keep_nobody_out() {
    let site = Site::start().await;
    for flood in [frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 255, 255]), frame(PING, 0, 0, &[7; 8])] {
        let frames = Frames::connect(&site, &[]).await;
        let flood = flood.repeat(1000);
        let mut flooding = JoinSet::new();
        flooding.spawn(async move {
            let mut frames = frames;
            // Nobody reads what is said to it.
            for _ in 0..20 {
                let sent = timeout(Duration::from_secs(1), frames.raw(&flood)).await;
                if sent != Ok(true) {
                    return;
                }
            }
        });
        for _ in 0..10 {
            is_well(&site).await;
        }
        within(flooding.join_next()).await;
        is_well(&site).await;
    }
}

#[tokio::test]
async fn g06_a_reader_whose_window_stays_shut_is_left() {
    let site = site("write_timeout: 1s").await;
    let large = [METHOD, SCHEME, AUTHORITY, (":path", "/free/large")];
    let mut frames = Frames::connect(&site, &[(WINDOW, 0)]).await;
    frames.request(1, &large).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
    assert_ne!(frames.outcome(1).await, Outcome::Status(200));
    // One that opens it now and then gets all of it.
    let mut frames = Frames::connect(&site, &[(WINDOW, 1 << 20)]).await;
    frames.request(1, &large).await;
    let mut taken = 0;
    while let Some(frame) = frames.next().await {
        assert_ne!(frame.kind, RST_STREAM, "after {taken}");
        if frame.kind == DATA {
            taken += frame.payload.len();
            if frame.flags & END_STREAM != 0 {
                break;
            }
            let more = u32::try_from(frame.payload.len()).unwrap().to_be_bytes();
            if more != [0; 4] {
                frames.send(WINDOW_UPDATE, 0, 0, &more).await;
                frames.send(WINDOW_UPDATE, 0, 1, &more).await;
            }
        }
    }
    assert_eq!(taken, LARGE);
}

#[tokio::test]
async fn g08_so_many_streams_are_open_and_no_more() {
    let site = site("streams: 10").await;
    let mut frames = Frames::connect(&site, &[]).await;
    let never = [METHOD, SCHEME, AUTHORITY, (":path", "/free/never")];
    for index in 0..10 {
        frames.request(2 * index + 1, &never).await;
    }
    frames.request(21, &GET).await;
    assert_eq!(frames.outcome(21).await, Outcome::Reset);
    frames.send(RST_STREAM, 0, 1, &8_u32.to_be_bytes()).await;
    frames.request(23, &GET).await;
    assert_eq!(frames.outcome(23).await, Outcome::Status(200));
}

#[tokio::test]
async fn g08_a_head_that_unfolds_to_many_times_its_size_is_refused() {
    let site = Site::start().await;
    let bomb = |times| {
        let mut bomb = block(&GET);
        // Into the table, and then out of it again and again: its first entry is the last that went in.
        bomb.extend(field(0x40, "x", &"y".repeat(3000)));
        bomb.extend(vec![0x80 | 62; times]);
        bomb
    };
    let mut frames = Frames::connect(&site, &[]).await;
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb(10_000)).await;
    let outcome = frames.outcome(1).await;
    assert!(!matches!(outcome, Outcome::Status(..=399)), "{outcome:?}");
    assert_eq!(site.origin.requests(), Vec::<String>::new());
    let mut frames = Frames::connect(&site, &[]).await;
    frames.send(HEADERS, END_HEADERS | END_STREAM, 1, &bomb(5)).await;
    assert_eq!(frames.outcome(1).await, Outcome::Status(200));
}

#[tokio::test]
async fn i07_an_unused_http2_connection_is_closed_and_a_used_one_is_not() {
    let site = site("header_timeout: 500ms, idle_timeout: 500ms").await;
    let mut frames = Frames::connect(&site, &[]).await;
    assert_eq!(frames.outcome(1).await, Outcome::Ended);
    let mut frames = Frames::connect(&site, &[]).await;
    frames.request(1, &[METHOD, SCHEME, AUTHORITY, (":path", "/free/never")]).await;
    sleep(Duration::from_millis(1600)).await;
    frames.request(3, &GET).await;
    assert_eq!(frames.outcome(3).await, Outcome::Status(200));
}

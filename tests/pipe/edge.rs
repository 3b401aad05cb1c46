//! What the edge refuses, byte for byte; nothing of it reaches the upstream. Each row has a twin that passes.

use crate::harness::{Gateway, Options, Origin};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// Sends each request on its own connection, with the rest of a plain head behind it, and expects this status.
async fn expect(cases: &[(&str, u16)]) -> Vec<String> {
    let origin = Origin::answering(OK).await;
    let gateway = Gateway::before(&origin).await;
    for (line, status) in cases {
        let request = format!("{line} HTTP/1.1\r\nHost: gw\r\n\r\n");
        assert_eq!(gateway.status(&request).await, *status, "{line}");
    }
    let passed = cases.iter().filter(|(_, status)| *status == 200).count();
    assert_eq!(origin.heads().len(), passed);
    origin.heads()
}

#[tokio::test]
async fn e01_empty_segments_never_reach_the_upstream() {
    expect(&[
        ("GET //kept/x", 400),
        ("GET /kept//x", 400),
        ("GET ///kept/x", 400),
        ("GET /free//x", 400),
        ("GET /kept/x", 403),
        ("GET /free/x", 200),
        ("GET /free/", 200),
    ])
    .await;
}

#[tokio::test]
async fn e02_dot_segments_never_reach_the_upstream() {
    expect(&[
        ("GET /free/../kept/x", 400),
        ("GET /free/%2e%2e/kept/x", 400),
        ("GET /free/.%2e/kept", 400),
        ("GET /free/..%2fkept", 400),
        ("GET /free/./x", 400),
        ("GET /free/..x", 200),
    ])
    .await;
}

#[tokio::test]
async fn e03_encoded_slashes_never_reach_the_upstream() {
    expect(&[
        ("GET /free/..%2Fkept%2fx", 400),
        ("GET /free/x%2Fy", 400),
        ("GET /free/x%252Fy", 400),
        ("GET /free/x%5Cy", 400),
        ("GET /free/x\\y", 400),
        ("GET /free/x%3Fy", 200),
    ])
    .await;
}

#[tokio::test]
async fn e04_malformed_encodings_never_reach_the_upstream() {
    expect(&[
        ("GET /free/x%", 400),
        ("GET /free/x%c0", 400),
        ("GET /free/%zz", 400),
        ("GET /free/%00", 400),
        ("GET /free/%c0%af", 400),
        ("GET /free/caf\u{e9}", 400),
        ("GET /free/caf%C3%A9", 200),
    ])
    .await;
}

#[tokio::test]
async fn e05_look_alikes_of_kept_paths_never_reach_the_upstream() {
    expect(&[
        ("GET /KEPT/x", 404),
        ("GET /kept/x;a=b", 400),
        ("GET /free/..;/kept/x", 400),
        ("GET /kept/..;/free/", 400),
        ("GET /free/x.", 200),
    ])
    .await;
}

#[tokio::test]
async fn e06_an_absolute_target_for_another_host_never_reaches_the_upstream() {
    let heads = expect(&[
        ("GET http://evil/free/x", 400),
        ("GET http://gw:80/free/x", 400),
        ("GET http://user@gw/free/x", 400),
        ("GET http://gw/free/x?y", 200),
        ("GET http://GW/free/x", 200),
    ])
    .await;
    assert!(heads[0].starts_with("GET /free/x?y HTTP/1.1\r\n"), "{}", heads[0]);
}

#[tokio::test]
async fn e07_what_is_no_path_never_reaches_the_upstream() {
    expect(&[
        ("GET free/x", 400),
        ("GET *", 400),
        ("OPTIONS *", 400),
        ("GET @evil/x", 400),
        ("GET ?a", 400),
        ("GET a", 400),
        ("OPTIONS /free/", 200),
    ])
    .await;
}

#[tokio::test]
async fn e08_query_and_fragment_hide_no_path() {
    let heads = expect(&[
        ("GET /free/#/../kept/x", 200),
        ("GET /free/?/../kept", 200),
        ("GET /free/%3f/../kept", 400),
        ("GET /free/%23", 200),
    ])
    .await;
    // What was matched is what was forwarded.
    assert!(heads[0].starts_with("GET /free/ HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[1].starts_with("GET /free/?/../kept HTTP/1.1\r\n"), "{}", heads[1]);
    assert!(heads[2].starts_with("GET /free/%23 HTTP/1.1\r\n"), "{}", heads[2]);
}

#[tokio::test]
async fn e11_only_known_methods_reach_the_upstream() {
    expect(&[
        ("get /free/", 400),
        ("FOO /free/", 400),
        ("PROPFIND /free/", 400),
        ("TRACE /free/", 400),
        ("CONNECT gw:80", 400),
        ("CONNECT /free/", 400),
        ("DELETE /free/", 200),
    ])
    .await;
}

#[tokio::test]
async fn e16_unmatched_paths_never_reach_the_upstream() {
    expect(&[("GET /other", 404), ("GET /", 404), ("GET /free", 404), ("GET /free/", 200)]).await;
}

#[tokio::test]
async fn e18_long_targets_are_refused() {
    let long = "a".repeat(8192);
    let segments = "/a".repeat(4000);
    expect(&[
        (&format!("GET /free/{long}"), 400),
        (&format!("GET /free/?{long}"), 400),
        (&format!("GET /free{segments}"), 200),
    ])
    .await;
}

#[tokio::test]
async fn framing_with_two_readings_never_reaches_the_upstream() {
    let origin = Origin::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.starts_with("POST") {
                peer.take(2).await;
            }
            peer.send(OK).await;
        }
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    for (headers, body) in [
        ("Host: gw\r\nHost: gw\r\nContent-Length: 2", "ok"),
        ("Host: gw\r\nHost: evil\r\nContent-Length: 2", "ok"),
        ("Content-Length: 2", "ok"),
        ("Host: \r\nContent-Length: 2", "ok"),
        ("Host: a@gw\r\nContent-Length: 2", "ok"),
        ("Host: gw\r\nContent-Length: 2\r\nContent-Length: 3", "ok"),
        ("Host: gw\r\nContent-Length: +2", "ok"),
        ("Host: gw\r\nContent-Length: 2, 2", "ok"),
        ("Host: gw\r\nTransfer-Encoding: gzip, chunked", "2\r\nok\r\n0\r\n\r\n"),
        ("Host: gw\r\nTransfer-Encoding: xchunked", "2\r\nok\r\n0\r\n\r\n"),
        ("Host: gw\r\nTransfer-Encoding: Chunked", "2\r\nok\r\n0\r\n\r\n"),
        (
            "Host: gw\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "2\r\nok\r\n0\r\n\r\n",
        ),
        ("Host: gw\r\nContent-Length: 2\r\nExpect: foo", "ok"),
        ("Host: gw\r\nContent-Length : 2", "ok"),
        ("Host: gw\r\nX: a\r\n b\r\nContent-Length: 2", "ok"),
        ("Host: gw\r\nX: a\0b\r\nContent-Length: 2", "ok"),
    ] {
        let smuggled = "GET /free/smuggled HTTP/1.1\r\nHost: gw\r\n\r\n";
        let request = format!("POST /free/ HTTP/1.1\r\n{headers}\r\n\r\n{body}{smuggled}");
        let answer = gateway.exchange(&request).await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{headers}: {answer}");
        // One answer, and then the connection is closed.
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{headers}: {answer}");
    }
    assert_eq!(origin.heads(), Vec::<String>::new());
    let request =
        "POST /free/ HTTP/1.1\r\nHost: gw\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
    assert!(gateway.exchange(request).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn f01_a_length_beside_chunks_reaches_the_upstream_as_chunks_alone() {
    let origin = Origin::start(|mut peer| async move {
        peer.head().await.unwrap();
        peer.chunks().await;
        peer.send(OK).await;
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let request = "POST /free/ HTTP/1.1\r\nHost: gw\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n\
                   GET /free/smuggled HTTP/1.1\r\nHost: gw\r\n\r\n";
    let answer = gateway.exchange(request).await;
    // hyper keeps the length to itself; what follows on the connection is not read.
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert_eq!(origin.heads().len(), 1);
    assert!(!origin.heads()[0].contains("content-length"), "{}", origin.heads()[0]);
}

#[tokio::test]
async fn pipelined_requests_are_each_decided_on_their_own() {
    let origin = Origin::answering(OK).await;
    let gateway = Gateway::before(&origin).await;
    let answer = gateway
        .exchange(
            "GET /free/1 HTTP/1.1\r\nHost: gw\r\nUpgrade: foo\r\nConnection: upgrade\r\n\r\n\
             GET /kept/2 HTTP/1.1\r\nHost: gw\r\n\r\nGET /free/3 HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n",
        )
        .await;
    let statuses: Vec<&str> =
        answer.split("HTTP/1.1 ").skip(1).filter_map(|part| part.split(' ').next()).collect();
    assert_eq!(statuses, ["200", "403", "200"]);
    assert_eq!(origin.heads().len(), 2);
    assert!(origin.heads().iter().all(|head| !head.contains("upgrade")));
}

#[tokio::test]
async fn f14_heads_are_bounded_and_large_credentials_pass() {
    let origin = Origin::answering(OK).await;
    let gateway = Gateway::start(&[origin.address], Options::default()).await;
    for (length, status) in
        [(16 * 1024, 200), (31 * 1024, 200), (33 * 1024, 431), (500 * 1024, 431)]
    {
        let credential = "x".repeat(length);
        let request =
            format!("GET /free/ HTTP/1.1\r\nHost: gw\r\nX-Credential: {credential}\r\n\r\n");
        assert_eq!(gateway.status(&request).await, status, "{length}");
    }
    let many: String = (0..130).map(|i| format!("X-{i}: 1\r\n")).collect();
    assert_eq!(
        gateway.status(&format!("GET /free/ HTTP/1.1\r\nHost: gw\r\n{many}\r\n")).await,
        431
    );
}

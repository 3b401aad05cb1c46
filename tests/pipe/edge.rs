//! What the edge refuses, byte for byte; nothing of it reaches the upstream. Each row has a twin that passes.

use crate::harness::{Gateway, Origin};

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
        ("GET /free/#/../kept/x", 400),
        ("GET /free/?/../kept", 200),
        ("GET /free/%3f/../kept", 400),
        ("GET /free/%23", 200),
    ])
    .await;
    // What was matched is what was forwarded.
    assert!(heads[0].starts_with("GET /free/?/../kept HTTP/1.1\r\n"), "{}", heads[0]);
    assert!(heads[1].starts_with("GET /free/%23 HTTP/1.1\r\n"), "{}", heads[1]);
}

#[tokio::test]
async fn e11_only_known_methods_reach_the_upstream() {
    expect(&[
        ("get /free/", 501),
        ("FOO /free/", 501),
        ("PROPFIND /free/", 501),
        ("TRACE /free/", 405),
        ("CONNECT gw:80", 405),
        ("CONNECT /free/", 405),
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
        (&format!("GET /free/{long}"), 414),
        (&format!("GET /free/?{long}"), 414),
        (&format!("GET /free{segments}"), 200),
    ])
    .await;
}

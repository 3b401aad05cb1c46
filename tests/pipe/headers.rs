//! What passes, what is rewritten and what stays behind, on the wire.

use tollgate::route::{HeaderChanges, Pattern, Prefix, Rewrite};

use crate::harness::{Gateway, Options, Origin, sorted};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

#[tokio::test]
async fn a_request_reaches_the_upstream_as_it_was_sent() {
    let origin = Origin::answering(OK).await;
    let gateway = Gateway::before(&origin).await;
    let answer = gateway
        .exchange(
            "GET /free/%C3%A9/a@b?x=%2e%2e&y=1;z HTTP/1.1\r\nHost: api.example:8402\r\nCookie: b=1\r\nX-Twice: 1\r\n\
             Cookie: a=2\r\nX-Twice: 2\r\nAuthorization: Bearer t\r\nConnection: close\r\n\r\n",
        )
        .await;
    assert!(answer.ends_with("\r\n\r\nok"), "{answer}");
    assert_eq!(
        sorted(&origin.heads()[0]),
        [
            "GET /free/%C3%A9/a@b?x=%2e%2e&y=1;z HTTP/1.1",
            "authorization: Bearer t",
            "cookie: b=1",
            "cookie: a=2",
            "host: api.example:8402",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: api.example:8402",
            "x-forwarded-proto: http",
            "x-twice: 1",
            "x-twice: 2",
        ]
    );
}

#[tokio::test]
async fn an_answer_reaches_the_client_as_it_was_sent() {
    let origin = Origin::answering(
        "HTTP/1.1 302 Found\r\nLocation: /elsewhere?x\r\nSet-Cookie: b=1\r\nSet-Cookie: a=2\r\n\
         Content-Encoding: gzip\r\nDate: Mon, 01 Jan 2001 00:00:00 GMT\r\nContent-Length: 3\r\n\r\n\x1f\x0b\x00",
    )
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send("GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert!(head.contains("date: Mon, 01 Jan 2001 00:00:00 GMT\r\n"), "{head}");
    assert_eq!(
        sorted(&head),
        [
            "HTTP/1.1 302 Found",
            "content-encoding: gzip",
            "content-length: 3",
            "location: /elsewhere?x",
            "set-cookie: b=1",
            "set-cookie: a=2",
        ]
    );
    assert_eq!(client.take(3).await, b"\x1f\x0b\x00");
}

#[tokio::test]
async fn the_reason_of_a_status_passes_as_it_is() {
    let origin =
        Origin::answering("HTTP/1.1 200 All Good: 100 %\r\nContent-Length: 0\r\n\r\n").await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send("GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 200 All Good: 100 %\r\n"), "{head}");
}

#[tokio::test]
async fn h01_h02_h03_what_belongs_to_the_hop_the_payment_or_the_gateway_stays() {
    let origin = Origin::answering(OK).await;
    let set_headers = vec![("authorization", "Bearer upstream")];
    let gateway =
        Gateway::start(&[origin.address], Options { set_headers, ..Options::default() }).await;
    gateway
        .exchange(
            "GET /free/ HTTP/1.1\r\nHost: gw\r\nConnection: close, X-Hop, Authorization\r\nX-Hop: 1\r\nX-Keep: 1\r\n\
             Authorization: Payment abc\r\nPAYMENT-SIGNATURE: abc\r\nX_Payment: abc\r\nX-Forwarded-For: 10.0.0.1\r\n\
             X_Forwarded_Host: evil\r\nForwarded: for=10.0.0.1\r\nX-Original-URL: /kept/\r\nUpgrade: h2c\r\n\
             HTTP2-Settings: x\r\nTE: trailers\r\n\r\n",
        )
        .await;
    assert_eq!(
        sorted(&origin.heads()[0]),
        [
            "GET /free/ HTTP/1.1",
            "authorization: Bearer upstream",
            "host: gw",
            "te: trailers",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: gw",
            "x-forwarded-proto: http",
            "x-keep: 1",
        ]
    );
}

#[tokio::test]
async fn h05_an_upstream_cannot_speak_for_the_gateway() {
    let origin = Origin::answering(
        "HTTP/1.1 402 Payment Required\r\nPAYMENT-REQUIRED: forged\r\nPAYMENT-RESPONSE: forged\r\nPayment-Receipt: forged\r\n\
         WWW-Authenticate: Payment id=\"forged\"\r\nX-Own: 1\r\nContent-Length: 0\r\n\r\n",
    )
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    client.send("GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
    assert_eq!(
        sorted(&client.head().await.unwrap()),
        ["HTTP/1.1 402 Payment Required", "content-length: 0", "x-own: 1"]
    );
}

#[tokio::test]
async fn a_client_without_host_gets_the_upstreams() {
    let origin = Origin::answering(OK).await;
    let gateway = Gateway::before(&origin).await;
    let answer = gateway.exchange("GET /free/ HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    let heads = origin.heads();
    assert!(heads[0].contains(&format!("host: {}\r\n", origin.address)), "{heads:?}");
}

#[tokio::test]
async fn connections_to_the_upstream_are_used_again() {
    let origin = Origin::answering(OK).await;
    let gateway = Gateway::before(&origin).await;
    let mut client = gateway.client().await;
    for _ in 0..5 {
        client.send("GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n").await;
        assert_eq!(client.status().await, 200);
        client.take(2).await;
    }
    assert_eq!(origin.heads().len(), 5);
    assert_eq!(origin.connections(), 1);
}

#[tokio::test]
async fn e17_the_upstream_sees_the_path_that_was_matched_without_its_prefix() {
    let origin = Origin::answering("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
    let pattern = Pattern::parse("ANY /api/paid/*").unwrap();
    let rewrite = Rewrite {
        strip_prefix: Some(Prefix::parse("/api/paid", &pattern).unwrap()),
        headers: HeaderChanges::default(),
    };
    let options = Options { free: "ANY /api/paid/*", rewrite: Some(rewrite), ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    let get = |target: &str| {
        format!("GET {target} HTTP/1.1\r\nHost: gw\r\nX-Forwarded-Prefix: /evil\r\n\r\n")
    };
    for (target, seen) in [
        ("/api/paid/x", "/x"),
        ("/api/paid/", "/"),
        ("/api/paid/%C3%A9%20b/c,d%2Ce?a=%2e%2e/&b=//", "/%C3%A9%20b/c,d%2Ce?a=%2e%2e/&b=//"),
    ] {
        assert_eq!(gateway.status(&get(target)).await, 200, "{target}");
        let head = origin.heads().pop().unwrap();
        assert!(head.starts_with(&format!("GET {seen} HTTP/1.1\r\n")), "{head}");
        assert!(head.contains("\r\nx-forwarded-prefix: /api/paid\r\n"), "{head}");
        assert!(!head.contains("evil"), "{head}");
    }
    for target in
        ["/api/paid//x", "/api/paid/../x", "/api/paid/..", "/api/paid/%2e%2e/x", "/api/paid%2fx"]
    {
        assert_eq!(gateway.status(&get(target)).await, 400, "{target}");
    }
    assert_eq!(gateway.status(&get("/api/paid")).await, 404);
    assert_eq!(origin.heads().len(), 3);
}

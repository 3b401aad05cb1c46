//! F: one reading of every HTTP/1 message, or none. Bytes are written by hand; whatever is refused is refused in its turn,
//! with a problem document, and nothing behind it is read.

use crate::site::{OK, Site, Wire, status_of};

/// What a smuggler hides behind a request.
const SMUGGLED: &str = "GET /free/smuggled HTTP/1.1\r\nHost: gw\r\n\r\n";

/// A POST with this header, and a body of two bytes.
fn post(header: &str) -> String {
    format!("POST /free/x HTTP/1.1\r\nHost: gw\r\n{header}\r\n\r\nok")
}

/// Each of these requests is refused with its status, alone and behind a good one; and nothing of it, nor of what stands
/// behind it, reaches the upstream.
async fn refused(site: &Site, cases: &[(String, u16)]) {
    let seen = site.origin.requests().len();
    for (request, status) in cases {
        let answer = site.exchange(format!("{request}{SMUGGLED}")).await;
        assert_eq!(status_of(&answer), *status, "{request:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{request:?}: {answer}");
        assert!(answer.contains("\r\ncontent-type: application/problem+json\r\n"), "{answer}");
        assert!(answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.contains("\r\ncache-control: no-store\r\n"), "{answer}");
    }
    assert_eq!(site.origin.requests().len(), seen, "{:?}", site.origin.requests());
    let good = "GET /free/good HTTP/1.1\r\nHost: gw\r\n\r\n";
    for (request, status) in cases {
        let answer = site.exchange(format!("{good}{request}{SMUGGLED}")).await;
        assert!(answer.starts_with(OK.split("\r\n").next().unwrap()), "{request:?}: {answer}");
        let second = answer.split("HTTP/1.1 ").nth(2).expect("a second answer");
        assert!(second.starts_with(&status.to_string()), "{request:?}: {answer}");
    }
    let targets = site.origin.targets().split_off(seen);
    assert_eq!(targets, vec!["GET /free/good"; cases.len()]);
}

/// Each of these requests is served, one behind the other on one connection.
async fn served(site: &Site, requests: &[String]) {
    let mut client = site.client().await;
    for request in requests {
        client.send(request).await;
        assert_eq!(client.status().await, 200, "{request:?}");
    }
}

#[tokio::test]
async fn f01_a_length_beside_chunks_is_refused() {
    let site = Site::start().await;
    let chunked = "Transfer-Encoding: chunked";
    refused(
        &site,
        &[
            (post(&format!("Content-Length: 2\r\n{chunked}")), 400),
            (post(&format!("{chunked}\r\nContent-Length: 2")), 400),
            (post(&format!("{chunked}\r\nContent-Length: 0")), 400),
        ],
    )
    .await;
    let chunks =
        format!("POST /free/x HTTP/1.1\r\nHost: gw\r\n{chunked}\r\n\r\n2\r\nok\r\n0\r\n\r\n");
    served(&site, &[post("Content-Length: 2"), chunks]).await;
}

#[tokio::test]
async fn f02_a_length_is_one_plain_number() {
    let site = Site::start().await;
    let length = |value: &str| (post(&format!("Content-Length: {value}")), 400);
    let twice = |value: &str| (post(&format!("Content-Length: 2\r\nContent-Length: {value}")), 400);
    let mut cases = vec![twice("2"), twice("3")];
    cases.extend(["2, 2", "+2", "-2", "0x2", "2 ", "02", "", "99999999999999999999"].map(length));
    refused(&site, &cases).await;
    served(&site, &[post("Content-Length: 2"), post("content-length:2")]).await;
}

#[tokio::test]
async fn f03_a_transfer_coding_is_one_chunked() {
    let site = Site::start().await;
    let coding = |value: &str, status| {
        let head = format!("POST /free/x HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding{value}");
        (format!("{head}\r\n\r\n2\r\nok\r\n0\r\n\r\n"), status)
    };
    let cases = [
        coding(": xchunked", 501),
        coding(": chunked, identity", 501),
        coding(": gzip, chunked", 501),
        coding(": Chunked", 501),
        coding(": chunked ", 501),
        coding(": chunked\r\nTransfer-Encoding: chunked", 501),
        coding(": \x0bchunked", 400),
        coding(" : chunked", 400),
        coding(":\r\n chunked", 501),
        coding(": chunked\r\n x", 400),
    ];
    refused(&site, &cases).await;
    served(&site, &[coding(": chunked", 200).0, coding(":chunked", 200).0]).await;
}

#[tokio::test]
async fn f04_http_1_0_has_no_chunks_and_ends_with_a_body() {
    let site = Site::start().await;
    let old = |headers: &str| format!("POST /free/x HTTP/1.0\r\nHost: gw\r\n{headers}\r\n\r\nok");
    let cases = [
        (old("Transfer-Encoding: chunked"), 400),
        (old("Connection: keep-alive\r\nTransfer-Encoding: chunked"), 400),
        (old("Connection: keep-alive\r\nContent-Length: 2"), 400),
    ];
    refused(&site, &cases).await;
    served(&site, &[old("Content-Length: 2")]).await;
    let kept = "GET /free/x HTTP/1.0\r\nHost: gw\r\nConnection: keep-alive\r\n\r\n".to_owned();
    served(&site, &[kept.clone(), kept]).await;
}

#[tokio::test]
async fn f05_what_stands_behind_a_request_for_another_protocol_is_gated_on_its_own() {
    let site = Site::start().await;
    let asks = "GET /free/x HTTP/1.1\r\nHost: gw\r\nConnection: upgrade\r\nUpgrade: foo\r\n\r\n";
    let behind = "GET /kept/x HTTP/1.1\r\nHost: gw\r\n\r\n";
    let mut client = site.client().await;
    client.send(format!("{asks}{behind}{asks}")).await;
    assert_eq!(client.status().await, 200);
    assert_eq!(client.status().await, 403);
    assert_eq!(client.status().await, 200);
    // Bytes that are no request are refused as such, and were not handed to anybody.
    client.send(format!("{asks}not HTTP\r\n\r\n{SMUGGLED}")).await;
    assert_eq!(client.status().await, 200);
    assert_eq!(status_of(&client.rest().await), 400);
    assert_eq!(site.origin.targets(), vec!["GET /free/x"; 3]);
    let asked = &site.origin.requests()[0];
    assert!(asked.contains("upgrade: foo\r\n"), "{asked}");
}

/// The answer comes before the body is read: what stands behind that is gated all the same.
#[tokio::test]
async fn f05_a_request_for_another_protocol_with_a_body_leaves_a_connection_that_goes_on() {
    let site = Site::start().await;
    let behind = "GET /free/x HTTP/1.1\r\nHost: gw\r\n\r\n";
    let head = "POST /kept/x HTTP/1.1\r\nHost: gw\r\nUpgrade: foo\r\nConnection: upgrade\r\nX: ";
    for (framing, body) in [
        ("Content-Length: 5\r\n\r\n", "hello"),
        ("Transfer-Encoding: chunked\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n"),
    ] {
        // The first that hyper reads is the head and nothing else.
        let pad = "x".repeat(8192 - head.len() - 2 - framing.len());
        let mut client = site.client().await;
        client.send(format!("{head}{pad}\r\n{framing}{body}")).await;
        assert_eq!(client.status().await, 403);
        client.send(behind.to_owned()).await;
        assert_eq!(client.status().await, 200, "{framing}");
    }
}

#[tokio::test]
async fn f06_no_upgrade_to_http2_is_asked_of_the_upstream() {
    let site = Site::start().await;
    let asks = "GET /free/x HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade, HTTP2-Settings\r\n\
                Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n";
    served(&site, &[asks.to_owned()]).await;
    let seen = &site.origin.requests()[0];
    assert!(!seen.contains("upgrade") && !seen.contains("http2-settings"), "{seen}");
}

#[tokio::test]
async fn f08_lines_end_with_cr_lf_and_have_no_control_characters() {
    let site = Site::start().await;
    let get = |text: &str| (text.to_owned(), 400);
    let cases = [
        "GET /free/x HTTP/1.1\nHost: gw\n\n",
        "GET /free/x HTTP/1.1\r\nHost: gw\r\n\n",
        "GET /free/x HTTP/1.1\r\nHost: gw\nX: y\r\n\r\n",
        "GET /free/x HTTP/1.1\rHost: gw\r\r",
        "GET /free/x HTTP/1.1\r\nHost: gw\r\nX: a\rb\r\n\r\n",
        "GET /free/x HTTP/1.1\r\nHost: gw\r\nX: a\0b\r\n\r\n",
        "GET /free/x HTTP/1.1\r\nHost: gw\r\nX: a\x01b\r\n\r\n",
        "GET /free/x HTTP/1.1\r\nHost: gw\r\nX: a\r\n b\r\n\r\n",
        "GET /free/x HTTP/1.1\r\n\tHost: gw\r\n\r\n",
        "GET /free/x HTTP/1.1\r\nHost : gw\r\n\r\n",
        "GET /free/x HTTP/1.1\r\nHost\r\n\r\n",
        "\r\n\r\nGET /free/x HTTP/1.1\r\nHost: gw\r\n\r\n",
        "GET  /free/x HTTP/1.1\r\nHost: gw\r\n\r\n",
        "GET /free/x\tHTTP/1.1\r\nHost: gw\r\n\r\n",
        "GET /free/x\r\n\r\n",
    ];
    refused(&site, &cases.map(get)).await;
    let version = |version: &str| (format!("GET /free/x HTTP/{version}\r\nHost: gw\r\n\r\n"), 505);
    refused(&site, &["1.2", "2.0", "0.9"].map(version)).await;
    let plain = "GET /free/x HTTP/1.1\r\nHost: gw\r\nX: \ta\tb \r\n\r\n".to_owned();
    served(&site, &[plain.clone(), format!("\r\n{plain}")]).await;
}

#[tokio::test]
async fn f09_any_method_may_have_a_body_and_it_stays_one() {
    let site = Site::start().await;
    for method in ["GET", "HEAD", "DELETE", "POST"] {
        let length = SMUGGLED.len();
        let request = format!(
            "{method} /free/x HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}"
        );
        assert_eq!(status_of(&site.exchange(request).await), 200, "{method}");
    }
    let requests = site.origin.requests();
    assert_eq!(requests.len(), 4);
    assert!(requests.iter().all(|request| request.ends_with(SMUGGLED)), "{requests:?}");
    // And one that does not say its length.
    for method in ["GET", "HEAD", "DELETE", "POST"] {
        let length = SMUGGLED.len();
        let request = format!(
            "{method} /free/x HTTP/1.1\r\nHost: gw\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n\
             {length:x}\r\n{SMUGGLED}\r\n0\r\n\r\n"
        );
        assert_eq!(status_of(&site.exchange(request).await), 200, "{method}");
    }
    let requests = site.origin.requests();
    assert_eq!(requests.len(), 8);
    assert!(requests.iter().all(|request| request.contains(SMUGGLED)), "{requests:?}");
}

#[tokio::test]
async fn f10_the_host_is_one_and_plain() {
    let site = Site::start().await;
    let host = |lines: &str| (format!("GET /free/x HTTP/1.1\r\n{lines}\r\n\r\n"), 400);
    let cases = [
        host("X: y"),
        host("Host: gw\r\nHost: gw"),
        host("Host: gw\r\nhost: evil"),
        host("Host: a@gw"),
        host("Host: gw:0"),
        host("Host: gw, evil"),
        host("Host:"),
        ("GET http://evil/free/x HTTP/1.1\r\nHost: gw\r\n\r\n".to_owned(), 400),
    ];
    refused(&site, &cases).await;
    let absolute = "GET http://gw/free/x HTTP/1.1\r\nHost: gw\r\n\r\n".to_owned();
    served(&site, &[host("Host: gw:80").0, host("hOsT:gw").0, absolute]).await;
}

#[tokio::test]
async fn e07_e08_e11_first_lines_with_two_readings_are_refused() {
    let site = Site::start().await;
    let line = |line: &str, status| (format!("{line} HTTP/1.1\r\nHost: gw\r\n\r\n"), status);
    let cases = [
        line("GET free/x", 400),
        line("GET *", 400),
        line("OPTIONS *", 400),
        line("GET @evil/free/x", 400),
        line("GET ?a", 400),
        line("GET /free/x#/../kept", 400),
        line("GET /free/x?a#b", 400),
        line("GET /free/caf\u{e9}", 400),
        line("GET /free/?caf\u{e9}", 400),
        line("GET /free/<x>", 400),
        line("GET http://", 400),
        line("GET http:///free/x", 400),
        line("GET http://gw:99999/free/x", 400),
        line("GET http://[::1/free/x", 400),
        line("GET http://g<w/free/x", 400),
        line("GET http://a:b@gw/free/x", 400),
        line("get /free/x", 501),
        line("FOO /free/x", 501),
        line("PROPFIND /free/x", 501),
        line("TRACE /free/x", 405),
        line("TRACE *", 405),
        line("CONNECT gw:80", 405),
        line("CONNECT /free/x", 405),
    ];
    refused(&site, &cases).await;
    served(&site, &[line("GET /free/x?/../kept", 200).0, line("DELETE /free/%23", 200).0]).await;
}

#[tokio::test]
async fn f14_heads_are_bounded_and_large_credentials_pass() {
    let site = Site::start().await;
    let many = |count| {
        let headers = "X: y\r\n".repeat(count);
        format!("GET /free/x HTTP/1.1\r\nHost: gw\r\n{headers}\r\n")
    };
    let long = |length| {
        let value = "c".repeat(length);
        format!("GET /free/x HTTP/1.1\r\nHost: gw\r\nPAYMENT-SIGNATURE: {value}\r\n\r\n")
    };
    let target = |length| format!("GET /free/{} HTTP/1.1\r\nHost: gw\r\n\r\n", "a".repeat(length));
    refused(
        &site,
        &[
            (many(100), 431),
            (long(33 * 1024), 431),
            (long(500 * 1024), 431),
            (target(9 * 1024), 414),
            (target(40 * 1024), 414),
        ],
    )
    .await;
    served(&site, &[many(99), long(4 * 1024), long(31 * 1024), target(8 * 1024 - 6)]).await;
}

#[tokio::test]
async fn f15_bytes_above_ascii_in_a_header_pass_as_they_are() {
    let site = Site::start().await;
    let mut client = site.client().await;
    let head = b"GET /free/x HTTP/1.1\r\nHost: gw\r\nAuthorization: Basic \xc3\xa9\xff\r\n\r\n";
    client.send(head).await;
    assert_eq!(client.status().await, 200);
    assert!(site.origin.requests()[0].contains("authorization: Basic \u{c3}\u{a9}\u{ff}\r\n"));
}

#[tokio::test]
async fn chunks_with_two_readings_are_refused_and_no_other_request_comes_out_of_them() {
    let site = Site::start().await;
    let chunked = |body: &str| {
        format!("POST /free/x HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n{body}")
    };
    let long = format!("1;{}\r\nx\r\n0\r\n\r\n", "e".repeat(9 * 1024));
    for body in [
        "2 \r\nok\r\n0\r\n\r\n",
        "2\nok\n0\n\n",
        "0x2\r\nok\r\n0\r\n\r\n",
        "+2\r\nok\r\n0\r\n\r\n",
        "2\r\nokk\r\n0\r\n\r\n",
        "2\r\nok\n0\r\n\r\n",
        "2;a\nb\r\nok\r\n0\r\n\r\n",
        "ffffffffffffffff\r\nok\r\n0\r\n\r\n",
        "2\r\nok\r\n0\r\n a: b\r\n\r\n",
        "2\r\nok\r\n0\r\na\0: b\r\n\r\n",
        "2\r\nok\r\n0\r\na: b\n\r\n",
        long.as_str(),
    ] {
        let answer = site.exchange(chunked(body) + SMUGGLED).await;
        assert_eq!(status_of(&answer), 400, "{body:?}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{body:?}: {answer}");
        assert!(answer.contains("chunks"), "{body:?}: {answer}");
    }
    assert_eq!(site.origin.requests(), Vec::<String>::new());
    let plain = "2;a=\"b\"\r\nok\r\n002\r\nok\r\n0\r\nX-Sum: 4\r\n\r\n";
    served(&site, &[chunked(plain), chunked("0\r\n\r\n")]).await;
    assert_eq!(site.origin.requests().len(), 2);
}

#[tokio::test]
async fn a_request_may_come_byte_by_byte_and_many_in_one_piece() {
    let site = Site::start().await;
    let requests = [
        post("Content-Length: 2"),
        "GET /free/y HTTP/1.1\r\nHost: gw\r\n\r\n".to_owned(),
        "POST /free/z HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n".to_owned(),
    ];
    let mut client = site.client().await;
    client.stream.set_nodelay(true).unwrap();
    for byte in requests.concat().bytes() {
        client.send([byte]).await;
        tokio::task::yield_now().await;
    }
    for _ in &requests {
        assert_eq!(client.status().await, 200);
    }
    client.send(requests.concat().repeat(20)).await;
    for _ in 0..60 {
        assert_eq!(client.status().await, 200);
    }
    assert_eq!(site.origin.requests().len(), 63);
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_of_a_head_leaves_nothing() {
    let site = Site::start().await;
    let mut client = site.client().await;
    client.send("GET /free/x HTTP/1.1\r\nHost: gw\r\n").await;
    let (reader, mut writer) = client.stream.into_split();
    tokio::io::AsyncWriteExt::shutdown(&mut writer).await.unwrap();
    let mut client = Wire::new(reader.reunite(writer).unwrap());
    assert_eq!(client.rest().await, "");
    assert_eq!(site.origin.requests(), Vec::<String>::new());
}

#[tokio::test]
async fn trailers_are_bounded_as_the_readers_behind_bound_them() {
    let limits = "listeners: [{ name: a, address: 127.0.0.1:0, limits: { headers: 20 } }]";
    let site = Site::with(limits, |_| {}).await;
    let with = |trailers: &str| {
        format!(
            "POST /free/x HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n{trailers}\r\n"
        )
    };
    let long = format!("X: {}\r\n", "y".repeat(9 * 1024));
    for trailers in ["X:\r\n".repeat(21), long] {
        let answer = site.exchange(with(&trailers) + SMUGGLED).await;
        assert_eq!(status_of(&answer), 400, "{trailers:?}: {answer}");
        assert!(answer.contains("chunks"), "{answer}");
    }
    assert_eq!(site.origin.requests(), Vec::<String>::new());
    let long = format!("X: {}\r\n", "y".repeat(8000));
    served(&site, &[with(&"X:\r\n".repeat(20)), with(&long)]).await;
}

#[tokio::test]
async fn an_upstreams_408_stays_its_own_whatever_stands_behind_its_request() {
    let site = Site::start().await;
    let late = "GET /free/late HTTP/1.1\r\nHost: gw\r\n\r\n";
    for (behind, status) in [
        ("BAD\r\n\r\n".to_owned(), 400),
        (post("Transfer-Encoding: gzip"), 501),
        (post("Transfer-Encoding: chunked"), 400),
    ] {
        let mut client = site.client().await;
        client.send(format!("{late}{behind}")).await;
        let answer = client.message().await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 408 Late\r\n") && answer.ends_with("ok"), "{answer}");
        assert_eq!(status_of(&client.rest().await), status, "{behind:?}");
    }
    assert_eq!(site.origin.targets(), ["GET /free/late"; 3]);
}

//! Proxies before the gateway that say who is behind them: those that are trusted are believed, and nobody else.

use std::path::Path;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tollgate::{
    app::Gateway,
    config::{self, Env},
    telemetry::Clock,
};

use crate::{clients::LONG, origin::Origin};

/// A gateway whose listener has these keys.
async fn gateway(origin: &Origin, keys: &str) -> Gateway {
    gateway_with(origin, keys, "header_timeout: 500ms").await
}

/// One whose limits are these.
async fn gateway_with(origin: &Origin, keys: &str, limits: &str) -> Gateway {
    let text = format!(
        "version: 1\nlisteners: [{{ name: a, address: \"127.0.0.1:0\", limits: {{ {limits} }}, {keys} }}]\n\
         upstream: http://{}\nroutes:\n  - {{ match: ANY /*, free: true }}\n",
        origin.address
    );
    let settings = config::parse(&text, "gateway.yaml", Path::new(""), &Env::fixed([("", ""); 0]));
    Gateway::start(settings.unwrap(), Clock::system()).await.unwrap()
}

/// Sends these pieces, then a request; all that comes.
async fn send(gateway: &Gateway, pieces: &[&[u8]], headers: &str) -> String {
    let mut stream = TcpStream::connect(gateway.addresses()[0]).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let request = format!("GET /who HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n{headers}\r\n");
    for piece in pieces.iter().chain([&request.as_bytes()]) {
        // Whoever is turned away in the middle hears nothing more.
        if stream.write_all(piece).await.is_err() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let mut answer = Vec::new();
    drop(timeout(LONG, stream.read_to_end(&mut answer)).await.expect("an end"));
    String::from_utf8(answer).unwrap()
}

async fn who(gateway: &Gateway, pieces: &[&[u8]], headers: &str) -> String {
    let answer = send(gateway, pieces, headers).await;
    answer.rsplit("\r\n\r\n").next().unwrap_or_default().to_owned()
}

/// A header of version 2: its command, its family, and what follows.
fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    header.extend([0x20 | command, family]);
    header.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    header.extend(rest);
    header
}

const TRUSTED: &str = "trusted_proxies: [127.0.0.0/8], proxy_protocol: true";

#[tokio::test]
async fn a_trusted_proxy_says_in_both_versions_who_is_behind_it() {
    let origin = Origin::start().await;
    let gateway = gateway(&origin, TRUSTED).await;
    let v4 = [198, 51, 100, 7, 192, 0, 2, 1, 0x12, 0x34, 1, 187];
    // Behind the addresses may stand more that is not of interest.
    let longer = [&v4[..], &[0x04, 0, 3, 1, 2, 3]].concat();
    let cases: &[(Vec<u8>, &str)] = &[
        (b"PROXY TCP4 198.51.100.7 192.0.2.1 4660 443\r\n".to_vec(), "198.51.100.7"),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4660 443\r\n".to_vec(), "2001:db8::7"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
        (v2(1, 0x11, &v4), "198.51.100.7"),
        (v2(1, 0x11, &longer), "198.51.100.7"),
        (v2(0, 0, &[]), "127.0.0.1"),
    ];
    for (header, expected) in cases {
        let told = who(&gateway, &[header], "").await;
        assert_eq!(told, format!("{expected} http"), "{header:?}");
        let bytes: Vec<&[u8]> = header.chunks(1).collect();
        assert_eq!(who(&gateway, &bytes, "").await, told, "{header:?}, byte by byte");
    }
    // A proxy that names nobody passes on what anybody wrote.
    let headers = "X-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\n";
    for header in [b"PROXY UNKNOWN\r\n".to_vec(), v2(0, 0, &[]), v2(1, 0, &[])] {
        assert_eq!(who(&gateway, &[&header], headers).await, "127.0.0.1 http", "{header:?}");
    }
    gateway.stop().await;
}

#[tokio::test]
async fn one_that_is_behind_a_proxy_has_its_share_of_connections_and_is_told_so() {
    let origin = Origin::start().await;
    let gateway =
        gateway_with(&origin, TRUSTED, "connections_per_address: 2, connections: 9").await;
    let header = |last: u8| format!("PROXY TCP4 198.51.100.{last} 192.0.2.1 4660 443\r\n");
    let mut held = Vec::new();
    for _ in 0..2 {
        let mut stream = TcpStream::connect(gateway.addresses()[0]).await.unwrap();
        stream.write_all(header(7).as_bytes()).await.unwrap();
        stream.write_all(b"GET /who HTTP/1.1\r\nHost: gw\r\n\r\n").await.unwrap();
        let head = crate::origin::head(&mut stream).await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        held.push(stream);
    }
    let answer = send(&gateway, &[header(7).as_bytes()], "").await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    assert_eq!(who(&gateway, &[header(8).as_bytes()], "").await, "198.51.100.8 http");
    gateway.stop().await;
}

#[tokio::test]
async fn what_is_no_header_or_comes_from_others_ends_the_connection() {
    let origin = Origin::start().await;
    let trusting = gateway(&origin, TRUSTED).await;
    let endless = [b"PROXY TCP4 ".as_slice(), &[b'1'; 200]].concat();
    for header in [
        &b""[..],
        b"PROXY TCP4 198.51.100.7 192.0.2.1 4660\r\n",
        b"PROXY TCP5 198.51.100.7 192.0.2.1 4660 443\r\n",
        b"PROXY TCP4 198.51.100.777 192.0.2.1 4660 443\r\n",
        b"PROXY TCP4 198.51.100.7 192.0.2.1 4660 443\n",
        &endless,
        &v2(1, 0x11, &[0; 5000]),
        &v2(1, 0x11, &[198, 51]),
        &v2(7, 0x11, &[0; 12]),
    ] {
        assert_eq!(send(&trusting, &[header], "").await, "", "{header:?}");
    }
    // Who says nothing has `header_timeout` for it.
    let mut silent = TcpStream::connect(trusting.addresses()[0]).await.unwrap();
    silent.write_all(b"PROXY TC").await.unwrap();
    assert_eq!(timeout(LONG, silent.read_u8()).await.unwrap().ok(), None);
    trusting.stop().await;

    let header = b"PROXY TCP4 198.51.100.7 192.0.2.1 4660 443\r\n";
    let strict = gateway(&origin, "trusted_proxies: [10.0.0.0/8], proxy_protocol: true").await;
    assert_eq!(send(&strict, &[header], "").await, "");
    assert_eq!(send(&strict, &[], "").await, "", "nobody else has any business there");
    strict.stop().await;
    // Where it is not spoken it is no request.
    let plain = gateway(&origin, "trusted_proxies: [127.0.0.0/8]").await;
    assert!(send(&plain, &[header], "").await.starts_with("HTTP/1.1 400 "));
    plain.stop().await;
}

#[tokio::test]
async fn forwarded_headers_are_believed_of_trusted_proxies_alone() {
    let origin = Origin::start().await;
    let headers = "X-Forwarded-For: 203.0.113.9, 198.51.100.7\r\nX-Forwarded-Proto: https\r\n";
    let trusting = gateway(&origin, "trusted_proxies: [127.0.0.0/8]").await;
    assert_eq!(who(&trusting, &[], headers).await, "198.51.100.7 https");
    assert_eq!(who(&trusting, &[], "").await, "127.0.0.1 http");
    trusting.stop().await;
    for keys in ["trusted_proxies: []", "trusted_proxies: [10.0.0.0/8]"] {
        let strict = gateway(&origin, keys).await;
        assert_eq!(who(&strict, &[], headers).await, "127.0.0.1 http", "{keys}");
        strict.stop().await;
    }
}

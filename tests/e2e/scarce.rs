//! H12, I08, I12: what a flood of requests may not use up, and what happens where something is.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tollgate::ledger::Http;

use crate::{
    process::{Process, Site},
    world::{PRICE, Plan, yaml},
};

/// Sends so many requests on one connection, a hundred at a time; how many answers begin with `status`.
async fn flood(
    address: SocketAddr,
    count: usize,
    status: &str,
    request: impl Fn(usize) -> String,
) -> usize {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut told = 0;
    let mut piece = vec![0; 1 << 16];
    for start in (0..count).step_by(100) {
        let requests: String = (start..start + 100).map(&request).collect();
        stream.write_all(requests.as_bytes()).await.unwrap();
        let (mut text, mut answers) = (String::new(), 0);
        while answers < 100 {
            let read = timeout(Duration::from_secs(30), stream.read(&mut piece));
            let length = read.await.expect("it hangs").unwrap();
            assert!(length > 0, "after {told}: {text}");
            text += std::str::from_utf8(&piece[..length]).unwrap();
            answers = text.matches("HTTP/1.1 ").count();
        }
        told += text.matches(&format!("HTTP/1.1 {status}")).count();
    }
    told
}

async fn figures(admin: &str) -> String {
    let request = Request::get(format!("http://{admin}/metrics")).body(Bytes::new()).unwrap();
    let (status, body) = Http::new().send(request, Duration::from_secs(30), 1 << 20).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    String::from_utf8(body.to_vec()).unwrap()
}

fn series(figures: &str) -> usize {
    figures.lines().filter(|line| !line.starts_with('#')).count()
}

#[tokio::test(flavor = "multi_thread")]
async fn h12_ten_thousand_paths_and_hosts_add_no_figure() {
    let plan =
        Plan { routes: "  - { name: everything, match: ANY /x/*, free: true }", ..Plan::default() };
    let site = Site::new(&plan).await;
    site.write(&format!("{}admin: {{ address: 127.0.0.1:0 }}\n", yaml(&site.upstream, &plan)));
    // Once it has asked the ledger for all that it needs.
    let process = site.run().await;
    let opened = process.logged("admin port open").await;
    let admin = opened["fields"]["address"].as_str().unwrap().to_owned();
    let strange = |n: usize| {
        let path = if n.is_multiple_of(2) { "x" } else { "y" };
        format!(
            "GET /{path}/p{n}?q={n} HTTP/1.1\r\nHost: h{n}.example\r\nUser-Agent: a{n}\r\nroute: r{n}\r\n\
             gateway_channels: {n}\r\n\r\n"
        )
    };
    assert_eq!(flood(process.address, 2000, "200", strange).await, 1000);
    let (few, small) = (figures(&admin).await, process.resident_kib());
    assert_eq!(flood(process.address, 10_000, "404", |n| strange(n + 2000)).await, 5000);
    let (many, large) = (figures(&admin).await, process.resident_kib());
    assert_eq!(series(&many), series(&few), "{many}");
    assert!(series(&many) < 500, "{many}");
    for word in ["example", "r2", "p2", "a2"] {
        assert!(!many.contains(word), "{word}: {many}");
    }
    assert!(large.saturating_sub(small) < 4096, "{small} KiB, then {large}");
    assert_eq!(site.upstream.hits().len(), 6000);
}

#[tokio::test(flavor = "multi_thread")]
async fn i08_ten_thousand_challenges_leave_no_memory_taken() {
    let site = Site::new(&Plan::default()).await;
    let process = site.run().await;
    let unpaid = |n: usize| format!("GET /weather?n={n} HTTP/1.1\r\nHost: gw\r\n\r\n");
    assert_eq!(flood(process.address, 2000, "402", unpaid).await, 2000);
    let small = process.resident_kib();
    assert_eq!(flood(process.address, 10_000, "402", unpaid).await, 10_000);
    let large = process.resident_kib();
    assert!(large.saturating_sub(small) < 2048, "{small} KiB, then {large}");
    // Each of them could be paid.
    site.agent(&process).pay("/weather").await.assert_paid();
}

impl Process {
    /// The files and sockets that it has open.
    fn open_files(&self) -> usize {
        let id = self.child.id().unwrap();
        std::fs::read_dir(format!("/proc/{id}/fd")).unwrap().count()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_without_file_descriptors_no_payment_is_lost_and_it_recovers() {
    let site = Site::new(&Plan::default()).await;
    let process = site.run().await;
    let (agent, before) = (site.agent(&process), site.payee_usdc());
    let credential = agent.sign_for(Method::POST, "/order").await;
    let open = process.open_files();
    process.limit_files(open + 3).await;
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(TcpStream::connect(process.address).await.unwrap());
    }
    process.logged("accept a connection").await;
    let presented = agent.presenting(Method::POST, "/order", &credential);
    // Who is inside keeps what it has: one of them is served by the gateway itself.
    held[0].write_all(b"GET /none HTTP/1.1\r\nHost: gw\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    timeout(Duration::from_secs(30), held[0].read_exact(&mut answer)).await.unwrap().unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
    drop(held);
    // There is room for its connection now, and perhaps for the one to the upstream.
    let first = presented.await.unwrap();
    assert!(first.status == StatusCode::OK || first.status.is_server_error(), "{first:?}");
    process.limit_files(1024).await;
    if first.status != StatusCode::OK {
        agent.present_with(Method::POST, "/order", &credential).await.assert_paid();
    }
    assert_eq!(site.payee_usdc() - before, PRICE, "charged once");
    assert_eq!(site.upstream.hits().len(), 1);
    agent.pay("/weather").await.assert_paid();
}

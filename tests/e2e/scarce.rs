//! H12, I08, I12: what a flood of requests may not use up, and what happens where something is.

use std::{net::SocketAddr, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tollgate::ledger::Http;

use crate::{
    process::{Process, Site},
    upstream::Script,
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
            "GET /{path}/strange{n}?q={n} HTTP/1.1\r\nHost: strange{n}.example\r\nUser-Agent: strange{n}\r\nroute: strange{n}\r\n\
             gateway_channels: {n}\r\n\r\n"
        )
    };
    assert_eq!(flood(process.address, 2000, "200", strange).await, 1000);
    let (few, small) = (figures(&admin).await, process.resident_kib());
    assert_eq!(flood(process.address, 10_000, "404", |n| strange(n + 2000)).await, 5000);
    let (many, large) = (figures(&admin).await, process.resident_kib());
    assert_eq!(series(&many), series(&few), "{many}");
    assert!(series(&many) < 500, "{many}");
    assert!(!many.contains("strange"), "{many}");
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

/// A gateway with an admin port and so many connections, which may have so many files open at first, and so many at most.
async fn with_files(soft: usize, hard: usize, connections: usize) -> (Site, Process) {
    let site = Site::new(&Plan::default()).await;
    site.write(&format!(
        "version: 1\nadmin: {{ address: 127.0.0.1:0 }}\nupstream: http://{}\n\
         listeners: [{{ name: a, address: 127.0.0.1:0, limits: {{ connections: {connections}, connections_per_address: {connections} }} }}]\n\
         routes: [{{ match: GET /health, free: true }}]\n",
        site.upstream.address
    ));
    let limits = format!("ulimit -Sn {soft} && ulimit -Hn {hard}");
    let change = |command: &mut tokio::process::Command| {
        command.env("FIRST", limits);
    };
    let process = Process::start_with(&site.config(), &site.sandbox, change).await;
    (site, process)
}

async fn ask(stream: &mut TcpStream) -> String {
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: gw\r\n\r\n").await.unwrap();
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    let is_whole = |text: &[u8]| {
        let text = String::from_utf8_lossy(text).into_owned();
        let (head, body) = text.split_once("\r\n\r\n")?;
        let length = head.split_once("content-length: ")?.1.lines().next()?.parse::<usize>();
        (body.len() >= length.ok()?).then_some(text.clone())
    };
    loop {
        let read = timeout(Duration::from_secs(30), stream.read(&mut piece)).await;
        let length = read.expect("it hangs").unwrap_or_default();
        if length == 0 {
            return String::new();
        }
        text.extend_from_slice(&piece[..length]);
        if let Some(text) = is_whole(&text) {
            return text;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_the_limit_on_files_is_raised_as_far_as_it_may_be() {
    let (_site, process) = with_files(128, 4096, 16_384).await;
    let limits = format!("/proc/{}/limits", process.child.id().unwrap());
    let limits = std::fs::read_to_string(limits).unwrap();
    let files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let numbers: Vec<_> = files.split_whitespace().skip(3).take(2).collect();
    assert_eq!(numbers, ["4096", "4096"]);
    let said = process.logged("the limit on open files leaves room for fewer connections").await;
    let connections = said["fields"]["connections"].as_u64().unwrap();
    assert!((1820..3400).contains(&connections), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn i12_where_files_are_few_who_is_inside_is_served_and_no_server_is_blamed() {
    // What a thread needs for itself it has.
    let files = 120 + 4 * std::thread::available_parallelism().unwrap().get();
    let (site, process) = with_files(files, files, 56).await;
    let admin = process.logged("admin port open").await;
    let admin = admin["fields"]["address"].as_str().unwrap().to_owned();
    // More than it has files.
    let mut clients = Vec::new();
    for _ in 0..200 {
        clients.push(TcpStream::connect(process.address).await.unwrap());
    }
    process.logged("turned connections away").await;
    let request = Request::get(format!("http://{admin}/healthz")).body(Bytes::new()).unwrap();
    let health = Http::new().send(request, Duration::from_secs(30), 1 << 20).await.unwrap();
    assert_eq!(health.0, StatusCode::OK);
    // Those who are inside ask at once, each for a connection more, and there is none for all of them.
    site.upstream.play(Script { delay: Duration::from_secs(1), ..Script::default() });
    let mut inside = clients.drain(..50).collect::<Vec<_>>();
    let answers = join_all(inside.iter_mut().map(ask)).await;
    let of = |status: &str| answers.iter().filter(|answer| answer.contains(status)).count();
    let (served, busy) = (of("HTTP/1.1 200 "), of("HTTP/1.1 503 "));
    assert!(served > 0 && busy > 0 && served + busy == 50, "{answers:?}");
    // Then those who were not served are: the server was there all the time.
    site.upstream.play(Script::default());
    for client in &mut inside {
        let answer = ask(client).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
    assert!(!process.log().contains("takes no connections"), "{}", process.log());
}

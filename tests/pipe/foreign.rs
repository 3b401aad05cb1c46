//! Both ends are somebody else's: servers in Python and Node, and gRPC as its reference implementation for Node speaks it.

use std::{net::SocketAddr, path::Path, process::Stdio};

use http::{Request, StatusCode};
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    net::TcpStream,
    process::{Child, Command},
    task::JoinSet,
};
use tollgate::upstream::Protocol;

use crate::{
    exchange::body_of_answer,
    harness::{Gateway, Options, within},
};

/// A server of another process, which says `PORT n`.
struct Foreign {
    address: SocketAddr,
    _child: Child,
}

impl Foreign {
    async fn start(program: &str, script: &str) -> Self {
        let mut child = Command::new(program)
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("a port");
        let port = line.strip_prefix("PORT ").unwrap().parse().unwrap();
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), _child: child }
    }
}

/// What the server behind the gateway answers, over one connection of hyper's client.
async fn ask(gateway: &Gateway, requests: Vec<Request<Full<bytes::Bytes>>>) -> Vec<Vec<u8>> {
    let stream = TcpStream::connect(gateway.address).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
    let mut running = JoinSet::new();
    running.spawn(async move { drop(connection.await) });
    let mut answers = Vec::new();
    for request in requests {
        sender.ready().await.unwrap();
        let answer = within(sender.send_request(request)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        answers.push(body_of_answer(answer.into_body()).await);
    }
    answers
}

async fn echoes_and_lists_headers(program: &str, script: &str) {
    let upstream = Foreign::start(program, script).await;
    let gateway = Gateway::start(&[upstream.address], Options::all_free()).await;
    let body: Vec<u8> =
        (0..300_000_u32).map(|i| i.wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect();
    let post = |body: Full<bytes::Bytes>| {
        Request::post("/echo").header("host", "gw.test").body(body).unwrap()
    };
    let chunked = Request::post("/echo")
        .header("host", "gw.test")
        .header("transfer-encoding", "chunked")
        .body(Full::from(body.clone()))
        .unwrap();
    let headers = Request::get("/headers")
        .header("host", "gw.test")
        .header("x-twice", "b")
        .header("x-twice", "a")
        .body(Full::default())
        .unwrap();
    let answers = ask(&gateway, vec![post(Full::from(body.clone())), chunked, headers]).await;
    assert!(answers[0] == body && answers[1] == body);
    let seen: Vec<(String, String)> = serde_json::from_slice(&answers[2]).unwrap();
    let values = |name: &str| {
        let is_it = |(seen, _): &&(String, String)| seen.eq_ignore_ascii_case(name);
        seen.iter().filter(is_it).map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(", ")
    };
    assert_eq!(
        (values("host"), values("x-twice"), values("x-forwarded-for")),
        ("gw.test".to_owned(), "b, a".to_owned(), "127.0.0.1".to_owned())
    );
}

#[tokio::test]
async fn a_python_upstream_gets_and_gives_what_is_sent() {
    echoes_and_lists_headers("python3", "tests/upstreams/upstream.py").await;
}

#[tokio::test]
async fn a_node_upstream_gets_and_gives_what_is_sent() {
    echoes_and_lists_headers("node", "tests/upstreams/upstream.mjs").await;
}

#[tokio::test]
async fn npm_grpc_calls_pass_in_all_four_ways_with_what_stands_before_and_behind() {
    let service = Foreign::start("node", "tests/interop/grpc/service.mjs").await;
    let options = Options { protocol: Protocol::Http2, ..Options::all_free() };
    let gateway = Gateway::start(&[service.address], options).await;
    let called = async |address: SocketAddr| {
        let output = Command::new("node")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/grpc/client.mjs"))
            .arg(address.to_string())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{errors}");
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let through = called(gateway.address).await;
    assert_eq!(through, called(service.address).await);
    assert_eq!(through["echo"]["same"], true);
    assert_eq!(through["fail"]["code"], 9);
    assert_eq!(through["fail"]["details"], "not today: 100 %");
    assert_eq!(through["talkEnd"]["behind"], "trailer");
    assert_eq!(through["said"].as_array().unwrap().len(), 20);
}

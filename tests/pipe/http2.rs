//! HTTP/2 with prior knowledge, from hyper's client.

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn::http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};

use crate::harness::{Gateway, Origin, sorted, within};

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

struct Client {
    sender: http2::SendRequest<Full<Bytes>>,
    _connection: JoinSet<()>,
}

impl Client {
    async fn connect(gateway: &Gateway) -> Self {
        let stream = TcpStream::connect(gateway.address).await.unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
        let mut running = JoinSet::new();
        running.spawn(async move { drop(connection.await) });
        Self { sender, _connection: running }
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Response<Incoming>> {
        within(self.sender.send_request(request)).await
    }

    async fn status(&mut self, request: http::request::Builder) -> StatusCode {
        self.send(request.body(Full::default()).unwrap()).await.unwrap().status()
    }
}

#[tokio::test]
async fn http2_requests_reach_the_upstream_as_http1() {
    let origin = Origin::start(|mut peer| async move {
        while let Some(head) = peer.head().await {
            if head.starts_with("POST") {
                assert_eq!(peer.take(5).await, b"hello");
            }
            peer.send(OK).await;
        }
    })
    .await;
    let gateway = Gateway::before(&origin).await;
    let mut client = Client::connect(&gateway).await;
    let get =
        Request::get("http://gw/free/a%20b?c").header("cookie", "a=1").header("cookie", "b=2");
    let mut answer = client.send(get.body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.headers()["content-length"], "2");
    let body = answer.body_mut().frame().await.unwrap().unwrap().into_data().unwrap();
    assert_eq!(body, "ok");
    let post = Request::post("http://gw/free/").body(Full::from("hello")).unwrap();
    assert_eq!(client.send(post).await.unwrap().status(), 200);
    let heads = origin.heads();
    assert_eq!(
        sorted(&heads[0]),
        [
            "GET /free/a%20b?c HTTP/1.1",
            "cookie: a=1; b=2",
            "host: gw",
            "x-forwarded-for: 127.0.0.1",
            "x-forwarded-host: gw",
            "x-forwarded-proto: http",
        ]
    );
    assert!(heads[1].contains("content-length: 5\r\n"), "{}", heads[1]);
}

#[tokio::test]
async fn g02_g03_g04_http2_has_its_own_ways_to_say_two_things() {
    let origin = Origin::answering(OK).await;
    let gateway = Gateway::before(&origin).await;
    let mut client = Client::connect(&gateway).await;
    let get = |uri: &str| Request::get(uri);
    assert_eq!(client.status(get("http://gw/free/").header("host", "evil")).await, 400);
    assert_eq!(client.status(get("http://a@gw/free/")).await, 400);
    assert_eq!(client.status(get("http://gw:0/free/")).await, 400);
    assert_eq!(client.status(get("http://gw./free/")).await, 400);
    assert_eq!(client.status(get("http://gw/free/../kept/")).await, 400);
    assert_eq!(client.status(get("http://gw/kept/")).await, 403);
    assert_eq!(client.status(Request::connect("gw:80")).await, 405);
    assert_eq!(client.status(Request::trace("http://gw/free/")).await, 405);
    assert_eq!(origin.heads(), Vec::<String>::new());
    // The connection is as good as before.
    assert_eq!(client.status(get("http://gw/free/").header("host", "gw")).await, 200);
}

#[tokio::test]
async fn g08_heads_are_bounded_in_http2_too() {
    let origin = Origin::answering(OK).await;
    let gateway = Gateway::before(&origin).await;
    let mut client = Client::connect(&gateway).await;
    let long = Request::get("http://gw/free/").header("x", "x".repeat(40 * 1024));
    let refused = client.send(long.body(Full::default()).unwrap()).await;
    assert!(refused.is_err() || refused.is_ok_and(|answer| answer.status() == 431));
    assert_eq!(origin.heads(), Vec::<String>::new());
    let fits = Request::get("http://gw/free/").header("x", "x".repeat(20 * 1024));
    assert_eq!(Client::connect(&gateway).await.status(fits).await, 200);
}

//! What becomes of a request whose upstream speaks HTTP/2, when it or the client fails.

use std::{
    net::SocketAddr,
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Empty};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::Notify, task::JoinSet};
use tollgate::upstream::Protocol;

use crate::harness::{Gateway, Options, within};

const GET: &str = "GET /free/ HTTP/1.1\r\nHost: gw\r\n\r\n";
const POST: &str = "POST /free/ HTTP/1.1\r\nHost: gw\r\nTransfer-Encoding: chunked\r\n\r\n";
const SHORT: Duration = Duration::from_millis(200);

/// An upstream that runs one function for every request.
struct Far {
    address: SocketAddr,
    /// Says goodbye on every connection.
    leave: Arc<Notify>,
    /// Told when a connection has ended.
    gone: Arc<Notify>,
    connections: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Far {
    async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
        Fut: Future<Output = Result<Response<Empty<Bytes>>, &'static str>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (leave, connections) = (Arc::new(Notify::new()), Arc::new(AtomicUsize::new(0)));
        let (leaving, count) = (leave.clone(), connections.clone());
        let gone = Arc::new(Notify::new());
        let going = gone.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut conversations = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let (script, leaving, going) = (script.clone(), leaving.clone(), going.clone());
                let connection = http2::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service_fn(script));
                conversations.spawn(async move {
                    let mut connection = pin!(connection);
                    tokio::select! {
                        _ = connection.as_mut() => return,
                        () = leaving.notified() => connection.as_mut().graceful_shutdown(),
                    }
                    drop(connection.await);
                    going.notify_one();
                });
            }
        });
        Self { address, leave, gone, connections, _serving: serving }
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    async fn behind(&self, options: Options) -> Gateway {
        let options = Options { protocol: Protocol::Http2, ..options };
        Gateway::start(&[self.address], options).await
    }
}

/// Tells when it is dropped.
struct Told(Arc<Notify>);

impl Drop for Told {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn empty() -> Result<Response<Empty<Bytes>>, &'static str> {
    Ok(Response::new(Empty::new()))
}

#[tokio::test]
async fn a_stream_that_is_reset_is_502_and_the_session_goes_on() {
    let far = Far::start(async |request: Request<Incoming>| match request.uri().path() {
        "/free/bad" => Err("reset it"),
        _ => empty(),
    })
    .await;
    let gateway = far.behind(Options::default()).await;
    assert_eq!(gateway.status(&GET.replace("/free/", "/free/bad")).await, 502);
    assert_eq!(gateway.status(GET).await, 200);
    assert_eq!(far.connections(), 1);
}

#[tokio::test]
async fn a_silent_upstream_is_504_and_its_stream_is_reset() {
    let (begun, ended) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (begin, end) = (begun.clone(), ended.clone());
    let far = Far::start(move |_| {
        begin.notify_one();
        let told = Told(end.clone());
        async move {
            let _told = told;
            std::future::pending::<Result<_, &'static str>>().await
        }
    })
    .await;
    let gateway = far.behind(Options { patience: SHORT, ..Options::default() }).await;
    assert_eq!(gateway.status(GET).await, 504);
    within(begun.notified()).await;
    within(ended.notified()).await;
    // So it is when the client goes away.
    let gateway = far.behind(Options::default()).await;
    let mut client = gateway.client().await;
    client.send(GET).await;
    within(begun.notified()).await;
    drop(client);
    within(ended.notified()).await;
}

#[tokio::test]
async fn a_body_that_is_too_long_or_stands_still_is_the_clients_fault() {
    let far = Far::start(async |request: Request<Incoming>| {
        let mut body = request.into_body();
        while let Some(frame) = body.frame().await {
            frame.map_err(|_| "broken")?;
        }
        empty()
    })
    .await;
    let options = Options { body_limit: 5, idle: SHORT, ..Options::default() };
    let gateway = far.behind(options).await;
    assert_eq!(gateway.status(&format!("{POST}5\r\nhello\r\n0\r\n\r\n")).await, 200);
    assert_eq!(gateway.status(&format!("{POST}5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n")).await, 413);
    assert_eq!(gateway.status(&format!("{POST}1\r\nh\r\n")).await, 408);
}

#[tokio::test]
async fn an_early_answer_does_not_wait_for_the_upload() {
    let far = Far::start(async |_: Request<Incoming>| {
        Ok::<_, &'static str>(Response::builder().status(413).body(Empty::new()).unwrap())
    })
    .await;
    let gateway = far.behind(Options::default()).await;
    assert_eq!(gateway.status(&format!("{POST}5\r\nhello\r\n")).await, 413);
    let asking = POST.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let mut client = gateway.client().await;
    client.send(asking).await;
    let status = client.status().await;
    // Over HTTP/2 the body is taken at once, unless the answer is there before.
    assert!(status == 413 || (status == 100 && client.status().await == 413), "{status}");
}

#[tokio::test]
async fn a_session_that_says_goodbye_is_followed_by_another() {
    let far = Far::start(async |_: Request<Incoming>| empty()).await;
    let gateway = far.behind(Options::default()).await;
    for connections in 1..4 {
        assert_eq!(gateway.status(GET).await, 200);
        assert_eq!(far.connections(), connections);
        far.leave.notify_waiters();
        // The gateway closes its own side when it has heard.
        within(far.gone.notified()).await;
    }
}

#[tokio::test]
async fn an_upstream_that_does_not_speak_http2_is_502() {
    let origin = crate::harness::Origin::start(|mut peer| async move {
        peer.send("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
        peer.rest().await;
    })
    .await;
    let options = Options { protocol: Protocol::Http2, ..Options::default() };
    let gateway = Gateway::start(&[origin.address], options).await;
    assert_eq!(gateway.status(GET).await, 502);
}

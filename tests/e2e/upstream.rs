//! An upstream that records what reaches it, and answers as a test tells it to.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, task::JoinHandle};

/// A request as it arrived.
#[derive(Clone, Debug)]
pub(crate) struct Hit {
    pub(crate) method: Method,
    pub(crate) target: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

/// How to answer.
#[derive(Clone, Debug)]
pub(crate) struct Script {
    pub(crate) status: StatusCode,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: &'static [u8],
    /// How long the head takes.
    pub(crate) delay: Duration,
}

impl Default for Script {
    fn default() -> Self {
        Self { status: StatusCode::OK, headers: Vec::new(), body: BODY, delay: Duration::ZERO }
    }
}

/// What every upstream answers by default.
pub(crate) const BODY: &[u8] = b"{\"temperature\":17}\n";

#[derive(Debug, Default)]
struct State {
    hits: Mutex<Vec<Hit>>,
    script: Mutex<Script>,
}

/// A running upstream; it stops when dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

impl Upstream {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { address, state, task }
    }

    /// Everything that arrived, in order.
    pub(crate) fn hits(&self) -> Vec<Hit> {
        self.state.hits.lock().unwrap().clone()
    }

    /// Answers as `script` says from now on.
    pub(crate) fn play(&self, script: Script) {
        *self.state.script.lock().unwrap() = script;
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = state.clone();
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), request));
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    state.hits.lock().unwrap().push(Hit {
        method: head.method,
        target: head.uri.to_string(),
        headers: head.headers,
        body,
    });
    let script = state.script.lock().unwrap().clone();
    tokio::time::sleep(script.delay).await;
    let mut response = Response::builder().status(script.status);
    for (name, value) in script.headers {
        response = response.header(name, value);
    }
    Ok(response.body(Full::from(script.body)).unwrap())
}

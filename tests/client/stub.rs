//! A server that answers what it is told to, and remembers what it was asked.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};
use tollgate::protocol::{mpp, x402::PAYMENT_SIGNATURE};

/// What the server was asked.
#[derive(Clone, Debug)]
pub(crate) struct Asked {
    pub(crate) method: Method,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Asked {
    /// The payment that came with it.
    pub(crate) fn payment(&self) -> Option<Bytes> {
        self.headers.get(PAYMENT_SIGNATURE).map(|value| Bytes::copy_from_slice(value.as_bytes()))
    }

    /// The charge's payment that came with it.
    pub(crate) fn charge(&self) -> Option<mpp::Credential> {
        mpp::find(&self.headers).unwrap()
    }
}

/// A running server; it stops when dropped.
pub(crate) struct Stub {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    _tasks: JoinSet<()>,
}

impl Stub {
    /// Answers each request by what `answer` says; `None` closes the connection without an answer.
    pub(crate) async fn start(
        answer: impl Fn(&Asked) -> Option<Response<Bytes>> + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let url = format!("http://{}/thing?a=1", listener.local_addr().unwrap());
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (seen, answer) = (Arc::clone(&asked), Arc::new(answer));
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                connections.spawn(async move {
                    let service = service_fn(|request| {
                        let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                        async move {
                            let asked = read(request).await;
                            seen.lock().unwrap().push(asked.clone());
                            answer(&asked).map(|answer| answer.map(Full::new)).ok_or("no answer")
                        }
                    });
                    // A connection that ends early is part of some tests.
                    drop(
                        http1::Builder::new().serve_connection(TokioIo::new(stream), service).await,
                    );
                });
            }
        });
        Self { url, asked, _tasks: tasks }
    }

    pub(crate) fn get(&self) -> Request<Bytes> {
        Request::get(&self.url).body(Bytes::new()).unwrap()
    }

    /// What the server was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

async fn read(request: Request<Incoming>) -> Asked {
    let (head, body) = request.into_parts();
    Asked { method: head.method, headers: head.headers, body: whole(body).await }
}

/// The whole of a body, which a test knows to be small.
pub(crate) async fn whole(mut body: Incoming) -> Bytes {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.unwrap().into_data() {
            bytes.extend(data);
        }
    }
    bytes.into()
}

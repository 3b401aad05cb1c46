//! An upstream that records who reaches it and whether they had paid by then, and that stops its answers at a gate.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::{Request, Response};
use http_body_util::StreamBody;
use hyper::{
    body::{Body, Frame, Incoming},
    service::service_fn,
};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};

/// Where answers stop until the gate is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Gate {
    Open,
    /// The request has come, and nothing of the answer has left.
    BeforeHead,
    /// The head of the answer has left, and not the whole body.
    InBody,
}

/// What reached the upstream of one payer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hits {
    /// How many requests came.
    pub(crate) asked: usize,
    /// How many of them came before their payer was charged.
    pub(crate) uncharged: usize,
    /// How many were answered.
    pub(crate) answered: usize,
}

/// Whether an account has been charged.
pub(crate) type IsCharged = Box<dyn Fn(&str) -> bool + Send + Sync>;

/// A running upstream; it stops when dropped.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    hits: Mutex<HashMap<String, Hits>>,
    is_charged: IsCharged,
    gate: watch::Sender<Gate>,
    /// How many requests have come since the gate was set.
    arrived: watch::Sender<usize>,
}

impl Upstream {
    /// An upstream for requests whose query is the payer's address.
    pub(crate) async fn start(is_charged: IsCharged) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (gate, arrived) = (watch::Sender::new(Gate::Open), watch::Sender::new(0));
        let state = Arc::new(State { hits: Mutex::default(), is_charged, gate, arrived });
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { address, state, task }
    }

    /// What came of `payer`.
    pub(crate) fn hits(&self, payer: &str) -> Hits {
        self.state.hits.lock().unwrap().get(payer).copied().unwrap_or_default()
    }

    /// Moves the gate; requests that stand at the one before go on.
    pub(crate) fn set(&self, gate: Gate) {
        self.state.arrived.send_replace(0);
        self.state.gate.send_replace(gate);
    }

    /// Waits until so many requests have come since the gate was set.
    pub(crate) async fn arrived(&self, requests: usize) {
        let mut arrived = self.state.arrived.subscribe();
        arrived.wait_for(|count| *count >= requests).await.unwrap();
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

/// Dropped where it stands if the gateway that asks goes away.
async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<impl Body<Data = Bytes, Error = Infallible>>, Infallible> {
    let payer = request.uri().query().unwrap().to_owned();
    let is_charged = (state.is_charged)(&payer);
    let count = |count: &dyn Fn(&mut Hits)| {
        count(state.hits.lock().unwrap().entry(payer.clone()).or_default());
    };
    count(&|hits| hits.asked += 1);
    count(&|hits| hits.uncharged += usize::from(!is_charged));
    state.arrived.send_modify(|arrived| *arrived += 1);
    let mut gate = state.gate.subscribe();
    gate.wait_for(|gate| *gate != Gate::BeforeHead).await.unwrap();
    count(&|hits| hits.answered += 1);
    let piece = |text: &'static str| Ok(Frame::data(Bytes::from_static(text.as_bytes())));
    let rest = async move {
        gate.wait_for(|gate| *gate != Gate::InBody).await.unwrap();
        piece(BODY[1])
    };
    let body = stream::once(async move { piece(BODY[0]) }).chain(stream::once(rest));
    Ok(Response::new(StreamBody::new(body)))
}

/// What every request is answered with, in two pieces.
pub(crate) const BODY: [&str; 2] = ["17 degrees", ", and no rain\n"];

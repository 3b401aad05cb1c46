//! An upstream that records every request by its id, takes its time, and fails now and then.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::watch, task::JoinHandle, time::sleep};

use crate::{below, history::Hits};

/// A running upstream; it stops when dropped.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct State {
    hits: Mutex<HashMap<u64, Hits>>,
    /// Whether answers wait.
    is_held: watch::Sender<bool>,
    /// How many requests have come.
    arrived: watch::Sender<usize>,
}

impl Upstream {
    /// An upstream for requests whose query is their id.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let task = tokio::spawn(accept(listener, Arc::clone(&state)));
        Self { address, state, task }
    }

    /// Has answers wait from now on, or go on.
    pub(crate) fn hold(&self, is_held: bool) {
        self.state.is_held.send_replace(is_held);
    }

    /// Waits until so many requests have come.
    pub(crate) async fn arrived(&self, requests: usize) {
        let mut arrived = self.state.arrived.subscribe();
        arrived.wait_for(|count| *count >= requests).await.unwrap();
    }

    /// What came of the request `id`.
    pub(crate) fn hits(&self, id: u64) -> Hits {
        self.state.hits.lock().unwrap().get(&id).copied().unwrap_or_default()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What the request `id` is answered with.
pub(crate) fn answer_to(id: u64) -> String {
    format!("the answer to {id}\n")
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&state), request));
            let server = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// Dropped where it stands if the gateway that asks goes away.
async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let id = request.uri().query().unwrap().parse().unwrap();
    let fails = {
        let mut hits = state.hits.lock().unwrap();
        let hits = hits.entry(id).or_default();
        hits.asked += 1;
        (id + u64::try_from(hits.asked).unwrap()) % FAILS_ONE_IN == 0
    };
    state.arrived.send_modify(|arrived| *arrived += 1);
    sleep(Duration::from_millis(below(LONGEST_MS))).await;
    state.is_held.subscribe().wait_for(|is_held| !is_held).await.unwrap();
    let mut response = Response::new(Full::from(answer_to(id)));
    if fails {
        *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
    } else {
        state.hits.lock().unwrap().entry(id).or_default().answered += 1;
    }
    Ok(response)
}

/// How long an answer takes at most, in milliseconds.
const LONGEST_MS: u64 = 20;
/// So many requests, and one of them fails.
const FAILS_ONE_IN: u64 = 12;

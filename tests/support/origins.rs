//! Servers of one upstream that are killed, hang, or answer 500, as a test says.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// How a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    Fine,
    Hangs,
    Answers500,
    /// Nobody listens, and every connection was cut off.
    Killed,
}

/// A server that can be in any state.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
    life: CancellationToken,
}

struct State {
    conduct: Mutex<Conduct>,
    /// Requests of clients that were answered 200.
    served: AtomicUsize,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let conduct = Mutex::new(Conduct::Fine);
        let state = Arc::new(State { conduct, served: AtomicUsize::new(0) });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let life = CancellationToken::new();
        tokio::spawn(serve(listener, state.clone(), life.clone()));
        Self { address, state, life }
    }

    pub(crate) async fn become_so(&mut self, conduct: Conduct) {
        let before = std::mem::replace(&mut *self.state.conduct.lock().unwrap(), conduct);
        if conduct == Conduct::Killed {
            self.life.cancel();
        } else if before == Conduct::Killed {
            self.life = CancellationToken::new();
            let listener = TcpListener::bind(self.address).await.unwrap();
            tokio::spawn(serve(listener, self.state.clone(), self.life.clone()));
        }
    }

    /// How many requests of clients it has answered 200.
    pub(crate) fn served(&self) -> usize {
        self.state.served.load(Ordering::Relaxed)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.life.cancel();
    }
}

async fn serve(listener: TcpListener, state: Arc<State>, life: CancellationToken) {
    while let Some(Ok((stream, _))) = life.run_until_cancelled(listener.accept()).await {
        let (state, life) = (state.clone(), life.clone());
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), request));
            let conversation =
                http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            drop(life.run_until_cancelled(conversation).await);
        });
    }
}

async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    // So that some are always under way.
    sleep(Duration::from_millis(15)).await;
    let conduct = *state.conduct.lock().unwrap();
    let status = match conduct {
        Conduct::Fine => StatusCode::OK,
        Conduct::Answers500 => StatusCode::INTERNAL_SERVER_ERROR,
        Conduct::Hangs | Conduct::Killed => std::future::pending().await,
    };
    if status == StatusCode::OK && request.uri().path() != "/health" {
        state.served.fetch_add(1, Ordering::Relaxed);
    }
    Ok(Response::builder().status(status).body(Full::from("ok")).unwrap())
}

/// Waits until every one of `origins` has served `more` requests more.
pub(crate) async fn serving(origins: &[&Origin], more: usize) {
    let before: Vec<_> = origins.iter().map(|origin| origin.served()).collect();
    let waiting = async {
        while !origins.iter().zip(&before).all(|(origin, before)| origin.served() >= before + more)
        {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(30), waiting).await.expect("they are asked");
}

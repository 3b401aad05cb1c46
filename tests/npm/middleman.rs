//! A middleman before a facilitator: passes on what is asked and answered, or misbehaves as a test tells it to.

use std::{
    collections::HashMap,
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::{
    net::{TcpListener, TcpSocket},
    task::JoinSet,
};
use tollgate::ledger::Http;

/// How an endpoint behaves.
#[derive(Clone, Debug)]
pub(crate) enum Way {
    /// As the facilitator does.
    Pass,
    /// Answers this, and the facilitator is not asked.
    Instead(Reply),
    /// The facilitator does what it is asked, and this is the answer.
    Behind(Reply),
}

/// An answer, or none.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Json(u16, Value),
    Text(u16, &'static str),
    /// The connection is cut.
    Cut,
    /// No answer, and the connection stays open.
    Silence,
}

/// A running middleman. Every answer ends its connection, so that being down is noticed at once.
pub(crate) struct Middleman {
    pub(crate) url: String,
    address: SocketAddr,
    state: Arc<State>,
    serving: JoinSet<()>,
    /// Bound and never listening: it keeps the port ours while the middleman is down.
    _port: TcpSocket,
}

struct State {
    facilitator: String,
    http: Http,
    ways: Mutex<HashMap<&'static str, Way>>,
    asked: Mutex<Vec<String>>,
}

impl Middleman {
    /// A middleman before the facilitator at this URL, down and honest.
    pub(crate) fn new(facilitator: &str) -> Self {
        let port = socket(([127, 0, 0, 1], 0).into());
        let address = port.local_addr().unwrap();
        let state = State {
            facilitator: facilitator.to_owned(),
            http: Http::new(),
            ways: Mutex::default(),
            asked: Mutex::default(),
        };
        Self {
            url: format!("http://{address}"),
            address,
            state: Arc::new(state),
            serving: JoinSet::new(),
            _port: port,
        }
    }

    /// From now on `endpoint` (`/verify`) behaves in this way.
    pub(crate) fn set(&self, endpoint: &'static str, way: Way) {
        self.state.ways.lock().unwrap().insert(endpoint, way);
    }

    /// How often `endpoint` was asked.
    pub(crate) fn asked(&self, endpoint: &str) -> usize {
        self.state.asked.lock().unwrap().iter().filter(|path| *path == endpoint).count()
    }

    /// Refuses connections from now on.
    pub(crate) async fn down(&mut self) {
        self.serving.shutdown().await;
    }

    /// Takes connections, always at the same address.
    pub(crate) fn up(&mut self) {
        let listener = socket(self.address).listen(64).unwrap();
        self.serving.spawn(accept(listener, self.state.clone()));
    }
}

fn socket(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.set_reuseport(true).unwrap();
    socket.bind(address).unwrap();
    socket
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = state.clone();
        connections.spawn(async move {
            let service = service_fn(move |request| answer(state.clone(), request));
            let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
            // An error is a connection that was cut, on one side or the other.
            drop(connection.await);
        });
    }
}

/// An error cuts the connection.
async fn answer(
    state: Arc<State>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, &'static str> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    state.asked.lock().unwrap().push(path.clone());
    let way = state.ways.lock().unwrap().get(&*path).cloned().unwrap_or(Way::Pass);
    let reply = match way {
        Way::Instead(reply) => reply,
        Way::Pass | Way::Behind(_) => {
            let body = body.collect().await.map_err(|_| "no body")?.to_bytes();
            let mut onward = Request::builder()
                .method(head.method)
                .uri(format!("{}{path}", state.facilitator))
                .body(body)
                .unwrap();
            for name in [header::AUTHORIZATION, header::CONTENT_TYPE] {
                if let Some(value) = head.headers.get(&name) {
                    onward.headers_mut().insert(name, value.clone());
                }
            }
            let answered = state.http.send(onward, LONG, 1 << 20).await;
            let (status, body) = answered.map_err(|_| "the facilitator does not answer")?;
            match way {
                Way::Behind(reply) => reply,
                _ => return Ok(response(status, body)),
            }
        }
    };
    match reply {
        Reply::Json(status, json) => {
            Ok(response(StatusCode::from_u16(status).unwrap(), json.to_string().into()))
        }
        Reply::Text(status, text) => {
            Ok(response(StatusCode::from_u16(status).unwrap(), Bytes::from_static(text.as_bytes())))
        }
        Reply::Cut => Err("cut"),
        Reply::Silence => Ok(std::future::pending::<Result<_, Infallible>>().await.unwrap()),
    }
}

fn response(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let response = Response::builder().status(status).header(header::CONNECTION, "close");
    response.header(header::CONTENT_TYPE, "application/json").body(Full::new(body)).unwrap()
}

const LONG: Duration = Duration::from_secs(100);

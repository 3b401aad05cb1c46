//! The sockets: HTTP/1.1, with and without TLS, in front of the RPC, friendbot and the faucet.
//!
//! It knows paths, bodies and their bounds; what a call means is the RPC's business.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::faucet;
use crate::rpc::{Answer, Rpc};
use crate::treasury::Treasury;

/// What the listeners serve.
pub(crate) struct Service {
    pub(crate) rpc: Rpc,
    pub(crate) treasury: Treasury,
}

/// One listener's own.
pub(crate) struct Endpoint {
    pub(crate) listener: TcpListener,
    /// Without: plain HTTP.
    pub(crate) tls: Option<TlsAcceptor>,
    /// Its URL, without a path and a final slash.
    pub(crate) url: String,
}

/// The connection is to be closed without an answer.
#[derive(Debug, thiserror::Error)]
#[error("a fault closes the connection")]
struct HangUp;

/// Accepts connections until `stop`, each in a task of `tasks`.
pub(crate) async fn serve(
    endpoint: Endpoint,
    service: Arc<Service>,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let friendbot: Arc<str> = friendbot_url(&endpoint.url).into();
    while let Some(accepted) = stop.run_until_cancelled(endpoint.listener.accept()).await {
        let Ok((stream, _)) = accepted else {
            // Out of file descriptors, most likely: let some connections end.
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "the connection is gone");
            continue;
        }
        let (service, friendbot) = (service.clone(), friendbot.clone());
        let (tls, stop) = (endpoint.tls.clone(), stop.clone());
        tasks.spawn(async move {
            match tls {
                None => converse(stream, service, friendbot, stop).await,
                Some(tls) => match tokio::time::timeout(HANDSHAKE, tls.accept(stream)).await {
                    Ok(Ok(stream)) => converse(stream, service, friendbot, stop).await,
                    Ok(Err(error)) => tracing::debug!(%error, "TLS handshake failed"),
                    Err(_) => tracing::debug!("TLS handshake took too long"),
                },
            }
        });
    }
}

/// The URL of the friendbot beside `url`.
pub(crate) fn friendbot_url(url: &str) -> String {
    format!("{url}{FRIENDBOT}")
}

/// The URL of the faucet beside `url`.
pub(crate) fn faucet_url(url: &str) -> String {
    format!("{url}{FAUCET}")
}

/// The URL of a listener at `address`: one that listens everywhere is reached over loopback.
pub(crate) fn url(scheme: &str, address: SocketAddr) -> String {
    let mut address = address;
    if address.ip().is_unspecified() {
        address.set_ip(match address {
            SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
            SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
        });
    }
    format!("{scheme}://{address}")
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    service: Arc<Service>,
    friendbot: Arc<str>,
    stop: CancellationToken,
) {
    let answer = service_fn(|request| respond(&service, &friendbot, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_READ)
        .serve_connection(TokioIo::new(stream), answer);
    let mut connection = std::pin::pin!(connection);
    let ended = match stop.run_until_cancelled(connection.as_mut()).await {
        Some(ended) => ended,
        None => {
            connection.as_mut().graceful_shutdown();
            // What still waits then, waits for a ledger that nobody will close.
            tokio::time::timeout(GRACE, connection).await.unwrap_or(Ok(()))
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}

async fn respond(
    service: &Service,
    friendbot: &str,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, HangUp> {
    let (parts, body) = request.into_parts();
    if parts.method == Method::OPTIONS {
        return Ok(response(StatusCode::NO_CONTENT, "text/plain", Bytes::new()));
    }
    let body = match read(body).await {
        Ok(body) => body,
        Err(status) => return Ok(response(status, "text/plain", Bytes::new())),
    };
    let query = parts.uri.query().unwrap_or_default();
    match (&parts.method, parts.uri.path()) {
        (&Method::GET | &Method::POST, path @ (FRIENDBOT | FAUCET)) => {
            let form = String::from_utf8_lossy(&body);
            let query = if query.is_empty() { form.as_ref() } else { query };
            let (status, body) = if path == FRIENDBOT {
                faucet::friendbot(&service.treasury, query).await
            } else {
                faucet::faucet(&service.treasury, query, friendbot).await
            };
            Ok(json(status, &body))
        }
        (&Method::POST, _) => match service.rpc.answer(&body, friendbot).await {
            Answer::Json(body) => Ok(response(StatusCode::OK, JSON, body.into())),
            Answer::Nothing => Ok(response(StatusCode::NO_CONTENT, JSON, Bytes::new())),
            Answer::Http { status, body } => {
                let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
                Ok(response(status, JSON, body.into()))
            }
            Answer::HangUp => Err(HangUp),
        },
        (&Method::GET, "/") => Ok(response(StatusCode::OK, "text/plain", ABOUT.into())),
        (&Method::GET, _) => Ok(response(StatusCode::NOT_FOUND, "text/plain", ABOUT.into())),
        _ => Ok(response(StatusCode::METHOD_NOT_ALLOWED, "text/plain", Bytes::new())),
    }
}

/// Reads a whole body of bounded size.
async fn read(mut body: Incoming) -> Result<Bytes, StatusCode> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| StatusCode::BAD_REQUEST)?;
        let Some(data) = frame.data_ref() else { continue };
        if whole.len().saturating_add(data.len()) > LARGEST_BODY {
            return Err(StatusCode::PAYLOAD_TOO_LARGE);
        }
        whole.extend_from_slice(data);
    }
    Ok(whole.freeze())
}

fn json(status: StatusCode, body: &Value) -> Response<Full<Bytes>> {
    response(status, JSON, body.to_string().into())
}

/// An answer that a page from anywhere may read: this is a network to develop on.
fn response(status: StatusCode, content_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    for (name, value) in [
        (header::ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
        (header::ACCESS_CONTROL_ALLOW_HEADERS, "*"),
        (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, OPTIONS"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

const FRIENDBOT: &str = "/friendbot";
const FAUCET: &str = "/faucet";
const JSON: &str = "application/json";
const ABOUT: &str = "A local Stellar network (Tollgate sandbox). POST JSON-RPC to /; GET /friendbot?addr=G… for \
XLM; GET /faucet?addr=G…&amount=10 for USDC.\n";

/// Room for the largest contract, in base64, in a batch.
const LARGEST_BODY: usize = 1 << 20;

const HANDSHAKE: Duration = Duration::from_secs(10);
const HEADER_READ: Duration = Duration::from_secs(60);
const GRACE: Duration = Duration::from_secs(1);
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

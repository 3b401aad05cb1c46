//! The client of an exchange: sends the request that is written out, and records the answer.

use http::{HeaderName, HeaderValue, Request};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::task::JoinSet;

use super::{
    Io, Version,
    far::{body_of, collect, fields},
    list::Exchange,
    wire::{self, Framing, Message},
};

/// Sends the request of `exchange` and records the answer to it.
pub(crate) async fn exchange(
    mut stream: Box<dyn Io>,
    version: Version,
    exchange: &Exchange,
) -> Message {
    if version == Version::H2 {
        return exchange_h2(stream, exchange).await;
    }
    let start = format!("{} {} HTTP/1.1", exchange.method, exchange.target);
    let mut headers = vec![("Host", b"gw.test:8402".to_vec())];
    headers.extend(exchange.headers.iter().cloned());
    wire::write(
        &mut *stream,
        &start,
        &headers,
        &exchange.body,
        exchange.framing,
        exchange.trailers,
    )
    .await;
    let is_bodyless = exchange.method == "HEAD" || matches!(exchange.status, 204 | 304);
    wire::read(&mut *stream, is_bodyless).await.expect("an answer")
}

async fn exchange_h2(stream: Box<dyn Io>, exchange: &Exchange) -> Message {
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let mut running = JoinSet::new();
    running.spawn(async move { drop(connection.await) });
    let uri = format!("http://gw.test:8402{}", exchange.target);
    let mut request = Request::builder().method(exchange.method).uri(uri);
    for (name, value) in &exchange.headers {
        let name = HeaderName::try_from(*name).unwrap();
        request = request.header(name, HeaderValue::from_bytes(value).unwrap());
    }
    if exchange.framing == Framing::Length {
        request = request.header("content-length", exchange.body.len());
    }
    let body = body_of(&exchange.body, exchange.trailers, exchange.framing == Framing::None);
    let answer = sender.send_request(request.body(body).unwrap()).await.unwrap();
    let (head, body) = answer.into_parts();
    let (body, trailers) = collect(body).await;
    Message {
        start: head.status.as_u16().to_string(),
        headers: fields(&head.headers),
        body,
        trailers,
    }
}

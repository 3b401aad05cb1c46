//! The upstream of an exchange: records a request and gives the answer that is written out.

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody, combinators::BoxBody};
use hyper::{body::Incoming, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_rustls::TlsAcceptor;

use super::{
    Io, Version,
    list::Exchange,
    wire::{self, Framing, Message, add},
};
use crate::harness::within;

/// An upstream that plays one exchange after the other.
pub(crate) struct Far {
    pub(crate) address: SocketAddr,
    next: Arc<Mutex<Option<Arc<Exchange>>>>,
    recorded: tokio::sync::Mutex<mpsc::UnboundedReceiver<Message>>,
    _serving: JoinSet<()>,
}

#[derive(Clone)]
struct Stage {
    next: Arc<Mutex<Option<Arc<Exchange>>>>,
    record: mpsc::UnboundedSender<Message>,
}

impl Far {
    pub(crate) async fn start(version: Version, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (record, recorded) = mpsc::unbounded_channel();
        let next = Arc::default();
        let stage = Stage { next: Arc::clone(&next), record };
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut conversations = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (stage, acceptor) = (stage.clone(), acceptor.clone());
                conversations.spawn(async move {
                    let stream: Box<dyn Io> = match acceptor {
                        Some(acceptor) => Box::new(acceptor.accept(stream).await.unwrap()),
                        None => Box::new(stream),
                    };
                    match version {
                        Version::H1 => stage.play_h1(stream).await,
                        Version::H2 => stage.play_h2(stream).await,
                    }
                });
            }
        });
        Self { address, next, recorded: recorded.into(), _serving: serving }
    }

    /// What comes next.
    pub(crate) fn expect(&self, exchange: Arc<Exchange>) {
        *self.next.lock().unwrap() = Some(exchange);
    }

    /// The request that came.
    pub(crate) async fn recorded(&self) -> Message {
        self.recorded.lock().await.recv().await.unwrap()
    }
}

impl Stage {
    fn exchange(&self) -> Arc<Exchange> {
        self.next.lock().unwrap().take().expect("an exchange for this request")
    }

    async fn play_h1(self, mut stream: Box<dyn Io>) {
        while let Some(request) = wire::read(&mut *stream, false).await {
            self.record.send(request).unwrap();
            let exchange = self.exchange();
            use tokio::io::AsyncWriteExt as _;
            stream.write_all(exchange.before.as_bytes()).await.unwrap();
            let start = format!("HTTP/1.1 {} Reason", exchange.status);
            let (framing, trailers) = (exchange.answer_framing, exchange.answer_trailers);
            wire::write(
                &mut *stream,
                &start,
                &exchange.answer_headers,
                &exchange.answer_body,
                framing,
                trailers,
            )
            .await;
            if framing == Framing::Close {
                stream.shutdown().await.unwrap();
                return;
            }
        }
    }

    async fn play_h2(self, stream: Box<dyn Io>) {
        let service = service_fn(move |request| self.clone().answer(request));
        let connection = http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service);
        // The gateway closes it as it likes.
        drop(connection.await);
    }

    async fn answer(
        self,
        request: Request<Incoming>,
    ) -> Result<Response<BoxBody<Bytes, Infallible>>, Infallible> {
        let (head, body) = request.into_parts();
        let (body, trailers) = collect(body).await;
        let target = head.uri.path_and_query().unwrap();
        let mut message = Message {
            start: format!("{} {target}", head.method),
            headers: fields(&head.headers),
            body,
            trailers,
        };
        add(&mut message.headers, "host", head.uri.authority().unwrap().as_str().as_bytes());
        self.record.send(message).unwrap();
        let exchange = self.exchange();
        let mut answer = Response::new(body_of(
            &exchange.answer_body,
            exchange.answer_trailers,
            matches!(exchange.answer_framing, Framing::None | Framing::Told(_)),
        ));
        *answer.status_mut() = StatusCode::from_u16(exchange.status).unwrap();
        for (name, value) in &exchange.answer_headers {
            let value = HeaderValue::from_bytes(value).unwrap();
            answer.headers_mut().append(http::HeaderName::try_from(*name).unwrap(), value);
        }
        let length = match exchange.answer_framing {
            Framing::Told(length) => Some(length),
            Framing::Length => Some(exchange.answer_body.len()),
            _ => None,
        };
        if let Some(length) = length {
            answer.headers_mut().insert("content-length", HeaderValue::from(length));
        }
        Ok(answer)
    }
}

/// A body of several pieces, with trailers.
pub(crate) fn body_of(
    body: &[u8],
    trailers: &[(&str, &str)],
    is_none: bool,
) -> BoxBody<Bytes, Infallible> {
    if is_none {
        return http_body_util::Empty::new().boxed();
    }
    let pieces = body.chunks(16 * 1024).map(|piece| Frame::data(Bytes::copy_from_slice(piece)));
    let mut frames: Vec<_> = pieces.map(Ok).collect();
    if !trailers.is_empty() {
        let mut map = HeaderMap::new();
        for (name, value) in trailers {
            map.append(http::HeaderName::try_from(*name).unwrap(), value.parse().unwrap());
        }
        frames.push(Ok(Frame::trailers(map)));
    }
    StreamBody::new(futures_util::stream::iter(frames)).boxed()
}

/// The whole of a body, and its trailers.
pub(crate) async fn collect(
    mut body: Incoming,
) -> (Vec<u8>, std::collections::BTreeMap<String, Vec<Vec<u8>>>) {
    let (mut bytes, mut trailers) = (Vec::new(), std::collections::BTreeMap::new());
    while let Some(frame) = within(body.frame()).await {
        match frame.unwrap().into_data() {
            Ok(data) => bytes.extend(&data),
            Err(frame) => trailers = fields(frame.trailers_ref().unwrap()),
        }
    }
    (bytes, trailers)
}

/// The fields of a map.
pub(crate) fn fields(map: &HeaderMap) -> std::collections::BTreeMap<String, Vec<Vec<u8>>> {
    let mut fields = std::collections::BTreeMap::new();
    for (name, value) in map {
        add(&mut fields, name.as_str(), value.as_bytes());
    }
    fields
}

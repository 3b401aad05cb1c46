//! HTTP/2 clients with prior knowledge: a few connections, many streams on each.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{net::TcpStream, task::JoinSet};

use crate::run::{Run, Watched};

/// Asks for `path` on so many streams of so many connections for so long; each answer has 200 and so many bytes.
pub(crate) async fn load(
    address: SocketAddr,
    watched: Watched,
    (connections, streams, path, length): (usize, usize, &str, usize),
    each: Duration,
) -> Run {
    let mut clients = Vec::new();
    for _ in 0..connections {
        let sender = connect(address).await;
        clients.extend((0..streams).map(|_| sender.clone()));
    }
    let uri = format!("http://bench{path}");
    for client in &mut clients {
        one(client, &uri, length).await;
    }
    let started = watched.start();
    let until = Instant::now() + each;
    let mut running = JoinSet::new();
    for mut client in clients {
        let uri = uri.clone();
        running.spawn(async move {
            let mut latencies = Vec::new();
            while Instant::now() < until {
                latencies.push(one(&mut client, &uri, length).await);
            }
            latencies
        });
    }
    let latencies = running.join_all().await.into_iter().flatten().collect();
    started.end(latencies)
}

async fn connect(address: SocketAddr) -> SendRequest<Empty<Bytes>> {
    let stream = TcpStream::connect(address).await.unwrap();
    stream.set_nodelay(true).unwrap();
    let (sender, connection) = Builder::new(TokioExecutor::new())
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(16 * WINDOW)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

async fn one(client: &mut SendRequest<Empty<Bytes>>, uri: &str, length: usize) -> Duration {
    let request = Request::get(uri).body(Empty::new()).unwrap();
    let sent = Instant::now();
    client.ready().await.unwrap();
    let (head, mut body) = client.send_request(request).await.unwrap().into_parts();
    assert_eq!(head.status, StatusCode::OK);
    let mut read = 0;
    while let Some(frame) = body.frame().await {
        read += frame.unwrap().data_ref().map_or(0, Bytes::len);
    }
    assert_eq!(read, length);
    sent.elapsed()
}

/// What a body of 1 MiB fits in.
const WINDOW: u32 = 1 << 20;

//! An upstream: short answers that say by which configuration they were asked for, a stream of events, an echo.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::sleep,
};

/// A running upstream; it stops when dropped. `/events` never ends, `/echo` switches protocols, `/slow` takes a second,
/// `/who` says who is said to ask.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    task: JoinHandle<()>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                tokio::spawn(converse(stream));
            }
        });
        Self { address, task }
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Reads heads and answers; an end of the connection ends it.
async fn converse(mut stream: TcpStream) {
    while let Some(head) = head(&mut stream).await {
        let path = head.split([' ', '?']).nth(1).unwrap_or_default();
        let written = match path {
            "/events" => return events(stream).await,
            "/echo" => return echo(stream).await,
            "/slow" => {
                sleep(SLOW).await;
                stream.write_all(answer(&head).as_bytes()).await
            }
            _ => stream.write_all(answer(&head).as_bytes()).await,
        };
        if written.is_err() {
            return;
        }
    }
}

/// The value of `x-stamp`, which the gateway sets as its configuration says.
fn answer(head: &str) -> String {
    let value = |name| head.lines().find_map(|line| line.strip_prefix(name)).unwrap_or("-");
    let stamp = match head.contains(" /who ") {
        true => format!("{} {}", value("x-forwarded-for: "), value("x-forwarded-proto: ")),
        false => value("x-stamp: ").to_owned(),
    };
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{stamp}", stamp.len())
}

async fn events(mut stream: TcpStream) {
    let start =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
    let mut piece = start.to_owned();
    while stream.write_all(piece.as_bytes()).await.is_ok() {
        "8\r\ndata: x\n\r\n".clone_into(&mut piece);
        sleep(EVERY).await;
    }
}

async fn echo(mut stream: TcpStream) {
    let start =
        "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
    if stream.write_all(start.as_bytes()).await.is_err() {
        return;
    }
    let mut piece = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut piece).await {
        if stream.write_all(&piece[..length]).await.is_err() {
            return;
        }
    }
}

/// The head of the next message, if there is one.
pub(crate) async fn head<S: tokio::io::AsyncRead + Unpin>(stream: &mut S) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(head).ok()
}

/// How often there is an event.
pub(crate) const EVERY: Duration = Duration::from_millis(50);
pub(crate) const SLOW: Duration = Duration::from_secs(1);

//! Makes connections to servers: TCP, TLS where it is wanted, and the protocol that both sides speak.
//!
//! Knows nothing of requests. What it makes is driven by a task of its own, which ends with the connection.

use std::{
    error::Error as StdError,
    future::poll_fn,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::uri::Authority;
use http_body::Body;
use hyper::{
    client::conn::{http1, http2},
    rt::{Executor, Read, Write},
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::{BoxError, Protocol, names::Names, pool::Line, tls::Tls};

/// How connections to the servers of one upstream are made.
#[derive(Clone, Debug)]
pub(super) struct Dialer {
    pub(super) tls: Option<Tls>,
    pub(super) protocol: Protocol,
    /// For all of it: the name, TCP, TLS, the protocol.
    pub(super) timeout: Duration,
    /// No more requests are under way at once, and so no more connections to a server are of use.
    pub(super) most_links: usize,
    pub(super) names: Arc<Names>,
    pub(super) tasks: Tasks,
}

/// Why there is no connection; nothing of a request was sent.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    #[error("no connection within {0:?}")]
    TimedOut(Duration),
    #[error("its name has no address that can be sent to")]
    NoAddress,
    #[error("connect: {0}")]
    Tcp(#[source] io::Error),
    #[error("TLS: {0}")]
    Tls(#[source] io::Error),
    #[error("it does not speak HTTP/2")]
    NotHttp2,
    #[error("{0}")]
    Handshake(#[source] hyper::Error),
}

impl DialError {
    /// Whether it tells of this machine, which has no descriptor, port or memory left, and not of the server.
    pub(super) fn is_ours(&self) -> bool {
        match self {
            Self::Tcp(error) => error.raw_os_error().is_some_and(|code| SCARCE.contains(&code)),
            _ => false,
        }
    }
}

impl Dialer {
    /// Whether what it makes may turn out to be HTTP/2.
    pub(super) const fn may_speak_h2(&self) -> bool {
        !matches!(self.protocol, Protocol::Http1)
    }

    /// Whether connections of one are as good as those of the other.
    pub(super) fn speaks_as(&self, other: &Self) -> bool {
        let is_same_tls = match (&self.tls, &other.tls) {
            (None, None) => true,
            (Some(one), Some(other)) => one.is_same(other),
            _ => false,
        };
        is_same_tls && self.protocol == other.protocol
    }

    /// Connects to `address`; with HTTP/1.1 if `needs_h1`.
    pub(super) async fn dial<B>(
        &self,
        address: &Authority,
        needs_h1: bool,
    ) -> Result<Line<B>, DialError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let dialed = timeout(self.timeout, self.dial_slowly(address, needs_h1)).await;
        dialed.unwrap_or(Err(DialError::TimedOut(self.timeout)))
    }

    async fn dial_slowly<B>(
        &self,
        address: &Authority,
        needs_h1: bool,
    ) -> Result<Line<B>, DialError>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let stream = self.reach(address).await?;
        // Requests are written whole; waiting for more to send would only delay them.
        stream.set_nodelay(true).map_err(DialError::Tcp)?;
        let Some(tls) = &self.tls else {
            let is_h2 = matches!(self.protocol, Protocol::Http2) && !needs_h1;
            return self.speak(TokioIo::new(stream), is_h2).await;
        };
        let stream = tls.connect(stream, address, needs_h1).await.map_err(DialError::Tls)?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        if matches!(self.protocol, Protocol::Http2) && !is_h2 && !needs_h1 {
            return Err(DialError::NotHttp2);
        }
        self.speak(TokioIo::new(stream), is_h2).await
    }

    /// The first of the server's addresses that takes a connection; each has its share of the time that is left.
    async fn reach(&self, address: &Authority) -> Result<TcpStream, DialError> {
        let usual = if self.tls.is_some() { 443 } else { 80 };
        let port = address.port_u16().unwrap_or(usual);
        let host = address.host().trim_start_matches('[').trim_end_matches(']');
        let end = Instant::now().checked_add(self.timeout).unwrap_or_else(Instant::now);
        let found = self.names.find(host, port).await;
        let found = found.map_err(|error| DialError::Tcp(scarcity().unwrap_or(error)))?;
        let mut failure = None;
        for (tried, address) in found.iter().enumerate() {
            let others = u32::try_from(found.len().saturating_sub(tried)).unwrap_or(u32::MAX);
            let left = end.saturating_duration_since(Instant::now());
            let share = left.checked_div(others).unwrap_or(left);
            let until = Instant::now().checked_add(share).unwrap_or(end);
            let failed = match timeout_at(until, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) if !is_address_at_all(*address, &error) => DialError::NoAddress,
                Ok(Err(error)) => DialError::Tcp(error),
                Err(_) => DialError::TimedOut(self.timeout),
            };
            // What was found out about the server says more than what was not.
            failure = match failure {
                Some(before) if failed.is_ours() => Some(before),
                _ => Some(failed),
            };
        }
        self.names.forget(host, port);
        Err(failure.unwrap_or(DialError::NoAddress))
    }

    async fn speak<T, B>(&self, io: T, is_h2: bool) -> Result<Line<B>, DialError>
    where
        T: Read + Write + Send + Unpin + 'static,
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        if is_h2 {
            let (sender, connection) = http2::Builder::new(self.tasks.clone())
                .timer(TokioTimer::new())
                .initial_stream_window_size(STREAM_WINDOW)
                .initial_connection_window_size(CONNECTION_WINDOW)
                .max_header_list_size(HEADER_LIST)
                .keep_alive_interval(PING_EVERY)
                .handshake(io)
                .await
                .map_err(DialError::Handshake)?;
            let most = Arc::new(AtomicUsize::new(connection.current_max_send_streams()));
            let told = most.clone();
            self.tasks.spawn(async move {
                let mut connection = pin!(connection);
                let ended = poll_fn(|cx| {
                    let polled = connection.as_mut().poll(cx);
                    told.store(connection.current_max_send_streams(), Ordering::Relaxed);
                    polled
                });
                note(ended.await);
            });
            return Ok(Line::Session { sender, most });
        }
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(BUFFER)
            .handshake(io)
            .await
            .map_err(DialError::Handshake)?;
        let task = self.tasks.spawn(async move { note(connection.with_upgrades().await) });
        Ok(Line::Link { sender, task })
    }
}

/// Whether there is no descriptor left, which those who ask for a name are not told.
fn scarcity() -> Option<io::Error> {
    TcpSocket::new_v4().err()
}

/// Whether an address that could not be connected to is one that this machine can send to: the system says the same where
/// it cannot as where no port is left.
fn is_address_at_all(address: SocketAddr, error: &io::Error) -> bool {
    if error.raw_os_error() != Some(libc::EADDRNOTAVAIL) {
        return true;
    }
    let any: IpAddr = match address {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // Nothing is sent, and it has ports of its own.
    UdpSocket::bind((any, 0)).and_then(|socket| socket.connect(address)).is_ok()
}

/// What the system says where it has nothing left for another connection.
const SCARCE: [i32; 5] =
    [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];

/// What is kept at most of a body that is not taken, in either direction, and so the longest head of an answer.
const BUFFER: usize = 32 * 1024;

/// The tasks of an upstream's connections. Each ends when nobody holds its connection any more.
#[derive(Clone, Debug, Default)]
pub(super) struct Tasks(TaskTracker);

impl Tasks {
    pub(super) fn spawn<F>(&self, task: F) -> tokio::task::AbortHandle
    where
        F: Future<Output = ()> + Send + 'static,
    {
        self.0.spawn(task).abort_handle()
    }
}

impl<F: Future<Output = ()> + Send + 'static> Executor<F> for Tasks {
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

/// What a request has to do with it, its own future tells.
fn note(ended: hyper::Result<()>) {
    if let Err(error) = ended {
        let cause = error.source().map(ToString::to_string);
        debug!(%error, cause, "a connection to an upstream ended");
    }
}

/// As many streams as a session carries fit into its window with all of theirs: a client that does not read holds up
/// nobody else.
const STREAM_WINDOW: u32 = 128 << 10;
const CONNECTION_WINDOW: u32 = 16 << 20;
const HEADER_LIST: u32 = 64 << 10;
/// How often a server with streams under way is asked whether it is still there.
const PING_EVERY: Duration = Duration::from_secs(30);

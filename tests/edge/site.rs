//! A gateway from YAML with free and denied routes, and an upstream that writes down what it is sent.

use std::{
    future::pending,
    net::SocketAddr,
    path::Path,
    sync::{Arc, Mutex},
    time::Duration,
};

use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tollgate::{
    app::Gateway,
    config::{self, Env, Settings},
    telemetry::Clock,
};

/// Longer than anything a test waits for.
pub(crate) const LONG: Duration = Duration::from_secs(20);

/// What the upstream answers.
pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A gateway: `ANY /free/*` is free, `ANY /kept/*` is denied with 403, all else is unmatched.
pub(crate) struct Site {
    pub(crate) gateway: Gateway,
    pub(crate) origin: Origin,
    pub(crate) folder: TempDir,
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::with("listen: 127.0.0.1:0", |_| {}).await
    }

    /// One with this `listen` or `listeners` section, after `prepare` has put its files into the site's folder.
    pub(crate) async fn with(listeners: &str, prepare: impl FnOnce(&Path)) -> Self {
        let origin = Origin::start().await;
        let folder = tempfile::tempdir().unwrap();
        prepare(folder.path());
        let settings = settings(listeners, origin.address, folder.path()).unwrap();
        let gateway = Gateway::start(settings, Clock::system()).await.unwrap();
        Self { gateway, origin, folder }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.gateway.addresses()[0]
    }

    pub(crate) async fn client(&self) -> Wire<TcpStream> {
        Wire::new(TcpStream::connect(self.address()).await.unwrap())
    }

    /// Sends these bytes on a new connection and reads what comes until the gateway closes it.
    pub(crate) async fn exchange(&self, request: impl AsRef<[u8]>) -> String {
        let mut client = self.client().await;
        client.send(request).await;
        client.rest().await
    }
}

/// The settings of a site.
pub(crate) fn settings(
    listeners: &str,
    upstream: SocketAddr,
    folder: &Path,
) -> Result<Settings, config::Diagnostics> {
    let text = format!(
        "version: 1\n{listeners}\nupstream: http://{upstream}\nroutes:\n  - {{ match: ANY /free/*, free: true }}\n  \
         - {{ match: ANY /kept/*, deny: 403 }}\n",
    );
    config::parse(&text, "gateway.yaml", folder, &Env::fixed([("", ""); 0]))
}

/// More than the buffers between an upstream and a client hold.
fn large() -> Vec<u8> {
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {LARGE}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + LARGE, b'x');
    answer
}

/// The size of the body at `/free/large`.
pub(crate) const LARGE: usize = 32 << 20;

/// An upstream that writes down every request as it came, and answers with [`OK`]; with much at `/free/large`, with 408 at
/// `/free/late`, and not at all at `/free/never`.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    requests: Arc<Mutex<Vec<String>>>,
    _serving: JoinSet<()>,
}

impl Origin {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::<Mutex<Vec<String>>>::default();
        let log = requests.clone();
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let mut conversations = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let log = log.clone();
                conversations.spawn(async move {
                    let mut wire = Wire::new(stream);
                    while let Some(request) = wire.message().await {
                        let is_head = request.starts_with("HEAD ");
                        let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
                        log.lock().unwrap().push(request);
                        match path.as_str() {
                            "/free/never" => pending().await,
                            "/free/large" => wire.send(large()).await,
                            "/free/late" => wire.send(OK.replace("200 OK", "408 Late")).await,
                            _ if is_head => wire.send(OK.trim_end_matches("ok")).await,
                            _ => wire.send(OK).await,
                        }
                    }
                });
            }
        });
        Self { address, requests, _serving: serving }
    }

    /// Head and body of each request that has come whole.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }

    /// Their first lines, without the version.
    pub(crate) fn targets(&self) -> Vec<String> {
        let line = |request: &String| request.split(" HTTP/1.1").next().unwrap().to_owned();
        self.requests().iter().map(line).collect()
    }
}

/// One end of a connection.
pub(crate) struct Wire<S> {
    pub(crate) stream: S,
    buffer: Vec<u8>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Wire<S> {
    pub(crate) const fn new(stream: S) -> Self {
        Self { stream, buffer: Vec::new() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        // The other side may have had enough already.
        drop(within(self.stream.write_all(bytes.as_ref())).await);
        drop(within(self.stream.flush()).await);
    }

    /// A whole message: its head, and the body that its head speaks of; `None` if the other side closed before it.
    pub(crate) async fn message(&mut self) -> Option<String> {
        let mut message = self.line_end(b"\r\n\r\n").await?;
        let head = message.to_ascii_lowercase();
        if let Some((_, rest)) = head.split_once("\r\ncontent-length: ") {
            let length = rest.split("\r\n").next().unwrap().parse().unwrap();
            message += &self.take(length).await?;
        } else if head.contains("\r\ntransfer-encoding: chunked") {
            loop {
                let line = self.line_end(b"\r\n").await?;
                let size = usize::from_str_radix(line.split([';', '\r']).next().unwrap(), 16);
                let size = size.unwrap();
                message += &line;
                if size == 0 {
                    break;
                }
                message += &self.take(size + 2).await?;
            }
            while !message.ends_with("\r\n\r\n") {
                message += &self.line_end(b"\r\n").await?;
            }
        }
        Some(message)
    }

    /// The status of the answer that comes next; 0 if there is none.
    pub(crate) async fn status(&mut self) -> u16 {
        let Some(answer) = self.message().await else { return 0 };
        status_of(&answer)
    }

    /// Everything until the other side closes, or breaks off.
    pub(crate) async fn rest(&mut self) -> String {
        while self.fill().await > 0 {}
        String::from_utf8_lossy(&std::mem::take(&mut self.buffer)).into_owned()
    }

    async fn line_end(&mut self, end: &[u8]) -> Option<String> {
        loop {
            if let Some(at) = self.buffer.windows(end.len()).position(|window| window == end) {
                return self.take(at + end.len()).await;
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    async fn take(&mut self, length: usize) -> Option<String> {
        while self.buffer.len() < length {
            if self.fill().await == 0 {
                return None;
            }
        }
        // A letter for each byte, whatever they are.
        Some(self.buffer.drain(..length).map(char::from).collect())
    }

    /// Reads some more; 0 at the end.
    async fn fill(&mut self) -> usize {
        let mut some = [0; 16 * 1024];
        let length = within(self.stream.read(&mut some)).await.unwrap_or(0);
        self.buffer.extend_from_slice(&some[..length]);
        length
    }
}

/// The status code of an answer.
#[track_caller]
pub(crate) fn status_of(answer: &str) -> u16 {
    answer.split(' ').nth(1).unwrap().parse().unwrap()
}

/// Fails instead of hanging.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(LONG, future).await.expect("it hangs")
}

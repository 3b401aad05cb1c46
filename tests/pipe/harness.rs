//! A gateway with free and denied routes, a scripted upstream, and a client that writes bytes.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderName, Response, StatusCode};
use http_body_util::Either;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    task::JoinSet,
    time::timeout,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate::{
    guard::{Body, Guard, Onward, problem::Problem},
    pay::methods::Methods,
    route::{Access, HeaderChanges, Match, Pattern, Rewrite, Route, Table},
    server::{self, Arriving, Door, Inbound, Limits, Refused, tls::Tls as Shown},
    telemetry::{Clock, traffic::Counts},
    upstream::{self, Check, Eject, Protocol, Settings, Tls},
};

type Upstreams = upstream::Upstreams<Onward<Arriving>>;
type ResponseBody = upstream::ResponseBody<Onward<Arriving>>;

/// Longer than anything a test waits for.
const LONG: Duration = Duration::from_secs(20);

/// What a test's gateway is made of.
pub(crate) struct Options {
    pub(crate) free: &'static str,
    pub(crate) patience: Duration,
    pub(crate) idle: Duration,
    /// How long a connection to the upstream may take.
    pub(crate) connect: Duration,
    pub(crate) max_in_flight: u32,
    pub(crate) is_sold: bool,
    pub(crate) eject: Eject,
    /// How its servers are asked how they are; nobody looks after them without.
    pub(crate) check: Option<Check>,
    pub(crate) body_limit: u64,
    pub(crate) tunnel: Option<Duration>,
    pub(crate) limits: Limits,
    pub(crate) grace: Duration,
    pub(crate) set_headers: Vec<(&'static str, &'static str)>,
    pub(crate) remove_headers: Vec<HeaderName>,
    /// What its routes change.
    pub(crate) rewrite: Option<Rewrite>,
    pub(crate) protocol: Protocol,
    pub(crate) tls: Option<Tls>,
    /// What its listener shows, if it speaks TLS.
    pub(crate) shown: Option<Shown>,
}

impl Options {
    /// Every path is free.
    pub(crate) fn all_free() -> Self {
        Self { free: "ANY /*", ..Self::default() }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            free: "ANY /free/*",
            patience: LONG,
            idle: LONG,
            connect: LONG,
            max_in_flight: 100,
            is_sold: false,
            eject: Eject::default(),
            check: None,
            body_limit: u64::MAX,
            tunnel: None,
            limits: Limits::default(),
            grace: LONG,
            set_headers: Vec::new(),
            remove_headers: Vec::new(),
            rewrite: None,
            protocol: Protocol::Http1,
            tls: None,
            shown: None,
        }
    }
}

/// A gateway: `ANY /free/*` is free, `ANY /kept/*` is denied with 403, all else is unmatched.
pub(crate) struct Gateway {
    pub(crate) address: SocketAddr,
    settings: Settings,
    pub(crate) upstreams: Upstreams,
    guard: Arc<ArcSwap<Guard<Upstreams>>>,
    stop: CancellationToken,
    serving: JoinSet<usize>,
}

impl Gateway {
    pub(crate) async fn start(servers: &[SocketAddr], options: Options) -> Self {
        let parsed = |(name, value): &(&str, &str)| (name.parse().unwrap(), value.parse().unwrap());
        let set = options.set_headers.iter().map(parsed).collect();
        let settings = Settings {
            name: "origin".to_owned(),
            servers: servers.iter().map(|server| server.to_string().parse().unwrap()).collect(),
            protocol: options.protocol,
            tls: options.tls,
            connect_timeout: options.connect,
            idle_timeout: options.idle,
            max_in_flight: options.max_in_flight,
            max_waiting: options.max_in_flight,
            is_sold: options.is_sold,
            eject: options.eject,
            check: options.check,
            headers: HeaderChanges { set, remove: options.remove_headers },
        };
        let upstreams = Upstreams::new(std::slice::from_ref(&settings));
        let stop = CancellationToken::new();
        if settings.check.is_some() {
            upstreams.watch(&TaskTracker::new(), &stop);
        }
        let route = |pattern: &str, access| Route {
            name: pattern.into(),
            pattern: Pattern::parse(pattern).unwrap(),
            access,
            upstream: 0,
            timeout: options.patience,
            body_limit: options.body_limit,
            tunnel: options.tunnel,
            rewrite: options.rewrite.clone().map(Box::new),
            counts: Counts::default(),
            callers: Default::default(),
        };
        let table = Table::new(vec![
            route(options.free, Access::Free),
            route("ANY /kept/*", Access::Denied(StatusCode::FORBIDDEN)),
        ]);
        let guard = Arc::new(ArcSwap::from_pointee(guard(upstreams.clone())));
        let road = Road { table: Arc::new(table.unwrap()), guard: guard.clone() };
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut serving = JoinSet::new();
        let door = match options.shown {
            Some(shown) => Door::from(listener).with_tls(shown),
            None => Door::from(listener),
        };
        serving.spawn(server::serve(door, road, options.limits, options.grace, stop.clone()));
        Self { address, settings, upstreams, guard, stop, serving }
    }

    /// Before an upstream with ordinary settings.
    pub(crate) async fn before(origin: &Origin) -> Self {
        Self::start(&[origin.address], Options::default()).await
    }

    /// One of another address than all others.
    pub(crate) async fn stranger(&self, number: u8) -> Peer {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 1, number], 0).into()).unwrap();
        Peer::new(socket.connect(self.address).await.unwrap())
    }

    pub(crate) async fn client(&self) -> Peer {
        Peer::new(TcpStream::connect(self.address).await.unwrap())
    }

    /// Sends these bytes on a new connection and reads what comes until the gateway closes it.
    pub(crate) async fn exchange(&self, request: &str) -> String {
        let mut client = self.client().await;
        client.send(request).await;
        String::from_utf8(client.rest().await).unwrap()
    }

    /// The status line's code for these bytes.
    pub(crate) async fn status(&self, request: &str) -> u16 {
        let mut client = self.client().await;
        client.send(request).await;
        client.status().await
    }

    /// Has other settings for the upstream from now on.
    pub(crate) fn reload(&mut self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.settings);
        self.upstreams = self.upstreams.followed_by(std::slice::from_ref(&self.settings));
        self.guard.store(Arc::new(guard(self.upstreams.clone())));
    }

    /// Begins to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    /// How many connections were cut off, once the gateway has stopped.
    pub(crate) async fn stopped(mut self) -> usize {
        within(self.serving.join_next()).await.unwrap().unwrap()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn guard(upstreams: Upstreams) -> Guard<Upstreams> {
    Guard::new(upstreams, Methods::default(), Clock::system(), TaskTracker::new())
}

#[derive(Clone)]
struct Road {
    table: Arc<Table>,
    guard: Arc<ArcSwap<Guard<Upstreams>>>,
}

impl server::Service for Road {
    type Body = Body<ResponseBody>;

    fn answer(
        &self,
        inbound: Inbound,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static {
        let (table, guard) = (self.table.clone(), self.guard.load_full());
        async move {
            let Inbound { request, target } = inbound;
            match table.find(request.method(), target.path()) {
                Match::Found(route) => guard.answer(request, route.clone(), target.as_str()).await,
                Match::LookAlike => own(StatusCode::BAD_REQUEST, "look-alike"),
                Match::WrongMethod { .. } => own(StatusCode::METHOD_NOT_ALLOWED, "method"),
                Match::Unmatched => own(StatusCode::NOT_FOUND, "unmatched"),
            }
        }
    }

    fn refuse(&self, refused: Refused, _: &HeaderMap) -> Response<Self::Body> {
        own(refused.status(), &refused.to_string())
    }
}

fn own(status: StatusCode, detail: &str) -> Response<Body<ResponseBody>> {
    Problem::new(status, detail).into_response().map(Either::Left)
}

/// An upstream that does what a test tells it.
pub(crate) struct Origin {
    pub(crate) address: SocketAddr,
    heads: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    _serving: JoinSet<()>,
}

impl Origin {
    /// Runs `script` on every connection.
    pub(crate) async fn start<F, Fut>(script: F) -> Self
    where
        F: Fn(Peer) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        Self::behind(TcpListener::bind("127.0.0.1:0").await.unwrap(), script)
    }

    fn behind<F, Fut>(listener: TcpListener, script: F) -> Self
    where
        F: Fn(Peer) -> Fut + Send + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        let address = listener.local_addr().unwrap();
        let heads = Arc::new(Mutex::new(Vec::new()));
        let mut serving = JoinSet::new();
        let connections = Arc::new(AtomicUsize::new(0));
        let (log, count) = (heads.clone(), connections.clone());
        serving.spawn(async move {
            let mut conversations = JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                conversations.spawn(script(Peer {
                    stream,
                    buffer: Vec::new(),
                    heads: log.clone(),
                }));
            }
        });
        Self { address, heads, connections, _serving: serving }
    }

    /// Answers every request with this, once its head has come. For requests without bodies.
    pub(crate) async fn answering(answer: &'static str) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), answer).await
    }

    /// The same, at this address.
    pub(crate) async fn at(address: SocketAddr, answer: &'static str) -> Self {
        let script = move |mut peer: Peer| async move {
            while peer.head().await.is_some() {
                peer.send(answer).await;
            }
        };
        Self::behind(TcpListener::bind(address).await.unwrap(), script)
    }

    /// The heads of the requests that it has seen.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }

    /// How many connections it has accepted.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }
}

/// One end of a connection.
pub(crate) struct Peer {
    pub(crate) stream: TcpStream,
    buffer: Vec<u8>,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Peer {
    fn new(stream: TcpStream) -> Self {
        Self { stream, buffer: Vec::new(), heads: Arc::default() }
    }

    pub(crate) async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        within(self.stream.write_all(bytes.as_ref())).await.unwrap();
    }

    /// A head with its empty line; `None` if the other side closed before it.
    pub(crate) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                let head = String::from_utf8(head).unwrap();
                self.heads.lock().unwrap().push(head.clone());
                return Some(head);
            }
            if self.fill().await == 0 {
                return None;
            }
        }
    }

    /// How many bytes have been read and not been looked at.
    pub(crate) const fn buffered(&self) -> usize {
        self.buffer.len()
    }

    /// The status of an answer whose head comes next.
    pub(crate) async fn status(&mut self) -> u16 {
        let head = self.head().await.expect("an answer");
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Exactly this many bytes.
    pub(crate) async fn take(&mut self, length: usize) -> Vec<u8> {
        while self.buffer.len() < length {
            assert_ne!(self.fill().await, 0, "closed after {} of {length}", self.buffer.len());
        }
        self.buffer.drain(..length).collect()
    }

    /// The next chunk of a chunked body; empty at its end.
    pub(crate) async fn chunk(&mut self) -> Vec<u8> {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            line.extend(self.take(1).await);
        }
        let size = std::str::from_utf8(&line).unwrap().trim_end();
        let size = usize::from_str_radix(size, 16).unwrap();
        let mut chunk = self.take(size + 2).await;
        chunk.truncate(size);
        chunk
    }

    /// A chunked body.
    pub(crate) async fn chunks(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let chunk = self.chunk().await;
            if chunk.is_empty() {
                return body;
            }
            body.extend(chunk);
        }
    }

    /// Everything until the other side closes, or breaks off.
    pub(crate) async fn rest(&mut self) -> Vec<u8> {
        while self.fill().await > 0 {}
        std::mem::take(&mut self.buffer)
    }

    /// Reads some more; 0 at the end.
    async fn fill(&mut self) -> usize {
        let mut some = [0; 16 * 1024];
        let length = within(self.stream.read(&mut some)).await.unwrap_or(0);
        self.buffer.extend_from_slice(&some[..length]);
        length
    }
}

/// Fails instead of hanging.
pub(crate) async fn within<F: Future>(future: F) -> F::Output {
    timeout(LONG, future).await.expect("it hangs")
}

/// The head without the gateway's `date`, its lines sorted after the first.
pub(crate) fn sorted(head: &str) -> Vec<String> {
    let mut lines = head.trim_end().split("\r\n").map(str::to_owned);
    let first = lines.next().unwrap();
    let mut lines: Vec<String> = lines.filter(|line| !line.starts_with("date:")).collect();
    lines.sort_by_key(|line| line.split(':').next().unwrap().to_owned());
    lines.insert(0, first);
    lines
}

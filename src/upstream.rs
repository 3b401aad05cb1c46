//! The services behind the gateway: forwards what the guard admitted, and nothing else.
//!
//! Bodies stream both ways, as fast as the slower side takes them; nothing is buffered. Redirects, errors and encodings
//! pass through as they are, and so does the client's `Host`: the upstream sees the address that the client asked for.
//! HTTP/1.1 only, without TLS. Knows neither routes' prices nor payments, but for the headers that carry them.

mod body;
pub(crate) mod headers;

use std::{
    error::Error as StdError,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version,
    uri::{Authority, Scheme},
};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

pub use self::body::{BodyError, ResponseBody};
use self::body::{Pace, Upload};
use crate::{
    guard::{Admitted, Forward, Obstacle, Onward},
    route::Route,
};

/// One upstream of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, for messages.
    pub name: String,
    /// Its servers; never empty.
    pub servers: Vec<Authority>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a body may stand still, in either direction.
    pub idle_timeout: Duration,
    /// How many requests may be under way at once.
    pub max_in_flight: u32,
    /// Headers set on every request to it, in place of the client's.
    pub set_headers: Vec<(HeaderName, HeaderValue)>,
}

/// All upstreams. Clones share them.
#[derive(Debug)]
pub struct Upstreams<B = Onward<Incoming>>(Arc<[Arc<Upstream<B>>]>);

impl<B> Upstreams<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// The upstreams of `settings`; routes name them by their index.
    #[must_use]
    pub fn new(settings: &[Settings]) -> Self {
        Self(settings.iter().map(|settings| Arc::new(Upstream::new(settings))).collect())
    }
}

impl<B> Clone for Upstreams<B> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<B> Forward<B> for Upstreams<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    type Slot = Slot<B>;
    type Body = ResponseBody;

    async fn reserve(&self, route: &Route, patience: Duration) -> Result<Slot<B>, Obstacle> {
        let upstream = self.0.get(route.upstream).ok_or(Obstacle::Busy)?;
        let permit = timeout(patience, upstream.room.clone().acquire_owned()).await;
        let permit = permit.map_err(|_| Obstacle::Busy)?.map_err(|_| Obstacle::Busy)?;
        let server = upstream.least_busy().ok_or(Obstacle::Busy)?;
        Ok(Slot { upstream: upstream.clone(), server, permit })
    }

    async fn forward(
        &self,
        slot: Slot<B>,
        route: &Route,
        request: Admitted<Request<B>>,
    ) -> Result<Response<ResponseBody>, Obstacle> {
        slot.forward(route, request.into_inner()).await
    }
}

/// Room for one request to one server; kept until the answer's body has ended.
#[derive(Debug)]
pub struct Slot<B> {
    upstream: Arc<Upstream<B>>,
    server: Arc<Server>,
    permit: OwnedSemaphorePermit,
}

impl<B> Slot<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    async fn forward(
        self,
        route: &Route,
        request: Request<B>,
    ) -> Result<Response<ResponseBody>, Obstacle> {
        let idle = self.upstream.idle_timeout;
        let (mut head, body) = request.into_parts();
        headers::prepare_request(&mut head, &self.upstream.set_headers);
        let mut uri = Uri::builder().scheme(Scheme::HTTP).authority(self.server.address.clone());
        if let Some(target) = head.uri.path_and_query() {
            uri = uri.path_and_query(target.clone());
        }
        head.uri = uri.build().map_err(|error| Obstacle::Broken(error.to_string()))?;
        head.version = Version::HTTP_11;
        let pace = Pace::of(&body);
        let upload = Upload::new(body, idle, route.body_limit, pace.clone());
        let answer = self.upstream.client.request(Request::from_parts(head, upload));
        let answer = pace.wait(route.timeout, answer).await.ok_or(Obstacle::TimedOut)?;
        let mut answer = answer.map_err(|error| obstacle_of(&error))?;
        if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
            return Err(Obstacle::Broken("it switches protocols, unasked".to_owned()));
        }
        headers::strip_response(answer.headers_mut());
        *answer.version_mut() = Version::HTTP_11;
        Ok(answer.map(|body| ResponseBody::new(body, idle, (self.server, self.permit))))
    }
}

/// One upstream.
#[derive(Debug)]
struct Upstream<B> {
    client: Client<HttpConnector, Upload<B>>,
    servers: Vec<Arc<Server>>,
    /// Where the search for the least busy server begins, so that idle ones take turns.
    turn: AtomicUsize,
    room: Arc<Semaphore>,
    idle_timeout: Duration,
    set_headers: Vec<(HeaderName, HeaderValue)>,
}

/// One server of an upstream. Whoever uses it holds the `Arc`, and so the count says how many do.
#[derive(Debug)]
struct Server {
    address: Authority,
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    fn new(settings: &Settings) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(settings.connect_timeout));
        connector.set_nodelay(true);
        let client = Client::builder(TokioExecutor::new())
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(connector);
        Self {
            client,
            servers: settings
                .servers
                .iter()
                .cloned()
                .map(|address| Server { address })
                .map(Arc::new)
                .collect(),
            turn: AtomicUsize::new(0),
            room: Arc::new(Semaphore::new(
                usize::try_from(settings.max_in_flight).unwrap_or(usize::MAX),
            )),
            idle_timeout: settings.idle_timeout,
            set_headers: settings.set_headers.clone(),
        }
    }

    /// The server with the fewest requests under way.
    fn least_busy(&self) -> Option<Arc<Server>> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(self.servers.len())?;
        let (first, last) = self.servers.split_at_checked(turn)?;
        last.iter().chain(first).min_by_key(|server| Arc::strong_count(server)).cloned()
    }
}

/// Why the connection gave no answer.
fn obstacle_of(error: &legacy::Error) -> Obstacle {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        match cause.downcast_ref::<BodyError>() {
            Some(BodyError::TooLong(limit)) => return Obstacle::BodyTooLong(*limit),
            Some(lost) => return Obstacle::BodyLost(lost.to_string()),
            None => text = format!("{text}: {cause}"),
        }
        source = cause.source();
    }
    if error.is_connect() { Obstacle::Unreachable(text) } else { Obstacle::Broken(text) }
}

type BoxError = Box<dyn StdError + Send + Sync>;

/// Shorter than the 5 seconds after which Node and uvicorn close an idle connection: a request that is sent while the
/// other side closes is lost, and a paid one must not be sent twice.
const POOL_IDLE: Duration = Duration::from_secs(4);

//! The services behind the gateway: forwards what the guard admitted, and nothing else.
//!
//! Bodies stream both ways, as fast as the slower side takes them; nothing is buffered. Redirects, errors and encodings
//! pass through as they are, and so does the client's `Host`: the upstream sees the address that the client asked for.
//! HTTP/1.1 or HTTP/2, with or without TLS. Knows neither routes' prices nor payments, but for the headers that carry
//! them.
//!
//! A request is sent once. Only one that was handed back unsent, because a connection that had been idle was closed
//! meanwhile, goes out on another.

mod answer;
mod body;
mod connect;
pub(crate) mod headers;
mod lease;
mod pace;
mod pool;
mod tls;

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
    HeaderName, HeaderValue, Request, Response, StatusCode, Version, header,
    uri::{Authority, Scheme},
};
use http_body::Body;
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use self::{
    body::Upload,
    connect::{Dialer, Tasks},
    lease::Lease,
    pace::{Gate, GoAhead, Pace},
    pool::{Server, Use},
};
pub use self::{
    body::{BodyError, ResponseBody},
    tls::{Tls, TlsError, TlsSettings},
};
use crate::{
    guard::{Admitted, Forward, Obstacle, Onward},
    route::Route,
    tunnel::Tunnel,
};

/// One upstream of the configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name, for messages.
    pub name: String,
    /// Its servers; never empty.
    pub servers: Vec<Authority>,
    /// What they speak.
    pub protocol: Protocol,
    /// How connections to them are secured, if they are.
    pub tls: Option<Tls>,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long a body may stand still, in either direction.
    pub idle_timeout: Duration,
    /// How many requests may be under way at once.
    pub max_in_flight: u32,
    /// Headers set on every request to it, in place of the client's.
    pub set_headers: Vec<(HeaderName, HeaderValue)>,
}

/// What an upstream speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2: over TLS where it is agreed on (ALPN), else with prior knowledge.
    Http2,
    /// What the server chooses, by ALPN; without TLS that is HTTP/1.1.
    Negotiated,
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
    type Body = ResponseBody<B>;

    async fn reserve(&self, route: &Route, patience: Duration) -> Result<Slot<B>, Obstacle> {
        let upstream = self.0.get(route.upstream).ok_or(Obstacle::Busy)?;
        let permit = match upstream.room.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => {
                let permit = timeout(patience, upstream.room.clone().acquire_owned()).await;
                permit.map_err(|_| Obstacle::Busy)?.map_err(|_| Obstacle::Busy)?
            }
        };
        let server = upstream.least_busy().ok_or(Obstacle::Busy)?;
        let place = Place { _permit: permit, _load: server.load.clone() };
        Ok(Slot { upstream: upstream.clone(), server, place })
    }

    async fn forward(
        &self,
        slot: Slot<B>,
        route: &Route,
        request: Admitted<Request<B>>,
    ) -> Result<Response<ResponseBody<B>>, Obstacle> {
        slot.forward(route, request.into_inner()).await
    }
}

/// Room for one request to one server; kept until the answer's body has ended, and the request's.
#[derive(Debug)]
pub struct Slot<B> {
    upstream: Arc<Upstream<B>>,
    server: Arc<Server<B>>,
    place: Place,
}

/// What a request takes at its upstream while it is under way.
#[derive(Debug)]
struct Place {
    _permit: OwnedSemaphorePermit,
    _load: Arc<()>,
}

impl<B> Slot<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    async fn forward(
        self,
        route: &Route,
        request: Request<B>,
    ) -> Result<Response<ResponseBody<B>>, Obstacle> {
        let Self { upstream, server, place } = self;
        let idle = upstream.idle_timeout;
        let (mut head, body) = request.into_parts();
        let has_body = !body.is_end_stream();
        let is_h1 = head.version < Version::HTTP_2;
        let can_h1 = upstream.dialer.protocol != Protocol::Http2;
        let wanted = headers::wanted_upgrade(&head).filter(|_| can_h1 && !has_body);
        let is_held = has_body && headers::expects_continue(&head) && can_h1;
        headers::prepare_request(&mut head, &upstream.set_headers);
        if let Some(protocol) = &wanted {
            head.headers.insert(header::CONNECTION, UPGRADE);
            head.headers.insert(header::UPGRADE, protocol.clone());
        }
        let (gate, go_ahead) = is_held.then(Gate::new).unzip();
        if is_held {
            head.headers.insert(header::EXPECT, CONTINUE);
        }
        let (pace, place) = Pace::new(&body, is_held, place);
        let upload = Upload::new(body, idle, route.body_limit, pace.clone(), gate);
        let sending = Sending {
            dialer: &upstream.dialer,
            server: &server,
            patience: route.timeout,
            needs_h1: wanted.is_some(),
            pace,
            go_ahead,
        };
        let (mut answer, mut lease) = sending.send(Request::from_parts(head, upload)).await?;
        let broken = |what: &str| Err(Obstacle::Broken(what.to_owned()));
        if let Some(fault) = answer::ambiguity(answer.headers()) {
            return broken(fault);
        }
        let status = answer.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let agreed = answer.headers().get(header::UPGRADE);
            let Some(agreed) = agreed.filter(|agreed| is_same(wanted.as_ref(), agreed)).cloned()
            else {
                return broken("it switches protocols, unasked");
            };
            lease.leave();
            let far = hyper::upgrade::on(&mut answer);
            headers::strip_response(answer.headers_mut());
            answer.headers_mut().insert(header::CONNECTION, UPGRADE);
            answer.headers_mut().insert(header::UPGRADE, agreed);
            answer.extensions_mut().insert(Tunnel::new(far, idle, Arc::new(place)));
            return Ok(answer.map(|body| ResponseBody::new(body, idle, lease, None, None)));
        }
        if answer::is_last(answer.headers()) {
            lease.set_last();
        }
        headers::strip_response(answer.headers_mut());
        *answer.version_mut() = Version::HTTP_11;
        // hyper leaves it out of an answer of HTTP/1 that has no body; in HTTP/2 it passes as it is.
        let is_told = is_h1 && status == StatusCode::NOT_MODIFIED;
        let told = is_told.then(|| answer::length(answer.headers()));
        let told = told.flatten();
        Ok(answer.map(|body| ResponseBody::new(body, idle, lease, told, place)))
    }
}

/// A request on its way to a server.
struct Sending<'a, B> {
    dialer: &'a Dialer,
    server: &'a Arc<Server<B>>,
    patience: Duration,
    needs_h1: bool,
    pace: Pace,
    go_ahead: Option<GoAhead>,
}

impl<B> Sending<'_, B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// Sends the request and waits for the head of its answer.
    async fn send(
        self,
        mut request: Request<Upload<B>>,
    ) -> Result<(Response<Incoming>, Lease<B>), Obstacle> {
        loop {
            // Whoever waits for others to connect waits no longer than for an answer; nothing of the request is sent yet.
            let connected = self.server.connection(self.dialer, self.needs_h1);
            let connected = timeout(self.patience, connected).await.map_err(|_| {
                let what = format!("it was not connected within {:?}", self.patience);
                Obstacle::Unreachable(what)
            })?;
            let (connection, is_new) =
                connected.map_err(|error| Obstacle::Unreachable(error.to_string()))?;
            let (sent, lease) = match connection {
                Use::Link(link) => self.send_h1(link, request).await?,
                Use::Stream(stream) => self.send_h2(stream, request).await?,
            };
            let mut failure = match sent {
                Ok(answer) => return Ok((answer, lease)),
                Err(failure) => failure,
            };
            match failure.take_message() {
                // The connection was closed before anything of the request was on it.
                Some(unsent) if !is_new => request = unsent,
                Some(_) => return Err(Obstacle::Unreachable(causes(failure.error()))),
                None => return Err(self.obstacle(failure.error())),
            }
        }
    }

    async fn send_h1(
        &self,
        mut link: pool::Link<B>,
        mut request: Request<Upload<B>>,
    ) -> Result<(Sent<B>, Lease<B>), Obstacle> {
        headers::frame(&mut request);
        headers::fit_h1(&mut request, &self.server.address).map_err(unwritable)?;
        answer::watch_interim(&mut request, link.cutter(), self.go_ahead.clone());
        let answer = link.sender.try_send_request(request);
        // Dropped while it waits, it cuts the connection off.
        let lease = Lease::of_link(link, self.server.clone(), self.pace.clone());
        let sent = self.pace.wait(self.patience, answer).await.ok_or(Obstacle::TimedOut)?;
        Ok((sent, lease))
    }

    async fn send_h2(
        &self,
        mut stream: pool::Stream<B>,
        mut request: Request<Upload<B>>,
    ) -> Result<(Sent<B>, Lease<B>), Obstacle> {
        let scheme = if self.dialer.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        headers::fit_h2(&mut request, scheme, &self.server.address).map_err(unwritable)?;
        request.extensions_mut().clear();
        // Nothing tells here that the upstream wants the body.
        if let Some(go_ahead) = &self.go_ahead {
            go_ahead.give();
        }
        let lease = Lease::of_stream(stream.place.clone());
        let answer = stream.sender.try_send_request(request);
        let sent = self.pace.wait(self.patience, answer).await.ok_or(Obstacle::TimedOut)?;
        Ok((sent, lease))
    }

    /// Why there is no answer to a request of which something was sent.
    fn obstacle(&self, error: &hyper::Error) -> Obstacle {
        self.pace.take_lost().unwrap_or_else(|| Obstacle::Broken(causes(error)))
    }
}

type Sent<B> = Result<Response<Incoming>, TrySendError<Request<Upload<B>>>>;

/// One upstream.
#[derive(Debug)]
struct Upstream<B> {
    dialer: Dialer,
    servers: Vec<Arc<Server<B>>>,
    /// Where the search for the least busy server begins, so that idle ones take turns.
    turn: AtomicUsize,
    room: Arc<Semaphore>,
    idle_timeout: Duration,
    set_headers: Vec<(HeaderName, HeaderValue)>,
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    fn new(settings: &Settings) -> Self {
        let tasks = Tasks::default();
        let server = |address: &Authority| Server::new(address.clone(), tasks.clone());
        let servers = settings.servers.iter().map(server).map(Arc::new).collect();
        let protocol = match (settings.protocol, &settings.tls) {
            (Protocol::Negotiated, None) => Protocol::Http1,
            (protocol, _) => protocol,
        };
        let dialer = Dialer {
            tls: settings.tls.clone(),
            protocol,
            timeout: settings.connect_timeout,
            tasks,
        };
        let room = usize::try_from(settings.max_in_flight).unwrap_or(usize::MAX);
        Self {
            dialer,
            servers,
            turn: AtomicUsize::new(0),
            room: Arc::new(Semaphore::new(room)),
            idle_timeout: settings.idle_timeout,
            set_headers: settings.set_headers.clone(),
        }
    }

    /// The server with the fewest requests under way.
    fn least_busy(&self) -> Option<Arc<Server<B>>> {
        if let [only] = self.servers.as_slice() {
            return Some(only.clone());
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed).checked_rem(self.servers.len())?;
        let (first, last) = self.servers.split_at_checked(turn)?;
        last.iter().chain(first).min_by_key(|server| Arc::strong_count(&server.load)).cloned()
    }
}

/// Whether an upstream switches to the protocol that was asked for.
fn is_same(wanted: Option<&HeaderValue>, agreed: &HeaderValue) -> bool {
    wanted.is_some_and(|wanted| wanted.as_bytes().eq_ignore_ascii_case(agreed.as_bytes()))
}

fn unwritable(error: http::Error) -> Obstacle {
    Obstacle::Unreachable(error.to_string())
}

/// An error with all that caused it.
fn causes(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

type BoxError = Box<dyn StdError + Send + Sync>;

const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
const CONTINUE: HeaderValue = HeaderValue::from_static("100-continue");

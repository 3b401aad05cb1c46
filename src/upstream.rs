//! The services behind the gateway: forwards what the guard admitted, and nothing else.
//!
//! Bodies stream both ways, as fast as the slower side takes them; nothing is buffered. Redirects, errors and encodings
//! pass through as they are, and so does the client's `Host`: the upstream sees the address that the client asked for.
//! HTTP/1.1 or HTTP/2, with or without TLS. Knows neither routes' prices nor payments, but for the headers that carry
//! them.
//!
//! A request is sent once. Only one of which nothing was sent, because a connection that had been idle was closed
//! meanwhile or because a server takes none, goes out on another connection or to another server.

mod room;

mod check;
mod choice;
mod health;

mod outgoing;
mod sending;

mod answer;
mod body;
pub(crate) mod headers;
mod lease;
mod pace;

mod connect;
mod names;
mod pool;
mod tls;

use std::{error::Error as StdError, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, Response, uri::Authority};
use http_body::Body;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::{
    body::{BodyError, ResponseBody},
    check::Check,
    health::Eject,
    tls::{Tls, TlsError, TlsSettings},
};
use self::{
    choice::{Member, Servers},
    connect::Dialer,
    health::Standing,
    pool::Server,
    room::{Bounds, Place, Room},
    sending::Sending,
};
use crate::{
    guard::{Admitted, Comer, Forward, Obstacle},
    route::{HeaderChanges, Route},
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
    /// How many may wait for one of those to end.
    pub max_waiting: u32,
    /// Whether some of them are paid for: then those that are not have half of that room.
    pub is_sold: bool,
    /// When a server is passed over for its answers.
    pub eject: Eject,
    /// How servers are asked how they are, if they are.
    pub check: Option<Check>,
    /// What it sees of every request's headers.
    pub headers: HeaderChanges,
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
pub struct Upstreams<B>(Arc<[Arc<Upstream<B>>]>);

impl<B> Upstreams<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// The upstreams of `settings`; routes name them by their index.
    #[must_use]
    pub fn new(settings: &[Settings]) -> Self {
        let upstream = |settings| Arc::new(Upstream::new(settings, None));
        Self(settings.iter().map(upstream).collect())
    }

    /// The upstreams of `settings`, in place of these. A server of the same upstream that is still there, and is spoken to
    /// as before, keeps its connections, and what is known of it; requests under way count as before.
    #[must_use]
    pub fn followed_by(&self, settings: &[Settings]) -> Self {
        let upstream = |settings: &Settings| {
            let before = self.0.iter().find(|before| before.name == settings.name);
            Arc::new(Upstream::new(settings, before.map(|before| &**before)))
        };
        Self(settings.iter().map(upstream).collect())
    }

    /// Looks after the servers on `tasks` until `stop`: what their health checks find keeps requests from them. New ones
    /// are connected to once.
    pub fn watch(&self, tasks: &TaskTracker, stop: &CancellationToken) {
        for upstream in &*self.0 {
            let (members, dialer) = (upstream.servers.all().to_vec(), upstream.dialer.clone());
            let stop = stop.clone();
            match upstream.check.clone() {
                Some(check) => {
                    let checks =
                        check::check_all(members, dialer, check, upstream.headers.set.clone());
                    tasks.spawn(async move { stop.run_until_cancelled(checks).await });
                }
                None => {
                    let greeting = check::greet_all(members, dialer);
                    tasks.spawn(async move { stop.run_until_cancelled(greeting).await });
                }
            }
        }
    }

    /// All servers, and how they are.
    pub fn servers(&self) -> impl Iterator<Item = ServerState<'_>> {
        self.0.iter().flat_map(|upstream| {
            upstream.servers.all().iter().map(|member| ServerState {
                upstream: &upstream.name,
                address: &member.server.address,
                is_healthy: member.standing() == Standing::Fit,
                under_way: member.under_way(),
            })
        })
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

    fn can_serve(&self, route: &Route) -> bool {
        self.0.get(route.upstream).is_some_and(|upstream| upstream.servers.is_any_fit())
    }

    async fn reserve(
        &self,
        route: &Route,
        comer: Comer,
        patience: Duration,
    ) -> Result<Slot<B>, Obstacle> {
        let upstream = self.0.get(route.upstream).ok_or(Obstacle::Busy)?;
        let place = upstream.room.take(comer, patience).await?;
        if !upstream.servers.is_any_fit() {
            return Err(Obstacle::Down);
        }
        Ok(Slot { upstream: upstream.clone(), place })
    }

    fn forward(
        &self,
        slot: Slot<B>,
        route: &Route,
        request: Admitted<Box<Request<B>>>,
    ) -> impl Future<Output = Result<Response<ResponseBody<B>>, Obstacle>> + Send {
        slot.forward(route, request.into_inner())
    }
}

/// How one server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerState<'a> {
    /// The name of its upstream.
    pub upstream: &'a str,
    /// Where it is.
    pub address: &'a Authority,
    /// Whether requests go to it.
    pub is_healthy: bool,
    /// How many are under way at it.
    pub under_way: usize,
}

/// Room for one request; kept until the answer's body has ended, and the request's. Which server it goes to is found out
/// when it is sent: by then one may be gone.
#[derive(Debug)]
pub struct Slot<B> {
    upstream: Arc<Upstream<B>>,
    place: Place,
}

impl<B> Slot<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    async fn forward(
        self,
        route: &Route,
        request: Box<Request<B>>,
    ) -> Result<Response<ResponseBody<B>>, Obstacle> {
        let Self { upstream, place } = self;
        let (request, outgoing) = upstream.prepare(route, *request, place)?;
        let sending = Sending {
            dialer: &upstream.dialer,
            servers: &upstream.servers,
            patience: route.timeout,
            needs_h1: outgoing.wanted.is_some(),
            pace: outgoing.pace.clone(),
            go_ahead: outgoing.go_ahead.clone(),
            reached: &outgoing.reached,
        };
        let (answer, lease) = sending.send(request).await?;
        outgoing.answered(answer, lease)
    }
}

/// One upstream.
#[derive(Debug)]
struct Upstream<B> {
    name: String,
    dialer: Dialer,
    servers: Servers<B>,
    check: Option<Check>,
    room: Arc<Room>,
    idle_timeout: Duration,
    headers: HeaderChanges,
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// The upstream of `settings`, in place of the one `before`.
    fn new(settings: &Settings, before: Option<&Self>) -> Self {
        let protocol = match (settings.protocol, &settings.tls) {
            (Protocol::Negotiated, None) => Protocol::Http1,
            (protocol, _) => protocol,
        };
        let dialer = Dialer {
            tls: settings.tls.clone(),
            protocol,
            timeout: settings.connect_timeout,
            most_links: usize::try_from(settings.max_in_flight).unwrap_or(usize::MAX),
            names: before.map(|before| before.dialer.names.clone()).unwrap_or_default(),
            tasks: before.map(|before| before.dialer.tasks.clone()).unwrap_or_default(),
        };
        let known = before.filter(|before| before.dialer.speaks_as(&dialer));
        let known = known.map(|before| before.servers.all()).unwrap_or_default();
        let member = |address: &Authority| {
            let known = known.iter().find(|member| member.server.address == *address).cloned();
            known.unwrap_or_else(|| {
                Arc::new(Member::new(Server::new(address.clone(), dialer.tasks.clone())))
            })
        };
        let servers = Servers::new(settings.servers.iter().map(member), settings.eject);
        if settings.check.is_none() {
            servers.all().iter().for_each(|member| member.health.forget_checks());
        }
        let Settings { max_in_flight: places, max_waiting: waiting, is_sold, .. } = *settings;
        let bounds = Bounds { places, waiting, is_sold };
        let room = match before {
            Some(before) => {
                before.room.resize(bounds);
                before.room.clone()
            }
            None => Arc::new(Room::new(bounds)),
        };
        Self {
            name: settings.name.clone(),
            dialer,
            servers,
            check: settings.check.clone(),
            room,
            idle_timeout: settings.idle_timeout,
            headers: settings.headers.clone(),
        }
    }
}

type BoxError = Box<dyn StdError + Send + Sync>;

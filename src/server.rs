//! The front door: accepts connections, reads requests strictly, and lets the door close in order.
//!
//! HTTP/1.1 and HTTP/2 (with prior knowledge) come in on one port. What the edge ([`Refused`]) lets through has one
//! canonical [`Target`] and one `Host`, and is handed to a [`Service`]. The server knows no route and no payment.
//!
//! Bounded here: connections, the size of a request's head and the number of its headers, the streams of an HTTP/2
//! connection, and the time that a client may keep any of it for nothing. What hyper does not let an edge see is refused
//! before hyper sees it (`framing`); what goes to the upstream is written anew and so has one framing.
//!
//! Source: RFC 9112 sections 3 and 6, RFC 9113 section 8.3.

mod arriving;
#[cfg(any(test, fuzzing))]
pub(crate) mod door;
mod edge;
mod entrance;
mod framing;
mod gate;
mod limits;
mod linger;
mod places;
mod preface;
mod proxied;
mod stream;
mod streams;
mod switch;
mod turn;

pub mod bearer;
pub mod tls;

use std::{
    convert::Infallible, future::poll_fn, io, net::SocketAddr, pin::pin, sync::Arc, time::Duration,
};

use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Version, header, uri::Scheme};
use http_body::Body;
use hyper::{body::Incoming, server::conn, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, warn};

pub use self::{
    arriving::Arriving,
    entrance::{Door, Entrance, Manner},
    framing::Refused,
    limits::Limits,
    proxied::Proxies,
};
use self::{
    edge::Way,
    gate::{Keeper, Turn},
    places::{Place, Places},
    stream::Stream,
    streams::Streams,
    switch::{Points, Switch},
    tls::Named,
    turn::Told,
};
use crate::{
    haste::Haste,
    protocol::target::Target,
    telemetry::level::Level,
    workers::{Chosen, Workers},
};

/// What the server hands requests to.
pub trait Service: Clone + Send + Sync + 'static {
    /// The body of an answer.
    type Body: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static;

    /// Answers a request that the edge let through.
    ///
    /// `101 Switching Protocols` carries a [`Tunnel`](crate::tunnel::Tunnel) in its extensions, which the server joins to
    /// the client's connection once that answer has gone out.
    ///
    /// # Cancellation
    /// The future is dropped when the client goes away.
    fn answer(
        &self,
        inbound: Inbound,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static;

    /// Answers a request that the edge refused, whose headers are empty if they could not be read; on HTTP/1 the connection
    /// is closed after it.
    fn refuse(&self, refused: Refused, headers: &HeaderMap) -> Response<Self::Body>;

    /// Where its connections are counted, if they are.
    fn connections(&self) -> Option<&Level> {
        None
    }
}

/// A request with one reading.
#[derive(Debug)]
pub struct Inbound<B = Arriving> {
    /// The request. Its URI is the canonical target, with scheme and authority if it has a `Host`; HTTP/2 requests have
    /// their `:authority` as `Host`. Its extensions hold the [`SocketAddr`] of who sent it, and [`Secured`] if nobody
    /// could read it on its way.
    pub request: Request<B>,
    /// The canonical target.
    pub target: Target,
}

/// That a request came over TLS, which ends here.
#[derive(Clone, Copy, Debug)]
pub struct Secured;

/// Why a body ended early, of whatever type.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Serves the connections of `door` until `stop`, then lets requests under way finish within `grace`.
///
/// Returns how many connections it cut off because they did not.
pub async fn serve<S: Service>(
    door: impl Into<Door>,
    service: S,
    limits: Limits,
    grace: Duration,
    stop: CancellationToken,
) -> usize {
    let Door { listener, tls, workers } = door.into();
    let entrance = Entrance::new(Manner::plain(limits, tls, grace), workers);
    serve_at(listener, service, entrance, stop).await
}

/// As [`serve`], in a manner that may change meanwhile: who has come in already is treated as before.
pub async fn serve_at<S: Service>(
    listener: TcpListener,
    service: S,
    entrance: Entrance,
    stop: CancellationToken,
) -> usize {
    stream::keep_little_unsent(&listener);
    let places = Places::default();
    let (cut, tasks) = (CancellationToken::new(), TaskTracker::new());
    let last = CancellationToken::new();
    let take_in = |accepted, worker: Option<Chosen<'_>>| {
        let (stream, peer): (TcpStream, SocketAddr) = accepted;
        let manner = entrance.now();
        match places.take(peer.ip(), &manner.limits) {
            Ok(place) => {
                let (stop, cut, leaving) = (last.clone(), cut.clone(), entrance.leaving().clone());
                let house = House { manner, leaving, stop, cut, tasks: tasks.clone() };
                let conversation = house.converse(stream, peer, place, service.clone());
                match worker {
                    Some(worker) => worker.spawn(&tasks, conversation),
                    None => drop(tasks.spawn(conversation)),
                }
            }
            Err(full) => {
                places.note(full);
                let away = places.clone().turn_away(stream, &manner, last.clone());
                tasks.spawn(cut.clone().run_until_cancelled_owned(away));
            }
        }
    };
    loop {
        let worker = entrance.workers().and_then(Workers::least_busy);
        let accepted = accept(&listener, worker.as_ref());
        let Some(accepted) = stop.run_until_cancelled(accepted).await else { break };
        take_in(accepted, worker);
    }
    // Who is in the kernel's queue already would be cut off in the middle of its request, and so would who has just sent
    // one on an open connection. Each has one more answer, if it asks at once.
    entrance.leave();
    // The runtime has to see first who is there.
    tokio::task::yield_now().await;
    while let Some(Ok(accepted)) = listener.accept().now_or_never() {
        take_in(accepted, None);
    }
    drop(listener);
    tasks.close();
    let ended = async {
        if timeout(LAST_CALL, tasks.wait()).await.is_err() {
            last.cancel();
            tasks.wait().await;
        }
    };
    if timeout(entrance.now().grace, ended).await.is_ok() {
        return 0;
    }
    let late = places.taken();
    warn!(connections = late, "cut off connections that did not finish in time");
    cut.cancel();
    tasks.wait().await;
    late
}

/// The next connection, for `worker` if there is one.
async fn accept(listener: &TcpListener, worker: Option<&Chosen<'_>>) -> (TcpStream, SocketAddr) {
    loop {
        let accepted = poll_fn(|cx| {
            // A connection belongs to the runtime that it is accepted in.
            let _entered = worker.map(Chosen::enter);
            listener.poll_accept(cx)
        });
        match accepted.await {
            Ok(accepted) => return accepted,
            // The client gave up before it was accepted, or the machine is out of file descriptors: others may do better.
            Err(error) => {
                warn!(%error, "accept a connection");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// What one connection has of its listener.
struct House {
    manner: Arc<Manner>,
    /// The gateway is about to stop: whoever can go elsewhere should.
    leaving: CancellationToken,
    /// Finish what is under way.
    stop: CancellationToken,
    /// Finish nothing.
    cut: CancellationToken,
    tasks: TaskTracker,
}

impl House {
    /// Answers the requests of one connection until it ends.
    async fn converse<S: Service>(
        self,
        stream: TcpStream,
        peer: SocketAddr,
        place: Place,
        service: S,
    ) {
        let _counted = service.connections().map(Level::raise);
        let cut = self.cut.clone();
        let ended = cut.run_until_cancelled(async {
            // Answers are written whole; waiting for more to send would only delay them.
            stream.set_nodelay(true)?;
            let entering = Box::pin(self.introduce_and_enter(stream, peer, place));
            let Some(entered) = self.stop.run_until_cancelled(entering).await else {
                return Ok(());
            };
            let ((stream, is_h2, named), peer, proxies, place) = entered?;
            let scheme = if self.manner.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
            let way = Way { peer, scheme, named, proxies };
            let ended = if is_h2 {
                // Boxed: what most connections are not would make all of them larger.
                Box::pin(self.converse_h2(stream, way, place, service)).await
            } else {
                self.converse_h1(stream, way, place, service).await
            };
            ended.map_err(io::Error::other)
        });
        if let Some(Err(error)) = ended.await {
            debug!(%error, %peer, "connection ended");
        }
    }

    /// As [`House::enter`], after a proxy has said who it is that comes: whose place it takes from then on.
    async fn introduce_and_enter(
        &self,
        mut stream: TcpStream,
        mut peer: SocketAddr,
        mut place: Place,
    ) -> io::Result<(Entered, SocketAddr, Proxies, Place)> {
        let Manner { limits, .. } = &*self.manner;
        let mut proxies = self.manner.proxies.clone();
        if self.manner.speaks_proxy {
            match timeout(limits.header_timeout, proxies.introduced(&mut stream, peer)).await?? {
                Some(told) => peer = told,
                // Whoever it is, what it says in headers is its own word and not the proxy's.
                None => proxies = Proxies::default(),
            }
            place = match place.moved_to(peer.ip(), limits) {
                Ok(place) => place,
                Err((places, full)) => {
                    places.note(full);
                    places.turn_away(stream, &self.manner, self.stop.clone()).await;
                    return Err(io::Error::other(full));
                }
            };
        }
        Ok((self.enter(stream).await?, peer, proxies, place))
    }

    /// Makes a connection ready to be spoken on, and finds out whether HTTP/2 is, and with whom.
    async fn enter(&self, stream: TcpStream) -> io::Result<Entered> {
        match &self.manner.tls {
            Some(tls) => {
                let (stream, named) =
                    timeout(self.manner.limits.handshake_timeout, Box::pin(tls.accept(stream)))
                        .await??;
                let is_h2 = tls::speaks_h2(&stream);
                Ok((Stream::Tls(Box::new(stream)), is_h2, named))
            }
            None => {
                let is_h2 = timeout(self.manner.limits.header_timeout, preface::speaks_h2(&stream))
                    .await??;
                Ok((Stream::Plain(stream), is_h2, None))
            }
        }
    }

    async fn converse_h1<S: Service>(
        &self,
        stream: Stream,
        way: Way,
        place: Place,
        service: S,
    ) -> hyper::Result<()> {
        let keeper = Keeper::new(place);
        let at = keeper.clone();
        let switch = Switch::default();
        let points = switch.clone();
        let leaving = self.leaving.clone();
        let answer = move |mut request: Request<Incoming>| {
            let (points, turn) = (points.of(&mut request), at.begin());
            let (service, way, leaving) = (service.clone(), way.clone(), leaving.clone());
            // Boxed: an idle connection has no room to keep for what a request takes while it runs. Begun within: what is
            // made before takes its room twice, and is moved there.
            Box::pin(async move {
                let mut response = answer(service, request, way, Some(turn), points).await?;
                if leaving.is_cancelled() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                    response.headers_mut().insert(header::CONNECTION, CLOSE);
                }
                Ok::<_, Infallible>(response)
            })
        };
        let mut builder = conn::http1::Builder::new();
        builder.max_header_size(self.manner.limits.header_bytes);
        // Who hardly reads must not have much kept for it.
        builder.max_buf_size(self.manner.limits.header_bytes.saturating_add(BUFFER));
        if self.manner.limits.headers > HYPERS_HEADERS {
            builder.max_headers(self.manner.limits.headers);
        }
        let gate = keeper.gate(stream, self.manner.limits);
        let connection = builder.serve_connection(TokioIo::new(gate), service_fn(answer));
        // Boxed, since futures keep room for what they were made of: an idle connection would take three times as much.
        let mut connection = Box::pin(connection.with_upgrades());
        // Dropped at its end, so that the stream comes back.
        let ended = async move {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return ended,
                () = self.stop.cancelled() => connection.as_mut().graceful_shutdown(),
            }
            connection.await
        };
        let ended = ended.await;
        // What the connection was switched to takes its place here until it ends, or is cut off.
        Box::pin(switch.run()).await;
        if let Some((stream, is_owed)) = keeper.take_back()
            && (is_owed || ended.is_err())
        {
            Box::pin(linger::linger(stream, &self.stop)).await;
        }
        ended
    }

    async fn converse_h2<S: Service>(
        &self,
        stream: Stream,
        way: Way,
        _place: Place,
        service: S,
    ) -> hyper::Result<()> {
        let Limits { header_timeout, idle_timeout, write_timeout, body_timeout, .. } =
            self.manner.limits;
        // Of HTTP/1 the connection itself sees to it.
        let haste = Haste(body_timeout);
        let streams = Streams::new(self.tasks.clone(), self.cut.clone(), write_timeout);
        let connection = conn::http2::Builder::new(streams.clone())
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.manner.limits.streams)
            .max_header_list_size(self.manner.limits.header_bytes.try_into().unwrap_or(u32::MAX))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_send_buf_size(SEND_BUFFER)
            .max_pending_accept_reset_streams(streams::MOST_RESETS)
            .max_local_error_reset_streams(streams::MOST_ERRORS)
            .keep_alive_interval(streams::PING_EVERY)
            .keep_alive_timeout(streams::PING_PATIENCE)
            .serve_connection(
                TokioIo::new(stream),
                service_fn(move |mut request: Request<Incoming>| {
                    request.extensions_mut().insert(haste);
                    answer(service.clone(), request, way.clone(), None, Points::default())
                }),
            );
        let mut connection = Box::pin(connection);
        let mut stalled = pin!(streams.stalled());
        let (mut patience, mut seen) = (header_timeout, 0);
        loop {
            tokio::select! {
                biased;
                ended = connection.as_mut() => return ended,
                () = self.stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    return connection.await;
                }
                () = streams.abused() => {
                    debug!("cut off a client that takes its requests back");
                    return Ok(());
                }
                () = stalled.as_mut() => {
                    debug!("closes the connection of a client that takes nothing of an answer");
                    break;
                }
                () = sleep(patience) => {
                    // Twice in a row without a stream in between: nobody uses the connection.
                    if streams.ended().is_some_and(|ended| ended == seen) {
                        break;
                    }
                    (patience, seen) = (idle_timeout, streams.ended().unwrap_or(seen));
                }
            }
        }
        connection.as_mut().graceful_shutdown();
        timeout(write_timeout, connection).await.unwrap_or(Ok(()))
    }
}

/// A connection, whether HTTP/2 is spoken on it, and whom the client asked for where others are here too.
type Entered = (Stream, bool, Option<Arc<Named>>);

/// Answers one request: first the edge, then the service. `turn` is the request's on an HTTP/1 connection.
async fn answer<S: Service>(
    service: S,
    request: Request<Incoming>,
    way: Way,
    turn: Option<Turn>,
    points: Points,
) -> Result<Response<Told<S::Body>>, Infallible> {
    let (peer, version) = (way.peer, request.version());
    let pace = if turn.is_none() { streams::current() } else { None };
    let open = pace.as_ref().map(|pace| pace.open());
    let mut left = None;
    let read = match turn.as_ref().and_then(|turn| turn.refused(&request)) {
        Some(refused) => Err((refused, HeaderMap::new())),
        None => {
            let (head, body) = request.into_parts();
            let body = if turn.is_some() {
                let (body, of_h1) = Arriving::of_h1(body, &head.headers);
                left = of_h1;
                body
            } else {
                Arriving::new(body)
            };
            edge::read(Request::from_parts(head, body), way)
        }
    };
    let answered = match read {
        Ok(inbound) => {
            let response = points.set(service.answer(inbound).await);
            match turn.as_ref().and_then(|turn| turn.answered(response.status())) {
                Some(refused) => Err((refused, HeaderMap::new())),
                None => Ok(response),
            }
        }
        Err(refused) => Err(refused),
    };
    let mut response = answered.unwrap_or_else(|(refused, headers)| {
        debug!(%refused, %peer, "request refused at the edge");
        let mut response = service.refuse(refused, &headers);
        // What follows on this connection may have been framed by the same hand. HTTP/2 frames for itself.
        if version < Version::HTTP_2 {
            response.headers_mut().insert(header::CONNECTION, CLOSE);
        }
        response
    });
    if left.is_some_and(|left| left.closes()) {
        let headers = response.headers_mut();
        headers.entry(header::CONNECTION).or_insert(HeaderValue::from_static("close"));
    }
    if let Some(open) = open {
        open.answer();
    }
    Ok(response.map(|body| Told::new(body, turn, pace)))
}

/// As many headers hyper reads without asking for memory.
const HYPERS_HEADERS: usize = 100;
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// So long is who has come in listened to, once nobody else is let in.
const LAST_CALL: Duration = Duration::from_millis(200);
const CLOSE: HeaderValue = HeaderValue::from_static("close");
/// What is kept at most of an answer that is not taken, besides as much as a head may have: so far the upstream is read
/// ahead.
const BUFFER: usize = 8 * 1024;
/// Flow-control windows as Envoy recommends them at an edge.
const STREAM_WINDOW: u32 = 64 * 1024;
const CONNECTION_WINDOW: u32 = 1024 * 1024;
/// As much of an answer waits for an HTTP/2 client to take it.
const SEND_BUFFER: usize = 64 * 1024;

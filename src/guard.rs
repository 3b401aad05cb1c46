//! The valve: what may go to the upstream, and when money moves.
//!
//! It knows the order of things and the status of every outcome; it knows neither what a payment consists of (the
//! methods do) nor how a request is forwarded (the inner service does).
//!
//! | | settle after the head | settle before forwarding |
//! |---|---|---|
//! | order | verify, forward, head arrives, settle, record, release the head | verify, settle, forward, head arrives, record, release the head |
//! | upstream fails, or its answer is not charged | nothing is settled, the claim is released | the settled payment may be presented again |
//! | settlement fails | the head is dropped, nothing of it leaves | nothing is forwarded |
//! | its payer has put it on the ledger (push) | recorded as settled when it is verified, then as on the right | the same |
//!
//! To verify is to check what needs no ledger, to claim, and to ask the ledger: see [`Method::verify`].

mod callers;
pub mod cors;
pub mod grpc;
mod lasting;
mod obstacle;
mod page;
mod paid;
mod permit;
pub mod problem;
mod rooms;
mod tally;
mod unpaid;
mod whole;

use std::{
    error::Error as StdError,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, Method as HttpMethod, Request, Response, StatusCode, header};
use http_body::Body as HttpBody;
use http_body_util::{Either, Full};
use tokio::time::{Instant, timeout};
use tokio_util::task::TaskTracker;

pub use self::{
    obstacle::Obstacle,
    permit::{Admitted, Reached},
    rooms::Rooms,
    whole::{Onward, Whole},
};
use self::{
    obstacle::{Money, not_asked_for_more, problem_of},
    problem::Problem,
    tally::Tally,
    unpaid::unpaid,
    whole::Read,
};
use crate::{
    callers::Entry,
    pay::{
        Bound, Denied, Method, SettleOrder, Terms,
        channel::Asker,
        methods::{Asked, Credential, Methods, Wanted},
        room::Seat,
    },
    route::{Access, Route},
    telemetry::{
        Clock,
        access::Ticket,
        label::{Outcome, Rail},
    },
};

/// An error of a body.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// What the guard lets requests through to.
///
/// `B` is the request's body. Room is asked for before any payment, so that an upstream that is full costs nobody money,
/// and taken when it is needed, so that those who wait for the ledger keep nobody out.
pub trait Forward<B>: Clone + Send + Sync + 'static {
    /// Room for one request.
    type Slot: Send + 'static;
    /// The body of an answer.
    type Body: http_body::Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static;

    /// Whether the route's upstream has anybody to ask now.
    fn can_serve(&self, _route: &Route) -> bool {
        true
    }

    /// Takes room for one request of `comer` to the route's upstream, as soon as there is some.
    ///
    /// # Errors
    /// [`Obstacle::Busy`] if there is none within `patience`, [`Obstacle::Down`] if there is nobody to ask.
    fn reserve(
        &self,
        route: &Route,
        comer: Comer,
        patience: Duration,
    ) -> impl Future<Output = Result<Self::Slot, Obstacle>> + Send;

    /// Forwards the request; returns when the head of the answer has come.
    ///
    /// # Errors
    /// [`Obstacle`] if no answer came.
    fn forward(
        &self,
        slot: Self::Slot,
        route: &Route,
        request: Admitted<Box<Request<B>>>,
    ) -> impl Future<Output = Result<Response<Self::Body>, Obstacle>> + Send;
}

/// In whose name room is taken: a client may take long to send a body, or to read an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Comer {
    /// Where it comes from, if that is known.
    pub address: Option<IpAddr>,
    /// Whether its request is paid for, or will be before it has sent anything that takes long.
    pub pays: bool,
}

/// The body of an answer: the gateway's own, or the upstream's.
pub type Body<B> = Either<Full<Bytes>, B>;

/// The valve before the upstream `F`.
#[derive(Clone, Debug)]
pub struct Guard<F> {
    inner: F,
    methods: Methods,
    clock: Clock,
    tasks: TaskTracker,
    rooms: Rooms,
}

impl<F> Guard<F> {
    /// A guard before `inner` with the methods that are configured. Paid requests run on `tasks` and outlive their client.
    pub fn new(inner: F, methods: Methods, clock: Clock, tasks: TaskTracker) -> Self {
        Self { inner, methods, clock, tasks, rooms: Rooms::default() }
    }

    /// The same guard, whose requests take their room in `rooms`.
    #[must_use]
    pub fn within(self, rooms: Rooms) -> Self {
        Self { rooms, ..self }
    }

    /// The methods that it takes payments by.
    pub const fn methods(&self) -> &Methods {
        &self.methods
    }

    /// Answers a request that belongs to `route`; `target` is its canonical path and query.
    pub async fn answer<B>(
        &self,
        request: Request<B>,
        route: Arc<Route>,
        target: &str,
    ) -> Response<Body<F::Body>>
    where
        F: Forward<Onward<B>>,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        // Before any payment; a body that does not say its length is measured on its way to the upstream.
        let is_open = !matches!(route.access, Access::Denied(_));
        if is_open && declared_length(request.headers()) > route.body_limit {
            return own(problem_of(&Obstacle::BodyTooLong(route.body_limit), &route, Money::Still));
        }
        match &route.access {
            Access::Denied(status) => own(Problem::new(*status, "this is not served here")),
            Access::Free => self.forward_free(request, &route, false).await,
            Access::Priced(terms) => {
                let terms = terms.clone();
                let is_cross_origin = request.headers().contains_key(header::ORIGIN);
                let mut response = self.charge(request, route, terms.clone(), target).await;
                if is_cross_origin {
                    let is_ours = matches!(response.body(), Either::Left(_));
                    cors::expose_to_scripts(&mut response, &terms, is_ours);
                }
                response
            }
        }
    }

    /// Forwards a request that is not to be paid for; `pays` is whether its caller has the places of those who pay.
    async fn forward_free<B>(
        &self,
        request: Request<B>,
        route: &Route,
        pays: bool,
    ) -> Response<Body<F::Body>>
    where
        F: Forward<Onward<B>>,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let address = request.extensions().get::<SocketAddr>().map(SocketAddr::ip);
        let comer = Comer { address, pays };
        // Boxed: a request is large, and goes through many hands.
        let request = Box::new(request.map(Either::Left));
        let forwarding = async {
            let slot = self.inner.reserve(route, comer, Duration::ZERO).await?;
            self.forward(slot, route, request).await
        };
        match forwarding.await {
            Ok(response) => response.map(Either::Right),
            Err(obstacle) => own(problem_of(&obstacle, route, Money::Still)),
        }
    }

    /// Forwards the request, and notes how long its answer took.
    async fn forward<B>(
        &self,
        slot: F::Slot,
        route: &Route,
        request: Box<Request<Onward<B>>>,
    ) -> Result<Response<F::Body>, Obstacle>
    where
        F: Forward<Onward<B>>,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let ticket = request.extensions().get::<Ticket>().cloned();
        let began = Instant::now();
        let answer = self.inner.forward(slot, route, Admitted::new(request)).await;
        ticket.inspect(|ticket| ticket.note_upstream(began.elapsed()));
        answer
    }

    async fn charge<B>(
        &self,
        request: Request<B>,
        route: Arc<Route>,
        terms: Arc<Terms>,
        target: &str,
    ) -> Response<Body<F::Body>>
    where
        F: Forward<Onward<B>>,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let wanted = Wanted::of(request.headers());
        let address = request.extensions().get::<SocketAddr>().map(SocketAddr::ip);
        let asker = Asker::of(request.headers(), address);
        let parsed = self.methods.parse(&terms, request.headers());
        match self.entry(&request, &route, callers::brings(&parsed)) {
            Entry::Pays => {}
            Entry::Unknown => return own(callers::not_known_yet()),
            Entry::Open(pass) => {
                return Box::pin(self.let_through(request, &route, &terms, pass)).await;
            }
            Entry::Later(wait) => {
                tally::note_unpaid(request.extensions());
                return own(callers::too_many(wait));
            }
        }
        let (request, read) = match terms.bind_body {
            false => (request.map(Either::Left), None),
            true => {
                // What pays nothing is not kept, but a challenge to pay for it names its digest.
                let pays = matches!(parsed, Ok(Some(_)));
                let seat = pays.then(|| self.rooms.whole.enter(address));
                match Box::pin(whole::read(request, route.body_limit, route.timeout, seat)).await {
                    Ok((request, read)) => (request, Some(read)),
                    Err(obstacle) => return own(problem_of(&obstacle, &route, Money::Still)),
                }
            }
        };
        let body = read.as_ref().map(|read| read.digest);
        let streams = body.is_none() && !request.body().is_end_stream();
        let bound =
            Bound { method: priced_as(request.method()), target: target.to_owned(), body, streams };
        let asked = Asked { terms, bound, wanted, asker };
        let credential = match parsed {
            Ok(Some(credential)) => credential,
            // Nobody is asked to pay for what cannot be had: some pay before they come again.
            Ok(None) if !self.inner.can_serve(&route) => {
                return own(problem_of(&Obstacle::Down, &route, Money::Still));
            }
            Ok(None) => {
                let problem = self.refused(&route, &asked, unpaid()).await;
                if problem.status().is_client_error() {
                    tally::note_unpaid(request.extensions());
                }
                let is_asked = problem.status() == StatusCode::PAYMENT_REQUIRED;
                if is_asked && page::is_for_a_person(request.headers()) {
                    return own(problem.with_page(page::of(&asked.terms, &asked.bound)));
                }
                return own(problem);
            }
            Err(refusal) => {
                Tally::new(&route, Rail::Unknown, request.extensions()).refused(&refusal);
                return own(self.refused(&route, &asked, refusal).await);
            }
        };
        // Large, and boxed, so that every connection has not to have room for it.
        Box::pin(self.pay(credential, (Box::new(request), read), route, asked)).await
    }

    /// Takes a request on whose payment the valve may open.
    async fn pay<B>(
        &self,
        credential: Credential,
        (request, read): (Box<Request<Onward<B>>>, Option<Read>),
        route: Arc<Route>,
        mut asked: Asked,
    ) -> Response<Body<F::Body>>
    where
        F: Forward<Onward<B>>,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        if let Credential::Channel(_, credential) = &credential {
            asked.asker = asked.asker.paying_with(credential);
        }
        let tally = Tally::new(&route, tally::rail_of(&credential), request.extensions());
        // To close a channel nothing is asked of the upstream.
        let is_order = callers::is_order(&credential);
        let room = if is_order {
            Ok(())
        } else {
            let comer = Comer { address: asked.asker.address, pays: true };
            self.inner.reserve(&route, comer, Duration::ZERO).await.map(drop)
        };
        let mut seat = self.rooms.paying.enter(asked.asker.address);
        let place = seat.take(1).map_err(|_| Obstacle::Busy);
        if let Err(obstacle) = room.and(place) {
            tally.ended(Outcome::TurnedAway);
            return own(problem_of(&obstacle, &route, Money::Unknown));
        }
        let gate = self.rooms.turnstile.gate(&route.callers, &route.name, self.clock.now_ms());
        let (seat, of_panic) = (seat.behind(gate), tally.clone());
        // From here on money may move: the client may go away, the work goes on.
        let guard = self.clone();
        let work = async move {
            let _read = read;
            // What waits for the ledger is large, and boxed, so that what does not is not.
            let carried = match credential {
                Credential::X402(x402, payload) => {
                    Box::pin(guard.carry(&*x402, *payload, seat, request, &route, &asked)).await
                }
                Credential::Charge(charge, credential) => {
                    Box::pin(guard.carry(&*charge, *credential, seat, request, &route, &asked))
                        .await
                }
                Credential::Channel(channel, credential) if is_order => {
                    Box::pin(paid::close(&channel, *credential, &tally, &asked)).await
                }
                Credential::Channel(channel, credential) => {
                    let credential = (*credential, asked.asker.clone());
                    guard.carry(&*channel, credential, seat, request, &route, &asked).await
                }
            };
            match carried {
                Ok(response) => response,
                Err(denied) => {
                    tally.denied(&denied);
                    Box::pin(guard.denied(&route, &asked, denied)).await
                }
            }
        };
        paid::to_its_end(work, &self.tasks, of_panic).await
    }

    /// The road of one paid request, in the order of the table of this module.
    async fn carry<M: Method, B>(
        &self,
        method: &M,
        credential: M::Credential,
        mut seat: Seat,
        mut request: Box<Request<Onward<B>>>,
        route: &Route,
        asked: &Asked,
    ) -> Result<Response<Body<F::Body>>, Denied>
    where
        F: Forward<Onward<B>>,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let tally = Tally::new(route, M::RAIL, request.extensions());
        let Asked { terms, bound, .. } = asked;
        let order = terms.settle.of(&bound.method);
        let verified = method.verify(terms, bound, credential, &mut seat).await?;
        let mut verified = match self.paced(method, verified, &seat, route, &tally).await {
            Ok(verified) => verified,
            Err(problem) => return Ok(own(*problem)),
        };
        let mut receipt = None;
        if order == SettleOrder::BeforeForward {
            let (settled, proof) = method.settle(verified).await?;
            (verified, receipt) = (settled, Some(proof));
        }
        // Who has paid waits for room; who has not loses nothing by being sent away.
        let has_paid = method.is_settled(&verified);
        let patience = if has_paid { route.timeout } else { Duration::ZERO };
        let reached = Reached::default();
        request.extensions_mut().insert(reached.clone());
        let forwarding = async {
            let comer = Comer { address: asked.asker.address, pays: has_paid || !bound.streams };
            // To wait for room is no part of the time that the upstream has.
            let slot = self.inner.reserve(route, comer, patience).await?;
            let forwarding = self.forward(slot, route, request);
            // Later than the upstream's own time-out, which knows what took so long.
            let most = method.patience(terms, bound).saturating_add(SLACK);
            timeout(most, forwarding).await.unwrap_or(Err(Obstacle::TimedOut))
        };
        let response = match forwarding.await.and_then(not_asked_for_more) {
            Ok(response) => response,
            Err(obstacle) => {
                let tried = reached.is_set() && obstacle.is_an_attempt();
                let worth = method.worth(&verified);
                method.release(verified, tried).await;
                tally.unserved(has_paid, worth);
                let money = match (has_paid, tried) {
                    (false, _) => Money::Still,
                    (true, false) => Money::Ready,
                    (true, true) => Money::Tried(terms.redelivery),
                };
                let mut problem = problem_of(&obstacle, route, money);
                if let Some(receipt) = receipt.filter(|receipt| receipt.with_failures) {
                    problem = problem.with_header(receipt.header.0, receipt.header.1);
                }
                return Ok(own(problem));
            }
        };
        if !terms.charge_when.charges(response.status()) {
            let worth = method.worth(&verified);
            method.release(verified, true).await;
            tally.unserved(has_paid, worth);
            let receipt = receipt.filter(|receipt| receipt.with_failures);
            return Ok(paid::with_receipt(response, receipt).map(Either::Right));
        }
        if receipt.is_none() {
            let (settled, proof) = method.settle(verified).await?;
            (verified, receipt) = (settled, Some(proof));
        }
        let (worth, has_paid) = (method.worth(&verified), method.is_settled(&verified));
        if let Err(fault) = method.deliver(verified, response.status()).await {
            if !has_paid {
                return Err(fault.into());
            }
            tally.unserved(has_paid, worth);
            return Ok(own(unpaid::faulty(terms, &fault)));
        }
        tally.delivered(worth);
        Ok(paid::with_receipt(response, receipt).map(Either::Right))
    }
}

/// HEAD is priced, quoted and bound as GET: it asks for the same work.
fn priced_as(method: &HttpMethod) -> HttpMethod {
    if method == HttpMethod::HEAD { HttpMethod::GET } else { method.clone() }
}

fn own<B>(problem: Problem) -> Response<Body<B>> {
    problem.into_response().map(Either::Left)
}

/// The length that a request says its body has; 0 if it says none.
fn declared_length(headers: &HeaderMap) -> u64 {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
    length.and_then(|length| length.parse().ok()).unwrap_or(0)
}

/// A hung upstream is to be found out by who asks it, and not by who waits for that.
const SLACK: Duration = Duration::from_millis(500);

#[cfg(test)]
mod tests;

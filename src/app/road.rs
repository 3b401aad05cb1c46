//! The road of one request: its target, its route, the guard.

pub(super) mod hop;
mod passage;
mod sense;
mod watched;

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Either;
use tokio_util::sync::CancellationToken;

use self::{
    hop::{Hop, Looped},
    passage::Passage,
    watched::Watched,
};
use crate::{
    config::Settings,
    guard::{Body, Guard, Onward, cors, grpc, problem::Problem},
    protocol::target::Target,
    route::{Access, Match, Route},
    server::{self, Arriving, Inbound, Refused, Secured},
    telemetry::{
        access::AccessLog,
        label::Verb,
        level::Level,
        traffic::{Counts, EDGE, Traffic, UNMATCHED},
    },
    upstream,
};

/// The upstreams, as the server's requests reach them.
pub(super) type Upstreams = upstream::Upstreams<Onward<Arriving>>;
type ResponseBody = upstream::ResponseBody<Onward<Arriving>>;

/// What a request runs on from its first byte to its last, whatever is reloaded meanwhile.
#[derive(Debug)]
pub(super) struct Configured {
    pub(super) settings: Settings,
    pub(super) guard: Guard<Upstreams>,
    pub(super) upstreams: Upstreams,
    /// Ends what looks after the upstreams.
    pub(super) stop_watching: CancellationToken,
}

/// Takes requests from the server to the guard.
#[derive(Clone, Debug)]
pub(super) struct Road {
    current: Arc<ArcSwap<Configured>>,
    hop: Hop,
    /// What belongs to no route.
    unmatched: Counts,
    /// What was refused before its route was looked for.
    edge: Counts,
    connections: Level,
    /// Where each request has a line, if it has.
    access: Option<AccessLog>,
}

impl Road {
    pub(super) fn new(
        current: Arc<ArcSwap<Configured>>,
        hop: Hop,
        traffic: &Traffic,
        connections: Level,
        access: Option<AccessLog>,
    ) -> Self {
        let (unmatched, edge) = (traffic.of(UNMATCHED), traffic.of(EDGE));
        Self { current, hop, unmatched, edge, connections, access }
    }
}

impl server::Service for Road {
    type Body = Watched<Body<ResponseBody>>;

    fn answer(
        &self,
        mut inbound: Inbound,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static {
        let (configured, hop) = (self.current.load_full(), self.hop.clone());
        let speech = Speech::of(inbound.request.headers());
        let mut passage = Passage::begin(&mut inbound, &self.unmatched, self.access.as_ref());
        async move {
            let answer = travel(configured, inbound, hop, &mut passage).await;
            // What it means, however it is told.
            let status = answer.status();
            passage.end(speech.put(answer), status)
        }
    }

    fn refuse(&self, refused: Refused, headers: &HeaderMap) -> Response<Self::Body> {
        self.edge.answered(Verb::Other, refused.status().as_u16(), None);
        let answer = Speech::of(headers).put(own(Problem::new(refused.status(), refused)));
        answer.map(|body| Watched::new(body, None))
    }

    fn connections(&self) -> Option<&Level> {
        Some(&self.connections)
    }
}

async fn travel(
    configured: Arc<Configured>,
    inbound: Inbound,
    hop: Hop,
    passage: &mut Passage,
) -> Response<Body<ResponseBody>> {
    let Inbound { mut request, target } = inbound;
    let table = &configured.settings.table;
    if let Err(Looped) = hop.mark(request.headers_mut()) {
        let detail = "the request comes back to a gateway that it went through before";
        return own(Problem::new(StatusCode::LOOP_DETECTED, detail));
    }
    if let Some(asked) = cors::preflight_of(request.method(), request.headers()) {
        // Boxed: it is rare, and every connection has room for what is not.
        return Box::pin(preflight(&configured, &asked, &target, request, passage)).await;
    }
    let route = match table.find(request.method(), target.path()) {
        Match::Found(route) => {
            passage.enter(route, &configured.settings);
            route.clone()
        }
        Match::WrongMethod { allow } => {
            let detail = "no route takes this path with this method";
            let problem = Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail);
            return own(problem.with_header(header::ALLOW, allow.clone()));
        }
        Match::LookAlike => {
            let detail = "the path differs from one that is kept only by its case or a last slash; \
                          send it exactly as the route spells it";
            return own(Problem::new(StatusCode::BAD_REQUEST, detail));
        }
        Match::Unmatched => return own(unmatched()),
    };
    if sense::is_disguised(table, request.method(), &target, &route) {
        let detail = "`_method` asks for a method that is another route's: send that method itself";
        return own(Problem::new(StatusCode::BAD_REQUEST, detail));
    }
    if route.asks_for_money()
        && let Some(url) = secure_url(&configured.settings, &request)
    {
        return own(elsewhere(url, &target));
    }
    configured.guard.answer(request, route, target.as_str()).await
}

/// A preflight asks before the real request: a priced route's is answered here, a free route's by the upstream.
async fn preflight(
    configured: &Configured,
    asked: &Method,
    target: &Target,
    request: Request<Arriving>,
    passage: &mut Passage,
) -> Response<Body<ResponseBody>> {
    let found = configured.settings.table.find(asked, target.path());
    if let Match::Found(route) = &found {
        passage.enter(route, &configured.settings);
    }
    match found {
        Match::Found(route) if is_open(route) => {
            let route = route.clone();
            configured.guard.answer(request, route, target.as_str()).await
        }
        Match::Found(route) if matches!(route.access, Access::Priced(_)) => {
            cors::preflight_answer(asked, request.headers()).map(Either::Left)
        }
        _ => own(unmatched()),
    }
}

/// Whether whoever comes is let through.
fn is_open(route: &Route) -> bool {
    !matches!(route.access, Access::Denied(_)) && !route.asks_for_money()
}

/// Where a priced request has to come, if it came over plain HTTP though clients know the gateway by `https`: who reads
/// along could take the payment, or its answer.
///
/// TLS ends here where a listener speaks it. Where none does, it ends at a proxy, which says so if a client came to it
/// without: a client that says that itself has only itself sent away.
fn secure_url<'s, B>(settings: &'s Settings, request: &Request<B>) -> Option<&'s str> {
    let url = settings.public_url.as_deref().filter(|url| url.starts_with("https://"))?;
    if request.extensions().get::<Secured>().is_some() {
        return None;
    }
    let ends_here = settings.listeners.iter().any(|listener| listener.tls.is_some());
    let protocol = request.headers().get("x-forwarded-proto").map(HeaderValue::as_bytes);
    let is_told = protocol.is_some_and(|told| told.trim_ascii().eq_ignore_ascii_case(b"http"));
    (ends_here || is_told).then_some(url)
}

fn elsewhere(url: &str, target: &Target) -> Problem {
    let detail = "payments are taken over TLS: send the request there, and no payment here";
    let problem = Problem::new(StatusCode::PERMANENT_REDIRECT, detail);
    match HeaderValue::try_from(format!("{url}{target}")) {
        Ok(there) => problem.with_header(header::LOCATION, there),
        Err(_) => problem,
    }
}

/// How a client is told what is the gateway's own to say; an answer of the upstream passes as it is.
#[derive(Clone, Copy)]
struct Speech {
    is_call: bool,
    is_cross_origin: bool,
}

impl Speech {
    fn of(headers: &HeaderMap) -> Self {
        Self {
            is_call: grpc::is_call(headers),
            is_cross_origin: headers.contains_key(header::ORIGIN),
        }
    }

    fn put(self, answer: Response<Body<ResponseBody>>) -> Response<Body<ResponseBody>> {
        if !self.is_call && !self.is_cross_origin {
            return answer;
        }
        let (head, body) = answer.into_parts();
        match body {
            Either::Left(own) => {
                let mut answer = Response::from_parts(head, own);
                if self.is_cross_origin {
                    cors::show_problem(&mut answer);
                }
                let answer = if self.is_call { grpc::told(answer) } else { answer };
                answer.map(Either::Left)
            }
            Either::Right(_) => Response::from_parts(head, body),
        }
    }
}

fn unmatched() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no route takes this path")
}

fn own(problem: Problem) -> Response<Body<ResponseBody>> {
    problem.into_response().map(Either::Left)
}

//! The road of one request: its target, its route, the guard.

use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Either;
use hyper::body::Incoming;

use crate::{
    config::Settings,
    guard::{Body, Guard, cors, grpc, problem::Problem},
    protocol::target::Target,
    route::{Access, Match},
    server::{self, Inbound, Refused},
    upstream::{ResponseBody, Upstreams},
};

/// What a request runs on from its first byte to its last, whatever is reloaded meanwhile.
#[derive(Debug)]
pub(super) struct Configured {
    pub(super) settings: Settings,
    pub(super) guard: Guard<Upstreams>,
}

/// Takes requests from the server to the guard.
#[derive(Clone, Debug)]
pub(super) struct Road {
    current: Arc<ArcSwap<Configured>>,
}

impl Road {
    pub(super) const fn new(current: Arc<ArcSwap<Configured>>) -> Self {
        Self { current }
    }
}

impl server::Service for Road {
    type Body = Body<ResponseBody>;

    fn answer(
        &self,
        inbound: Inbound,
    ) -> impl Future<Output = Response<Self::Body>> + Send + 'static {
        let (configured, is_call) =
            (self.current.load_full(), grpc::is_call(inbound.request.headers()));
        async move {
            match (is_call, travel(configured, inbound).await) {
                (true, answer) => as_grpc(answer),
                (false, answer) => answer,
            }
        }
    }

    fn refuse(&self, refused: Refused) -> Response<Self::Body> {
        own(Problem::new(refused.status(), refused))
    }
}

async fn travel(configured: Arc<Configured>, inbound: Inbound) -> Response<Body<ResponseBody>> {
    let Inbound { request, target } = inbound;
    let table = &configured.settings.table;
    if let Some(asked) = cors::preflight_of(request.method(), request.headers()) {
        // Boxed: it is rare, and every connection has room for what is not.
        return Box::pin(preflight(&configured, &asked, &target, request)).await;
    }
    let route = match table.find(request.method(), target.path()) {
        Match::Found(route) => route.clone(),
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
    configured.guard.answer(request, route, target.as_str()).await
}

/// A preflight asks before the real request: a priced route's is answered here, a free route's by the upstream.
async fn preflight(
    configured: &Configured,
    asked: &Method,
    target: &Target,
    request: Request<Incoming>,
) -> Response<Body<ResponseBody>> {
    match configured.settings.table.find(asked, target.path()) {
        Match::Found(route) if matches!(route.access, Access::Free) => {
            let route = route.clone();
            configured.guard.answer(request, route, target.as_str()).await
        }
        Match::Found(route) if matches!(route.access, Access::Priced(_)) => {
            cors::preflight_answer(asked, request.headers()).map(Either::Left)
        }
        _ => own(unmatched()),
    }
}

/// The gateway's own answer as a gRPC client reads it; the upstream's as it is.
fn as_grpc(answer: Response<Body<ResponseBody>>) -> Response<Body<ResponseBody>> {
    let (head, body) = answer.into_parts();
    match body {
        Either::Left(own) => grpc::told(Response::from_parts(head, own)).map(Either::Left),
        Either::Right(_) => Response::from_parts(head, body),
    }
}

fn unmatched() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "no route takes this path")
}

fn own(problem: Problem) -> Response<Body<ResponseBody>> {
    problem.into_response().map(Either::Left)
}

//! Requests that go through a priced route without a payment, and those that come too often.

use std::{fmt, net::SocketAddr, time::Duration};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::Either;
use tracing::debug;

use super::{
    Body, BoxError, Forward, Guard, Onward, cors, obstacle::Money, paid, problem::Problem,
};
use crate::{
    callers::{Entry, Pass},
    pay::{Method, Terms, room::Seat},
    route::Route,
};

impl<F> Guard<F> {
    /// Whether a request goes on, and as what.
    pub(super) fn entry<B>(&self, request: &Request<B>, route: &Route, has_payment: bool) -> Entry {
        let address = request.extensions().get::<SocketAddr>().map(SocketAddr::ip);
        let caller = (address, has_payment);
        let (rules, now) = (&route.callers, self.clock.now_ms());
        self.rooms.turnstile.enter(rules, &route.name, request.headers(), caller, now)
    }

    /// Forwards a request that needs no payment. What comes back is for its caller alone, since others have to pay for it.
    pub(super) async fn let_through<B>(
        &self,
        request: Request<B>,
        route: &Route,
        terms: &Terms,
        pass: Pass,
    ) -> Response<Body<F::Body>>
    where
        F: Forward<Onward<B>>,
        B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
    {
        let is_preflight = cors::preflight_of(request.method(), request.headers()).is_some();
        let mut response = self.forward_free(request, route).await;
        if let Either::Left(_) = response.body() {
            return response;
        }
        match pass {
            Pass::Observed if is_preflight || !terms.charge_when.charges(response.status()) => {}
            Pass::Observed => {
                debug!(route = %route.name, status = %response.status(), "this would have been charged");
                self.rooms.turnstile.observe(terms);
            }
            Pass::Key | Pass::Token | Pass::Quota => paid::make_private(response.headers_mut()),
        }
        response
    }

    /// Gives a verified payment back if it is one too many of its payer.
    pub(super) async fn paced<M: Method>(
        &self,
        method: &M,
        verified: M::Verified,
        seat: &Seat,
        route: &Route,
    ) -> Result<M::Verified, Box<Problem>> {
        let (turnstile, now) = (&self.rooms.turnstile, self.clock.now_ms());
        let paced = turnstile.pay(&route.callers, &route.name, seat.payer(), now);
        let Err(wait) = paced else { return Ok(verified) };
        let money = if method.is_settled(&verified) { Money::Ready } else { Money::Still };
        method.release(verified, false).await;
        Err(Box::new(later(
            wait,
            format_args!("this payer pays more often than it may here; {money}"),
        )))
    }
}

/// Of a caller that asks for more challenges than it may, and pays none.
pub(super) fn too_many(wait: Duration) -> Problem {
    later(wait, "too many requests without a payment come from this address")
}

fn later(wait: Duration, detail: impl fmt::Display) -> Problem {
    // Rounded up, so that who waits as long as it is told is not too early again.
    let wait = wait.saturating_add(Duration::from_millis(999));
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).with_retry_after(wait)
}

//! Requests that go through a priced route without a payment, and those that come too often.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body::Body as HttpBody;
use http_body_util::Either;
use tracing::debug;

use super::{
    Body, BoxError, Forward, Guard, Onward, cors, obstacle::Money, paid, problem::Problem,
    tally::Tally,
};
use crate::{
    callers::{Brings, Caller, Entry, Pass},
    pay::{Method, Refusal, Terms, channel::Channel, methods::Credential, room::Seat},
    route::Route,
    telemetry::label::Outcome,
};

impl<F> Guard<F> {
    /// Whether a request goes on, and as what.
    pub(super) fn entry<B>(&self, request: &Request<B>, route: &Route, brings: Brings) -> Entry
    where
        F: Forward<Onward<B>>,
    {
        let (method, headers) = (request.method(), request.headers());
        let address = request.extensions().get::<SocketAddr>().map(SocketAddr::ip);
        let (rules, now) = (&route.callers, self.clock.now_ms());
        let spends = rules.free.is_some()
            && cors::preflight_of(method, headers).is_none()
            && self.inner.can_serve(route);
        let caller = Caller { address, brings, spends };
        self.rooms.turnstile.enter(rules, &route.name, headers, caller, now)
    }

    /// Counts a payment that does not pay against where it comes from; where that is one too many, the answer to it.
    pub(super) fn count_refusal(&self, route: &Route, address: Option<IpAddr>) -> Option<Problem> {
        let now = self.clock.now_ms();
        let counted = self.rooms.turnstile.refuse(&route.callers, &route.name, address, now);
        counted.err().map(too_many_refused)
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
        // Who has a key or a token is the operator's own customer.
        let is_customer = matches!(pass, Pass::Key | Pass::Token);
        let mut response = self.forward_free(request, route, is_customer).await;
        if let Either::Left(_) = response.body() {
            // What went wrong on this side has cost its caller nothing.
            if let (Pass::Quota(taken), true) = (pass, response.status().is_server_error()) {
                self.rooms.turnstile.give_back(taken);
            }
            return response;
        }
        match pass {
            Pass::Observed if is_preflight || !terms.charge_when.charges(response.status()) => {}
            Pass::Observed => {
                debug!(route = %route.name, status = %response.status(), "this would have been charged");
                let offer = terms.offers.first();
                route.counts.observed(offer.map(|offer| (offer.asset.contract, offer.amount)));
            }
            Pass::Key | Pass::Token | Pass::Quota(_) => paid::make_private(response.headers_mut()),
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
        tally: &Tally,
    ) -> Result<M::Verified, Box<Problem>> {
        let (turnstile, now) = (&self.rooms.turnstile, self.clock.now_ms());
        let paced = turnstile.pay(&route.callers, &route.name, seat.payer(), now);
        let Err(wait) = paced else { return Ok(verified) };
        let money = if method.is_settled(&verified) {
            tally.unserved(true, method.worth(&verified));
            Money::Ready
        } else {
            tally.ended(Outcome::TurnedAway);
            Money::Still
        };
        method.release(verified, false).await;
        Err(Box::new(too_often(wait, money)))
    }
}

/// What a request brings whose payment was read, or was not.
pub(super) fn brings(parsed: &Result<Option<Credential>, Refusal>) -> Brings {
    match parsed {
        Ok(Some(credential)) if is_order(credential) => Brings::Order,
        Ok(Some(_)) => Brings::Payment,
        Ok(None) | Err(_) => Brings::Nothing,
    }
}

/// Whether a credential has its channel closed instead of paying.
pub(super) fn is_order(credential: &Credential) -> bool {
    matches!(credential, Credential::Channel(_, credential) if Channel::asks_to_close(credential))
}

/// Of a caller that asks for more challenges than it may, or brings too many payments that do not pay.
pub(super) fn too_many(wait: Duration) -> Problem {
    let detail = "too many requests come from this address without a payment that pays; one that was sent with this \
                  was not looked at, and may be presented again";
    later(wait, detail)
}

/// Of a payment that was refused, as too many from its address were.
fn too_many_refused(wait: Duration) -> Problem {
    let detail = "this payment was refused, as were too many from this address; ask again without it, later, for what \
                  the request costs";
    later(wait, detail)
}

/// Of a payer that pays more often than it may.
pub(super) fn too_often(wait: Duration, money: Money) -> Problem {
    later(wait, format_args!("this payer pays more often than it may here; {money}"))
}

/// Of a caller whose token cannot be judged: it may be one that does not have to pay.
pub(super) fn not_known_yet() -> Problem {
    let detail = "the keys that tokens of this issuer are checked with are not known yet; nothing was charged";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).with_retry_after(Duration::from_secs(5))
}

fn later(wait: Duration, detail: impl fmt::Display) -> Problem {
    // Rounded up, so that who waits as long as it is told is not too early again.
    let wait = wait.saturating_add(Duration::from_millis(999));
    Problem::new(StatusCode::TOO_MANY_REQUESTS, detail).with_retry_after(wait)
}

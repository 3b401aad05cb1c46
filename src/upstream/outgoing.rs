//! A request as it goes to its upstream, and its answer as it goes to the client.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, StatusCode, Version, header};
use http_body::Body;
use hyper::body::Incoming;

use super::{
    BoxError, Protocol, Upstream, answer,
    body::{ResponseBody, Upload},
    headers,
    lease::Lease,
    pace::{Gate, GoAhead, Pace},
    room::Place,
};
use crate::{
    guard::{Obstacle, Reached},
    haste::Haste,
    route::Route,
    tunnel::Tunnel,
};

/// A request as it goes up. Boxed: it is large, and goes through many hands.
pub(super) type Upward<B> = Box<Request<Upload<B>>>;

/// What is kept of a request while it is under way.
pub(super) struct Outgoing {
    is_h1: bool,
    /// The protocol that it asks to be switched to.
    pub(super) wanted: Option<HeaderValue>,
    /// What lets its body go up, if that waits for the upstream's word.
    pub(super) go_ahead: Option<GoAhead>,
    pub(super) pace: Pace,
    pub(super) reached: Reached,
    /// The room that it takes, unless its body has it.
    place: Option<Place>,
    idle: Duration,
    /// How long it may go on once it was switched.
    tunnel: Option<Duration>,
}

impl<B> Upstream<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// The request as it goes to the upstream.
    pub(super) fn prepare(
        &self,
        route: &Route,
        request: Request<B>,
        place: Place,
    ) -> Result<(Upward<B>, Outgoing), Obstacle> {
        let idle = self.idle_timeout;
        let (mut head, body) = request.into_parts();
        let reached = head.extensions.remove::<Reached>().unwrap_or_default();
        let haste = head.extensions.remove::<Haste>();
        let has_body = !body.is_end_stream();
        let is_h1 = head.version < Version::HTTP_2;
        let can_h1 = self.dialer.protocol != Protocol::Http2;
        let wanted = headers::wanted_upgrade(&head).filter(|_| can_h1 && !has_body);
        let is_held = has_body && headers::expects_continue(&head) && can_h1;
        headers::prepare_request(&mut head, &self.headers, route.rewrite.as_deref())?;
        if let Some(protocol) = &wanted {
            head.headers.insert(header::CONNECTION, UPGRADE);
            head.headers.insert(header::UPGRADE, protocol.clone());
        }
        let (gate, go_ahead) = is_held.then(Gate::new).unzip();
        if is_held {
            head.headers.insert(header::EXPECT, CONTINUE);
        }
        let (pace, place) = Pace::new(&body, is_held, idle, place);
        let mut upload = Upload::new(body, idle, haste, route.body_limit, pace.clone(), gate);
        if has_body {
            upload.withhold(headers::changed_names(&self.headers, route.rewrite.as_deref()));
        }
        let request = Box::new(Request::from_parts(head, upload));
        let tunnel = route.tunnel;
        let outgoing = Outgoing { is_h1, wanted, go_ahead, pace, reached, place, idle, tunnel };
        Ok((request, outgoing))
    }
}

impl Outgoing {
    /// The answer as it goes to the client.
    pub(super) fn answered<B>(
        self,
        mut answer: Response<Incoming>,
        mut lease: Lease<B>,
    ) -> Result<Response<ResponseBody<B>>, Obstacle>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
    {
        let Self { is_h1, wanted, pace, place, idle, tunnel: tunnel_for, .. } = self;
        pace.note_answer();
        let status = answer.status();
        if status == StatusCode::SWITCHING_PROTOCOLS {
            let agreed = answer.headers().get(header::UPGRADE);
            let Some(agreed) = agreed.filter(|agreed| is_same(wanted.as_ref(), agreed)).cloned()
            else {
                return Err(Obstacle::Broken("it switches protocols, unasked".to_owned()));
            };
            let load = lease.leave();
            let far = hyper::upgrade::on(&mut answer);
            headers::strip_response(answer.headers_mut());
            answer.headers_mut().insert(header::CONNECTION, UPGRADE);
            answer.headers_mut().insert(header::UPGRADE, agreed);
            let tunnel = Tunnel::new(far, idle, Arc::new((place, load)));
            answer.extensions_mut().insert(tunnel.for_at_most(tunnel_for));
            return Ok(answer.map(|body| ResponseBody::new(body, idle, lease, pace, None, None)));
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
        Ok(answer.map(|body| ResponseBody::new(body, idle, lease, pace, told, place)))
    }
}

/// Whether an upstream switches to the protocol that was asked for.
fn is_same(wanted: Option<&HeaderValue>, agreed: &HeaderValue) -> bool {
    wanted.is_some_and(|wanted| wanted.as_bytes().eq_ignore_ascii_case(agreed.as_bytes()))
}

const UPGRADE: HeaderValue = HeaderValue::from_static("upgrade");
const CONTINUE: HeaderValue = HeaderValue::from_static("100-continue");

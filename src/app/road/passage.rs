//! One request on its way through the gateway, for those who count and tell: from its head to the head of its answer, and
//! where it has a line, to the end of its body.

use std::{net::SocketAddr, time::Instant};

use http::{HeaderValue, Response, StatusCode, header::CONTENT_LENGTH};

use super::watched::Watched;
use crate::{
    config::Settings,
    route::Route,
    server::Inbound,
    telemetry::{
        access::{AccessLog, Asked, Ticket},
        label::Verb,
        trace::{self, REQUEST_ID},
        traffic::{Counts, GONE},
    },
};

/// A request on its way. One that is dropped before it was answered counts as one whose client went away.
#[derive(Debug)]
pub(super) struct Passage {
    verb: Verb,
    began: Instant,
    /// What it counts under.
    counts: Counts,
    id: HeaderValue,
    ticket: Option<Ticket>,
    is_over: bool,
}

impl Passage {
    /// Begins the passage of a request that belongs to no route yet; it has a name from now on.
    pub(super) fn begin(
        inbound: &mut Inbound,
        unmatched: &Counts,
        access: Option<&AccessLog>,
    ) -> Self {
        let Inbound { request, target } = inbound;
        let id = trace::name(request.headers_mut());
        let trace = trace::follow(request.headers_mut());
        let ticket = access.map(|log| {
            let length = request.headers().get(CONTENT_LENGTH).and_then(|one| one.to_str().ok());
            let ticket = log.begin(Asked {
                method: request.method().clone(),
                target: target.path_and_query().clone(),
                client: request.extensions().get::<SocketAddr>().map(SocketAddr::ip),
                bytes_in: length.and_then(|length| length.parse().ok()),
                id: id.clone(),
                trace,
            });
            // What becomes of its payment may be known only when its client is gone.
            request.extensions_mut().insert(ticket.clone());
            ticket
        });
        Self {
            verb: request.method().into(),
            began: Instant::now(),
            counts: unmatched.clone(),
            id,
            ticket,
            is_over: false,
        }
    }

    /// It belongs to this route.
    pub(super) fn enter(&mut self, route: &Route, settings: &Settings) {
        self.counts = route.counts.clone();
        if let Some(ticket) = &self.ticket {
            let upstream = settings.upstreams.get(route.upstream);
            ticket.enter(&route.name, upstream.map(|upstream| upstream.name.as_str()));
        }
    }

    /// It is answered so; `status` is what that means, where gRPC would have it told as a 200.
    pub(super) fn end<B>(
        mut self,
        mut answer: Response<B>,
        status: StatusCode,
    ) -> Response<Watched<B>> {
        self.is_over = true;
        let status = status.as_u16();
        self.counts.answered(self.verb, status, Some(self.began.elapsed()));
        let ticket = self.ticket.take();
        if let Some(ticket) = &ticket {
            ticket.answered(status);
        }
        // An upstream that has a name of its own for it is heard.
        answer.headers_mut().entry(REQUEST_ID).or_insert_with(|| self.id.clone());
        answer.map(|body| Watched::new(body, ticket))
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        if !self.is_over {
            self.counts.answered(self.verb, GONE, None);
        }
    }
}

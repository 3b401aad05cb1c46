//! The connection that a request runs on, until its answer has ended.

use std::sync::Arc;

use bytes::Bytes;
use http_body::Body;

use super::{
    BoxError,
    pace::Pace,
    pool::{Link, Server},
};

/// A connection, and where it goes when the answer has ended.
///
/// It goes back if the answer was read to its end and the request has gone up whole; if the client is still sending, it
/// goes on alone until that has ended, or for a while. In every other case, and when this is dropped, it is cut off.
pub(super) struct Lease<B>(Option<Held<B>>)
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static;

enum Held<B> {
    Link {
        link: Link<B>,
        server: Arc<Server<B>>,
        /// Counts the request among those that are under way at the server.
        load: Arc<()>,
        pace: Pace,
        is_last: bool,
    },
    /// On a session, which ends a stream by itself.
    Stream { _place: Arc<()>, load: Arc<()> },
}

impl<B> Lease<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    pub(super) const fn of_stream(place: Arc<()>, load: Arc<()>) -> Self {
        Self(Some(Held::Stream { _place: place, load }))
    }

    pub(super) const fn of_link(
        link: Link<B>,
        server: Arc<Server<B>>,
        load: Arc<()>,
        pace: Pace,
    ) -> Self {
        Self(Some(Held::Link { link, server, load, pace, is_last: false }))
    }

    /// Notes that the upstream closes the connection after this answer.
    pub(super) const fn set_last(&mut self) {
        if let Some(Held::Link { is_last, .. }) = &mut self.0 {
            *is_last = true;
        }
    }

    /// The answer has been read to its end.
    pub(super) fn end(&mut self) {
        let Some(Held::Link { link, server, pace, is_last, .. }) = self.0.take() else { return };
        if pace.is_held() {
            link.cut();
        } else if !pace.is_over() {
            server.cut_later(&link, pace.after());
        } else if !is_last {
            server.put_back(link);
        }
    }

    /// The connection is of no use any more.
    pub(super) fn cut(&mut self) {
        if let Some(Held::Link { link, .. }) = self.0.take() {
            link.cut();
        }
    }

    /// Leaves the connection to itself: it is somebody else's now, who counts as a request while it holds what this gives.
    pub(super) fn leave(&mut self) -> Option<Arc<()>> {
        match self.0.take()? {
            Held::Link { load, .. } | Held::Stream { load, .. } => Some(load),
        }
    }
}

impl<B> Drop for Lease<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    fn drop(&mut self) {
        self.cut();
    }
}

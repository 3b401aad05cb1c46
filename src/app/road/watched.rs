//! The body of an answer, counted for the access log.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::telemetry::access::Ticket;

/// A body whose bytes are counted, if its request has a line.
#[derive(Debug)]
pub(in crate::app) struct Watched<B> {
    body: B,
    ticket: Option<Ticket>,
    sent: u64,
}

impl<B> Watched<B> {
    pub(super) const fn new(body: B, ticket: Option<Ticket>) -> Self {
        Self { body, ticket, sent: 0 }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Watched<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if self.ticket.is_some()
            && let Some(Ok(frame)) = &frame
            && let Some(bytes) = frame.data_ref()
        {
            self.sent = self.sent.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl<B> Drop for Watched<B> {
    fn drop(&mut self) {
        if let Some(ticket) = &self.ticket {
            ticket.note_sent(self.sent);
        }
    }
}

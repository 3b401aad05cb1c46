//! The body of an answer, which tells its connection that the answer has ended, and whether the client takes it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};

use super::{gate::Turn, streams::Pace};

/// A body whose end is told to the connection that it goes out on.
#[derive(Debug)]
pub(super) struct Told<B> {
    body: B,
    _turn: Option<Turn>,
    pace: Option<Arc<Pace>>,
}

impl<B> Told<B> {
    /// `turn` is the request's on an HTTP/1 connection, `pace` its stream's on one of HTTP/2.
    pub(super) fn new(body: B, turn: Option<Turn>, pace: Option<Arc<Pace>>) -> Self {
        if let Some(pace) = &pace {
            pace.give();
        }
        Self { body, _turn: turn, pace }
    }
}

impl<B: Body + Unpin> Body for Told<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        // It is asked for more as soon as the client can take it.
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(pace) = &self.pace {
            match &polled {
                Poll::Ready(Some(Ok(_))) => pace.give(),
                _ => pace.take(),
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The body of an answer, which tells its connection that the answer has ended, and whether the client takes it.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::{
    gate::Turn,
    streams::{Pace, Piece},
};

/// A body whose end is told to the connection that it goes out on.
#[derive(Debug)]
pub(super) struct Told<B> {
    body: B,
    _turn: Option<Turn>,
    pace: Option<Arc<Pace>>,
}

impl<B> Told<B> {
    /// `turn` is the request's on an HTTP/1 connection, `pace` its stream's on one of HTTP/2.
    pub(super) const fn new(body: B, turn: Option<Turn>, pace: Option<Arc<Pace>>) -> Self {
        Self { body, _turn: turn, pace }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Told<B> {
    type Data = Piece;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Piece>, B::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        let pace = &self.pace;
        Poll::Ready(frame.map(|frame| {
            frame.map(|frame| frame.map_data(|bytes| Piece::new(bytes, pace.clone())))
        }))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

//! The body of an answer, which knows when the answer has ended.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};

use super::gate::Turn;

/// A body whose end is told to the connection that it goes out on.
#[derive(Debug)]
pub(super) struct Told<B> {
    body: B,
    _turn: Option<Turn>,
}

impl<B> Told<B> {
    pub(super) const fn new(body: B, turn: Option<Turn>) -> Self {
        Self { body, _turn: turn }
    }
}

impl<B: Body + Unpin> Body for Told<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

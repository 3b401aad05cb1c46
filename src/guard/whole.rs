//! Bodies that are read whole before anything else: on routes whose payments buy their request with this very body.
//!
//! Knows neither payments nor upstreams: a body, its digest, and the room that it takes as it comes. What nobody will
//! forward is digested and not kept.

use std::{
    convert::Infallible,
    future::poll_fn,
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Request, header};
use http_body::{Body, Frame, SizeHint};
use http_body_util::Either;
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::{BoxError, Obstacle};
use crate::pay::room::Seat;

/// The body of a request on its way to the upstream: as it comes, or read whole before.
pub type Onward<B> = Either<B, Whole>;

/// A body that was read whole, in one piece: many small ones would take more room than their bytes.
#[derive(Debug, Default)]
pub struct Whole {
    data: Bytes,
    trailers: Option<HeaderMap>,
}

/// What was read; it keeps its room until it is dropped.
#[derive(Debug)]
pub(super) struct Read {
    /// The SHA-256 of the body.
    pub(super) digest: [u8; 32],
    _seat: Option<Seat>,
}

impl Body for Whole {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.data.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.data)))));
        }
        Poll::Ready(self.trailers.take().map(|trailers| Ok(Frame::trailers(trailers))))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.data.len()).unwrap_or(u64::MAX))
    }
}

/// Reads the body of `request`, of `limit` bytes at most, within `patience`; answers its SHA-256 with it.
///
/// It is kept in the room of `seat`, as it comes; without one nothing of it is kept, and the request has no body then.
///
/// # Errors
/// [`Obstacle::Busy`] if there is no room for it, [`Obstacle::BodyLost`], [`Obstacle::BodyTooLong`].
pub(super) async fn read<B>(
    request: Request<B>,
    limit: u64,
    patience: Duration,
    mut seat: Option<Seat>,
) -> Result<(Request<Onward<B>>, Read), Obstacle>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (mut head, body) = request.into_parts();
    // It is here before the upstream could be asked whether it wants it.
    head.headers.remove(header::EXPECT);
    let reading = collect(body, limit, seat.as_mut());
    let (body, digest) = timeout(patience, reading)
        .await
        .map_err(|_| Obstacle::BodyLost("it took too long".to_owned()))??;
    let request = Request::from_parts(head, Either::Right(body));
    Ok((request, Read { digest, _seat: seat }))
}

async fn collect<B>(
    body: B,
    limit: u64,
    mut seat: Option<&mut Seat>,
) -> Result<(Whole, [u8; 32]), Obstacle>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let mut body = pin!(body);
    let mut digest = Sha256::new();
    let (mut data, mut trailers, mut left) = (BytesMut::new(), None, limit);
    while let Some(frame) = poll_fn(|cx| body.as_mut().poll_frame(cx)).await {
        let frame = frame.map_err(|error| Obstacle::BodyLost(error.into().to_string()))?;
        match frame.into_data() {
            Ok(piece) => {
                let length = u64::try_from(piece.len()).unwrap_or(u64::MAX);
                left = left.checked_sub(length).ok_or(Obstacle::BodyTooLong(limit))?;
                digest.update(&piece);
                if let Some(seat) = &mut seat {
                    keep(&mut data, &piece, seat, limit)?;
                }
            }
            Err(frame) => trailers = frame.into_trailers().ok().filter(|_| seat.is_some()),
        }
    }
    Ok((Whole { data: data.freeze(), trailers }, digest.finalize().into()))
}

/// Puts a piece behind what is kept; what it is kept in grows by doubling up to the limit, and its room with it.
fn keep(data: &mut BytesMut, piece: &[u8], seat: &mut Seat, limit: u64) -> Result<(), Obstacle> {
    let spare = data.capacity().saturating_sub(data.len());
    if spare < piece.len() {
        let limit = usize::try_from(limit).unwrap_or(usize::MAX);
        let more = data.capacity().max(LEAST).min(limit.saturating_sub(data.capacity()));
        let more = more.max(piece.len().saturating_sub(spare));
        seat.take(u64::try_from(more).unwrap_or(u64::MAX)).map_err(|_| Obstacle::Busy)?;
        // Exactly so much: to ask for more at the end would double what is there once again.
        let mut grown = BytesMut::with_capacity(data.capacity().saturating_add(more));
        grown.extend_from_slice(data);
        *data = grown;
    }
    data.extend_from_slice(piece);
    Ok(())
}

/// What is kept grows by so much at least.
const LEAST: usize = 4 << 10;

//! Bodies that are read whole before anything else: on routes whose payments buy their request with this very body.

use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body::Body;
use http_body_util::{BodyExt as _, Collected, Either, LengthLimitError, Limited};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;

use super::{BoxError, Obstacle};

/// The body of a request on its way to the upstream: as it comes, or read whole before.
pub type Onward<B> = Either<B, Collected<Bytes>>;

/// Reads the body of `request`, of `limit` bytes at most, within `patience`; answers its SHA-256 with it.
#[expect(
    clippy::disallowed_methods,
    reason = "it has a cap, and is read whole because its payment is bound to it"
)]
pub(super) async fn read<B>(
    request: Request<B>,
    limit: u64,
    patience: Duration,
) -> Result<(Request<Onward<B>>, [u8; 32]), Obstacle>
where
    B: Body<Data = Bytes, Error: Into<BoxError>>,
{
    let (head, body) = request.into_parts();
    let mut digest = Sha256::new();
    let most = usize::try_from(limit).unwrap_or(usize::MAX);
    let body = Limited::new(body, most).map_frame(|frame| {
        if let Some(data) = frame.data_ref() {
            digest.update(data);
        }
        frame
    });
    let collected = timeout(patience, body.collect()).await;
    let collected = collected.map_err(|_| Obstacle::BodyLost("it took too long".to_owned()))?;
    let collected = collected.map_err(|error| {
        if error.is::<LengthLimitError>() {
            Obstacle::BodyTooLong(limit)
        } else {
            Obstacle::BodyLost(error.to_string())
        }
    })?;
    Ok((Request::from_parts(head, Either::Right(collected)), digest.finalize().into()))
}

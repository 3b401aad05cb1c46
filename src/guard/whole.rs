//! Bodies that are read whole before anything else: on routes whose payments buy their request with this very body.
//!
//! Knows neither payments nor upstreams: a body, its digest, and the room that bodies take while they are read.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::Request;
use http_body::Body;
use http_body_util::{BodyExt as _, Collected, Either, LengthLimitError, Limited};
use sha2::{Digest as _, Sha256};
use tokio::{sync::Semaphore, time::timeout};

use super::{BoxError, Obstacle};

/// The body of a request on its way to the upstream: as it comes, or read whole before.
pub type Onward<B> = Either<B, Collected<Bytes>>;

/// Room for bodies while they are read, of all requests together. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MOST_KIB)))
    }
}

impl Room {
    /// Reads the body of `request`, of `limit` bytes at most, within `patience`; answers its SHA-256 with it.
    ///
    /// # Errors
    /// [`Obstacle::Busy`] if there is no room for a body of that length now, [`Obstacle::BodyLost`],
    /// [`Obstacle::BodyTooLong`].
    #[expect(
        clippy::disallowed_methods,
        reason = "it has a cap, and is read whole because its payment is bound to it"
    )]
    pub(super) async fn read<B>(
        &self,
        request: Request<B>,
        limit: u64,
        patience: Duration,
    ) -> Result<(Request<Onward<B>>, [u8; 32]), Obstacle>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let (head, body) = request.into_parts();
        // As long as it says, or else as long as it may be; what is longer than that is cut off.
        let longest = body.size_hint().upper().unwrap_or(limit).min(limit);
        let kib = u32::try_from(longest.div_ceil(1024)).unwrap_or(u32::MAX);
        let _room = self.0.try_acquire_many(kib).map_err(|_| Obstacle::Busy)?;
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
}

/// As many KiB as bodies that are being read may take.
const MOST_KIB: usize = 64 << 10;

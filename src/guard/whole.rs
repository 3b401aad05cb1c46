//! Bodies that are read whole before anything else: on routes whose payments buy their request with this very body.
//!
//! Knows neither payments nor upstreams: a body, its digest, and the room that bodies take while they are read.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use http::{Request, header};
use http_body::Body;
use http_body_util::{BodyExt as _, Collected, Either, LengthLimitError, Limited};
use sha2::{Digest as _, Sha256};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use super::{BoxError, Obstacle};

/// The body of a request on its way to the upstream: as it comes, or read whole before.
pub type Onward<B> = Either<B, Collected<Bytes>>;

/// Room for bodies while they are read, of all requests together. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

/// What was read; it keeps its room until it is dropped.
#[derive(Debug)]
pub(super) struct Read {
    /// The SHA-256 of the body.
    pub(super) digest: [u8; 32],
    _room: OwnedSemaphorePermit,
}

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(usize::try_from(MOST_KIB).unwrap_or(usize::MAX))))
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
    ) -> Result<(Request<Onward<B>>, Read), Obstacle>
    where
        B: Body<Data = Bytes, Error: Into<BoxError>>,
    {
        let (mut head, body) = request.into_parts();
        // It is here before the upstream could be asked whether it wants it.
        head.headers.remove(header::EXPECT);
        // As long as it says, or else as long as it may be; what is longer than that is cut off.
        let longest = body.size_hint().upper().unwrap_or(limit).min(limit);
        // A body that is larger than all the room takes all of it.
        let kib = u32::try_from(longest.div_ceil(1024)).unwrap_or(u32::MAX).min(MOST_KIB);
        let room = self.0.clone().try_acquire_many_owned(kib).map_err(|_| Obstacle::Busy)?;
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
        let read = Read { digest: digest.finalize().into(), _room: room };
        Ok((Request::from_parts(head, Either::Right(collected)), read))
    }
}

/// As many KiB as bodies that are read whole may take together.
const MOST_KIB: u32 = 64 << 10;

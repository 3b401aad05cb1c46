//! What becomes of a connection whose protocol was switched: two streams, joined.
//!
//! Knows neither the protocol nor who agreed on it. The upstream says what the far side is; the server, once the answer
//! that switches has gone out, what the near one is.
//!
//! Source: RFC 9110 section 7.8.

use std::{
    any::Any,
    fmt,
    future::pending,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional_with_sizes},
    time::sleep,
};
use tracing::debug;

/// The far end of a connection that was switched; travels in the extensions of the answer `101 Switching Protocols`.
///
/// Where that answer is dropped, the far end is.
#[derive(Clone)]
pub struct Tunnel {
    far: OnUpgrade,
    idle: Duration,
    most: Option<Duration>,
    hold: Arc<dyn Any + Send + Sync>,
}

impl Tunnel {
    /// A tunnel to `far`, which ends when nothing has moved for `idle`, or at most twice as long; `hold` is kept until then.
    #[must_use]
    pub const fn new(far: OnUpgrade, idle: Duration, hold: Arc<dyn Any + Send + Sync>) -> Self {
        Self { far, idle, most: None, hold }
    }

    /// The same tunnel, which ends after `most` whatever moves, if that is given.
    #[must_use]
    pub fn for_at_most(self, most: Option<Duration>) -> Self {
        Self { most, ..self }
    }

    /// Joins both ends, once they have been switched, until both are done, one breaks, nothing moves, or its time is over.
    ///
    /// # Cancellation
    /// Both ends are closed.
    pub async fn join(self, near: OnUpgrade) {
        let Self { far, idle, most, hold } = self;
        let (near, far) = match (near.await, far.await) {
            (Ok(near), Ok(far)) => (near, far),
            (near, far) => {
                debug!(near = ?near.err(), far = ?far.err(), "nothing to join: one end is gone");
                return;
            }
        };
        let moved = AtomicBool::new(true);
        let mut near = Watched { stream: TokioIo::new(near), moved: &moved };
        let mut far = Watched { stream: TokioIo::new(far), moved: &moved };
        let silence = async {
            while moved.swap(false, Ordering::Relaxed) {
                sleep(idle).await;
            }
        };
        let over = async {
            match most {
                Some(most) => sleep(most).await,
                None => pending().await,
            }
        };
        tokio::select! {
            copied = copy_bidirectional_with_sizes(&mut near, &mut far, PIECE, PIECE) => {
                if let Err(error) = copied {
                    debug!(%error, "a tunnel broke");
                }
            }
            () = silence => debug!("nothing moved in a tunnel, so it ends"),
            () = over => debug!("the time of a tunnel is over"),
        }
        drop(hold);
    }
}

impl fmt::Debug for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tunnel").field("idle", &self.idle).finish_non_exhaustive()
    }
}

/// A stream that notes when something comes out of it, or goes in.
struct Watched<'a, T> {
    stream: T,
    moved: &'a AtomicBool,
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<'_, T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if read.is_ready() {
            self.moved.store(true, Ordering::Relaxed);
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<'_, T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        if written.is_ready() {
            self.moved.store(true, Ordering::Relaxed);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// How much is read at once, in either direction.
const PIECE: usize = 16 << 10;

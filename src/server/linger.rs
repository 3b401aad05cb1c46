//! Closing without cutting off what was said last.
//!
//! An answer may go out before the request's body has come in: a 402 never waits for a body. If the connection were
//! closed there and then, what the client still sends would be met by a reset, which can overtake the answer. So the
//! stream comes back here when hyper is done with it, and what still comes is read and thrown away for a while.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf},
    time::timeout,
};

use super::stream::Stream;

/// A stream that goes back where it came from when it is dropped.
#[derive(Debug)]
pub(super) struct Lent {
    /// `None` only while it is dropped.
    stream: Option<Stream>,
    home: Home,
}

/// Where a stream comes back to.
#[derive(Clone, Debug, Default)]
pub(super) struct Home(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stream: Mutex<Option<Stream>>,
    /// Whether the last request had a body, of which some may be on its way.
    is_owed: AtomicBool,
}

impl Home {
    /// Lends a stream out.
    pub(super) fn lend(&self, stream: Stream) -> Lent {
        Lent { stream: Some(stream), home: self.clone() }
    }

    /// Notes whether the request that has come has a body.
    pub(super) fn expect(&self, body: bool) {
        self.0.is_owed.store(body, Ordering::Relaxed);
    }

    /// Whether the client may still be sending a body.
    pub(super) fn is_owed(&self) -> bool {
        self.0.is_owed.load(Ordering::Relaxed)
    }

    /// Ends the stream that has come back: says that no more will be sent, and waits for the client to say the same.
    pub(super) async fn linger(self) {
        let back = self.slot().take();
        if let Some(stream) = back {
            // A client that is gone already, or stays for ever, is no concern any more.
            drop(timeout(LONGEST, read_out(stream)).await);
        }
    }

    fn slot(&self) -> MutexGuard<'_, Option<Stream>> {
        self.0.stream.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn read_out(mut stream: Stream) -> io::Result<()> {
    stream.shutdown().await?;
    let mut waste = [0; 8192];
    while let Ok(length) = timeout(QUIET, stream.read(&mut waste)).await {
        if length? == 0 {
            break;
        }
    }
    Ok(())
}

impl Drop for Lent {
    fn drop(&mut self) {
        *self.home.slot() = self.stream.take();
    }
}

impl Lent {
    fn stream(&mut self) -> io::Result<Pin<&mut Stream>> {
        self.stream.as_mut().map(Pin::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
    }
}

impl AsyncRead for Lent {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream()?.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Lent {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream()?.poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.stream()?.poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }
}

/// How long a client may take to end its side, and how long it may be silent meanwhile.
const LONGEST: Duration = Duration::from_secs(30);
const QUIET: Duration = Duration::from_secs(2);

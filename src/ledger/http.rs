//! JSON over HTTP to one service: a pooled client that follows no redirect and reads no more than it was told.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};

/// A pooled HTTP client for `http` and `https`. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Http {}

impl Http {
    /// A client that trusts the machine's certificate authorities (or those of `SSL_CERT_FILE`).
    ///
    /// # Errors
    /// If the machine has no usable certificate store.
    pub fn new() -> std::io::Result<Self> {
        todo!()
    }

    /// Sends `request` and reads the whole answer: its status and at most `cap` bytes of body, within `timeout`.
    ///
    /// # Errors
    /// See [`HttpError`].
    pub async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
        cap: usize,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        todo!()
    }
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// No connection was made; nothing was sent.
    #[error("cannot connect")]
    Connect,
    /// The connection broke before the whole answer had come; the request may have been carried out.
    #[error("the connection broke")]
    Broken,
    /// The answer did not come in time; the request may have been carried out.
    #[error("no answer in time")]
    Timeout,
    /// The answer was larger than allowed.
    #[error("the answer is larger than {cap} bytes")]
    TooLarge {
        /// The most that was allowed.
        cap: usize,
    },
}

//! HTTP to one service: a pooled client that follows no redirect and reads no more than it was told.
//!
//! It knows nothing of what it carries. A call is bounded in time and in bytes, so a service that drips or floods costs
//! what was allowed and no more; it asks for no compression, so an answer is as large as it looks. Who wants an answer as
//! it comes bounds it alone: see [`Http::exchange`].

use std::{sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http::{Request, Response, StatusCode};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{self, Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use tracing::warn;

/// A pooled HTTP client for `http` and `https`. Clones share the pool.
#[derive(Clone, Debug)]
pub struct Http {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Http {
    /// A client that trusts the machine's certificate authorities, or those of `SSL_CERT_FILE`.
    ///
    /// Where there are none it trusts nobody: plain HTTP works, TLS does not.
    #[must_use]
    pub fn new() -> Self {
        let builder = || {
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .expect("the provider supports TLS 1.2 and 1.3")
        };
        let tls = builder().with_native_roots().unwrap_or_else(|error| {
            warn!(%error, "no certificate authorities found: services over https are out of reach");
            builder().with_root_certificates(RootCertStore::empty())
        });
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build(connector);
        Self { client }
    }

    /// Sends `request` and reads the whole answer: its status and at most `cap` bytes of body, within `timeout`.
    ///
    /// # Errors
    /// See [`HttpError`].
    ///
    /// # Cancellation
    /// The request may have been carried out.
    pub async fn send(
        &self,
        request: Request<Bytes>,
        timeout: Duration,
        cap: usize,
    ) -> Result<(StatusCode, Bytes), HttpError> {
        let exchange = async {
            let response = self.exchange(request).await.map_err(|error| {
                if error.is_connect() { HttpError::Connect } else { HttpError::Broken }
            })?;
            let (head, body) = response.into_parts();
            Ok((head.status, read_body(body, cap).await?))
        };
        tokio::time::timeout(timeout, exchange).await.unwrap_or(Err(HttpError::Timeout))
    }

    /// Sends `request` and returns when the head of the answer has come; only connecting is bounded.
    ///
    /// # Errors
    /// The transport's: no connection, or one that broke.
    ///
    /// # Cancellation
    /// The request may have been carried out.
    pub async fn exchange(
        &self,
        request: Request<Bytes>,
    ) -> Result<Response<Incoming>, legacy::Error> {
        self.client.request(request.map(Full::new)).await
    }
}

impl Default for Http {
    fn default() -> Self {
        Self::new()
    }
}

/// The whole of a body that is known to be small; time is the caller's to bound.
///
/// # Errors
/// [`HttpError::TooLarge`] above `cap` bytes, [`HttpError::Broken`].
pub(crate) async fn read_body<B>(mut body: B, cap: usize) -> Result<Bytes, HttpError>
where
    B: Body<Data = Bytes> + Unpin,
{
    let large = HttpError::TooLarge { cap };
    if body.size_hint().lower() > u64::try_from(cap).unwrap_or(u64::MAX) {
        return Err(large);
    }
    let mut read = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(bytes) = frame.map_err(|_| HttpError::Broken)?.into_data() else { continue };
        if read.len().saturating_add(bytes.len()) > cap {
            return Err(large);
        }
        read.extend_from_slice(&bytes);
    }
    Ok(read.freeze())
}

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
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
        /// The most that was allowed, in bytes.
        cap: usize,
    },
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Shorter than what servers keep an idle connection for, so that one is seldom closed under a request.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);

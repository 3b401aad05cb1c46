//! TLS to upstreams: whom they are proven by, and who we are to them. A certificate is always checked.

use std::{fmt, io, sync::Arc};

use http::uri::Authority;
use hyper_rustls::ConfigBuilderExt as _;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName},
};
use sha2::{Digest as _, Sha256};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use super::Protocol;

/// What is said about TLS to one upstream.
#[derive(Default)]
pub struct TlsSettings {
    /// Who may vouch for a server; `None` for the machine's certificate authorities, or those of `SSL_CERT_FILE`.
    pub authorities: Option<Vec<CertificateDer<'static>>>,
    /// What the gateway shows when a server asks who it is: a certificate with its chain, and its key.
    pub identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// The name that the certificate must have and that is asked for (SNI); `None` for the host of the URL.
    pub server_name: Option<ServerName<'static>>,
}

impl fmt::Debug for TlsSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsSettings")
            .field("server_name", &self.server_name)
            .finish_non_exhaustive()
    }
}

/// How connections to one upstream are secured. Clones share it.
#[derive(Clone)]
pub struct Tls {
    /// Offers the protocols of the upstream.
    usual: TlsConnector,
    /// Offers HTTP/1.1 alone: for what only that can do.
    h1: TlsConnector,
    server_name: Option<ServerName<'static>>,
    /// Of everything that was said about it.
    digest: [u8; 32],
}

impl Tls {
    /// Secures connections that speak `protocol`.
    ///
    /// # Errors
    /// [`TlsError`] names what cannot be used.
    pub fn new(settings: TlsSettings, protocol: Protocol) -> Result<Self, TlsError> {
        let digest = digest(&settings);
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Authority)?;
        let builder = match settings.authorities {
            None => builder.with_native_roots().map_err(TlsError::NoAuthorities)?,
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in authorities {
                    roots.add(authority).map_err(TlsError::Authority)?;
                }
                builder.with_root_certificates(roots)
            }
        };
        let config = match settings.identity {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                builder.with_client_auth_cert(chain, key).map_err(TlsError::Identity)?
            }
        };
        let offering = |protocols: &[&[u8]]| {
            let mut config = config.clone();
            config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
            TlsConnector::from(Arc::new(config))
        };
        let usual = match protocol {
            Protocol::Http1 => offering(&[H1]),
            Protocol::Http2 => offering(&[H2]),
            Protocol::Negotiated => offering(&[H2, H1]),
        };
        Ok(Self { usual, h1: offering(&[H1]), server_name: settings.server_name, digest })
    }

    /// Whether the same was said about both: what one trusts, the other does.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.digest == other.digest
    }

    /// Secures `stream`, which leads to `address`.
    pub(super) async fn connect(
        &self,
        stream: TcpStream,
        address: &Authority,
        needs_h1: bool,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => {
                let host = address.host().trim_start_matches('[').trim_end_matches(']');
                ServerName::try_from(host.to_owned()).map_err(io::Error::other)?
            }
        };
        let connector = if needs_h1 { &self.h1 } else { &self.usual };
        connector.connect(name, stream).await
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("server_name", &self.server_name).finish_non_exhaustive()
    }
}

fn digest(settings: &TlsSettings) -> [u8; 32] {
    let mut digest = Sha256::new();
    let mut add = |part: &[u8]| {
        // With its length, so that what follows cannot be taken for a piece of it.
        digest.update(part.len().to_le_bytes());
        digest.update(part);
    };
    add(&[u8::from(settings.authorities.is_some()), u8::from(settings.identity.is_some())]);
    settings.authorities.iter().flatten().for_each(|authority| add(authority));
    add(b"the gateway's own");
    if let Some((chain, key)) = &settings.identity {
        add(key.secret_der());
        chain.iter().for_each(|certificate| add(certificate));
    }
    add(settings.server_name.as_ref().map(ServerName::to_str).unwrap_or_default().as_bytes());
    digest.finalize().into()
}

/// What TLS cannot be set up with.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The machine has no certificate authorities.
    #[error("the machine has no certificate authorities")]
    NoAuthorities(#[source] io::Error),
    /// A certificate that should vouch for servers cannot.
    #[error("the certificate cannot vouch for a server")]
    Authority(#[source] rustls::Error),
    /// The gateway's own certificate and key cannot be used.
    #[error("the certificate and the key cannot be used together")]
    Identity(#[source] rustls::Error),
}

const H1: &[u8] = b"http/1.1";
const H2: &[u8] = b"h2";

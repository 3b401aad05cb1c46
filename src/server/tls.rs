//! TLS on a listener: which certificate is shown to whom, and which HTTP is spoken behind it.
//!
//! TLS 1.2 and newer; no 0-RTT, whose requests can be sent again by whoever has seen them, payments among them; no
//! renegotiation. A client that names a host is shown the certificate of that host or none at all; one that names none is
//! shown the first. What is shown can be replaced while connections go on.
//!
//! Knows nothing of HTTP but its names in ALPN. Source: RFC 8446, RFC 6066 section 3, RFC 7301.

use std::{fmt, fs, io, path::Path, sync::Arc};

use arc_swap::ArcSwap;
use rustls::{
    ServerConfig,
    client::verify_server_name,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _},
    server::{ClientHello, NoServerSessionStorage, ParsedCertificate, ResolvesServerCert},
    sign::CertifiedKey,
    version::{TLS12, TLS13},
};
use tokio::net::TcpStream;
use tokio_rustls::{TlsAcceptor, server::TlsStream};

/// What a listener shows to those who come in; clones share it.
#[derive(Clone)]
pub struct Tls(Arc<ArcSwap<ServerConfig>>);

/// A certificate with its chain, and its key.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

/// A version of HTTP that a listener speaks behind TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// HTTP/1.1, and HTTP/1.0.
    Http1,
    /// HTTP/2.
    Http2,
}

/// Why a certificate cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[source] io::Error),
    /// No certificate in the certificates' file.
    #[error("it holds no certificate in PEM form")]
    NoCertificate,
    /// No private key in the key's file.
    #[error("it holds no private key in PEM form")]
    NoKey,
    /// A certificate or a key that the cryptography does not take.
    #[error("it is of no use for TLS: {0}")]
    Unusable(#[source] rustls::Error),
    /// The key is another certificate's.
    #[error("it does not belong to the certificate")]
    OtherKey,
}

impl Tls {
    /// Shows `identities`, and speaks `protocols`, the preferred one first.
    ///
    /// # Errors
    /// [`Error::Unusable`] if the cryptography gives no key for session tickets.
    pub fn new(identities: Vec<Identity>, protocols: &[Protocol]) -> Result<Self, Error> {
        config(identities, protocols).map(|config| Self(Arc::new(ArcSwap::from(config))))
    }

    /// Shows from now on what `other` shows; connections that stand go on as they are.
    pub fn show(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    /// Takes a client through its handshake. The client is gone, or has none of what is asked, if it fails.
    pub(super) async fn accept(&self, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsAcceptor::from(self.0.load_full()).accept(stream).await
    }
}

/// Whether the client has chosen HTTP/2.
pub(super) fn speaks_h2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(Protocol::Http2.name())
}

impl Identity {
    /// Reads a certificate, followed by those that vouch for it, and its key from files in PEM form.
    ///
    /// # Errors
    /// What is wrong with the certificates' file, or with the key's: [`Fault`].
    pub fn read(cert_file: &Path, key_file: &Path) -> Result<Self, Fault> {
        let chain = fs::read(cert_file).map_err(Error::Read).map_err(Fault::Certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or(Fault::Certificate(Error::NoCertificate))?;
        let leaf = chain.first().ok_or(Fault::Certificate(Error::NoCertificate))?;
        ParsedCertificate::try_from(leaf).map_err(Error::Unusable).map_err(Fault::Certificate)?;
        let key =
            zeroize::Zeroizing::new(fs::read(key_file).map_err(Error::Read).map_err(Fault::Key)?);
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| Fault::Key(Error::NoKey))?;
        CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map(Self).map_err(|error| {
            Fault::Key(match error {
                rustls::Error::InconsistentKeys(_) => Error::OtherKey,
                other => Error::Unusable(other),
            })
        })
    }

    fn is_of(&self, host: &str) -> bool {
        let Ok(name) = ServerName::try_from(host) else { return false };
        let leaf = self.0.cert.first().map(ParsedCertificate::try_from);
        leaf.is_some_and(|leaf| leaf.is_ok_and(|leaf| verify_server_name(&leaf, &name).is_ok()))
    }
}

/// Which of the two files is at fault, and why.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The certificates'.
    #[error(transparent)]
    Certificate(Error),
    /// The key's.
    #[error(transparent)]
    Key(Error),
}

impl Protocol {
    const fn name(self) -> &'static [u8] {
        match self {
            Self::Http1 => b"http/1.1",
            Self::Http2 => b"h2",
        }
    }
}

/// Shows of the key only that there is one.
impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Identity").field(&self.0.cert.len()).finish()
    }
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

/// The certificates of a listener, in the order of its configuration.
#[derive(Debug)]
struct Shown(Vec<Identity>);

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let identity = match hello.server_name() {
            Some(host) => self.0.iter().find(|identity| identity.is_of(host)),
            None => self.0.first(),
        };
        identity.map(|identity| identity.0.clone())
    }
}

fn config(identities: Vec<Identity>, protocols: &[Protocol]) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(Error::Unusable)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(Arc::new(Shown(identities)));
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.name().to_vec()).collect();
    config.max_early_data_size = 0;
    // Sessions are resumed from what the client keeps: nothing is kept here for clients that do not come back.
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(Error::Unusable)?;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

fn provider() -> CryptoProvider {
    aws_lc_rs::default_provider()
}

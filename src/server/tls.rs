//! TLS on a listener: which certificate is shown to whom, and which HTTP is spoken behind it.
//!
//! TLS 1.2 and newer; no 0-RTT, whose requests can be sent again by whoever has seen them, payments among them; no
//! renegotiation. A client that names a host is shown the certificate of that host or none at all, and is answered for no
//! host that it is not for; one that names none is shown the first. Its listener can
//! show something else while connections go on.
//!
//! Knows nothing of HTTP but its names in ALPN, and how a host is written. Source: RFC 8446, RFC 6066 section 3, RFC 7301.

mod life;

use std::{fmt, io, path::Path, sync::Arc};

use http::HeaderValue;
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
pub struct Tls(Arc<Stage>);

/// A certificate with its chain, and its key.
#[derive(Clone)]
pub struct Identity(Arc<CertifiedKey>);

/// Whom a client asked for by name, and was shown the certificate of.
#[derive(Debug)]
pub(super) struct Named {
    host: String,
    identity: Identity,
}

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
        Stage::new(identities, protocols).map(Arc::new).map(Self)
    }

    /// Whether clients see no difference: the same certificates, and the same protocols.
    #[must_use]
    pub fn shows_the_same(&self, other: &Self) -> bool {
        // A certificate names its key, so the keys are the same too.
        let (one, other) = (&self.0, &other.0);
        let chains = |stage: &'_ Stage| -> Vec<_> {
            stage.shown.identities.iter().map(|identity| identity.0.cert.clone()).collect()
        };
        one.config.alpn_protocols == other.config.alpn_protocols && chains(one) == chains(other)
    }

    /// When each certificate ends that is shown, in seconds since 1970, in the order of the configuration.
    #[must_use]
    pub fn ends(&self) -> Vec<Option<u64>> {
        let leaves = self.0.shown.identities.iter().map(|identity| identity.0.cert.first());
        leaves.map(|leaf| life::not_after(leaf?)).collect()
    }

    /// Takes a client through its handshake, and tells whom it asked for where others could be shown. The client is gone,
    /// or has none of what is asked, if it fails.
    pub(super) async fn accept(
        &self,
        stream: TcpStream,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Arc<Named>>)> {
        let stage = self.0.clone();
        let stream = TlsAcceptor::from(stage.config.clone()).accept(stream).await?;
        let named = match stream.get_ref().1.server_name() {
            Some(host) if stage.shown.identities.len() > 1 => stage.shown.named(host),
            _ => None,
        };
        Ok((stream, named.map(Arc::new)))
    }
}

/// Whether the client has chosen HTTP/2.
pub(super) fn speaks_h2(stream: &TlsStream<TcpStream>) -> bool {
    stream.get_ref().1.alpn_protocol() == Some(Protocol::Http2.name())
}

impl Identity {
    /// Reads a certificate, followed by those that vouch for it, and its key from files in PEM form; `read` gives the
    /// content of a file.
    ///
    /// # Errors
    /// What is wrong with the certificates' file, or with the key's: [`Fault`].
    pub fn read(
        cert_file: &Path,
        key_file: &Path,
        read: impl Fn(&Path) -> io::Result<Vec<u8>>,
    ) -> Result<Self, Fault> {
        let chain = read(cert_file).map_err(Error::Read).map_err(Fault::Certificate)?;
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty());
        let chain = chain.ok_or(Fault::Certificate(Error::NoCertificate))?;
        let leaf = chain.first().ok_or(Fault::Certificate(Error::NoCertificate))?;
        ParsedCertificate::try_from(leaf).map_err(Error::Unusable).map_err(Fault::Certificate)?;
        let key = zeroize::Zeroizing::new(read(key_file).map_err(Error::Read).map_err(Fault::Key)?);
        let key = PrivateKeyDer::from_pem_slice(&key).map_err(|_| Fault::Key(Error::NoKey))?;
        CertifiedKey::from_der(chain, key, &provider()).map(Arc::new).map(Self).map_err(|error| {
            Fault::Key(match error {
                rustls::Error::InconsistentKeys(_) => Error::OtherKey,
                other => Error::Unusable(other),
            })
        })
    }

    /// Whether its certificate is for this host: a name or an address, without a port.
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

/// What is played for those who come in at one time.
struct Stage {
    config: Arc<ServerConfig>,
    shown: Arc<Shown>,
}

/// The certificates of a listener, in the order of its configuration.
#[derive(Debug)]
struct Shown {
    identities: Vec<Identity>,
    /// A client that chooses no protocol gets HTTP/1.1: where that is not spoken, it gets nothing.
    needs_choice: bool,
}

impl Named {
    /// Whether what was shown is good for this `Host` as well: RFC 9110 section 7.4.
    pub(super) fn answers_for(&self, host: &HeaderValue) -> bool {
        let Ok(host) = host.to_str() else { return false };
        let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
            Some((address, _)) => address,
            None => host.split(':').next().unwrap_or_default(),
        };
        name.eq_ignore_ascii_case(&self.host) || self.identity.is_of(name)
    }
}

impl Shown {
    /// What is shown to who asks for `host`.
    fn to(&self, host: &str) -> Option<&Identity> {
        self.identities.iter().find(|identity| identity.is_of(host))
    }

    fn named(&self, host: &str) -> Option<Named> {
        let identity = self.to(host)?.clone();
        Some(Named { host: host.to_owned(), identity })
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        if self.needs_choice && hello.alpn().is_none() {
            return None;
        }
        let identity = match hello.server_name() {
            Some(host) => self.to(host),
            None => self.identities.first(),
        };
        identity.map(|identity| identity.0.clone())
    }
}

impl Stage {
    fn new(identities: Vec<Identity>, protocols: &[Protocol]) -> Result<Self, Error> {
        let needs_choice = !protocols.contains(&Protocol::Http1);
        let shown = Arc::new(Shown { identities, needs_choice });
        Ok(Self { config: config(shown.clone(), protocols)?, shown })
    }
}

fn config(shown: Arc<Shown>, protocols: &[Protocol]) -> Result<Arc<ServerConfig>, Error> {
    let builder = ServerConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(Error::Unusable)?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(shown);
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

//! What goes in comes out: exchanges whose two ends are recorded, through every pair of protocols, plain and over TLS.
//!
//! An exchange is a request and the answer to it, both written out. The request is recorded at the upstream, the answer at
//! the client, and both have to be what was sent: method, target, status, headers with their duplicates in order, body,
//! trailers. What the gateway adds or takes away, and nothing else, is named in `recorded`.

mod far;
mod list;
mod near;
mod wire;

use std::{net::SocketAddr, path::Path, sync::Arc};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
    server::WebPkiClientVerifier,
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};
use tollgate::{
    server::tls::{Identity, Protocol as Offered, Tls as Shown},
    upstream::{Protocol, Tls, TlsSettings},
};

use self::{
    far::Far,
    list::{Exchange, exchanges},
};
use crate::harness::{Gateway, Options, within};

/// A stream of bytes, of whatever kind.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    H1,
    H2,
}

/// A certificate that both ends of the gateway trust, and what is made of it.
pub(crate) struct Trust {
    folder: TempDir,
    cert: CertificateDer<'static>,
    key: Vec<u8>,
}

impl Trust {
    pub(crate) fn new() -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(vec!["here.test".to_owned()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("crt"), cert.pem()).unwrap();
        std::fs::write(folder.path().join("key"), signing_key.serialize_pem()).unwrap();
        Self { folder, cert: cert.der().clone(), key: signing_key.serialize_der() }
    }

    /// What the gateway's listener shows.
    pub(crate) fn shown(&self) -> Shown {
        let at = |name: &str| self.folder.path().join(name);
        let read = |cert: &Path, key: &Path| {
            Identity::read(cert, key, |path| std::fs::read(path)).unwrap()
        };
        let identity = read(&at("crt"), &at("key"));
        Shown::new(vec![identity], &[Offered::Http2, Offered::Http1]).unwrap()
    }

    /// What the gateway trusts at its upstreams.
    pub(crate) fn trusted(&self, protocol: Protocol) -> Tls {
        let settings = TlsSettings {
            authorities: Some(vec![self.cert.clone()]),
            identity: None,
            server_name: Some(name()),
        };
        Tls::new(settings, protocol).unwrap()
    }

    /// What an upstream accepts connections with.
    pub(crate) fn acceptor(&self, protocols: &[&[u8]]) -> TlsAcceptor {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(self.authorities(), self.identity().1)
            .unwrap();
        config.alpn_protocols = protocols.iter().map(|name| name.to_vec()).collect();
        TlsAcceptor::from(Arc::new(config))
    }

    /// As [`Trust::acceptor`], for those alone who show the certificate of `client`.
    pub(crate) fn acceptor_for(&self, client: &Self) -> TlsAcceptor {
        let mut roots = RootCertStore::empty();
        roots.add(client.cert.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier.build().unwrap())
            .with_single_cert(vec![self.cert.clone()], self.identity().1)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    /// Who vouches for it: itself.
    pub(crate) fn authorities(&self) -> Vec<CertificateDer<'static>> {
        vec![self.cert.clone()]
    }

    /// The certificate and its key.
    pub(crate) fn identity(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.clone()));
        (self.authorities(), key)
    }

    /// A client's connection over TLS that speaks `version`.
    pub(crate) async fn connect(&self, address: SocketAddr, version: Version) -> impl Io + 'static {
        let mut roots = RootCertStore::empty();
        roots.add(self.cert.clone()).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = vec![alpn(version).to_vec()];
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        TlsConnector::from(Arc::new(config)).connect(name(), stream).await.unwrap()
    }
}

/// The whole of an answer's body.
pub(crate) async fn body_of_answer(body: hyper::body::Incoming) -> Vec<u8> {
    far::collect(body).await.0
}

pub(crate) fn name() -> ServerName<'static> {
    ServerName::try_from("here.test").unwrap()
}

pub(crate) const fn alpn(version: Version) -> &'static [u8] {
    match version {
        Version::H1 => b"http/1.1",
        Version::H2 => b"h2",
    }
}

/// Runs every exchange between a client and an upstream of these versions.
async fn all_pass(near: Version, far: Version, is_secure: bool) {
    let trust = Trust::new();
    let upstream = Far::start(far, is_secure.then(|| trust.acceptor(&[alpn(far)]))).await;
    let protocol = match (far, is_secure) {
        (Version::H1, false) => Protocol::Http1,
        (Version::H2, false) => Protocol::Http2,
        (_, true) => Protocol::Negotiated,
    };
    let options = Options {
        protocol,
        tls: is_secure.then(|| trust.trusted(protocol)),
        shown: is_secure.then(|| trust.shown()),
        ..Options::default()
    };
    let gateway = Gateway::start(&[upstream.address], options).await;
    let mut failures = Vec::new();
    let exchanges: Vec<Exchange> = exchanges();
    assert!(exchanges.len() >= 40, "{}", exchanges.len());
    for (number, exchange) in exchanges.into_iter().enumerate() {
        let exchange = Arc::new(exchange);
        upstream.expect(exchange.clone());
        let stream: Box<dyn Io> = if is_secure {
            Box::new(trust.connect(gateway.address, near).await)
        } else {
            Box::new(TcpStream::connect(gateway.address).await.unwrap())
        };
        let answer = within(near::exchange(stream, near, &exchange)).await;
        let request = within(upstream.recorded()).await;
        let scheme = if is_secure { "https" } else { "http" };
        let pair =
            [(request, exchange.request_at(far, scheme)), (answer, exchange.answer_at(near))];
        for (recorded, sent) in pair {
            if recorded != sent {
                failures
                    .push(format!("{number} {}:\n got {recorded:?}\nsent {sent:?}", exchange.name));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

#[tokio::test]
async fn all_exchanges_pass_from_http1_to_http1() {
    all_pass(Version::H1, Version::H1, false).await;
}

#[tokio::test]
async fn all_exchanges_pass_from_http2_to_http1() {
    all_pass(Version::H2, Version::H1, false).await;
}

#[tokio::test]
async fn all_exchanges_pass_from_http2_to_http2() {
    all_pass(Version::H2, Version::H2, false).await;
}

#[tokio::test]
async fn all_exchanges_pass_from_http1_to_http2() {
    all_pass(Version::H1, Version::H2, false).await;
}

#[tokio::test]
async fn all_exchanges_pass_from_http1_to_http1_over_tls() {
    all_pass(Version::H1, Version::H1, true).await;
}

#[tokio::test]
async fn all_exchanges_pass_from_http2_to_http1_over_tls() {
    all_pass(Version::H2, Version::H1, true).await;
}

#[tokio::test]
async fn all_exchanges_pass_from_http2_to_http2_over_tls() {
    all_pass(Version::H2, Version::H2, true).await;
}

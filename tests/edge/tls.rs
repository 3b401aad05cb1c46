//! G09: TLS listeners.

use std::{fs, path::Path, sync::Arc};

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore, SupportedProtocolVersion,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
    version::{TLS12, TLS13},
};
use tokio::{io::AsyncReadExt as _, net::TcpStream, task::JoinSet};
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::site::{Site, Wire, settings, status_of, within};

const ONE: &str = "listeners:\n  - { name: public, address: 127.0.0.1:0, \
                   tls: { cert_file: a.crt, key_file: a.key } }";
const TWO: &str = "listeners:\n  - name: public\n    address: 127.0.0.1:0\n    tls:\n      certificates:\n        \
                   - { cert_file: a.crt, key_file: a.key }\n        - { cert_file: b.crt, key_file: b.key }";
const GET: &str = "GET /free/x HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// Puts the certificate `name` for these hosts into the folder.
fn issue(folder: &Path, name: &str, hosts: &[&str]) {
    let hosts: Vec<String> = hosts.iter().map(ToString::to_string).collect();
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(hosts).unwrap();
    fs::write(folder.join(format!("{name}.crt")), cert.pem()).unwrap();
    fs::write(folder.join(format!("{name}.key")), signing_key.serialize_pem()).unwrap();
}

fn issue_both(folder: &Path) {
    issue(folder, "a", &["a.example", "127.0.0.1"]);
    issue(folder, "b", &["b.example", "*.wild.example"]);
}

/// A client that trusts the certificate `name` of the site and no other.
struct Visitor {
    config: ClientConfig,
}

impl Visitor {
    fn trusting(site: &Site, name: &str) -> Self {
        Self::speaking(site, name, &[&TLS13, &TLS12])
    }

    fn speaking(site: &Site, name: &str, versions: &[&'static SupportedProtocolVersion]) -> Self {
        let pem = fs::read(site.folder.path().join(format!("{name}.crt"))).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&pem).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider);
        let builder = builder.with_protocol_versions(versions).unwrap();
        Self { config: builder.with_root_certificates(roots).with_no_client_auth() }
    }

    fn offering(mut self, protocols: &[&str]) -> Self {
        self.config.alpn_protocols =
            protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        self
    }

    async fn visit(&self, site: &Site, host: &str) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(site.address()).await.unwrap();
        let name = ServerName::try_from(host.to_owned()).unwrap();
        let connector = TlsConnector::from(Arc::new(self.config.clone()));
        within(connector.connect(name, stream)).await
    }
}

#[tokio::test]
async fn g09_http_is_spoken_behind_tls_and_the_upstream_is_told() {
    let site = Site::with(ONE, issue_both).await;
    for version in [&TLS13, &TLS12] {
        let visitor = Visitor::speaking(&site, "a", &[version]);
        let mut wire = Wire::new(visitor.visit(&site, "a.example").await.unwrap());
        wire.send(GET).await;
        assert_eq!(status_of(&wire.rest().await), 200, "{version:?}");
    }
    let requests = site.origin.requests();
    assert_eq!(requests.len(), 2);
    assert!(requests[0].contains("\r\nx-forwarded-proto: https\r\n"), "{}", requests[0]);
}

#[tokio::test]
async fn g09_http2_is_chosen_by_the_client() {
    let site = Site::with(ONE, issue_both).await;
    let visitor = Visitor::trusting(&site, "a").offering(&["h2", "http/1.1"]);
    let stream = visitor.visit(&site, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut sender, connection) =
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    let mut running = JoinSet::new();
    running.spawn(async move { drop(connection.await) });
    let request = Request::get("https://a.example/free/x").body(Full::<Bytes>::default()).unwrap();
    assert_eq!(within(sender.send_request(request)).await.unwrap().status(), 200);
    // One that offers only HTTP/1.1 gets that, and one that offers neither gets nothing.
    let visitor = Visitor::trusting(&site, "a").offering(&["http/1.1"]);
    let stream = visitor.visit(&site, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let visitor = Visitor::trusting(&site, "a").offering(&["h3"]);
    assert!(visitor.visit(&site, "a.example").await.is_err());
    assert_eq!(site.origin.targets(), ["GET /free/x"]);
}

#[tokio::test]
async fn g09_a_listener_speaks_only_the_protocols_of_its_configuration() {
    let only = ONE.replace(" }\n", "").replace("a.key }", "a.key, alpn: [http/1.1] }");
    let site = Site::with(&only, issue_both).await;
    let visitor = Visitor::trusting(&site, "a").offering(&["h2", "http/1.1"]);
    let stream = visitor.visit(&site, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let visitor = Visitor::trusting(&site, "a").offering(&["h2"]);
    assert!(visitor.visit(&site, "a.example").await.is_err());
}

#[tokio::test]
async fn g09_each_host_is_shown_its_own_certificate_and_a_strange_one_none() {
    let site = Site::with(TWO, issue_both).await;
    for (name, host) in [
        ("a", "a.example"),
        ("b", "b.example"),
        ("b", "x.wild.example"),
        // A client that calls the gateway by its address names no host.
        ("a", "127.0.0.1"),
    ] {
        let mut wire = Wire::new(Visitor::trusting(&site, name).visit(&site, host).await.unwrap());
        wire.send(GET.replace("a.example", host)).await;
        assert_eq!(status_of(&wire.rest().await), 200, "{host}");
    }
    for host in ["c.example", "example", "x.y.wild.example", "wild.example"] {
        let refused = Visitor::trusting(&site, "a").visit(&site, host).await.unwrap_err();
        assert!(refused.to_string().contains("alert"), "{host}: {refused}");
    }
    assert_eq!(site.origin.requests().len(), 4);
}

/// RFC 9110 section 7.4: what is asked for on a connection has to be what its certificate is for.
#[tokio::test]
async fn g09_a_request_for_a_host_of_another_certificate_is_misdirected() {
    let site = Site::with(TWO, issue_both).await;
    let ask = async |name: &str, visited: &str, host: &str| {
        let mut wire =
            Wire::new(Visitor::trusting(&site, name).visit(&site, visited).await.unwrap());
        wire.send(GET.replace("a.example", host)).await;
        status_of(&wire.rest().await)
    };
    for (name, visited, host, status) in [
        ("a", "a.example", "b.example", 421),
        ("b", "b.example", "a.example:8443", 421),
        ("b", "x.wild.example", "c.example", 421),
        ("a", "a.example", "[::1]", 421),
        ("a", "a.example", "A.Example:8443", 200),
        ("a", "a.example", "127.0.0.1:1", 200),
        // One certificate for many hosts lets a client ask for all of them on one connection.
        ("b", "b.example", "y.wild.example", 200),
        // Who names no host is shown the first certificate, and may be a machine that checks none.
        ("a", "127.0.0.1", "b.example", 200),
    ] {
        assert_eq!(ask(name, visited, host).await, status, "{visited}, {host}");
    }
    assert_eq!(site.origin.requests().len(), 4);
    // Where there is but one, everybody has seen all that there is.
    let site = Site::with(ONE, issue_both).await;
    let stream = Visitor::trusting(&site, "a").visit(&site, "a.example").await.unwrap();
    let mut wire = Wire::new(stream);
    wire.send(GET.replace("a.example", "b.example")).await;
    assert_eq!(status_of(&wire.rest().await), 200);
}

#[tokio::test]
async fn g09_where_only_http2_is_spoken_a_client_has_to_choose_it() {
    let only = ONE.replace("a.key }", "a.key, alpn: [h2] }");
    let site = Site::with(&only, issue_both).await;
    assert!(Visitor::trusting(&site, "a").visit(&site, "a.example").await.is_err());
    let visitor = Visitor::trusting(&site, "a").offering(&["http/1.1"]);
    assert!(visitor.visit(&site, "a.example").await.is_err());
    let visitor = Visitor::trusting(&site, "a").offering(&["h2"]);
    let stream = visitor.visit(&site, "a.example").await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
}

#[tokio::test]
async fn g09_what_is_older_than_tls_1_2_is_refused() {
    let site = Site::with(ONE, issue_both).await;
    for (version, kind) in [(1, ALERT), (2, ALERT), (3, HANDSHAKE)] {
        let mut stream = TcpStream::connect(site.address()).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, &hello(version)).await.unwrap();
        assert_eq!(within(stream.read_u8()).await.unwrap(), kind, "3.{version}");
    }
}

/// A client's first message in the version 3.`minor` that every server of that version takes.
fn hello(minor: u8) -> Vec<u8> {
    let extensions: &[u8] = &[
        // supported_groups: x25519.
        0, 10, 0, 4, 0, 2, 0, 0x1d, //
        // ec_point_formats: uncompressed.
        0, 11, 0, 2, 1, 0, //
        // signature_algorithms: ecdsa_secp256r1_sha256, rsa_pss_rsae_sha256.
        0, 13, 0, 6, 0, 4, 4, 3, 8, 4,
    ];
    let mut body = vec![3, minor];
    body.extend([7; 32]);
    // No session; ECDHE with AES-128-GCM and with AES-128-CBC; no compression.
    body.extend([0, 0, 8, 0xc0, 0x2b, 0xc0, 0x2f, 0xc0, 0x09, 0xc0, 0x13, 1, 0]);
    body.extend([0, u8::try_from(extensions.len()).unwrap()]);
    body.extend(extensions);
    let length = u8::try_from(body.len()).unwrap();
    [&[22, 3, 1, 0, length + 4, 1, 0, 0, length][..], &body].concat()
}

#[tokio::test]
async fn g09_no_ticket_allows_early_data() {
    let site = Site::with(ONE, issue_both).await;
    let mut visitor = Visitor::trusting(&site, "a");
    visitor.config.enable_early_data = true;
    for _ in 0..2 {
        let stream = visitor.visit(&site, "a.example").await.unwrap();
        assert!(!stream.get_ref().1.is_early_data_accepted());
        let mut wire = Wire::new(stream);
        wire.send(GET).await;
        assert_eq!(status_of(&wire.rest().await), 200);
    }
    // The second time the client could have sent some, had the ticket of the first allowed it.
    let stream = visitor.visit(&site, "a.example").await.unwrap();
    let kind = stream.get_ref().1.handshake_kind();
    assert_eq!(kind, Some(rustls::HandshakeKind::Resumed));
}

#[tokio::test]
async fn a_plain_request_to_a_tls_listener_is_not_answered() {
    let site = Site::with(ONE, issue_both).await;
    assert!(!site.exchange(GET).await.contains("HTTP/1.1"));
    assert_eq!(site.origin.requests().len(), 0);
    let plain = Site::start().await;
    let mut client = plain.client().await;
    client.send(GET).await;
    assert_eq!(client.status().await, 200);
}

#[tokio::test]
async fn a_new_certificate_is_shown_after_a_reload_and_connections_go_on() {
    let site = Site::with(ONE, issue_both).await;
    let old = Visitor::trusting(&site, "a");
    let mut wire = Wire::new(old.visit(&site, "a.example").await.unwrap());
    issue_both(site.folder.path());
    let reloaded = settings(ONE, site.origin.address, site.folder.path()).unwrap();
    site.gateway.reload(reloaded).unwrap();
    assert!(old.visit(&site, "a.example").await.is_err());
    assert!(Visitor::trusting(&site, "a").visit(&site, "a.example").await.is_ok());
    wire.send(GET).await;
    assert_eq!(status_of(&wire.rest().await), 200);
}

/// Kinds of TLS records.
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

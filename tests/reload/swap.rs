//! Certificates that are replaced while clients ask over TLS, by HTTP/1.1 and HTTP/2, and new ones come.

use std::{
    net::SocketAddr,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};
use rustls::{
    ClientConfig, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName},
};
use tokio::{
    net::TcpStream,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::{
    clients::LONG,
    site::{Site, Version, replace},
};

const LISTEN: &str = "listeners: [{ name: a, address: \"127.0.0.1:0\", \
                      tls: { cert_file: tls.crt, key_file: tls.key } }]";

/// Certificates for one name, in the order in which they are shown.
#[derive(Clone)]
struct Series(Arc<[CertifiedKey<KeyPair>]>);

impl Series {
    fn of(count: usize) -> Self {
        let issue = |_| generate_simple_self_signed(vec![NAME.to_owned()]).unwrap();
        Self((0..count).map(issue).collect())
    }

    /// Has the next reload show the one of this `number`.
    fn show(&self, number: usize, folder: &Path) {
        let CertifiedKey { cert, signing_key } = &self.0[number];
        // A half of the pair may be seen first, and is refused.
        replace(&folder.join("tls.key"), &signing_key.serialize_pem());
        replace(&folder.join("tls.crt"), &cert.pem());
    }

    /// The number of the one that was shown.
    fn number_of(&self, shown: &CertificateDer<'_>) -> usize {
        self.0.iter().position(|issued| issued.cert.der() == shown).expect("one of these")
    }
}

/// Someone who trusts every certificate of a series, and remembers no handshake.
#[derive(Clone)]
struct Visitor {
    address: SocketAddr,
    series: Series,
    /// What is shown to everybody by now.
    now: Arc<AtomicUsize>,
    stop: CancellationToken,
}

/// What a client has seen.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    handshakes: usize,
    requests: usize,
    /// Certificates that were shown, of whatever number.
    latest: usize,
}

impl Visitor {
    /// A connection on which `protocol` is spoken, and the number of the certificate that was shown.
    async fn connect(&self, protocol: &str) -> (TlsStream<TcpStream>, usize) {
        let mut roots = RootCertStore::empty();
        for issued in &*self.series.0 {
            roots.add(issued.cert.der().clone()).unwrap();
        }
        let mut config =
            ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth();
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        config.resumption = Resumption::disabled();
        // Whoever begins now sees this one or a later one.
        let least = self.now.load(Ordering::SeqCst);
        let stream = TcpStream::connect(self.address).await.unwrap();
        let name = ServerName::try_from(NAME).unwrap();
        let connector = TlsConnector::from(Arc::new(config));
        let stream = within(connector.connect(name, stream)).await.unwrap();
        let state = stream.get_ref().1;
        assert_eq!(state.alpn_protocol(), Some(protocol.as_bytes()));
        let shown = self.series.number_of(&state.peer_certificates().unwrap()[0]);
        assert!(shown >= least, "certificate {shown} is shown where {least} is in place");
        (stream, shown)
    }

    /// Asks on one connection of HTTP/1.1 from the beginning to the end.
    async fn stay(self) -> Tally {
        let (stream, latest) = self.connect("http/1.1").await;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
        let mut driven = JoinSet::new();
        driven.spawn(connection);
        let mut requests = 0;
        while !self.stop.is_cancelled() {
            within(sender.ready()).await.expect("the connection stays");
            let answer = within(sender.send_request(get("/free"))).await.expect("an answer");
            assert!(!answer.headers().contains_key("connection"), "{answer:?}");
            check(answer).await;
            requests += 1;
        }
        assert!(driven.try_join_next().is_none(), "the connection stays");
        Tally { handshakes: 1, requests, latest }
    }

    /// Asks on many streams of one connection of HTTP/2 from the beginning to the end.
    async fn stay_h2(self) -> Tally {
        let (stream, latest) = self.connect("h2").await;
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        let mut driven = JoinSet::new();
        driven.spawn(connection);
        let mut streams = JoinSet::new();
        for _ in 0..STREAMS {
            let (mut sender, stop) = (sender.clone(), self.stop.clone());
            streams.spawn(async move {
                let mut requests = 0;
                while !stop.is_cancelled() {
                    let request = get(&format!("https://{NAME}/free"));
                    check(within(sender.send_request(request)).await.expect("an answer")).await;
                    requests += 1;
                }
                requests
            });
        }
        let requests = streams.join_all().await.into_iter().sum();
        assert!(driven.try_join_next().is_none(), "the connection stays");
        Tally { handshakes: 1, requests, latest }
    }

    /// Comes anew for each request.
    async fn come_and_go(self) -> Tally {
        let mut tally = Tally::default();
        while !self.stop.is_cancelled() {
            let (stream, shown) = self.connect("http/1.1").await;
            let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
            let mut driven = JoinSet::new();
            driven.spawn(connection);
            check(within(sender.send_request(get("/free"))).await.expect("an answer")).await;
            tally.handshakes += 1;
            tally.requests += 1;
            assert!(shown >= tally.latest, "an old certificate is back");
            tally.latest = shown;
        }
        tally
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_are_swapped_under_load_and_no_connection_drops() {
    let site = Site::start().await;
    let swaps = swaps();
    let series = Series::of(swaps + 1);
    series.show(0, site.folder.path());
    site.write(&site.yaml(LISTEN, Version::A));
    let gateway = site.run().await;
    let (now, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
    let visitor =
        Visitor { address: gateway.address, series: series.clone(), now: now.clone(), stop };
    let (mut staying, mut coming) = (JoinSet::new(), JoinSet::new());
    for _ in 0..4 {
        staying.spawn(visitor.clone().stay());
        staying.spawn(visitor.clone().stay_h2());
        coming.spawn(visitor.clone().come_and_go());
    }
    // All of them are in before the first swap.
    sleep(Duration::from_millis(300)).await;
    for number in 1..=swaps {
        series.show(number, site.folder.path());
        gateway.logged_times("configuration swapped", number).await;
        now.store(number, Ordering::SeqCst);
        // Who comes now is shown the new one, and who is here asks on.
        sleep(Duration::from_millis(200)).await;
        let is_over = staying.try_join_next().is_some() || coming.try_join_next().is_some();
        assert!(!is_over, "a client fell over at swap {number}");
    }
    visitor.stop.cancel();
    let (stayed, came) = (staying.join_all().await, coming.join_all().await);
    let sum = |of: fn(&Tally) -> usize, all: &[Tally]| all.iter().map(of).sum::<usize>();
    println!(
        "{swaps} certificates: {} requests on {} connections that stayed; {} handshakes of those who came and went",
        sum(|tally| tally.requests, &stayed),
        stayed.len(),
        sum(|tally| tally.handshakes, &came),
    );
    for tally in &stayed {
        assert!(tally.requests > swaps && tally.latest == 0, "{tally:?}");
    }
    for tally in &came {
        assert!(tally.handshakes > 0 && tally.latest == swaps, "{tally:?}");
    }
    gateway.signal("-TERM").await;
}

fn get(uri: &str) -> Request<Full<Bytes>> {
    Request::get(uri).header("host", NAME).body(Full::default()).unwrap()
}

async fn check(answer: http::Response<hyper::body::Incoming>) {
    assert_eq!(answer.status(), 200);
    let body = within(answer.into_body().collect()).await.expect("all of it");
    assert_eq!(body.to_bytes(), "a");
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(LONG, work).await.expect("it does not stall")
}

fn swaps() -> usize {
    std::env::var("TOLLGATE_SWAPS").map_or(5, |count| count.parse().unwrap())
}

const NAME: &str = "gw.example";
/// How many requests a connection of HTTP/2 has under way.
const STREAMS: usize = 4;

//! A gateway, what is behind it, and clients who pay.

use std::{convert::Infallible, fmt, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{Method, Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
    time::Instant,
};
use tollgate::protocol::commitment::CommitmentSeed;
use tollgate_sandbox::{DevAccount, Funds, Options, Sandbox};

use crate::{
    payer::{Payer, due},
    process::Process,
};

pub(crate) struct Site {
    sandbox: Sandbox,
    pub(crate) gateway: Process,
    payers: Vec<Payer>,
    upstream: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

/// What came of paying for a while.
pub(crate) struct Paid {
    pub(crate) served: usize,
    pub(crate) failed: usize,
    took: Vec<Duration>,
}

impl fmt::Display for Paid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = |percent: usize| {
            let place = (self.took.len() * percent / 100).min(self.took.len().saturating_sub(1));
            self.took.get(place).copied().unwrap_or_default()
        };
        let Self { served, failed, .. } = self;
        write!(f, "{served} served, {failed} failed, p50 {:?}, p99 {:?}", at(50), at(99))
    }
}

impl Site {
    pub(crate) async fn start() -> Self {
        let sandbox = Sandbox::start(Options::default()).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let upstream = tokio::spawn(serve(listener));
        let funds = Funds { usdc_units: DEPOSIT, spare_stroops: 10_000_000 };
        let accounts = sandbox.new_payers(PAYERS, funds).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        // Beside the configuration each write of the store would be noticed as a change of the folder that is watched.
        std::fs::create_dir(folder.path().join("state")).unwrap();
        let config = folder.path().join("gateway.yaml");
        std::fs::write(&config, yaml(at)).unwrap();
        let gateway = Process::start(&config, &sandbox).await;
        let mut payers = Vec::new();
        for account in &accounts {
            payers.push(open(&sandbox, account, gateway.base()).await);
        }
        Self { sandbox, gateway, payers, upstream, _folder: folder }
    }

    /// Has every payer pay, one request after another.
    pub(crate) async fn pay_for(&self, length: Duration) -> Paid {
        let until = Instant::now() + length;
        let all = join_all(self.payers.iter().map(|payer| pay_until(payer, until))).await;
        let mut sum = Paid { served: 0, failed: 0, took: Vec::new() };
        for paid in all {
            sum.served += paid.served;
            sum.failed += paid.failed;
            sum.took.extend(paid.took);
        }
        sum.took.sort_unstable();
        sum
    }

    /// Asks so often for much at the upstream of those who pay, and reads no more than the status of the answers; how many
    /// were answered, and are held.
    pub(crate) async fn hold(&self, count: usize) -> Vec<TcpStream> {
        let one = || async {
            let mut client = TcpStream::connect(self.gateway.address).await.unwrap();
            client.write_all(b"GET /here HTTP/1.1\r\nHost: gw\r\n\r\n").await.unwrap();
            let mut status = [0; 12];
            client.read_exact(&mut status).await.unwrap();
            match &status {
                b"HTTP/1.1 200" => Some(client),
                b"HTTP/1.1 503" => None,
                other => panic!("{}", other.escape_ascii()),
            }
        };
        join_all((0..count).map(|_| one())).await.into_iter().flatten().collect()
    }

    /// The memory that the gateway has, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// The sockets that it has open.
    pub(crate) fn connections(&self) -> usize {
        let open = std::fs::read_dir(self.proc("fd")).unwrap().flatten();
        let is_socket = |path: &Path| {
            std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
        };
        open.filter(|entry| is_socket(&entry.path())).count()
    }

    fn proc(&self, name: &str) -> String {
        format!("/proc/{}/{name}", self.gateway.child.id().expect("the gateway runs"))
    }

    /// What was served was paid, to the unit.
    pub(crate) async fn end(self, paid: &[Paid]) {
        let served: usize = paid.iter().map(|paid| paid.served).sum();
        let mut spent = 0;
        for payer in &self.payers {
            let challenge = payer.challenge("/paid").await;
            spent += due(&challenge) - PRICE;
        }
        assert!(spent >= PRICE * i128::try_from(served).unwrap(), "{spent} for {served}");
        self.upstream.abort();
    }
}

/// Pays by the challenge that the last answer brought, one round trip a request.
async fn pay_until(payer: &Payer, until: Instant) -> Paid {
    let mut paid = Paid { served: 0, failed: 0, took: Vec::new() };
    let mut next = None;
    while Instant::now() < until {
        let challenge = match next.take() {
            Some(challenge) => challenge,
            None => payer.challenge("/paid").await,
        };
        let credential = payer.commit(&challenge, due(&challenge));
        let begun = Instant::now();
        let mut request = payer.request(Method::GET, "/paid");
        request.headers_mut().insert(AUTHORIZATION, credential.encode());
        let answer = payer.send(request).await;
        paid.took.push(begun.elapsed());
        if answer.status == StatusCode::OK {
            paid.served += 1;
            next = answer.next();
        } else {
            eprintln!("{answer:?}");
            paid.failed += 1;
        }
    }
    paid
}

/// Opens the channel of `account`, with all that it has.
async fn open(sandbox: &Sandbox, account: &DevAccount, base: String) -> Payer {
    let seed = CommitmentSeed::from_bytes(&account.key().to_bytes());
    Payer::open(sandbox, account, base, seed, (DEPOSIT.into(), WAITING)).await
}

async fn serve(listener: TcpListener) {
    let large = Arc::new(Bytes::from(vec![b'x'; LARGE]));
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let large = Arc::clone(&large);
        tokio::spawn(async move {
            let service = service_fn(move |request| answer(request, Bytes::clone(&large)));
            let server = hyper::server::conn::http1::Builder::new();
            drop(server.serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

async fn answer(
    request: Request<Incoming>,
    large: Bytes,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let body = match request.uri().path() {
        "/large" | "/here" => large,
        _ => Bytes::from_static(b"hello\n"),
    };
    // As it comes, and for as long as it takes.
    let mut upload = request.into_body();
    while let Some(Ok(_)) = upload.frame().await {}
    Ok(Response::new(Full::new(body)))
}

fn yaml(upstream: SocketAddr) -> String {
    format!(
        r#"version: 1
listen: 127.0.0.1:0
upstreams:
  api: {{ servers: ["http://{upstream}"] }}
  # By itself, so that who dawdles there takes nobody's place at the other.
  bulk: {{ servers: ["http://{upstream}"], max_in_flight: 20000 }}
network: stellar:testnet
stellar:
  rpc_url: {{ env: STELLAR_RPC_URL }}
  pay_to: {{ env: STELLAR_RECIPIENT }}
payments: {{ mpp: {{ channel: {{ min_refund_waiting_ledgers: {WAITING}, signer: {{ env: RECIPIENT_SECRET }} }} }} }}
store: {{ embedded: {{ path: ./state/state.redb }} }}
routes:
  - {{ match: GET /paid, upstream: api, price: "$0.001", accept: [mpp.channel] }}
  - {{ match: GET /free, upstream: api, free: true }}
  - {{ match: GET /here, upstream: api, free: true }}
  - {{ match: GET /large, upstream: bulk, free: true }}
  - {{ match: POST /upload, upstream: bulk, free: true }}
"#
    )
}

/// The price of every request, in base units.
const PRICE: i128 = 10_000;
/// What every channel is given: enough for a hundred thousand requests.
const DEPOSIT: i64 = 1_000_000_000;
/// What a payer waits for when it closes a channel itself, in ledgers.
const WAITING: u32 = 100;
const PAYERS: usize = 4;
const LARGE: usize = 4 << 20;

//! Clients that ask as fast as they are answered, one connection each, and what that cost the gateway.

use std::{
    fs,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, task::JoinSet};
use tollgate::protocol::{
    commitment::{Commitment, CommitmentSeed},
    money::Amount,
    mpp::{
        Challenge, Credential,
        channel::{self, Action, PAYMENT_CHANNEL, Payload},
        parse_challenges,
    },
    stellar::{ContractId, Network},
};

/// Who pays from one channel, and what was signed for it in advance: the first is one price, the next two, and so on.
pub(crate) struct Payer {
    pub(crate) channel: ContractId,
    pub(crate) seed: CommitmentSeed,
    pub(crate) signed: Vec<Commitment>,
    /// In base units.
    pub(crate) price: i128,
}

/// How a gateway is loaded.
pub(crate) struct Load {
    pub(crate) address: SocketAddr,
    /// The gateway's process.
    pub(crate) pid: u32,
    pub(crate) each: Duration,
}

/// What one load brought.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) clients: usize,
    /// In ascending order.
    latencies: Vec<Duration>,
    took: Duration,
    /// User and system time of the gateway.
    cpu: Duration,
    /// Commitments that had to be signed while the load ran.
    pub(crate) signed_late: usize,
}

impl Run {
    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests() / self.took.as_secs_f64()
    }

    /// Microseconds of the gateway's processor time a request.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests()
    }

    /// The latency that so many of a hundred do not exceed.
    pub(crate) fn at(&self, percent: usize) -> Duration {
        self.latencies[(self.latencies.len() * percent / 100).min(self.latencies.len() - 1)]
    }

    fn requests(&self) -> f64 {
        f64::from(u32::try_from(self.latencies.len()).unwrap())
    }
}

impl Load {
    /// Requests that need no payment.
    pub(crate) async fn free(&self, clients: usize) -> Run {
        self.run((0..clients).map(|_| None)).await
    }

    /// Paid requests, one client for each of `payers`.
    pub(crate) async fn paid(&self, payers: &[Arc<Payer>]) -> Run {
        self.run(payers.iter().cloned().map(Some)).await
    }

    /// Connects everyone, and measures from when all have had an answer.
    async fn run(&self, payers: impl Iterator<Item = Option<Arc<Payer>>>) -> Run {
        let mut connecting = JoinSet::new();
        for payer in payers {
            connecting.spawn(Client::connect(self.address, payer));
        }
        let clients = connecting.join_all().await;
        let count = clients.len();
        let (begin, cpu) = (Instant::now(), cpu_of(self.pid));
        let until = begin + self.each;
        let mut running = JoinSet::new();
        for client in clients {
            running.spawn(client.drive(until));
        }
        let done = running.join_all().await;
        let (took, cpu) = (begin.elapsed(), cpu_of(self.pid) - cpu);
        let signed_late = done.iter().map(|(_, late)| late).sum();
        let mut latencies: Vec<_> = done.into_iter().flat_map(|(latencies, _)| latencies).collect();
        latencies.sort_unstable();
        Run { clients: count, latencies, took, cpu, signed_late }
    }
}

/// A connection, and what its requests are paid with.
struct Client {
    sender: SendRequest<Empty<Bytes>>,
    wallet: Option<Wallet>,
}

/// A channel, and the challenge that its next request is paid with.
struct Wallet {
    payer: Arc<Payer>,
    channel: HeaderValue,
    challenge: Challenge,
    signed_late: usize,
}

impl Client {
    /// Connects, and asks once; a payer is then asked for money, which it pays with its first request.
    async fn connect(address: SocketAddr, payer: Option<Arc<Payer>>) -> Self {
        let stream = TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) = handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut client = Self { sender, wallet: None };
        let Some(payer) = payer else {
            let (status, _) = client.ask(request("/free")).await;
            assert_eq!(status, StatusCode::OK);
            return client;
        };
        let channel = HeaderValue::try_from(payer.channel.to_string()).unwrap();
        let mut tries = MOST_TRIES;
        let headers = loop {
            let mut first = request("/paid");
            first.headers_mut().insert(PAYMENT_CHANNEL, channel.clone());
            let (status, headers) = client.ask(first).await;
            if status == StatusCode::PAYMENT_REQUIRED {
                break headers;
            }
            // One address may have only so many channels looked up at a time.
            assert!(status == StatusCode::SERVICE_UNAVAILABLE && tries > 0, "{status} {headers:?}");
            tries -= 1;
            tokio::time::sleep(PAUSE).await;
        };
        let asked = parse_challenges(headers.get_all(header::WWW_AUTHENTICATE));
        let asked = asked.into_iter().map(Result::unwrap);
        let challenge = asked.into_iter().find(|asked| asked.intent == channel::INTENT).unwrap();
        client.wallet = Some(Wallet { payer, channel, challenge, signed_late: 0 });
        client.one().await;
        client
    }

    /// Asks until `until`; tells how long each answer took, and how many commitments had to be signed.
    async fn drive(mut self, until: Instant) -> (Vec<Duration>, usize) {
        let mut latencies = Vec::new();
        while Instant::now() < until {
            latencies.push(self.one().await);
        }
        (latencies, self.wallet.map_or(0, |wallet| wallet.signed_late))
    }

    /// One request and its whole answer: how long that took, without what the client does before and after.
    async fn one(&mut self) -> Duration {
        let request = match &mut self.wallet {
            None => request("/free"),
            Some(wallet) => wallet.request(),
        };
        let sent = Instant::now();
        let (status, headers) = self.ask(request).await;
        let took = sent.elapsed();
        assert_eq!(status, StatusCode::OK, "{headers:?}");
        if let Some(wallet) = &mut self.wallet {
            wallet.challenge = channel::next_challenge(&headers).unwrap().expect("the next one");
        }
        took
    }

    async fn ask(&mut self, request: Request<Empty<Bytes>>) -> (StatusCode, HeaderMap) {
        self.sender.ready().await.unwrap();
        let (head, body) = self.sender.send_request(request).await.unwrap().into_parts();
        body.collect().await.unwrap();
        (head.status, head.headers)
    }
}

impl Wallet {
    fn request(&mut self) -> Request<Empty<Bytes>> {
        let asked = channel::Request::decode(&self.challenge.request).unwrap();
        let due = asked.cumulative.units() + asked.amount.units();
        let place = usize::try_from(due / self.payer.price - 1).unwrap();
        let signed = self.payer.signed.get(place).copied();
        let commitment =
            signed.filter(|signed| signed.amount.units() == due).unwrap_or_else(|| {
                self.signed_late += 1;
                let amount = Amount::from_units(due).unwrap();
                self.payer.seed.sign(Network::Testnet, self.payer.channel, amount)
            });
        let payload = Payload::new(Action::Voucher, commitment).to_json();
        let challenge = self.challenge.clone();
        let credential = Credential { challenge, payload: Some(payload), source: None };
        let mut request = request("/paid");
        request.headers_mut().insert(PAYMENT_CHANNEL, self.channel.clone());
        request.headers_mut().insert(header::AUTHORIZATION, credential.encode());
        request
    }
}

fn request(path: &str) -> Request<Empty<Bytes>> {
    Request::get(path).header(header::HOST, "bench").body(Empty::new()).unwrap()
}

/// User and system time of a process since it began, to a hundredth of a second.
fn cpu_of(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The name, in parentheses, may hold anything.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u64 =
        fields.split_whitespace().skip(11).take(2).map(|n| n.parse::<u64>().unwrap()).sum();
    Duration::from_millis(ticks * TICK_MS)
}

/// Until a gateway that has just started takes payments, and has looked everyone's channel up.
const MOST_TRIES: u32 = 300;
const PAUSE: Duration = Duration::from_millis(100);
/// `USER_HZ` is 100 on every Linux that Tollgate runs on.
const TICK_MS: u64 = 10;

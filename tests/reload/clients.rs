//! Clients of every kind, each of which counts what it got and ends when it is told to, or at what it did not expect.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use http::Method;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;
use tollgate::{
    client::{self, Offer, Overrides, Wanted},
    protocol::stellar::Network,
};

use crate::{
    agent::Agent,
    origin::head,
    payer::{Payer, asked, due},
    site::Version,
};

/// What a client got.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) requests: u64,
    pub(crate) paid: u64,
    /// What it paid on the ledger, in base units.
    pub(crate) units: i128,
    /// The longest that it waited for an answer, or for the next piece of a stream.
    pub(crate) longest: Duration,
    pub(crate) reconnects: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.requests += other.requests;
        self.paid += other.paid;
        self.units += other.units;
        self.longest = self.longest.max(other.longest);
        self.reconnects += other.reconnects;
    }

    fn saw(&mut self, since: Instant) {
        self.requests += 1;
        self.longest = self.longest.max(since.elapsed());
    }
}

/// Asks for what is free on one connection, so often; a new one only where the answer says that it is the last.
pub(crate) async fn ask(address: SocketAddr, every: Duration, stop: CancellationToken) -> Tally {
    let (mut tally, mut tick) = (Tally::default(), interval(every));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut open = None;
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let begun = Instant::now();
        let mut stream = match open.take() {
            Some(stream) => stream,
            None => match TcpStream::connect(address).await {
                Ok(stream) => stream,
                // Nobody is there any more: whoever was let in must have had its answer.
                Err(_) => break,
            },
        };
        stream.write_all(b"GET /free HTTP/1.1\r\nHost: gw\r\n\r\n").await.unwrap();
        let head = within(head(&mut stream)).await.expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let stamp = within(stream.read_u8()).await.unwrap();
        assert!(matches!(stamp, b'a' | b'b'), "{stamp}");
        tally.saw(begun);
        if head.contains("connection: close") {
            tally.reconnects += 1;
        } else {
            open = Some(stream);
        }
    }
    tally
}

/// Asks what it costs: all that one answer says is of one configuration.
pub(crate) async fn compare(agent: Agent, every: Duration, stop: CancellationToken) -> Tally {
    let (mut tally, mut tick) = (Tally::default(), interval(every));
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let begun = Instant::now();
        let challenge = agent.challenge_of(Method::GET, "/paid").await;
        tally.saw(begun);
        let told = [client::Method::X402, client::Method::Charge].map(|method| {
            match challenge.choose(&Wanted::by(method, Network::Testnet)).unwrap() {
                Offer::X402(offer) => offer.requirements.amount.units(),
                Offer::Charge(offer) => offer.request.amount.units(),
            }
        });
        let is_of = |version: &Version| version.prices()[..2] == told;
        assert!(Version::ALL.iter().any(is_of), "of two configurations: {told:?}");
    }
    tally
}

/// Buys by `method`, one after the other, at the price that it was told.
pub(crate) async fn buy(agent: Agent, method: client::Method, stop: CancellationToken) -> Tally {
    let mut tally = Tally::default();
    while !stop.is_cancelled() {
        let challenge = agent.challenge_of(Method::GET, "/paid").await;
        let overrides = Overrides::default();
        let offer = challenge.choose(&Wanted::by(method, Network::Testnet)).unwrap();
        let (credential, units) = match offer {
            Offer::X402(offer) => {
                let units = offer.requirements.amount.units();
                (agent.client.sign_x402(&offer, &overrides).await.unwrap(), units)
            }
            Offer::Charge(offer) => {
                let units = offer.request.amount.units();
                (agent.client.sign_charge(&offer, &overrides).await.unwrap(), units)
            }
        };
        let begun = Instant::now();
        let answer = agent.present_with(Method::GET, "/paid", &credential).await;
        tally.saw(begun);
        if method == client::Method::X402 {
            answer.assert_paid();
        } else {
            assert_eq!(answer.status, 200, "{answer:?}");
            assert!(answer.receipt().is_some(), "{answer:?}");
        }
        tally.paid += 1;
        tally.units += units;
    }
    tally
}

/// Buys from a channel, each request by the challenge that the answer before has brought: what is spent for it is what
/// that challenge asked.
pub(crate) async fn meter(payer: Payer, every: Duration, stop: CancellationToken) -> Tally {
    let (mut tally, mut tick) = (Tally::default(), interval(every));
    let (mut next, mut spent) = (payer.challenge("/metered").await, 0);
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let (_, price) = asked(&next);
        let is_of = |version: &Version| version.prices()[2] == price;
        assert!(Version::ALL.iter().any(is_of), "{price} is no price");
        let begun = Instant::now();
        let answer = payer.present("/metered", &payer.commit(&next, due(&next))).await;
        tally.saw(begun);
        let (_, now) = answer.assert_channel_paid();
        assert_eq!(now - spent, price, "not what the challenge asked");
        spent = now;
        tally.paid += 1;
        next = answer.next().expect("the next challenge");
    }
    tally
}

/// Reads a stream of events that never ends.
pub(crate) async fn listen(address: SocketAddr, stop: CancellationToken) -> Tally {
    let mut tally = Tally::default();
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: gw\r\n\r\n").await.unwrap();
    assert!(head(&mut stream).await.unwrap().starts_with("HTTP/1.1 200 "));
    let mut piece = [0; 4096];
    while !stop.is_cancelled() {
        let begun = Instant::now();
        let length = within(stream.read(&mut piece)).await.unwrap();
        assert!(length > 0, "the stream was cut off");
        tally.saw(begun);
    }
    tally
}

/// Talks over a connection that has switched protocols.
pub(crate) async fn talk(address: SocketAddr, every: Duration, stop: CancellationToken) -> Tally {
    let (mut tally, mut tick) = (Tally::default(), interval(every));
    let mut stream = TcpStream::connect(address).await.unwrap();
    let ask = "GET /echo HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";
    stream.write_all(ask.as_bytes()).await.unwrap();
    assert!(head(&mut stream).await.unwrap().starts_with("HTTP/1.1 101 "));
    while stop.run_until_cancelled(tick.tick()).await.is_some() {
        let begun = Instant::now();
        stream.write_all(b"hello").await.unwrap();
        let mut echo = [0; 5];
        within(stream.read_exact(&mut echo)).await.unwrap();
        assert_eq!(&echo, b"hello");
        tally.saw(begun);
    }
    tally
}

async fn within<T>(work: impl Future<Output = T>) -> T {
    timeout(LONG, work).await.expect("it does not stall")
}

/// Longer than anything takes, on a machine that has much else to do.
pub(crate) const LONG: Duration = Duration::from_secs(20);

//! A relay between a client and a server that loses, delays and cuts as a network does, when the test says so.
//!
//! It relays bytes over real sockets and understands none of them. Shared by the tests that need one.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::sleep,
};

/// Listens on an address of its own and relays to one server, as long as it is not dropped.
pub(crate) struct Relay {
    address: SocketAddr,
    server: watch::Sender<SocketAddr>,
    weather: watch::Sender<Weather>,
    rounds: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

/// What the network is like. A round is what a client sends until it hears something, on any connection; rounds are
/// counted from when the weather was set, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// Everything is relayed.
    Fair,
    /// Every answer is this late.
    Slow(Duration),
    /// The request of this round arrives, and its connection says nothing any more; all others are as ever.
    LoseReply { at: u64 },
    /// The request of this round arrives, and its connection is cut where its answer should come.
    CutReply { at: u64 },
    /// Nothing arrives, and nobody is told; what was sent meanwhile arrives once this is over.
    Partition,
    /// All connections are cut, and new ones too.
    Refuse,
}

impl Relay {
    pub(crate) async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let (weather, seen) = watch::channel(Weather::Fair);
        let (server, there) = watch::channel(server);
        let rounds = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let counted = Arc::clone(&rounds);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                if *seen.borrow() == Weather::Refuse {
                    continue;
                }
                let server = *there.borrow();
                let Ok(server) = TcpStream::connect(server).await else { continue };
                // What is relayed is late enough.
                if client.set_nodelay(true).is_err() || server.set_nodelay(true).is_err() {
                    continue;
                }
                connections.spawn(relay(client, server, seen.clone(), Arc::clone(&counted)));
            }
        });
        Self { address, server, weather, rounds, _tasks: tasks }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn set(&self, weather: Weather) {
        self.rounds.store(0, Ordering::SeqCst);
        self.weather.send_replace(weather);
    }

    /// Relays new connections to another server.
    pub(crate) fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(server);
    }

    /// Rounds since the weather was set.
    pub(crate) fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::SeqCst)
    }
}

/// Relays one connection until a side ends it, or the weather.
async fn relay(
    mut client: TcpStream,
    mut server: TcpStream,
    mut weather: watch::Receiver<Weather>,
    rounds: Arc<AtomicU64>,
) {
    let mut request = Vec::with_capacity(CHUNK);
    let mut reply = Vec::with_capacity(CHUNK);
    // The number of the round under this weather, and whether anything was answered in it.
    let mut round = None;
    let mut is_answered = true;
    let mut is_lost = false;
    loop {
        let now = *weather.borrow_and_update();
        let passes = now != Weather::Partition;
        request.clear();
        reply.clear();
        let went_on = tokio::select! {
            changed = weather.changed() => {
                round = None;
                is_answered = true;
                changed.is_ok() && *weather.borrow() != Weather::Refuse
            }
            read = client.read_buf(&mut request), if passes => {
                if std::mem::take(&mut is_answered) {
                    round = Some(rounds.fetch_add(1, Ordering::SeqCst));
                }
                matches!(read, Ok(1..)) && server.write_all(&request).await.is_ok()
            }
            read = server.read_buf(&mut reply), if passes => {
                is_answered = true;
                is_lost |= round.is_some_and(|at| now == Weather::LoseReply { at });
                if !matches!(read, Ok(1..)) || round.is_some_and(|at| now == Weather::CutReply { at }) {
                    return;
                }
                if is_lost {
                    continue;
                }
                if let Weather::Slow(delay) = now {
                    sleep(delay).await;
                }
                client.write_all(&reply).await.is_ok()
            }
        };
        if !went_on {
            return;
        }
    }
}

const CHUNK: usize = 64 * 1024;

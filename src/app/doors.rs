//! The sockets that customers come in by: opened, kept and closed as the configuration says.
//!
//! A socket is known by its address, and where the system chose the port by the listener's name as well. One that is
//! still wanted is kept, whatever else of its listener has changed; that holds for who comes in from then on.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener},
};

use tokio::net::{TcpListener, TcpSocket};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use super::road::Road;
use crate::{
    config::{Drain, Listener},
    server::{self, Entrance, Manner},
    telemetry::level::Level,
    workers::Workers,
};

/// The open sockets, in the order of the configuration.
#[derive(Debug)]
pub(super) struct Doors {
    open: Vec<Open>,
    serving: TaskTracker,
    inherited: Inherited,
    /// What runs on them outlives the sockets: paid requests do.
    workers: Workers,
}

/// Sockets that were open before the process began (`LISTEN_FDS`), for whoever listens at their addresses.
#[derive(Debug, Default)]
pub struct Inherited(Vec<StdListener>);

/// A listener cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on `{address}`")]
pub struct CannotListen {
    /// Where.
    pub address: SocketAddr,
    /// Why.
    #[source]
    pub source: io::Error,
}

/// Every socket of a configuration, those that are open already and those that were opened for it.
#[derive(Debug)]
pub(super) struct Planned(Vec<(Listener, SocketAddr, Socket)>);

#[derive(Debug)]
enum Socket {
    /// The place of the one that is kept.
    Kept(usize),
    New(TcpListener),
}

#[derive(Debug)]
struct Open {
    listener: Listener,
    bound: SocketAddr,
    entrance: Entrance,
    connections: Level,
    stop: CancellationToken,
}

impl From<Vec<StdListener>> for Inherited {
    fn from(listeners: Vec<StdListener>) -> Self {
        Self(listeners)
    }
}

impl Inherited {
    /// The socket at `address`: a handle of it, so that it can be had again.
    fn find(&self, address: SocketAddr) -> io::Result<Option<TcpListener>> {
        let is_it = |listener: &&StdListener| {
            listener.local_addr().is_ok_and(|bound| is_same_place(bound, address))
        };
        let Some(listener) = self.0.iter().find(is_it) else { return Ok(None) };
        let listener = listener.try_clone()?;
        listener.set_nonblocking(true)?;
        TcpListener::from_std(listener).map(Some)
    }

    fn has(&self, bound: SocketAddr) -> bool {
        self.0.iter().any(|listener| listener.local_addr().is_ok_and(|address| address == bound))
    }

    /// Tells the log of sockets that are at none of these addresses: who comes there is served by nobody.
    pub(super) fn tell_unused(&self, addresses: impl Iterator<Item = SocketAddr>) {
        let addresses: Vec<_> = addresses.collect();
        for bound in self.0.iter().filter_map(|listener| listener.local_addr().ok()) {
            if !addresses.iter().any(|address| is_same_place(bound, *address)) {
                warn!(address = %bound, "no listener is at the address of a socket that was handed over");
            }
        }
    }

    /// Opens `address`, or takes the socket that is there already.
    ///
    /// # Errors
    /// [`CannotListen`].
    pub(super) fn listen(
        &self,
        address: SocketAddr,
    ) -> Result<(TcpListener, SocketAddr), CannotListen> {
        let opened = match self.find(address) {
            Ok(Some(found)) => Ok(found),
            Ok(None) => bind(address),
            Err(error) => Err(error),
        };
        let opened = opened.and_then(|listener| {
            let bound = listener.local_addr()?;
            Ok((listener, bound))
        });
        opened.map_err(|source| CannotListen { address, source })
    }
}

impl Doors {
    pub(super) fn new(inherited: Inherited, workers: Workers) -> Self {
        Self { open: Vec::new(), serving: TaskTracker::new(), inherited, workers }
    }

    pub(super) const fn workers(&self) -> &Workers {
        &self.workers
    }

    pub(super) const fn inherited(&self) -> &Inherited {
        &self.inherited
    }

    /// Opens what `wanted` has and is not open yet; nothing that is open is touched.
    ///
    /// # Errors
    /// The first that cannot be opened; none of the others stays open then.
    pub(super) fn plan(&self, wanted: &[Listener]) -> Result<Planned, CannotListen> {
        let mut planned = Vec::with_capacity(wanted.len());
        for listener in wanted {
            let kept = self.open.iter().position(|open| listener.is_the_socket_of(&open.listener));
            let (bound, socket) = match kept.and_then(|at| Some((at, self.open.get(at)?))) {
                Some((at, open)) => (open.bound, Socket::Kept(at)),
                None => {
                    let (opened, bound) = self.inherited.listen(listener.address)?;
                    (bound, Socket::New(opened))
                }
            };
            planned.push((listener.clone(), bound, socket));
        }
        Ok(Planned(planned))
    }

    /// Serves at what was planned, and at nothing else: those who came in at a socket that is not planned finish what they
    /// have begun.
    pub(super) fn open(&mut self, planned: Planned, road: impl Fn(Level) -> Road, drain: Drain) {
        let mut before: Vec<_> = std::mem::take(&mut self.open).into_iter().map(Some).collect();
        for (listener, bound, socket) in planned.0 {
            let manner = Manner {
                limits: listener.limits,
                tls: listener.tls.clone(),
                grace: drain.timeout,
                proxies: listener.proxies.clone(),
                speaks_proxy: listener.proxy_protocol,
            };
            let open = match socket {
                Socket::Kept(at) => before.get_mut(at).and_then(Option::take).map(|mut open| {
                    // What is shown stays where it is the same: its clients' tickets stay good.
                    let tls = match (&open.listener.tls, manner.tls) {
                        (Some(shown), Some(tls)) if shown.shows_the_same(&tls) => {
                            Some(shown.clone())
                        }
                        (_, tls) => tls,
                    };
                    open.entrance.change(Manner { tls: tls.clone(), ..manner });
                    open.listener = Listener { tls, ..listener };
                    open
                }),
                Socket::New(socket) => {
                    let entrance = Entrance::new(manner, Some(self.workers.clone()));
                    let stop = CancellationToken::new();
                    let (at, end) = (entrance.clone(), stop.clone());
                    let connections = Level::default();
                    self.serving.spawn(server::serve_at(
                        socket,
                        road(connections.clone()),
                        at,
                        end,
                    ));
                    Some(Open { listener, bound, entrance, connections, stop })
                }
            };
            self.open.extend(open);
        }
        for gone in before.into_iter().flatten() {
            info!(listener = %gone.listener.name, address = %gone.bound, "listener closed");
            if self.inherited.has(gone.bound) {
                // It is kept for a listener that may come back there: its address may be one that only the manager can open.
                warn!(address = %gone.bound, "the socket was handed over and stays open: who connects there now waits in vain");
            }
            gone.entrance.end_within(drain.timeout);
            gone.stop.cancel();
        }
    }

    /// Where they are.
    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.open.iter().map(|open| open.bound).collect()
    }

    /// How many connections each has, by its name.
    pub(super) fn connections(&self) -> Vec<(String, Level)> {
        let of = |open: &Open| (open.listener.name.clone(), open.connections.clone());
        self.open.iter().map(of).collect()
    }

    /// Has everybody go elsewhere, while whoever comes is still served.
    pub(super) fn leave(&self) {
        self.open.iter().for_each(|open| open.entrance.leave());
    }

    /// Stops; what is done when nobody is served any more is awaited on what is returned.
    pub(super) fn stop(&self) -> TaskTracker {
        self.open.iter().for_each(|open| open.stop.cancel());
        self.serving.close();
        self.serving.clone()
    }
}

impl Planned {
    /// Where the first one is, for those on the same machine.
    pub(super) fn url(&self) -> Option<String> {
        self.0.first().map(|(listener, bound, _)| listener.url(*bound))
    }
}

/// Whether a socket that is bound to `bound` is what `address` asks for. One for every address of IPv6 takes those of
/// IPv4 too, and is what a service manager opens for a port alone.
fn is_same_place(bound: SocketAddr, address: SocketAddr) -> bool {
    let is_everywhere = bound.ip().is_unspecified() && address.ip().is_unspecified();
    bound.port() == address.port()
        && (bound.ip() == address.ip() || (is_everywhere && bound.is_ipv6()))
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // A gateway that starts again must not wait for the connections of the one before.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// As many may wait in the kernel to be accepted.
const BACKLOG: u32 = 1024;

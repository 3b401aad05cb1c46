//! Wires the parts into a gateway, swaps its configuration, and shuts it down in order.
//!
//! Everything that outlives a request is made here and handed down; nothing below knows where it came from.

mod admin;
mod channels;
mod figures;
mod payment;
mod resume;
mod road;
mod tokens;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use self::{
    figures::Figures,
    payment::Payment,
    road::{Configured, Road, Upstreams, hop::Hop},
};
use crate::{
    admin::{Admin, LIMITS},
    config::{self, Settings},
    guard::{Guard, Rooms},
    ledger::facilitator::NotReady,
    pay::methods::Methods,
    server::{self, Door, tls::Tls},
    store,
    telemetry::{Clock, metrics::Metrics},
    workers::Workers,
};

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    addresses: Vec<SocketAddr>,
    admin_address: Option<SocketAddr>,
    /// What its listeners show, in the order of the configuration.
    tls: Vec<Option<Tls>>,
    current: Arc<ArcSwap<Configured>>,
    parts: Parts,
    drain: config::Drain,
    listening: TaskTracker,
    stop_listening: CancellationToken,
    /// Set as soon as it is to stop.
    stopping: CancellationToken,
    /// What runs on them outlives the listeners: paid requests do.
    _workers: Workers,
}

/// What stays when the configuration is swapped.
#[derive(Debug)]
struct Parts {
    clock: Clock,
    /// Paid requests: they outlive their clients, and the listeners.
    paid: TaskTracker,
    /// Work in the background: lanes, refreshes, pruning.
    background: TaskTracker,
    stop_background: CancellationToken,
    payment: Option<Payment>,
    rooms: Rooms,
    public_url: Arc<str>,
    figures: Figures,
}

impl Gateway {
    /// Opens the store, binds every listener, and starts to serve.
    ///
    /// # Errors
    /// [`StartError`] names what could not be had; nothing is left running then.
    pub async fn start(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        let mut listeners = Vec::new();
        for listener in &settings.listeners {
            listeners.push(bind(listener.address).await?);
        }
        let tls: Vec<_> = settings.listeners.iter().map(|listener| listener.tls.clone()).collect();
        let limits: Vec<_> = settings.listeners.iter().map(|listener| listener.limits).collect();
        let admin_listener = match &settings.admin {
            Some(admin) => Some((bind(admin.address).await?, admin.token.clone())),
            None => None,
        };
        let local = |listener: &TcpListener| listener.local_addr().map_err(StartError::Address);
        let addresses = listeners.iter().map(local).collect::<Result<Vec<_>, _>>()?;
        let admin_address = admin_listener.as_ref().map(|(bound, _)| local(bound)).transpose()?;
        let background = TaskTracker::new();
        let stop_background = CancellationToken::new();
        let payment = match &settings.payment {
            Some(payment) => {
                Some(Payment::start(payment, &clock, &background, &stop_background).await?)
            }
            None => None,
        };
        let first = settings.listeners.first().zip(addresses.first());
        let public_url = first.map(|(listener, bound)| listener.url(*bound)).unwrap_or_default();
        let names = settings.listeners.iter().map(|listener| listener.name.as_str());
        let parts = Parts {
            figures: Figures::new(names, &clock),
            clock,
            paid: TaskTracker::new(),
            background,
            stop_background,
            payment,
            rooms: Rooms::default(),
            public_url: public_url.into(),
        };
        let drain = settings.drain;
        let current = Arc::new(ArcSwap::from_pointee(parts.configure(settings, None)));
        if let Some(payment) = &parts.payment {
            let stop = parts.stop_background.child_token();
            parts.background.spawn(resume::resume(payment.store.clone(), current.clone(), stop));
        }
        let stopping = CancellationToken::new();
        if let Some((listener, token)) = admin_listener {
            let metrics = Metrics::default();
            parts.figures.expose(&metrics, current.clone());
            parts.rooms.turnstile().expose(&metrics);
            if let Some(payment) = &parts.payment {
                payment.expose(&metrics);
            }
            let administered = admin::Administered {
                current: current.clone(),
                store: parts.payment.as_ref().map(|payment| payment.store.clone()),
                closer: parts.payment.as_ref().and_then(Payment::closer),
                metrics,
                stopping: stopping.clone(),
            };
            // It tells that the gateway stops, and goes with what runs in the background.
            parts.background.spawn(server::serve(
                listener,
                Admin::new(administered, token),
                LIMITS,
                ADMIN_GRACE,
                parts.stop_background.child_token(),
            ));
        }
        let (listening, stop_listening) = (TaskTracker::new(), CancellationToken::new());
        let (workers, hop) = (Workers::start().map_err(StartError::Workers)?, Hop::draw());
        let Figures { traffic, connections, .. } = &parts.figures;
        let counted = connections.iter().map(|(_, level)| level.clone());
        for (((listener, tls), limits), level) in
            listeners.into_iter().zip(&tls).zip(limits).zip(counted)
        {
            let road = Road::new(current.clone(), hop.clone(), traffic, level);
            let mut door = Door::from(listener).on_workers(workers.clone());
            if let Some(tls) = tls {
                door = door.with_tls(tls.clone());
            }
            listening.spawn(server::serve(
                door,
                road,
                limits,
                drain.timeout,
                stop_listening.clone(),
            ));
        }
        Ok(Self {
            addresses,
            admin_address,
            tls,
            current,
            parts,
            drain,
            listening,
            stop_listening,
            stopping,
            _workers: workers,
        })
    }

    /// Where its admin port is, if it has one.
    #[must_use]
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Where it listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// Swaps the configuration: requests under way finish on what they began with.
    ///
    /// # Errors
    /// [`NeedsRestart`] if it changes what cannot be changed while running; nothing is swapped then.
    pub fn reload(&self, settings: Settings) -> Result<(), NeedsRestart> {
        let taken = self.take(settings);
        match &taken {
            Ok(()) => self.parts.figures.reloads.note_taken(&self.parts.clock),
            Err(_) => self.note_unreadable(),
        }
        taken
    }

    /// Notes for the figures that a configuration came which cannot be read: the one before goes on.
    pub fn note_unreadable(&self) {
        self.parts.figures.reloads.note_failed();
    }

    fn take(&self, settings: Settings) -> Result<(), NeedsRestart> {
        let running = self.current.load();
        let (new, old) = (&settings.listeners, &running.settings.listeners);
        if new.len() != old.len()
            || !new.iter().zip(old).all(|(new, old)| new.is_the_socket_of(old))
        {
            return Err(NeedsRestart("listen"));
        }
        if !same_admin(settings.admin.as_ref(), running.settings.admin.as_ref()) {
            return Err(NeedsRestart("admin"));
        }
        match (&settings.payment, &self.parts.payment) {
            (None, _) => {}
            (Some(_), None) => return Err(NeedsRestart("payments")),
            (Some(new), Some(old)) => old.serves(new)?,
        }
        for (shown, listener) in self.tls.iter().zip(&settings.listeners) {
            if let (Some(shown), Some(tls)) = (shown, &listener.tls) {
                shown.show(tls);
            }
        }
        let hash = settings.hash;
        let next = self.parts.configure(settings, Some(&running));
        self.current.store(Arc::new(next));
        info!(config = %hash, "configuration swapped");
        Ok(())
    }

    /// What the gateway runs on now: a digest of the configuration file.
    #[must_use]
    pub fn config_hash(&self) -> config::ContentHash {
        self.current.load().settings.hash
    }

    /// Waits until payments can be taken, or says after `patience` why they cannot.
    ///
    /// # Errors
    /// [`NotReady`], a sentence for the operator.
    pub async fn ready(&self, patience: Duration) -> Result<(), NotReady> {
        match &self.parts.payment {
            Some(payment) => payment.ready(patience).await,
            None => Ok(()),
        }
    }

    /// Stops in order: no new connections, requests under way finish, payments are recorded, the store closes.
    pub async fn stop(self) {
        self.stopping.cancel();
        tokio::time::sleep(self.drain.delay).await;
        self.stop_listening.cancel();
        self.listening.close();
        self.listening.wait().await;
        // A settlement that is under way is worth waiting for: what it finds is recorded.
        self.parts.paid.close();
        if tokio::time::timeout(SETTLE_GRACE, self.parts.paid.wait()).await.is_err() {
            warn!(
                "stopping while settlements are under way: they stay pending and are resolved later"
            );
        }
        self.parts.stop_background.cancel();
        self.parts.background.close();
        self.parts.background.wait().await;
        if let Some(payment) = &self.parts.payment
            && let Err(error) = payment.store.close().await
        {
            warn!(%error, "the store did not close cleanly");
        }
    }
}

impl Parts {
    /// What requests run on from now on; `running` is what they run on still.
    fn configure(&self, mut settings: Settings, running: Option<&Configured>) -> Configured {
        settings.table.count_in(&self.figures.traffic);
        let public_url = settings.public_url.as_ref().unwrap_or(&self.public_url);
        let methods = match (&self.payment, &settings.payment) {
            (Some(parts), Some(now)) => parts.methods(now, public_url),
            _ => Methods::default(),
        };
        let upstreams = match running {
            Some(running) => running.upstreams.followed_by(&settings.upstreams),
            None => Upstreams::new(&settings.upstreams),
        };
        if let Some(running) = running {
            running.stop_watching.cancel();
        }
        let stop_watching = self.stop_background.child_token();
        upstreams.watch(&self.background, &stop_watching);
        if let Some(running) = running {
            tokens::go_on(&settings.tokens, &running.settings.tokens);
        }
        tokens::fetch(&settings.tokens, &self.background, &stop_watching);
        let (clock, paid) = (self.clock.clone(), self.paid.clone());
        let guard = Guard::new(upstreams.clone(), methods, clock, paid).within(self.rooms.clone());
        Configured { settings, guard, upstreams, stop_watching }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

fn same_admin(one: Option<&config::Admin>, other: Option<&config::Admin>) -> bool {
    let parts = |admin: &config::Admin| {
        (admin.address, admin.token.as_ref().map(|token| token.expose_secret().to_owned()))
    };
    one.map(parts) == other.map(parts)
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A listener could not be opened.
    #[error("listen on `{address}`")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A bound listener does not know its address.
    #[error("read a listener's address")]
    Address(#[source] io::Error),
    /// The threads that serve connections could not be had.
    #[error("start a thread per core")]
    Workers(#[source] io::Error),
    /// The store could not be opened.
    #[error("open the store")]
    Store(#[source] store::Error),
}

/// The configuration changes what cannot be changed while running.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a changed `{0}` needs a restart; the gateway goes on with the configuration that it has")]
pub struct NeedsRestart(pub &'static str);

/// How long the admin port may take over the answers that are under way when everything else has stopped.
const ADMIN_GRACE: Duration = Duration::from_secs(1);
/// How long a stopping gateway waits for settlements that are under way.
const SETTLE_GRACE: Duration = Duration::from_secs(90);

//! Wires the parts into a gateway, swaps its configuration, and shuts it down in order.
//!
//! Everything that outlives a request is made here and handed down; nothing below knows where it came from.

mod admin;
mod channels;
mod descriptors;
mod doors;
mod dump;
mod figures;
mod lookout;
mod payment;
mod reload;
mod resume;
mod road;
mod tokens;

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

pub use self::{
    descriptors::raise_file_limit,
    doors::{CannotListen, Inherited},
    reload::{LastReload, NeedsRestart, NotReloaded, Reloaded, Reloader, Watched},
};
use self::{
    doors::{Doors, Planned},
    figures::Figures,
    payment::{Kept, Payment},
    reload::{Told, differences},
    road::{Configured, Road, Upstreams, hop::Hop},
};
use crate::{
    admin::{Admin, LIMITS, Token},
    config::{self, Settings, Source},
    guard::{Guard, Rooms},
    ledger::facilitator::NotReady,
    pay::methods::Methods,
    server, store,
    telemetry::{Clock, access::AccessLog, metrics::Metrics},
    workers::{Pulse, Workers},
};

/// A running gateway.
#[derive(Debug)]
pub struct Gateway {
    admin_address: Option<SocketAddr>,
    core: Arc<Core>,
    /// What reads the configuration again, for the admin port.
    told: Arc<OnceLock<Reloader>>,
}

/// What is there from the start of a gateway to its end.
#[derive(Debug)]
struct Core {
    /// Locked while the configuration is swapped, so that no two are at once.
    doors: Mutex<Doors>,
    hop: Hop,
    current: Arc<ArcSwap<Configured>>,
    parts: Parts,
    /// Set as soon as it is to stop.
    stopping: CancellationToken,
    /// What a watch has to look at, whoever had it read last.
    watched: watch::Sender<Watched>,
    /// What callers of the admin port must have.
    admin_token: Token,
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
    figures: Figures,
}

impl Gateway {
    /// Opens the store, binds every listener, and starts to serve.
    ///
    /// # Errors
    /// [`StartError`] names what could not be had; nothing is left running then.
    pub async fn start(settings: Settings, clock: Clock) -> Result<Self, StartError> {
        Self::start_with(settings, clock, Inherited::default()).await
    }

    /// As [`Gateway::start`], at sockets that are open already as far as there are such.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start_with(
        mut settings: Settings,
        clock: Clock,
        inherited: Inherited,
    ) -> Result<Self, StartError> {
        descriptors::fit(&mut settings);
        let mut doors = Doors::new(inherited, Workers::start().map_err(StartError::Workers)?);
        let planned = doors.plan(&settings.listeners)?;
        let admin = match &settings.admin {
            Some(admin) => {
                let (opened, address) = doors.inherited().listen(admin.address)?;
                Some((opened, address))
            }
            None => None,
        };
        let token = settings.admin.as_ref().and_then(|admin| admin.token.clone());
        let admin_token = Token::from(token);
        let places = settings.listeners.iter().map(|listener| listener.address);
        doors.inherited().tell_unused(places.chain(settings.admin.as_ref().map(|at| at.address)));
        let admin_address = admin.as_ref().map(|(_, address)| *address);
        let background = TaskTracker::new();
        let stop_background = CancellationToken::new();
        let payment = match &settings.payment {
            Some(payment) => {
                let webhooks = &settings.webhooks;
                let (tasks, stop) = (&background, &stop_background);
                Some(Payment::start(payment, webhooks, &clock, tasks, stop).await?)
            }
            None => None,
        };
        let access = settings.access_log.clone();
        let access = access.map(|settings| AccessLog::open(settings, clock.clone())).transpose();
        let parts = Parts {
            figures: Figures::new(access.map_err(StartError::AccessLog)?, &clock),
            clock,
            paid: TaskTracker::new(),
            background,
            stop_background,
            payment,
            rooms: Rooms::default(),
        };
        let drain = settings.drain;
        let configured = parts.configure(settings, &planned.url().unwrap_or_default(), None);
        let current = Arc::new(ArcSwap::from_pointee(configured));
        if let Some(payment) = &parts.payment {
            let stop = parts.stop_background.child_token();
            parts.background.spawn(resume::resume(payment.store.clone(), current.clone(), stop));
            parts.background.spawn(payment.lookout().run(parts.stop_background.child_token()));
        }
        let stopping = CancellationToken::new();
        let reloader = Arc::<OnceLock<_>>::default();
        if let Some((listener, _)) = admin {
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
                reloader: reloader.clone(),
                pulse: doors.workers().pulse(),
            };
            // It tells that the gateway stops, and goes with what runs in the background.
            parts.background.spawn(server::serve(
                listener,
                Admin::new(administered, admin_token.clone()),
                LIMITS,
                ADMIN_GRACE,
                parts.stop_background.child_token(),
            ));
        }
        let hop = Hop::draw();
        parts.open(&mut doors, planned, (&current, &hop), drain);
        let doors = Mutex::new(doors);
        let (watched, _) = watch::channel(Watched::by(&current.load().settings, None));
        let core = Core { doors, hop, current, parts, stopping, watched, admin_token };
        let core = Arc::new(core);
        Ok(Self { admin_address, core, told: reloader })
    }

    /// Where its admin port is, if it has one.
    #[must_use]
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin_address
    }

    /// Where it listens, in the order of the configuration.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.core.doors().addresses()
    }

    /// Swaps the configuration: requests under way finish on what they began with.
    ///
    /// # Errors
    /// [`NotReloaded`]; nothing has changed then.
    pub fn reload(&self, settings: Settings) -> Result<Reloaded, NotReloaded> {
        self.core.swap_and_note(settings, Told::Always)
    }

    /// What reads the configuration again from `source`, whoever tells it to: the admin port too, from now on. There is one.
    #[must_use]
    pub fn reloader(&self, source: Source) -> Reloader {
        let (core, source) = (self.core.clone(), Arc::new(source));
        self.told.get_or_init(|| Reloader { core, source, turn: Arc::default() }).clone()
    }

    /// Opens the file of the access log anew, as is asked for when it was moved away.
    pub fn reopen_logs(&self) {
        if let Some(access) = &self.core.parts.figures.access {
            access.reopen();
        }
    }

    /// How the last reload went.
    #[must_use]
    pub fn last_reload(&self) -> LastReload {
        let hash = self.config_hash();
        let (is_successful, succeeded_at) = self.core.parts.figures.reloads.told();
        LastReload { is_successful, succeeded_at, hash }
    }

    /// What it was read from, now and after each reload, whoever asked for that: a change of it is worth another one.
    #[must_use]
    pub fn watched(&self) -> watch::Receiver<Watched> {
        self.core.watched.subscribe()
    }

    /// What tells whether the threads that serve connections get round to it.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.core.doors().workers().pulse()
    }

    /// What the gateway runs on now: a digest of the configuration file.
    #[must_use]
    pub fn config_hash(&self) -> config::ContentHash {
        self.core.current.load().settings.hash
    }

    /// How many tasks run in the background: for tests of what a reload leaves behind.
    #[must_use]
    pub fn background_tasks(&self) -> usize {
        self.core.parts.background.len()
    }

    /// Waits until payments can be taken, or says after `patience` why they cannot.
    ///
    /// # Errors
    /// [`NotReady`], a sentence for the operator.
    pub async fn ready(&self, patience: Duration) -> Result<(), NotReady> {
        match &self.core.parts.payment {
            Some(payment) => payment.ready(patience).await,
            None => Ok(()),
        }
    }

    /// Stops in order: not ready any more, no new connections, requests under way finish, payments are recorded, the store
    /// closes.
    pub async fn stop(self) {
        let Core { parts, stopping, current, .. } = &*self.core;
        let drain = {
            // No reload is under way behind this, and none begins.
            let doors = self.core.doors();
            stopping.cancel();
            doors.leave();
            current.load().settings.drain
        };
        tokio::time::sleep(drain.delay).await;
        let serving = self.core.doors().stop();
        serving.wait().await;
        // A settlement that is under way is worth waiting for: what it finds is recorded.
        parts.paid.close();
        if tokio::time::timeout(SETTLE_GRACE, parts.paid.wait()).await.is_err() {
            warn!(
                "stopping while settlements are under way: they stay pending and are resolved later"
            );
        }
        parts.stop_background.cancel();
        parts.background.close();
        parts.background.wait().await;
        if let Some(payment) = &parts.payment {
            payment.leave(&current.load().settings.webhooks).await;
            if let Err(error) = payment.store.close().await {
                warn!(%error, "the store did not close cleanly");
            }
        }
        if let Some(access) = &parts.figures.access {
            access.flush().await;
        }
        info!("stopped");
    }
}

impl Core {
    fn doors(&self) -> MutexGuard<'_, Doors> {
        self.doors.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Swaps the configuration once everything of it is there.
    fn swap(&self, mut settings: Settings) -> Result<Reloaded, NotReloaded> {
        descriptors::fit(&mut settings);
        let mut doors = self.doors();
        if self.stopping.is_cancelled() {
            return Err(NotReloaded::Stopping);
        }
        let running = self.current.load_full();
        admin_serves(running.settings.admin.as_ref(), settings.admin.as_ref())?;
        if settings.access_log != running.settings.access_log {
            return Err(NeedsRestart("access_log").into());
        }
        let says_the_same = |key: &str| settings.section(key) == running.settings.section(key);
        let kept = Kept { stellar: says_the_same("stellar"), store: says_the_same("store") };
        let needs_restart = match (&mut settings.payment, &self.parts.payment) {
            (None, _) => Vec::new(),
            (Some(_), None) => return Err(NeedsRestart("payments").into()),
            (Some(new), Some(old)) => {
                let held = old.hold(new, kept);
                old.serves(new)?;
                held
            }
        };
        let planned = doors.plan(&settings.listeners)?;
        let changed = differences(&running.settings, &settings);
        let reloaded = Reloaded { hash: settings.hash, changed, needs_restart };
        let drain = settings.drain;
        let token = settings.admin.as_ref().and_then(|admin| admin.token.clone());
        let next =
            self.parts.configure(settings, &planned.url().unwrap_or_default(), Some(&running));
        if let (Some(payment), Some(now)) = (&self.parts.payment, &next.settings.payment) {
            payment.take_up(now);
        }
        self.current.store(Arc::new(next));
        self.admin_token.change(token);
        self.parts.open(&mut doors, planned, (&self.current, &self.hop), drain);
        Ok(reloaded)
    }
}

impl Parts {
    /// Serves at what was planned, by the road that starts at the current configuration.
    fn open(
        &self,
        doors: &mut Doors,
        planned: Planned,
        (current, hop): (&Arc<ArcSwap<Configured>>, &Hop),
        drain: config::Drain,
    ) {
        let Figures { traffic, access, .. } = &self.figures;
        let road = |connections| {
            Road::new(current.clone(), hop.clone(), traffic, connections, access.clone())
        };
        doors.open(planned, road, drain);
        self.figures.connections.store(Arc::new(doors.connections()));
    }

    /// What requests run on from now on, in place of what they run on still; `url` is for clients that are told no other.
    fn configure(
        &self,
        mut settings: Settings,
        url: &str,
        running: Option<&Configured>,
    ) -> Configured {
        settings.table.count_in(&self.figures.traffic);
        let public_url = settings.public_url.clone().unwrap_or_else(|| url.into());
        let methods = match (&self.payment, &settings.payment) {
            (Some(parts), Some(now)) => parts.methods(now, &public_url),
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
        tokens::fetch(&settings.tokens, &self.background, &stop_watching, &self.clock);
        if let Some(payment) = &self.payment {
            payment.tell(&settings.webhooks, &self.background, &stop_watching);
        }
        let (clock, paid) = (self.clock.clone(), self.paid.clone());
        let guard = Guard::new(upstreams.clone(), methods, clock, paid).within(self.rooms.clone());
        Configured { settings, guard, upstreams, stop_watching }
    }
}

/// Whether the admin port that is open, or is not, is the one of the `new` settings; its token may be another.
fn admin_serves(
    old: Option<&config::Admin>,
    new: Option<&config::Admin>,
) -> Result<(), NeedsRestart> {
    if old.map(|admin| admin.address) != new.map(|admin| admin.address) {
        return Err(NeedsRestart("admin.address"));
    }
    Ok(())
}

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The access log's file could not be opened.
    #[error("open the access log")]
    AccessLog(#[source] io::Error),
    /// A listener could not be opened.
    #[error(transparent)]
    Listen(#[from] CannotListen),
    /// The threads that serve connections could not be had.
    #[error("start a thread per core")]
    Workers(#[source] io::Error),
    /// The store could not be opened.
    #[error("open the store")]
    Store(#[source] store::Error),
}

/// How long the admin port may take over the answers that are under way when everything else has stopped.
const ADMIN_GRACE: Duration = Duration::from_secs(1);
/// How long a stopping gateway waits for settlements that are under way.
const SETTLE_GRACE: Duration = Duration::from_secs(90);

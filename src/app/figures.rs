//! What a running gateway tells of itself when it is asked for its figures.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwap;

use super::road::Configured;
use crate::server::tls::Tls;
use crate::telemetry::{
    Clock,
    access::AccessLog,
    level::Level,
    metrics::Metrics,
    page::{Kind, Page},
    traffic::Traffic,
};

/// What is counted and noted for as long as the gateway runs. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Figures {
    pub(super) traffic: Traffic,
    /// The connections of each listener, by its name.
    pub(super) connections: Arc<ArcSwap<Vec<(String, Level)>>>,
    pub(super) reloads: Arc<Reloads>,
    pub(super) access: Option<AccessLog>,
}

/// How the last configuration was taken.
#[derive(Debug)]
pub(super) struct Reloads {
    has_failed: AtomicBool,
    /// Why the last one was not taken, if it was not.
    reason: Mutex<Option<String>>,
    needs_restart: AtomicBool,
    /// When one was taken last, in seconds since 1970.
    taken: AtomicU64,
}

impl Figures {
    pub(super) fn new(access: Option<AccessLog>, clock: &Clock) -> Self {
        Self {
            traffic: Traffic::default(),
            connections: Arc::default(),
            reloads: Arc::new(Reloads {
                has_failed: AtomicBool::new(false),
                reason: Mutex::default(),
                needs_restart: AtomicBool::new(false),
                taken: AtomicU64::new(clock.now()),
            }),
            access,
        }
    }

    /// Has `metrics` tell them, and how what is configured now is.
    pub(super) fn expose(&self, metrics: &Metrics, current: Arc<ArcSwap<Configured>>) {
        let figures = self.clone();
        metrics.add_source(move |page| {
            figures.traffic.tell(page);
            figures.tell(page, &current.load());
        });
    }

    fn tell(&self, page: &mut Page, configured: &Configured) {
        let help = "Connections of clients that are open";
        let mut family = page.family("connections", Kind::Gauge, help);
        for (listener, level) in self.connections.load().iter() {
            family.tell(&[("listener", listener)], level.now());
        }
        let help = "When a certificate that is shown ends, in seconds since 1970";
        let mut family = page.family("tls_cert_not_after_seconds", Kind::Gauge, help);
        for listener in &configured.settings.listeners {
            let ends = listener.tls.as_ref().map(Tls::ends).unwrap_or_default();
            for (number, end) in ends.into_iter().enumerate() {
                if let Some(end) = end {
                    let number = number.to_string();
                    let labels = [("listener", &*listener.name), ("certificate", &*number)];
                    family.tell(&labels, end);
                }
            }
        }
        let servers: Vec<_> = configured.upstreams.servers().collect();
        let help = "Whether requests go to the server";
        let mut family = page.family("upstream_healthy", Kind::Gauge, help);
        for server in &servers {
            let labels = [("upstream", server.upstream), ("server", server.address.as_str())];
            family.tell(&labels, u8::from(server.is_healthy));
        }
        let help = "Requests that are under way at the server";
        let mut family = page.family("upstream_requests_in_flight", Kind::Gauge, help);
        for server in &servers {
            let labels = [("upstream", server.upstream), ("server", server.address.as_str())];
            family.tell(&labels, server.under_way);
        }
        let help = "When the keys of tokens were fetched last, in seconds since 1970; 0 if they never were";
        let mut family = page.family("token_keys_fetched_timestamp_seconds", Kind::Gauge, help);
        // Those that differ by what must not be told are one.
        let mut fetched = BTreeMap::new();
        for source in &configured.settings.tokens {
            let at = fetched.entry(source.place()).or_insert(u64::MAX);
            *at = source.keys.taken_at().min(*at);
        }
        for (place, at) in fetched {
            family.tell(&[("url", &place)], at);
        }
        let hash = configured.settings.hash.to_string();
        page.family("config_info", Kind::Gauge, "The SHA-256 of the configuration that is in use")
            .tell(&[("hash", &hash)], 1);
        let Reloads { has_failed, taken, needs_restart, .. } = &*self.reloads;
        let help = "Whether the configuration that came last is the one in use";
        page.family("config_last_reload_successful", Kind::Gauge, help)
            .tell(&[], u8::from(!has_failed.load(Relaxed)));
        let help = "When a configuration was taken last, in seconds since 1970";
        page.family("config_last_reload_success_timestamp_seconds", Kind::Gauge, help)
            .tell(&[], taken.load(Relaxed));
        let help = "Whether a secret has changed that counts only after a restart";
        page.family("config_needs_restart", Kind::Gauge, help)
            .tell(&[], u8::from(needs_restart.load(Relaxed)));
        if let Some((written, lost)) = self.access.as_ref().map(AccessLog::counts) {
            let help = "Lines of the access log that were written, or lost as its queue was full or its file failed";
            let mut family = page.family("access_log_lines_total", Kind::Counter, help);
            family.tell(&[("outcome", "written")], written);
            family.tell(&[("outcome", "lost")], lost);
        }
        page.family("build_info", Kind::Gauge, "What the gateway was built from")
            .tell(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    }
}

impl Reloads {
    /// A configuration was taken, but for what of it `needs_restart`.
    pub(super) fn note_taken(&self, clock: &Clock, needs_restart: &[&str]) {
        self.taken.store(clock.now(), Relaxed);
        self.has_failed.store(false, Relaxed);
        self.needs_restart.store(!needs_restart.is_empty(), Relaxed);
        *self.reason.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// Whether the last one was taken, and when one was, in seconds since 1970.
    pub(super) fn told(&self) -> (bool, u64) {
        (!self.has_failed.load(Relaxed), self.taken.load(Relaxed))
    }

    /// One was not taken: the one before goes on. Whether the reason is another than the one before.
    pub(super) fn note_failed(&self, reason: &str) -> bool {
        self.has_failed.store(true, Relaxed);
        let mut last = self.reason.lock().unwrap_or_else(PoisonError::into_inner);
        let is_news = last.as_deref() != Some(reason);
        *last = Some(reason.to_owned());
        is_news
    }
}

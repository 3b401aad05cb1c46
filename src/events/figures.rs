//! What became of events, for an operator's monitoring.

use crate::telemetry::metrics::{Counter, Gauge, Metrics};

/// By receiver. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    events: Counter,
    waiting: Gauge,
}

/// What became of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It has arrived.
    Delivered,
    /// It was sent, and not taken: it is sent again.
    Failed,
    /// It was not taken for so long that it is not sent again.
    GivenUp,
    /// Too many waited: it made room for a newer one.
    Dropped,
}

impl Figures {
    /// Has `metrics` tell them.
    pub fn expose(&self, metrics: &Metrics) {
        let help = "Attempts to tell an event by a webhook, and events that are told no more";
        metrics.add_counter("webhook_events", help, &self.events);
        let help = "Events that wait to be told, as of the last look";
        metrics.add_gauge("webhook_events_waiting", help, &self.waiting);
    }

    /// Tells those of a receiver from now on: a figure that appears has not risen, as monitoring sees it.
    pub(super) fn begin(&self, host: &str) {
        for fate in [Fate::Delivered, Fate::Failed, Fate::GivenUp, Fate::Dropped] {
            self.note(host, fate, 0);
        }
        self.show_waiting(host, 0);
    }

    pub(super) fn note(&self, host: &str, fate: Fate, count: u64) {
        let outcome = match fate {
            Fate::Delivered => "delivered",
            Fate::Failed => "failed",
            Fate::GivenUp => "given_up",
            Fate::Dropped => "dropped",
        };
        self.events.add(&[("receiver", host), ("outcome", outcome)], count);
    }

    pub(super) fn show_waiting(&self, host: &str, waiting: u64) {
        self.waiting.set(&[("receiver", host)], waiting);
    }
}

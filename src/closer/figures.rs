//! What the closer tells an operator's monitoring.

use super::{Exposure, overview::Owed};
use crate::telemetry::metrics::{Gauge, Metrics};

/// As of the last look at all channels.
#[derive(Debug, Default)]
pub(super) struct Figures {
    channels: Gauge,
    authorised: Gauge,
    spent: Gauge,
    withdrawn: Gauge,
    unsettled: Gauge,
    deadline: Gauge,
}

impl Figures {
    pub(super) fn expose(&self, metrics: &Metrics) {
        let add = |name, help, gauge| metrics.add_gauge(name, help, gauge);
        add("channels", "Channels by state", &self.channels);
        let authorised = "The highest commitments held, of channels that are not closed";
        add("channel_authorised_base_units", authorised, &self.authorised);
        let spent = "What was delivered or is in flight, of channels that are not closed";
        add("channel_spent_base_units", spent, &self.spent);
        let withdrawn = "What was collected, of channels that are not closed";
        add("channel_withdrawn_base_units", withdrawn, &self.withdrawn);
        let unsettled = "What was delivered and is not collected";
        add("channel_unsettled_base_units", unsettled, &self.unsettled);
        let deadline = "In how long the first payer may take back what is not collected";
        add("channel_refund_deadline_seconds", deadline, &self.deadline);
    }

    pub(super) fn show(&self, exposure: &Exposure) {
        let Exposure { open, closing, closed, unreadable, deadline, assets, .. } = exposure;
        let states =
            [("open", open), ("closing", closing), ("closed", closed), ("unreadable", unreadable)];
        for (state, count) in states {
            self.channels.set(&[("state", state)], *count);
        }
        match deadline {
            Some(deadline) => self.deadline.set(&[], deadline.seconds),
            None => self.deadline.unset(&[]),
        }
        for (token, owed) in assets {
            let asset = token.map_or_else(|| UNSEEN.to_owned(), |token| token.to_string());
            let labels = [("asset", asset.as_str())];
            let Owed { authorised, spent, withdrawn, at_risk } = owed;
            self.authorised.set(&labels, authorised.units());
            self.spent.set(&labels, spent.units());
            self.withdrawn.set(&labels, withdrawn.units());
            self.unsettled.set(&labels, at_risk.units());
        }
    }
}

/// The asset of channels that were not looked up since the start.
const UNSEEN: &str = "unknown";

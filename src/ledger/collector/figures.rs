//! What collecting costs and comes to, for an operator's monitoring.

use super::{Collector, Found, Outcome, Purpose, Way};
use crate::{
    ledger::facilitator::Failure,
    telemetry::metrics::{Counter, Gauge, Metrics},
};

#[derive(Debug, Default)]
pub(super) struct Figures {
    sent: Counter,
    outcomes: Counter,
    fees: Counter,
    left: Gauge,
    spendable: Gauge,
}

impl Collector {
    /// Has `metrics` tell what collecting costs and comes to.
    pub fn expose(&self, metrics: &Metrics) {
        let Figures { sent, outcomes, fees, left, spendable } = &self.0.figures;
        metrics.add_counter("settlements_sent", "Transactions sent to collect", sent);
        let help = "What became of transactions that collect; one whose outcome was unknown counts again once it is known";
        metrics.add_counter("settlements", help, outcomes);
        metrics.add_counter("collector_fees_stroops", "Fees charged for collecting", fees);
        let help = "What may be spent on fees of collecting now";
        metrics.add_gauge("collector_fee_budget_left_stroops", help, left);
        let help = "What the account that pays for collecting has to spend, as it was seen last";
        metrics.add_gauge("collector_balance_stroops", help, spendable);
        self.show_budget();
    }

    /// Tells what is left of the budget now: time alone gives it back.
    pub fn show_budget(&self) {
        self.0.figures.left.set(&[], self.0.spending.left(self.0.clock.now()));
    }

    /// Counts what became of a transaction that somebody lost sight of.
    pub fn note(&self, way: Way, found: &Result<Found, Failure>) {
        let outcome = match found {
            Ok(Found::Landed) => "landed",
            Ok(Found::Failed) => "failed",
            Ok(Found::Gone) => "gone",
            // It may be asked for again.
            Ok(Found::Over { .. }) | Err(_) => return,
        };
        self.0.figures.count(way.into(), outcome);
    }
}

impl Figures {
    pub(super) fn sending(&self, purpose: Purpose) {
        self.sent.add(&[("kind", kind(purpose))], 1);
    }

    pub(super) fn sent(&self, purpose: Purpose, outcome: &Outcome) {
        let outcome = match outcome {
            Outcome::Landed => "landed",
            Outcome::Failed => "failed",
            Outcome::Gone(_) => "gone",
            Outcome::Unknown(_) => "unknown",
        };
        self.count(purpose, outcome);
    }

    pub(super) fn charged(&self, stroops: u64) {
        self.fees.add(&[], stroops);
    }

    pub(super) fn spendable(&self, stroops: i64) {
        self.spendable.set(&[], stroops);
    }

    fn count(&self, purpose: Purpose, outcome: &str) {
        self.outcomes.add(&[("kind", kind(purpose)), ("outcome", outcome)], 1);
    }
}

const fn kind(purpose: Purpose) -> &'static str {
    match purpose {
        Purpose::Collect(Way::Settle) => "settle",
        Purpose::Collect(Way::Close) => "close",
        Purpose::Extend => "extend",
    }
}

//! What is told of payments that move their money one by one.

use serde_json::{Value, json};

use super::{Worth, claims::Rail};
use crate::{
    events::{self, Event, Kind},
    store::{ClaimKey, Notice, Settled, Store},
};

/// A payment that has moved its money.
pub(super) struct Paid<'a, R: Rail> {
    pub(super) rail: &'a R,
    pub(super) store: &'a Store,
    pub(super) key: ClaimKey,
    pub(super) payment: &'a R::Payment,
    pub(super) settled: &'a Settled,
    pub(super) route: &'a str,
}

impl<R: Rail> Paid<'_, R> {
    /// That it has; and what is told if nothing is delivered for it.
    pub(super) fn told(&self) -> Vec<Notice> {
        let Self { store, key, settled, .. } = *self;
        let event = |kind| Event { kind, key: key.0.to_vec(), at: settled.at, data: self.data() };
        let (is_settled, is_undelivered) = (Kind::PaymentSettled, Kind::PaymentUndelivered);
        let mut told = events::notices(store, is_settled, || event(is_settled));
        told.extend(events::unless_delivered(store, key, || event(is_undelivered)));
        told
    }

    fn data(&self) -> Value {
        let (method, network) = self.rail.place(self.payment);
        let Worth { asset, amount, payer, .. } = self.rail.worth(self.payment);
        json!({
            "route": self.route,
            "method": method,
            "network": network.name(),
            "asset": asset.to_string(),
            "amount": amount.to_string(),
            "payer": payer.map(|payer| payer.to_string()),
            "transaction": self.settled.transaction.map(|transaction| transaction.to_string()),
        })
    }
}

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
    /// That it has.
    pub(super) fn settled(&self) -> Vec<Notice> {
        events::notices(self.store, Kind::PaymentSettled, || Event {
            kind: Kind::PaymentSettled,
            key: self.key.0.to_vec(),
            at: self.settled.at,
            data: self.data(),
        })
    }

    /// That an attempt to deliver what it bought has failed, or never was one.
    pub(super) fn undelivered(&self) -> Vec<Notice> {
        let at = self.rail.now();
        events::notices(self.store, Kind::PaymentUndelivered, || Event {
            kind: Kind::PaymentUndelivered,
            // Each attempt that fails is one.
            key: [&self.key.0[..], &at.to_be_bytes()].concat(),
            at,
            data: self.data(),
        })
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

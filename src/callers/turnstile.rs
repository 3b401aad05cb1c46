//! Where a request to a priced route is let through, sent to pay, or told to come later; and what was counted of that.

use std::{hash::Hash, net::IpAddr, time::Duration};

use http::HeaderMap;

use super::{Allow, Mode, Rules, pace::Paces, quota::Quotas};
use crate::{
    pay::{Terms, room::network_of},
    protocol::stellar::Address,
    telemetry::metrics::{Counter, Metrics},
};

/// What is remembered of callers, whatever configuration they come under. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Turnstile {
    unpaid: Paces,
    paid: Paces,
    quotas: Quotas,
    passed: Counter,
    waited: Counter,
    observed: Counter,
    observed_units: Counter,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// It goes on without a payment.
    Open(Pass),
    /// It is one too many of its caller; another one may come after so long.
    Later(Duration),
    /// It has to pay.
    Pays,
}

/// Why a request needs no payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Its key is one of the operator's.
    Key,
    /// Its token is of an issuer that the operator trusts.
    Token,
    /// Its caller has some for nothing.
    Quota,
    /// Nobody is asked to pay.
    Observed,
}

impl Turnstile {
    /// What becomes of a request to a route under `rules` that is told apart by its `headers` and the address that it comes
    /// from; `has_payment` is whether it carries a payment that reads. `now_ms` is in milliseconds since 1970.
    #[must_use]
    pub fn enter(
        &self,
        rules: &Rules,
        route: &str,
        headers: &HeaderMap,
        (address, has_payment): (Option<IpAddr>, bool),
        now_ms: u64,
    ) -> Entry {
        let address = address.map(network_of);
        if let Some(pass) = self.pass(rules, headers, (address, has_payment), now_ms) {
            self.passed.add(&[("route", route), ("by", pass.as_str())], 1);
            return Entry::Open(pass);
        }
        if has_payment {
            return Entry::Pays;
        }
        match self.pace(&self.unpaid, rules.unpaid.as_ref(), address, now_ms) {
            Ok(()) => Entry::Pays,
            Err(wait) => {
                self.waited.add(&[("route", route), ("limit", "unpaid_rps_per_ip")], 1);
                Entry::Later(wait)
            }
        }
    }

    /// Whether a verified payment is one too many of its payer, and how long to wait then.
    ///
    /// # Errors
    /// How long to wait.
    pub fn pay(
        &self,
        rules: &Rules,
        route: &str,
        payer: Option<Address>,
        now_ms: u64,
    ) -> Result<(), Duration> {
        let paced = self.pace(&self.paid, rules.paid.as_ref(), payer, now_ms);
        if paced.is_err() {
            self.waited.add(&[("route", route), ("limit", "paid_rps_per_payer")], 1);
        }
        paced
    }

    /// Counts what an answer would have cost.
    pub fn observe(&self, terms: &Terms) {
        self.observed.add(&[("route", &terms.route)], 1);
        if let Some(offer) = terms.offers.first() {
            let labels = [("route", &*terms.route), ("asset", &*offer.asset.name)];
            let units = offer.amount.units().try_into().unwrap_or(u64::MAX);
            self.observed_units.add(&labels, units);
        }
    }

    /// Has `metrics` tell what was counted.
    pub fn expose(&self, metrics: &Metrics) {
        for (name, help, counter) in [
            ("passes", "Requests to priced routes that needed no payment", &self.passed),
            ("rate_limited", "Requests that were one too many of their caller", &self.waited),
            (
                "observed_charges",
                "Requests that a route which observes let through",
                &self.observed,
            ),
            ("observed_revenue_base_units", "What those would have cost", &self.observed_units),
        ] {
            metrics.add_counter(name, help, counter);
        }
    }

    fn pass(
        &self,
        rules: &Rules,
        headers: &HeaderMap,
        (address, has_payment): (Option<IpAddr>, bool),
        now_ms: u64,
    ) -> Option<Pass> {
        let now = now_ms.div_euclid(1_000);
        let allowed = rules.allow.iter().find_map(|allow| match allow {
            Allow::Keys(keys) => keys.find(headers).map(|_| Pass::Key),
            Allow::Tokens(tokens) => tokens.admits(headers, now).then_some(Pass::Token),
        });
        if allowed.is_some() {
            return allowed;
        }
        if let Some(quota) = rules.free.as_ref().filter(|_| !has_payment) {
            let has_some = match &quota.keys {
                Some(keys) => {
                    keys.find(headers).is_some_and(|key| self.quotas.take(quota, key, now))
                }
                None => address.is_some_and(|address| self.quotas.take(quota, address, now)),
            };
            if has_some {
                return Some(Pass::Quota);
            }
        }
        (rules.mode == Mode::Observe).then_some(Pass::Observed)
    }

    /// Counts one of `caller`; who cannot be told apart is not counted.
    fn pace(
        &self,
        paces: &Paces,
        rate: Option<&super::Rate>,
        caller: Option<impl Hash>,
        now_ms: u64,
    ) -> Result<(), Duration> {
        match rate.zip(caller) {
            Some((rate, caller)) => paces.step(rate, caller, now_ms),
            None => Ok(()),
        }
    }
}

impl Pass {
    /// Its name in figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "api_key",
            Self::Token => "jwt",
            Self::Quota => "free_quota",
            Self::Observed => "observe",
        }
    }
}

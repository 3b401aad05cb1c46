//! Where a request to a priced route is let through, sent to pay, or told to come later; and what was counted of that.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::HeaderMap;

use super::{Allow, Mode, Rules, Taken, Verdict, pace::Paces, quota::Quotas};
use crate::{
    pay::room::Gate,
    protocol::stellar::Address,
    subnet,
    telemetry::metrics::{Counter, Metrics},
};

/// What is remembered of callers, whatever configuration they come under. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Turnstile {
    unpaid: Paces,
    /// Of addresses whose payments do not pay. Apart from those that bring none: who pays asks first, and asks no more often
    /// for that.
    refused: Paces,
    paid: Paces,
    quotas: Quotas,
    passed: Counter,
    waited: Counter,
}

/// Who asks, as far as that is known before anything is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Where the request comes from.
    pub address: Option<IpAddr>,
    /// What it brings.
    pub brings: Brings,
    /// Whether it may use up a quota: not if it is sure to get nothing for that.
    pub spends: bool,
}

/// What a request brings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brings {
    /// No payment that reads.
    Nothing,
    /// A payment that reads.
    Payment,
    /// An order to the gateway, with what reads as a proof of who gives it: nothing that could be let through.
    Order,
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
    /// It may be one that passes: what that depends on is not known yet.
    Unknown,
}

/// Why a request needs no payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Its key is one of the operator's.
    Key,
    /// Its token is of an issuer that the operator trusts.
    Token,
    /// Its caller has some for nothing.
    Quota(Taken),
    /// Nobody is asked to pay.
    Observed,
}

impl Turnstile {
    /// What becomes of a request of `caller` to a route under `rules`, by what its `headers` say. `now_ms` is in milliseconds
    /// since 1970.
    ///
    /// A payment is not counted here, but shut out where others from its address have not paid: see [`Turnstile::refuse`].
    #[must_use]
    pub fn enter(
        &self,
        rules: &Rules,
        route: &str,
        headers: &HeaderMap,
        caller: Caller,
        now_ms: u64,
    ) -> Entry {
        let caller = Caller { address: caller.address.map(subnet::of), ..caller };
        let (pass, is_unknown) = match caller.brings {
            Brings::Order => (None, false),
            _ => self.pass(rules, headers, caller, now_ms),
        };
        if let Some(pass) = pass {
            self.passed.add(&[("route", route), ("by", pass.as_str())], 1);
            return Entry::Open(pass);
        }
        let unpaid = rules.unpaid.as_ref().zip(caller.address);
        let paced = unpaid.map_or(Ok(()), |(rate, address)| match caller.brings {
            Brings::Nothing => self.unpaid.step(rate, address, now_ms),
            Brings::Payment | Brings::Order => self.refused.look(rate, address, now_ms),
        });
        match paced {
            Ok(()) if is_unknown && caller.brings == Brings::Nothing => Entry::Unknown,
            Ok(()) => Entry::Pays,
            Err(wait) => {
                self.waited.add(&[("route", route), ("limit", UNPAID)], 1);
                Entry::Later(wait)
            }
        }
    }

    /// Counts a payment that does not pay against the address that it comes from.
    ///
    /// # Errors
    /// How long to wait, if that is one too many.
    pub fn refuse(
        &self,
        rules: &Rules,
        route: &str,
        address: Option<IpAddr>,
        now_ms: u64,
    ) -> Result<(), Duration> {
        let Some((rate, address)) = rules.unpaid.as_ref().zip(address) else { return Ok(()) };
        let paced = self.refused.step(rate, subnet::of(address), now_ms);
        if paced.is_err() {
            self.waited.add(&[("route", route), ("limit", UNPAID)], 1);
        }
        paced
    }

    /// What tells of a payer, before its payment costs anything, whether that would be one too many; `None` where none is.
    #[must_use]
    pub fn gate(&self, rules: &Rules, route: &Arc<str>, now_ms: u64) -> Option<Gate> {
        let rate = rules.paid.clone()?;
        let (paid, waited, route) = (self.paid.clone(), self.waited.clone(), route.clone());
        Some(Box::new(move |payer| {
            let paced = paid.look(&rate, payer, now_ms);
            if paced.is_err() {
                waited.add(&[("route", &*route), ("limit", PAID)], 1);
            }
            paced
        }))
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
        // Who cannot be told apart is not counted.
        let Some((rate, payer)) = rules.paid.as_ref().zip(payer) else { return Ok(()) };
        let paced = self.paid.step(rate, payer, now_ms);
        if paced.is_err() {
            self.waited.add(&[("route", route), ("limit", PAID)], 1);
        }
        paced
    }

    /// Gives back what a caller had for nothing, and got nothing for.
    pub fn give_back(&self, taken: Taken) {
        self.quotas.give_back(taken);
    }

    /// Has `metrics` tell what was counted.
    pub fn expose(&self, metrics: &Metrics) {
        for (name, help, counter) in [
            ("passes", "Requests to priced routes that needed no payment", &self.passed),
            ("rate_limited", "Requests that were one too many of their caller", &self.waited),
        ] {
            metrics.add_counter(name, help, counter);
        }
    }

    /// Why a request needs no payment, if it needs none; and whether that may be otherwise once the keys of its token are known.
    fn pass(
        &self,
        rules: &Rules,
        headers: &HeaderMap,
        caller: Caller,
        now_ms: u64,
    ) -> (Option<Pass>, bool) {
        let now = now_ms.div_euclid(1_000);
        let mut is_unknown = false;
        for allow in &*rules.allow {
            let pass = match allow {
                Allow::Keys(keys) => keys.find(headers).map(|_| Pass::Key),
                Allow::Tokens(tokens) => {
                    let verdict =
                        tokens.judge(headers, now, self.most_tried(rules, caller, now_ms));
                    is_unknown |= verdict == Verdict::Unknown;
                    (verdict == Verdict::Passes).then_some(Pass::Token)
                }
            };
            if pass.is_some() {
                return (pass, false);
            }
        }
        let spends = caller.spends && caller.brings == Brings::Nothing;
        let taken = rules.free.as_ref().filter(|_| spends).and_then(|quota| match &quota.keys {
            Some(keys) => self.quotas.take(quota, keys.find(headers)?, now),
            None => self.quotas.take(quota, caller.address?, now),
        });
        let observed = (rules.mode == Mode::Observe).then_some(Pass::Observed);
        (taken.map(Pass::Quota).or(observed), is_unknown)
    }

    /// How many keys a token is tried with that names none: one of an address that asks too often may be a stranger's.
    fn most_tried(&self, rules: &Rules, caller: Caller, now_ms: u64) -> usize {
        let unpaid = rules.unpaid.as_ref().zip(caller.address);
        let is_pressed =
            unpaid.is_some_and(|(rate, address)| self.unpaid.look(rate, address, now_ms).is_err());
        if is_pressed { 1 } else { MOST_TRIED }
    }
}

impl Pass {
    /// Its name in figures.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Key => "api_key",
            Self::Token => "jwt",
            Self::Quota(_) => "free_quota",
            Self::Observed => "observe",
        }
    }
}

/// Keys that a token without a key's name is tried with.
const MOST_TRIED: usize = 8;
/// The limits as the configuration names them.
const UNPAID: &str = "unpaid_rps_per_ip";
const PAID: &str = "paid_rps_per_payer";

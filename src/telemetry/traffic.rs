//! What goes through the gateway, counted by route: requests, payments and money.
//!
//! A route's counts are found once, when the configuration is taken, and go on when it is taken anew. To count takes no
//! memory and no lock that another core could hold: each worker has counts of its own, which are added up when they are told.
//! Labels are of closed sets, names of routes, and contracts of assets; never a path, a payer or a channel.
//! Source: operations.md section 2.5.

use std::{
    array,
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use super::{
    histogram::{Histogram, Snapshot},
    label::{Outcome, Rail, Reason, Verb},
    page::{Kind, Page},
};
use crate::{
    protocol::{money::Amount, stellar::ContractId},
    workers::{self, Each},
};

/// All that goes through a gateway. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Traffic(Arc<Mutex<BTreeMap<Arc<str>, Counts>>>);

/// What goes through one route. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Counts(Arc<Each<OnceLock<Box<Share>>>>);

impl Traffic {
    /// The counts of the route `name`: the same ones whenever it is asked for.
    #[must_use]
    pub fn of(&self, name: &str) -> Counts {
        let mut routes = self.routes();
        if let Some(counts) = routes.get(name) {
            return counts.clone();
        }
        routes.entry(name.into()).or_default().clone()
    }

    /// Tells all of it.
    pub fn tell(&self, page: &mut Page) {
        let routes: Vec<_> =
            self.routes().iter().map(|(name, counts)| (name.clone(), counts.clone())).collect();
        let each = || routes.iter().map(|(name, counts)| (&**name, counts));
        tell_requests(page, each());
        tell_payments(page, each());
        tell_observed(page, each());
    }

    fn routes(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Counts>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Counts a request that was answered, and how long the head of its answer took, where that says anything.
    pub fn answered(&self, verb: Verb, status: u16, took: Option<Duration>) {
        let share = self.share();
        if let Some(count) = share.answers(verb, status) {
            count.fetch_add(1, Relaxed);
        }
        if let Some(took) = took {
            share.took.note(took);
        }
    }

    /// Counts a request that was asked to pay.
    pub fn challenged(&self) {
        self.share().challenged.fetch_add(1, Relaxed);
    }

    /// Counts what became of a payment.
    pub fn ended(&self, rail: Rail, outcome: Outcome) {
        let share = self.share();
        if outcome == Outcome::NotServed {
            share.not_served.fetch_add(1, Relaxed);
        }
        share.payments(rail).count(outcome);
    }

    /// Counts a payment that does not pay.
    pub fn rejected(&self, rail: Rail, reason: Reason) {
        let share = self.share();
        share.payments(rail).count(Outcome::Rejected);
        share.payments(rail).count_reason(reason);
    }

    /// Counts a payment that bought an answer, and what it came to.
    pub fn delivered(&self, rail: Rail, asset: ContractId, amount: Amount) {
        let payments = self.share().payments(rail);
        payments.count(Outcome::Delivered);
        payments.revenue.add(asset, amount);
    }

    /// Counts an answer that a payment would have been asked for, and what it would have come to.
    pub fn observed(&self, price: Option<(ContractId, Amount)>) {
        let observed = self.share().observed.get_or_init(Box::default);
        observed.charges.fetch_add(1, Relaxed);
        if let Some((asset, amount)) = price {
            observed.sums.add(asset, amount);
        }
    }

    /// The share of the worker that this runs on.
    fn share(&self) -> &Share {
        self.0.of(workers::current()).get_or_init(Box::default)
    }

    fn shares(&self) -> impl Iterator<Item = &Share> {
        self.0.iter().filter_map(|share| share.get().map(|share| &**share))
    }

    fn payments(&self, rail: Rail) -> impl Iterator<Item = &Payments> {
        self.shares()
            .filter_map(move |share| share.payments.get(rail.place())?.get().map(|it| &**it))
    }
}

/// One worker's share of a route's counts; what is not needed takes hardly any memory.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Share {
    answers: [Statuses; Verb::ALL.len()],
    took: Histogram,
    challenged: AtomicU64,
    not_served: AtomicU64,
    payments: [OnceLock<Box<Payments>>; Rail::ALL.len()],
    observed: OnceLock<Box<Observed>>,
}

/// Counts by status, those of a hundred together.
type Statuses = [OnceLock<Box<[AtomicU64; 100]>>; 9];

#[derive(Debug, Default)]
struct Payments {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    reasons: [AtomicU64; Reason::ALL.len()],
    revenue: Sums,
}

/// What was not asked for.
#[derive(Debug, Default)]
struct Observed {
    charges: AtomicU64,
    sums: Sums,
}

/// Money, by asset.
///
/// Only whoever tells it ever meets another at the lock.
#[derive(Debug, Default)]
struct Sums(Mutex<Vec<(ContractId, u128)>>);

impl Sums {
    fn add(&self, asset: ContractId, amount: Amount) {
        let units = amount.units().unsigned_abs();
        let mut sums = self.each();
        match sums.iter_mut().find(|(known, _)| *known == asset) {
            Some((_, sum)) => *sum = sum.saturating_add(units),
            None => sums.push((asset, units)),
        }
    }

    /// All of them together.
    fn together<'s>(all: impl Iterator<Item = &'s Self>) -> BTreeMap<ContractId, u128> {
        let mut together = BTreeMap::<_, u128>::new();
        for sums in all {
            for (asset, units) in &*sums.each() {
                let sum = together.entry(*asset).or_default();
                *sum = sum.saturating_add(*units);
            }
        }
        together
    }

    fn each(&self) -> MutexGuard<'_, Vec<(ContractId, u128)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Share {
    fn answers(&self, verb: Verb, status: u16) -> Option<&AtomicU64> {
        let hundreds = usize::from(status.checked_div(100)?.checked_sub(1)?);
        let statuses = self.answers.get(verb.place())?.get(hundreds)?;
        let counts = statuses.get_or_init(|| Box::new(array::from_fn(|_| AtomicU64::default())));
        counts.get(usize::from(status.checked_rem(100)?))
    }

    fn payments(&self, rail: Rail) -> &Payments {
        let [first, ..] = &self.payments;
        self.payments.get(rail.place()).unwrap_or(first).get_or_init(Box::default)
    }
}

impl Payments {
    fn count(&self, outcome: Outcome) {
        if let Some(count) = self.outcomes.get(outcome.place()) {
            count.fetch_add(1, Relaxed);
        }
    }

    fn count_reason(&self, reason: Reason) {
        if let Some(count) = self.reasons.get(reason.place()) {
            count.fetch_add(1, Relaxed);
        }
    }
}

fn tell_requests<'c>(page: &mut Page, routes: impl Iterator<Item = (&'c str, &'c Counts)> + Clone) {
    let help =
        "Requests by route, method and status; 499 where the client went away before its answer";
    let mut family = page.family("requests_total", Kind::Counter, help);
    for (route, counts) in routes.clone() {
        for verb in Verb::ALL {
            for status in 100..1_000_u16 {
                let told = |share: &Share| {
                    let hundreds = usize::from(status.checked_div(100)?.checked_sub(1)?);
                    let counts = share.answers.get(verb.place())?.get(hundreds)?.get()?;
                    Some(counts.get(usize::from(status.checked_rem(100)?))?.load(Relaxed))
                };
                let sum = sum(counts.shares().filter_map(told));
                if sum > 0 {
                    let code = status.to_string();
                    let labels = [("route", route), ("method", verb.as_str()), ("code", &code)];
                    family.tell(&labels, sum);
                }
            }
        }
    }
    let help = "How long requests took up to the head of their answer";
    let mut family = page.family("request_duration_seconds", Kind::Histogram, help);
    for (route, counts) in routes {
        let mut snapshot = Snapshot::default();
        counts.shares().for_each(|share| snapshot.add(&share.took));
        family.tell_histogram(&[("route", route)], &snapshot);
    }
}

fn tell_payments<'c>(page: &mut Page, routes: impl Iterator<Item = (&'c str, &'c Counts)> + Clone) {
    let mut family =
        page.family("challenges_total", Kind::Counter, "Requests that were asked to pay");
    for (route, counts) in routes.clone() {
        tell_some(&mut family, &[("route", route)], counts.shares().map(|share| &share.challenged));
    }
    let help = "Payments that came with a request, by what became of them";
    let mut family = page.family("payments_total", Kind::Counter, help);
    for (route, counts) in routes.clone() {
        for (rail, outcome) in pairs(Rail::ALL, Outcome::ALL) {
            let labels =
                [("route", route), ("method", rail.as_str()), ("outcome", outcome.as_str())];
            let each = counts.payments(rail).filter_map(|one| one.outcomes.get(outcome.place()));
            tell_some(&mut family, &labels, each);
        }
    }
    let help = "Payments that do not pay, by why";
    let mut family = page.family("payment_rejections_total", Kind::Counter, help);
    for (route, counts) in routes.clone() {
        for (rail, reason) in pairs(Rail::ALL, Reason::ALL) {
            let labels = [("route", route), ("method", rail.as_str()), ("reason", reason.as_str())];
            let each = counts.payments(rail).filter_map(|one| one.reasons.get(reason.place()));
            tell_some(&mut family, &labels, each);
        }
    }
    let help = "What delivered answers came to, in the base units of the asset";
    let mut family = page.family("revenue_base_units_total", Kind::Counter, help);
    for (route, counts) in routes.clone() {
        for rail in Rail::ALL {
            let revenue = counts.payments(*rail).map(|payments| &payments.revenue);
            for (asset, units) in Sums::together(revenue) {
                let asset = asset.to_string();
                let labels = [("route", route), ("method", rail.as_str()), ("asset", &asset)];
                family.tell(&labels, units);
            }
        }
    }
    let help = "Requests whose payment had moved and that got no answer worth it; the payment may be presented again";
    let mut family = page.family("paid_not_served_total", Kind::Counter, help);
    for (route, counts) in routes {
        // Told from the first payment on, so that an alert sees it rise from 0.
        if Rail::ALL.iter().any(|rail| counts.payments(*rail).next().is_some()) {
            let each = counts.shares().map(|share| share.not_served.load(Relaxed));
            family.tell(&[("route", route)], sum(each));
        }
    }
}

fn tell_observed<'c>(page: &mut Page, routes: impl Iterator<Item = (&'c str, &'c Counts)> + Clone) {
    let observed = |counts: &'c Counts| counts.shares().filter_map(|share| share.observed.get());
    let help = "Answers of routes that observe, which would have been charged";
    let mut family = page.family("observed_charges_total", Kind::Counter, help);
    for (route, counts) in routes.clone() {
        tell_some(&mut family, &[("route", route)], observed(counts).map(|one| &one.charges));
    }
    let help = "What those would have come to by their route's first offer, in the base units of the asset";
    let mut family = page.family("observed_revenue_base_units_total", Kind::Counter, help);
    for (route, counts) in routes {
        for (asset, units) in Sums::together(observed(counts).map(|one| &one.sums)) {
            family.tell(&[("route", route), ("asset", &asset.to_string())], units);
        }
    }
}

fn tell_some<'c>(
    family: &mut super::page::Family<'_>,
    labels: &super::page::Labels<'_>,
    counts: impl Iterator<Item = &'c AtomicU64>,
) {
    let sum = sum(counts.map(|count| count.load(Relaxed)));
    if sum > 0 {
        family.tell(labels, sum);
    }
}

fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

fn pairs<A: Copy, B: Copy>(all: &[A], with: &[B]) -> impl Iterator<Item = (A, B)> {
    all.iter().flat_map(|one| with.iter().map(|other| (*one, *other)))
}

/// The name that requests count under that belong to no route.
pub const UNMATCHED: &str = "(unmatched)";
/// The name that requests count under that were refused before anybody looked for their route.
pub const EDGE: &str = "(edge)";
/// The status that a request counts under whose client went away before its answer.
pub const GONE: u16 = 499;

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn told(traffic: &Traffic) -> Vec<String> {
        let mut page = Page::default();
        traffic.tell(&mut page);
        let text = page.into_text();
        text.lines().filter(|line| !line.starts_with('#')).map(str::to_owned).collect()
    }

    #[test]
    fn what_all_threads_count_is_told_together() {
        let traffic = Traffic::default();
        let asset = ContractId([7; 32]);
        thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let counts = traffic.of("a");
                    for _ in 0..1_000 {
                        counts.answered(Verb::Get, 200, None);
                        counts.delivered(Rail::X402, asset, Amount::ONE);
                    }
                });
            }
        });
        let revenue = format!(
            r#"gateway_revenue_base_units_total{{route="a",method="x402",asset="{asset}"}} 8000"#
        );
        let expected = [
            r#"gateway_requests_total{route="a",method="GET",code="200"} 8000"#,
            r#"gateway_payments_total{route="a",method="x402",outcome="delivered"} 8000"#,
            &revenue,
            r#"gateway_paid_not_served_total{route="a"} 0"#,
        ];
        assert_eq!(told(&traffic), expected);
    }

    #[test]
    fn what_is_counted_goes_on_when_a_route_is_asked_for_again() {
        let traffic = Traffic::default();
        traffic.of("a").challenged();
        traffic.of("a").challenged();
        traffic.of("b").rejected(Rail::Unknown, Reason::Malformed);
        traffic.of("b").ended(Rail::Charge, Outcome::NotServed);
        let expected = [
            r#"gateway_challenges_total{route="a"} 2"#,
            r#"gateway_payments_total{route="b",method="mpp.charge",outcome="not_served"} 1"#,
            r#"gateway_payments_total{route="b",method="unknown",outcome="rejected"} 1"#,
            r#"gateway_payment_rejections_total{route="b",method="unknown",reason="malformed"} 1"#,
            r#"gateway_paid_not_served_total{route="b"} 1"#,
        ];
        assert_eq!(told(&traffic), expected);
    }

    #[test]
    fn what_was_not_asked_for_is_told_by_asset_to_the_unit() {
        let traffic = Traffic::default();
        let asset = ContractId([7; 32]);
        let price = Amount::from_units(i128::from(u64::MAX)).unwrap();
        for _ in 0..2 {
            traffic.of("a").observed(Some((asset, price)));
        }
        let sum = 2 * u128::from(u64::MAX);
        let expected = [
            r#"gateway_observed_charges_total{route="a"} 2"#.to_owned(),
            format!(
                r#"gateway_observed_revenue_base_units_total{{route="a",asset="{asset}"}} {sum}"#
            ),
        ];
        assert_eq!(told(&traffic), expected);
    }

    #[test]
    fn revenue_is_exact_beyond_what_a_float_holds() {
        let traffic = Traffic::default();
        let most = Amount::from_units(i128::MAX).unwrap();
        for _ in 0..2 {
            traffic.of("a").delivered(Rail::Channel, ContractId([1; 32]), most);
        }
        let told = told(&traffic).join("\n");
        assert!(told.contains("340282366920938463463374607431768211454"), "{told}");
    }
}

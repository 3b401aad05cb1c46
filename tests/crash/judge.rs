//! Compares what ledger, upstream and client say of a payment that has ended.

use std::collections::{BTreeMap, HashSet};

use crate::{
    purchase::{End, Order, Purchase, Rail, Seen},
    scenario::{Expected, Kind, Scenario},
    site::{PRICE, Site},
};

/// What was judged so far.
pub(crate) struct Judge {
    kills: usize,
    /// What the payee had at the beginning.
    before: i128,
    /// The transactions of all who were served.
    transactions: HashSet<String>,
    /// How many payments came to which end, by the scenario that they were in.
    counts: BTreeMap<String, Counts>,
    /// How many payments were killed in which state.
    states: BTreeMap<&'static str, usize>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    served: usize,
    unheard: usize,
    refused: usize,
    /// Those for which the upstream was asked twice.
    twice: usize,
}

impl Judge {
    pub(crate) fn new(site: &Site) -> Self {
        let before = site.payee_usdc();
        let (counts, states) = (BTreeMap::new(), BTreeMap::new());
        Self { kills: 0, before, transactions: HashSet::new(), counts, states }
    }

    pub(crate) const fn kills(&self) -> usize {
        self.kills
    }

    pub(crate) const fn killed(&mut self) {
        self.kills += 1;
    }

    /// Judges a payment that has ended and was presented once more after that.
    pub(crate) fn judge(&mut self, site: &Site, scenario: &Scenario, purchase: &Purchase) {
        let Expected { ends, asked, .. } = scenario.expected(purchase.order);
        let kind = self.agree(site, purchase);
        let hits = site.upstream.hits(&purchase.payer.address());
        assert!(ends.contains(&kind), "{scenario:?} {purchase:?}");
        assert!(asked.contains(&hits.asked), "{hits:?} {scenario:?} {purchase:?}");
        let Scenario { rail, point, goes_on, fate, is_absent, .. } = scenario;
        let past = if *goes_on { "past " } else { "" };
        let absent = if *is_absent { ", found out by the gateway" } else { "" };
        let name = format!("{rail:?} {:?}: {past}{point:?}, {fate:?}{absent}", purchase.order);
        self.count(name, kind, hits.asked);
        *self.states.entry(scenario.state(purchase.order)).or_default() += 1;
    }

    /// As [`Judge::judge`], for a payment that met any number of kills, each at any moment.
    pub(crate) fn judge_any(&mut self, site: &Site, purchase: &Purchase) {
        let kind = self.agree(site, purchase);
        let hits = site.upstream.hits(&purchase.payer.address());
        let is_cut = |seen: &&Seen| !matches!(seen, Seen::End(_) | Seen::Pending);
        let cuts = purchase.journal.iter().filter(is_cut).count();
        assert!(hits.asked <= 1 + cuts, "{hits:?} {purchase:?}");
        self.count(
            format!("{:?} {:?}: at any moment", purchase.rail, purchase.order),
            kind,
            hits.asked,
        );
    }

    /// What must hold of every payment; returns what became of it.
    fn agree(&mut self, site: &Site, purchase: &Purchase) -> Kind {
        let end = purchase.end().expect("it has ended");
        let hits = site.upstream.hits(&purchase.payer.address());
        let charged = site.charged(&purchase.payer);
        if let End::Served { transaction } = end {
            assert!(self.transactions.insert(transaction.clone()), "used twice: {purchase:?}");
        }
        match end {
            End::Served { .. } | End::Unheard => {
                assert_eq!(charged, 1, "{hits:?} {purchase:?}");
                assert!(hits.answered >= 1, "{hits:?} {purchase:?}");
            }
            End::Refused => assert_eq!(charged, 0, "{hits:?} {purchase:?}"),
        }
        // Nobody makes an upstream act that must be paid first.
        if purchase.order == Order::Before || purchase.rail == Rail::Pushed {
            assert_eq!(hits.uncharged, 0, "{hits:?} {purchase:?}");
        }
        // Whoever comes again afterwards gets nothing more, and one payment is never answered twice.
        let is_end = |seen: &&Seen| matches!(seen, Seen::End(_));
        let ends: Vec<&Seen> = purchase.journal.iter().filter(is_end).collect();
        let last = match end {
            End::Served { .. } | End::Unheard => Seen::End(End::Unheard),
            End::Refused => Seen::End(End::Refused),
        };
        assert!(ends.len() >= 2, "it was presented once more: {purchase:?}");
        assert!(ends[1..].iter().all(|seen| **seen == last), "{purchase:?}");
        Kind::from(end)
    }

    fn count(&mut self, name: String, kind: Kind, asked: usize) {
        let counts = self.counts.entry(name).or_default();
        match kind {
            Kind::Served => counts.served += 1,
            Kind::Unheard => counts.unheard += 1,
            Kind::Refused => counts.refused += 1,
        }
        counts.twice += usize::from(asked > 1);
    }

    /// Compares the sums, and tells what there was.
    pub(crate) fn finish(&self, site: &Site) {
        let sum = |of: fn(&Counts) -> usize| self.counts.values().map(of).sum::<usize>();
        let bought = sum(|counts| counts.served + counts.unheard);
        assert_eq!(site.payee_usdc() - self.before, PRICE * i128::try_from(bought).unwrap());
        for (name, counts) in &self.counts {
            println!("{name}: {counts:?}");
        }
        println!("payments by the state that they were killed in: {:?}", self.states);
        println!(
            "{} kills, {} payments: {} served, {} served to nobody, {} refused and not charged; the upstream was asked twice for {}",
            self.kills,
            bought + sum(|counts| counts.refused),
            sum(|counts| counts.served),
            sum(|counts| counts.unheard),
            sum(|counts| counts.refused),
            sum(|counts| counts.twice),
        );
    }
}

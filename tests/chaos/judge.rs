//! Judges a history, offline: it asks nobody, and takes nobody's word for what another one can disprove.
//!
//! Clients say what they have signed and got, the upstream what it has delivered, the store what was authorised and spent,
//! the ledger who has the money. What cannot all be true is a fault. A crash between the upstream's answer and its record
//! may cost one more delivery for that payment; those are counted.

#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, fmt};

use crate::history::{Channel, Fate, History, Request, Seen, Standing};

/// What is wrong with a history, and what there was.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    pub(crate) faults: Vec<Fault>,
    pub(crate) counts: Counts,
}

/// Something that must never be. Channels are named by their place, requests by their id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// More was served, or said to be paid, than is spent.
    Unpaid { channel: usize, kept: i128, spent: i128 },
    /// More is spent than can have been delivered.
    Overspent { channel: usize, at_most: i128, spent: i128 },
    /// More is spent than authorised.
    Overdrawn { channel: usize, standing: Standing },
    /// One commitment bought several answers.
    ServedTwice { request: u64, times: usize },
    /// The upstream was reached more often than what the clients have heard allows.
    Reached { request: u64, asked: usize, at_most: usize },
    /// The upstream delivered more often than the payment and the crashes that it met allow.
    Delivered { request: u64, answered: usize, at_most: usize },
    /// A client has an answer that the upstream never gave.
    Invented { request: u64 },
    /// A receipt says that more was authorised, or spent, than is at the end.
    Lowered { request: u64, receipt: Standing, standing: Standing },
    /// What is authorised fell between two receipts of one client.
    Fell { channel: usize, before: i128, after: i128 },
    /// Nobody has signed so much.
    NotSigned { channel: usize, authorised: i128, signed: i128 },
    /// The payee got less than was delivered.
    Underpaid { channel: usize, payout: i128, spent: i128 },
    /// What was taken is no amount that the payer has signed, or is above one that would have done.
    WrongCommitment { channel: usize, payout: i128, right: Option<i128> },
    /// The store would have collected another amount than what was paid.
    OtherCollected { channel: usize, payout: i128, collectable: i128 },
    /// The payee did not get what the payers have paid.
    Mislaid { paid: i128, received: i128 },
}

/// What there was.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) requests: usize,
    pub(crate) presented: usize,
    pub(crate) served: usize,
    /// Paid, and the answer was lost with a gateway.
    pub(crate) unheard: usize,
    pub(crate) returned: usize,
    pub(crate) forgotten: usize,
    /// How many of those are spent for: nobody can say which.
    pub(crate) forgotten_and_spent: i128,
    /// Answers of the upstream beyond what is spent: they were lost with a gateway, or held back for want of a record.
    pub(crate) extra: i128,
    /// Requests that were delivered so many times more than once.
    pub(crate) more_than_once: BTreeMap<usize, usize>,
    pub(crate) cuts: usize,
    pub(crate) unavailable: usize,
    pub(crate) refusals: BTreeMap<String, usize>,
}

/// Judges `history`, in which every request costs `price`.
pub(crate) fn judge(history: &History, price: i128) -> Verdict {
    let mut verdict = Verdict::default();
    for (number, channel) in history.channels.iter().enumerate() {
        for request in &channel.requests {
            verdict.counts.add(request);
            verdict.faults.extend(of_request(request));
            verdict.faults.extend(lowered(request, channel, price));
        }
        verdict.faults.extend(of_account(number, channel, price));
        verdict.faults.extend(of_payout(number, channel));
        let delivered: usize = channel.requests.iter().map(|request| request.hits.answered).sum();
        let paid = channel.standing.spent / price;
        verdict.counts.extra += units(delivered) - paid;
        verdict.counts.forgotten_and_spent += paid - channel.count(Fate::Kept);
    }
    let paid: i128 = history.channels.iter().map(Channel::payout).sum();
    if paid != history.received {
        verdict.faults.push(Fault::Mislaid { paid, received: history.received });
    }
    verdict
}

impl Fault {
    /// The request that it is about, if it is about one.
    pub(crate) const fn request(&self) -> Option<u64> {
        match self {
            Self::ServedTwice { request, .. }
            | Self::Reached { request, .. }
            | Self::Delivered { request, .. }
            | Self::Invented { request }
            | Self::Lowered { request, .. } => Some(*request),
            _ => None,
        }
    }
}

impl Channel {
    /// What the payee has got of it.
    fn payout(&self) -> i128 {
        self.deposit - self.refund
    }

    fn count(&self, fate: Fate) -> i128 {
        units(self.requests.iter().filter(|request| request.fate() == fate).count())
    }
}

/// What one request shows by itself.
fn of_request(request: &Request) -> Vec<Fault> {
    let Request { id, hits, seen, .. } = request;
    let mut faults = Vec::new();
    let served = request.served();
    if served > 1 {
        faults.push(Fault::ServedTwice { request: *id, times: served });
    }
    let is_forwarded =
        |seen: &&Seen| !matches!(seen, Seen::Refused(_) | Seen::Busy | Seen::Replayed(_));
    let at_most = seen.iter().filter(is_forwarded).count();
    if hits.asked > at_most {
        faults.push(Fault::Reached { request: *id, asked: hits.asked, at_most });
    }
    let at_most = served + request.cuts();
    if hits.answered > at_most {
        faults.push(Fault::Delivered { request: *id, answered: hits.answered, at_most });
    }
    if hits.answered == 0 && request.fate() == Fate::Kept {
        faults.push(Fault::Invented { request: *id });
    }
    faults
}

/// Whether a receipt says what is not so any more. What is spent when a request comes in includes others that are in flight,
/// and may be given back.
fn lowered(request: &Request, channel: &Channel, price: i128) -> Vec<Fault> {
    let standing = channel.standing;
    let returned = price * (units(channel.requests.len()) - channel.count(Fate::Kept));
    let is_lower = |receipt: &Standing| {
        receipt.authorised > standing.authorised || receipt.spent > standing.spent + returned
    };
    let receipts = request.seen.iter().filter_map(Seen::receipt).filter(is_lower);
    receipts.map(|receipt| Fault::Lowered { request: request.id, receipt, standing }).collect()
}

/// What the account and the clients say.
fn of_account(number: usize, channel: &Channel, price: i128) -> Vec<Fault> {
    let mut faults = Vec::new();
    let Standing { authorised, spent } = channel.standing;
    let kept = price * channel.count(Fate::Kept);
    let at_most = kept + price * channel.count(Fate::Forgotten);
    if kept > spent {
        faults.push(Fault::Unpaid { channel: number, kept, spent });
    }
    if spent > at_most {
        faults.push(Fault::Overspent { channel: number, at_most, spent });
    }
    if spent > authorised || authorised > channel.deposit {
        faults.push(Fault::Overdrawn { channel: number, standing: channel.standing });
    }
    let signed = channel.requests.iter().map(|request| request.commitment).max().unwrap_or(0);
    if authorised > signed {
        faults.push(Fault::NotSigned { channel: number, authorised, signed });
    }
    for heard in &channel.receipts {
        let falls = heard.windows(2).filter(|pair| pair[1].authorised < pair[0].authorised);
        faults.extend(falls.map(|pair| Fault::Fell {
            channel: number,
            before: pair[0].authorised,
            after: pair[1].authorised,
        }));
    }
    faults
}

/// What the ledger and the payer say.
fn of_payout(number: usize, channel: &Channel) -> Vec<Fault> {
    let mut faults = Vec::new();
    let (payout, spent) = (channel.payout(), channel.standing.spent);
    if payout < spent {
        faults.push(Fault::Underpaid { channel: number, payout, spent });
    }
    let is_signed = channel.requests.iter().any(|request| request.commitment == payout);
    let covers = |request: &&Request| request.is_accepted() && request.commitment >= spent;
    let covering = channel.requests.iter().filter(covers).map(|request| request.commitment);
    let right = covering.clone().min().filter(|_| spent > 0);
    // So many are held at a time; of more, one in between may have been dropped.
    let is_larger = right.is_some_and(|right| right < payout) && covering.count() <= MOST_HELD;
    if (payout != 0 && !is_signed) || is_larger {
        faults.push(Fault::WrongCommitment { channel: number, payout, right });
    }
    if let Some(collectable) = channel.collectable.filter(|collectable| *collectable != payout) {
        faults.push(Fault::OtherCollected { channel: number, payout, collectable });
    }
    faults
}

impl Counts {
    fn add(&mut self, request: &Request) {
        self.requests += 1;
        self.presented += request.seen.len();
        self.served += request.served().min(1);
        match request.fate() {
            Fate::Kept => self.unheard += usize::from(request.served() == 0),
            Fate::Returned => self.returned += 1,
            Fate::Forgotten => self.forgotten += 1,
        }
        if request.hits.answered > 1 {
            *self.more_than_once.entry(request.hits.answered - 1).or_default() += 1;
        }
        for seen in &request.seen {
            match seen {
                Seen::Cut => self.cuts += 1,
                Seen::Fault => self.unavailable += 1,
                Seen::Refused(reason) => *self.refusals.entry(reason.clone()).or_default() += 1,
                Seen::Busy | Seen::Failed | Seen::Served(_) | Seen::Replayed(_) => {}
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} requests, presented {} times: {} served, {} paid and lost on their way, {} paid nothing, {} forgotten, \
             {} of them spent for; {} connections cut, {} times unavailable; the upstream answered {} times more than is paid \
             for, {:?} so many times more than once; refused: {:?}",
            self.requests,
            self.presented,
            self.served,
            self.unheard,
            self.returned,
            self.forgotten,
            self.forgotten_and_spent,
            self.cuts,
            self.unavailable,
            self.extra,
            self.more_than_once,
            self.refusals,
        )
    }
}

fn units(count: usize) -> i128 {
    i128::try_from(count).unwrap()
}

/// Commitments that a gateway holds of one channel at once.
const MOST_HELD: usize = 60;

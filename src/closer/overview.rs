//! What channels owe and hold: for operators.

use std::collections::BTreeMap;

use super::{Closer, Inner, plan::LEDGER_SECONDS};
use crate::{
    ledger::channels::View,
    protocol::{
        money::Amount,
        stellar::{ContractId, TxHash},
    },
    store::{
        self,
        channel::{Listed, Phase, Summary},
    },
};

/// Where one channel stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The channel.
    pub channel: ContractId,
    /// The token that it pays in, if it was seen on the ledger.
    pub token: Option<ContractId>,
    /// The highest commitment held.
    pub authorised: Amount,
    /// The value of what was delivered or is in flight.
    pub spent: Amount,
    /// The value of what was delivered.
    pub delivered: Amount,
    /// What was withdrawn.
    pub settled: Amount,
    /// What was delivered and is not withdrawn.
    pub at_risk: Amount,
    /// All that was ever paid in, if it was seen on the ledger.
    pub deposited: Option<Amount>,
    /// How far its life has come.
    pub phase: Phase,
    /// The transaction that may be on its way to collect.
    pub collecting: Option<TxHash>,
    /// From when its payer may take back what is left, if a close has begun.
    pub deadline: Option<Deadline>,
    /// Since when something is unsettled, in seconds since 1970.
    pub unsettled_since: Option<u64>,
    /// When it was last paid from, in seconds since 1970.
    pub used_at: u64,
    /// The last ledger in which its entries live, if it was seen on the ledger.
    pub live_until: Option<u32>,
}

/// Where all channels stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Standings {
    /// Each, in the order of their addresses.
    pub channels: Vec<Standing>,
    /// Those whose accounts cannot be read: nothing is collected from them.
    pub unreadable: Vec<ContractId>,
}

/// From when a payer may take back what is left in a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// The ledger.
    pub ledger: u32,
    /// In how many seconds that closes, about.
    pub seconds: u64,
}

/// What all channels owe together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exposure {
    /// Channels that pay.
    pub open: u64,
    /// Channels that are being closed.
    pub closing: u64,
    /// Channels that are closed.
    pub closed: u64,
    /// Channels whose accounts cannot be read.
    pub unreadable: u64,
    /// What was delivered and is not withdrawn, in base units of whatever they pay in.
    pub at_risk: Amount,
    /// The soonest deadline of a channel of which something is at risk.
    pub deadline: Option<Deadline>,
    /// By token, of channels that are not closed; of those that were not seen on the ledger under `None`.
    pub assets: BTreeMap<Option<ContractId>, Owed>,
}

/// What channels of one token owe together, in its base units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owed {
    /// The highest commitments held.
    pub authorised: Amount,
    /// The value of what was delivered or is in flight.
    pub spent: Amount,
    /// What was withdrawn.
    pub withdrawn: Amount,
    /// What was delivered and is not withdrawn.
    pub at_risk: Amount,
}

impl Closer {
    /// Where every channel stands, in the order of their addresses.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn list(&self) -> Result<Standings, store::Error> {
        let mut all = Standings::default();
        let mut after = None;
        loop {
            let page = self.0.store.accounts(after).await?;
            all.channels.extend(page.accounts.iter().map(|listed| self.0.standing(listed)));
            all.unreadable.extend(page.unreadable);
            after = page.next;
            if after.is_none() {
                return Ok(all);
            }
        }
    }

    /// Where one channel stands; `None` if nothing was ever paid from it.
    ///
    /// # Errors
    /// Those of the store.
    pub async fn show(&self, channel: ContractId) -> Result<Option<Standing>, store::Error> {
        let account = self.0.store.account(channel).await?;
        Ok(account.map(|account| self.0.standing(&Listed { channel, summary: account.summary() })))
    }
}

impl Inner {
    fn standing(&self, listed: &Listed) -> Standing {
        let Listed { channel, summary: account } = listed;
        let view = self.channels.seen(*channel);
        let view = view.as_deref();
        let standing = account.standing();
        Standing {
            channel: *channel,
            token: view.map(|view| view.token),
            authorised: standing.authorised,
            spent: standing.spent,
            delivered: account.delivered(),
            settled: account.withdrawn(),
            at_risk: account.at_risk(),
            deposited: view.map(View::deposited),
            phase: account.phase(),
            collecting: account.collection().map(|collection| collection.transaction),
            deadline: view.and_then(Deadline::of),
            unsettled_since: account.unsettled_since(),
            used_at: account.used_at(),
            live_until: view.map(|view| view.live_until),
        }
    }
}

impl Deadline {
    fn of(view: &View) -> Option<Self> {
        let ledger = view.close_effective_at?;
        let ledgers = u64::from(ledger.saturating_sub(view.ledger));
        Some(Self { ledger, seconds: ledgers.saturating_mul(LEDGER_SECONDS) })
    }
}

impl Exposure {
    pub(super) fn add(
        &mut self,
        account: &Summary,
        token: Option<ContractId>,
        view: Option<&View>,
    ) {
        let count = match account.phase() {
            Phase::Open => &mut self.open,
            Phase::Closing => &mut self.closing,
            Phase::Closed { .. } => {
                self.closed = self.closed.saturating_add(1);
                return;
            }
        };
        *count = count.saturating_add(1);
        let at_risk = account.at_risk();
        let owed = self.assets.entry(token).or_default();
        owed.add(account);
        if at_risk.is_zero() {
            return;
        }
        self.at_risk = self.at_risk.checked_add(at_risk).unwrap_or(self.at_risk);
        let soonest = |a: Deadline, b: Deadline| if a.seconds <= b.seconds { a } else { b };
        self.deadline = match (self.deadline, view.and_then(Deadline::of)) {
            (Some(a), Some(b)) => Some(soonest(a, b)),
            (a, b) => a.or(b),
        };
    }
}

impl Owed {
    fn add(&mut self, account: &Summary) {
        let standing = account.standing();
        let add = |sum: &mut Amount, part| *sum = sum.checked_add(part).unwrap_or(*sum);
        add(&mut self.authorised, standing.authorised);
        add(&mut self.spent, standing.spent);
        add(&mut self.withdrawn, account.withdrawn());
        add(&mut self.at_risk, account.at_risk());
    }
}

//! Everything there is in the model of a channel's life.

use tollgate::{
    protocol::{money::Amount, stellar::TxHash},
    store::channel::Account,
};

/// One moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) ledger: Ledger,
    /// The number of the ledger.
    pub(crate) time: u8,
    pub(crate) account: Account,
    /// The ledger as the gateway has last seen it.
    pub(crate) view: View,
    pub(crate) requests: [Request; CREDENTIALS],
    /// Transactions that collect, in the order in which they were sent.
    pub(crate) sent: Vec<Sent>,
    /// Whether somebody has asked the gateway to close the channel.
    pub(crate) is_asked_to_close: bool,
    pub(crate) left: Left,
    pub(crate) seen: Seen,
}

/// The channel, as its contract has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ledger {
    /// All that was ever put in.
    pub(crate) deposited: i128,
    pub(crate) withdrawn: i128,
    /// From when on the payer may take what is left.
    pub(crate) effective_at: Option<u8>,
    pub(crate) is_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct View {
    pub(crate) at: u8,
    pub(crate) deposited: i128,
    pub(crate) withdrawn: i128,
    pub(crate) effective_at: Option<u8>,
    pub(crate) is_ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Request {
    NotYet,
    InFlight {
        since: u8,
    },
    Served,
    /// It got no answer, and was not charged.
    Refused,
}

/// A transaction that collects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Sent {
    pub(crate) number: u8,
    pub(crate) closes: bool,
    pub(crate) amount: Amount,
    pub(crate) until: u8,
    /// It does not arrive, which nobody knows before its time is over.
    pub(crate) is_lost: bool,
    /// Whether it landed, once that is certain.
    pub(crate) fate: Option<bool>,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Left {
    pub(crate) top_ups: u8,
    pub(crate) close_starts: u8,
    /// Transactions that do not arrive.
    pub(crate) losses: u8,
    /// Deaths of the gateway.
    pub(crate) deaths: u8,
    /// Requests that the upstream does not deliver.
    pub(crate) failures: u8,
    /// Settlements that are not due.
    pub(crate) settlements: u8,
    /// Times that it is asked to close the channel.
    pub(crate) closes: u8,
}

/// What has happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Seen {
    pub(crate) refused: bool,
    /// An answer did not leave, since it could not be recorded any more.
    pub(crate) held_back: bool,
    /// A transaction was found not to have landed.
    pub(crate) lost: bool,
    /// The contract has refused a commitment.
    pub(crate) trapped: bool,
    /// What was authorised was once more than it is.
    pub(crate) fell: bool,
}

impl State {
    pub(crate) fn new(requests: usize, left: Left) -> Self {
        let ledger = Ledger { deposited: 2, withdrawn: 0, effective_at: None, is_ended: false };
        let Ledger { deposited, withdrawn, effective_at, is_ended } = ledger;
        let mut all = [Request::Refused; CREDENTIALS];
        all[..requests].fill(Request::NotYet);
        Self {
            ledger,
            time: 0,
            account: Account::default(),
            view: View { at: 0, deposited, withdrawn, effective_at, is_ended },
            requests: all,
            sent: Vec::new(),
            is_asked_to_close: false,
            left,
            seen: Seen::default(),
        }
    }

    /// The value of what was served; every request costs one unit.
    pub(crate) fn sold(&self) -> i128 {
        let served = self.requests.iter().filter(|request| **request == Request::Served);
        i128::try_from(served.count()).unwrap()
    }

    pub(crate) fn watch(&mut self) {
        let Ledger { deposited, withdrawn, effective_at, is_ended } = self.ledger;
        self.view = View { at: self.time, deposited, withdrawn, effective_at, is_ended };
    }

    /// The contract pays out all that the commitment is above what was withdrawn, or nothing at all.
    pub(crate) fn land(&mut self, transaction: usize) {
        let Sent { closes, amount, .. } = self.sent[transaction];
        let ledger = &mut self.ledger;
        let amount = amount.units();
        let is_good = !ledger.is_ended && (ledger.withdrawn..=ledger.deposited).contains(&amount);
        if is_good {
            ledger.withdrawn = amount;
            ledger.is_ended = closes;
        }
        self.sent[transaction].fate = Some(is_good);
        self.seen.trapped |= !is_good && !ledger.is_ended;
    }

    /// The next ledger. What can land no more has not landed.
    pub(crate) fn tick(&mut self) {
        self.time += 1;
        for sent in &mut self.sent {
            if sent.until < self.time && sent.fate.is_none() {
                sent.fate = Some(false);
            }
        }
    }
}

impl Ledger {
    pub(crate) const fn refund(&mut self) {
        self.is_ended = true;
    }
}

impl Sent {
    pub(crate) const fn hash(&self) -> TxHash {
        hash(self.number)
    }
}

pub(crate) const fn hash(number: u8) -> TxHash {
    TxHash([number; 32])
}

pub(crate) fn units(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}

/// Requests, each with a credential of its own.
pub(crate) const CREDENTIALS: usize = 3;

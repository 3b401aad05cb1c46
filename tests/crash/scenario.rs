//! The states in which a gateway is killed, what becomes of the transaction then, and what must come of the payment.

use std::ops::RangeInclusive;

use tollgate_sandbox::Method as Rpc;

use crate::purchase::{End, Order, Rail};

/// In which state of its payments a gateway is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Point {
    /// Checked, and claimed if it is pulled: the ledger is being asked about it.
    Verifying,
    /// Verified: the transaction is being made. In `after` the upstream has answered.
    Preparing,
    /// The submission is recorded, and not sent.
    Recorded,
    /// It is sent, and the gateway does not know.
    Sent,
    /// It is sent, and the gateway asks what became of it.
    Polling,
    /// The upstream has the request. In `after` nothing is settled yet; in `before`, and where it was pushed, it is.
    Answering,
    /// Delivered: the answer is on its way.
    Streaming,
    /// The client has the whole answer.
    Read,
}

/// What becomes of the transaction of a payment that was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Fate {
    /// It has landed when the next gateway starts.
    Early,
    /// It has landed, and the next gateway starts when the payer's authorization has ended.
    Overdue,
    /// It lands after somebody has asked the next gateway for it.
    Late,
    /// It never lands.
    Never,
}

/// One way of being killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Scenario {
    pub(crate) rail: Rail,
    pub(crate) point: Point,
    /// Whether the payment goes on from the point for a moment, to anywhere on the way to the next.
    pub(crate) goes_on: bool,
    pub(crate) fate: Fate,
    /// Whether the clients stay away until the next gateway has found out by itself, and was killed in its turn.
    pub(crate) is_absent: bool,
    /// Whether the next gateway is killed while it starts.
    pub(crate) falls_twice: bool,
}

/// What must come of a payment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expected {
    /// Whether the killed gateway has left it pending; `None` if either may be.
    pub(crate) pending: Option<bool>,
    pub(crate) ends: &'static [Kind],
    /// How many requests reach the upstream.
    pub(crate) asked: RangeInclusive<usize>,
}

/// An [`End`] without its details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Served,
    Unheard,
    Refused,
}

impl Scenario {
    /// Every way in which payments of `rail` can be killed.
    pub(crate) fn all(rail: Rail) -> Vec<Self> {
        use Fate::{Early, Late, Never, Overdue};
        use Point::{Answering, Polling, Preparing, Read, Recorded, Sent, Streaming, Verifying};
        let exact = match rail {
            Rail::Pushed => &[
                (Verifying, Early),
                (Verifying, Late),
                (Answering, Early),
                (Streaming, Early),
                (Read, Early),
            ][..],
            _ => &[
                (Verifying, Early),
                (Preparing, Early),
                (Recorded, Early),
                (Recorded, Never),
                (Sent, Early),
                (Sent, Never),
                (Sent, Late),
                (Sent, Overdue),
                (Polling, Early),
                (Polling, Late),
                (Answering, Early),
                (Streaming, Early),
                (Read, Early),
            ],
        };
        let past = match rail {
            Rail::Pushed => &[Verifying, Answering, Streaming][..],
            _ => &[Verifying, Sent, Polling, Answering, Streaming],
        };
        let exact = exact.iter().map(|(point, fate)| (*point, false, *fate));
        exact
            .chain(past.iter().map(|point| (*point, true, Early)))
            .map(|(point, goes_on, fate)| Self {
                rail,
                point,
                goes_on,
                fate,
                is_absent: false,
                falls_twice: false,
            })
            .collect()
    }

    /// The same, with clients that stay away where the next gateway can find out without them.
    pub(crate) fn without_clients(self) -> Self {
        let is_pending = matches!(self.point, Point::Recorded | Point::Sent | Point::Polling);
        let is_known = match self.fate {
            Fate::Early | Fate::Overdue => true,
            Fate::Late => false,
            // What its payer has signed whole can land until its time is up, which no test waits for.
            Fate::Never => self.rail.is_own(),
        };
        Self { is_absent: is_pending && is_known && !self.goes_on, ..self }
    }

    /// Whether the scenario says when ledgers close, and not the transactions that come.
    pub(crate) fn closes_by_hand(&self) -> bool {
        let is_on_its_way = matches!(self.point, Point::Recorded | Point::Sent | Point::Polling);
        self.fate != Fate::Early || (is_on_its_way && !self.goes_on)
    }

    /// What the gateway asks the ledger when it is stopped, if that is what it is about.
    pub(crate) fn call(&self) -> Option<Rpc> {
        match self.point {
            Point::Verifying if self.rail == Rail::Pushed => Some(Rpc::GetTransaction),
            Point::Verifying => Some(Rpc::SimulateTransaction),
            // It asks for the latest ledger, which any answer about a transaction tells.
            Point::Preparing if self.rail == Rail::Relayed => Some(Rpc::GetTransaction),
            Point::Preparing => Some(Rpc::SimulateTransaction),
            Point::Recorded | Point::Sent => Some(Rpc::SendTransaction),
            Point::Polling => Some(Rpc::GetTransaction),
            Point::Answering | Point::Streaming | Point::Read => None,
        }
    }

    /// In which state of its claim a payment in `order` is when the gateway is killed.
    pub(crate) fn state(&self, order: Order) -> &'static str {
        let is_settled = order == Order::Before || self.rail == Rail::Pushed;
        match self.point {
            _ if self.goes_on => "between two states",
            Point::Verifying if self.rail == Rail::Pushed => "not claimed yet",
            Point::Verifying | Point::Preparing => "claimed",
            Point::Answering if !is_settled => "claimed",
            Point::Recorded | Point::Sent | Point::Polling => "submitting",
            Point::Answering => "settled",
            Point::Streaming | Point::Read => "delivered",
        }
    }

    /// What must come of a payment in `order`.
    pub(crate) fn expected(&self, order: Order) -> Expected {
        use Kind::{Refused, Served, Unheard};
        use Point::{Answering, Polling, Preparing, Read, Recorded, Sent, Streaming, Verifying};
        let is_pushed = self.rail == Rail::Pushed;
        // In `after` the upstream has answered once before anything is sent.
        let at_first = usize::from(order == Order::After);
        let (pending, ends, least, most): (_, &'static [Kind], _, _) = match self.point {
            Streaming if self.goes_on => (Some(false), &[Served, Unheard], 1, 1),
            Verifying | Answering if self.goes_on && is_pushed => {
                (Some(false), &[Served, Unheard], 1, 2)
            }
            Answering if self.goes_on && order == Order::Before => {
                (Some(false), &[Served, Unheard], 1, 2)
            }
            // It may come to be recorded, and be killed before it is sent.
            Verifying | Answering if self.goes_on => (None, &[Served, Unheard, Refused], 0, 2),
            _ if self.goes_on => (None, &[Served, Unheard], 1, 2),
            Verifying | Read => (Some(false), &[Served], 1, 1),
            // The gateway's keeper asks the ledger as often, so one of the payments may still be on its way here.
            Preparing if self.rail == Rail::Relayed => (Some(false), &[Served], 1, 1 + at_first),
            Preparing => (Some(false), &[Served], 1 + at_first, 1 + at_first),
            Recorded | Sent | Polling if self.fate == Fate::Never => {
                (Some(true), &[Refused], at_first, at_first)
            }
            Recorded | Sent | Polling => (Some(true), &[Served], 1 + at_first, 1 + at_first),
            Answering => (Some(false), &[Served], 2, 2),
            Streaming => (Some(false), &[Unheard], 1, 1),
        };
        Expected { pending, ends, asked: least..=most }
    }
}

impl From<&End> for Kind {
    fn from(end: &End) -> Self {
        match end {
            End::Served { .. } => Self::Served,
            End::Unheard => Self::Unheard,
            End::Refused => Self::Refused,
        }
    }
}

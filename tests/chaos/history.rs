//! What there is to judge by: what clients have signed and heard, what reached the upstream, what the store and the ledger
//! say at the end.

use crate::judge::Fault;

/// Everything that happened.
#[derive(Clone, Debug, Default)]
pub(crate) struct History {
    pub(crate) channels: Vec<Channel>,
    /// What the payee has got, as its balance tells.
    pub(crate) received: i128,
}

/// One channel, and all that was asked for through it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Channel {
    pub(crate) deposit: i128,
    pub(crate) requests: Vec<Request>,
    /// Of each client, what the receipts said that it got, in their order.
    pub(crate) receipts: Vec<Vec<Standing>>,
    /// Where the account stands when everybody has gone and nothing is in flight.
    pub(crate) standing: Standing,
    /// The commitment that would be collected then, if there is something to collect.
    pub(crate) collectable: Option<i128>,
    /// What its payer has got back, once it is closed.
    pub(crate) refund: i128,
}

/// What a channel has authorised and spent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) authorised: i128,
    pub(crate) spent: i128,
}

/// One request, paid with one commitment, however often that was presented.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// Its target names it, so the upstream knows it by this.
    pub(crate) id: u64,
    /// The amount that was signed.
    pub(crate) commitment: i128,
    /// What came of each time that it was presented.
    pub(crate) seen: Vec<Seen>,
    pub(crate) hits: Hits,
}

/// What a client sees of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// Nothing, or not all of it: the connection broke.
    Cut,
    /// 409: another request with this commitment is under way.
    Busy,
    /// 503.
    Fault,
    /// The upstream's answer, which costs nothing.
    Failed,
    /// 402, for this reason.
    Refused(String),
    /// The answer, and what its receipt says.
    Served(Standing),
    /// That it was paid for before, and no answer.
    Replayed(Standing),
}

/// What reached the upstream of one request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Hits {
    /// How often it came.
    pub(crate) asked: usize,
    /// How often it was answered with what costs something; whether that answer arrived, the upstream does not know.
    pub(crate) answered: usize,
}

/// What became of a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It bought its answer.
    Kept,
    /// It bought nothing.
    Returned,
    /// The client was never told, and it is so long ago that the gateway does not know either.
    Forgotten,
}

impl History {
    /// The request that a fault is about, if it is about one.
    pub(crate) fn request_of(&self, fault: &Fault) -> Option<&Request> {
        let id = fault.request()?;
        self.channels.iter().flat_map(|channel| &channel.requests).find(|request| request.id == id)
    }
}

impl Request {
    pub(crate) fn fate(&self) -> Fate {
        let is_doubtful = |seen: &Seen| matches!(seen, Seen::Cut | Seen::Busy | Seen::Fault);
        if self.seen.iter().any(Seen::is_paid) {
            return Fate::Kept;
        }
        let is_known = match self.seen.last() {
            Some(Seen::Failed) | None => true,
            Some(Seen::Refused(reason)) if reason == "commitment_used" => true,
            Some(_) => self.hits.answered == 0 || !self.seen.iter().any(is_doubtful),
        };
        if is_known { Fate::Returned } else { Fate::Forgotten }
    }

    /// Whether presenting it again could yet tell more.
    pub(crate) fn is_open(&self) -> bool {
        matches!(self.seen.last(), Some(Seen::Cut | Seen::Busy | Seen::Fault) | None)
    }

    /// How often it was answered.
    pub(crate) fn served(&self) -> usize {
        self.seen.iter().filter(|seen| matches!(seen, Seen::Served(_))).count()
    }

    /// How often nobody can tell from the client's side what had happened.
    pub(crate) fn cuts(&self) -> usize {
        self.seen.iter().filter(|seen| matches!(seen, Seen::Cut | Seen::Fault)).count()
    }

    /// Whether a gateway has surely taken the commitment.
    pub(crate) fn is_accepted(&self) -> bool {
        self.seen.iter().any(|seen| {
            matches!(seen, Seen::Served(_) | Seen::Replayed(_) | Seen::Failed | Seen::Busy)
        }) || self.hits.asked > 0
    }
}

impl Seen {
    pub(crate) const fn is_paid(&self) -> bool {
        matches!(self, Self::Served(_) | Self::Replayed(_))
    }

    pub(crate) const fn receipt(&self) -> Option<Standing> {
        match self {
            Self::Served(standing) | Self::Replayed(standing) => Some(*standing),
            _ => None,
        }
    }
}

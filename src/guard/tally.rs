//! What is counted of a payment, and noted for the line of its request.

use http::Extensions;

use crate::{
    pay::{
        Denied, FaultKind, Method as _, Refusal, RefusalKind, Worth, channel::Channel,
        charge::Charge, methods::Credential, x402::X402,
    },
    route::Route,
    telemetry::{
        access::Ticket,
        label::{Outcome, Rail, Reason},
        traffic::Counts,
    },
};

/// Where the outcome of one payment is counted and noted.
#[derive(Clone)]
pub(super) struct Tally {
    counts: Counts,
    rail: Rail,
    ticket: Option<Ticket>,
}

impl Tally {
    /// Of a payment by `rail`, with a request to `route` that has these extensions.
    pub(super) fn new(route: &Route, rail: Rail, extensions: &Extensions) -> Self {
        let ticket = extensions.get::<Ticket>().cloned();
        Self { counts: route.counts.clone(), rail, ticket }
    }

    /// It ended so.
    pub(super) fn ended(&self, outcome: Outcome) {
        self.counts.ended(self.rail, outcome);
        self.note(outcome, None);
    }

    /// Its request was not served.
    pub(super) fn unserved(&self, has_paid: bool, worth: Worth) {
        let outcome = if has_paid { Outcome::NotServed } else { Outcome::Returned };
        self.counts.ended(self.rail, outcome);
        self.note(outcome, Some(worth));
    }

    /// It bought an answer.
    pub(super) fn delivered(&self, worth: Worth) {
        self.counts.delivered(self.rail, worth.asset, worth.amount);
        self.note(Outcome::Delivered, Some(worth));
    }

    /// It was denied.
    pub(super) fn denied(&self, denied: &Denied) {
        match denied {
            Denied::Refused(refusal) => self.refused(refusal),
            Denied::Failed(fault) => self.ended(match fault.kind {
                FaultKind::Unavailable => Outcome::Failed,
                FaultKind::Pending { .. } => Outcome::Pending,
            }),
            Denied::Replayed(_) => self.ended(Outcome::Replayed),
            Denied::Later(_) => self.ended(Outcome::TurnedAway),
        }
    }

    /// It was refused.
    pub(super) fn refused(&self, refusal: &Refusal) {
        if let Some(reason) = reason_of(refusal.kind) {
            self.counts.rejected(self.rail, reason);
            self.note(Outcome::Rejected, None);
        }
    }

    fn note(&self, outcome: Outcome, worth: Option<Worth>) {
        if let Some(ticket) = &self.ticket {
            ticket.note_payment(self.rail, outcome, worth);
        }
    }
}

/// Notes that a request with these extensions pays nothing, and was told so.
pub(super) fn note_unpaid(extensions: &Extensions) {
    if let Some(ticket) = extensions.get::<Ticket>() {
        ticket.note_unpaid();
    }
}

/// What a payment with this credential counts under.
pub(super) const fn rail_of(credential: &Credential) -> Rail {
    match credential {
        Credential::X402(..) => X402::RAIL,
        Credential::Charge(..) => Charge::RAIL,
        Credential::Channel(..) => Channel::RAIL,
    }
}

/// `None` of what is said to those who do not pay.
const fn reason_of(kind: RefusalKind) -> Option<Reason> {
    Some(match kind {
        RefusalKind::Unpaid => return None,
        RefusalKind::Malformed => Reason::Malformed,
        RefusalKind::NotOffered => Reason::NotOffered,
        RefusalKind::Expired => Reason::Expired,
        RefusalKind::InvalidPayload => Reason::InvalidPayload,
        RefusalKind::Invalid => Reason::Invalid,
        RefusalKind::BadSignature => Reason::BadSignature,
        RefusalKind::DeltaTooSmall => Reason::DeltaTooSmall,
        RefusalKind::InsufficientBalance => Reason::InsufficientBalance,
        RefusalKind::OverDeposit => Reason::OverDeposit,
        RefusalKind::ChannelRejected => Reason::ChannelRejected,
        RefusalKind::ChannelEnded => Reason::ChannelEnded,
        RefusalKind::SettlementFailed => Reason::SettlementFailed,
        RefusalKind::Ambiguous => Reason::Ambiguous,
        RefusalKind::InUse => Reason::InUse,
        RefusalKind::IdentifierTaken => Reason::IdentifierTaken,
    })
}

//! What is said to a request that pays nothing, or not as it should, or that nothing can be taken from now.

use http::{Response, StatusCode};
use http_body_util::Either;
use tracing::{debug, warn};

use super::{Body, Guard, callers::too_often, obstacle::Money, own, paid, problem::Problem};
use crate::{
    pay::{
        Denied, Draw, Fault, FaultKind, Refusal, RefusalKind, Terms, channel::Named, methods::Asked,
    },
    route::Route,
};

/// Of a request without a payment.
pub(super) fn unpaid() -> Refusal {
    Refusal::new(
        RefusalKind::Unpaid,
        "Payment required",
        "this resource costs money: pay as the challenge in the headers says, and send the request again",
    )
}

/// Of a request that could be paid if it named a channel.
pub(super) fn unnamed() -> Refusal {
    Refusal::new(
        RefusalKind::Unpaid,
        "channel_not_named",
        "this resource is paid from a payment channel: name yours in the header `Payment-Channel: C…`, and the answer \
         says what to commit to",
    )
}

impl<F> Guard<F> {
    /// The answer to a request whose payment did not open the valve.
    pub(super) async fn denied<B>(
        &self,
        route: &Route,
        asked: &Asked,
        denied: Denied,
    ) -> Response<Body<B>> {
        match denied {
            Denied::Refused(refusal) => match self.count_refusal(route, asked.asker.address) {
                Some(problem) => own(problem),
                None => own(self.refused(route, asked, refusal).await),
            },
            Denied::Failed(fault) => own(faulty(&asked.terms, &fault)),
            Denied::Replayed(replay) => paid::replayed(*replay).map(Either::Left),
            Denied::Later(wait) => own(too_often(wait, Money::Unknown)),
        }
    }

    /// A 402 carries fresh challenges, whatever was refused; where no payment can be taken now, the fault is ours.
    ///
    /// Asked here and not before a payment is looked at: one that is pending, or settled, is no new one.
    pub(super) async fn refused(&self, route: &Route, asked: &Asked, refusal: Refusal) -> Problem {
        debug!(route = %asked.terms.route, reason = %refusal.reason, "payment refused");
        // A request that pays nothing is told first what is wrong with the channel that it names.
        let is_unpaid = refusal.kind == RefusalKind::Unpaid;
        let (channel, refusal) = match self.methods.named(asked).await {
            Ok(None) if is_unpaid && asked.terms.takes_channels_only() => (None, unnamed()),
            Ok(channel) => (channel, refusal),
            Err(Denied::Refused(of_channel)) if is_unpaid => (None, of_channel),
            Err(Denied::Failed(fault)) if asked.terms.takes_channels_only() => {
                return faulty(&asked.terms, &fault);
            }
            Err(_) => (None, refusal),
        };
        let reason = refusal.reason.clone();
        let problem = Problem::from(refusal);
        if problem.status() != StatusCode::PAYMENT_REQUIRED {
            return problem;
        }
        match self.methods.ready(&asked.terms) {
            Ok(()) => {
                route.counts.challenged();
                self.challenges(problem, asked, channel, &reason)
            }
            Err(fault) => faulty(&asked.terms, &fault),
        }
    }

    fn challenges(
        &self,
        problem: Problem,
        asked: &Asked,
        channel: Option<Named>,
        reason: &str,
    ) -> Problem {
        let draw = Draw { channel, ..Draw::now(&self.clock) };
        let challenges = self.methods.challenges(asked, &draw, reason);
        let id = challenges.iter().find_map(|challenge| challenge.id.clone());
        let problem = challenges.into_iter().fold(problem, |problem, challenge| {
            problem.with_header(challenge.header.0, challenge.header.1)
        });
        match id {
            Some(id) => problem.with_member("challengeId", id),
            None => problem,
        }
    }
}

/// Of a fault that is ours, or a dependency's.
pub(super) fn faulty(terms: &Terms, fault: &Fault) -> Problem {
    match fault.kind {
        FaultKind::Pending { transaction } => {
            warn!(route = %terms.route, ?transaction, detail = %fault.detail, "settlement pending");
        }
        FaultKind::Unavailable => {
            warn!(route = %terms.route, detail = %fault.detail, "payments unavailable");
        }
    }
    Problem::from(fault)
}

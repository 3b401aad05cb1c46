//! What the verbs of claims do to their records. The rules of a claim's life are [`claim`]'s; here is who holds it.

use super::{
    record::{Claimed, Holder},
    transaction::Draft,
};
use crate::store::{
    Claim, ClaimKey, Error, Outcome, Settled, Submitting, TakenBy, TakenState,
    channel::Token,
    claim::{self, After, Presented, State, Step},
};

/// Which hold on which claim.
#[derive(Clone, Copy, Debug)]
pub(super) struct Permit {
    pub(super) key: ClaimKey,
    pub(super) alias: Option<ClaimKey>,
    pub(super) token: Token,
}

/// As [`super::super::Claiming`], without its ticket.
#[derive(Debug)]
pub(super) enum Answer {
    Fresh,
    Redeliver(Settled),
    InFlight,
    AliasTaken(TakenBy),
    Presented(Presented),
}

/// Has `claim` held by `token`, if it may be.
pub(super) fn claim(draft: &mut Draft<'_>, claim: &Claim, token: Token) -> Result<Answer, Error> {
    draft.facts.time.tell(claim.now);
    let now = draft.facts.server_now;
    if let Some(other) = taken_by(draft, claim)? {
        return Ok(Answer::AliasTaken(other));
    }
    let found = draft.claimed(claim.key)?;
    if let Some(claimed) = &found
        && claimed.is_held(now)
    {
        let same = claimed.origin.is_of(claim);
        return Ok(if same {
            Answer::InFlight
        } else {
            Answer::Presented(Presented::OtherRequest)
        });
    }
    let holder = Some(hold(draft, token));
    match found.as_ref().and_then(Claimed::record) {
        None => {
            let origin = claim.into();
            draft.put_claimed(claim.key, Claimed { origin, holder, state: None })?;
            Ok(Answer::Fresh)
        }
        Some(record) => match record.present(claim) {
            Presented::Redeliver { settled, attempts } => {
                let state = Some(State::Settled { settled: settled.clone(), attempts });
                let claimed = Claimed { origin: record.origin, holder, state };
                draft.put_claimed(claim.key, claimed)?;
                Ok(Answer::Redeliver(settled))
            }
            presented => Ok(Answer::Presented(presented)),
        },
    }
}

/// The claim of another key that has the alias of `claim`. The list of aliases says who had it last; that claim itself
/// says whether it has it.
fn taken_by(draft: &mut Draft<'_>, claim: &Claim) -> Result<Option<TakenBy>, Error> {
    let Some(alias) = claim.alias else { return Ok(None) };
    let Some(key) = draft.owner(alias)?.filter(|key| *key != claim.key) else { return Ok(None) };
    let now = draft.facts.server_now;
    let Some(owner) = draft.claimed(key)?.filter(|owner| owner.origin.alias == Some(alias)) else {
        return Ok(None);
    };
    let state = if owner.is_held(now) {
        Some(TakenState::Held)
    } else {
        owner.record().and_then(claim::Record::taken)
    };
    if state.is_none() && owner.holder.is_some() {
        // Its lease has ended. It must find out, or it could go on and take the alias back.
        draft.put_claimed(key, Claimed { holder: None, ..owner })?;
    }
    Ok(state.map(|state| TakenBy { key, state }))
}

/// Carries out a step of a claim that is held.
pub(super) fn step(draft: &mut Draft<'_>, permit: Permit, step: &Step) -> Result<(), Error> {
    let held = draft.claimed(permit.key)?.filter(|claimed| is_by(claimed, permit.token));
    let Some(claimed) = held else {
        return Err(Error::OutOfOrder { state: "not held", asked: step.name() });
    };
    let applied = step.clone().apply(claimed.state.as_ref());
    let holder = if step.is_end() { None } else { claimed.holder };
    let state = match &applied {
        Ok(After::Record(state)) => Some(state.clone()),
        Ok(After::Nothing) => None,
        Ok(After::Same) | Err(_) => claimed.state.clone(),
    };
    let after = Claimed { origin: claimed.origin, holder, state };
    if after != claimed {
        draft.put_claimed(permit.key, after)?;
    }
    applied.map(drop)
}

/// Lets go of a claim, unless it was let go of before.
pub(super) fn let_go(draft: &mut Draft<'_>, permit: Permit) -> Result<(), Error> {
    match step(draft, permit, &Step::Release) {
        Err(Error::OutOfOrder { .. }) => Ok(()),
        done => done,
    }
}

/// Has the holder hold it for another lease.
pub(super) fn renew(draft: &mut Draft<'_>, permit: Permit) -> Result<(), Error> {
    let held = draft.claimed(permit.key)?.filter(|claimed| is_by(claimed, permit.token));
    let Some(claimed) = held else { return Ok(()) };
    let holder = Some(hold(draft, permit.token));
    draft.put_claimed(permit.key, Claimed { holder, ..claimed })
}

/// Records what became of a pending claim that nobody holds; `false` if it is not pending on that any more.
pub(super) fn resolve(
    draft: &mut Draft<'_>,
    key: ClaimKey,
    submitting: &Submitting,
    outcome: &Outcome,
) -> Result<bool, Error> {
    let now = draft.facts.server_now;
    let Some(claimed) = draft.claimed(key)? else { return Ok(false) };
    let is_it = matches!(&claimed.state, Some(State::Submitting(found)) if found == submitting);
    if !is_it || claimed.is_held(now) {
        return Ok(false);
    }
    let state = match outcome.clone().into_after() {
        After::Record(state) => Some(state),
        After::Nothing => None,
        After::Same => return Ok(true),
    };
    draft.put_claimed(key, Claimed { origin: claimed.origin, holder: None, state })?;
    Ok(true)
}

/// The secret called `name`, which is `drawn` if there was none.
pub(super) fn secret(
    draft: &mut Draft<'_>,
    name: &'static str,
    drawn: [u8; 32],
) -> Result<[u8; 32], Error> {
    if let Some(secret) = draft.secret(name)? {
        return Ok(secret);
    }
    draft.put_secret(name, drawn);
    Ok(drawn)
}

fn hold(draft: &Draft<'_>, token: Token) -> Holder {
    let lease = u64::try_from(draft.facts.lease.as_millis()).unwrap_or(u64::MAX);
    Holder { token, until: draft.facts.server_now.saturating_add(lease) }
}

/// Whether `token` has it in hand. It may go on after its lease, as long as nobody else has taken it.
fn is_by(claimed: &Claimed, token: Token) -> bool {
    claimed.holder.is_some_and(|holder| holder.token == token)
}

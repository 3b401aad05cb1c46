//! What is checked of a commitment before it is taken: the challenge, the payload, the channel, the signature.
//!
//! Needs no ledger: what the ledger says of the channel was read before.

use sha2::{Digest as _, Sha256};

use super::{Channel, INTENTS, denial};
use crate::{
    ledger::channels::View,
    pay::{
        Bound, Offer, Refusal, Terms, claims,
        mpp::{malformed, not_ours, scope},
    },
    protocol::{
        money::Amount,
        mpp::{
            ChallengeId, Credential,
            channel::{Payload, Request},
        },
    },
    store::{Binding, channel::ChallengeDigest},
};

/// A credential whose challenge is ours.
pub(super) struct Checked {
    pub(super) challenge: ChallengeId,
    pub(super) request: Request,
    pub(super) payload: Payload,
    /// What the request cost when the challenge was issued.
    pub(super) price: Amount,
    /// In Unix seconds.
    pub(super) expires: u64,
}

impl Checked {
    pub(super) fn digest(&self) -> ChallengeDigest {
        let digest: [u8; 32] = Sha256::digest(self.challenge.as_str()).into();
        ChallengeDigest(*digest.first_chunk().expect("32 bytes begin with 16"))
    }
}

impl Channel {
    /// Checks the challenge and reads what answers it. Whether the challenge is past is judged with the account: one that
    /// was answered in time may be answered so again.
    pub(super) fn check(
        &self,
        terms: &Terms,
        bound: &Bound,
        credential: Credential,
    ) -> Result<Checked, Refusal> {
        let Credential { challenge, payload, .. } = credential;
        let ours = self.settings.issuer.read(challenge, terms, bound, &INTENTS)?;
        if !ours.realm_is_ours {
            return Err(not_ours("the challenge is for another service"));
        }
        let elsewhere = || not_ours("the challenge is for another route or method");
        let (place, price) = ours.scope.rsplit_once(' ').ok_or_else(elsewhere)?;
        if place != scope(terms, bound) {
            return Err(elsewhere());
        }
        let price = Amount::parse_units(price).map_err(|_| elsewhere())?;
        let request = Request::decode(&ours.request)
            .map_err(|error| not_ours(format!("the challenge asks for no commitment: {error}")))?;
        if request.network != self.settings.issuer.network {
            return Err(not_ours("the challenge is for another network"));
        }
        let payload = payload.ok_or_else(|| malformed("`payload` is missing"))?;
        let payload = Payload::from_json(&payload).map_err(|error| malformed(error.to_string()))?;
        Ok(Checked { challenge: ours.id, request, payload, price, expires: ours.expires })
    }

    /// Checks that the channel's own key signed the commitment.
    pub(super) fn check_signature(&self, checked: &Checked, view: &View) -> Result<(), Refusal> {
        view.key
            .verify(self.settings.issuer.network, view.channel, &checked.payload.commitment())
            .map_err(|_| denial::bad_signature())
    }
}

/// Checks that the channel pays what the route asks, to whom it asks it for.
pub(super) fn fits(view: &View, offer: &Offer) -> Result<(), Refusal> {
    let detail = if view.token != offer.asset.contract {
        format!("its token is {}, and this route is paid in {}", view.token, offer.asset.contract)
    } else if view.payee != offer.payee {
        format!("it pays {}, and this route is paid to {}", view.payee, offer.payee)
    } else if view.deposited() < offer.amount {
        "its deposit is below the price of one request: top it up".to_owned()
    } else {
        return Ok(());
    };
    Err(denial::unfit(view.channel, &detail))
}

/// What must be the same when a commitment comes again: route, method, target and body, each behind its length.
pub(super) fn binding(terms: &Terms, bound: &Bound, checked: &Checked) -> Binding {
    let fields: [&[u8]; 5] = [
        terms.route.as_bytes(),
        bound.method.as_str().as_bytes(),
        bound.target.as_bytes(),
        bound.body.as_ref().map_or(&[][..], |body| &body[..]),
        checked.challenge.as_str().as_bytes(),
    ];
    Binding(claims::digest(&fields))
}

//! MPP `charge` by method `stellar`: one transfer a request, with no third party.
//!
//! The client signs a transfer and the gateway puts it on the ledger (pull), with its fees paid by a sponsor here or by
//! the client, or the client puts it there and proves that it is for this challenge (push). Knows what a payment must be
//! worth and in which order it is checked, claimed and settled; how the ledger is reached is the ledger's.
//! Source: draft-httpauth-payment-00, draft-stellar-charge-00, as `@stellar/mpp` 0.7 speaks them.

mod check;
mod denial;
mod rail;

use std::{fmt, sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use serde_json::Value;

use self::denial::{invalid, unpaid};
use super::{
    Bound, Challenge, Denied, Draw, Fault, Method, Offer, Receipt, Refusal, Terms, Worth,
    claims::{self, Held, Lost},
    mpp::{Issue, Issuer, expired, not_ours, scope},
    room::{Room, Seat},
};
use crate::{
    ledger::{
        facilitator::{Payment, VerifyError},
        own,
        relay::{Landed, Relay},
    },
    protocol::{
        mpp::{
            ChallengeId, Credential,
            charge::{CredentialType, INTENT, METHOD, Request},
        },
        stellar::Address,
        transfer::Whole,
    },
    store::{Binding, Claim, ClaimKey, Pending, Store},
    telemetry::{Clock, label::Rail},
};

/// The charge method of a gateway.
#[derive(Debug)]
pub struct Charge {
    settings: Settings,
    /// Pays the fees of sponsored charges.
    own: Option<own::Facilitator>,
    relay: Relay,
    store: Store,
    clock: Clock,
    /// For questions about transactions that were pushed.
    asking: Room,
}

/// How a gateway takes charges.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Who issues the challenges.
    pub issuer: Issuer,
    /// Whether the bare hash of a transaction pays, which anyone who watches the ledger has.
    pub unsigned_push: bool,
}

/// A payment whose challenge and transfer were checked, as far as that needs no ledger but for one that was pushed.
///
/// Its `Debug` shows no transaction: whoever has one may present it.
pub struct Paid {
    challenge: ChallengeId,
    /// When the challenge ends, in Unix seconds.
    expires: u64,
    /// Whether the challenge has the realm of now: one that was issued under another may be told what became of its payment.
    realm_is_ours: bool,
    form: Form,
    /// The transaction as it came; empty for a push.
    transaction: String,
    /// The challenge's request as it came.
    request: String,
}

impl fmt::Debug for Paid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Paid").field("challenge", &self.challenge).finish_non_exhaustive()
    }
}

/// How the money comes.
enum Form {
    /// By a transaction of ours, for the payer's authorization.
    Sponsored(Payment),
    /// By the payer's own transaction, which we send.
    Relayed(Whole),
    /// By a transaction that the payer sent.
    Pushed(Box<Landed>, Whole),
}

/// A payment that is checked and claimed for one request.
pub type Verified = Held<Paid>;

impl Charge {
    /// Method and intent as they stand on the wire.
    pub const NAME: (&'static str, &'static str) = (METHOD, INTENT);

    /// The method with its store; `own` pays the fees of sponsored charges.
    #[must_use]
    pub fn new(
        settings: Settings,
        own: Option<own::Facilitator>,
        relay: Relay,
        store: Store,
        clock: Clock,
    ) -> Self {
        Self { settings, own, relay, store, clock, asking: Room::new(MOST_ASKING) }
    }

    /// Has the ledger judge a payment that was claimed for the first time.
    async fn judge(&self, terms: &Terms, bound: &Bound, paid: &Paid) -> Result<(), Denied> {
        let now = self.clock.now();
        if !paid.realm_is_ours {
            return Err(not_ours("the challenge is for another service").into());
        }
        let verdict = match &paid.form {
            Form::Pushed(..)
                if now > paid.expires.saturating_add(claims::PUSHED_WITHIN_SECONDS) =>
            {
                return Err(expired().into());
            }
            // It landed in time, and so it counts, however late it is presented.
            Form::Pushed(..) => return Ok(()),
            _ if now > paid.expires => return Err(expired().into()),
            Form::Sponsored(payment) => self.sponsor()?.verify(payment).await,
            Form::Relayed(whole) => {
                self.relay.supported().map_err(Fault::unavailable)?;
                whole
                    .check_time(now, terms.life_needed(bound, self.life()), paid.expires)
                    .map_err(|error| invalid(error.reason(), error.to_string()))?;
                self.relay.verify(whole, paid.expires.saturating_sub(now)).await
            }
        };
        verdict.map_err(|error| match error {
            VerifyError::Invalid(found) => unpaid(&found.reason, found.detail).into(),
            VerifyError::Failed(failure) => claims::fault(&failure).into(),
        })
    }

    /// The claim that a payment makes for the request `bound`.
    fn claim(&self, terms: &Terms, bound: &Bound, paid: &Paid) -> Claim {
        Claim {
            key: paid.key(),
            binding: binding(terms, bound, paid),
            alias: Some(alias(&paid.challenge)),
            now: self.clock.now(),
            // Not before the last instant at which this transfer could be presented under any other challenge.
            keep_until: paid.expires.saturating_add(claims::REMEMBERED_SECONDS),
            redelivery: terms.redelivery,
        }
    }

    /// What the payment that a memo is about comes to.
    pub(super) fn remembered_worth(&self, memo: &Value) -> Option<Worth> {
        self.remembered(memo).map(|paid| claims::Rail::worth(self, &paid))
    }

    /// What an offer to pay by a charge asks.
    fn request(&self, offer: &Offer, terms: &Terms) -> Request {
        let fee_payer = terms.charge().is_some_and(|(_, sponsored)| sponsored);
        let mut credential_types = vec![CredentialType::Transaction];
        if !fee_payer {
            credential_types.push(CredentialType::SignedHash);
            if self.settings.unsigned_push {
                credential_types.push(CredentialType::Hash);
            }
        }
        Request {
            amount: offer.amount,
            currency: offer.asset.contract,
            recipient: offer.payee,
            external_id: None,
            network: offer.network,
            fee_payer,
            credential_types,
        }
    }

    /// How long a charge lives at most.
    const fn life(&self) -> Duration {
        self.settings.issuer.challenge_ttl
    }

    fn sponsor(&self) -> Result<&own::Facilitator, Fault> {
        self.own.as_ref().ok_or_else(|| Fault::unavailable("no sponsor is configured"))
    }
}

impl Method for Charge {
    const RAIL: Rail = Rail::Charge;

    type Credential = Credential;
    type Verified = Verified;

    fn ready(&self, terms: &Terms) -> Result<(), Fault> {
        if !self.store.is_running() {
            return Err(Fault::unavailable("the store has stopped"));
        }
        self.relay.supported().map_err(Fault::unavailable)?;
        match terms.charge() {
            Some((_, true)) => self.sponsor()?.supported().map(drop).map_err(Fault::unavailable),
            _ => Ok(()),
        }
    }

    fn challenge(
        &self,
        offer: &Offer,
        terms: &Terms,
        bound: &Bound,
        draw: &Draw,
        _reason: &str,
    ) -> Option<Challenge> {
        let request = offer.wording.charge.get_or_init(|| self.request(offer, terms).encode());
        let issue = Issue {
            intent: INTENT,
            request: request.clone(),
            scope: scope(terms, bound),
            body: bound.body,
        };
        let challenge = self.settings.issuer.issue(terms, issue, draw);
        Some(Challenge {
            header: (http::header::WWW_AUTHENTICATE, challenge.to_header()),
            id: Some(challenge.id.as_str().to_owned()),
        })
    }

    fn parse(&self, _terms: &Terms, headers: &HeaderMap) -> Result<Option<Credential>, Refusal> {
        super::mpp::find(headers)
    }

    async fn verify(
        &self,
        terms: &Arc<Terms>,
        bound: &Bound,
        credential: Credential,
        seat: &mut Seat,
    ) -> Result<Verified, Denied> {
        let paid = self.check(terms, bound, credential, seat).await?;
        let (payer, claim) = (paid.payer(), self.claim(terms, bound, &paid));
        let verified = claims::claim(self, &self.store, claim, paid, &terms.route).await?;
        // A settled payment stays good past its challenge; a new one must come in time and pass the ledger's check.
        if verified.settled.is_none()
            && let Err(denied) = self.judge(terms, bound, &verified.payment).await
        {
            self.release(verified, false).await;
            return Err(denied);
        }
        if let Err(fault) = seat.pay_as(payer) {
            self.release(verified, false).await;
            return Err(fault.into());
        }
        if let Form::Pushed(..) = verified.payment.form {
            // The money is the payee's already, so whatever happens from here on it may be presented again.
            return claims::settle(self, &self.store, verified).await.map(|(verified, _)| verified);
        }
        Ok(verified)
    }

    async fn settle(&self, verified: Verified) -> Result<(Verified, Receipt), Denied> {
        claims::settle(self, &self.store, verified).await
    }

    async fn deliver(&self, verified: Verified, status: StatusCode) -> Result<(), Fault> {
        claims::deliver(&self.store, verified, status).await
    }

    async fn release(&self, verified: Verified, tried: bool) {
        claims::release(&self.store, verified, tried).await;
    }

    fn patience(&self, terms: &Terms, bound: &Bound) -> Duration {
        terms.forwarding(bound, self.life())
    }

    fn is_settled(&self, verified: &Verified) -> bool {
        verified.settled.is_some()
    }

    fn worth(&self, verified: &Verified) -> Worth {
        Worth {
            transaction: verified.settled.as_ref().and_then(|settled| settled.transaction),
            ..claims::Rail::worth(self, &verified.payment)
        }
    }

    async fn resume(&self, pending: &Pending, memo: &Value) -> Result<(), Denied> {
        let paid = self
            .remembered(memo)
            .ok_or_else(|| Fault::unavailable("what was remembered of a charge does not read"))?;
        claims::resolve(self, &self.store, &paid, Lost::of(pending, memo)).await
    }
}

impl Paid {
    fn payer(&self) -> Address {
        match &self.form {
            Form::Sponsored(payment) => payment.transfer.payer(),
            Form::Relayed(whole) | Form::Pushed(_, whole) => whole.movement().payer,
        }
    }

    /// What the ledger lets happen once; one name for a transfer in whatever form it is presented.
    fn key(&self) -> ClaimKey {
        ClaimKey(match &self.form {
            Form::Sponsored(payment) => payment.transfer.claim_key(payment.expected.network),
            Form::Relayed(whole) | Form::Pushed(_, whole) => whole.claim_key(),
        })
    }
}

/// What must be the same when a payment comes again: route, method, target and body, the challenge, and the payment
/// itself, each behind its length.
///
/// The transfer is on the ledger for all to see once it is settled, and anybody is given a challenge for the asking. Only
/// the payer knows which challenge it paid: who presents the transfer under another is a thief.
fn binding(terms: &Terms, bound: &Bound, paid: &Paid) -> Binding {
    let authorization = match &paid.form {
        Form::Sponsored(payment) => payment.transfer.authorization_hash(),
        Form::Relayed(whole) | Form::Pushed(_, whole) => whole.authorization_hash(),
    };
    let fields: [&[u8]; 6] = [
        terms.route.as_bytes(),
        bound.method.as_str().as_bytes(),
        bound.target.as_bytes(),
        bound.body.as_ref().map_or(&[][..], |body| &body[..]),
        paid.challenge.as_str().as_bytes(),
        &authorization,
    ];
    Binding(claims::digest(&fields))
}

/// A challenge is used once: its id names the claim too.
fn alias(challenge: &ChallengeId) -> ClaimKey {
    ClaimKey(claims::digest(&[b"mpp challenge", challenge.as_str().as_bytes()]))
}

/// Questions about hashes under way at once, of which one client has half.
const MOST_ASKING: u64 = 128;

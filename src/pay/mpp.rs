//! What the intents of MPP have in common: challenges that are issued for a route, and known again when they are answered.

use std::{sync::Arc, time::Duration};

use http::HeaderMap;

use super::{Bound, Draw, Refusal, RefusalKind, Terms};
use crate::protocol::{
    mpp::{
        self, ChallengeId, FindError, Opaque, Secrets, charge::METHOD, digest, harmless, timestamp,
    },
    stellar::Network,
};

/// Issues challenges, and knows them again.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// The network of all payments.
    pub network: Network,
    /// Who asks: `api.example.com`.
    pub realm: Arc<str>,
    /// What challenge ids are made under.
    pub secrets: Secrets,
    /// How long a challenge can be paid.
    pub challenge_ttl: Duration,
}

/// What a challenge is issued of, besides the terms.
#[derive(Debug)]
pub(super) struct Issue {
    pub(super) intent: &'static str,
    /// What the intent asks, as it stands in the challenge.
    pub(super) request: String,
    /// What it is for, in words that [`Issuer::read`] gives back.
    pub(super) scope: String,
    pub(super) body: Option<[u8; 32]>,
}

/// What a challenge of ours says, whatever its intent.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) id: ChallengeId,
    /// The intent's own request as it came.
    pub(super) request: String,
    /// What it was issued for.
    pub(super) scope: String,
    /// In Unix seconds.
    pub(super) issued: u64,
    /// In Unix seconds.
    pub(super) expires: u64,
    /// Whether it has the realm of now.
    pub(super) realm_is_ours: bool,
}

impl Issuer {
    pub(super) fn issue(&self, terms: &Terms, issue: Issue, draw: &Draw) -> mpp::Challenge {
        let now = draw.now_ms.div_euclid(1_000);
        let opaque = Opaque { scope: issue.scope, nonce: draw.random, issued_at: now };
        let ttl = u64::try_from(self.challenge_ttl.as_millis()).unwrap_or(u64::MAX);
        let parts = mpp::Parts {
            realm: &self.realm,
            method: METHOD,
            intent: issue.intent,
            request: issue.request,
            description: Some(&*terms.description).filter(|text| !text.is_empty()),
            body: issue.body,
            expires_ms: draw.now_ms.saturating_add(ttl),
            header: terms.credential_header,
            opaque: Some(&opaque),
        };
        mpp::Challenge::issue(&self.secrets, parts)
    }

    /// Knows a challenge again: that it was issued here, for one of `intents` and with this body. What it is for is the
    /// caller's to compare.
    ///
    /// # Errors
    /// [`Refusal`] if it was not.
    pub(super) fn read(
        &self,
        challenge: mpp::Challenge,
        terms: &Terms,
        bound: &Bound,
        intents: &[&str],
    ) -> Result<Ours, Refusal> {
        let issued_here = challenge.verify_id(&self.secrets, terms.credential_header);
        issued_here.map_err(|error| not_ours(error.to_string()))?;
        if challenge.method != METHOD || !intents.contains(&challenge.intent.as_str()) {
            return Err(not_ours("the challenge is for another kind of payment"));
        }
        let opaque = challenge.opaque.as_deref().map(Opaque::decode);
        let Some(Ok(opaque)) = opaque else {
            return Err(not_ours("the challenge does not say what it is for"));
        };
        match (&challenge.digest, &bound.body) {
            (None, None) => {}
            (Some(digest), Some(body)) if digest::matches(digest, body) => {}
            (Some(_), Some(_)) => return Err(not_ours("the challenge is for another body")),
            _ => return Err(not_ours("the challenge was issued under another configuration")),
        }
        let expires = challenge.expires.as_deref().map(timestamp::read);
        let Some(Ok(expires)) = expires else {
            return Err(not_ours("the challenge does not say when it ends"));
        };
        Ok(Ours {
            realm_is_ours: challenge.realm == harmless(&self.realm),
            id: challenge.id,
            request: challenge.request,
            scope: opaque.scope,
            issued: opaque.issued_at,
            expires: expires.div_euclid(1_000),
        })
    }
}

/// Finds the one MPP credential among the headers of a request; `None` if there is none.
///
/// # Errors
/// [`Refusal`] if there is one that cannot be read, or more than one.
pub(super) fn find(headers: &HeaderMap) -> Result<Option<mpp::Credential>, Refusal> {
    mpp::find(headers).map_err(|error| match error {
        FindError::Ambiguous => Refusal::new(
            RefusalKind::Ambiguous,
            "ambiguous_payment",
            "the request carries more than one `Payment` credential: send one payment",
        ),
        FindError::Malformed(_) => {
            Refusal::new(RefusalKind::Malformed, "malformed_credential", error.to_string())
        }
    })
}

/// What a challenge is for: the method as it is priced, and the route.
pub(super) fn scope(terms: &Terms, bound: &Bound) -> String {
    format!("{} {}", bound.method, terms.route)
}

/// A challenge that was not issued for this.
pub(super) fn not_ours(detail: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::NotOffered, "invalid_challenge", detail)
}

/// A payload that cannot be read as one that its challenge takes.
pub(super) fn malformed(detail: impl Into<String>) -> Refusal {
    Refusal::new(RefusalKind::InvalidPayload, "invalid_payload", detail)
}

/// A challenge that has ended.
pub(super) fn expired() -> Refusal {
    let detail = "the challenge that this payment is for has ended: take the new one";
    Refusal::new(RefusalKind::Expired, "payment_expired", detail)
}

//! Tokens of an issuer that the operator trusts: JWTs in `Authorization: Bearer`.
//!
//! A token counts if a key of the issuer's signed it, by an algorithm that is that key's (a public key is never taken for a
//! shared secret), if it names the issuer and this audience, and if it is its time. One that says it has to be read in
//! another way (`crit`) does not. Source: RFC 7519, RFC 7515 section 4.1.11, RFC 8725.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use arc_swap::ArcSwapOption;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use http::{HeaderMap, header};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;
use tokio::sync::Notify;

use super::key::{bearer, only};

/// The tokens of one issuer for one audience. Clones share the keys.
#[derive(Clone)]
pub struct Tokens {
    issuer: Arc<str>,
    /// One of them is enough.
    audience: Arc<[String]>,
    keys: TokenKeys,
}

/// The keys that an issuer signs with. Clones share them, also when they are replaced.
#[derive(Clone)]
pub struct TokenKeys(Arc<Shared>);

struct Shared {
    /// `None` as long as it is not known which there are.
    keys: ArcSwapOption<Vec<Key>>,
    /// In seconds since 1970.
    taken_at: AtomicU64,
    /// A token names a key that is not there: there may be newer ones.
    wanted: Notify,
}

/// What becomes of a request by its token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It has one that counts.
    Passes,
    /// It has none.
    Fails,
    /// It has one that may count, and it is not known yet by which keys.
    Unknown,
}

struct Key {
    id: Option<String>,
    algorithms: &'static [Algorithm],
    key: DecodingKey,
}

/// Why a set of keys is of no use.
#[derive(Debug, thiserror::Error)]
pub enum NotUsable {
    /// It does not read.
    #[error("it is no JSON Web Key Set")]
    NoSet(#[source] serde_json::Error),
    /// It has no key that can verify a signature.
    #[error("it has no public key to verify signatures with: RSA, P-256, P-384 or Ed25519")]
    NoKey,
}

impl Tokens {
    /// Those that `issuer` made for one of `audience`, signed with one of `keys`.
    #[must_use]
    pub fn new(issuer: Arc<str>, audience: Vec<String>, keys: TokenKeys) -> Self {
        Self { issuer, audience: audience.into(), keys }
    }

    /// Whether `headers` carry one that counts at `now`, in seconds since 1970; of the keys that it may be signed with, no more
    /// than `most` are tried.
    ///
    /// What a token claims is read before its signature is verified, which costs much more.
    #[must_use]
    pub fn judge(&self, headers: &HeaderMap, now: u64, most: usize) -> Verdict {
        let token = only(headers, &header::AUTHORIZATION).and_then(bearer);
        match token.filter(|token| claims_of(token).is_some_and(|it| self.believes(&it, now))) {
            Some(token) => self.keys.judge(token, most),
            None => Verdict::Fails,
        }
    }

    /// Who makes them.
    #[must_use]
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Whom they are for.
    #[must_use]
    pub fn audience(&self) -> &[String] {
        &self.audience
    }

    /// What they are signed with.
    #[must_use]
    pub const fn keys(&self) -> &TokenKeys {
        &self.keys
    }

    fn believes(&self, claims: &Claims, now: u64) -> bool {
        let is_in_time = now < claims.exp.saturating_add(LEEWAY_SECONDS)
            && claims.nbf.is_none_or(|from| from <= now.saturating_add(LEEWAY_SECONDS));
        let is_for_us = match &claims.aud {
            Audience::One(one) => self.audience.contains(one),
            Audience::Many(many) => many.iter().any(|one| self.audience.contains(one)),
        };
        is_in_time && is_for_us && *claims.iss == *self.issuer
    }
}

impl TokenKeys {
    /// A secret that the issuer shares with us: HS256, HS384 and HS512.
    #[must_use]
    pub fn shared(secret: &[u8]) -> Self {
        let key = Key { id: None, algorithms: HMAC, key: DecodingKey::from_secret(secret) };
        Self::of(Some(vec![key]))
    }

    /// The keys of a JSON Web Key Set.
    ///
    /// # Errors
    /// [`NotUsable`] if there is none.
    pub fn set(json: &[u8]) -> Result<Self, NotUsable> {
        read(json).map(|keys| Self::of(Some(keys)))
    }

    /// Keys that are not known yet.
    #[must_use]
    pub fn unknown() -> Self {
        Self::of(None)
    }

    fn of(keys: Option<Vec<Key>>) -> Self {
        let keys = ArcSwapOption::new(keys.map(Arc::new));
        Self(Arc::new(Shared { keys, taken_at: AtomicU64::new(0), wanted: Notify::new() }))
    }

    /// Takes the keys of a set in place of those before, at `now` in seconds since 1970.
    ///
    /// # Errors
    /// [`NotUsable`] if there is none; those before stay.
    pub fn replace(&self, json: &[u8], now: u64) -> Result<(), NotUsable> {
        self.0.keys.store(Some(Arc::new(read(json)?)));
        self.0.taken_at.store(now, Relaxed);
        Ok(())
    }

    /// When they were taken last, in seconds since 1970; 0 if they were not.
    #[must_use]
    pub fn taken_at(&self) -> u64 {
        self.0.taken_at.load(Relaxed)
    }

    /// Waits until a token names a key that is not among them; at once if one did since this returned last.
    pub async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// How many there are; `None` as long as that is not known.
    #[must_use]
    pub fn count(&self) -> Option<usize> {
        self.0.keys.load().as_ref().map(|keys| keys.len())
    }

    /// Has the keys that `other` has now.
    pub fn go_on_from(&self, other: &Self) {
        self.0.keys.store(other.0.keys.load_full());
        self.0.taken_at.store(other.taken_at(), Relaxed);
    }

    /// Whether one of the keys signed a token.
    fn judge(&self, token: &[u8], most: usize) -> Verdict {
        let Some(header) = decode_header(token).ok().filter(|header| header.crit.is_none()) else {
            return Verdict::Fails;
        };
        let mut validation = Validation::new(header.alg);
        // These read the machine's clock, and let pass what is not there; we judge for ourselves.
        (validation.validate_exp, validation.validate_aud) = (false, false);
        validation.required_spec_claims.clear();
        let keys = self.0.keys.load();
        let Some(keys) = keys.as_ref() else { return Verdict::Unknown };
        let fits = |key: &&Key| {
            let is_named = match (&header.kid, &key.id) {
                (Some(named), Some(id)) => named == id,
                _ => true,
            };
            is_named && key.algorithms.contains(&header.alg)
        };
        let mut fitting = keys.iter().filter(fits).take(most).peekable();
        if fitting.peek().is_none() && header.kid.is_some() {
            self.0.wanted.notify_one();
        }
        match fitting.any(|key| decode::<Claims>(token, &key.key, &validation).is_ok()) {
            true => Verdict::Passes,
            false => Verdict::Fails,
        }
    }
}

/// What a token claims, whoever signed it.
fn claims_of(token: &[u8]) -> Option<Claims> {
    let claims = token.split(|byte| *byte == b'.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// What counts of a token; without it none is believed.
#[derive(Debug, Deserialize)]
struct Claims {
    iss: String,
    aud: Audience,
    exp: u64,
    nbf: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

fn read(json: &[u8]) -> Result<Vec<Key>, NotUsable> {
    let set: JwkSet = serde_json::from_slice(json).map_err(NotUsable::NoSet)?;
    let keys: Vec<_> = set.keys.iter().filter_map(usable).collect();
    if keys.is_empty() { Err(NotUsable::NoKey) } else { Ok(keys) }
}

/// A public key for signatures; others in a set are for somebody else. One that is no secret must not be used as one.
fn usable(jwk: &Jwk) -> Option<Key> {
    if !matches!(jwk.common.public_key_use, None | Some(PublicKeyUse::Signature)) {
        return None;
    }
    let algorithms: &[Algorithm] = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => RSA,
        AlgorithmParameters::EllipticCurve(curve) => match curve.curve {
            EllipticCurve::P256 => &[Algorithm::ES256],
            EllipticCurve::P384 => &[Algorithm::ES384],
            _ => return None,
        },
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            &[Algorithm::EdDSA]
        }
        _ => return None,
    };
    let algorithms = match jwk.common.key_algorithm {
        None => algorithms,
        Some(named) => only_of(algorithms, named)?,
    };
    let key = DecodingKey::from_jwk(jwk).ok()?;
    Some(Key { id: jwk.common.key_id.clone(), algorithms, key })
}

/// The one of `algorithms` that a key says is its own.
fn only_of(algorithms: &'static [Algorithm], named: KeyAlgorithm) -> Option<&'static [Algorithm]> {
    let named = match named {
        KeyAlgorithm::RS256 => Algorithm::RS256,
        KeyAlgorithm::RS384 => Algorithm::RS384,
        KeyAlgorithm::RS512 => Algorithm::RS512,
        KeyAlgorithm::PS256 => Algorithm::PS256,
        KeyAlgorithm::PS384 => Algorithm::PS384,
        KeyAlgorithm::PS512 => Algorithm::PS512,
        KeyAlgorithm::ES256 => Algorithm::ES256,
        KeyAlgorithm::ES384 => Algorithm::ES384,
        KeyAlgorithm::EdDSA => Algorithm::EdDSA,
        _ => return None,
    };
    let at = algorithms.iter().position(|algorithm| *algorithm == named)?;
    algorithms.get(at..=at)
}

/// Shows whose and for whom.
impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tokens(of `{}` for {:?}, {:?})", self.issuer, self.audience, self.keys)
    }
}

/// Shows how many there are.
impl fmt::Debug for TokenKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} keys", self.count().unwrap_or_default())
    }
}

const HMAC: &[Algorithm] = &[Algorithm::HS256, Algorithm::HS384, Algorithm::HS512];
const RSA: &[Algorithm] = &[
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
];
/// How far clocks may be apart.
const LEEWAY_SECONDS: u64 = 30;

#[cfg(test)]
mod tests;

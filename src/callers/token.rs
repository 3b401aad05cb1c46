//! Tokens of an issuer that the operator trusts: JWTs in `Authorization: Bearer`.
//!
//! A token counts if a key of the issuer's signed it, by an algorithm that is that key's (a public key is never taken for a
//! shared secret), if it names the issuer and this audience, and if it is its time. One that says it has to be read in
//! another way (`crit`) does not. Source: RFC 7519, RFC 7515 section 4.1.11, RFC 8725.

use std::{fmt, sync::Arc};

use arc_swap::ArcSwap;
use http::{HeaderMap, header};
use jsonwebtoken::{
    Algorithm, DecodingKey, Validation, decode, decode_header,
    jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse},
};
use serde::Deserialize;

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
pub struct TokenKeys(Arc<ArcSwap<Vec<Key>>>);

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

    /// Whether `headers` carry one that counts at `now`, in seconds since 1970.
    #[must_use]
    pub fn admits(&self, headers: &HeaderMap, now: u64) -> bool {
        only(headers, &header::AUTHORIZATION)
            .and_then(bearer)
            .and_then(|token| self.keys.claims_of(token))
            .is_some_and(|claims| self.believes(&claims, now))
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
        Self(Arc::new(ArcSwap::from_pointee(vec![key])))
    }

    /// The keys of a JSON Web Key Set.
    ///
    /// # Errors
    /// [`NotUsable`] if there is none.
    pub fn set(json: &[u8]) -> Result<Self, NotUsable> {
        read(json).map(|keys| Self(Arc::new(ArcSwap::from_pointee(keys))))
    }

    /// No key yet: no token counts.
    #[must_use]
    pub fn none() -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Vec::new())))
    }

    /// Takes the keys of a set in place of those before.
    ///
    /// # Errors
    /// [`NotUsable`] if there is none; those before stay.
    pub fn replace(&self, json: &[u8]) -> Result<(), NotUsable> {
        self.0.store(Arc::new(read(json)?));
        Ok(())
    }

    /// Has the keys that `other` has now.
    pub fn go_on_from(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    /// What a token claims, if one of the keys signed it.
    fn claims_of(&self, token: &[u8]) -> Option<Claims> {
        let header = decode_header(token).ok()?;
        if header.crit.is_some() {
            return None;
        }
        let mut validation = Validation::new(header.alg);
        // These read the machine's clock, and let pass what is not there; we judge for ourselves.
        (validation.validate_exp, validation.validate_aud) = (false, false);
        validation.required_spec_claims.clear();
        let keys = self.0.load();
        let fits = |key: &&Key| {
            let is_named = match (&header.kid, &key.id) {
                (Some(named), Some(id)) => named == id,
                _ => true,
            };
            is_named && key.algorithms.contains(&header.alg)
        };
        let mut fitting = keys.iter().filter(fits).take(MOST_TRIED);
        fitting.find_map(|key| Some(decode::<Claims>(token, &key.key, &validation).ok()?.claims))
    }
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
        write!(f, "{} keys", self.0.load().len())
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
/// Keys that a token without a key's name is tried with: it may be a stranger's.
const MOST_TRIED: usize = 8;

#[cfg(test)]
mod tests;

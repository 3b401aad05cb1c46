//! Quotes: what binds an x402 payment to the route, method and terms that it was offered for.
//!
//! A quote is random bits and an expiry under an HMAC over what was asked. Clients echo it inside `accepted`, so the
//! gateway keeps nothing per challenge, honours the price that it quoted after a reload, and refuses a payment that
//! was made for another route or seen by a stranger on the ledger.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use super::{stellar::Address, x402::Requirements};

/// The key that quotes are made under. Its `Debug` shows nothing of it.
#[derive(Clone)]
pub struct Key([u8; 32]);

impl Key {
    /// A key of 32 random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(…)")
    }
}

/// The route and method that a quote is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    /// The route's name.
    pub route: &'a str,
    /// The method as it is priced: GET for HEAD.
    pub method: &'a str,
    /// The SHA-256 of the request's body, where the quote is for that body alone.
    pub body: Option<&'a [u8; 32]>,
}

/// Makes the quote for `requirements` (whose own `quote` is not looked at) in `scope`.
///
/// `random` must be fresh; `expires` is in seconds since 1970.
#[must_use]
pub fn issue(
    key: &Key,
    scope: Scope<'_>,
    requirements: &Requirements,
    random: [u8; 16],
    expires: u64,
) -> String {
    let tag = mac(key, scope, requirements, &random, expires).finalize().into_bytes();
    let mut quote = Vec::with_capacity(QUOTE_BYTES);
    quote.extend_from_slice(&random);
    quote.extend_from_slice(&expires.to_be_bytes());
    quote.extend_from_slice(&tag);
    URL_SAFE_NO_PAD.encode(quote)
}

/// Checks that the quote in `requirements` was issued under `key` for exactly these requirements in `scope`.
///
/// Returns when it expires, in seconds since 1970: the caller judges that, after it has looked for a claim.
///
/// # Errors
/// [`NotOurs`] if it was not, or there is none.
pub fn check(key: &Key, scope: Scope<'_>, requirements: &Requirements) -> Result<u64, NotOurs> {
    let text = requirements.quote.as_deref().ok_or(NotOurs)?;
    let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|_| NotOurs)?;
    let (random, rest) = bytes.split_first_chunk::<16>().ok_or(NotOurs)?;
    let (expires, tag) = rest.split_first_chunk::<8>().ok_or(NotOurs)?;
    let expires = u64::from_be_bytes(*expires);
    mac(key, scope, requirements, random, expires).verify_slice(tag).map_err(|_| NotOurs)?;
    Ok(expires)
}

/// The quote was not issued here for this route, method, price, asset, payee, network and timeout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the payment was not offered for this route at these terms")]
pub struct NotOurs;

/// Every field goes in behind its length, so that no two readings of the input exist.
fn mac(
    key: &Key,
    scope: Scope<'_>,
    requirements: &Requirements,
    random: &[u8; 16],
    expires: u64,
) -> Hmac<Sha256> {
    let mut mac = Hmac::new_from_slice(&key.0).expect("HMAC takes a key of any length");
    let amount = requirements.amount.units().to_be_bytes();
    let (kind, payee): (&[u8], _) = match &requirements.pay_to {
        Address::Account(account) => (b"account", account.0),
        Address::Contract(contract) => (b"contract", contract.0),
    };
    let fields: [&[u8]; 12] = [
        b"tollgate x402 quote 2",
        scope.route.as_bytes(),
        scope.method.as_bytes(),
        scope.body.map_or(&[][..], |body| &body[..]),
        requirements.network.name().as_bytes(),
        &amount,
        &requirements.asset.0,
        kind,
        &payee,
        &requirements.max_timeout_seconds.to_be_bytes(),
        random,
        &expires.to_be_bytes(),
    ];
    for field in fields {
        let length = u64::try_from(field.len()).unwrap_or(u64::MAX);
        mac.update(&length.to_be_bytes());
        mac.update(field);
    }
    mac
}

const QUOTE_BYTES: usize = 16 + 8 + 32;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{money::Amount, stellar::Network};

    const KEY: Key = Key::new([7; 32]);
    const SCOPE: Scope<'_> = Scope { route: "weather", method: "GET", body: None };

    fn quoted() -> Requirements {
        let mut requirements = Requirements {
            network: Network::Testnet,
            amount: Amount::from_units(10_000).unwrap(),
            asset: Network::Testnet.usdc().contract,
            pay_to: "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG".parse().unwrap(),
            max_timeout_seconds: 60,
            quote: None,
        };
        requirements.quote = Some(issue(&KEY, SCOPE, &requirements, [1; 16], 99));
        requirements
    }

    #[test]
    fn a_quote_is_known_again() {
        assert_eq!(check(&KEY, SCOPE, &quoted()), Ok(99));
    }

    #[test]
    fn a_quote_for_anything_else_is_refused() {
        let changed = |change: fn(&mut Requirements)| {
            let mut requirements = quoted();
            change(&mut requirements);
            check(&KEY, SCOPE, &requirements)
        };
        let changes: [fn(&mut Requirements); 8] = [
            |r| r.amount = Amount::from_units(9_999).unwrap(),
            |r| r.network = Network::Pubnet,
            |r| r.asset = Network::Testnet.xlm().contract,
            |r| r.pay_to = crate::protocol::stellar::Address::Contract(r.asset),
            |r| r.max_timeout_seconds = 61,
            |r| r.quote = None,
            |r| r.quote = Some(String::new()),
            |r| r.quote.as_mut().unwrap().push('A'),
        ];
        for (at, change) in changes.into_iter().enumerate() {
            assert_eq!(changed(change), Err(NotOurs), "change {at}");
        }
        let bodies = [&[0; 32], &[1; 32]].map(|body| Scope { body: Some(body), ..SCOPE });
        let others = [Scope { route: "b", ..SCOPE }, Scope { method: "POST", ..SCOPE }];
        for scope in others.into_iter().chain(bodies) {
            assert_eq!(check(&KEY, scope, &quoted()), Err(NotOurs));
        }
        assert_eq!(check(&Key::new([8; 32]), SCOPE, &quoted()), Err(NotOurs));
    }

    #[test]
    fn a_flipped_bit_anywhere_breaks_the_quote() {
        let good = URL_SAFE_NO_PAD.decode(quoted().quote.unwrap()).unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone();
            bytes[at] ^= 1;
            let mut requirements = quoted();
            requirements.quote = Some(URL_SAFE_NO_PAD.encode(bytes));
            assert_eq!(check(&KEY, SCOPE, &requirements), Err(NotOurs), "byte {at}");
        }
    }
}

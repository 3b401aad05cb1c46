//! Keys that an operator gave to its customers, in whatever header they send them.
//!
//! Only digests are kept and compared, all of them and each to its end, so that the time it takes tells nothing.

use std::{fmt, sync::Arc};

use http::{HeaderMap, HeaderName, header};
use sha2::{Digest as _, Sha256};

/// The keys that come in one header. Clones share them.
#[derive(Clone)]
pub struct Keys {
    header: HeaderName,
    digests: Arc<[[u8; 32]]>,
}

impl Keys {
    /// Those of which the SHA-256 is one of `digests`. In `Authorization` a key stands behind `Bearer `.
    #[must_use]
    pub fn new(header: HeaderName, digests: Vec<[u8; 32]>) -> Self {
        Self { header, digests: digests.into() }
    }

    /// The header that they come in.
    #[must_use]
    pub const fn header(&self) -> &HeaderName {
        &self.header
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.digests.len()
    }

    /// What is kept of a key.
    #[must_use]
    pub fn digest(key: &[u8]) -> [u8; 32] {
        Sha256::digest(key).into()
    }

    /// The digest of the key that `headers` carry, if it is one of these. A header that comes twice carries none.
    #[must_use]
    pub fn find(&self, headers: &HeaderMap) -> Option<[u8; 32]> {
        let given = only(headers, &self.header)?;
        let key = match self.header == header::AUTHORIZATION {
            true => bearer(given)?,
            false => given,
        };
        let digest = Self::digest(key);
        let known = self.digests.iter().fold(false, |found, known| found | same(known, &digest));
        known.then_some(digest)
    }
}

/// Says where they come and how many there are.
impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Keys({} in `{}`)", self.digests.len(), self.header)
    }
}

/// The one value of a header; `None` if it has more, of which another reader may take another one.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then(|| value.as_bytes())
}

/// What stands behind the scheme `Bearer`.
pub(super) fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then(|| rest.trim_ascii())
}

fn same(one: &[u8; 32], other: &[u8; 32]) -> bool {
    one.iter().zip(other).fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
}

const BEARER: &[u8] = b"Bearer ";

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)))
            .collect()
    }

    #[test]
    fn a_key_is_found_in_its_header_alone_and_once() {
        let digests = vec![Keys::digest(b"one of them"), Keys::digest(b"another")];
        let keys = Keys::new(HeaderName::from_static("x-api-key"), digests);
        let find = |pairs: &[(&'static str, &'static str)]| keys.find(&headers(pairs));
        assert_eq!(find(&[("x-api-key", "one of them")]), Some(Keys::digest(b"one of them")));
        assert_eq!(find(&[("x-api-key", "another")]), Some(Keys::digest(b"another")));
        for none in [
            &[][..],
            &[("x-api-key", "")],
            &[("x-api-key", "another ")],
            &[("x-api-key", "Another")],
            &[("x-api_key", "another")],
            &[("authorization", "Bearer another")],
            &[("x-api-key", "another"), ("x-api-key", "another")],
            &[("x-api-key", "nobody's"), ("x-api-key", "another")],
        ] {
            assert_eq!(find(none), None, "{none:?}");
        }
    }

    #[test]
    fn in_authorization_a_key_stands_behind_its_scheme() {
        let keys = Keys::new(header::AUTHORIZATION, vec![Keys::digest(b"secret")]);
        for (value, is_one) in [
            ("Bearer secret", true),
            ("bearer secret", true),
            ("secret", false),
            ("Basic secret", false),
            ("Payment secret", false),
            ("Bearer", false),
            ("Bearer ", false),
        ] {
            assert_eq!(
                keys.find(&headers(&[("authorization", value)])).is_some(),
                is_one,
                "{value}"
            );
        }
    }

    #[test]
    fn j06_what_is_shown_of_keys_is_no_key() {
        let keys = Keys::new(HeaderName::from_static("x-api-key"), vec![Keys::digest(b"secret")]);
        assert_eq!(format!("{keys:?}"), "Keys(1 in `x-api-key`)");
    }
}

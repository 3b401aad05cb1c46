//! Requests that come back: to a gateway that is its own upstream, at once or by way of others.
//!
//! Each request to an upstream says which gateway it went through, in the header that content networks have for it. One that
//! says this gateway already goes no further, and one that has been through many others neither: they may share its name
//! and its upstream. `Via` is left to others, since some servers answer differently where they see it (nginx compresses
//! nothing).
//!
//! Source: RFC 8586.

use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use rand_core::{OsRng, RngCore as _};

/// One gateway among those that a request may go through; clones are the same.
#[derive(Clone, Debug)]
pub(in crate::app) struct Hop(Arc<HeaderValue>);

/// The request went round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Looped;

impl Hop {
    /// A gateway under a name of its own.
    pub(in crate::app) fn draw() -> Self {
        let name = format!("{PREFIX}{:016x}", OsRng.next_u64());
        Self(Arc::new(HeaderValue::try_from(name).expect("letters and digits make a value")))
    }

    /// Notes on a request that it goes through here.
    ///
    /// # Errors
    /// [`Looped`] if it did before, or through [`MOST`] other gateways.
    pub(super) fn mark(&self, headers: &mut HeaderMap) -> Result<(), Looped> {
        let mut others = 0_usize;
        for line in headers.get_all(CDN_LOOP) {
            for hop in line.as_bytes().split(|byte| *byte == b',') {
                let name = hop.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
                if name == self.0.as_bytes() {
                    return Err(Looped);
                }
                others = others.saturating_add(usize::from(name.starts_with(PREFIX.as_bytes())));
            }
        }
        if others >= MOST {
            return Err(Looped);
        }
        headers.append(CDN_LOOP, HeaderValue::clone(&self.0));
        Ok(())
    }
}

const CDN_LOOP: HeaderName = HeaderName::from_static("cdn-loop");
const PREFIX: &str = "tollgate-";
/// More gateways than anybody puts one behind the other.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(hops: &[&str]) -> HeaderMap {
        hops.iter().map(|hop| (CDN_LOOP, HeaderValue::from_str(hop).unwrap())).collect()
    }

    #[test]
    fn g11_a_request_that_was_here_is_known_wherever_it_says_so() {
        let hop = Hop::draw();
        let own = hop.0.to_str().unwrap().to_owned();
        for hops in [
            &[own.as_str()][..],
            &["cdn.example", &own],
            &[&format!("cdn.example; a=b,{own} ; x=y")],
        ] {
            assert_eq!(hop.mark(&mut headers(hops)), Err(Looped), "{hops:?}");
        }
    }

    #[test]
    fn g11_a_request_goes_through_other_gateways_and_not_through_many() {
        let mut passed = headers(&["cdn.example, another", "tollgate"]);
        for _ in 0..MOST {
            assert_eq!(Hop::draw().mark(&mut passed), Ok(()));
        }
        assert_eq!(passed.get_all(CDN_LOOP).iter().count(), 2 + MOST);
        assert_eq!(Hop::draw().mark(&mut passed), Err(Looped));
    }
}

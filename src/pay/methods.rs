//! The payment methods that a gateway is configured with: a closed set, so an enum and no registry.

use std::sync::Arc;

use http::HeaderMap;

use super::{
    Bound, Challenge, Denied, Draw, Fault, Method as _, MethodName, Refusal, Terms, x402::X402,
};
use crate::{protocol::x402::Payload, store::Pending};

/// The methods of a gateway. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Methods {
    /// x402 `exact`.
    pub x402: Option<Arc<X402>>,
}

/// A credential of any method, read but not verified.
#[derive(Debug)]
pub enum Credential {
    /// x402 `exact`.
    X402(Arc<X402>, Payload),
}

impl Methods {
    /// Whether a route with `terms` can be paid now, by one of its methods at least.
    ///
    /// # Errors
    /// [`Fault`] says for the log what stands in the way.
    pub fn ready(&self, terms: &Terms) -> Result<(), Fault> {
        let mut first = Fault::unavailable("no method is configured");
        for offer in &terms.offers {
            match self.is_ready(offer.method) {
                Ok(()) => return Ok(()),
                Err(fault) => first = fault,
            }
        }
        Err(first)
    }

    /// The challenges for a request to a route with `terms`, of the methods that are ready; `reason` says why there was no
    /// answer yet.
    #[must_use]
    pub fn challenges(
        &self,
        terms: &Terms,
        bound: &Bound,
        draw: &Draw,
        reason: &str,
    ) -> Vec<Challenge> {
        let ready = terms.offers.iter().filter(|offer| self.is_ready(offer.method).is_ok());
        ready
            .filter_map(|offer| match offer.method {
                MethodName::X402 => Some(self.x402.as_ref()?.challenge(terms, bound, draw, reason)),
            })
            .collect()
    }

    /// Finds the credential among a request's headers; `None` if there is none.
    ///
    /// # Errors
    /// [`Refusal`] if there is one that cannot be read or that the route does not take, or more than one.
    pub fn parse(&self, terms: &Terms, headers: &HeaderMap) -> Result<Option<Credential>, Refusal> {
        let Some(x402) = self.x402.clone() else { return Ok(None) };
        let payload = x402.parse(terms, headers)?;
        Ok(payload.map(|payload| Credential::X402(x402, payload)))
    }

    /// As [`super::Method::resume`], by the method that the payment was made with.
    ///
    /// # Errors
    /// [`Denied`] while it cannot be known.
    pub async fn resume(&self, pending: &Pending) -> Result<(), Denied> {
        match &self.x402 {
            Some(x402) => x402.resume(pending).await,
            None => Err(Fault::unavailable("no method is configured").into()),
        }
    }

    fn is_ready(&self, method: MethodName) -> Result<(), Fault> {
        let unconfigured = || Fault::unavailable("no method is configured");
        match method {
            MethodName::X402 => self.x402.as_ref().ok_or_else(unconfigured)?.ready(),
        }
    }
}

//! The payment methods that a gateway is configured with: a closed set, so an enum and no registry.

use std::sync::Arc;

use http::HeaderMap;

use super::{
    Bound, Challenge, Denied, Draw, Fault, Method as _, MethodName, Offer, Refusal, RefusalKind,
    Terms, Worth,
    channel::{Asker, Channel, Named},
    charge::Charge,
    x402::{self, X402},
};
use crate::{
    protocol::{
        json,
        mpp::{self, ACCEPT_PAYMENT, AcceptPayment},
        x402::Payload,
    },
    store::Pending,
};

/// The methods of a gateway. Clones share them.
#[derive(Clone, Debug, Default)]
pub struct Methods {
    /// x402 `exact`.
    pub x402: Option<Arc<X402>>,
    /// MPP `charge`.
    pub charge: Option<Arc<Charge>>,
    /// MPP `channel`.
    pub channel: Option<Arc<Channel>>,
}

/// A credential of any method, read but not verified.
#[derive(Debug)]
pub enum Credential {
    /// x402 `exact`.
    X402(Arc<X402>, Box<Payload>),
    /// MPP `charge`.
    Charge(Arc<Charge>, Box<mpp::Credential>),
    /// MPP `channel`.
    Channel(Arc<Channel>, Box<mpp::Credential>),
}

/// What a request asks for, and how it wants to be told what that costs.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What its route asks.
    pub terms: Arc<Terms>,
    /// What a payment for it is bound to.
    pub bound: Bound,
    /// How its client wants to be asked for money.
    pub wanted: Wanted,
    /// Who asks.
    pub asker: Asker,
}

/// How a client wants to be asked for money.
///
/// Who sends `Accept-Payment` speaks MPP, and older clients that do so break off at an x402 challenge beside a `Payment`
/// one: they get the latter alone where there is one, in the order that they like.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Whether there is an `Accept-Payment`, be it malformed.
    speaks_mpp: bool,
    /// What it says, if it can be read.
    order: Option<AcceptPayment>,
}

impl Wanted {
    /// What a request with these headers wants.
    #[must_use]
    pub fn of(headers: &HeaderMap) -> Self {
        let speaks_mpp = headers.contains_key(ACCEPT_PAYMENT);
        Self { speaks_mpp, order: AcceptPayment::from_headers(headers) }
    }

    /// What of `offers` is told to the client under which intent, in which order; `None` is x402.
    ///
    /// An offer to pay from a channel has two names, and the second is told only to who asks for it.
    fn choose<'a>(&self, offers: Vec<&'a Offer>) -> Vec<(&'a Offer, Option<Intent>)> {
        let asks_for_session =
            self.order.as_ref().is_some_and(|order| order.names(Channel::SESSION));
        let mut told = Vec::with_capacity(offers.len());
        for offer in offers {
            match offer.method {
                MethodName::X402 => told.push((offer, None)),
                MethodName::Charge { .. } => told.push((offer, Some(Charge::NAME))),
                MethodName::Channel => {
                    told.push((offer, Some(Channel::NAME)));
                    told.extend(asks_for_session.then_some((offer, Some(Channel::SESSION))));
                }
            }
        }
        if !self.speaks_mpp || told.iter().all(|(_, intent)| intent.is_none()) {
            return told;
        }
        told.retain(|(_, intent)| intent.is_some());
        let Some(order) = &self.order else { return told };
        let names: Vec<_> = told.iter().filter_map(|(_, intent)| *intent).collect();
        order.rank(&names).into_iter().filter_map(|index| told.get(index).copied()).collect()
    }
}

/// A method and its intent, as `Accept-Payment` names them.
type Intent = (&'static str, &'static str);

impl Methods {
    /// Whether a route with `terms` can be paid now, by one of its methods at least.
    ///
    /// # Errors
    /// [`Fault`] says for the log what stands in the way.
    pub fn ready(&self, terms: &Terms) -> Result<(), Fault> {
        let mut first = unconfigured();
        for offer in &terms.offers {
            match self.is_ready(offer, terms) {
                Ok(()) => return Ok(()),
                Err(fault) => first = fault,
            }
        }
        Err(first)
    }

    /// The challenges for what is `asked`, of the methods that are ready; `reason` says why there was no answer yet.
    #[must_use]
    pub fn challenges(&self, asked: &Asked, draw: &Draw, reason: &str) -> Vec<Challenge> {
        let Asked { terms, bound, wanted, .. } = asked;
        let ready = terms.offers.iter().filter(|offer| self.is_ready(offer, terms).is_ok());
        let offers = wanted.choose(ready.collect());
        offers
            .into_iter()
            .filter_map(|(offer, intent)| match offer.method {
                MethodName::X402 => {
                    self.x402.as_ref()?.challenge(offer, terms, bound, draw, reason)
                }
                MethodName::Charge { .. } => {
                    self.charge.as_ref()?.challenge(offer, terms, bound, draw, reason)
                }
                MethodName::Channel if intent == Some(Channel::SESSION) => {
                    self.channel.as_ref()?.session_challenge(offer, terms, bound, draw)
                }
                MethodName::Channel => {
                    self.channel.as_ref()?.challenge(offer, terms, bound, draw, reason)
                }
            })
            .collect()
    }

    /// The channel that what is `asked` would be paid from, if there is one.
    ///
    /// # Errors
    /// [`Denied`] says why the one that the request names does not pay, or cannot be looked up now.
    pub async fn named(&self, asked: &Asked) -> Result<Option<Named>, Denied> {
        match &self.channel {
            Some(channel) => channel.named(&asked.terms, &asked.asker).await,
            None => Ok(None),
        }
    }

    /// Finds the credential among a request's headers; `None` if there is none.
    ///
    /// # Errors
    /// [`Refusal`] if there is one that cannot be read, or more than one.
    pub fn parse(&self, terms: &Terms, headers: &HeaderMap) -> Result<Option<Credential>, Refusal> {
        // Two payments are two also where one is by a method that is not configured.
        let carries_x402 = x402::is_carried(headers);
        let found = super::mpp::find(headers);
        let carries_mpp = !matches!(found, Ok(None));
        if carries_x402 && carries_mpp {
            return Err(Refusal::new(
                RefusalKind::Ambiguous,
                "ambiguous_payment",
                "the request carries an x402 and an MPP payment: send one of them",
            ));
        }
        if let Some(method) = self.x402.as_ref().filter(|_| carries_x402) {
            let payload = method.parse(terms, headers)?;
            return Ok(payload.map(|payload| Credential::X402(method.clone(), Box::new(payload))));
        }
        if !carries_mpp || (self.charge.is_none() && self.channel.is_none()) {
            return Ok(None);
        }
        let Some(found) = found?.map(Box::new) else { return Ok(None) };
        match (&self.charge, &self.channel) {
            (_, Some(channel)) if Channel::is_for_us(&found) => {
                Ok(Some(Credential::Channel(channel.clone(), found)))
            }
            (Some(charge), _) => Ok(Some(Credential::Charge(charge.clone(), found))),
            _ => Err(super::mpp::not_ours("the challenge is for another kind of payment")),
        }
    }

    /// As [`super::Method::resume`], by the method that the payment was made with.
    ///
    /// # Errors
    /// [`Denied`] while it cannot be known.
    pub async fn resume(&self, pending: &Pending) -> Result<(), Denied> {
        let memo = json::parse(&pending.submitting.memo).map_err(Fault::unavailable)?;
        let method = memo.get("method").and_then(serde_json::Value::as_str);
        match (method, &self.x402, &self.charge) {
            (Some("x402"), Some(x402), _) => x402.resume(pending, &memo).await,
            (Some(MethodName::CHARGE), _, Some(charge)) => charge.resume(pending, &memo).await,
            _ => Err(unconfigured().into()),
        }
    }

    /// The method of a payment whose outcome is not known, and what it comes to; `None` if what was remembered of it does
    /// not read, or its method is not configured.
    #[must_use]
    pub fn worth(&self, pending: &Pending) -> Option<(&'static str, Worth)> {
        let memo = json::parse(&pending.submitting.memo).ok()?;
        match memo.get("method")?.as_str()? {
            "x402" => Some(("x402", self.x402.as_ref()?.remembered_worth(&memo)?)),
            MethodName::CHARGE => {
                Some((MethodName::CHARGE, self.charge.as_ref()?.remembered_worth(&memo)?))
            }
            _ => None,
        }
    }

    fn is_ready(&self, offer: &Offer, terms: &Terms) -> Result<(), Fault> {
        match offer.method {
            MethodName::X402 => self.x402.as_ref().ok_or_else(unconfigured)?.ready(terms),
            MethodName::Charge { .. } => {
                self.charge.as_ref().ok_or_else(unconfigured)?.ready(terms)
            }
            MethodName::Channel => self.channel.as_ref().ok_or_else(unconfigured)?.ready(terms),
        }
    }
}

fn unconfigured() -> Fault {
    Fault::unavailable("the method is not configured")
}

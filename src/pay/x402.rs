//! x402 `exact` on Stellar: the client signs a transfer, a facilitator puts it on the ledger.
//!
//! Knows what a payment must be worth and in which order it is checked, claimed and settled; how the ledger is reached
//! is the facilitator's. Source: x402 v2, HTTP transport and scheme `exact` on Stellar.

mod denial;

use std::{sync::Arc, time::Duration};

use http::{HeaderMap, StatusCode};
use serde_json::{Map, Value};

use self::denial::{expired, payment_id_taken, refusal, settlement_failed};
use super::{
    Bound, Challenge, Denied, Draw, Fault, Method, MethodName, Offer, Receipt, Refusal,
    RefusalKind, Terms, Worth,
    claims::{self, Held, Lost, Rail},
    room::Seat,
};
use crate::{
    ledger::facilitator::{Facilitator, Outcome, Payment, Prepared, Presented, Sent, VerifyError},
    protocol::{
        json, quote,
        stellar::{Network, TxHash},
        transfer::{Expected, Transfer},
        x402::{self, Payload, Requirements, Resource, Settlement, Template, identifier},
    },
    store::{self, Binding, Claim, ClaimKey, Pending, Store, TakenBy},
    telemetry::{Clock, label},
};

/// The x402 method of a gateway.
#[derive(Debug)]
pub struct X402 {
    settings: Settings,
    facilitator: Arc<Facilitator>,
    store: Store,
    key: quote::Key,
    clock: Clock,
}

/// How a gateway takes x402 payments.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How long a signed authorization may live, in seconds.
    pub max_timeout_seconds: u32,
    /// The gateway's public address without a trailing slash: `https://api.example.com`.
    pub public_url: Arc<str>,
    /// Whether a transfer that settled here could be pushed for an MPP challenge, and so is remembered for longer.
    pub remembers_pushes: bool,
}

/// A payment that is checked and claimed for one request.
pub type Verified = Held<Presented>;

impl X402 {
    /// The method with its facilitator and store; quotes are made under `key`.
    #[must_use]
    pub const fn new(
        settings: Settings,
        facilitator: Arc<Facilitator>,
        store: Store,
        key: quote::Key,
        clock: Clock,
    ) -> Self {
        Self { settings, facilitator, store, key, clock }
    }

    /// Checks what needs no ledger: the echo, the quote, the transfer and its signature.
    fn check(
        &self,
        terms: &Terms,
        bound: &Bound,
        payload: Payload,
    ) -> Result<(Presented, u64), Refusal> {
        let requirements = Requirements::from_json(&payload.accepted).map_err(|mismatch| {
            Refusal::new(
                RefusalKind::NotOffered,
                "No matching payment requirements",
                mismatch.to_string(),
            )
        })?;
        let expires =
            quote::check(&self.key, scope(terms, bound), &requirements).map_err(|error| {
                Refusal::new(
                    RefusalKind::NotOffered,
                    "No matching payment requirements",
                    error.to_string(),
                )
            })?;
        let expected = expected(&requirements);
        let payee = expected.payee.account();
        let transfer = Transfer::parse(&payload.transaction)
            .and_then(|transfer| transfer.check(&expected, payee.as_slice()).map(|()| transfer))
            .and_then(|transfer| transfer.check_signature(expected.network).map(|()| transfer))
            .map_err(|error| {
                Refusal::new(RefusalKind::Invalid, error.reason(), error.to_string())
            })?;
        let payment = Payment {
            transfer,
            expected,
            max_timeout_seconds: requirements.max_timeout_seconds,
            min_remaining: terms.life_needed(bound, self.life()),
            declares_fee: true,
        };
        let requirements = requirements.to_json();
        Ok((Presented { payment, payload: payload.json, requirements }, expires))
    }
}

impl Rail for X402 {
    type Payment = Presented;
    type Prepared = Prepared;

    async fn prepare(&self, presented: &Presented) -> Result<(Prepared, Sent), VerifyError> {
        let prepared = self.facilitator.prepare(presented).await?;
        let sent = *prepared.sent();
        Ok((prepared, sent))
    }

    async fn submit(&self, presented: &Presented, prepared: Prepared) -> Outcome {
        self.facilitator.submit(presented, prepared).await
    }

    async fn resolve(&self, presented: &Presented, sent: &Sent) -> Outcome {
        self.facilitator.resolve(&presented.payment, sent).await
    }

    /// What an x402 client signs is never on the ledger before it is presented.
    fn landed(&self, _presented: &Presented) -> Option<TxHash> {
        None
    }

    fn memo(&self, presented: &Presented) -> Map<String, Value> {
        let transaction = presented.payload.pointer("/payload/transaction").cloned();
        Map::from_iter([
            ("requirements".to_owned(), presented.requirements.clone()),
            ("transaction".to_owned(), transaction.into()),
        ])
    }

    fn place(&self, presented: &Presented) -> (&'static str, Network) {
        (MethodName::X402.as_str(), presented.payment.expected.network)
    }

    fn worth(&self, presented: &Presented) -> Worth {
        let payment = &presented.payment;
        Worth {
            payer: Some(payment.transfer.payer()),
            ..Worth::of(payment.expected.asset, payment.expected.amount)
        }
    }

    fn settled(&self, presented: &Presented, transaction: TxHash) -> store::Settled {
        store::Settled {
            transaction: Some(transaction),
            receipt: receipt_json(&presented.payment, transaction).to_string().into(),
            at: self.clock.now(),
        }
    }

    fn receipt(&self, settled: &store::Settled) -> Result<Receipt, Fault> {
        let json = json::parse(&settled.receipt).map_err(|error| {
            Fault::pending(format_args!("the stored receipt: {error}"), settled.transaction)
        })?;
        let header = (x402::PAYMENT_RESPONSE, x402::encode(&json));
        Ok(Receipt { header, next: None, with_failures: true })
    }

    fn is_named(&self, presented: &Presented) -> bool {
        matches!(identifier::of(&presented.payload), Ok(Some(_)))
    }

    fn settlement_failed(
        &self,
        presented: &Presented,
        reason: &str,
        transaction: Option<TxHash>,
    ) -> Refusal {
        settlement_failed(&presented.payment, reason, transaction)
    }

    fn alias_taken(&self, _taken: &TakenBy) -> Denied {
        payment_id_taken().into()
    }
}

impl Method for X402 {
    const RAIL: label::Rail = label::Rail::X402;

    type Credential = Payload;
    type Verified = Verified;

    fn ready(&self, _terms: &Terms) -> Result<(), Fault> {
        if !self.store.is_running() {
            return Err(Fault::unavailable("the store has stopped"));
        }
        self.facilitator.supported().map(|_| ()).map_err(Fault::unavailable)
    }

    fn challenge(
        &self,
        offer: &Offer,
        terms: &Terms,
        bound: &Bound,
        draw: &Draw,
        reason: &str,
    ) -> Option<Challenge> {
        let requirements = self.requirements(offer);
        let expires = draw.now_ms.div_euclid(1_000).saturating_add(QUOTE_SECONDS);
        let quote =
            quote::issue(&self.key, scope(terms, bound), &requirements, draw.random, expires);
        let resource = Resource {
            url: format!("{}{}", self.settings.public_url, bound.target),
            description: terms.description.to_string(),
            mime_type: String::new(),
        };
        let template = offer.wording.x402.get_or_init(|| Template::new(&requirements));
        let challenge = template.challenge(reason, &resource, &quote);
        let header = (x402::PAYMENT_REQUIRED, challenge);
        Some(Challenge { header, id: None })
    }

    fn parse(&self, _terms: &Terms, headers: &HeaderMap) -> Result<Option<Payload>, Refusal> {
        let mut values = headers.get_all(x402::PAYMENT_SIGNATURE).iter();
        let (first, more) = (values.next(), values.next().is_some());
        if more {
            return Err(Refusal::new(
                RefusalKind::Ambiguous,
                "ambiguous_payment",
                "the request carries PAYMENT-SIGNATURE more than once: send one payment",
            ));
        }
        match first.filter(|value| !value.is_empty()) {
            Some(value) => {
                let payload = Payload::decode(value.as_bytes()).and_then(|payload| {
                    identifier::of(&payload.json)?;
                    Ok(payload)
                });
                payload.map(Some).map_err(|error| {
                    let detail = format!("PAYMENT-SIGNATURE cannot be read: {error}");
                    Refusal::new(RefusalKind::Malformed, "invalid_payload", detail)
                })
            }
            None if headers.contains_key(x402::X_PAYMENT) => Err(Refusal::new(
                RefusalKind::Malformed,
                "invalid_x402_version",
                "X-PAYMENT is of x402 version 1, which Stellar never had: send PAYMENT-SIGNATURE of version 2",
            )),
            None => Ok(None),
        }
    }

    async fn verify(
        &self,
        terms: &Arc<Terms>,
        bound: &Bound,
        credential: Payload,
        seat: &mut Seat,
    ) -> Result<Verified, Denied> {
        let (presented, expires) = self.check(terms, bound, credential)?;
        let payer = presented.payment.transfer.payer();
        // What a contract has signed is for the ledger to judge.
        if payer.account().is_some() {
            seat.come_as(payer)?;
        }
        let claim = self.claim(terms, bound, &presented);
        let held = claims::claim(self, &self.store, claim, presented, &terms.route);
        let verified = held.await?;
        // A settled payment stays good past its quote; a new one must come in time and pass the ledger's check.
        if verified.settled.is_none() {
            let checked = if self.clock.now() > expires {
                Err(expired().into())
            } else {
                self.facilitator.verify(&verified.payment).await.map_err(|error| match error {
                    VerifyError::Invalid(invalid) => Denied::from(refusal(&invalid)),
                    VerifyError::Failed(failure) => claims::fault(&failure).into(),
                })
            };
            if let Err(denied) = checked {
                self.release(verified, false).await;
                return Err(denied);
            }
        }
        if let Err(fault) = seat.pay_as(payer) {
            self.release(verified, false).await;
            return Err(fault.into());
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
            ..Rail::worth(self, &verified.payment)
        }
    }

    async fn resume(&self, pending: &Pending, memo: &Value) -> Result<(), Denied> {
        let presented = remembered(memo)
            .ok_or_else(|| Fault::unavailable("what was remembered of a payment does not read"))?;
        claims::resolve(self, &self.store, &presented, Lost::of(pending, memo)).await
    }
}

impl X402 {
    /// The claim that a payment makes for the request `bound`.
    fn claim(&self, terms: &Terms, bound: &Bound, presented: &Presented) -> Claim {
        let payment = &presented.payment;
        let now = self.clock.now();
        Claim {
            key: ClaimKey(payment.transfer.claim_key(payment.expected.network)),
            alias: alias(terms, presented),
            binding: binding(terms, bound, presented),
            now,
            // What is settled and not delivered is kept for as long as `redelivery` says, whatever stands here.
            keep_until: now
                .saturating_add(QUOTE_SECONDS)
                .saturating_add(u64::from(payment.max_timeout_seconds))
                .saturating_add(match self.settings.remembers_pushes {
                    true => claims::REMEMBERED_SECONDS,
                    false => MARGIN_SECONDS,
                }),
            redelivery: terms.redelivery,
        }
    }

    /// What the payment that a memo is about comes to.
    pub(super) fn remembered_worth(&self, memo: &Value) -> Option<Worth> {
        remembered(memo).map(|presented| Rail::worth(self, &presented))
    }

    /// How long an authorization lives at most.
    fn life(&self) -> Duration {
        Duration::from_secs(self.settings.max_timeout_seconds.into())
    }

    fn requirements(&self, offer: &Offer) -> Requirements {
        Requirements {
            network: offer.network,
            amount: offer.amount,
            asset: offer.asset.contract,
            pay_to: offer.payee,
            max_timeout_seconds: self.settings.max_timeout_seconds,
            quote: None,
        }
    }
}

fn scope<'a>(terms: &'a Terms, bound: &'a Bound) -> quote::Scope<'a> {
    quote::Scope { route: &terms.route, method: bound.method.as_str(), body: bound.body.as_ref() }
}

/// Whether a request carries an x402 payment, of whatever version.
pub(super) fn is_carried(headers: &HeaderMap) -> bool {
    let is_there = |name| headers.get_all(name).iter().any(|value| !value.is_empty());
    is_there(x402::PAYMENT_SIGNATURE) || headers.contains_key(x402::X_PAYMENT)
}

/// What must be the same when a payment comes again: route, method and target, and the payment itself, each behind its
/// length.
///
/// The authorization is on the ledger for all to see once it is settled, and anybody is given a quote for the asking. Only
/// the payer knows which quote it paid: who presents the one under another is a thief.
fn binding(terms: &Terms, bound: &Bound, presented: &Presented) -> Binding {
    let quote = presented.requirements.pointer("/extra/quote").and_then(Value::as_str);
    let authorization = presented.payment.transfer.authorization_hash();
    let fields: [&[u8]; 6] = [
        terms.route.as_bytes(),
        bound.method.as_str().as_bytes(),
        bound.target.as_bytes(),
        bound.body.as_ref().map_or(&[][..], |body| &body[..]),
        quote.unwrap_or_default().as_bytes(),
        &authorization,
    ];
    Binding(claims::digest(&fields))
}

/// The name that the client gave the payment, of this payer on this route.
fn alias(terms: &Terms, presented: &Presented) -> Option<ClaimKey> {
    let id = identifier::of(&presented.payload).ok().flatten()?;
    let payer = presented.payment.transfer.payer().to_string();
    let digest = claims::digest(&[
        b"x402 payment identifier",
        terms.route.as_bytes(),
        payer.as_bytes(),
        id.as_bytes(),
    ]);
    Some(ClaimKey(digest))
}

/// The payment that a memo of [`Rail::memo`] is about, as far as it takes to find it on the ledger.
fn remembered(memo: &Value) -> Option<Presented> {
    let requirements = memo.get("requirements")?.clone();
    let read = Requirements::from_json(&requirements).ok()?;
    let transfer = Transfer::parse(memo.get("transaction")?.as_str()?).ok()?;
    let payment = Payment {
        transfer,
        expected: expected(&read),
        max_timeout_seconds: read.max_timeout_seconds,
        min_remaining: 0,
        declares_fee: true,
    };
    Some(Presented { payment, payload: Value::Null, requirements })
}

/// What a transfer has to move to meet `requirements`.
const fn expected(requirements: &Requirements) -> Expected {
    Expected {
        network: requirements.network,
        asset: requirements.asset,
        payee: requirements.pay_to,
        amount: requirements.amount,
    }
}

fn receipt_json(payment: &Payment, transaction: TxHash) -> Value {
    Settlement {
        success: true,
        error_reason: None,
        transaction: transaction.to_string(),
        network: payment.expected.network.name().to_owned(),
        payer: Some(payment.transfer.payer().to_string()),
        amount: Some(payment.expected.amount.to_string()),
    }
    .to_json()
}

/// How long an offer is honoured.
const QUOTE_SECONDS: u64 = 300;
/// Claims are remembered this much longer than needed.
const MARGIN_SECONDS: u64 = 3_600;

#[cfg(test)]
mod tests;

//! x402 `exact` on Stellar: the client signs a transfer, a facilitator puts it on the ledger.
//!
//! Knows what a payment must be worth and in which order it is checked, claimed and settled; how the ledger is reached
//! is the facilitator's. Source: x402 v2, HTTP transport and scheme `exact` on Stellar.

mod denial;

use std::sync::Arc;

use http::HeaderMap;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tracing::{error, warn};

use self::denial::{expired, fault, refusal, settlement_failed, store_fault, used};
use super::{
    Bound, Challenge, Denied, Draw, Fault, Method, MethodName, Offer, Receipt, Refusal,
    RefusalKind, SettleOrder, Terms,
};
use crate::{
    ledger::facilitator::{Facilitator, Outcome, Payment, Sent, VerifyError},
    protocol::{
        json, quote,
        stellar::{AccountId, Address, TxHash},
        transfer::{Expected, Transfer},
        x402::{self, Payload, PaymentRequired, Requirements, Resource, Settlement},
    },
    store::{self, Binding, Claim, ClaimKey, Claiming, Store, Submitting, Ticket},
    telemetry::Clock,
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
}

/// A payment that is checked and claimed for one request.
#[derive(Debug)]
pub struct Verified {
    ticket: Ticket,
    payment: Payment,
    settled: Option<store::Settled>,
}

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
    ) -> Result<(Payment, u64), Refusal> {
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
        let expected = Expected {
            network: requirements.network,
            asset: requirements.asset,
            payee: requirements.pay_to,
            amount: requirements.amount,
        };
        let payee: Vec<AccountId> = match requirements.pay_to {
            Address::Account(account) => vec![account],
            Address::Contract(_) => Vec::new(),
        };
        let transfer = Transfer::parse(&payload.transaction)
            .and_then(|transfer| transfer.check(&expected, &payee).map(|()| transfer))
            .and_then(|transfer| transfer.check_signature(expected.network).map(|()| transfer))
            .map_err(|error| {
                Refusal::new(RefusalKind::Invalid, error.reason(), error.to_string())
            })?;
        let payment = Payment {
            transfer,
            expected,
            payload: payload.json,
            requirements: requirements.to_json(),
            max_timeout_seconds: requirements.max_timeout_seconds,
            min_remaining: life_needed(terms, bound),
        };
        Ok((payment, expires))
    }

    /// Claims the payment for this request, or says what became of it before.
    async fn claim(
        &self,
        terms: &Terms,
        bound: &Bound,
        payment: Payment,
    ) -> Result<Verified, Denied> {
        let key = ClaimKey(payment.transfer.claim_key(payment.expected.network));
        let now = self.clock.now();
        let claim = Claim {
            key,
            binding: binding(terms, bound, &payment),
            now,
            // What is settled and not delivered is kept for as long as `redelivery` says, whatever stands here.
            keep_until: now
                .saturating_add(QUOTE_SECONDS)
                .saturating_add(u64::from(payment.max_timeout_seconds))
                .saturating_add(MARGIN_SECONDS),
            redelivery: terms.redelivery,
        };
        // A pending payment is looked up once on the ledger, and what was found is claimed like any other.
        for _ in 0..2 {
            match self.store.claim(claim.clone()).await.map_err(store_fault)? {
                Claiming::Fresh(ticket) => return Ok(Verified { ticket, payment, settled: None }),
                Claiming::Redeliver(ticket, settled) => {
                    return Ok(Verified { ticket, payment, settled: Some(settled) });
                }
                Claiming::Pending(submitting) => self.resolve(key, &payment, &submitting).await?,
                other => return Err(used(&other).into()),
            }
        }
        Err(Fault::pending("resolved, and claimed by another request meanwhile", None).into())
    }

    /// Finds out what became of a payment whose outcome was unknown, and records it.
    async fn resolve(
        &self,
        key: ClaimKey,
        payment: &Payment,
        submitting: &Submitting,
    ) -> Result<(), Denied> {
        let sent = Sent {
            transaction: submitting.transaction,
            valid_until: submitting.valid_until,
            since: submitting.since_ledger,
        };
        let outcome = match self.facilitator.resolve(payment, &sent).await {
            Outcome::Settled(settled) => {
                store::Outcome::Settled(self.settled(payment, settled.transaction))
            }
            Outcome::Rejected { reason, .. } => {
                store::Outcome::Refused { reason: reason.into_owned() }
            }
            Outcome::Stale => store::Outcome::Free,
            Outcome::Unknown { transaction, failure } => {
                let transaction = transaction.or(submitting.transaction);
                return Err(Fault::pending(failure.detail, transaction).into());
            }
            Outcome::Unsent(failure) => {
                return Err(Fault::pending(failure.detail, submitting.transaction).into());
            }
        };
        self.store.resolve(key, submitting, outcome).await.map_err(store_fault)?;
        Ok(())
    }

    /// Puts the payment on the ledger; its hash is durable before anything is sent.
    ///
    /// After an error the claim is what the error says: refused for good, pending, or free again.
    async fn submit(
        &self,
        mut ticket: Ticket,
        payment: &Payment,
    ) -> Result<(Ticket, TxHash), Denied> {
        for _ in 0..SUBMISSIONS {
            let prepared = match self.facilitator.prepare(payment).await {
                Ok(prepared) => prepared,
                Err(VerifyError::Invalid(invalid)) => {
                    return Err(settlement_failed(payment, &invalid.reason, None).into());
                }
                Err(VerifyError::Failed(failure)) => return Err(fault(&failure).into()),
            };
            let sent = *prepared.sent();
            let submitting = Submitting {
                transaction: sent.transaction,
                valid_until: sent.valid_until,
                since_ledger: sent.since,
                memo: memo(payment).to_string().into(),
            };
            self.store.submitting(&mut ticket, submitting).await.map_err(store_fault)?;
            match self.facilitator.submit(payment, prepared).await {
                Outcome::Settled(settled) => return Ok((ticket, settled.transaction)),
                // It cost a fee and moved nothing: not a second time.
                Outcome::Rejected { reason, transaction } => {
                    self.store.refuse(ticket, reason.clone()).await.map_err(store_fault)?;
                    return Err(settlement_failed(payment, &reason, transaction).into());
                }
                // The claim stays pending; only the ticket is dropped.
                Outcome::Unknown { transaction, failure } => {
                    let transaction = transaction.or(sent.transaction);
                    return Err(Fault::pending(failure.detail, transaction).into());
                }
                Outcome::Stale => self.store.recall(&mut ticket).await.map_err(store_fault)?,
                Outcome::Unsent(failure) => {
                    self.store.recall(&mut ticket).await.map_err(store_fault)?;
                    return Err(fault(&failure).into());
                }
            }
        }
        Err(Fault::unavailable("the transaction went stale time and again").into())
    }
}

impl Method for X402 {
    type Credential = Payload;
    type Verified = Verified;

    fn ready(&self) -> Result<(), Fault> {
        if !self.store.is_running() {
            return Err(Fault::unavailable("the store has stopped"));
        }
        self.facilitator.supported().map(|_| ()).map_err(Fault::unavailable)
    }

    fn challenge(&self, terms: &Terms, bound: &Bound, draw: &Draw, reason: &str) -> Challenge {
        let accepts = terms.offer(MethodName::X402).map(|offer| {
            let mut requirements = self.requirements(offer);
            let expires = draw.now.saturating_add(QUOTE_SECONDS);
            let quote =
                quote::issue(&self.key, scope(terms, bound), &requirements, draw.random, expires);
            requirements.quote = Some(quote);
            requirements.to_json()
        });
        let challenge = PaymentRequired {
            error: reason.to_owned(),
            resource: Resource {
                url: format!("{}{}", self.settings.public_url, bound.target),
                description: terms.description.to_string(),
                mime_type: String::new(),
            },
            accepts: accepts.into_iter().collect(),
            extensions: None,
        };
        Challenge { header: (x402::PAYMENT_REQUIRED, x402::encode(&challenge.to_json())) }
    }

    fn parse(&self, headers: &HeaderMap) -> Result<Option<Payload>, Refusal> {
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
            Some(value) => Payload::decode(value.as_bytes()).map(Some).map_err(|error| {
                let detail = format!("PAYMENT-SIGNATURE cannot be read: {error}");
                Refusal::new(RefusalKind::Malformed, "invalid_payload", detail)
            }),
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
    ) -> Result<Verified, Denied> {
        let (payment, expires) = self.check(terms, bound, credential)?;
        let verified = self.claim(terms, bound, payment).await?;
        // A settled payment stays good past its quote; a new one must come in time and pass the ledger's check.
        if verified.settled.is_none() {
            let checked = if self.clock.now() > expires {
                Err(expired().into())
            } else {
                self.facilitator.verify(&verified.payment).await.map_err(|error| match error {
                    VerifyError::Invalid(invalid) => Denied::from(refusal(&invalid)),
                    VerifyError::Failed(failure) => fault(&failure).into(),
                })
            };
            if let Err(denied) = checked {
                self.release(verified).await;
                return Err(denied);
            }
        }
        Ok(verified)
    }

    async fn settle(&self, verified: Verified) -> Result<(Verified, Receipt), Denied> {
        let Verified { ticket, payment, settled } = verified;
        let (ticket, settled) = match settled {
            Some(settled) => (ticket, settled),
            None => {
                let (mut ticket, transaction) = self.submit(ticket, &payment).await?;
                let settled = self.settled(&payment, transaction);
                // The money has moved: where that cannot be recorded, the recorded hash will tell later.
                self.store.settled(&mut ticket, settled.clone()).await.map_err(|error| {
                    error!(%error, %transaction, "a settled payment could not be recorded; it stays pending");
                    Fault::pending(error, Some(transaction))
                })?;
                (ticket, settled)
            }
        };
        // The money has moved, so it would be false that nothing was charged.
        let json = json::parse(&settled.receipt).map_err(|error| {
            Fault::pending(format_args!("the stored receipt: {error}"), settled.transaction)
        })?;
        let receipt = Receipt {
            payer: Some(payment.transfer.payer().to_string()),
            transaction: settled.transaction,
            header: (x402::PAYMENT_RESPONSE, x402::encode(&json)),
        };
        Ok((Verified { ticket, payment, settled: Some(settled) }, receipt))
    }

    async fn deliver(&self, verified: Verified) -> Result<(), Fault> {
        let transaction = verified.settled.and_then(|settled| settled.transaction);
        match self.store.delivered(verified.ticket).await {
            Ok(()) => Ok(()),
            // It may be recorded all the same, and then the payer could not come again for what it paid. Served now, it
            // buys one more delivery at most.
            Err(error @ (store::Error::Unreachable { .. } | store::Error::Stopped { .. })) => {
                warn!(%error, ?transaction, "a delivery may not be recorded");
                Ok(())
            }
            // The money has moved, so "nothing was charged" would be false: the payment may be presented again.
            Err(error) => Err(Fault::pending(error, transaction)),
        }
    }

    async fn release(&self, verified: Verified) {
        if let Err(error) = self.store.release(verified.ticket).await {
            warn!(%error, "a claim could not be released; it is free again after a restart");
        }
    }
}

impl X402 {
    fn settled(&self, payment: &Payment, transaction: TxHash) -> store::Settled {
        store::Settled {
            transaction: Some(transaction),
            receipt: receipt_json(payment, transaction).to_string().into(),
            at: self.clock.now(),
        }
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

/// How many ledgers the authorization must still live: the upstream's time, where that comes first, and a margin to settle in.
fn life_needed(terms: &Terms, bound: &Bound) -> u32 {
    let upstream = match terms.settle.of(&bound.method) {
        SettleOrder::AfterHead => terms.timeout.as_secs(),
        SettleOrder::BeforeForward | SettleOrder::ByMethod => 0,
    };
    let ledgers = upstream.div_ceil(LEDGER_SECONDS).saturating_add(SETTLE_LEDGERS);
    u32::try_from(ledgers).unwrap_or(u32::MAX)
}

fn scope<'a>(terms: &'a Terms, bound: &'a Bound) -> quote::Scope<'a> {
    quote::Scope { route: &terms.route, method: bound.method.as_str() }
}

/// What must be the same when a payment comes again: route, method and target, and the payment itself, each behind its
/// length.
///
/// The authorization is on the ledger for all to see once it is settled, and anybody is given a quote for the asking. Only
/// the payer knows which quote it paid: who presents the one under another is a thief.
fn binding(terms: &Terms, bound: &Bound, payment: &Payment) -> Binding {
    let quote = payment.requirements.pointer("/extra/quote").and_then(Value::as_str);
    let authorization = payment.transfer.authorization_hash();
    let fields = [
        terms.route.as_bytes(),
        bound.method.as_str().as_bytes(),
        bound.target.as_bytes(),
        quote.unwrap_or_default().as_bytes(),
        &authorization,
    ];
    let mut digest = Sha256::new();
    for field in fields {
        digest.update(u64::try_from(field.len()).unwrap_or(u64::MAX).to_be_bytes());
        digest.update(field);
    }
    Binding(digest.finalize().into())
}

/// What a later process needs to find out what became of the payment.
fn memo(payment: &Payment) -> Value {
    json!({
        "requirements": payment.requirements,
        "transaction": payment.payload.pointer("/payload/transaction"),
    })
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
/// How often a transaction that went stale is made anew.
const SUBMISSIONS: usize = 4;
/// The usual time between two ledgers.
const LEDGER_SECONDS: u64 = 5;
/// Ledgers left to settle in.
const SETTLE_LEDGERS: u64 = 1;

#[cfg(test)]
mod tests;

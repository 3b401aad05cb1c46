//! What is checked of a charge before it is claimed: the challenge, the payload, and the transfer.
//!
//! Needs no ledger, but for one question about a transaction that the payer has sent.

use super::{Charge, Form, Paid, denial::invalid};
use crate::{
    ledger::{
        facilitator::Payment,
        relay::{Found, Landed},
    },
    pay::{
        Bound, Denied, Fault, Refusal, RefusalKind, Terms,
        mpp::{self, malformed, not_ours, scope},
        room::Seat,
    },
    protocol::{
        mpp::{
            ChallengeId, Credential,
            charge::{CredentialType, INTENT, Payload, Request, Source, check_signed_hash},
        },
        stellar::{AccountId, Address, TxHash},
        transfer::{self, Expected, Pulled, Whole},
    },
};

/// What a challenge of ours says.
struct Ours {
    common: mpp::Ours,
    request: Request,
    source: Option<Source>,
}

impl Charge {
    /// Checks the credential, in the order of mppx: the challenge, what it is for, the payload, the payment.
    ///
    /// Whether the challenge is past is judged later: a settled payment is looked for first.
    pub(super) async fn check(
        &self,
        terms: &Terms,
        bound: &Bound,
        credential: Credential,
        seat: &mut Seat,
    ) -> Result<Paid, Denied> {
        let (ours, payload) = self.read(terms, bound, credential)?;
        let expected = expected(&ours.request);
        let (form, transaction) = match payload {
            Payload::Transaction(text) => {
                (self.pulled(&ours, &expected, &text, terms, bound)?, text)
            }
            Payload::SignedHash { hash, signature } => {
                let payer = ours.payer()?;
                check_signed_hash(payer, &ours.common.id, &hash, &signature)
                    .map_err(|error| invalid("bad_source_signature", error.to_string()))?;
                seat.come_as(Address::Account(payer))?;
                (self.pushed(&ours, &expected, payer, hash, seat).await?, String::new())
            }
            Payload::Hash(hash) => {
                let payer = ours.payer()?;
                (self.pushed(&ours, &expected, payer, hash, seat).await?, String::new())
            }
        };
        let mpp::Ours { id, expires, request, realm_is_ours, .. } = ours.common;
        let paid = Paid { challenge: id, expires, realm_is_ours, form, transaction, request };
        // What a contract has signed is for the ledger to judge.
        if paid.payer().account().is_some() {
            seat.come_as(paid.payer())?;
        }
        Ok(paid)
    }

    /// Reads what a memo of this method says, as far as it takes to find the payment on the ledger.
    pub(super) fn remembered(&self, memo: &serde_json::Value) -> Option<Paid> {
        let text = |key: &str| memo.get(key).and_then(serde_json::Value::as_str);
        let request = text("request")?.to_owned();
        let expected = expected(&Request::decode(&request).ok()?);
        let transaction = text("transaction")?.to_owned();
        let form = match Pulled::parse(&transaction, expected.network).ok()? {
            Pulled::Unsigned(transfer) => Form::Sponsored(Payment {
                transfer: *transfer,
                expected,
                max_timeout_seconds: u32::MAX,
                min_remaining: 0,
                declares_fee: false,
            }),
            Pulled::Whole(whole) => Form::Relayed(*whole),
        };
        let challenge = ChallengeId::new(text("challenge")?.to_owned());
        let expires = memo.get("expires")?.as_u64()?;
        Some(Paid { challenge, expires, realm_is_ours: true, form, transaction, request })
    }

    fn read(
        &self,
        terms: &Terms,
        bound: &Bound,
        credential: Credential,
    ) -> Result<(Ours, Payload), Refusal> {
        let Credential { challenge, payload, source } = credential;
        let common = self.settings.issuer.read(challenge, terms, bound, &[INTENT])?;
        if common.scope != scope(terms, bound) {
            return Err(not_ours("the challenge is for another route or method"));
        }
        let request = Request::decode(&common.request)
            .map_err(|error| not_ours(format!("the challenge asks for no charge: {error}")))?;
        if request.network != self.settings.issuer.network {
            return Err(not_ours("the challenge is for another network"));
        }
        let payload = payload.ok_or_else(|| malformed("`payload` is missing"))?;
        let payload = Payload::from_json(&payload).map_err(|error| malformed(error.to_string()))?;
        // A signed hash is as good a proof as any, whatever was asked: its payer may have sent what it was to have pulled.
        let kind = payload.kind();
        if kind != CredentialType::SignedHash && !request.credential_types.contains(&kind) {
            return Err(malformed(format!(
                "a payload of type `{}` does not pay this challenge: see its `credentialTypes`",
                kind.name()
            )));
        }
        let source = source.map(|source| source.parse::<Source>()).transpose();
        let source = source.map_err(|error| malformed(error.to_string()))?;
        if source.is_some_and(|source| source.network != request.network) {
            return Err(invalid("network_mismatch", "`source` is on another network"));
        }
        let ours = Ours { common, request, source };
        Ok((ours, payload))
    }

    /// A transaction that we are to send.
    fn pulled(
        &self,
        ours: &Ours,
        expected: &Expected,
        text: &str,
        terms: &Terms,
        bound: &Bound,
    ) -> Result<Form, Refusal> {
        let refused = |error: transfer::Error| invalid(error.reason(), error.to_string());
        let network = expected.network;
        let form = match Pulled::parse(text, network).map_err(refused)? {
            Pulled::Unsigned(transfer) if ours.request.fee_payer => {
                // The sponsor's own keys are kept out when it verifies.
                transfer
                    .check(expected, expected.payee.account().as_slice())
                    .and_then(|()| transfer.check_signature(network))
                    .map_err(refused)?;
                let left = ours.common.expires.saturating_sub(self.clock.now());
                Form::Sponsored(Payment {
                    transfer: *transfer,
                    expected: expected.clone(),
                    max_timeout_seconds: u32::try_from(left).unwrap_or(u32::MAX),
                    min_remaining: terms.life_needed(bound, self.life()),
                    declares_fee: false,
                })
            }
            Pulled::Unsigned(_) => {
                return Err(invalid(
                    "fee_not_sponsored",
                    "the fee of this charge is not sponsored: sign a transaction of the payer's own account",
                ));
            }
            Pulled::Whole(whole) => {
                whole
                    .check(expected, self.excluded())
                    .and_then(|()| whole.check_signatures())
                    .map_err(refused)?;
                Form::Relayed(*whole)
            }
        };
        let payer = match &form {
            Form::Sponsored(payment) => payment.transfer.payer(),
            Form::Relayed(whole) | Form::Pushed(_, whole) => whole.movement().payer,
        };
        if ours.source.is_some_and(|source| source.address != payer) {
            return Err(invalid("source_mismatch", "`source` is not the payer of the transfer"));
        }
        Ok(form)
    }

    /// A transaction that `payer` has sent, as the ledger tells of it.
    async fn pushed(
        &self,
        ours: &Ours,
        expected: &Expected,
        payer: AccountId,
        hash: TxHash,
        seat: &Seat,
    ) -> Result<Form, Denied> {
        // Anybody can make up a hash: nobody has all the room for questions about them.
        let mut asking = self.asking.enter_with(seat);
        if asking.take(1).is_err() {
            let detail = "too many hashes are looked up, or too many for this client or payer";
            return Err(Fault::pending(detail, Some(hash)).into());
        }
        let landed = match self.relay.find(hash).await {
            Ok(Found::Landed(landed)) => landed,
            Ok(Found::Failed) => {
                let detail = "the transaction failed on the ledger, and moved nothing";
                return Err(invalid("transaction_failed", detail).into());
            }
            // Final only where the history that was searched covers all of the challenge's life.
            Ok(Found::Absent { since: Some(since), until: Some(until) })
                if since <= ours.common.issued && until > ours.common.expires =>
            {
                let detail = "no such transaction landed before the challenge ended";
                return Err(invalid("transaction_not_found", detail).into());
            }
            // The payer has seen it land; our server of the ledger may be behind. Not a reason to pay again.
            Ok(Found::Absent { .. }) => {
                return Err(
                    Fault::pending("a pushed transaction is not found yet", Some(hash)).into()
                );
            }
            // The payer's money may have moved, so "nothing was charged" would be false.
            Err(failure) => return Err(Fault::pending(failure.detail, Some(hash)).into()),
        };
        let whole = self.pushed_transfer(ours, expected, payer, &landed)?;
        Ok(Form::Pushed(landed, whole))
    }

    fn pushed_transfer(
        &self,
        ours: &Ours,
        expected: &Expected,
        payer: AccountId,
        landed: &Landed,
    ) -> Result<Whole, Refusal> {
        let refused = |error: transfer::Error| invalid(error.reason(), error.to_string());
        let whole = Whole::landed(landed.envelope().clone(), expected.network)
            .and_then(|whole| whole.check(expected, self.excluded()).map(|()| whole))
            .map_err(refused)?;
        if whole.movement().payer != Address::Account(payer) {
            return Err(invalid("source_mismatch", "`source` is not the payer of the transfer"));
        }
        if !landed.moved(&whole) {
            return Err(refused(transfer::Error::NoTransferEvent));
        }
        // The ledger's clock may have been behind ours when the challenge was issued; by how much, its latest ledger tells.
        let behind =
            landed.latest_closed_at.map_or(0, |latest| self.clock.now().saturating_sub(latest));
        let tolerance = CLOCK_TOLERANCE_SECONDS.max(behind);
        if landed.closed_at < ours.common.issued.saturating_sub(tolerance) {
            let detail = "the transaction landed before this challenge was issued: it paid for something else";
            return Err(invalid("transaction_too_old", detail));
        }
        if landed.closed_at > ours.common.expires {
            let detail = "the transaction landed after the challenge had ended";
            return Err(Refusal::new(RefusalKind::Expired, "payment_expired", detail));
        }
        Ok(whole)
    }

    /// The keys that must not pay.
    fn excluded(&self) -> &[AccountId] {
        self.own.as_ref().map_or(&[], |own| own.excluded())
    }
}

impl Ours {
    /// The account that says to have pushed.
    fn payer(&self) -> Result<AccountId, Refusal> {
        match self.source.map(|source| source.address) {
            Some(Address::Account(account)) => Ok(account),
            Some(Address::Contract(_)) => Err(invalid(
                "source_mismatch",
                "a contract cannot sign for a hash: have its transfer pulled",
            )),
            None => {
                Err(malformed("`source` is missing: name the payer, `did:pkh:stellar:testnet:G…`"))
            }
        }
    }
}

/// What a transfer has to move to meet `request`.
const fn expected(request: &Request) -> Expected {
    Expected {
        network: request.network,
        asset: request.currency,
        payee: request.recipient,
        amount: request.amount,
    }
}

/// As far as a gateway's clock and the ledger's may be apart: `check --online` tells of more.
const CLOCK_TOLERANCE_SECONDS: u64 = 30;

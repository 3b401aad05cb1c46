//! How a charge gets onto the ledger, and what is remembered of it.

use http::HeaderValue;
use serde_json::{Map, Value};

use super::{Charge, Form, Paid, denial};
use crate::{
    ledger::{
        facilitator::{Failure, Outcome, Payment, Sent, VerifyError},
        own,
    },
    pay::{Denied, Fault, MethodName, Receipt, Refusal, Worth, claims::Rail},
    protocol::{
        mpp::{self, charge::METHOD},
        stellar::{Network, TxHash},
    },
    store::{Settled, TakenBy},
};

/// A charge that is ready to be sent.
pub(in crate::pay) enum Prepared {
    Sponsored(Box<own::Prepared>),
    Relayed(Sent),
}

impl Rail for Charge {
    type Payment = Paid;
    type Prepared = Prepared;

    async fn prepare(&self, paid: &Paid) -> Result<(Prepared, Sent), VerifyError> {
        match &paid.form {
            Form::Sponsored(payment) => {
                let prepared = self.sponsoring()?.prepare(payment).await?;
                let sent = *prepared.sent();
                Ok((Prepared::Sponsored(Box::new(prepared)), sent))
            }
            Form::Relayed(whole) => {
                let sent = self.relay.prepare(whole).await?;
                Ok((Prepared::Relayed(sent), sent))
            }
            Form::Pushed(..) => Err(landed_already()),
        }
    }

    async fn submit(&self, paid: &Paid, prepared: Prepared) -> Outcome {
        match (&paid.form, prepared, &self.own) {
            (Form::Sponsored(payment), Prepared::Sponsored(prepared), Some(own)) => {
                own.submit(payment, *prepared).await
            }
            (Form::Relayed(whole), Prepared::Relayed(sent), _) => {
                self.relay.submit(whole, &sent).await
            }
            _ => Outcome::Unsent(Failure::unavailable("prepared for another payment")),
        }
    }

    async fn resolve(&self, paid: &Paid, sent: &Sent) -> Outcome {
        match (&paid.form, &self.own) {
            (Form::Sponsored(payment), Some(own)) => own.resolve(payment, sent).await,
            (Form::Relayed(whole), _) => self.relay.resolve(whole, sent).await,
            (Form::Pushed(..), _) | (Form::Sponsored(_), None) => Outcome::Unknown {
                transaction: sent.transaction,
                failure: Failure::unavailable("no sponsor is configured"),
            },
        }
    }

    fn landed(&self, paid: &Paid) -> Option<TxHash> {
        match &paid.form {
            Form::Pushed(landed, _) => Some(landed.hash),
            Form::Sponsored(_) | Form::Relayed(_) => None,
        }
    }

    fn memo(&self, paid: &Paid) -> Map<String, Value> {
        Map::from_iter([
            ("request".to_owned(), paid.request.as_str().into()),
            ("transaction".to_owned(), paid.transaction.as_str().into()),
            ("challenge".to_owned(), paid.challenge.as_str().into()),
            ("expires".to_owned(), paid.expires.into()),
        ])
    }

    fn place(&self, _paid: &Paid) -> (&'static str, Network) {
        (MethodName::CHARGE, self.settings.issuer.network)
    }

    fn worth(&self, paid: &Paid) -> Worth {
        let worth = match &paid.form {
            Form::Sponsored(Payment { expected, .. }) => Worth::of(expected.asset, expected.amount),
            Form::Relayed(whole) | Form::Pushed(_, whole) => {
                Worth::of(whole.movement().asset, whole.movement().amount)
            }
        };
        Worth { payer: Some(paid.payer()), ..worth }
    }

    fn settled(&self, paid: &Paid, transaction: TxHash) -> Settled {
        let at = self.clock.now();
        let receipt = mpp::Receipt {
            method: METHOD.to_owned(),
            reference: transaction.to_string(),
            timestamp_ms: at.saturating_mul(1_000),
            external_id: None,
            extra: Map::from_iter([("challengeId".to_owned(), paid.challenge.as_str().into())]),
        };
        let header = receipt.encode();
        Settled {
            transaction: Some(transaction),
            receipt: bytes::Bytes::copy_from_slice(header.as_bytes()),
            at,
        }
    }

    fn receipt(&self, settled: &Settled) -> Result<Receipt, Fault> {
        let header = HeaderValue::from_bytes(&settled.receipt)
            .map_err(|error| Fault::pending(error, settled.transaction))?;
        Ok(Receipt {
            header: (mpp::PAYMENT_RECEIPT, header),
            next: None,
            // The scheme allows a receipt with a success alone.
            with_failures: false,
        })
    }

    /// Nothing in MPP gives a payment a name of its client's.
    fn is_named(&self, _paid: &Paid) -> bool {
        false
    }

    fn settlement_failed(
        &self,
        _paid: &Paid,
        reason: &str,
        _transaction: Option<TxHash>,
    ) -> Refusal {
        denial::settlement_failed(reason)
    }

    fn alias_taken(&self, taken: &TakenBy) -> Denied {
        denial::challenge_taken(taken)
    }
}

impl Charge {
    fn sponsoring(&self) -> Result<&own::Facilitator, VerifyError> {
        self.sponsor().map_err(|fault| VerifyError::Failed(Failure::unavailable(fault.detail)))
    }
}

fn landed_already() -> VerifyError {
    VerifyError::Failed(Failure::unavailable("a transaction that has landed is not sent again"))
}

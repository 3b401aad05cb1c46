//! Puts the payer's own transaction on the ledger, and waits for its fate.
//!
//! A transaction whose fate is unknown is never replaced by another: it may have paid.

use stellar_xdr as xdr;

use super::{Client, Error};
use crate::{
    ledger::{
        facilitator::Sent,
        post::{self, Fate, Sending},
    },
    protocol::{stellar::TxHash, transfer},
};

impl Client {
    /// The hash by which the network knows `envelope`.
    ///
    /// # Errors
    /// [`Error::Sign`] if it cannot be encoded.
    pub fn hash(&self, envelope: &xdr::TransactionEnvelope) -> Result<TxHash, Error> {
        self.rpc.hash(envelope).ok_or(Error::Sign(transfer::Error::Malformed))
    }

    /// Sends a signed transaction and waits until it has landed; sending the same one again is safe.
    ///
    /// # Errors
    /// [`Error::Rpc`] and [`Error::Unsent`] before the network had it, [`Error::NotTaken`], [`Error::Failed`], and
    /// [`Error::Unknown`] alone if it may still land.
    ///
    /// # Cancellation
    /// The transaction may land.
    pub async fn land(&self, envelope: &xdr::TransactionEnvelope) -> Result<TxHash, Error> {
        let transaction = self.hash(envelope)?;
        let since = self.rpc.latest_ledger().await.map_err(Error::Rpc)?.sequence;
        let valid_until = max_time(envelope);
        let sent = Sent { transaction: Some(transaction), valid_until, since };
        match post::send(&self.rpc, &self.clock, envelope, valid_until).await {
            // What the network had already are these very bytes.
            Sending::Out | Sending::Known => {}
            Sending::In(failure) => return Err(Error::Unsent { reason: failure.detail }),
            Sending::Refused(code) => return Err(Error::NotTaken { transaction, code }),
        }
        let patience = self.settings.patience.as_secs().max(LEAST_PATIENCE_SECONDS);
        match post::follow(&self.rpc, &self.clock, envelope, transaction, &sent, patience).await {
            Fate::Applied(applied) if applied.success => Ok(transaction),
            Fate::Applied(_) | Fate::Gone => Err(Error::Failed { transaction }),
            Fate::Unknown(_) => Err(Error::Unknown { transaction }),
        }
    }
}

/// The last second at which it can land.
fn max_time(envelope: &xdr::TransactionEnvelope) -> u64 {
    let cond = match envelope {
        xdr::TransactionEnvelope::Tx(inner) => &inner.tx.cond,
        xdr::TransactionEnvelope::TxFeeBump(bump) => {
            let xdr::FeeBumpTransactionInnerTx::Tx(inner) = &bump.tx.inner_tx;
            &inner.tx.cond
        }
        xdr::TransactionEnvelope::TxV0(_) => return u64::MAX,
    };
    let bounds = match cond {
        xdr::Preconditions::None => None,
        xdr::Preconditions::Time(bounds) => Some(bounds),
        xdr::Preconditions::V2(cond) => cond.time_bounds.as_ref(),
    };
    match bounds.map_or(0, |bounds| bounds.max_time.0) {
        0 => u64::MAX,
        max_time => max_time,
    }
}

/// A ledger closes every five seconds, and a full network takes several.
const LEAST_PATIENCE_SECONDS: u64 = 60;

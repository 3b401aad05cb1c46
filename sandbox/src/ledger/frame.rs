//! A submitted transaction, read once: its hashes, who pays, what it offers.

use stellar_xdr::{
    AccountId, DecoratedSignature, FeeBumpTransactionInnerTx, Hash, LedgerBounds, Operation,
    OperationBody, Preconditions, PreconditionsV2, SorobanTransactionData, TimeBounds, Transaction,
    TransactionEnvelope, TransactionExt, TransactionV1Envelope,
};

use super::network::BASE_FEE;
use super::xdr::{count, size};

/// A transaction with or without a fee bump around it.
pub(super) struct Frame {
    /// As submitted, but a V0 envelope becomes V1, which signs the same bytes.
    pub(super) envelope: TransactionEnvelope,
    /// The transaction; a fee bump's inner one.
    pub(super) tx: Transaction,
    /// The transaction's signatures.
    pub(super) signatures: Vec<DecoratedSignature>,
    /// The transaction's hash; a fee bump's inner one.
    pub(super) hash: Hash,
    /// Bytes of the transaction's envelope, which resource fees count.
    pub(super) size: u32,
    /// The fee bump around it.
    pub(super) bump: Option<FeeBump>,
}

/// What a fee bump adds.
pub(super) struct FeeBump {
    pub(super) source: AccountId,
    pub(super) fee: i64,
    pub(super) signatures: Vec<DecoratedSignature>,
    pub(super) hash: Hash,
}

impl Frame {
    pub(super) fn new(envelope: TransactionEnvelope, network_id: &Hash) -> Self {
        let (inner, bump) = match &envelope {
            TransactionEnvelope::TxV0(old) => {
                let (tx, signatures) = (old.tx.clone().into(), old.signatures.clone());
                (TransactionV1Envelope { tx, signatures }, None)
            }
            TransactionEnvelope::Tx(inner) => (inner.clone(), None),
            TransactionEnvelope::TxFeeBump(outer) => {
                let FeeBumpTransactionInnerTx::Tx(inner) = &outer.tx.inner_tx;
                let bump = FeeBump {
                    source: outer.tx.fee_source.clone().account_id(),
                    fee: outer.tx.fee,
                    signatures: outer.signatures.to_vec(),
                    hash: hash_of(&envelope, network_id),
                };
                (inner.clone(), Some(bump))
            }
        };
        let plain = TransactionEnvelope::Tx(inner.clone());
        Self {
            hash: hash_of(&plain, network_id),
            size: size(&plain),
            envelope: if bump.is_some() { envelope } else { plain },
            tx: inner.tx,
            signatures: inner.signatures.to_vec(),
            bump,
        }
    }

    /// The hash that the submitter knows it by.
    pub(super) fn full_hash(&self) -> &Hash {
        self.bump.as_ref().map_or(&self.hash, |bump| &bump.hash)
    }

    /// The account whose sequence number it spends.
    pub(super) fn source(&self) -> AccountId {
        self.tx.source_account.clone().account_id()
    }

    /// The account that pays the fee.
    pub(super) fn fee_source(&self) -> AccountId {
        self.bump.as_ref().map_or_else(|| self.source(), |bump| bump.source.clone())
    }

    /// The account that an operation acts for.
    pub(super) fn operation_source(&self, operation: &Operation) -> AccountId {
        operation.source_account.clone().map_or_else(|| self.source(), |muxed| muxed.account_id())
    }

    /// Whether it runs contracts: its first operation decides, and the others must agree.
    pub(super) fn is_soroban(&self) -> bool {
        self.tx.operations.first().is_some_and(is_soroban)
    }

    /// The declared resources, when there are some.
    pub(super) fn soroban_data(&self) -> Option<&SorobanTransactionData> {
        match &self.tx.ext {
            TransactionExt::V1(data) => Some(data),
            TransactionExt::V0 => None,
        }
    }

    /// The resource fee declared, in stroops; 0 for a classic transaction.
    pub(super) fn resource_fee(&self) -> i64 {
        if !self.is_soroban() {
            return 0;
        }
        self.soroban_data().map_or(0, |data| data.resource_fee)
    }

    /// The most that its fee source would pay, in stroops.
    pub(super) fn full_fee(&self) -> i64 {
        self.bump.as_ref().map_or_else(|| self.inner_fee(), |bump| bump.fee)
    }

    /// The fee of the transaction itself, without the fee bump.
    pub(super) fn inner_fee(&self) -> i64 {
        i64::from(self.tx.fee)
    }

    /// What the full fee leaves for inclusion.
    pub(super) fn inclusion_fee(&self) -> i64 {
        self.full_fee().saturating_sub(self.resource_fee())
    }

    /// What the transaction's own fee leaves for inclusion.
    pub(super) fn inner_inclusion_fee(&self) -> i64 {
        self.inner_fee().saturating_sub(self.resource_fee())
    }

    /// For how many operations it bids: at least one, and one more for a fee bump.
    pub(super) fn operation_count(&self) -> u32 {
        let operations = count(self.tx.operations.len()).max(1);
        operations.saturating_add(u32::from(self.bump.is_some()))
    }

    /// The least inclusion fee: one base fee for each operation, and one more for a fee bump.
    pub(super) fn min_inclusion_fee(&self) -> i64 {
        i64::from(self.operation_count()).saturating_mul(i64::from(BASE_FEE))
    }

    /// The least inclusion fee of the transaction itself.
    pub(super) fn inner_min_inclusion_fee(&self) -> i64 {
        let operations = count(self.tx.operations.len()).max(1);
        i64::from(operations).saturating_mul(i64::from(BASE_FEE))
    }

    /// What is charged when it is applied: there is no surge, so inclusion costs the least that it can.
    pub(super) fn fee_to_charge(&self) -> i64 {
        let inclusion = self.inclusion_fee().min(self.min_inclusion_fee());
        self.resource_fee().saturating_add(inclusion)
    }

    /// What a refusal quotes as fee: the least that would be charged.
    pub(super) fn fee_to_quote(&self) -> i64 {
        self.resource_fee().saturating_add(self.min_inclusion_fee())
    }

    pub(super) fn time_bounds(&self) -> Option<&TimeBounds> {
        match &self.tx.cond {
            Preconditions::None => None,
            Preconditions::Time(bounds) => Some(bounds),
            Preconditions::V2(conditions) => conditions.time_bounds.as_ref(),
        }
    }

    pub(super) fn ledger_bounds(&self) -> Option<&LedgerBounds> {
        self.conditions()?.ledger_bounds.as_ref()
    }

    /// The newer preconditions, when it uses them.
    pub(super) fn conditions(&self) -> Option<&PreconditionsV2> {
        match &self.tx.cond {
            Preconditions::V2(conditions) => Some(conditions),
            _ => None,
        }
    }
}

/// Whether an operation is one of the contract system.
pub(super) fn is_soroban(operation: &Operation) -> bool {
    matches!(
        operation.body,
        OperationBody::InvokeHostFunction(_)
            | OperationBody::ExtendFootprintTtl(_)
            | OperationBody::RestoreFootprint(_)
    )
}

fn hash_of(envelope: &TransactionEnvelope, network_id: &Hash) -> Hash {
    Hash(envelope.hash(network_id.0).expect("encoding to memory without limits does not fail"))
}

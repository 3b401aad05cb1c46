//! Builds and signs the sandbox's own transactions: bootstrap, friendbot, faucet, funded payers.

use ed25519_dalek::{Signer, SigningKey};
use stellar_xdr::{
    AccountId, ChangeTrustAsset, ChangeTrustOp, CreateAccountOp, DecoratedSignature, Error, Memo,
    MuxedAccount, Operation, OperationBody, PaymentOp, Preconditions, PublicKey, SequenceNumber,
    Signature, SignatureHint, SorobanTransactionData, Transaction, TransactionEnvelope,
    TransactionExt, TransactionV1Envelope,
};

use crate::balance;
use crate::dev_accounts::account_id;
use crate::ledger::{Ledger, SimulateOptions, Simulation, SimulationFailure};
use crate::{blocking, usdc};

/// The most accounts besides the source that may sign one transaction.
pub(crate) const COSIGNERS: usize = 19;

/// The next transaction of `source` with `operations`, unsigned. `None` if the account does not exist.
pub(crate) fn next(
    ledger: &Ledger,
    source: &SigningKey,
    operations: Vec<Operation>,
) -> Option<Transaction> {
    let snapshot = ledger.snapshot();
    let account = balance::account(&snapshot, &account_id(source))?;
    let count = u32::try_from(operations.len()).ok()?;
    Some(Transaction {
        source_account: muxed(&account_id(source)),
        fee: snapshot.ledger().header.base_fee.checked_mul(count)?,
        seq_num: SequenceNumber(account.seq_num.0.checked_add(1)?),
        cond: Preconditions::None,
        memo: Memo::None,
        operations: operations.try_into().ok()?,
        ext: TransactionExt::V0,
    })
}

/// Simulates `transaction`; `None` if the host panicked, or the runtime is going down.
pub(crate) async fn simulate(
    ledger: &Ledger,
    transaction: Transaction,
) -> Option<Result<Simulation, SimulationFailure>> {
    let ledger = ledger.clone();
    let work = move || ledger.simulate(&transaction.into(), SimulateOptions::default());
    blocking::run(work).await
}

/// `transaction` with what its simulation found.
pub(crate) fn with_resources(
    mut transaction: Transaction,
    data: SorobanTransactionData,
) -> Option<Transaction> {
    let resource_fee = u32::try_from(data.resource_fee).ok()?;
    transaction.fee = transaction.fee.checked_add(resource_fee)?;
    transaction.ext = TransactionExt::V1(data);
    Some(transaction)
}

/// `transaction` signed by `signers`.
///
/// # Errors
/// [`Error::LengthExceedsMax`] for more than 20 signers.
pub(crate) fn sign(
    ledger: &Ledger,
    transaction: Transaction,
    signers: &[&SigningKey],
) -> Result<TransactionEnvelope, Error> {
    let hash = transaction.hash(ledger.network_id().0)?;
    let signatures =
        signers.iter().map(|key| decorated(key, &hash)).collect::<Result<Vec<_>, _>>()?;
    Ok(TransactionEnvelope::Tx(TransactionV1Envelope {
        tx: transaction,
        signatures: signatures.try_into()?,
    }))
}

/// Creates `account` with `stroops`.
pub(crate) fn create_account(account: &AccountId, stroops: i64) -> Operation {
    operation(
        None,
        OperationBody::CreateAccount(CreateAccountOp {
            destination: account.clone(),
            starting_balance: stroops,
        }),
    )
}

/// Opens the USDC trustline of `account`.
pub(crate) fn trust_usdc(account: &AccountId) -> Operation {
    let line = match usdc::asset() {
        stellar_xdr::Asset::CreditAlphanum4(code) => ChangeTrustAsset::CreditAlphanum4(code),
        _ => ChangeTrustAsset::Native,
    };
    let body = OperationBody::ChangeTrust(ChangeTrustOp { line, limit: i64::MAX });
    operation(Some(account), body)
}

/// Issues `units` of USDC to `account`.
pub(crate) fn issue_usdc(account: &AccountId, units: i64) -> Operation {
    let body = OperationBody::Payment(PaymentOp {
        destination: muxed(account),
        asset: usdc::asset(),
        amount: units,
    });
    operation(Some(&usdc::issuer()), body)
}

/// `body` carried out by `source`, or by the transaction's source.
pub(crate) fn operation(source: Option<&AccountId>, body: OperationBody) -> Operation {
    Operation { source_account: source.map(muxed), body }
}

fn muxed(account: &AccountId) -> MuxedAccount {
    let PublicKey::PublicKeyTypeEd25519(key) = &account.0;
    MuxedAccount::Ed25519(key.clone())
}

fn decorated(key: &SigningKey, hash: &[u8; 32]) -> Result<DecoratedSignature, Error> {
    let [.., a, b, c, d] = key.verifying_key().to_bytes();
    Ok(DecoratedSignature {
        hint: SignatureHint([a, b, c, d]),
        signature: Signature(key.sign(hash).to_bytes().try_into()?),
    })
}

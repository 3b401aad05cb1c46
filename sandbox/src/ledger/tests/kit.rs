//! A ledger to test on, people to act in it, and transactions for them to sign.

use std::cell::Cell;
use std::sync::Arc;

use ed25519_dalek::{Signer as _, SigningKey};
use stellar_xdr::{
    AccountEntry, AccountId, AlphaNum4, Asset, AssetCode4, ChangeTrustAsset, ChangeTrustOp,
    ContractExecutable, ContractIdPreimage, CreateAccountOp, CreateContractArgs,
    DecoratedSignature, FeeBumpTransaction, FeeBumpTransactionEnvelope, FeeBumpTransactionExt,
    FeeBumpTransactionInnerTx, Hash, HashIdPreimage, HashIdPreimageSorobanAuthorization,
    HashIdPreimageSorobanAuthorizationWithAddress, HostFunction, InvokeContractArgs,
    InvokeHostFunctionOp, LedgerEntryData, Memo, MuxedAccount, Operation, OperationBody, PaymentOp,
    Preconditions, PublicKey, ScAddress, ScBytes, ScMap, ScMapEntry, ScVal, ScVec, SequenceNumber,
    Signature, SignatureHint, SorobanAuthorizationEntry, SorobanCredentials, Transaction,
    TransactionEnvelope, TransactionExt, TransactionResult, TransactionV1Envelope, Uint256,
};

use crate::ledger::xdr::{encode, hash, i128, list, sha256, symbol};
use crate::ledger::{
    Ledger, LedgerConfig, SimulateOptions, Submission, TransactionRecord, TransactionStatus,
    account, event,
};

pub(super) const PASSPHRASE: &str = "Test SDF Network ; September 2015";
pub(super) const ISSUER: &str = "GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5";
pub(super) const XLM: i64 = 10_000_000;
pub(super) const START: u64 = 1_700_000_000;

/// A ledger with its own clock: a second for each close.
pub(super) struct World {
    pub(super) ledger: Ledger,
    pub(super) now: Cell<u64>,
}

impl World {
    pub(super) fn new() -> Self {
        let mut config = LedgerConfig::new(PASSPHRASE, START);
        config.trusted = vec![issuer()];
        Self { ledger: Ledger::new(config), now: Cell::new(START) }
    }

    /// A world where `people` have 1,000 XLM each.
    pub(super) fn with(people: &[&SigningKey]) -> Self {
        let world = Self::new();
        if people.is_empty() {
            return world;
        }
        let creations = people.iter().map(|person| create(&id(person), 1000 * XLM)).collect();
        world.apply(world.sign(world.tx(&world.ledger.root(), creations), &[&world.ledger.root()]));
        world
    }

    /// A world with the USDC contract, where `people` have 1,000 XLM, a trustline and 1,000 USDC each.
    pub(super) fn with_usdc(people: &[&SigningKey]) -> Self {
        let world = Self::with(people);
        let root = world.ledger.root();
        world.apply(world.sign(world.tx(&root, vec![create(&issuer(), 1000 * XLM)]), &[&root]));
        for person in people {
            let trust = world.tx(person, vec![trust(i64::MAX)]);
            world.apply(world.sign(trust, &[person]));
            let mint = world.tx_of(&issuer(), vec![pay(&id(person), usdc(), 1000 * XLM)]);
            world.apply_unsigned(world.sign(mint, &[]));
        }
        let deploy = world.prepare(world.tx(&root, vec![deploy_usdc()]));
        world.apply(world.sign(deploy, &[&root]));
        world
    }

    pub(super) fn account(&self, id: &AccountId) -> AccountEntry {
        account::load(&self.ledger.snapshot().entries, id).expect("an account").clone()
    }

    pub(super) fn balance(&self, key: &SigningKey) -> i64 {
        self.account(&id(key)).balance
    }

    /// USDC in `holder`'s trustline.
    pub(super) fn usdc_of(&self, holder: &AccountId) -> i64 {
        let snapshot = self.ledger.snapshot();
        let line = snapshot.entries.values().find_map(|stored| match &stored.entry.data {
            LedgerEntryData::Trustline(line) if line.account_id == *holder => Some(line.balance),
            _ => None,
        });
        line.expect("a trustline")
    }

    pub(super) fn tx(&self, source: &SigningKey, operations: Vec<Operation>) -> Transaction {
        self.tx_of(&id(source), operations)
    }

    /// A transaction with the next sequence number and the least fee.
    pub(super) fn tx_of(&self, source: &AccountId, operations: Vec<Operation>) -> Transaction {
        let sequence = account::load(&self.ledger.snapshot().entries, source)
            .map_or(0, |account| account.seq_num.0);
        Transaction {
            source_account: MuxedAccount::from(source.clone()),
            fee: 100 * u32::try_from(operations.len()).unwrap(),
            seq_num: SequenceNumber(sequence + 1),
            cond: Preconditions::None,
            memo: Memo::None,
            operations: operations.try_into().unwrap(),
            ext: TransactionExt::V0,
        }
    }

    /// Simulates a contract transaction and gives it what the simulation found, as clients do.
    pub(super) fn prepare(&self, mut tx: Transaction) -> Transaction {
        let envelope = self.sign(tx.clone(), &[]);
        let found = self.ledger.simulate(&envelope, SimulateOptions::default()).expect("a result");
        let mut operations = tx.operations.to_vec();
        if let OperationBody::InvokeHostFunction(invoke) = &mut operations[0].body
            && invoke.auth.is_empty()
        {
            invoke.auth = found.auth.try_into().unwrap();
        }
        tx.operations = operations.try_into().unwrap();
        tx.fee = 100 + u32::try_from(found.min_resource_fee).unwrap();
        tx.ext = TransactionExt::V1(found.transaction_data);
        tx
    }

    pub(super) fn sign(&self, tx: Transaction, signers: &[&SigningKey]) -> TransactionEnvelope {
        let unsigned = TransactionEnvelope::Tx(TransactionV1Envelope {
            tx: tx.clone(),
            signatures: list(Vec::new()),
        });
        let signatures = decorate(&self.hash(&unsigned), signers);
        TransactionEnvelope::Tx(TransactionV1Envelope { tx, signatures: list(signatures) })
    }

    /// A fee bump around `inner` with `fee` stroops.
    pub(super) fn bump(
        &self,
        inner: TransactionEnvelope,
        payer: &SigningKey,
        fee: i64,
    ) -> TransactionEnvelope {
        let TransactionEnvelope::Tx(inner) = inner else { panic!("a plain transaction") };
        let tx = FeeBumpTransaction {
            fee_source: MuxedAccount::from(id(payer)),
            fee,
            inner_tx: FeeBumpTransactionInnerTx::Tx(inner),
            ext: FeeBumpTransactionExt::V0,
        };
        let unsigned = TransactionEnvelope::TxFeeBump(FeeBumpTransactionEnvelope {
            tx: tx.clone(),
            signatures: list(Vec::new()),
        });
        let signatures = list(decorate(&self.hash(&unsigned), &[payer]));
        TransactionEnvelope::TxFeeBump(FeeBumpTransactionEnvelope { tx, signatures })
    }

    pub(super) fn hash(&self, envelope: &TransactionEnvelope) -> Hash {
        Hash(envelope.hash(self.ledger.network_id().0).unwrap())
    }

    pub(super) fn close(&self) {
        self.now.set(self.now.get() + 1);
        self.ledger.close(self.now.get());
    }

    /// Lets ledgers pass until `sequence` is the latest.
    pub(super) fn jump(&self, sequence: u32) {
        let skipped = sequence - self.ledger.latest().sequence - 1;
        self.ledger.close_after(skipped, self.now.get());
    }

    /// Submits, closes a ledger, and gives what the ledger says; the transaction may have failed.
    pub(super) fn run(&self, envelope: TransactionEnvelope) -> Arc<TransactionRecord> {
        let hash = self.hash(&envelope);
        self.await_pending(self.ledger.submit(envelope));
        self.close();
        self.ledger.transaction(&hash).expect("a transaction that was applied")
    }

    /// As [`World::run`], and the transaction must succeed.
    pub(super) fn apply(&self, envelope: TransactionEnvelope) -> Arc<TransactionRecord> {
        let record = self.run(envelope);
        assert_eq!(record.status, TransactionStatus::Success, "{record:?}");
        record
    }

    pub(super) fn apply_unsigned(&self, envelope: TransactionEnvelope) {
        let hash = self.hash(&envelope);
        self.await_pending(self.ledger.submit_unsigned(envelope));
        self.close();
        let record = self.ledger.transaction(&hash).expect("a transaction that was applied");
        assert_eq!(record.status, TransactionStatus::Success, "{record:?}");
    }

    fn await_pending(&self, submission: Submission) {
        assert!(matches!(submission, Submission::Pending { .. }), "{submission:?}");
    }

    /// Submits what must be refused, and gives the result.
    pub(super) fn refused(&self, envelope: TransactionEnvelope) -> TransactionResult {
        match self.ledger.submit(envelope) {
            Submission::Error { result, .. } => *result,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    /// `entry` signed by `key`, good until ledger `expires`.
    pub(super) fn authorize(
        &self,
        mut entry: SorobanAuthorizationEntry,
        key: &SigningKey,
        expires: u32,
    ) -> SorobanAuthorizationEntry {
        let upgraded = matches!(entry.credentials, SorobanCredentials::AddressV2(_));
        let (SorobanCredentials::Address(credentials) | SorobanCredentials::AddressV2(credentials)) =
            &mut entry.credentials
        else {
            panic!("credentials of an address")
        };
        credentials.signature_expiration_ledger = expires;
        let network_id = self.ledger.network_id();
        let invocation = entry.root_invocation.clone();
        let nonce = credentials.nonce;
        // The newer credentials sign their own address, too.
        let image = if upgraded {
            HashIdPreimage::SorobanAuthorizationWithAddress(
                HashIdPreimageSorobanAuthorizationWithAddress {
                    network_id,
                    nonce,
                    signature_expiration_ledger: expires,
                    address: credentials.address.clone(),
                    invocation,
                },
            )
        } else {
            HashIdPreimage::SorobanAuthorization(HashIdPreimageSorobanAuthorization {
                network_id,
                nonce,
                signature_expiration_ledger: expires,
                invocation,
            })
        };
        let signature = key.sign(&hash(&image).0);
        let bytes = |bytes: &[u8]| ScVal::Bytes(ScBytes(bytes.to_vec().try_into().unwrap()));
        let map = ScMap(list(vec![
            ScMapEntry { key: symbol("public_key"), val: bytes(&key.verifying_key().to_bytes()) },
            ScMapEntry { key: symbol("signature"), val: bytes(&signature.to_bytes()) },
        ]));
        credentials.signature = ScVal::Vec(Some(ScVec(list(vec![ScVal::Map(Some(map))]))));
        entry
    }
}

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

pub(super) fn id(key: &SigningKey) -> AccountId {
    AccountId(PublicKey::PublicKeyTypeEd25519(Uint256(key.verifying_key().to_bytes())))
}

pub(super) fn issuer() -> AccountId {
    ISSUER.parse().unwrap()
}

pub(super) fn usdc() -> Asset {
    Asset::CreditAlphanum4(AlphaNum4 { asset_code: AssetCode4(*b"USDC"), issuer: issuer() })
}

pub(super) fn usdc_contract() -> ScAddress {
    ScAddress::Contract(event::contract_of(&usdc(), &sha256(PASSPHRASE.as_bytes())))
}

pub(super) fn operation(body: OperationBody) -> Operation {
    Operation { source_account: None, body }
}

pub(super) fn by(source: &SigningKey, mut operation: Operation) -> Operation {
    operation.source_account = Some(MuxedAccount::from(id(source)));
    operation
}

pub(super) fn create(destination: &AccountId, starting_balance: i64) -> Operation {
    let destination = destination.clone();
    operation(OperationBody::CreateAccount(CreateAccountOp { destination, starting_balance }))
}

pub(super) fn pay(to: &AccountId, asset: Asset, amount: i64) -> Operation {
    let destination = MuxedAccount::from(to.clone());
    operation(OperationBody::Payment(PaymentOp { destination, asset, amount }))
}

/// USDC's trustline with this limit.
pub(super) fn trust(limit: i64) -> Operation {
    let Asset::CreditAlphanum4(asset) = usdc() else { panic!("a short code") };
    let line = ChangeTrustAsset::CreditAlphanum4(asset);
    operation(OperationBody::ChangeTrust(ChangeTrustOp { line, limit }))
}

pub(super) fn host(host_function: HostFunction) -> Operation {
    let auth = list(Vec::new());
    operation(OperationBody::InvokeHostFunction(InvokeHostFunctionOp { host_function, auth }))
}

pub(super) fn deploy_usdc() -> Operation {
    host(HostFunction::CreateContract(CreateContractArgs {
        contract_id_preimage: ContractIdPreimage::Asset(usdc()),
        executable: ContractExecutable::StellarAsset,
    }))
}

pub(super) fn address(key: &SigningKey) -> ScVal {
    ScVal::Address(ScAddress::Account(id(key)))
}

/// A call of the USDC contract.
pub(super) fn call(function: &str, args: Vec<ScVal>) -> Operation {
    let ScVal::Symbol(function_name) = symbol(function) else { panic!("a symbol") };
    host(HostFunction::InvokeContract(InvokeContractArgs {
        contract_address: usdc_contract(),
        function_name,
        args: list(args),
    }))
}

pub(super) fn transfer(from: &SigningKey, to: &SigningKey, amount: i64) -> Operation {
    call("transfer", vec![address(from), address(to), i128(amount)])
}

/// The operation's authorization entries.
pub(super) fn auth_of(tx: &Transaction) -> Vec<SorobanAuthorizationEntry> {
    match &tx.operations[0].body {
        OperationBody::InvokeHostFunction(invoke) => invoke.auth.to_vec(),
        other => panic!("expected an invocation, got {other:?}"),
    }
}

pub(super) fn with_auth(mut tx: Transaction, auth: Vec<SorobanAuthorizationEntry>) -> Transaction {
    let mut operations = tx.operations.to_vec();
    if let OperationBody::InvokeHostFunction(invoke) = &mut operations[0].body {
        invoke.auth = list(auth);
    }
    tx.operations = list(operations);
    tx
}

fn decorate(hash: &Hash, signers: &[&SigningKey]) -> Vec<DecoratedSignature> {
    signers
        .iter()
        .map(|signer| {
            let key = signer.verifying_key().to_bytes();
            DecoratedSignature {
                hint: SignatureHint(key[28..].try_into().unwrap()),
                signature: Signature(signer.sign(&hash.0).to_bytes().to_vec().try_into().unwrap()),
            }
        })
        .collect()
}

/// The XDR of a result in the words of its code: `TxFailed(Payment(NoTrust))`.
pub(super) fn words(result: &TransactionResult) -> String {
    assert!(!encode(result).is_empty());
    use stellar_xdr::{OperationResult, TransactionResultResult as Outer};
    let operations = |results: &[OperationResult]| {
        let words: Vec<_> = results
            .iter()
            .map(|result| match result {
                OperationResult::OpInner(inner) => format!("{inner:?}"),
                other => format!("{other:?}"),
            })
            .collect();
        words.join(", ")
    };
    match &result.result {
        Outer::TxSuccess(results) => format!("TxSuccess({})", operations(results)),
        Outer::TxFailed(results) => format!("TxFailed({})", operations(results)),
        Outer::TxFeeBumpInnerFailed(pair) => format!("TxFeeBumpInnerFailed({})", inner_name(pair)),
        Outer::TxFeeBumpInnerSuccess(pair) => {
            format!("TxFeeBumpInnerSuccess({})", inner_name(pair))
        }
        other => other.name().to_owned(),
    }
}

fn inner_name(pair: &stellar_xdr::InnerTransactionResultPair) -> String {
    assert_eq!(pair.result.fee_charged, 0);
    pair.result.result.name().to_owned()
}

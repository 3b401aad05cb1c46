//! What the sandbox's tests share: a small HTTP and JSON-RPC client, and transactions as a wallet would build them.

use bytes::{Bytes, BytesMut};
use ed25519_dalek::{Signer, SigningKey};
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use stellar_strkey::{Contract, ed25519::PublicKey};
use stellar_xdr::{
    AccountEntry, AccountId, Asset, ContractId, DecoratedSignature, FeeBumpTransaction,
    FeeBumpTransactionEnvelope, FeeBumpTransactionExt, FeeBumpTransactionInnerTx, Hash,
    HostFunction, Int128Parts, InvokeContractArgs, InvokeHostFunctionOp, LedgerEntryData,
    LedgerKey, LedgerKeyAccount, Limits, Memo, MuxedAccount, Operation, OperationBody, PaymentOp,
    Preconditions, PublicKey as XdrPublicKey, ReadXdr, ScAddress, ScSymbol, ScVal, SequenceNumber,
    Signature, SignatureHint, SorobanAuthorizationEntry, SorobanTransactionData, Transaction,
    TransactionEnvelope, TransactionExt, TransactionV1Envelope, Uint256, VecM, WriteXdr,
};
use tollgate_sandbox::{Clock, DevAccount, Options, Sandbox};

/// A sandbox whose ledgers close by hand.
pub(crate) async fn by_hand() -> Sandbox {
    Sandbox::start(Options { clock: Clock::Manual, ..Options::default() }).await.unwrap()
}

/// Sends a request; the error is the transport's.
pub(crate) async fn request(
    method: &str,
    url: &str,
    body: impl Into<Bytes>,
) -> Result<(StatusCode, Bytes), hyper_util::client::legacy::Error> {
    let client = Client::builder(TokioExecutor::new()).build_http();
    let request = Request::builder().method(method).uri(url).body(Full::new(body.into())).unwrap();
    let response = client.request(request).await?;
    Ok((response.status(), whole(response).await))
}

pub(crate) async fn get(url: &str) -> (StatusCode, Value) {
    let (status, body) = request("GET", url, "").await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

/// Posts a JSON-RPC body and reads the JSON that comes back.
pub(crate) async fn post(sandbox: &Sandbox, body: &Value) -> Value {
    let (status, body) = request("POST", sandbox.rpc_url(), body.to_string()).await.unwrap();
    assert_eq!(status, StatusCode::OK);
    serde_json::from_slice(&body).unwrap()
}

/// Calls a method; the error is the JSON-RPC error.
pub(crate) async fn try_call(
    sandbox: &Sandbox,
    method: &str,
    params: Value,
) -> Result<Value, Value> {
    let mut answer =
        post(sandbox, &json!({ "jsonrpc": "2.0", "id": 7, "method": method, "params": params }))
            .await;
    assert_eq!((&answer["jsonrpc"], &answer["id"]), (&json!("2.0"), &json!(7)));
    match answer["error"].take() {
        Value::Null => Ok(answer["result"].take()),
        error => Err(error),
    }
}

/// Calls a method that must answer with a result.
pub(crate) async fn call(sandbox: &Sandbox, method: &str, params: Value) -> Value {
    try_call(sandbox, method, params).await.unwrap()
}

/// Reads the account over the RPC.
pub(crate) async fn account(sandbox: &Sandbox, account: &DevAccount) -> Option<AccountEntry> {
    let key = base64(&LedgerKey::Account(LedgerKeyAccount { account_id: account_id(account) }));
    let found = call(sandbox, "getLedgerEntries", json!({ "keys": [key] })).await;
    match from_base64(found["entries"][0]["xdr"].as_str()?) {
        LedgerEntryData::Account(account) => Some(account),
        other => panic!("expected an account, got {other:?}"),
    }
}

/// The next transaction of `source` with one operation, unsigned.
pub(crate) async fn next(
    sandbox: &Sandbox,
    source: &DevAccount,
    body: OperationBody,
) -> Transaction {
    let sequence = account(sandbox, source).await.unwrap().seq_num.0;
    Transaction {
        source_account: muxed(source),
        fee: 100,
        seq_num: SequenceNumber(sequence + 1),
        cond: Preconditions::None,
        memo: Memo::None,
        operations: vec![Operation { source_account: None, body }].try_into().unwrap(),
        ext: TransactionExt::V0,
    }
}

/// `transaction` signed by `signer` for the sandbox's network.
pub(crate) fn sign(
    sandbox: &Sandbox,
    transaction: Transaction,
    signer: &DevAccount,
) -> TransactionEnvelope {
    let hash = transaction.hash(sandbox.ledger().network_id().0).unwrap();
    let signatures = vec![decorated(signer.key(), &hash)].try_into().unwrap();
    TransactionEnvelope::Tx(TransactionV1Envelope { tx: transaction, signatures })
}

/// `inner`, whose fee `payer` pays with up to `stroops`.
pub(crate) fn bump(
    sandbox: &Sandbox,
    inner: &TransactionEnvelope,
    payer: &DevAccount,
    stroops: i64,
) -> TransactionEnvelope {
    let TransactionEnvelope::Tx(inner) = inner else { panic!("expected a plain transaction") };
    let mut envelope = FeeBumpTransactionEnvelope {
        tx: FeeBumpTransaction {
            fee_source: muxed(payer),
            fee: stroops,
            inner_tx: FeeBumpTransactionInnerTx::Tx(inner.clone()),
            ext: FeeBumpTransactionExt::V0,
        },
        signatures: VecM::default(),
    };
    let hash = envelope.tx.hash(sandbox.ledger().network_id().0).unwrap();
    envelope.signatures = vec![decorated(payer.key(), &hash)].try_into().unwrap();
    TransactionEnvelope::TxFeeBump(envelope)
}

/// The hash of a transaction as hexadecimal digits.
pub(crate) fn hash_of(sandbox: &Sandbox, envelope: &TransactionEnvelope) -> String {
    hex::encode(envelope.hash(sandbox.ledger().network_id().0).unwrap())
}

/// Sends a transaction; answers the result of `sendTransaction`.
pub(crate) async fn send(sandbox: &Sandbox, envelope: &TransactionEnvelope) -> Value {
    call(sandbox, "sendTransaction", json!({ "transaction": base64(envelope) })).await
}

/// Reads a transaction by the hash that `sendTransaction` told.
pub(crate) async fn transaction(sandbox: &Sandbox, sent: &Value) -> Value {
    call(sandbox, "getTransaction", json!({ "hash": sent["hash"] })).await
}

/// A payment of `stroops` to `payee`.
pub(crate) fn payment(payee: &DevAccount, stroops: i64) -> OperationBody {
    OperationBody::Payment(PaymentOp {
        destination: muxed(payee),
        asset: Asset::Native,
        amount: stroops,
    })
}

/// A call of the USDC contract's `transfer`.
pub(crate) fn transfer(
    sandbox: &Sandbox,
    from: &DevAccount,
    to: &DevAccount,
    units: u64,
    auth: Vec<SorobanAuthorizationEntry>,
) -> OperationBody {
    let from = ScAddress::Account(account_id(from));
    transfer_from(sandbox, from, to, units, auth)
}

/// As [`transfer`], from any address.
pub(crate) fn transfer_from(
    sandbox: &Sandbox,
    from: ScAddress,
    to: &DevAccount,
    units: u64,
    auth: Vec<SorobanAuthorizationEntry>,
) -> OperationBody {
    let contract = Contract::from_string(&sandbox.usdc_contract()).unwrap();
    let to = ScAddress::Account(account_id(to));
    let amount = ScVal::I128(Int128Parts { hi: 0, lo: units });
    let args = vec![ScVal::Address(from), ScVal::Address(to), amount];
    OperationBody::InvokeHostFunction(InvokeHostFunctionOp {
        host_function: HostFunction::InvokeContract(InvokeContractArgs {
            contract_address: ScAddress::Contract(ContractId(Hash(contract.0))),
            function_name: ScSymbol("transfer".try_into().unwrap()),
            args: args.try_into().unwrap(),
        }),
        auth: VecM::try_from(auth).unwrap(),
    })
}

/// Simulates an unsigned transaction; answers the result of `simulateTransaction`.
pub(crate) async fn simulate(sandbox: &Sandbox, transaction: &Transaction) -> Value {
    let envelope = TransactionEnvelope::from(transaction);
    call(sandbox, "simulateTransaction", json!({ "transaction": base64(&envelope) })).await
}

/// `transaction` with the auth entries and resources that its simulation found.
pub(crate) fn assemble(mut transaction: Transaction, simulated: &Value) -> Transaction {
    let data: SorobanTransactionData = from_base64(simulated["transactionData"].as_str().unwrap());
    let fee: u32 = simulated["minResourceFee"].as_str().unwrap().parse().unwrap();
    let mut operations = transaction.operations.to_vec();
    if let OperationBody::InvokeHostFunction(invoke) = &mut operations[0].body
        && invoke.auth.is_empty()
    {
        let auth = simulated["results"][0]["auth"].as_array().unwrap();
        let auth: Vec<_> = auth.iter().map(|entry| from_base64(entry.as_str().unwrap())).collect();
        invoke.auth = auth.try_into().unwrap();
    }
    transaction.operations = operations.try_into().unwrap();
    transaction.fee += fee;
    transaction.ext = TransactionExt::V1(data);
    transaction
}

pub(crate) fn base64(value: &impl WriteXdr) -> String {
    value.to_xdr_base64(Limits::none()).unwrap()
}

pub(crate) fn from_base64<T: ReadXdr>(text: &str) -> T {
    T::from_xdr_base64(text, Limits::none()).unwrap()
}

pub(crate) fn account_id(account: &DevAccount) -> AccountId {
    AccountId(XdrPublicKey::PublicKeyTypeEd25519(Uint256(key_of(account))))
}

fn muxed(account: &DevAccount) -> MuxedAccount {
    MuxedAccount::Ed25519(Uint256(key_of(account)))
}

fn key_of(account: &DevAccount) -> [u8; 32] {
    PublicKey::from_string(&account.address()).unwrap().0
}

fn decorated(key: &SigningKey, hash: &[u8; 32]) -> DecoratedSignature {
    let public = key.verifying_key().to_bytes();
    DecoratedSignature {
        hint: SignatureHint(public[28..].try_into().unwrap()),
        signature: Signature(key.sign(hash).to_bytes().try_into().unwrap()),
    }
}

async fn whole(response: Response<Incoming>) -> Bytes {
    let mut body = response.into_body();
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.unwrap().into_data() {
            whole.extend_from_slice(&data);
        }
    }
    whole.freeze()
}

//! One channel, and those who may call it.

use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use stellar_xdr::{
    ContractDataDurability, ContractId, HostFunction, InvokeContractArgs, InvokeHostFunctionOp,
    LedgerEntryData, LedgerKey, LedgerKeyContractData, OperationBody, ScAddress, ScBytes,
    ScMapEntry, ScSymbol, ScVal, Transaction, TransactionMeta, TransactionResult, VecM,
};
use tollgate_sandbox::{DevAccount, OpenChannel, Sandbox};

use crate::support::{
    account_id, assemble, base64, by_hand, call, from_base64, next, send, sign, simulate,
    transaction,
};

/// A channel to the dev recipient, and the key of its commitments.
pub(super) struct Channel {
    pub(super) sandbox: Sandbox,
    pub(super) id: ContractId,
    payer: DevAccount,
    key: SigningKey,
}

/// A channel of the dev payer with `deposit`.
pub(super) async fn channel(deposit: i128) -> Channel {
    let sandbox = by_hand().await;
    let payer = sandbox.accounts().payer.clone();
    channel_of(sandbox, payer, deposit).await
}

/// A channel of `payer` with `deposit`, whose waiting period is [`WAITING_LEDGERS`].
pub(super) async fn channel_of(sandbox: Sandbox, payer: DevAccount, deposit: i128) -> Channel {
    let (payee, token) = (sandbox.accounts().recipient.address(), sandbox.usdc_contract());
    let key = SigningKey::from_bytes(&[1; 32]);
    let wanted = OpenChannel {
        payer: &payer,
        payee: &payee,
        token: &token,
        commitment_key: key.verifying_key().to_bytes(),
        deposit,
        refund_waiting_ledgers: WAITING_LEDGERS,
    };
    let id = sandbox.open_channel(&wanted).await.unwrap();
    Channel { sandbox, id, payer, key }
}

impl Channel {
    pub(super) fn payer(&self) -> &DevAccount {
        &self.payer
    }

    pub(super) fn payee(&self) -> &DevAccount {
        &self.sandbox.accounts().recipient
    }

    /// What the channel, its payer and its payee hold of the token.
    pub(super) fn holdings(&self) -> [i128; 3] {
        [self.id.to_string(), self.payer().address(), self.payee().address()]
            .map(|of| self.sandbox.usdc_balance(&of).unwrap())
    }

    /// The arguments of `settle` and `close` for a commitment to `total`, signed as its payer would.
    pub(super) fn committed(&self, total: i128) -> Vec<ScVal> {
        signed(total, &self.key, &commitment(&self.id, total))
    }

    /// Calls `function` as `source`, who signs nothing but the transaction.
    ///
    /// # Errors
    /// What the simulation says.
    pub(super) async fn call(
        &self,
        source: &DevAccount,
        function: &str,
        args: Vec<ScVal>,
    ) -> Result<Value, String> {
        let found = apply(&self.sandbox, source, invoke(&self.id, function, args)).await?;
        assert_eq!(found["status"], "SUCCESS", "{found}");
        Ok(found)
    }

    /// Calls `function` as `source`, and expects that it succeeds.
    pub(super) async fn succeed(&self, source: &DevAccount, function: &str, args: Vec<ScVal>) {
        self.call(source, function, args).await.unwrap();
    }

    /// Calls `function` as `source`, expects that the host refuses it, and answers the host's first words.
    pub(super) async fn refused(
        &self,
        source: &DevAccount,
        function: &str,
        args: Vec<ScVal>,
    ) -> String {
        let message = self.call(source, function, args).await.unwrap_err();
        let words = message.strip_prefix("HostError: ").unwrap().lines().next().unwrap();
        words.to_owned()
    }

    /// What the getter `function` answers.
    pub(super) async fn get(&self, function: &str, args: Vec<ScVal>) -> ScVal {
        let body = invoke(&self.id, function, args);
        let simulated =
            simulate(&self.sandbox, &next(&self.sandbox, self.payer(), body).await).await;
        assert!(simulated.get("error").is_none(), "{simulated}");
        from_base64(simulated["results"][0]["xdr"].as_str().unwrap())
    }

    /// The number that the getter `function` answers.
    pub(super) async fn amount(&self, function: &str) -> i128 {
        self.get(function, vec![]).await.try_into().unwrap()
    }

    /// All events of the channel: topics and data.
    pub(super) async fn events(&self) -> Vec<(Vec<ScVal>, ScVal)> {
        events(&self.sandbox, &self.id).await
    }

    /// The channel's storage, as key and value in the order in which it stands there.
    pub(super) async fn storage(&self) -> Vec<(ScVal, ScVal)> {
        let keys = json!({ "keys": [base64(&instance_key(&self.id))] });
        let found = call(&self.sandbox, "getLedgerEntries", keys).await;
        let LedgerEntryData::ContractData(data) =
            from_base64(found["entries"][0]["xdr"].as_str().unwrap())
        else {
            panic!("expected contract data, got {found}")
        };
        let ScVal::ContractInstance(instance) = data.val else { panic!("expected an instance") };
        let storage = instance.storage.unwrap().0.to_vec();
        storage.into_iter().map(|ScMapEntry { key, val }| (key, val)).collect()
    }

    pub(super) fn token(&self) -> ScVal {
        ScVal::Address(ScAddress::Contract(self.sandbox.usdc_contract().parse().unwrap()))
    }

    pub(super) fn commitment_key(&self) -> ScVal {
        bytes(&self.key.verifying_key().to_bytes())
    }
}

/// Simulates, signs and sends `body` as `source`, closes a ledger, and answers the transaction found there.
///
/// # Errors
/// What the simulation says.
pub(super) async fn apply(
    sandbox: &Sandbox,
    source: &DevAccount,
    body: OperationBody,
) -> Result<Value, String> {
    let (draft, simulated) = prepared(sandbox, source, body).await?;
    Ok(land(sandbox, source, assemble(draft, &simulated)).await)
}

/// The transaction of `source` that carries out `body`, and its simulation.
///
/// # Errors
/// What the simulation says.
pub(super) async fn prepared(
    sandbox: &Sandbox,
    source: &DevAccount,
    body: OperationBody,
) -> Result<(Transaction, Value), String> {
    let draft = next(sandbox, source, body).await;
    let simulated = simulate(sandbox, &draft).await;
    match simulated["error"].as_str() {
        Some(error) => Err(error.to_owned()),
        None => Ok((draft, simulated)),
    }
}

/// Signs and sends `transaction`, closes a ledger, and answers what is found there.
pub(super) async fn land(sandbox: &Sandbox, source: &DevAccount, tx: Transaction) -> Value {
    let sent = send(sandbox, &sign(sandbox, tx, source)).await;
    assert_eq!(sent["status"], "PENDING", "{sent}");
    sandbox.close_ledger().await;
    transaction(sandbox, &sent).await
}

/// A call of `contract`.
pub(super) fn invoke(contract: &ContractId, function: &str, args: Vec<ScVal>) -> OperationBody {
    host(HostFunction::InvokeContract(InvokeContractArgs {
        contract_address: ScAddress::Contract(contract.clone()),
        function_name: ScSymbol(function.try_into().unwrap()),
        args: args.try_into().unwrap(),
    }))
}

/// `function` as an operation that nobody but its source authorizes.
pub(super) fn host(function: HostFunction) -> OperationBody {
    OperationBody::InvokeHostFunction(InvokeHostFunctionOp {
        host_function: function,
        auth: VecM::default(),
    })
}

/// All events of `contract`: topics and data.
pub(super) async fn events(sandbox: &Sandbox, contract: &ContractId) -> Vec<(Vec<ScVal>, ScVal)> {
    let filter =
        json!({ "type": "contract", "contractIds": [contract.to_string()], "topics": [["**"]] });
    let oldest = sandbox.ledger().oldest().sequence;
    let found =
        call(sandbox, "getEvents", json!({ "startLedger": oldest, "filters": [filter] })).await;
    let decode = |value: &Value| from_base64(value.as_str().unwrap());
    let events = found["events"].as_array().unwrap();
    events
        .iter()
        .map(|event| {
            let topics = event["topic"].as_array().unwrap().iter().map(decode).collect();
            (topics, decode(&event["value"]))
        })
        .collect()
}

/// What became of a transaction, as the ledger's own words.
pub(super) fn result(found: &Value) -> String {
    let result: TransactionResult = from_base64(found["resultXdr"].as_str().unwrap());
    format!("{:?}", result.result)
}

/// What a transaction returned.
pub(super) fn returned(found: &Value) -> ScVal {
    let TransactionMeta::V4(meta) = from_base64(found["resultMetaXdr"].as_str().unwrap()) else {
        panic!("expected a meta V4")
    };
    meta.soroban_meta.unwrap().return_value.unwrap()
}

/// Where the instance of `contract` stands on the ledger.
pub(super) fn instance_key(contract: &ContractId) -> LedgerKey {
    LedgerKey::ContractData(LedgerKeyContractData {
        contract: ScAddress::Contract(contract.clone()),
        key: ScVal::LedgerKeyContractInstance,
        durability: ContractDataDurability::Persistent,
    })
}

/// The arguments of `settle` and `close`: `total`, and what `key` signs.
pub(super) fn signed(total: i128, key: &SigningKey, what: &[u8]) -> Vec<ScVal> {
    vec![total.into(), bytes(&key.sign(what).to_bytes())]
}

/// The commitment's bytes, written down from their published layout and not from anybody's code.
pub(super) fn commitment(channel: &ContractId, total: i128) -> Vec<u8> {
    hex::decode(format!(
        "000000110000000100000004\
         0000000f00000006616d6f756e7400000000000a{total:032x}\
         0000000f000000076368616e6e656c000000001200000001{}\
         0000000f00000006646f6d61696e00000000000f000000086368616e636d6d74\
         0000000f000000076e6574776f726b000000000d00000020\
         cee0302d59844d32bdca915c8203dd44b33fbb7edc19051ea37abedf28ecd472",
        hex::encode(channel.0.0)
    ))
    .unwrap()
}

pub(super) fn bytes(value: &[u8]) -> ScVal {
    ScVal::Bytes(ScBytes(value.to_vec().try_into().unwrap()))
}

pub(super) fn symbol(name: &str) -> ScVal {
    ScVal::Symbol(ScSymbol(name.try_into().unwrap()))
}

pub(super) fn address(account: &DevAccount) -> ScVal {
    ScVal::Address(ScAddress::Account(account_id(account)))
}

pub(super) const WAITING_LEDGERS: u32 = 100;

/// What [`result`] says of a call that the host ended.
pub(super) const TRAPPED: &str = "TxFailed(VecM([OpInner(InvokeHostFunction(Trapped))]))";

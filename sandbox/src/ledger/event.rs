//! The events that stellar-core itself emits: movements by classic operations, fees, and why a transaction is invalid.
//!
//! Source: CAP-67; the wording of diagnostics follows stellar-core.

use stellar_xdr::{
    AccountId, Asset, ContractEvent, ContractEventBody, ContractEventType, ContractEventV0,
    ContractId, ContractIdPreimage, DiagnosticEvent, ExtensionPoint, Hash, HashIdPreimage,
    HashIdPreimageContractId, Memo, MuxedAccount, ScAddress, ScBytes, ScError, ScMap, ScMapEntry,
    ScString, ScVal, TransactionEvent, TransactionEventStage,
};

use super::xdr::{hash, i128, list, string, symbol};

/// The contract that stands for `asset`: its Stellar Asset Contract, deployed or not.
pub(super) fn contract_of(asset: &Asset, network_id: &Hash) -> ContractId {
    ContractId(hash(&HashIdPreimage::ContractId(HashIdPreimageContractId {
        network_id: network_id.clone(),
        contract_id_preimage: ContractIdPreimage::Asset(asset.clone()),
    })))
}

/// What a classic operation moved: a transfer, or a mint or a burn when one side is the issuer.
pub(super) fn movement(
    network_id: &Hash,
    asset: &Asset,
    from: &AccountId,
    to: &MuxedAccount,
    amount: i64,
    memo: &Memo,
) -> ContractEvent {
    let issuer = issuer(asset);
    let receiver = to.clone().account_id();
    let (from_issuer, to_issuer) = (issuer == Some(from), issuer == Some(&receiver));
    let mut topics = Vec::new();
    let mut data = i128(amount);
    if from_issuer && !to_issuer {
        topics.extend([symbol("mint"), address(&receiver)]);
    } else if to_issuer && !from_issuer {
        topics.extend([symbol("burn"), address(from)]);
    } else {
        topics.extend([symbol("transfer"), address(from), address(&receiver)]);
    }
    if (from_issuer || !to_issuer)
        && let Some(id) = muxed_id(to, memo)
    {
        data = ScVal::Map(Some(ScMap(list(vec![
            ScMapEntry { key: symbol("amount"), val: data },
            ScMapEntry { key: symbol("to_muxed_id"), val: id },
        ]))));
    }
    topics.push(string(&asset_name(asset)));
    event(Some(contract_of(asset, network_id)), ContractEventType::Contract, topics, data)
}

/// The fee that `payer` paid, or got back when negative. In stroops.
pub(super) fn fee(
    network_id: &Hash,
    payer: &AccountId,
    amount: i64,
    stage: TransactionEventStage,
) -> TransactionEvent {
    TransactionEvent {
        stage,
        event: event(
            Some(contract_of(&Asset::Native, network_id)),
            ContractEventType::Contract,
            vec![symbol("fee"), address(payer)],
            i128(amount),
        ),
    }
}

/// A diagnostic that says why stellar-core refuses something, with the numbers that did not fit.
pub(super) fn diagnostic(error: ScError, message: &str, numbers: &[u64]) -> DiagnosticEvent {
    let mut data = string(message);
    if !numbers.is_empty() {
        let mut parts = vec![data];
        parts.extend(numbers.iter().map(|number| ScVal::U64(*number)));
        data = ScVal::Vec(Some(stellar_xdr::ScVec(list(parts))));
    }
    DiagnosticEvent {
        in_successful_contract_call: false,
        event: event(
            None,
            ContractEventType::Diagnostic,
            vec![symbol("error"), ScVal::Error(error)],
            data,
        ),
    }
}

fn event(
    contract_id: Option<ContractId>,
    type_: ContractEventType,
    topics: Vec<ScVal>,
    data: ScVal,
) -> ContractEvent {
    ContractEvent {
        ext: ExtensionPoint::V0,
        contract_id,
        type_,
        body: ContractEventBody::V0(ContractEventV0 { topics: list(topics), data }),
    }
}

fn address(account: &AccountId) -> ScVal {
    ScVal::Address(ScAddress::Account(account.clone()))
}

fn issuer(asset: &Asset) -> Option<&AccountId> {
    match asset {
        Asset::Native => None,
        Asset::CreditAlphanum4(asset) => Some(&asset.issuer),
        Asset::CreditAlphanum12(asset) => Some(&asset.issuer),
    }
}

/// `native`, or `CODE:ISSUER`.
fn asset_name(asset: &Asset) -> String {
    let (code, issuer) = match asset {
        Asset::Native => return "native".to_owned(),
        Asset::CreditAlphanum4(asset) => (asset.asset_code.to_string(), &asset.issuer),
        Asset::CreditAlphanum12(asset) => (asset.asset_code.to_string(), &asset.issuer),
    };
    format!("{code}:{issuer}")
}

/// Who within the receiving account is meant: its multiplexed id, or else the memo.
fn muxed_id(to: &MuxedAccount, memo: &Memo) -> Option<ScVal> {
    if let MuxedAccount::MuxedEd25519(muxed) = to {
        return Some(ScVal::U64(muxed.id));
    }
    match memo {
        Memo::None => None,
        Memo::Id(id) => Some(ScVal::U64(*id)),
        Memo::Text(text) => {
            let text = text.to_vec().try_into().expect("a memo is shorter than 4 GiB");
            Some(ScVal::String(ScString(text)))
        }
        Memo::Hash(hash) | Memo::Return(hash) => {
            let bytes = hash.0.to_vec().try_into().expect("32 bytes are fewer than 4 GiB");
            Some(ScVal::Bytes(ScBytes(bytes)))
        }
    }
}

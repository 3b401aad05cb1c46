//! The shapes that others read: commitment bytes, events, storage, code.

use sha2::{Digest, Sha256};
use stellar_xdr::{
    ContractExecutable, LedgerEntryData, LedgerKey, LedgerKeyContractCode, ScMap, ScMapEntry,
    ScVal, ScVec,
};
use tollgate_sandbox::{CHANNEL_WASM, channel_code};

use super::kit::{WAITING_LEDGERS, address, channel, commitment, instance_key, symbol};

#[tokio::test]
async fn a_commitment_is_the_published_192_bytes() {
    let it = channel(100).await;
    for total in [0, 1, 1_000_000, (1 << 64) + 5, i128::MAX] {
        let ScVal::Bytes(bytes) = it.get("prepare_commitment", vec![total.into()]).await else {
            panic!("expected bytes")
        };
        assert_eq!(bytes.len(), 192);
        assert_eq!(hex::encode(&bytes.0), hex::encode(commitment(&it.id, total)), "{total}");
    }
}

/// The published vector for the channel whose id is 32 bytes of 2, with this channel's id in its place.
#[tokio::test]
async fn a_commitment_is_that_of_the_published_vector() {
    let it = channel(100).await;
    let vector = "0000001100000001000000040000000f00000006616d6f756e7400000000000a00000000000000000\
                  0000000000f42400000000f000000076368616e6e656c0000000012000000010202020202020202020\
                  2020202020202020202020202020202020202020202020000000f00000006646f6d61696e00000000000f\
                  000000086368616e636d6d740000000f000000076e6574776f726b000000000d00000020cee0302d59844d\
                  32bdca915c8203dd44b33fbb7edc19051ea37abedf28ecd472";
    let expected = vector.replace(&"02".repeat(32), &hex::encode(it.id.0.0));
    let ScVal::Bytes(bytes) = it.get("prepare_commitment", vec![1_000_000_i128.into()]).await
    else {
        panic!("expected bytes")
    };
    assert_eq!(hex::encode(&bytes.0), expected);
}

#[tokio::test]
async fn events_are_a_topic_and_a_map_by_field() {
    let it = channel(100).await;
    let opened = it.sandbox.ledger().latest().sequence;
    let open = event(
        "open",
        &[
            ("amount", 100_i128.into()),
            ("commitment_key", it.commitment_key()),
            ("from", address(it.payer())),
            ("refund_waiting_period", ScVal::U32(WAITING_LEDGERS)),
            ("to", address(it.payee())),
            ("token", it.token()),
        ],
    );
    assert_eq!(it.events().await, std::slice::from_ref(&open));

    it.succeed(it.payer(), "top_up", vec![1_i128.into()]).await;
    it.succeed(it.payee(), "settle", it.committed(30)).await;
    it.succeed(it.payee(), "settle", it.committed(30)).await;
    it.succeed(it.payer(), "close_start", vec![]).await;
    it.succeed(it.payee(), "close", it.committed(45)).await;
    it.succeed(it.payer(), "refund", vec![]).await;
    let withdraw =
        |amount: i128| event("withdraw", &[("amount", amount.into()), ("to", address(it.payee()))]);
    let close = |at| event("close", &[("effective_at_ledger", ScVal::U32(at))]);
    let refund =
        |amount: i128| event("refund", &[("amount", amount.into()), ("from", address(it.payer()))]);
    let expected = [
        open,
        withdraw(30),
        close(opened + 4 + WAITING_LEDGERS),
        withdraw(15),
        close(opened + 5),
        refund(56),
    ];
    assert_eq!(it.events().await, expected);
}

#[tokio::test]
async fn a_close_that_is_effective_already_keeps_its_ledger_and_says_nothing_new() {
    let it = channel(100).await;
    it.succeed(it.payer(), "close_start", vec![]).await;
    let effective_at = it.sandbox.ledger().latest().sequence + WAITING_LEDGERS;
    it.sandbox.skip_ledgers(WAITING_LEDGERS).await;
    it.succeed(it.payee(), "close", it.committed(45)).await;
    let names: Vec<_> = it.events().await.into_iter().map(|(topics, _)| topics).collect();
    let expected = ["open", "close", "withdraw", "refund"].map(|name| vec![symbol(name)]);
    assert_eq!(names, expected);
    let key = (storage_key("CloseEffectiveAtLedger"), ScVal::U32(effective_at));
    assert!(it.storage().await.contains(&key));
}

#[tokio::test]
async fn a_refund_on_its_own_tells_what_it_gave() {
    let it = channel(100).await;
    it.succeed(it.payer(), "close_start", vec![]).await;
    it.sandbox.skip_ledgers(WAITING_LEDGERS).await;
    it.succeed(it.payer(), "refund", vec![]).await;
    let amount = 100_i128.into();
    let refund = event("refund", &[("amount", amount), ("from", address(it.payer()))]);
    assert_eq!(it.events().await.last(), Some(&refund));
}

#[tokio::test]
async fn the_storage_holds_these_keys_and_no_others() {
    let it = channel(100).await;
    let constant = [
        ("CommitmentKey", it.commitment_key()),
        ("From", address(it.payer())),
        ("RefundWaitingPeriod", ScVal::U32(WAITING_LEDGERS)),
        ("To", address(it.payee())),
        ("Token", it.token()),
    ];
    let with = |more: &[(&str, ScVal)]| {
        let mut all: Vec<_> = constant.iter().chain(more).cloned().collect();
        all.sort_by_key(|(name, _)| name.to_owned());
        all.into_iter().map(|(name, value)| (storage_key(name), value)).collect::<Vec<_>>()
    };
    assert_eq!(it.storage().await, with(&[]));

    it.succeed(it.payee(), "settle", it.committed(30)).await;
    assert_eq!(it.storage().await, with(&[("WithdrawnAmount", 30_i128.into())]));

    it.succeed(it.payer(), "close_start", vec![]).await;
    let effective_at = ScVal::U32(it.sandbox.ledger().latest().sequence + WAITING_LEDGERS);
    let withdrawn = ("WithdrawnAmount", 30_i128.into());
    let closing = with(&[("CloseEffectiveAtLedger", effective_at), withdrawn]);
    assert_eq!(it.storage().await, closing);
}

#[tokio::test]
async fn a_channel_runs_the_committed_code() {
    let it = channel(100).await;
    assert_eq!(channel_code(), <[u8; 32]>::from(Sha256::digest(CHANNEL_WASM)));
    let code = LedgerKey::ContractCode(LedgerKeyContractCode { hash: channel_code().into() });
    let found = it.sandbox.ledger().entries(&[instance_key(&it.id), code]);
    let LedgerEntryData::ContractData(data) = &found[0].entry.data else { panic!("an instance") };
    let ScVal::ContractInstance(instance) = &data.val else { panic!("an instance") };
    assert_eq!(instance.executable, ContractExecutable::Wasm(channel_code().into()));
    let LedgerEntryData::ContractCode(code) = &found[1].entry.data else { panic!("code") };
    assert_eq!(code.code.as_slice(), CHANNEL_WASM);

    let sums = include_str!("../../../../contracts/SHA256SUMS");
    let line = format!("{}  channel.wasm", hex::encode(channel_code()));
    assert!(sums.lines().any(|sum| sum == line), "{sums}");
}

fn event(name: &str, data: &[(&str, ScVal)]) -> (Vec<ScVal>, ScVal) {
    let fields: Vec<_> = data
        .iter()
        .map(|(name, value)| ScMapEntry { key: symbol(name), val: value.clone() })
        .collect();
    (vec![symbol(name)], ScVal::Map(Some(ScMap(fields.try_into().unwrap()))))
}

fn storage_key(name: &str) -> ScVal {
    ScVal::Vec(Some(ScVec(vec![symbol(name)].try_into().unwrap())))
}

use proptest::prelude::*;
use sha2::{Digest as _, Sha256};
use xdr::{ReadXdr as _, WriteXdr as _};

use super::*;
use crate::protocol::{
    commitment::CommitmentSeed,
    stellar::{AccountId, Network},
};

mod call;
mod event;

const CHANNEL: ContractId = ContractId([2; 32]);
const TOKEN: ContractId = ContractId([3; 32]);
const PAYER: Address = Address::Account(AccountId([4; 32]));
const PAYEE: Address = Address::Contract(ContractId([5; 32]));

fn units(amount: i128) -> Amount {
    Amount::from_units(amount).unwrap()
}

fn named(name: &'static str) -> xdr::ScVal {
    xdr::ScVal::Symbol(symbol(name))
}

fn blob(bytes: &[u8]) -> xdr::ScVal {
    crate::protocol::transfer::bytes(bytes)
}

fn of(address: Address) -> xdr::ScVal {
    xdr::ScVal::Address(address.to_xdr())
}

/// A key as the contract's enum of keys writes it.
fn variant(name: &'static str) -> xdr::ScVal {
    xdr::ScVal::Vec(Some(xdr::ScVec(vec![named(name)].try_into().unwrap())))
}

type Members = Vec<(xdr::ScVal, xdr::ScVal)>;

fn map(members: Members) -> xdr::ScMap {
    let entries: Vec<_> =
        members.into_iter().map(|(key, val)| xdr::ScMapEntry { key, val }).collect();
    xdr::ScMap(entries.try_into().unwrap())
}

/// All that a channel's storage may hold, in the ledger's order.
fn storage() -> Members {
    vec![
        (variant("CloseEffectiveAtLedger"), xdr::ScVal::U32(100)),
        (variant("CommitmentKey"), blob(&[6; 32])),
        (variant("From"), of(PAYER)),
        (variant("RefundWaitingPeriod"), xdr::ScVal::U32(17_280)),
        (variant("To"), of(PAYEE)),
        (variant("Token"), of(Address::Contract(TOKEN))),
        (variant("WithdrawnAmount"), xdr::ScVal::from(500_i128)),
    ]
}

fn instance() -> Instance {
    Instance {
        code: [7; 32],
        token: TOKEN,
        from: PAYER,
        to: PAYEE,
        commitment_key: [6; 32],
        refund_waiting_period: 17_280,
        withdrawn: units(500),
        close_effective_at: Some(100),
    }
}

/// `value` as it stands under `key`.
fn entry(key: xdr::LedgerKey, value: xdr::ScVal) -> xdr::LedgerEntryData {
    let xdr::LedgerKey::ContractData(key) = key else { panic!("a key of contract data") };
    xdr::LedgerEntryData::ContractData(xdr::ContractDataEntry {
        ext: xdr::ExtensionPoint::V0,
        contract: key.contract,
        key: key.key,
        durability: key.durability,
        val: value,
    })
}

fn instance_entry(storage: Option<Members>) -> xdr::LedgerEntryData {
    let instance = xdr::ScContractInstance {
        executable: xdr::ContractExecutable::Wasm(xdr::Hash([7; 32])),
        storage: storage.map(map),
    };
    entry(instance_key(CHANNEL), xdr::ScVal::ContractInstance(instance))
}

fn read(storage: Members) -> Result<Instance, Error> {
    Instance::read(CHANNEL, &instance_entry(Some(storage)))
}

fn holding() -> Members {
    vec![
        (named("amount"), xdr::ScVal::from(1_000_i128)),
        (named("authorized"), xdr::ScVal::Bool(true)),
        (named("clawback"), xdr::ScVal::Bool(false)),
    ]
}

fn balance_entry(members: Members) -> xdr::LedgerEntryData {
    entry(balance_key(TOKEN, CHANNEL), xdr::ScVal::Map(Some(map(members))))
}

fn held(members: Members) -> Result<Balance, Error> {
    Balance::read(TOKEN, CHANNEL, &balance_entry(members))
}

fn base64(key: &xdr::LedgerKey) -> String {
    key.to_xdr_base64(xdr::Limits::none()).unwrap()
}

#[test]
fn the_keys_are_those_that_the_reference_asks_the_ledger_for() {
    assert_eq!(
        base64(&instance_key(CHANNEL)),
        "AAAABgAAAAECAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgAAABQAAAAB"
    );
    assert_eq!(
        base64(&balance_key(Network::Testnet.usdc().contract, CHANNEL)),
        "AAAABgAAAAFQRc1ewHKado/VrQJQWFLfTwKNzoMOWsUiCbpISDsvAQAAABAAAAABAAAAAgAAAA8AAAAHQmFsYW5jZQAAAAASAAAAAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAAAAAQ=="
    );
}

#[test]
fn a_channel_is_read_by_the_names_of_its_members() {
    assert_eq!(read(storage()), Ok(instance()));
    let mut turned = storage();
    turned.reverse();
    turned.insert(3, (variant("Later"), xdr::ScVal::Void));
    turned.insert(0, (named("To"), xdr::ScVal::Void));
    assert_eq!(read(turned), Ok(instance()));
}

#[test]
fn a_fresh_channel_has_paid_nothing_and_does_not_end() {
    let mut fresh = storage();
    fresh.pop();
    fresh.remove(0);
    let expected = Instance { withdrawn: Amount::ZERO, close_effective_at: None, ..instance() };
    assert_eq!(read(fresh), Ok(expected));
}

#[test]
fn a_member_that_is_missing_or_wrong_is_named() {
    for name in ["CommitmentKey", "From", "RefundWaitingPeriod", "To", "Token"] {
        let mut storage = storage();
        storage.retain(|(key, _)| *key != variant(name));
        assert_eq!(read(storage), Err(Error::Member(name)), "without {name}");
    }
    let muxed = xdr::ScVal::Address(xdr::ScAddress::MuxedAccount(xdr::MuxedEd25519Account {
        id: 1,
        ed25519: xdr::Uint256([4; 32]),
    }));
    let wrong = [
        ("CloseEffectiveAtLedger", xdr::ScVal::U64(100)),
        ("CloseEffectiveAtLedger", xdr::ScVal::Void),
        ("CommitmentKey", blob(&[6; 31])),
        ("CommitmentKey", blob(&[6; 33])),
        ("CommitmentKey", xdr::ScVal::Void),
        ("From", xdr::ScVal::Void),
        ("From", muxed.clone()),
        ("RefundWaitingPeriod", xdr::ScVal::I32(17_280)),
        ("RefundWaitingPeriod", xdr::ScVal::from(17_280_i128)),
        ("To", blob(&[5; 32])),
        ("To", muxed),
        ("Token", of(PAYER)),
        ("WithdrawnAmount", xdr::ScVal::from(-1_i128)),
        ("WithdrawnAmount", xdr::ScVal::U128(xdr::UInt128Parts { hi: 0, lo: 500 })),
        ("WithdrawnAmount", xdr::ScVal::U64(500)),
    ];
    for (name, value) in wrong {
        let mut storage = storage();
        storage.iter_mut().find(|(key, _)| *key == variant(name)).unwrap().1 = value.clone();
        assert_eq!(read(storage), Err(Error::Member(name)), "{name} = {value:?}");
    }
    // Twice, even alike: no ledger has that.
    for at in 0..storage().len() {
        let mut twice = storage();
        twice.push(twice[at].clone());
        assert!(matches!(read(twice), Err(Error::Member(_))), "{at}");
    }
    let empty = Instance::read(CHANNEL, &instance_entry(None));
    assert_eq!(empty, Err(Error::Member("Token")));
    assert_eq!(Error::Member("To").to_string(), "`To` is missing or not as it must be");
}

#[test]
fn another_entry_than_the_channels_instance_is_refused() {
    let good = instance_entry(Some(storage()));
    assert_eq!(Instance::read(CHANNEL, &good), Ok(instance()));
    assert_eq!(Instance::read(ContractId([9; 32]), &good), Err(Error::OtherEntry));
    let changed = |change: fn(&mut xdr::ContractDataEntry)| {
        let xdr::LedgerEntryData::ContractData(mut data) = good.clone() else { panic!() };
        change(&mut data);
        Instance::read(CHANNEL, &xdr::LedgerEntryData::ContractData(data))
    };
    assert_eq!(changed(|_| ()), Ok(instance()));
    let temporary = changed(|data| data.durability = xdr::ContractDataDurability::Temporary);
    assert_eq!(temporary, Err(Error::OtherEntry));
    assert_eq!(changed(|data| data.key = xdr::ScVal::Void), Err(Error::OtherEntry));
    assert_eq!(changed(|data| data.val = xdr::ScVal::Void), Err(Error::OtherEntry));
    let asset = changed(|data| {
        let xdr::ScVal::ContractInstance(instance) = &mut data.val else { panic!() };
        instance.executable = xdr::ContractExecutable::StellarAsset;
    });
    assert_eq!(asset, Err(Error::NoCode));
    let life = xdr::LedgerEntryData::Ttl(xdr::TtlEntry {
        key_hash: xdr::Hash([0; 32]),
        live_until_ledger_seq: 9,
    });
    assert_eq!(Instance::read(CHANNEL, &life), Err(Error::OtherEntry));
    let balance = Instance::read(CHANNEL, &balance_entry(holding()));
    assert_eq!(balance, Err(Error::OtherEntry));
}

#[test]
fn a_balance_is_read_with_its_flags() {
    let expected = Balance { amount: units(1_000), authorized: true, clawback: false };
    assert_eq!(held(holding()), Ok(expected));
    let flags = |authorized, clawback| {
        let mut members = holding();
        members[1].1 = xdr::ScVal::Bool(authorized);
        members[2].1 = xdr::ScVal::Bool(clawback);
        held(members)
    };
    for (authorized, clawback) in [(true, true), (false, false), (false, true)] {
        assert_eq!(flags(authorized, clawback), Ok(Balance { authorized, clawback, ..expected }));
    }
    for (at, name) in ["amount", "authorized", "clawback"].into_iter().enumerate() {
        let mut without = holding();
        without.remove(at);
        assert_eq!(held(without), Err(Error::Member(name)), "without {name}");
        let mut wrong = holding();
        wrong[at].1 = xdr::ScVal::U32(1);
        assert_eq!(held(wrong), Err(Error::Member(name)), "{name}");
    }
    let mut negative = holding();
    negative[0].1 = xdr::ScVal::from(-1_i128);
    assert_eq!(held(negative), Err(Error::Member("amount")));
}

#[test]
fn a_balance_of_another_token_or_holder_is_refused() {
    let good = balance_entry(holding());
    assert!(Balance::read(TOKEN, CHANNEL, &good).is_ok());
    let other = ContractId([9; 32]);
    assert_eq!(Balance::read(other, CHANNEL, &good), Err(Error::OtherEntry));
    assert_eq!(Balance::read(TOKEN, other, &good), Err(Error::OtherEntry));
    // A token that is none of the network's own may hold a bare number there.
    let bare = entry(balance_key(TOKEN, CHANNEL), xdr::ScVal::from(1_000_i128));
    assert_eq!(Balance::read(TOKEN, CHANNEL, &bare), Err(Error::OtherEntry));
    let empty = entry(balance_key(TOKEN, CHANNEL), xdr::ScVal::Map(None));
    assert_eq!(Balance::read(TOKEN, CHANNEL, &empty), Err(Error::OtherEntry));
}

proptest! {
    #[test]
    fn amounts_are_read_whole(withdrawn in 0..=i128::MAX, held_units in 0..=i128::MAX) {
        let mut storage = storage();
        storage[6].1 = xdr::ScVal::from(withdrawn);
        prop_assert_eq!(read(storage).unwrap().withdrawn, units(withdrawn));
        let mut members = holding();
        members[0].1 = xdr::ScVal::from(held_units);
        prop_assert_eq!(held(members).unwrap().amount, units(held_units));
    }

    #[test]
    fn no_change_of_an_entrys_bytes_makes_a_reader_panic(
        of_balance in any::<bool>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let entry = if of_balance {
            balance_entry(holding())
        } else {
            instance_entry(Some(storage()))
        };
        let mut bytes = entry.to_xdr(xdr::Limits::none()).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        let limits = xdr::Limits { depth: 100, len: 1 << 20 };
        if let Ok(entry) = xdr::LedgerEntryData::from_xdr(bytes, limits) {
            let instance = Instance::read(CHANNEL, &entry);
            let balance = Balance::read(TOKEN, CHANNEL, &entry);
            prop_assert!(instance.is_err() || balance.is_err());
        }
    }
}

#[test]
fn the_code_is_that_of_the_committed_contract() {
    let wasm = include_bytes!("../../../contracts/channel.wasm");
    assert_eq!(hex::encode(Sha256::digest(wasm)), hex::encode(CODE));
}

//! Commitments and the small texts of money: one spelling each, and no signature but the payer's.
//!
//! Input: lines, each read as the JSON of a payload, and as every text that there is.

use std::{fmt::Display, str::FromStr};

use stellar_xdr as xdr;
use xdr::ReadXdr as _;

use crate::protocol::{
    commitment::{self, Commitment, CommitmentKey, CommitmentSeed},
    json,
    money::{Amount, Decimals, Price},
    mpp::{
        channel::Payload,
        charge::{self, Source},
        timestamp,
    },
    stellar::{AccountId, Address, ContractId, Network, TxHash},
};

pub(super) fn check(bytes: &[u8]) {
    for line in bytes.split(|byte| *byte == b'\n').take(MOST_LINES) {
        if let Ok(json) = json::parse(line) {
            if let Ok(payload) = Payload::from_json(&json) {
                assert_eq!(Payload::from_json(&payload.to_json()).as_ref(), Ok(&payload));
                assert!(!payload.amount.is_zero());
                is_only_the_payers(payload.commitment());
            }
            if let Ok(payload) = charge::Payload::from_json(&json) {
                assert_eq!(charge::Payload::from_json(&payload.to_json()), Ok(payload));
            }
        }
        if let Ok(text) = std::str::from_utf8(line) {
            texts(text);
        }
        if let Some(raw) = line.first_chunk::<32>()
            && let Ok(key) = CommitmentKey::from_bytes(*raw)
        {
            assert_eq!(key.to_bytes(), *raw);
            reads_back(&key);
        }
    }
}

/// Only what was signed for this channel, network and total is a commitment.
fn is_only_the_payers(brought: Commitment) {
    let seed = CommitmentSeed::from_bytes(&[7; 32]);
    let channel = ContractId([9; 32]);
    let of = |network, units| {
        Amount::from_units(units).map(|amount| seed.sign(network, channel, amount))
    };
    let signed = of(Network::Testnet, SIGNED).expect("not below zero");
    assert_eq!(seed.key().verify(Network::Testnet, channel, &signed), Ok(()));
    let ours = seed.key().verify(Network::Testnet, channel, &brought).is_ok();
    assert_eq!(ours, Some(brought) == of(Network::Testnet, brought.amount.units()));
    if ours {
        assert!(seed.key().verify(Network::Pubnet, channel, &brought).is_err());
        assert!(seed.key().verify(Network::Testnet, ContractId([8; 32]), &brought).is_err());
    }
    // What is signed is XDR, and says just this.
    let bytes = commitment::bytes(Network::Testnet, channel, brought.amount);
    let value = xdr::ScVal::from_xdr(bytes, xdr::Limits { depth: 100, len: bytes.len() });
    let Ok(xdr::ScVal::Map(Some(map))) = value else { panic!("no map: {bytes:?}") };
    let values: Vec<&xdr::ScVal> = map.iter().map(|entry| &entry.val).collect();
    let [xdr::ScVal::I128(amount), xdr::ScVal::Address(of), xdr::ScVal::Symbol(_), _] =
        values.as_slice()
    else {
        panic!("another map: {values:?}")
    };
    assert_eq!(Amount::from_units(amount.into()), Some(brought.amount));
    assert_eq!(*of, channel.to_xdr());
}

fn texts(text: &str) {
    one_spelling::<Address>(text);
    one_spelling::<AccountId>(text);
    one_spelling::<ContractId>(text);
    one_spelling::<Network>(text);
    one_spelling::<Source>(text);
    if let Ok(hash) = text.parse::<TxHash>() {
        reads_back(&hash);
    }
    if let Ok(key) = text.parse::<CommitmentKey>() {
        reads_back(&key);
    }
    if let Ok(seed) = text.parse::<CommitmentSeed>() {
        reads_back(&seed.key());
        assert!(!format!("{seed:?}").contains(text));
    }
    if let Ok(amount) = Amount::parse_units(text) {
        assert_eq!(amount.to_string(), text);
        for decimals in [Decimals::STELLAR, Decimals::new(0).expect("none"), MOST_DECIMALS] {
            let decimal = amount.to_decimal(decimals);
            assert_eq!(Amount::parse_decimal(&decimal, decimals), Ok(amount));
        }
    }
    let price = Price::split(text);
    for number in [text, price.number] {
        if let Ok(amount) = Amount::parse_decimal(number, Decimals::STELLAR) {
            let decimal = amount.to_decimal(Decimals::STELLAR);
            assert_eq!(Amount::parse_decimal(&decimal, Decimals::STELLAR), Ok(amount));
            assert!(number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'));
        }
    }
    if let Ok(ms) = timestamp::read(text) {
        assert_eq!(timestamp::read(&timestamp::write(ms)), Ok(ms));
    }
}

/// What is read from `text` is written as `text`.
fn one_spelling<T: FromStr + Display>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string(), text);
    }
}

fn reads_back<T: FromStr + Display + PartialEq>(value: &T) {
    assert!(value.to_string().parse().is_ok_and(|read: T| read == *value), "{value}");
}

const SIGNED: i128 = 10_000;
const MOST_DECIMALS: Decimals = Decimals::new(38).expect("an i128 has as many");
const MOST_LINES: usize = 16;

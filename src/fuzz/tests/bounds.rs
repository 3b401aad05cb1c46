//! What is made to be dear to read costs little: rows I02 and I03, by the memory that is taken, not by the clock.

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use stellar_xdr as xdr;
use xdr::WriteXdr as _;

use crate::protocol::{
    json,
    mpp::{Credential, channel, charge},
    stellar::Network,
    transfer::{Error, Pulled, Transfer, unsigned_envelope},
    x402::{Payload, Requirements},
};

/// The most that a run holds at a time, and all that it ever takes, in bytes.
fn cost(run: impl FnOnce()) -> (u64, u64) {
    let used = allocation_counter::measure(run);
    (used.bytes_max, used.bytes_total)
}

fn x402(text: &str) -> bool {
    Payload::decode(STANDARD.encode(text).as_bytes()).is_ok()
}

fn mpp(text: &str) -> bool {
    Credential::from_token(URL_SAFE_NO_PAD.encode(text).as_bytes()).is_ok()
}

#[test]
fn i02_what_nests_deeply_costs_no_more_than_its_length() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("[{\"a\":", "}]")] {
        let deep = |levels: usize| format!("{}1{}", open.repeat(levels), close.repeat(levels));
        let levels = open.matches(['[', '{']).count();
        assert!(json::parse(deep(32 / levels).as_bytes()).is_ok());
        assert!(json::parse(deep(32 / levels + 1).as_bytes()).is_err());
        for text in [deep(10_000), open.repeat(10_000)] {
            let (held, taken) = cost(|| assert!(json::parse(text.as_bytes()).is_err()));
            assert!(held <= 16 << 10 && taken <= 64 << 10, "{open}: {held}, {taken}");
            assert!(!x402(&text) && !mpp(&text));
        }
    }
}

#[test]
fn i02_a_long_text_is_refused_before_it_is_read() {
    let long = format!("{{\"x402Version\":2,\"challenge\":\"{}\"}}", "a".repeat(1 << 20));
    let header = STANDARD.encode(&long);
    for refused in [
        cost(|| assert!(Payload::decode(header.as_bytes()).is_err())),
        cost(|| assert!(Credential::from_token(header.as_bytes()).is_err())),
        cost(|| assert_eq!(Transfer::parse(&header), Err(Error::Malformed))),
    ] {
        assert_eq!(refused, (0, 0));
    }
    // Where a body may be that long, it is read in one piece.
    let (held, taken) = cost(|| assert!(json::parse(long.as_bytes()).is_ok()));
    assert!(held <= 3 << 20 && taken <= 6 << 20, "{held}, {taken}");
}

#[test]
fn i02_an_amount_is_text_and_no_number() {
    let usdc = Network::Testnet.usdc().contract.to_string();
    let requirements = |amount: &str| {
        format!(
            r#"{{"scheme":"exact","network":"stellar:testnet","amount":{amount},"asset":"{usdc}",
            "payTo":"{usdc}","maxTimeoutSeconds":60,"extra":{{"areFeesSponsored":true}}}}"#
        )
    };
    let asked = |amount: &str| {
        URL_SAFE_NO_PAD.encode(format!(
            r#"{{"amount":{amount},"currency":"{usdc}","recipient":"{usdc}","methodDetails":{{}}}}"#
        ))
    };
    let promised = |amount: &str| {
        let signature = "0".repeat(128);
        format!(r#"{{"action":"voucher","amount":{amount},"signature":"{signature}"}}"#)
    };
    let taken = |amount: &str| {
        let read = |text: &str| json::parse(text.as_bytes()).ok();
        [
            read(&requirements(amount)).is_some_and(|json| Requirements::from_json(&json).is_ok()),
            charge::Request::decode(&asked(amount)).is_ok(),
            read(&promised(amount)).is_some_and(|json| channel::Payload::from_json(&json).is_ok()),
        ]
    };
    assert_eq!(taken("\"10000\""), [true; 3]);
    assert_eq!(taken("\"9007199254740993\""), [true; 3]);
    for amount in [
        "10000",
        "10000.0",
        "9007199254740993",
        "1e4",
        "1e309",
        "-0",
        "0",
        "null",
        "[\"10000\"]",
        "\"\"",
        "\"0\"",
        "\"-0\"",
        "\"-1\"",
        "\"+1\"",
        "\"01\"",
        "\"1e4\"",
        "\"1e309\"",
        "\"10000.0\"",
        "\" 10000\"",
        "\"0x10\"",
        "\"NaN\"",
        "\"170141183460469231731687303715884105728\"",
    ] {
        assert_eq!(taken(amount), [false; 3], "{amount}");
    }
}

#[test]
fn i03_a_transaction_is_read_whole_or_not_at_all() {
    let good = STANDARD.decode(VECTOR_A.trim()).unwrap();
    assert!(Transfer::parse(&STANDARD.encode(&good)).is_ok());
    for end in 0..good.len() {
        assert_eq!(refused(&good[..end]), Error::Malformed, "cut at {end}");
    }
    for more in [&[0_u8][..], &[0; 4], &[0; 64], &[0xff; 4]] {
        assert_eq!(refused(&[&good, more].concat()), Error::Malformed, "{more:?} behind");
    }
    let twice = [good.as_slice(), &good].concat();
    assert_eq!(refused(&twice), Error::Malformed);
}

#[test]
fn i03_no_length_within_a_transaction_costs_memory() {
    let good = STANDARD.decode(VECTOR_A.trim()).unwrap();
    for word in [u32::MAX, i32::MAX.unsigned_abs(), 0x8000_0000, 0x00ff_ffff, 0x0001_0000] {
        for at in (0..good.len() - 3).step_by(4) {
            let mut bytes = good.clone();
            bytes[at..at + 4].copy_from_slice(&word.to_be_bytes());
            let text = STANDARD.encode(&bytes);
            let (held, taken) = cost(|| {
                drop(Transfer::parse(&text));
                drop(Pulled::parse(&text, Network::Testnet));
            });
            assert!(held <= 1 << 20 && taken <= 2 << 20, "{word:x} at {at}: {held}, {taken}");
        }
    }
}

#[test]
fn i03_what_fills_a_gap_must_be_zero() {
    let good = STANDARD.decode(VECTOR_A.trim()).unwrap();
    // The name of the call, `transfer`, needs none; the name of a shorter one does.
    let (name, shorter) = (b"\0\0\0\x08transfer", b"\0\0\0\x07transfe\0");
    let at = good.windows(name.len()).position(|window| window == name).unwrap();
    let mut padded = good;
    padded[at..at + name.len()].copy_from_slice(shorter);
    assert_eq!(refused(&padded), Error::WrongFunction);
    for filler in 1..=u8::MAX {
        padded[at + name.len() - 1] = filler;
        assert_eq!(refused(&padded), Error::Malformed, "{filler}");
    }
}

#[test]
fn i03_what_nests_deeply_in_a_transaction_costs_no_more_than_its_length() {
    let mut envelope = match Transfer::parse(VECTOR_A.trim()) {
        Ok(transfer) => unsigned_envelope(transfer.operation(), None, 100, 0),
        Err(error) => panic!("{error}"),
    };
    let nested = |levels: usize, is_map: bool| {
        let mut value = xdr::ScVal::Void;
        for _ in 0..levels {
            value = if is_map {
                let entry = xdr::ScMapEntry { key: xdr::ScVal::Void, val: value };
                xdr::ScVal::Map(Some(xdr::ScMap(vec![entry].try_into().unwrap())))
            } else {
                xdr::ScVal::Vec(Some(xdr::ScVec(vec![value].try_into().unwrap())))
            };
        }
        value
    };
    for (levels, is_map, verdict) in [
        (2, false, Error::WrongAmount),
        (2, true, Error::WrongAmount),
        (200, false, Error::Malformed),
        (200, true, Error::Malformed),
        (450, false, Error::Malformed),
    ] {
        let xdr::TransactionEnvelope::Tx(transaction) = &mut envelope else { unreachable!() };
        let mut operation = transaction.tx.operations[0].clone();
        let xdr::OperationBody::InvokeHostFunction(invoke) = &mut operation.body else {
            unreachable!()
        };
        let xdr::HostFunction::InvokeContract(call) = &mut invoke.host_function else {
            unreachable!()
        };
        let mut arguments = call.args.to_vec();
        arguments[2] = nested(levels, is_map);
        call.args = arguments.try_into().unwrap();
        transaction.tx.operations = vec![operation].try_into().unwrap();
        let bytes = envelope.to_xdr(xdr::Limits::none()).unwrap();
        let (held, taken) = cost(|| assert_eq!(refused(&bytes), verdict, "{levels}"));
        assert!(held <= 1 << 20 && taken <= 2 << 20, "{levels}: {held}, {taken}");
    }
    // Deeper than anybody could write it: each level is a list of one list.
    let bomb = [0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 1].repeat(900);
    let good = STANDARD.decode(VECTOR_A.trim()).unwrap();
    let amount = good.windows(4).position(|window| window == [0, 0, 0, 10]).unwrap();
    let bytes = [&good[..amount], &bomb, &good[amount..]].concat();
    let (held, taken) = cost(|| assert_eq!(refused(&bytes), Error::Malformed));
    assert!(held <= 1 << 20 && taken <= 2 << 20, "{held}, {taken}");
}

#[test]
fn i03_a_boolean_is_zero_or_one() {
    let signed = |truth: u32| {
        // A contract account may take any value for a signature.
        let mut entry = Transfer::parse(VECTOR_A.trim()).unwrap().authorization();
        let xdr::SorobanCredentials::Address(credentials) = &mut entry.credentials else {
            unreachable!()
        };
        credentials.signature = xdr::ScVal::Bool(true);
        let mut operation = Transfer::parse(VECTOR_A.trim()).unwrap().operation();
        let xdr::OperationBody::InvokeHostFunction(invoke) = &mut operation.body else {
            unreachable!()
        };
        invoke.auth = vec![entry].try_into().unwrap();
        let envelope = unsigned_envelope(operation, None, 100, 0);
        let mut bytes = envelope.to_xdr(xdr::Limits::none()).unwrap();
        // Behind its nonce and its last ledger.
        let ledger = 1_000_012_u32.to_be_bytes();
        let at = bytes.windows(4).position(|window| window == ledger).unwrap() + 8;
        bytes[at..at + 4].copy_from_slice(&truth.to_be_bytes());
        bytes
    };
    for truth in [0, 1] {
        assert!(Transfer::parse(&STANDARD.encode(signed(truth))).is_ok(), "{truth}");
    }
    for truth in [2, 0x100, 0x0100_0000, u32::MAX] {
        assert_eq!(refused(&signed(truth)), Error::Malformed, "{truth}");
    }
}

/// Why these bytes are no transfer, by each of its readers.
fn refused(bytes: &[u8]) -> Error {
    let text = STANDARD.encode(bytes);
    let error = Transfer::parse(&text).unwrap_err();
    assert_eq!(Pulled::parse(&text, Network::Testnet), Err(error));
    error
}

const VECTOR_A: &str = include_str!("../../protocol/transfer/vector_a.txt");

use proptest::prelude::*;
use stellar_xdr::{self as xdr, ReadXdr as _, WriteXdr as _};

use super::*;

const CHANNEL: ContractId = ContractId([2; 32]);

const C1: &str = "a90764b6d4e252fc080a12d5355fc7d194593a5ea2aa4ad9c55cf6f88072f9565c793e1e075f484c8281c275b76371f8307bdb522aa67121420cef61f9e3c50c";
const C2: &str = "987cf2195bc65656ac60d4ece7e40c90dc4d3a4a9347f4309e4624c9ff2f82cf860401a52cc9ac54314bd0a3fc9ad696247283d4aee5804f8779a7d979f5c20c";
const C3: &str = "23b9ce3b96b729df91774abbda79481183f746662e601d04f3efe8476c886398da2a8e9b01c588e55a9439f9dd9db353b8dbc78d8d53ecba2a2ff3344b154b04";

fn seed() -> CommitmentSeed {
    CommitmentSeed::from_bytes(&[1; 32])
}

fn amount(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}

/// C1: 1,000,000 units on testnet.
fn c1() -> Commitment {
    let signature = hex::decode(C1).unwrap().try_into().unwrap();
    Commitment { amount: amount(1_000_000), signature }
}

fn verdict(commitment: &Commitment) -> Result<(), BadSignature> {
    seed().key().verify(Network::Testnet, CHANNEL, commitment)
}

fn symbol(name: &str) -> xdr::ScVal {
    xdr::ScVal::Symbol(xdr::ScSymbol(name.try_into().unwrap()))
}

fn map(entries: Vec<(&str, xdr::ScVal)>) -> xdr::ScVal {
    let entries: Vec<_> =
        entries.into_iter().map(|(key, val)| xdr::ScMapEntry { key: symbol(key), val }).collect();
    xdr::ScVal::Map(Some(xdr::ScMap(entries.try_into().unwrap())))
}

/// The four entries as the contract has them.
fn entries(network: [u8; 32], channel: ContractId, units: i128) -> Vec<(&'static str, xdr::ScVal)> {
    vec![
        ("amount", xdr::ScVal::from(units)),
        ("channel", xdr::ScVal::Address(channel.to_xdr())),
        ("domain", symbol("chancmmt")),
        ("network", xdr::ScVal::Bytes(xdr::ScBytes(network.to_vec().try_into().unwrap()))),
    ]
}

fn encode(value: &xdr::ScVal) -> Vec<u8> {
    value.to_xdr(xdr::Limits::none()).unwrap()
}

#[test]
fn c1_to_c3_are_signed_and_verified_as_by_the_reference() {
    let vectors = [
        (Network::Testnet, 1_000_000, C1),
        (Network::Testnet, 18_446_744_073_709_551_621, C2),
        (Network::Pubnet, 1_000_000, C3),
    ];
    let seed = seed();
    assert_eq!(CHANNEL.to_string(), "CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ");
    for (network, units, signature) in vectors {
        let commitment = seed.sign(network, CHANNEL, amount(units));
        assert_eq!(commitment.amount, amount(units));
        assert_eq!(hex::encode(commitment.signature), signature, "{units} on {network}");
        assert_eq!(seed.key().verify(network, CHANNEL, &commitment), Ok(()));
    }
    let c1 = "0000001100000001000000040000000f00000006616d6f756e7400000000000a000000000000000000000000000f42400000000f000000076368616e6e656c00000000120000000102020202020202020202020202020202020202020202020202020202020202020000000f00000006646f6d61696e00000000000f000000086368616e636d6d740000000f000000076e6574776f726b000000000d00000020cee0302d59844d32bdca915c8203dd44b33fbb7edc19051ea37abedf28ecd472";
    assert_eq!(hex::encode(bytes(Network::Testnet, CHANNEL, amount(1_000_000))), c1);
    let c2 = bytes(Network::Testnet, CHANNEL, amount(18_446_744_073_709_551_621));
    assert_eq!(hex::encode(&c2[32..48]), "00000000000000010000000000000005");
}

#[test]
fn c03_a_signature_that_is_not_the_keys_is_refused() {
    assert_eq!(verdict(&c1()), Ok(()));
    for bit in 0..512 {
        let mut flipped = c1();
        flipped.signature[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(verdict(&flipped), Err(BadSignature), "bit {bit}");
    }
    let other = CommitmentSeed::from_bytes(&[3; 32]);
    let stranger = other.sign(Network::Testnet, CHANNEL, c1().amount);
    assert_eq!(verdict(&stranger), Err(BadSignature));
    for byte in [0, 0xff] {
        assert_eq!(verdict(&Commitment { signature: [byte; 64], ..c1() }), Err(BadSignature));
    }
}

#[test]
fn c03_a_signature_has_one_spelling() {
    // The other half of a signature plus the group's order: the same to who does not look.
    let order =
        hex::decode("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010").unwrap();
    let mut malleable = c1();
    let mut carry = 0_u16;
    for (byte, add) in malleable.signature[32..].iter_mut().zip(order) {
        let sum = u16::from(*byte) + u16::from(add) + carry;
        *byte = sum.to_le_bytes()[0];
        carry = sum >> 8;
    }
    assert_ne!(malleable, c1());
    assert_eq!(verdict(&malleable), Err(BadSignature));
}

#[test]
fn c03_a_signature_that_only_lax_verification_takes_is_refused() {
    // By the seed's holder, with the identity for its point and s = k·a: the ledger refuses it, so it cannot be cashed.
    let lax = "0100000000000000000000000000000000000000000000000000000000000000fe0792fe969e311d66f9edc31a86ed093dcfec4d0cbad6f2ef382e6bc93dff0c";
    let signature = hex::decode(lax).unwrap().try_into().unwrap();
    let key = VerifyingKey::from_bytes(&seed().key().to_bytes()).unwrap();
    let message = bytes(Network::Testnet, CHANNEL, c1().amount);
    let taken = ed25519_dalek::Verifier::verify(&key, &message, &Signature::from_bytes(&signature));
    assert!(taken.is_ok());
    assert_eq!(verdict(&Commitment { signature, ..c1() }), Err(BadSignature));
}

#[test]
fn c05_what_was_signed_otherwise_than_the_contract_has_it_is_refused() {
    let id = Network::Testnet.id();
    let good = entries(id, CHANNEL, 1_000_000);
    let with = |at: usize, entry: (&'static str, xdr::ScVal)| {
        let mut entries = good.clone();
        entries[at] = entry;
        encode(&map(entries))
    };
    let mut extra = good.clone();
    extra.push(("nonce", xdr::ScVal::U32(1)));
    let mut turned = good.clone();
    turned.reverse();
    let signed = encode(&map(good.clone()));
    assert_eq!(signed, bytes(Network::Testnet, CHANNEL, amount(1_000_000)));
    let mut trailing = signed.clone();
    trailing.push(0);
    let wrong = [
        ("a domain", with(2, ("domain", symbol("chancmmu")))),
        ("no domain", encode(&map(good[..2].to_vec()))),
        ("a network", encode(&map(entries(Network::Pubnet.id(), CHANNEL, 1_000_000)))),
        ("no network at all", encode(&map(entries([0; 32], CHANNEL, 1_000_000)))),
        ("a channel", encode(&map(entries(id, ContractId([3; 32]), 1_000_000)))),
        ("an amount", encode(&map(entries(id, CHANNEL, 1_000_001)))),
        ("a negative amount", encode(&map(entries(id, CHANNEL, -1_000_000)))),
        ("an entry more", encode(&map(extra))),
        ("another order", encode(&map(turned))),
        (
            "a u128",
            with(0, ("amount", xdr::ScVal::U128(xdr::UInt128Parts { hi: 0, lo: 1_000_000 }))),
        ),
        ("a byte more", trailing),
        ("a byte less", signed[..191].to_vec()),
        ("no bytes", Vec::new()),
    ];
    for (what, message) in wrong {
        let signature = SigningKey::from_bytes(&[1; 32]).sign(&message).to_bytes();
        assert_eq!(verdict(&Commitment { signature, ..c1() }), Err(BadSignature), "{what}");
    }
    let signature = SigningKey::from_bytes(&[1; 32]).sign(&signed).to_bytes();
    assert_eq!(verdict(&Commitment { signature, ..c1() }), Ok(()));
}

#[test]
fn c06_a_commitment_is_for_one_channel_on_one_network_and_one_amount() {
    let (key, commitment) = (seed().key(), c1());
    let (home, other) = (Network::Testnet, ContractId([3; 32]));
    assert_eq!(key.verify(home, CHANNEL, &commitment), Ok(()));
    assert_eq!(key.verify(home, other, &commitment), Err(BadSignature));
    assert_eq!(key.verify(Network::Pubnet, CHANNEL, &commitment), Err(BadSignature));
    for units in [0, 999_999, 1_000_001, i128::MAX] {
        let raised = Commitment { amount: amount(units), ..commitment };
        assert_eq!(key.verify(home, CHANNEL, &raised), Err(BadSignature), "{units}");
    }
}

#[test]
fn a_key_is_read_from_an_address_or_hex() {
    let address = "GCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOJR";
    let hex = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    for text in [address, hex, &hex.to_uppercase()] {
        assert_eq!(text.parse(), Ok(seed().key()), "{text}");
    }
    assert_eq!(seed().key().to_string(), address);
    assert_eq!(format!("{:?}", seed().key()), address);
    assert_eq!(hex::encode(seed().key().to_bytes()), hex);
    for (text, error) in [
        ("", AddressError::Malformed),
        (&hex[1..], AddressError::Malformed),
        (&format!("0x{hex}"), AddressError::Malformed),
        ("CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ", AddressError::NotAccount),
        ("SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY", AddressError::Secret),
    ] {
        assert_eq!(text.parse::<CommitmentKey>(), Err(NotKey::Malformed(error)), "{text}");
    }
    assert_eq!("00".repeat(32).parse::<CommitmentKey>(), Err(NotKey::Weak(WeakKey)));
}

#[test]
fn a_key_under_which_others_can_sign_is_refused() {
    // Every point of small order in every spelling that a decoder may take, then spellings of others: above the prime,
    // and off the curve.
    let weak = [
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0000000000000000000000000000000000000000000000000000000000000080",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000080",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "f0ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "0200000000000000000000000000000000000000000000000000000000000000",
    ];
    for text in weak {
        let bytes = hex::decode(text).unwrap().try_into().unwrap();
        assert_eq!(CommitmentKey::from_bytes(bytes), Err(WeakKey), "{text}");
    }
    // A point above the prime that is neither off the curve nor of small order: canonical form alone refuses it.
    let spelled_twice = (0_u8..19).map(|above| {
        let mut bytes = [0xff; 32];
        bytes[0] = 0xed + above;
        bytes[31] = 0x7f;
        bytes
    });
    let strong = spelled_twice
        .filter(|bytes| VerifyingKey::from_bytes(bytes).is_ok_and(|key| !key.is_weak()));
    let mut refused = 0;
    for bytes in strong {
        assert_eq!(CommitmentKey::from_bytes(bytes), Err(WeakKey));
        refused += 1;
    }
    assert!(refused > 0);
}

#[test]
fn a_seed_is_read_and_neither_it_nor_a_signature_is_shown() {
    let secret = "SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY";
    for text in [secret, &"01".repeat(32)] {
        assert_eq!(text.parse::<CommitmentSeed>().unwrap().key(), seed().key(), "{text}");
    }
    let address = "GCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOJR";
    for text in ["", address, &"01".repeat(31), &"01".repeat(33), &secret.to_lowercase()] {
        assert_eq!(text.parse::<CommitmentSeed>().err(), Some(NotSeed), "{text}");
    }
    assert_eq!(format!("{:?}", seed()), format!("CommitmentSeed(of {address})"));
    assert_eq!(format!("{:?}", c1()), "Commitment(1000000)");
}

proptest! {
    #[test]
    fn the_bytes_are_those_of_the_xdr_library(
        units in 0..=i128::MAX,
        channel in any::<[u8; 32]>(),
        pubnet in any::<bool>(),
    ) {
        let network = if pubnet { Network::Pubnet } else { Network::Testnet };
        let message = bytes(network, ContractId(channel), amount(units));
        let value = map(entries(network.id(), ContractId(channel), units));
        let encoded = encode(&value);
        prop_assert_eq!(message.as_slice(), encoded.as_slice());
        let read = xdr::ScVal::from_xdr(message, xdr::Limits::none());
        prop_assert_eq!(read.ok(), Some(value));
    }

    #[test]
    fn no_bytes_make_a_key_or_its_check_panic(
        key in any::<[u8; 32]>(),
        r in any::<[u8; 32]>(),
        s in any::<[u8; 32]>(),
        units in 0..=i128::MAX,
    ) {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&r);
        signature[32..].copy_from_slice(&s);
        let commitment = Commitment { amount: amount(units), signature };
        if let Ok(read) = CommitmentKey::from_bytes(key) {
            prop_assert_eq!(read.to_bytes(), key);
            prop_assert_eq!(read.verify(Network::Testnet, CHANNEL, &commitment), Err(BadSignature));
        }
    }

    #[test]
    fn every_seed_has_a_key_that_is_not_weak(seed in any::<[u8; 32]>(), units in 0..=i128::MAX) {
        let seed = CommitmentSeed::from_bytes(&seed);
        prop_assert_eq!(CommitmentKey::from_bytes(seed.key().to_bytes()), Ok(seed.key()));
        let commitment = seed.sign(Network::Pubnet, CHANNEL, amount(units));
        prop_assert_eq!(seed.key().verify(Network::Pubnet, CHANNEL, &commitment), Ok(()));
    }
}

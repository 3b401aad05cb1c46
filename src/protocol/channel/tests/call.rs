use sha2::{Digest as _, Sha256};

use super::*;

const PAYER_KEY: [u8; 32] = [4; 32];

fn opening() -> Opening {
    Opening {
        token: TOKEN,
        from: PAYER,
        commitment_key: CommitmentSeed::from_bytes(&[1; 32]).key(),
        to: PAYEE,
        amount: units(1_000),
        refund_waiting_period: 17_280,
    }
}

/// What is called, by its name and arguments; always on the channel.
fn told(call: &xdr::InvokeContractArgs) -> (String, &[xdr::ScVal]) {
    assert_eq!(call.contract_address, CHANNEL.to_xdr());
    (call.function_name.to_utf8_string_lossy(), call.args.as_slice())
}

#[test]
fn the_calls_are_those_of_the_contract() {
    let seed = CommitmentSeed::from_bytes(&[1; 32]);
    let commitment = seed.sign(Network::Testnet, CHANNEL, units(1_000_000));
    let committed = [xdr::ScVal::from(1_000_000_i128), blob(&commitment.signature)];
    for (call, name, arguments) in [
        (settle(CHANNEL, &commitment), "settle", committed.as_slice()),
        (close(CHANNEL, &commitment), "close", &committed),
        (top_up(CHANNEL, units(i128::MAX)), "top_up", &[xdr::ScVal::from(i128::MAX)]),
        (close_start(CHANNEL), "close_start", &[]),
        (refund(CHANNEL), "refund", &[]),
    ] {
        assert_eq!(told(&call), (name.to_owned(), arguments));
    }
}

#[test]
fn a_channel_is_created_with_its_terms_in_the_constructors_order() {
    let created = opening().create(PAYER, [8; 32], [7; 32]);
    let xdr::HostFunction::CreateContractV2(arguments) = created else { panic!("{created:?}") };
    assert_eq!(arguments.executable, xdr::ContractExecutable::Wasm(xdr::Hash([7; 32])));
    let from =
        xdr::ContractIdPreimageFromAddress { address: PAYER.to_xdr(), salt: xdr::Uint256([8; 32]) };
    assert_eq!(arguments.contract_id_preimage, xdr::ContractIdPreimage::Address(from));
    assert_eq!(
        arguments.constructor_args.as_slice(),
        [
            of(Address::Contract(TOKEN)),
            of(PAYER),
            blob(&opening().commitment_key.to_bytes()),
            of(PAYEE),
            xdr::ScVal::from(1_000_i128),
            xdr::ScVal::U32(17_280),
        ]
    );
}

#[test]
fn a_channels_address_follows_from_deployer_salt_and_network() {
    // By hand: envelope type 8, the network, a preimage from an address, an account's ed25519 key, the salt.
    let mut preimage = Vec::from(8_u32.to_be_bytes());
    preimage.extend(Network::Testnet.id());
    preimage.extend([0; 12]);
    preimage.extend(PAYER_KEY);
    preimage.extend([8; 32]);
    let expected = ContractId(Sha256::digest(&preimage).into());
    let known = contract_id(PAYER, [8; 32], Network::Testnet);
    assert_eq!(known, expected);
    for other in [
        contract_id(PAYEE, [8; 32], Network::Testnet),
        contract_id(PAYER, [9; 32], Network::Testnet),
        contract_id(PAYER, [8; 32], Network::Pubnet),
    ] {
        assert_ne!(other, known);
    }
}

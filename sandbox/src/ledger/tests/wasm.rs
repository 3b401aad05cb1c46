//! Contracts of one's own: uploaded, created, called, and stopped when they misbehave.

use ed25519_dalek::SigningKey;
use stellar_xdr::{
    AccountId, ContractExecutable, ContractId, ContractIdPreimage, ContractIdPreimageFromAddress,
    CreateContractArgsV2, Hash, HashIdPreimage, HashIdPreimageContractId, HostFunction,
    InvokeContractArgs, LedgerEntryData, Operation, ScAddress, ScEnvMetaEntry,
    ScEnvMetaEntryInterfaceVersion, ScVal, TransactionExt, TransactionMeta, Uint256,
};

use super::kit::*;
use crate::ledger::xdr::{encode, hash, list, sha256, symbol};
use crate::ledger::{PROTOCOL_VERSION, SimulateOptions};

/// A contract with `five() -> 5`, `trap()` and `spin()`, assembled by hand.
fn wasm() -> Vec<u8> {
    // `five` returns a tagged 32-bit number: the number in the upper half, the tag 4 in the lower.
    let mut five = vec![0, 0x42];
    five.extend(leb128(5 << 32 | 4));
    five.push(0x0b);
    let trap = vec![0, 0x00, 0x0b];
    let spin = vec![0, 0x03, 0x40, 0x0c, 0x00, 0x0b, 0x00, 0x0b];
    let functions = [("five", five), ("trap", trap), ("spin", spin)];

    let mut exports = vec![functions.len() as u8];
    let mut codes = vec![functions.len() as u8];
    for (index, (name, code)) in functions.iter().enumerate() {
        exports.extend(prefixed(name.as_bytes()));
        exports.extend([0, index as u8]);
        codes.extend(prefixed(code));
    }
    let version = ScEnvMetaEntryInterfaceVersion { protocol: PROTOCOL_VERSION, pre_release: 0 };
    let mut meta = prefixed(b"contractenvmetav0");
    meta.extend(encode(&ScEnvMetaEntry::ScEnvMetaKindInterfaceVersion(version)));

    let mut module = b"\0asm\x01\0\0\0".to_vec();
    for (section, content) in [
        (1, vec![1, 0x60, 0, 1, 0x7e]),
        (3, vec![3, 0, 0, 0]),
        (7, exports),
        (10, codes),
        (0, meta),
    ] {
        module.push(section);
        module.extend(prefixed(&content));
    }
    module
}

fn prefixed(bytes: &[u8]) -> Vec<u8> {
    [&[u8::try_from(bytes.len()).unwrap()], bytes].concat()
}

fn leb128(mut value: i64) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = (value & 0x7f) as u8;
        value >>= 7;
        if value == 0 && low & 0x40 == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low | 0x80);
    }
}

fn preimage(deployer: &AccountId) -> ContractIdPreimage {
    ContractIdPreimage::Address(ContractIdPreimageFromAddress {
        address: ScAddress::Account(deployer.clone()),
        salt: Uint256([7; 32]),
    })
}

fn contract(world: &World, deployer: &SigningKey) -> ScAddress {
    let image = HashIdPreimage::ContractId(HashIdPreimageContractId {
        network_id: world.ledger.network_id(),
        contract_id_preimage: preimage(&id(deployer)),
    });
    ScAddress::Contract(ContractId(hash(&image)))
}

/// A world in which Ann has deployed the contract.
fn deployed() -> World {
    let ann = key(1);
    let world = World::with(&[&ann]);
    let upload = host(HostFunction::UploadContractWasm(wasm().try_into().unwrap()));
    let upload = world.prepare(world.tx(&ann, vec![upload]));
    world.apply(world.sign(upload, &[&ann]));
    let create = host(HostFunction::CreateContractV2(CreateContractArgsV2 {
        contract_id_preimage: preimage(&id(&ann)),
        executable: ContractExecutable::Wasm(sha256(&wasm())),
        constructor_args: list(Vec::new()),
    }));
    let create = world.prepare(world.tx(&ann, vec![create]));
    let record = world.apply(world.sign(create, &[&ann]));
    let TransactionMeta::V4(meta) = &record.meta else { panic!("the fourth version") };
    let address = ScVal::Address(contract(&world, &ann));
    assert_eq!(meta.soroban_meta.as_ref().unwrap().return_value, Some(address));
    world
}

fn invoke(world: &World, function: &str) -> Operation {
    let ScVal::Symbol(function_name) = symbol(function) else { panic!("a symbol") };
    host(HostFunction::InvokeContract(InvokeContractArgs {
        contract_address: contract(world, &key(1)),
        function_name,
        args: list(Vec::new()),
    }))
}

#[test]
fn an_uploaded_contract_is_created_and_called() {
    let ann = key(1);
    let world = deployed();
    let tx = world.prepare(world.tx(&ann, vec![invoke(&world, "five")]));
    let record = world.apply(world.sign(tx, &[&ann]));
    let TransactionMeta::V4(meta) = &record.meta else { panic!("the fourth version") };
    assert_eq!(meta.soroban_meta.as_ref().unwrap().return_value, Some(ScVal::U32(5)));
}

#[test]
fn uploaded_code_is_an_entry_of_the_ledger() {
    let world = deployed();
    let key = stellar_xdr::LedgerKey::ContractCode(stellar_xdr::LedgerKeyContractCode {
        hash: sha256(&wasm()),
    });
    let found = world.ledger.entries(&[key]);
    let LedgerEntryData::ContractCode(code) = &found[0].entry.data else { panic!("code") };
    assert_eq!((code.code.as_slice(), &code.hash), (wasm().as_slice(), &sha256(&wasm())));
    assert!(found[0].live_until.is_some());
}

#[test]
fn a_trap_is_a_failure_of_the_transaction_alone() {
    let ann = key(1);
    let world = deployed();
    let mut tx = world.prepare(world.tx(&ann, vec![invoke(&world, "five")]));
    tx.operations = list(vec![invoke(&world, "trap")]);
    let record = world.run(world.sign(tx, &[&ann]));
    assert_eq!(words(&record.result), "TxFailed(InvokeHostFunction(Trapped))");
    let tx = world.prepare(world.tx(&ann, vec![invoke(&world, "five")]));
    world.apply(world.sign(tx, &[&ann]));
}

#[test]
fn a_loop_ends_with_the_instructions_that_were_declared() {
    let ann = key(1);
    let world = deployed();
    let envelope = world.sign(world.tx(&ann, vec![invoke(&world, "spin")]), &[]);
    let failure = world.ledger.simulate(&envelope, SimulateOptions::default()).unwrap_err();
    assert!(failure.message.starts_with("HostError: Error(Budget, ExceededLimit)"), "{failure}");
    let mut tx = world.prepare(world.tx(&ann, vec![invoke(&world, "five")]));
    tx.operations = list(vec![invoke(&world, "spin")]);
    let TransactionExt::V1(data) = &mut tx.ext else { panic!("contract data") };
    data.resources.instructions += 1_000_000;
    data.resource_fee += 10_000;
    tx.fee += 10_000;
    let record = world.run(world.sign(tx, &[&ann]));
    assert_eq!(words(&record.result), "TxFailed(InvokeHostFunction(Trapped))");
}

#[test]
fn what_is_no_contract_cannot_be_uploaded_and_what_is_not_there_cannot_be_called() {
    let ann = key(1);
    let world = World::with(&[&ann]);
    let simulate = |operation| {
        let envelope = world.sign(world.tx(&ann, vec![operation]), &[]);
        world.ledger.simulate(&envelope, SimulateOptions::default()).unwrap_err().message
    };
    let nonsense = host(HostFunction::UploadContractWasm(vec![1, 2, 3].try_into().unwrap()));
    let message = simulate(nonsense);
    assert!(message.starts_with("HostError: Error(WasmVm, InvalidAction)"), "{message}");
    let nowhere = host(HostFunction::InvokeContract(InvokeContractArgs {
        contract_address: ScAddress::Contract(ContractId(Hash([1; 32]))),
        function_name: "five".try_into().map(stellar_xdr::ScSymbol).unwrap(),
        args: list(Vec::new()),
    }));
    let message = simulate(nowhere);
    assert!(message.starts_with("HostError: Error(Storage, MissingValue)"), "{message}");
}

//! The factory: deployed, opening channels, and told of new code by its admin alone.

use sha2::{Digest, Sha256};
use stellar_xdr::{
    ContractExecutable, ContractId, ContractIdPreimage, ContractIdPreimageFromAddress,
    CreateContractArgsV2, HostFunction, ScAddress, ScVal, Uint256,
};
use tollgate_sandbox::{
    CHANNEL_FACTORY_WASM, DevAccount, Sandbox, channel_code, channel_factory_code,
};

use super::kit::{
    TRAPPED, address, apply, bytes, events, host, invoke, land, prepared, result, returned, symbol,
};
use crate::support::{account_id, assemble, by_hand, from_base64};

/// A factory whose admin is the sponsor.
async fn factory(sandbox: &Sandbox) -> ContractId {
    let admin = &sandbox.accounts().sponsor;
    let create = CreateContractArgsV2 {
        contract_id_preimage: ContractIdPreimage::Address(ContractIdPreimageFromAddress {
            address: ScAddress::Account(account_id(admin)),
            salt: Uint256([0; 32]),
        }),
        executable: ContractExecutable::Wasm(channel_factory_code().into()),
        constructor_args: vec![address(admin), bytes(&channel_code())].try_into().unwrap(),
    };
    let body = host(HostFunction::CreateContractV2(create));
    let found = apply(sandbox, admin, body).await.unwrap();
    assert_eq!(found["status"], "SUCCESS", "{found}");
    contract(returned(&found))
}

fn contract(value: ScVal) -> ContractId {
    let ScVal::Address(ScAddress::Contract(contract)) = value else {
        panic!("expected a contract's address, got {value:?}")
    };
    contract
}

/// The arguments of `open`: 100 units from `payer` to the recipient.
fn opening(sandbox: &Sandbox, salt: u8, payer: &DevAccount) -> Vec<ScVal> {
    let token = sandbox.usdc_contract().parse().unwrap();
    vec![
        bytes(&[salt; 32]),
        ScVal::Address(ScAddress::Contract(token)),
        address(payer),
        bytes(&[1; 32]),
        address(&sandbox.accounts().recipient),
        100_i128.into(),
        ScVal::U32(7),
    ]
}

#[tokio::test]
async fn the_factory_opens_a_funded_channel_at_an_address_of_the_payers() {
    let sandbox = by_hand().await;
    let factory = factory(&sandbox).await;
    let payer = &sandbox.accounts().payer;
    let open = |salt| invoke(&factory, "open", opening(&sandbox, salt, payer));
    let found = apply(&sandbox, payer, open(1)).await.unwrap();
    let channel = contract(returned(&found));
    assert_eq!(sandbox.usdc_balance(&channel.to_string()), Some(100));
    assert_eq!(events(&sandbox, &channel).await[0].0, [symbol("open")]);

    let refused = apply(&sandbox, payer, open(1)).await.unwrap_err();
    assert!(refused.contains("Error(Storage, ExistingValue)"), "{refused}");
    let other = contract(returned(&apply(&sandbox, payer, open(2)).await.unwrap()));
    assert_ne!(other, channel);

    // The same salt of another payer takes nobody's address away.
    let second = &sandbox.accounts().zero_xlm_payer;
    let body = invoke(&factory, "open", opening(&sandbox, 1, second));
    let (_, simulated) = prepared(&sandbox, payer, body).await.unwrap();
    let answer = simulated["results"][0]["xdr"].as_str().unwrap();
    assert_ne!(contract(from_base64(answer)), channel);
}

#[tokio::test]
async fn nobody_opens_a_channel_in_anothers_name() {
    let sandbox = by_hand().await;
    let factory = factory(&sandbox).await;
    let (payer, thief) = (&sandbox.accounts().payer, &sandbox.accounts().sponsor);
    let body = invoke(&factory, "open", opening(&sandbox, 1, payer));
    let (draft, simulated) = prepared(&sandbox, thief, body).await.unwrap();
    let found = land(&sandbox, thief, assemble(draft, &simulated)).await;
    assert_eq!(result(&found), TRAPPED);
    assert_eq!(sandbox.usdc_balance(&payer.address()), Some(10_000_000_000));
}

#[tokio::test]
async fn the_admin_alone_sets_the_code() {
    let sandbox = by_hand().await;
    let factory = factory(&sandbox).await;
    let (admin, thief) = (&sandbox.accounts().sponsor, &sandbox.accounts().payer);
    let get = async |function| {
        let body = invoke(&factory, function, vec![]);
        let (_, simulated) = prepared(&sandbox, thief, body).await.unwrap();
        from_base64::<ScVal>(simulated["results"][0]["xdr"].as_str().unwrap())
    };
    assert_eq!(get("admin").await, address(admin));
    assert_eq!(get("wasm_hash").await, bytes(&channel_code()));

    let new = Sha256::digest(CHANNEL_FACTORY_WASM);
    let set = || invoke(&factory, "set_wasm", vec![bytes(&new)]);
    let (draft, simulated) = prepared(&sandbox, thief, set()).await.unwrap();
    let found = land(&sandbox, thief, assemble(draft, &simulated)).await;
    assert_eq!(result(&found), TRAPPED);
    assert_eq!(get("wasm_hash").await, bytes(&channel_code()));

    apply(&sandbox, admin, set()).await.unwrap();
    assert_eq!(get("wasm_hash").await, bytes(&new));
}

//! Payers that are contracts: deployed, funded, and obedient to one key.

use ed25519_dalek::Signer;
use sha2::{Digest, Sha256};
use stellar_xdr::{
    HashIdPreimage, HashIdPreimageSorobanAuthorization, Limits, OperationBody, ScAddress, ScBytes,
    ScVal, SorobanCredentials, Transaction, WriteXdr,
};
use tollgate_sandbox::{ContractPayer, DevAccount, Sandbox, UNITS};

use crate::support::{
    assemble, by_hand, from_base64, next, send, sign, simulate, transaction, transfer_from,
};

/// A transfer of 10,000 units from `payer` to the recipient in a transaction of the sponsor, not signed by anyone.
async fn draft(sandbox: &Sandbox, payer: &ContractPayer) -> Transaction {
    let accounts = sandbox.accounts();
    let transfer = |auth| {
        let from = ScAddress::Contract(payer.contract_id().clone());
        transfer_from(sandbox, from, &accounts.recipient, 10_000, auth)
    };
    let unsigned = next(sandbox, &accounts.sponsor, transfer(vec![])).await;
    let recorded = simulate(sandbox, &unsigned).await;
    let entry = from_base64(recorded["results"][0]["auth"][0].as_str().unwrap());
    next(sandbox, &accounts.sponsor, transfer(vec![entry])).await
}

/// `transaction` with its authorization signed by `key` alone.
fn authorized(sandbox: &Sandbox, transaction: &Transaction, key: &DevAccount) -> Transaction {
    let mut operations = transaction.operations.to_vec();
    let OperationBody::InvokeHostFunction(invoke) = &mut operations[0].body else {
        panic!("a call")
    };
    let mut entry = invoke.auth[0].clone();
    let SorobanCredentials::Address(credentials) = &mut entry.credentials else {
        panic!("expected an address's credentials, got {entry:?}")
    };
    credentials.signature_expiration_ledger = 100;
    let preimage = HashIdPreimage::SorobanAuthorization(HashIdPreimageSorobanAuthorization {
        network_id: sandbox.ledger().network_id(),
        nonce: credentials.nonce,
        signature_expiration_ledger: credentials.signature_expiration_ledger,
        invocation: entry.root_invocation.clone(),
    });
    let payload = Sha256::digest(preimage.to_xdr(Limits::none()).unwrap());
    let signature = key.key().sign(&payload).to_bytes().to_vec();
    credentials.signature = ScVal::Bytes(ScBytes(signature.try_into().unwrap()));
    invoke.auth = vec![entry].try_into().unwrap();
    Transaction { operations: operations.try_into().unwrap(), ..transaction.clone() }
}

#[tokio::test]
async fn a_contract_pays_with_its_keys_signature_and_with_no_other() {
    let sandbox = by_hand().await;
    let payer = sandbox.new_contract_payer(UNITS).await.unwrap();
    let (sponsor, thief) = (&sandbox.accounts().sponsor, &sandbox.accounts().payer);
    let usdc = |address: &str| sandbox.usdc_balance(address).unwrap();
    let recipient = sandbox.accounts().recipient.address();
    assert_eq!(usdc(&payer.address()), i128::from(UNITS));

    let draft = draft(&sandbox, &payer).await;
    let refused = simulate(&sandbox, &authorized(&sandbox, &draft, thief)).await;
    assert!(refused["error"].as_str().unwrap().contains("Error(Auth, InvalidAction)"), "{refused}");
    let honest = authorized(&sandbox, &draft, payer.signer());
    let simulated = simulate(&sandbox, &honest).await;
    assert!(simulated.get("error").is_none(), "{simulated}");

    // With the resources of the honest one, so that it gets as far as the ledger.
    let honest = assemble(honest, &simulated);
    let stolen = authorized(&sandbox, &honest, thief);
    let sent = send(&sandbox, &sign(&sandbox, stolen, sponsor)).await;
    sandbox.close_ledger().await;
    assert_eq!(transaction(&sandbox, &sent).await["status"], "FAILED");
    assert_eq!(usdc(&recipient), 0);

    let mut honest = honest;
    honest.seq_num.0 += 1;
    let sent = send(&sandbox, &sign(&sandbox, honest, sponsor)).await;
    sandbox.close_ledger().await;
    let found = transaction(&sandbox, &sent).await;
    assert_eq!(found["status"], "SUCCESS", "{found}");
    assert_eq!(usdc(&recipient), 10_000);
    assert_eq!(usdc(&payer.address()), i128::from(UNITS) - 10_000);
}

#[tokio::test]
async fn contract_payers_differ_and_are_the_same_at_every_start() {
    let mut seen = Vec::new();
    for _ in 0..2 {
        let sandbox = by_hand().await;
        let rich = sandbox.new_contract_payer(5).await.unwrap();
        let poor = sandbox.new_contract_payer(0).await.unwrap();
        assert_ne!(rich.address(), poor.address());
        assert_eq!(sandbox.usdc_balance(&rich.address()), Some(5));
        assert_eq!(sandbox.usdc_balance(&poor.address()), None);
        seen.push((rich.address(), poor.address()));
    }
    assert_eq!(seen[0], seen[1]);
    assert!(seen[0].0.starts_with('C'));
}

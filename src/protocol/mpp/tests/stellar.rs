use ed25519_dalek::{Signer as _, SigningKey};
use stellar_xdr::{self as xdr, ReadXdr as _, WriteXdr as _};

use super::{charge::*, *};
use crate::protocol::{
    stellar::{AccountId, Address, TxHash},
    transfer::{self, Movement, Pulled, Transfer},
};

/// The transaction of an `@stellar/mpp` payer, seed 0x03×32, to seed 0x01×32: 100,000 units, nonce 42, until ledger 12345.
const TRANSACTION: &str = include_str!("transaction.txt");

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

fn account(seed: u8) -> AccountId {
    AccountId(key(seed).verifying_key().to_bytes())
}

fn v1_id() -> ChallengeId {
    ChallengeId::new("X6v1eo7fJ76gAxqY0xN9Jd__4lUyDDYmriryOM-5FO4".to_owned())
}

/// The bytes of the `signedHash` vector.
fn v1_signature() -> [u8; 64] {
    let hex = "d51b798a7dbc08fe1a7a8c3a5f74b8fa45fb68e9dd3a6ca745f1f2462c187e358914a861036979198ec06d39f907873090d087e2297dfd792a40e2175de5d50f";
    hex::decode(hex).unwrap().try_into().unwrap()
}

#[test]
fn a_request_is_read_as_it_was_written() {
    let push = Request {
        external_id: Some("order \"1\"".to_owned()),
        network: Network::Pubnet,
        fee_payer: false,
        credential_types: vec![CredentialType::Transaction, CredentialType::SignedHash],
        ..request()
    };
    for request in [request(), push.clone()] {
        assert_eq!(Request::decode(&request.encode()).unwrap(), request);
    }
    assert_eq!(push.to_json().pointer("/methodDetails/feePayer"), None);
    assert_eq!(
        push.to_json()["methodDetails"]["credentialTypes"],
        json!(["transaction", "signedHash"])
    );
}

#[test]
fn a_request_of_another_server_is_read_with_the_defaults_of_the_client() {
    let read = |details: Value| {
        let mut json = request().to_json();
        json["description"] = json!("for people");
        json["methodDetails"] = details;
        Request::decode(&encode_canonical(&json)).unwrap()
    };
    let bare = Request { fee_payer: false, ..request() };
    assert_eq!(read(json!({})), bare);
    assert_eq!(read(json!({ "feePayer": false })), bare);
    let later = read(json!({ "credentialTypes": ["later", "hash"], "network": "stellar:pubnet" }));
    assert_eq!(later.credential_types, [CredentialType::Hash]);
    assert_eq!(later.network, Network::Pubnet);
    let mut json = request().to_json();
    json.as_object_mut().unwrap().remove("methodDetails");
    assert_eq!(Request::decode(&encode_canonical(&json)).unwrap(), bare);
}

#[test]
fn a_request_that_is_not_understood_whole_is_refused() {
    let changes: [(&str, Value); 21] = [
        ("/amount", json!(100_000)),
        ("/amount", json!("0")),
        ("/amount", json!("-1")),
        ("/amount", json!("01")),
        ("/amount", json!("1.0")),
        ("/amount", json!("1e5")),
        ("/amount", json!("170141183460469231731687303715884105728")),
        ("/currency", json!("GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG")),
        ("/currency", json!("USDC")),
        ("/recipient", json!("")),
        ("/recipient", Value::Null),
        ("/externalId", json!(1)),
        ("/description", json!({})),
        ("/methodDetails", json!([])),
        ("/methodDetails/network", json!("testnet")),
        ("/methodDetails/network", json!("stellar:public")),
        ("/methodDetails/feePayer", json!("true")),
        ("/methodDetails/credentialTypes", json!("transaction")),
        ("/methodDetails/credentialTypes", json!([1])),
        ("/splits", json!([])),
        ("/methodDetails/memo", json!("x")),
    ];
    for (pointer, value) in changes {
        let (parent, key) = pointer.rsplit_once('/').unwrap();
        let mut json = request().to_json();
        let members = json.pointer_mut(parent).unwrap().as_object_mut().unwrap();
        members.insert(key.to_owned(), value.clone());
        assert!(Request::decode(&encode_canonical(&json)).is_err(), "{pointer} = {value}");
    }
    for json in [json!(null), json!([]), json!("x")] {
        assert!(Request::decode(&encode_canonical(&json)).is_err(), "{json}");
    }
}

#[test]
fn a_payload_is_read_as_it_was_written() {
    let hash = TxHash([0xab; 32]);
    for (payload, json) in [
        (
            Payload::Transaction("AAAA".to_owned()),
            json!({ "type": "transaction", "transaction": "AAAA" }),
        ),
        (
            Payload::SignedHash { hash, signature: [0xcd; 64] },
            json!({ "type": "signedHash", "hash": "ab".repeat(32), "sourceSignature": "cd".repeat(64) }),
        ),
        (Payload::Hash(hash), json!({ "type": "hash", "hash": "ab".repeat(32) })),
    ] {
        assert_eq!(payload.to_json(), json);
        assert_eq!(Payload::from_json(&json), Ok(payload));
    }
}

#[test]
fn b21_a_hash_has_64_hex_digits_of_either_case_and_no_prefix() {
    let read = |hash: &str| Payload::from_json(&json!({ "type": "hash", "hash": hash }));
    let (lower, upper) = ("ab".repeat(32), "AB".repeat(32));
    assert_eq!(read(&lower), Ok(Payload::Hash(TxHash([0xab; 32]))));
    assert_eq!(read(&upper), read(&lower));
    for wrong in [
        "",
        &lower[1..],
        &format!("{lower}a"),
        &format!("0x{lower}"),
        &format!("0x{}", &lower[2..]),
        &lower.replacen('a', "g", 1),
        &format!(" {}", &lower[1..]),
    ] {
        assert_eq!(read(wrong), Err(InvalidPayload("hash")), "{wrong}");
    }
}

#[test]
fn a_payload_names_the_member_that_is_wrong() {
    let hash = "ab".repeat(32);
    for (json, member) in [
        (Value::Null, "type"),
        (json!([]), "type"),
        (json!({}), "type"),
        (json!({ "type": 1 }), "type"),
        (json!({ "type": "Transaction" }), "type"),
        (json!({ "type": "transaction" }), "transaction"),
        (json!({ "type": "transaction", "transaction": "" }), "transaction"),
        (json!({ "type": "transaction", "transaction": ["AAAA"] }), "transaction"),
        (json!({ "type": "transaction", "transaction": "A".repeat(8193) }), "transaction"),
        (json!({ "type": "signedHash", "sourceSignature": "cd".repeat(64) }), "hash"),
        (json!({ "type": "signedHash", "hash": hash }), "sourceSignature"),
        (
            json!({ "type": "signedHash", "hash": hash, "sourceSignature": "cd".repeat(63) }),
            "sourceSignature",
        ),
        (
            json!({ "type": "signedHash", "hash": hash, "sourceSignature": "cd".repeat(65) }),
            "sourceSignature",
        ),
        (json!({ "type": "hash", "hash": 1 }), "hash"),
    ] {
        assert_eq!(Payload::from_json(&json), Err(InvalidPayload(member)), "{json}");
    }
    let largest = json!({ "type": "transaction", "transaction": "A".repeat(8192), "later": 1 });
    assert!(Payload::from_json(&largest).is_ok());
    assert_eq!(
        InvalidPayload("hash").to_string(),
        "`payload.hash` is missing or not as it must be"
    );
    assert_eq!(format!("{:?}", Payload::Transaction("AAAA".to_owned())), "Payload(transaction)");
}

#[test]
fn a_source_names_its_network_and_an_account_or_a_contract() {
    let text = format!("did:pkh:stellar:testnet:{}", account(3));
    let source: Source = text.parse().unwrap();
    assert_eq!((source.network, source.address), (Network::Testnet, Address::Account(account(3))));
    assert_eq!(source.to_string(), text);
    let contract = Address::Contract(Network::Pubnet.usdc().contract);
    let source = Source { network: Network::Pubnet, address: contract };
    assert_eq!(source.to_string().parse(), Ok(source));
    for wrong in [
        String::new(),
        account(3).to_string(),
        text.replace("testnet", "public"),
        text.replace("testnet", ""),
        text.replace("did:pkh:", "DID:PKH:"),
        text.replace("stellar", "eip155"),
        text.replace(":testnet", ""),
        format!("{text}:x"),
        format!("{text} "),
        text.replace(
            &account(3).to_string(),
            "SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY",
        ),
    ] {
        assert_eq!(wrong.parse::<Source>(), Err(NotSource), "{wrong}");
    }
}

fn sign_hash(key: &SigningKey, id: &ChallengeId, hash: &TxHash) -> [u8; 64] {
    key.sign(signed_hash_message(id, hash).as_bytes()).to_bytes()
}

#[test]
fn a_signed_hash_is_the_vector_of_the_reference_client() {
    let (id, hash) = (v1_id(), TxHash([0xab; 32]));
    assert_eq!(account(3).to_string(), "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG");
    assert_eq!(signed_hash_message(&id, &hash), format!("{id}:{}", "ab".repeat(32)));
    assert_eq!(sign_hash(&key(3), &id, &hash), v1_signature());
    assert_eq!(check_signed_hash(account(3), &id, &hash, &v1_signature()), Ok(()));
}

#[test]
fn b19_a_hash_signed_otherwise_is_refused() {
    let (id, hash) = (v1_id(), TxHash([0xab; 32]));
    let other_id = ChallengeId::new("m39jbWWCIfmfJZSwCfvKFFtBl0Qwf9X4nOmDb21peLA".to_owned());
    let upper = format!("{id}:{}", "AB".repeat(32));
    let good = v1_signature();
    let mut flipped = good;
    flipped[63] ^= 1;
    for (payer, id, hash, signature) in [
        (account(1), &id, hash, good),
        (account(3), &other_id, hash, good),
        (account(3), &id, TxHash([0xac; 32]), good),
        (account(3), &id, hash, flipped),
        (account(3), &id, hash, sign_hash(&key(1), &id, &hash)),
        (account(3), &id, hash, key(3).sign(upper.as_bytes()).to_bytes()),
        (account(3), &id, hash, [0; 64]),
        // Keys of small order, which the lax rule takes for many messages.
        (AccountId([0; 32]), &id, hash, [0; 64]),
        (small_order(), &id, hash, small_order_signature()),
        (AccountId([0xff; 32]), &id, hash, good),
    ] {
        assert_eq!(check_signed_hash(payer, id, &hash, &signature), Err(BadSignature), "{payer:?}");
    }
    assert_eq!(check_signed_hash(account(3), &id, &hash, &good), Ok(()));
}

/// The neutral element as a key: `R = S·B` then verifies over any message by the lax rule.
fn small_order() -> AccountId {
    let mut point = [0; 32];
    point[0] = 1;
    AccountId(point)
}

fn small_order_signature() -> [u8; 64] {
    let mut signature = [0; 64];
    signature[0] = 1;
    signature
}

#[test]
fn an_authorization_is_signed_as_by_the_reference_client() {
    let payer = Address::Account(account(3));
    let amount = Amount::from_units(100_000).unwrap();
    let usdc = Network::Testnet.usdc().contract;
    let call = transfer::transfer_call(usdc, payer, Address::Account(account(1)), amount);
    let mut entry = transfer::authorization(call, payer, 42, 12345);
    let xdr::SorobanCredentials::Address(credentials) = &entry.credentials else { unreachable!() };
    let preimage =
        xdr::HashIdPreimage::SorobanAuthorization(xdr::HashIdPreimageSorobanAuthorization {
            network_id: xdr::Hash(Network::Testnet.id()),
            nonce: credentials.nonce,
            signature_expiration_ledger: credentials.signature_expiration_ledger,
            invocation: entry.root_invocation.clone(),
        });
    assert_eq!(
        hex::encode(preimage.to_xdr(xdr::Limits::none()).unwrap()),
        "00000009cee0302d59844d32bdca915c8203dd44b33fbb7edc19051ea37abedf28ecd472000000000000002a0000303900000000000000015045cd5ec0729a768fd5ad02505852df4f028dce830e5ac52209ba48483b2f01000000087472616e7366657200000003000000120000000000000000ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d10000001200000000000000008a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c0000000a000000000000000000000000000186a000000000"
    );
    assert_eq!(
        hex::encode(transfer::preimage_hash(&entry, Network::Testnet).unwrap()),
        "0821dd2e2b699408852dcb5ca2ba157f3e9ce4391a59365a0cea1a4bac3e22ee"
    );
    transfer::sign_authorization(&mut entry, &key(3), Network::Testnet).unwrap();
    let xdr::SorobanCredentials::Address(credentials) = &entry.credentials else { unreachable!() };
    assert_eq!(
        hex::encode(credentials.signature.to_xdr(xdr::Limits::none()).unwrap()),
        "0000001000000001000000010000001100000001000000020000000f0000000a7075626c69635f6b657900000000000d00000020ed4928c628d1c2c6eae90338905995612959273a5c63f93636c14614ac8737d10000000f000000097369676e61747572650000000000000d000000408190c3e0df1fafeeef47f22c25152069c741e9b042f5b0ddbaad8fb43f77a54d252159089f74d22aa5e4e4df798bcc52414c6bdab5594a0ab706046aac90d304"
    );
    let operation = Transfer::parse(TRANSACTION).unwrap().operation();
    let built = transfer::unsigned_envelope(operation, None, 100, 1_893_456_000);
    let bytes = built.to_xdr(xdr::Limits::none()).unwrap();
    assert_eq!(base64::engine::general_purpose::STANDARD.encode(bytes), TRANSACTION);
    let xdr::OperationBody::InvokeHostFunction(invoke) = operation_of(built) else {
        unreachable!()
    };
    assert_eq!(invoke.auth.as_slice(), [entry]);
}

fn operation_of(envelope: xdr::TransactionEnvelope) -> xdr::OperationBody {
    let xdr::TransactionEnvelope::Tx(envelope) = envelope else { unreachable!() };
    envelope.tx.operations[0].body.clone()
}

#[test]
fn the_reference_clients_transaction_is_read_with_its_hash() {
    let payload = json!({ "type": "transaction", "transaction": TRANSACTION });
    let Payload::Transaction(text) = Payload::from_json(&payload).unwrap() else { unreachable!() };
    let Pulled::Unsigned(transfer) = Pulled::parse(&text, Network::Testnet).unwrap() else {
        panic!("its source is the all-zero account")
    };
    let movement = Movement {
        payer: Address::Account(account(3)),
        payee: Address::Account(account(1)),
        asset: Network::Testnet.usdc().contract,
        amount: Amount::from_units(100_000).unwrap(),
    };
    assert_eq!(transfer.movement(), &movement);
    assert_eq!((transfer.nonce(), transfer.expiration_ledger()), (42, 12345));
    assert_eq!(transfer.time_bounds().max, 1_893_456_000);
    assert_eq!(transfer.check_signature(Network::Testnet), Ok(()));
    let envelope = xdr::TransactionEnvelope::from_xdr_base64(&text, xdr::Limits::none()).unwrap();
    assert_eq!(
        hex::encode(envelope.hash(Network::Testnet.id()).unwrap()),
        "8a5eb6a99aec23113c66c710c80fd13bafcc3bcfcf77846f844b4d59c80be1e3"
    );
}

//! What the payer signs: whose it is, what it covers, how long it lives.

use super::*;

#[test]
fn b10_an_authorization_that_is_not_the_payers_is_refused() {
    assert!(authorized(|_| ()).is_ok());
    let source = authorized(|entry| entry.credentials = xdr::SorobanCredentials::SourceAccount);
    assert_eq!(source, Err(Error::UnsupportedCredentials));
    let upgraded = authorized(|entry| {
        let credentials = credentials_of(entry).clone();
        entry.credentials = xdr::SorobanCredentials::AddressV2(credentials);
    });
    assert_eq!(upgraded, Err(Error::UnsupportedCredentials));
    let auth = |auth: Vec<xdr::SorobanAuthorizationEntry>| {
        changed(|envelope| invoke(envelope, |op| op.auth = auth.try_into().unwrap()))
    };
    let entry = Transfer::parse(VECTOR_A).unwrap().authorization();
    assert!(auth(vec![entry.clone()]).is_ok());
    assert_eq!(auth(vec![]), Err(Error::NoAuthorization));
    assert_eq!(auth(vec![entry.clone(), entry.clone()]), Err(Error::ManyAuthorizations));
    let signed = |signature: xdr::ScVal| {
        let mut entry = entry.clone();
        credentials_of(&mut entry).signature = signature;
        auth(vec![entry])
    };
    assert_eq!(signed(xdr::ScVal::Void), Err(Error::MissingSignature));
    let hash = preimage_hash(&entry, Network::Testnet).unwrap();
    let of = |seed| ed25519_dalek::Signer::sign(&key(seed), &hash).to_bytes();
    assert!(signed(account_signature(account(1), of(1))).is_ok());
    let mut flipped = of(1);
    flipped[10] ^= 1;
    let xdr::ScVal::Vec(Some(one)) = account_signature(account(1), of(1)) else { unreachable!() };
    let twice = vec![one.0[0].clone(), one.0[0].clone()];
    for (what, signature) in [
        ("by another key", account_signature(account(9), of(9))),
        ("in the payer's name by another key", account_signature(account(1), of(9))),
        ("with a flipped bit", account_signature(account(1), flipped)),
        ("twice", xdr::ScVal::Vec(Some(xdr::ScVec(twice.try_into().unwrap())))),
        ("of nobody", xdr::ScVal::Vec(Some(xdr::ScVec(xdr::VecM::default())))),
        ("without its list", one.0[0].clone()),
        ("as plain bytes", xdr::ScVal::Bytes(xdr::ScBytes(of(1).to_vec().try_into().unwrap()))),
    ] {
        assert_eq!(signed(signature), Err(Error::BadSignature), "{what}");
    }
    let mut stranger = entry.clone();
    credentials_of(&mut stranger).address = Address::Account(account(9)).to_xdr();
    assert_eq!(auth(vec![stranger]), Err(Error::MissingSignature));
}

#[test]
fn a_forged_signature_that_lax_verification_takes_is_refused() {
    // The identity point as key, R = identity, s = 0: valid for every message unless the rule is strict.
    let mut identity = [0; 32];
    identity[0] = 1;
    let mut forged = [0; 64];
    forged[0] = 1;
    let key = AccountId(identity);
    let lax = ed25519_dalek::VerifyingKey::from_bytes(&identity).unwrap();
    let signature = ed25519_dalek::Signature::from_bytes(&forged);
    assert!(ed25519_dalek::Verifier::verify(&lax, &[7; 32], &signature).is_ok());
    let verdict =
        super::super::authorization::verify_account(key, &account_signature(key, forged), &[7; 32]);
    assert_eq!(verdict, Err(Error::BadSignature));
}

#[test]
fn b11_an_authorization_of_more_or_other_calls_is_refused() {
    let drain = authorized(|entry| {
        let nested = root_invocation(transfer_call(
            expected().asset,
            Address::Account(account(1)),
            Address::Account(account(9)),
            Amount::from_units(1).unwrap(),
        ));
        entry.root_invocation.sub_invocations = vec![nested].try_into().unwrap();
    });
    assert_eq!(drain, Err(Error::SubInvocations));
    let other = authorized(|entry| {
        let payer = Address::Account(account(1));
        let payee = Address::Account(account(9));
        let call = transfer_call(expected().asset, payer, payee, expected().amount);
        entry.root_invocation = root_invocation(call);
    });
    assert_eq!(other, Err(Error::OtherCall));
}

#[test]
fn b12_a_signature_of_another_network_is_refused() {
    let transfer = judge(VECTOR_A).unwrap();
    assert_eq!(transfer.check_signature(Network::Testnet), Ok(()));
    assert_eq!(transfer.check_signature(Network::Pubnet), Err(Error::BadSignature));
    assert_ne!(transfer.claim_key(Network::Testnet), transfer.claim_key(Network::Pubnet));
}

#[test]
fn b13_an_authorization_lives_within_the_window_only() {
    let transfer = judge(VECTOR_A).unwrap();
    let at = |current: u32| transfer.check_life(current, 60, 0);
    for (current, verdict) in [
        (1_000_013, Err(Error::Expired)),
        (1_000_012, Err(Error::Expired)),
        (1_000_011, Ok(())),
        (1_000_000, Ok(())),
        (999_998, Ok(())),
        (999_997, Err(Error::ExpiresTooLate)),
        (0, Err(Error::ExpiresTooLate)),
        (u32::MAX, Err(Error::Expired)),
    ] {
        assert_eq!(at(current), verdict, "at ledger {current}");
    }
    assert_eq!(transfer.check_life(1_000_009, 60, 3), Ok(()));
    assert_eq!(transfer.check_life(1_000_010, 60, 3), Err(Error::Expired));
    let forever = authorized(|entry| credentials_of(entry).signature_expiration_ledger = u32::MAX);
    assert_eq!(forever, Err(Error::ExpiresTooLate));
    assert_eq!(transfer.check_life(0, u32::MAX, 0), Ok(()), "no overflow");
}

#[test]
fn the_claim_key_is_of_payer_and_nonce_alone() {
    let transfer = judge(VECTOR_A).unwrap();
    let claim = |transfer: &Transfer| transfer.claim_key(Network::Testnet);
    let later = authorized(|entry| credentials_of(entry).signature_expiration_ledger -= 1);
    assert_eq!(claim(&later.unwrap()), claim(&transfer));
    let other = authorized(|entry| credentials_of(entry).nonce += 1);
    assert_ne!(claim(&other.unwrap()), claim(&transfer));
}

#[test]
fn a_signature_nested_without_end_is_malformed() {
    let mut signature = xdr::ScVal::Void;
    for _ in 0..200 {
        signature = xdr::ScVal::Vec(Some(xdr::ScVec(vec![signature].try_into().unwrap())));
    }
    let nested = changed(|envelope| {
        invoke(envelope, |op| {
            let mut entry = op.auth[0].clone();
            credentials_of(&mut entry).signature = signature.clone();
            op.auth = vec![entry].try_into().unwrap();
        });
    });
    assert_eq!(nested, Err(Error::Malformed));
}

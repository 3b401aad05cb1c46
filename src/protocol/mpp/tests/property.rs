//! What holds for every input: what is written reads back, and nothing that is read makes a reader panic.

use http::{HeaderMap, HeaderValue};
use proptest::prelude::*;

use super::{charge::*, *};
use crate::protocol::stellar::{AccountId, Address, ContractId, TxHash};

fn header() -> impl Strategy<Value = CredentialHeader> {
    prop_oneof![Just(CredentialHeader::Authorization), Just(CredentialHeader::PaymentAuthorization)]
}

fn address() -> impl Strategy<Value = Address> {
    prop_oneof![
        any::<[u8; 32]>().prop_map(|key| Address::Account(AccountId(key))),
        any::<[u8; 32]>().prop_map(|id| Address::Contract(ContractId(id))),
    ]
}

fn network() -> impl Strategy<Value = Network> {
    prop_oneof![Just(Network::Testnet), Just(Network::Pubnet)]
}

fn kind() -> impl Strategy<Value = CredentialType> {
    use CredentialType::{Hash, SignedHash, Transaction};
    prop_oneof![Just(Transaction), Just(SignedHash), Just(Hash)]
}

prop_compose! {
    fn any_request()(
        amount in 1..=i128::MAX,
        currency: [u8; 32],
        recipient in address(),
        external_id: Option<String>,
        network in network(),
        fee_payer: bool,
        credential_types in prop::collection::vec(kind(), 0..4),
    ) -> Request {
        Request {
            amount: Amount::from_units(amount).unwrap(),
            currency: ContractId(currency),
            recipient,
            external_id,
            network,
            fee_payer,
            credential_types,
        }
    }
}

prop_compose! {
    fn any_opaque()(scope: String, nonce: [u8; 16], issued_at: u64) -> Opaque {
        Opaque { scope, nonce, issued_at }
    }
}

prop_compose! {
    fn any_issued()(
        realm: String,
        request in any_request(),
        description: Option<String>,
        body: Option<[u8; 32]>,
        expires_ms: u64,
        header in header(),
        opaque in prop::option::of(any_opaque()),
    ) -> Challenge {
        let parts = Parts {
            realm: &realm,
            method: METHOD,
            intent: INTENT,
            request: request.encode(),
            description: description.as_deref(),
            body,
            expires_ms,
            header,
            opaque: opaque.as_ref(),
        };
        Challenge::issue(&secrets(KEY, None), parts)
    }
}

fn payload() -> impl Strategy<Value = Payload> {
    prop_oneof![
        "[A-Za-z0-9+/=]{1,200}".prop_map(Payload::Transaction),
        (any::<[u8; 32]>(), prop::collection::vec(any::<u8>(), 64)).prop_map(|(hash, bytes)| {
            Payload::SignedHash { hash: TxHash(hash), signature: bytes.try_into().unwrap() }
        }),
        any::<[u8; 32]>().prop_map(|hash| Payload::Hash(TxHash(hash))),
    ]
}

/// Text that is often close to a field's value.
fn fieldish() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("Payment ".to_owned()),
        Just("payment".to_owned()),
        Just(r#"id="x""#.to_owned()),
        Just(r#"request="e30""#.to_owned()),
        Just(r"\ud83d".to_owned()),
        Just(", ".to_owned()),
        Just("=".to_owned()),
        Just("\"".to_owned()),
        Just("\\".to_owned()),
        "[ -~\u{80}-\u{ff}]{0,8}",
    ];
    prop::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[ -~\\t\\n\\r\\x00-\\x1f\\x7f]{0,8}".prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        let key = prop_oneof!["[a-zA-Z\\\\\"\\x01]{0,3}", any::<String>()];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((key, inner), 0..4)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn the_canonical_form_is_that_of_rfc_8785_whichever_way_it_is_written(value in any_json()) {
        prop_assert_eq!(canonical(&value), serde_jcs::to_vec(&value).unwrap());
    }

    #[test]
    fn what_is_written_in_order_is_canonical(request in any_request(), opaque in any_opaque()) {
        prop_assert_eq!(request.encode(), encode_canonical(&request.to_json()));
        let json = decode_json(opaque.encode().as_bytes()).unwrap();
        prop_assert_eq!(opaque.encode(), encode_canonical(&json));
    }

    #[test]
    fn an_issued_challenge_is_harmless_known_and_read_back(challenge in any_issued()) {
        prop_assert_eq!(challenge.verify_id(&secrets(KEY, None), challenge.header), Ok(()));
        let header = challenge.to_header();
        prop_assert!(header.as_bytes().iter().all(|byte| (b' '..=b'~').contains(byte)));
        let lower = header.to_str().unwrap().to_ascii_lowercase();
        prop_assert_eq!(lower.matches("payment ").count(), 1);
        let read = parse_challenges([&header]).swap_remove(0).unwrap();
        prop_assert_eq!(members(&read), members(&challenge));
        let request = Request::decode(&read.request).unwrap();
        prop_assert_eq!(request.encode(), read.request);
    }

    #[test]
    fn a_credential_reads_back(
        challenge in any_issued(),
        payload in payload(),
        source in prop::option::of(any::<String>()),
    ) {
        let json = Some(payload.to_json());
        let credential = Credential { challenge, payload: json, source };
        let token = credential.encode();
        if token.len() <= 16_384 {
            let read = Credential::parse(token.as_bytes()).unwrap().unwrap();
            prop_assert_eq!(members(&read.challenge), members(&credential.challenge));
            prop_assert_eq!(Payload::from_json(&read.payload.unwrap()), Ok(payload));
            prop_assert_eq!(read.source, credential.source);
        }
    }

    #[test]
    fn a_request_and_an_opaque_read_back(request in any_request(), opaque in any_opaque()) {
        prop_assert_eq!(Request::decode(&request.encode()).unwrap(), request);
        prop_assert_eq!(Opaque::decode(&opaque.encode()).unwrap(), opaque);
    }

    #[test]
    fn a_receipt_reads_back(
        method: String,
        reference: String,
        timestamp_ms in 0..253_402_300_800_000_u64,
        external_id: Option<String>,
        more in prop::collection::vec(any::<(String, String)>(), 0..8),
    ) {
        let known = ["method", "reference", "status", "timestamp", "externalId"];
        let extra = more
            .into_iter()
            .filter(|(key, _)| !known.contains(&key.as_str()))
            .map(|(key, value)| (key, value.into()))
            .collect();
        let receipt = Receipt { method, reference, timestamp_ms, external_id, extra };
        let header = receipt.encode();
        if header.len() <= 16_384 {
            prop_assert_eq!(Receipt::decode(header.as_bytes()).unwrap(), receipt);
        }
    }

    #[test]
    fn a_time_and_a_source_read_back(
        ms in 0..253_402_300_800_000_u64,
        network in network(),
        address in address(),
    ) {
        prop_assert_eq!(timestamp::read(&timestamp::write(ms)), Ok(ms));
        let source = Source { network, address };
        prop_assert_eq!(source.to_string().parse(), Ok(source));
    }

    #[test]
    fn canonical_json_means_what_it_was_made_of(
        map in prop::collection::btree_map(any::<String>(), any::<(String, i32)>(), 0..8),
    ) {
        let value = json!(map);
        prop_assert_eq!(decode_json(encode_canonical(&value).as_bytes()).unwrap(), value);
    }

    #[test]
    fn no_field_makes_a_reader_panic(text in fieldish()) {
        let bytes: Vec<u8> = text.chars().map(|char| u8::try_from(char).unwrap_or(b'?')).collect();
        if let Ok(value) = HeaderValue::from_bytes(&bytes) {
            for challenge in parse_challenges([&value]).into_iter().flatten() {
                let again = parse_challenges([&challenge.to_header()]);
                prop_assert!(again.len() == 1);
            }
            let mut headers = HeaderMap::new();
            headers.append(http::header::AUTHORIZATION, value.clone());
            headers.append(PAYMENT_AUTHORIZATION, value.clone());
            headers.append(ACCEPT_PAYMENT, value);
            let _ = find(&headers);
            let _ = AcceptPayment::from_headers(&headers);
            strip(&mut headers);
            prop_assert!(matches!(find(&headers), Ok(None)), "{:?}", headers);
        }
    }

    #[test]
    fn no_bytes_make_a_reader_panic(bytes: Vec<u8>, text: String) {
        let _ = Credential::parse(&bytes);
        let _ = Credential::from_token(&bytes);
        let _ = Credential::parse(&[b"Payment ", bytes.as_slice()].concat());
        let _ = Credential::parse(line(&json!({ "challenge": text })).as_bytes());
        let _ = Credential::from_token(URL_SAFE_NO_PAD.encode(&bytes).as_bytes());
        let _ = Receipt::decode(&bytes);
        let _ = Receipt::decode(URL_SAFE_NO_PAD.encode(&text).as_bytes());
        let _ = Request::decode(&text);
        let _ = Opaque::decode(&text);
        let _ = AcceptPayment::parse(&text);
        let _ = timestamp::read(&text);
        let _ = digest::matches(&text, &[0; 32]);
        let _ = digest::matches(&format!("sha-256={text}"), &[0; 32]);
        let _ = text.parse::<Source>();
        let _ = format!("did:pkh:{text}").parse::<Source>();
        let _ = Payload::from_json(&json!({ "type": "signedHash", "hash": text, "sourceSignature": text }));
        prop_assert_eq!(harmless(&harmless(&text)), harmless(&text));
    }

    #[test]
    fn no_json_makes_a_reader_panic(
        member in "(amount|currency|recipient|externalId|methodDetails|n|iat|challenge|status|timestamp)",
        text: String,
        number: f64,
    ) {
        let values = [json!(text), json!(number), json!([text]), json!({ &member: text }), Value::Null];
        for value in values {
            let mut json = request().to_json();
            json[&member] = value;
            let text = encode_canonical(&json);
            let _ = Request::decode(&text);
            let _ = Opaque::decode(&text);
            let _ = Receipt::decode(text.as_bytes());
            let _ = Credential::from_token(text.as_bytes());
        }
    }
}

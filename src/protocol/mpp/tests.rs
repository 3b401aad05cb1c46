use serde_json::{Value, json};

use super::*;
use crate::protocol::{money::Amount, stellar::Network};

mod accept;
mod challenge;
mod credential;
mod field;
mod property;
mod stellar;
mod vector;
mod voucher;

/// What `mppx` signs its test vectors with.
const KEY: &str = "stellar-mpp-test-vector-secret-0123456789";

fn secrets(current: &str, previous: Option<&str>) -> Secrets {
    Secrets::new(current.into(), previous.map(Into::into)).unwrap()
}

/// The charge of vector V8, but to an address that is one: theirs has a wrong checksum.
fn request() -> charge::Request {
    charge::Request {
        amount: Amount::from_units(100_000).unwrap(),
        currency: Network::Testnet.usdc().contract,
        recipient: "GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG".parse().unwrap(),
        external_id: None,
        network: Network::Testnet,
        fee_payer: true,
        credential_types: vec![charge::CredentialType::Transaction],
    }
}

fn opaque() -> Opaque {
    Opaque { scope: "GET /data".to_owned(), nonce: [7; 16], issued_at: 1_893_455_700 }
}

/// Every part that there is.
fn parts<'a>(request: &Value, opaque: &'a Opaque) -> Parts<'a> {
    Parts {
        realm: "api.example.com",
        method: charge::METHOD,
        intent: charge::INTENT,
        request: encode_canonical(request),
        description: Some("Say \"hi\" \\ ok"),
        body: Some([9; 32]),
        expires_ms: 1_893_456_000_000,
        header: CredentialHeader::Authorization,
        opaque: Some(opaque),
    }
}

/// A challenge with every part that there is, after `change` of its parts.
fn issued(change: impl FnOnce(&mut Parts<'_>)) -> Challenge {
    let (request, opaque) = (request().to_json(), opaque());
    let mut parts = parts(&request, &opaque);
    change(&mut parts);
    Challenge::issue(&secrets(KEY, None), parts)
}

/// All that a challenge holds, to compare by: the type itself has no equality, because of its id.
fn members(challenge: &Challenge) -> String {
    format!("{challenge:?}")
}

fn credential(challenge: Challenge) -> Credential {
    Credential {
        challenge,
        payload: Some(json!({ "type": "transaction", "transaction": "AAAA" })),
        source: Some("did:pkh:stellar:testnet:G".to_owned()),
    }
}

/// The line that carries `json` as a credential.
fn line(json: &Value) -> String {
    format!("Payment {}", URL_SAFE_NO_PAD.encode(json.to_string()))
}

/// The JSON of a credential's line.
fn json_of(line: &http::HeaderValue) -> Value {
    let token = line.to_str().unwrap().strip_prefix("Payment ").unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(token).unwrap()).unwrap()
}

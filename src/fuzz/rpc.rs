//! Answers of the ledger and of a facilitator: about what was asked, in agreement with themselves, or nonsense.
//!
//! Input: a line with the method, the status and the hash that was asked about, then the body.

use http::StatusCode;

use crate::{
    ledger::{
        facilitator::{Outcome, Payment, VerifyError},
        remote,
        rpc::{self, Lookup},
    },
    protocol::{
        channel,
        stellar::{ContractId, Network, TxHash},
        transfer::{Expected, Transfer},
    },
};

pub(super) fn check(bytes: &[u8]) {
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let (Some(first), Some(body)) = (parts.next(), parts.next()) else { return };
    let Ok(first) = std::str::from_utf8(first) else { return };
    let mut words = first.split(' ');
    let method = words.next().unwrap_or_default();
    let Ok(status) = words.next().unwrap_or("200").parse::<StatusCode>() else { return };
    let asked = words.next().and_then(|hash| hash.parse().ok()).unwrap_or(TxHash([0; 32]));
    match method {
        "verify" => {
            let payment = payment();
            let told = remote::door::verified(status, body, &payment);
            assert_eq!(told, remote::door::verified(status, body, &payment));
            assert!(told.is_err() || status.is_success());
            if let Err(VerifyError::Invalid(invalid)) = told {
                is_reason(&invalid.reason);
            }
        }
        "settle" => {
            let payment = payment();
            let told = remote::door::settled(status, body, &payment);
            assert_eq!(told, remote::door::settled(status, body, &payment));
            match told {
                Outcome::Settled(settled) => {
                    assert!(status.is_success());
                    assert_eq!(settled.payer, payment.transfer.payer());
                }
                Outcome::Rejected { reason, .. } => is_reason(&reason),
                // What may have been sent is never called unsent.
                Outcome::Unsent(_) => assert!(!status.is_success() && !status.is_server_error()),
                _ => {}
            }
        }
        "supported" => {
            let told = remote::door::supported(body, Network::Testnet);
            assert_eq!(told, remote::door::supported(body, Network::Testnet));
        }
        method => {
            let read = || rpc::door::read(method, status, body, asked, Network::Testnet);
            let told = read();
            assert_eq!(told, read());
            if let Ok(told) = told {
                assert_eq!(status, StatusCode::OK);
                is_as_asked(&told, asked);
            }
        }
    }
}

fn is_as_asked(told: &rpc::door::Told, asked: TxHash) {
    use rpc::door::Told;
    match told {
        Told::Lookup(Lookup::Applied(applied)) => {
            let hash = applied.envelope.hash(Network::Testnet.id()).ok();
            let is_inner =
                matches!(&applied.envelope, stellar_xdr::TransactionEnvelope::TxFeeBump(_));
            assert!(is_inner || hash == Some(asked.0), "another transaction");
            assert!(applied.success || applied.events.is_empty() && applied.nonces.is_empty());
        }
        Told::Snapshot(snapshot) => {
            for (key, entry) in &snapshot.entries {
                let stellar_xdr::LedgerKey::ContractData(key) = key else { continue };
                let stellar_xdr::ScAddress::Contract(id) = &key.contract else { continue };
                let of = ContractId(id.0.0);
                let instance = channel::Instance::read(of, &entry.data);
                assert_eq!(instance, channel::Instance::read(of, &entry.data));
                let balance = channel::Balance::read(of, of, &entry.data);
                assert!(balance.is_err() || instance.is_err(), "two things at once");
            }
        }
        Told::Events(page) => {
            assert!(page.next.as_ref().is_none_or(|next| !next.is_empty()));
        }
        _ => {}
    }
}

/// What reaches a client looks like a code.
fn is_reason(reason: &str) {
    assert!(!reason.is_empty() && reason.len() <= 80, "{reason}");
    assert!(reason.bytes().all(|byte| byte.is_ascii_graphic()), "{reason}");
}

fn payment() -> Payment {
    let transfer = Transfer::parse(VECTOR_A.trim()).expect("the vector is a transfer");
    let movement = *transfer.movement();
    Payment {
        transfer,
        expected: Expected {
            network: Network::Testnet,
            asset: movement.asset,
            payee: movement.payee,
            amount: movement.amount,
        },
        max_timeout_seconds: 60,
        min_remaining: 1,
        declares_fee: true,
    }
}

const VECTOR_A: &str = include_str!("../protocol/transfer/vector_a.txt");

//! Transactions: one transfer or none, under one name however it is presented.
//!
//! Input: the XDR of an envelope, or its base64.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use stellar_xdr as xdr;
use xdr::{ReadXdr as _, WriteXdr as _};

use crate::protocol::{
    money::Amount,
    stellar::Network,
    transfer::{Error, Expected, Movement, NOBODY, Pulled, Transfer, Whole, unsigned_envelope},
};

pub(super) fn check(bytes: &[u8]) {
    text(&STANDARD.encode(bytes));
    if let Ok(base64) = std::str::from_utf8(bytes) {
        text(base64);
    }
}

/// The same for the base64 of an envelope, as messages carry it.
pub(super) fn text(base64: &str) {
    let transfer = Transfer::parse(base64);
    assert_eq!(transfer, Transfer::parse(base64));
    for network in [Network::Testnet, Network::Pubnet] {
        match Pulled::parse(base64, network) {
            Ok(Pulled::Unsigned(unsigned)) => assert_eq!(transfer.as_ref(), Ok(&*unsigned)),
            Ok(Pulled::Whole(whole)) => to_send(&whole, base64, network),
            Err(_) => {}
        }
    }
    if let Ok(transfer) = transfer {
        unsigned(&transfer);
    }
    let Some(envelope) = envelope(base64) else { return };
    for network in [Network::Testnet, Network::Pubnet] {
        let landed = Whole::landed(envelope.clone(), network);
        if let Ok(whole) = landed {
            let bumped = matches!(envelope, xdr::TransactionEnvelope::TxFeeBump(_));
            let sent = Whole::to_send(envelope.clone(), network);
            assert!(!bumped || sent == Err(Error::FeeBumped));
            assert_eq!(envelope.hash(network.id()).ok(), Some(whole.hash().0));
            // A fee bump around it gives a transfer no other name.
            let inner = Whole::landed(whole.simulated(), network).expect("the inside of a bump");
            assert_eq!(inner.claim_key(), whole.claim_key());
            assert_eq!(inner.authorization_hash(), whole.authorization_hash());
        }
    }
}

fn unsigned(transfer: &Transfer) {
    let operation = transfer.operation();
    let whole = unsigned_envelope(operation, None, 100, 0);
    let bytes = whole.to_xdr(xdr::Limits::none()).expect("what was read is written");
    if let Ok(again) = Transfer::parse(&STANDARD.encode(bytes)) {
        assert_eq!(again.movement(), transfer.movement());
        assert_eq!(again.claim_key(Network::Testnet), transfer.claim_key(Network::Testnet));
        assert_eq!(again.authorization_hash(), transfer.authorization_hash());
        // Its source is one of those that must not pay.
        let expected = expected(&again);
        assert_eq!(again.check(&expected, &[NOBODY]), Err(Error::UnsafeSource));
    }
    // Whoever puts it on the ledger, it has been presented before.
    let landed = Whole::landed(whole, Network::Testnet).expect("an authorized transfer");
    assert_eq!(landed.claim_key(), transfer.claim_key(Network::Testnet));
    assert_ne!(landed.claim_key(), transfer.claim_key(Network::Pubnet));
    assert_eq!(landed.authorization_hash(), transfer.authorization_hash());
    let (movement, expected) = (transfer.movement(), expected(transfer));
    let is_payment = movement.payer != movement.payee && !movement.amount.is_zero();
    assert_eq!(transfer.check(&expected, &[]).is_ok(), is_payment);
    let dearer = movement.amount.checked_add(Amount::ONE);
    let dearer = dearer.map(|amount| Expected { amount, ..expected });
    assert!(dearer.is_none_or(|expected| transfer.check(&expected, &[]).is_err()));
    for network in [Network::Testnet, Network::Pubnet] {
        let signed = transfer.check_signature(network);
        assert_eq!(signed, transfer.check_signature(network));
    }
}

/// What it is the payment of.
fn expected(transfer: &Transfer) -> Expected {
    let Movement { payee, asset, amount, .. } = *transfer.movement();
    Expected { network: Network::Testnet, asset, payee, amount }
}

fn to_send(whole: &Whole, base64: &str, network: Network) {
    let written = whole.envelope().to_xdr(xdr::Limits::none()).expect("what was read is written");
    assert_eq!(STANDARD.encode(written), base64, "no byte is passed over");
    let landed = Whole::landed(whole.envelope().clone(), network);
    assert_eq!(landed.as_ref(), Ok(whole));
    assert!(whole.resource_fee() >= 0);
    if whole.check_signatures().is_ok() {
        let signatures = match whole.envelope() {
            xdr::TransactionEnvelope::Tx(envelope) => envelope.signatures.len(),
            _ => 0,
        };
        assert_eq!(signatures, 1);
    }
}

/// Read without the bounds of the parser under test, but for the depth.
fn envelope(base64: &str) -> Option<xdr::TransactionEnvelope> {
    let bytes = STANDARD.decode(base64).ok().filter(|bytes| bytes.len() <= super::MOST_INPUT)?;
    let limits = xdr::Limits { depth: 100, len: bytes.len() };
    let envelope = xdr::TransactionEnvelope::from_xdr(&bytes, limits).ok()?;
    // Some booleans have more spellings in this library; such an envelope is refused.
    let written = envelope.to_xdr(xdr::Limits::none()).expect("what was read is written");
    assert!(written == bytes || Transfer::parse(base64) == Err(Error::Malformed));
    Some(envelope)
}

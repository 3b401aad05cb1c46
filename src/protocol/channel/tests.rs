use xdr::WriteXdr as _;

use super::*;
use crate::protocol::stellar::Network;

const CHANNEL: ContractId = ContractId([2; 32]);

fn base64(key: &xdr::LedgerKey) -> String {
    key.to_xdr_base64(xdr::Limits::none()).unwrap()
}

#[test]
fn the_keys_are_those_that_the_reference_asks_the_ledger_for() {
    assert_eq!(
        base64(&instance_key(CHANNEL)),
        "AAAABgAAAAECAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgAAABQAAAAB"
    );
    assert_eq!(
        base64(&balance_key(Network::Testnet.usdc().contract, CHANNEL)),
        "AAAABgAAAAFQRc1ewHKado/VrQJQWFLfTwKNzoMOWsUiCbpISDsvAQAAABAAAAABAAAAAgAAAA8AAAAHQmFsYW5jZQAAAAASAAAAAQICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAAAAAQ=="
    );
}

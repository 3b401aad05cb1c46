//! What the commitment key signs: 192 bytes that name network, channel and total.
//!
//! They are the XDR of a map with the keys `amount`, `channel`, `domain` and `network`, signed as they are. The network
//! and the contract's address keep a commitment from counting anywhere else.

use soroban_sdk::xdr::ToXdr;
use soroban_sdk::{Address, Bytes, BytesN, Env, Symbol, contracttype, symbol_short};

/// The bytes that commit to `amount` in all on this channel.
pub(crate) fn bytes(env: &Env, amount: i128) -> Bytes {
    let commitment = Commitment {
        amount,
        channel: env.current_contract_address(),
        domain: symbol_short!("chancmmt"),
        network: env.ledger().network_id(),
    };
    commitment.to_xdr(env)
}

/// The commitment as a map by field name.
#[contracttype]
#[derive(Clone)]
pub struct Commitment {
    /// The total since the opening.
    pub amount: i128,
    /// The channel that it counts on.
    pub channel: Address,
    /// What tells it from other signed bytes.
    pub domain: Symbol,
    /// SHA-256 of the network's passphrase.
    pub network: BytesN<32>,
}

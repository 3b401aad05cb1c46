//! What the channel tells about itself. The one topic is the name in small letters, the data a map by field name.

use soroban_sdk::{Address, BytesN, contractevent};

/// The channel was opened with a deposit of `amount`.
#[contractevent]
pub struct Open {
    /// What it was opened with.
    pub amount: i128,
    /// Whose signatures commit.
    pub commitment_key: BytesN<32>,
    /// Who pays.
    pub from: Address,
    /// In ledgers.
    pub refund_waiting_period: u32,
    /// Who is paid.
    pub to: Address,
    /// In what.
    pub token: Address,
}

/// A close was started, or made. It is effective from `effective_at_ledger` on, which lies ahead or is this ledger.
#[contractevent]
pub struct Close {
    /// The first ledger in which it is effective.
    pub effective_at_ledger: u32,
}

/// `to` was paid.
#[contractevent]
pub struct Withdraw {
    /// What this payment moved.
    pub amount: i128,
    /// Who was paid.
    pub to: Address,
}

/// `from` got back what was left.
#[contractevent]
pub struct Refund {
    /// What it got back.
    pub amount: i128,
    /// Who got it.
    pub from: Address,
}

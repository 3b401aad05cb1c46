//! What a payment comes to, for those who count and tell.

use crate::protocol::{
    money::Amount,
    stellar::{Address, ContractId, TxHash},
};

/// What a payment comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Worth {
    /// Of what.
    pub asset: ContractId,
    /// The price of the request, in base units.
    pub amount: Amount,
    /// Who pays, where the payment says it.
    pub payer: Option<Address>,
    /// The channel that it is paid from, and what was committed to in it since it was opened.
    pub channel: Option<(ContractId, Amount)>,
    /// What moved the money, where that has happened.
    pub transaction: Option<TxHash>,
}

impl Worth {
    /// So much of an asset.
    #[must_use]
    pub const fn of(asset: ContractId, amount: Amount) -> Self {
        Self { asset, amount, payer: None, channel: None, transaction: None }
    }
}

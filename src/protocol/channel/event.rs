//! What a channel tells by its events.

use stellar_xdr as xdr;

use super::{Error, Members, address, amount, bytes32, contract, is_symbol, u32_of};
use crate::protocol::{
    money::Amount,
    stellar::{Address, ContractId},
};

/// An event of the channel contract. A top-up is told by the token alone, as any transfer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was created.
    Open {
        /// The token that it pays in.
        token: ContractId,
        /// Who may take back what is left.
        from: Address,
        /// Who is paid.
        to: Address,
        /// What was paid in at once, in base units.
        amount: Amount,
        /// The raw key of its commitments.
        commitment_key: [u8; 32],
        /// In ledgers.
        refund_waiting_period: u32,
    },
    /// It ends: by the payee's `close` in the event's own ledger, by the payer's `close_start` in a later one (or the
    /// same, if there is no waiting period).
    Close {
        /// The ledger from which the payer may take back what is left.
        effective_at: u32,
    },
    /// The payee took something out.
    Withdraw {
        /// How much this time, in base units.
        amount: Amount,
        /// The payee.
        to: Address,
    },
    /// The payer took back all that was left.
    Refund {
        /// How much, in base units.
        amount: Amount,
        /// The payer.
        from: Address,
    },
}

impl Event {
    /// Reads an event; `None` if it is not one of `channel`, or of no name that is known here.
    ///
    /// # Errors
    /// [`Error::Member`] names what an event of a known name has not as it must be.
    pub fn read(channel: ContractId, event: &xdr::ContractEvent) -> Result<Option<Self>, Error> {
        let xdr::ContractEventBody::V0(body) = &event.body;
        let own = event.contract_id.as_ref().is_some_and(|contract| contract.0.0 == channel.0)
            && event.type_ == xdr::ContractEventType::Contract;
        let [topic] = body.topics.as_slice() else { return Ok(None) };
        let named = |name: &&str| own && is_symbol(topic, name);
        let Some(name) = ["open", "close", "withdraw", "refund"].into_iter().find(named) else {
            return Ok(None);
        };
        let xdr::ScVal::Map(Some(map)) = &body.data else { return Err(Error::Member("data")) };
        let members = Members { map: map.0.as_slice(), is_key: is_symbol };
        let event = match name {
            "open" => Self::Open {
                token: members.require("token", contract)?,
                from: members.require("from", address)?,
                to: members.require("to", address)?,
                amount: members.require("amount", amount)?,
                commitment_key: members.require("commitment_key", bytes32)?,
                refund_waiting_period: members.require("refund_waiting_period", u32_of)?,
            },
            "close" => {
                Self::Close { effective_at: members.require("effective_at_ledger", u32_of)? }
            }
            "withdraw" => Self::Withdraw {
                amount: members.require("amount", amount)?,
                to: members.require("to", address)?,
            },
            _ => Self::Refund {
                amount: members.require("amount", amount)?,
                from: members.require("from", address)?,
            },
        };
        Ok(Some(event))
    }
}

//! How a channel is opened, and the calls that its two sides make.

use sha2::{Digest as _, Sha256};
use stellar_xdr as xdr;
use xdr::WriteXdr as _;

use crate::protocol::{
    commitment::{Commitment, CommitmentKey},
    money::Amount,
    stellar::{Address, ContractId, Network},
    transfer::{bytes, symbol},
};

/// The terms of a channel that is yet to be opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The token that it pays in.
    pub token: ContractId,
    /// Who pays `amount` in, and may take back what is left.
    pub from: Address,
    /// The key of its commitments.
    pub commitment_key: CommitmentKey,
    /// Who is paid.
    pub to: Address,
    /// What is paid in at once, in base units; zero needs no one's leave.
    pub amount: Amount,
    /// How many ledgers after [`close_start`] the payer may take back what is left.
    pub refund_waiting_period: u32,
}

impl Opening {
    /// The creation of the channel by `deployer`, of uploaded `code`: at [`contract_id`] of the same deployer and salt.
    #[must_use]
    pub fn create(&self, deployer: Address, salt: [u8; 32], code: [u8; 32]) -> xdr::HostFunction {
        xdr::HostFunction::CreateContractV2(xdr::CreateContractArgsV2 {
            contract_id_preimage: preimage(deployer, salt),
            executable: xdr::ContractExecutable::Wasm(xdr::Hash(code)),
            constructor_args: arguments(vec![
                xdr::ScVal::Address(self.token.to_xdr()),
                xdr::ScVal::Address(self.from.to_xdr()),
                bytes(&self.commitment_key.to_bytes()),
                xdr::ScVal::Address(self.to.to_xdr()),
                xdr::ScVal::from(self.amount.units()),
                xdr::ScVal::U32(self.refund_waiting_period),
            ]),
        })
    }
}

/// The address of the contract that `deployer` creates under `salt`.
#[must_use]
pub fn contract_id(deployer: Address, salt: [u8; 32], network: Network) -> ContractId {
    let preimage = xdr::HashIdPreimage::ContractId(xdr::HashIdPreimageContractId {
        network_id: xdr::Hash(network.id()),
        contract_id_preimage: preimage(deployer, salt),
    });
    let bytes = preimage.to_xdr(xdr::Limits::none()).expect("an address encodes without bounds");
    ContractId(Sha256::digest(bytes).into())
}

/// Takes out what `commitment` allows beyond what was taken before; the channel stays open. The payee's call.
#[must_use]
pub fn settle(channel: ContractId, commitment: &Commitment) -> xdr::InvokeContractArgs {
    call(channel, "settle", committed(commitment))
}

/// As [`settle`], then ends the channel and gives the payer back the rest. The payee's call.
#[must_use]
pub fn close(channel: ContractId, commitment: &Commitment) -> xdr::InvokeContractArgs {
    call(channel, "close", committed(commitment))
}

/// Pays `amount` more in. The payer's call.
#[must_use]
pub fn top_up(channel: ContractId, amount: Amount) -> xdr::InvokeContractArgs {
    call(channel, "top_up", vec![xdr::ScVal::from(amount.units())])
}

/// Begins to end the channel: its waiting period starts now, and anew each time before it is over. The payer's call.
#[must_use]
pub fn close_start(channel: ContractId) -> xdr::InvokeContractArgs {
    call(channel, "close_start", Vec::new())
}

/// Takes back all that is left, once the channel has ended. The payer's call.
#[must_use]
pub fn refund(channel: ContractId) -> xdr::InvokeContractArgs {
    call(channel, "refund", Vec::new())
}

fn call(
    channel: ContractId,
    function: &'static str,
    values: Vec<xdr::ScVal>,
) -> xdr::InvokeContractArgs {
    xdr::InvokeContractArgs {
        contract_address: channel.to_xdr(),
        function_name: symbol(function),
        args: arguments(values),
    }
}

fn committed(commitment: &Commitment) -> Vec<xdr::ScVal> {
    vec![xdr::ScVal::from(commitment.amount.units()), bytes(&commitment.signature)]
}

fn arguments(values: Vec<xdr::ScVal>) -> xdr::VecM<xdr::ScVal> {
    values.try_into().expect("six arguments or fewer are below the bound of 2^32")
}

fn preimage(deployer: Address, salt: [u8; 32]) -> xdr::ContractIdPreimage {
    xdr::ContractIdPreimage::Address(xdr::ContractIdPreimageFromAddress {
        address: deployer.to_xdr(),
        salt: xdr::Uint256(salt),
    })
}

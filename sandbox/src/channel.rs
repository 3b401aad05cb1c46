//! Payment channels: the code of `contracts/`, and calls of it that a payer makes.
//!
//! What a payee does with a channel, settling and closing it, is not here: that is the gateway's.

use sha2::{Digest, Sha256};
use stellar_strkey::Strkey;
use stellar_xdr::{
    AccountId, ContractExecutable, ContractId, ContractIdPreimage, ContractIdPreimageFromAddress,
    CreateContractArgsV2, Error, Hash, HostFunction, InvokeContractArgs, Operation, PublicKey,
    ScAddress, ScBytes, ScSymbol, ScVal, Uint256,
};

use crate::code;
use crate::dev_accounts::DevAccount;

/// The code of a channel, as every sandbox has it uploaded; its hash is [`channel_code`].
pub const CHANNEL_WASM: &[u8] = include_bytes!("../../contracts/channel.wasm");

/// The code of a factory of channels, uploaded likewise; its hash is [`channel_factory_code`].
pub const CHANNEL_FACTORY_WASM: &[u8] = include_bytes!("../../contracts/channel-factory.wasm");

/// The SHA-256 of [`CHANNEL_WASM`]: what the instance of a channel names as its executable.
pub fn channel_code() -> [u8; 32] {
    code::hash(CHANNEL_WASM).0
}

/// The SHA-256 of [`CHANNEL_FACTORY_WASM`].
pub fn channel_factory_code() -> [u8; 32] {
    code::hash(CHANNEL_FACTORY_WASM).0
}

/// What a channel is opened with.
#[derive(Clone, Copy, Debug)]
pub struct OpenChannel<'a> {
    /// Whose deposit it is, and who gets the rest of it back.
    pub payer: &'a DevAccount,
    /// Who is paid: `G…` or `C…`.
    pub payee: &'a str,
    /// The token's contract: `C…`.
    pub token: &'a str,
    /// The ed25519 public key whose signatures commit.
    pub commitment_key: [u8; 32],
    /// In the token's base units.
    pub deposit: i128,
    /// The ledgers between the start of a close by the payer and its effect.
    pub refund_waiting_ledgers: u32,
}

/// Opens a channel: its address, and the payer's operation. Channels of one payer differ by `number`.
pub(crate) fn open(
    network_id: &Hash,
    wanted: &OpenChannel<'_>,
    number: u32,
) -> Result<(ContractId, Operation), Error> {
    let payer = wanted.payer.account_id();
    let contract_id_preimage = ContractIdPreimage::Address(ContractIdPreimageFromAddress {
        address: ScAddress::Account(payer.clone()),
        salt: Uint256(Sha256::digest(format!("channel {number}")).into()),
    });
    let contract = code::contract_id(network_id, contract_id_preimage.clone())?;
    let constructor_args = vec![
        ScVal::Address(address(wanted.token)?),
        ScVal::Address(ScAddress::Account(payer.clone())),
        ScVal::Bytes(ScBytes(wanted.commitment_key.to_vec().try_into()?)),
        ScVal::Address(address(wanted.payee)?),
        wanted.deposit.into(),
        ScVal::U32(wanted.refund_waiting_ledgers),
    ];
    let create = HostFunction::CreateContractV2(CreateContractArgsV2 {
        contract_id_preimage,
        executable: ContractExecutable::Wasm(code::hash(CHANNEL_WASM)),
        constructor_args: constructor_args.try_into()?,
    });
    Ok((contract, code::invoke(Some(&payer), create)))
}

/// A call of `channel` by `payer`.
pub(crate) fn call(
    channel: &ContractId,
    payer: &DevAccount,
    function: &str,
    args: Vec<ScVal>,
) -> Result<Operation, Error> {
    let call = HostFunction::InvokeContract(InvokeContractArgs {
        contract_address: ScAddress::Contract(channel.clone()),
        function_name: ScSymbol(function.try_into()?),
        args: args.try_into()?,
    });
    Ok(code::invoke(Some(&payer.account_id()), call))
}

fn address(text: &str) -> Result<ScAddress, Error> {
    match Strkey::from_string(text) {
        Ok(Strkey::PublicKeyEd25519(key)) => {
            Ok(ScAddress::Account(AccountId(PublicKey::PublicKeyTypeEd25519(Uint256(key.0)))))
        }
        Ok(Strkey::Contract(contract)) => Ok(ScAddress::Contract(ContractId(Hash(contract.0)))),
        _ => Err(Error::Invalid),
    }
}

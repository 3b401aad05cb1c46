//! Payers that are contracts: the smallest account contract, which one ed25519 key controls, and its deployment.
//!
//! The contract is `contracts/account.wat`. Its signature is the 64 bare bytes of the key's signature over the payload.

use std::fmt;

use stellar_strkey::Contract;
use stellar_xdr::{
    AccountId, ContractExecutable, ContractId, ContractIdPreimage, ContractIdPreimageFromAddress,
    CreateContractArgsV2, Error, Hash, HostFunction, InvokeContractArgs, LedgerKey,
    LedgerKeyContractCode, Operation, PublicKey, ScAddress, ScBytes, ScSymbol, ScVal, Uint256,
};

use crate::code;
use crate::dev_accounts::DevAccount;
use crate::ledger::Snapshot;
use crate::usdc;

/// A contract that holds USDC, and the key that it obeys.
#[derive(Clone)]
pub struct ContractPayer {
    contract: ContractId,
    signer: DevAccount,
}

impl ContractPayer {
    /// The payer of this `number` on the network `network_id`; the same on every network of one passphrase.
    pub(crate) fn new(network_id: &Hash, number: u32) -> Result<Self, Error> {
        let signer = DevAccount::from_label(&format!("contract payer {number}"));
        let contract = code::contract_id(network_id, preimage(&signer))?;
        Ok(Self { contract, signer })
    }

    /// The `C…` address.
    pub fn address(&self) -> String {
        format!("{}", Contract(self.contract.0.0))
    }

    /// The contract as XDR has it.
    pub fn contract_id(&self) -> &ContractId {
        &self.contract
    }

    /// The account whose key the contract obeys; it need not exist on the ledger.
    pub fn signer(&self) -> &DevAccount {
        &self.signer
    }
}

impl fmt::Debug for ContractPayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ContractPayer").field(&self.address()).finish()
    }
}

/// Whether the code of the account contract is on the ledger.
pub(crate) fn is_uploaded(snapshot: &Snapshot) -> bool {
    let hash = code::hash(WASM);
    let key = LedgerKey::ContractCode(LedgerKeyContractCode { hash });
    !snapshot.entries(&[key]).is_empty()
}

/// Uploads the code.
pub(crate) fn upload() -> Result<Operation, Error> {
    code::upload(Some(&usdc::issuer()), WASM)
}

/// Creates the contract of `payer`, as the USDC issuer.
pub(crate) fn create(payer: &ContractPayer) -> Result<Operation, Error> {
    let key = ScBytes(payer.signer.key().verifying_key().to_bytes().try_into()?);
    Ok(invoke(HostFunction::CreateContractV2(CreateContractArgsV2 {
        contract_id_preimage: preimage(&payer.signer),
        executable: ContractExecutable::Wasm(code::hash(WASM)),
        constructor_args: vec![ScVal::Bytes(key)].try_into()?,
    })))
}

/// Issues `units` of USDC to `payer`.
pub(crate) fn mint(
    network_id: &Hash,
    payer: &ContractPayer,
    units: i64,
) -> Result<Operation, Error> {
    let to = ScVal::Address(ScAddress::Contract(payer.contract.clone()));
    Ok(invoke(HostFunction::InvokeContract(InvokeContractArgs {
        contract_address: ScAddress::Contract(usdc::contract_id(network_id)),
        function_name: ScSymbol("mint".try_into()?),
        args: vec![to, i128::from(units).into()].try_into()?,
    })))
}

/// A call by the USDC issuer, who may do everything that is done here.
fn invoke(host_function: HostFunction) -> Operation {
    code::invoke(Some(&usdc::issuer()), host_function)
}

fn preimage(signer: &DevAccount) -> ContractIdPreimage {
    let AccountId(PublicKey::PublicKeyTypeEd25519(Uint256(salt))) = signer.account_id();
    ContractIdPreimage::Address(ContractIdPreimageFromAddress {
        address: ScAddress::Account(usdc::issuer()),
        salt: Uint256(salt),
    })
}

/// What `contracts/account.wat` assembles to.
const WASM: &[u8] = include_bytes!("../contracts/account.wasm");

#[cfg(test)]
mod tests {
    #[test]
    fn the_code_is_what_its_source_assembles_to() {
        let source = include_str!("../contracts/account.wat");
        assert_eq!(wat::parse_str(source).unwrap(), super::WASM);
    }
}

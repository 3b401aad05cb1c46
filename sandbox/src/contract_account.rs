//! Payers that are contracts: the smallest account contract, which one ed25519 key controls, and its deployment.
//!
//! The contract is `contracts/account.wat`. Its signature is the 64 bare bytes of the key's signature over the payload.

use std::fmt;

use sha2::{Digest, Sha256};
use stellar_strkey::Contract;
use stellar_xdr::{
    AccountId, ContractExecutable, ContractId, ContractIdPreimage, ContractIdPreimageFromAddress,
    CreateContractArgsV2, Error, Hash, HashIdPreimage, HashIdPreimageContractId, HostFunction,
    Int128Parts, InvokeContractArgs, InvokeHostFunctionOp, LedgerKey, LedgerKeyContractCode,
    Limits, Operation, OperationBody, PublicKey, ScAddress, ScBytes, ScSymbol, ScVal,
    SorobanAuthorizationEntry, Uint256, VecM, WriteXdr,
};

use crate::dev_accounts::DevAccount;
use crate::envelope;
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
        let preimage = HashIdPreimage::ContractId(HashIdPreimageContractId {
            network_id: network_id.clone(),
            contract_id_preimage: preimage(&signer),
        });
        let id = Sha256::digest(preimage.to_xdr(Limits::none())?);
        Ok(Self { contract: ContractId(Hash(id.into())), signer })
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
    let hash = code_hash();
    let key = LedgerKey::ContractCode(LedgerKeyContractCode { hash });
    !snapshot.entries(&[key]).is_empty()
}

/// Uploads the code.
pub(crate) fn upload() -> Result<Operation, Error> {
    Ok(invoke(HostFunction::UploadContractWasm(WASM.try_into()?)))
}

/// Creates the contract of `payer`, as the USDC issuer.
pub(crate) fn create(payer: &ContractPayer) -> Result<Operation, Error> {
    let key = ScBytes(payer.signer.key().verifying_key().to_bytes().try_into()?);
    Ok(invoke(HostFunction::CreateContractV2(CreateContractArgsV2 {
        contract_id_preimage: preimage(&payer.signer),
        executable: ContractExecutable::Wasm(code_hash()),
        constructor_args: vec![ScVal::Bytes(key)].try_into()?,
    })))
}

/// Issues `units` of USDC to `payer`.
pub(crate) fn mint(
    network_id: &Hash,
    payer: &ContractPayer,
    units: i64,
) -> Result<Operation, Error> {
    let wide = i128::from(units);
    let amount = Int128Parts {
        hi: i64::try_from(wide >> 64).expect("the upper half of an i128 is an i64"),
        lo: u64::from_ne_bytes(units.to_ne_bytes()),
    };
    let to = ScVal::Address(ScAddress::Contract(payer.contract.clone()));
    Ok(invoke(HostFunction::InvokeContract(InvokeContractArgs {
        contract_address: ScAddress::Contract(usdc::contract_id(network_id)),
        function_name: ScSymbol("mint".try_into()?),
        args: vec![to, ScVal::I128(amount)].try_into()?,
    })))
}

/// `operation` with the authorizations that its simulation recorded.
pub(crate) fn authorized(
    mut operation: Operation,
    auth: Vec<SorobanAuthorizationEntry>,
) -> Result<Operation, Error> {
    if let OperationBody::InvokeHostFunction(invoke) = &mut operation.body {
        invoke.auth = auth.try_into()?;
    }
    Ok(operation)
}

/// A call by the USDC issuer, who may do everything that is done here.
fn invoke(host_function: HostFunction) -> Operation {
    let body = InvokeHostFunctionOp { host_function, auth: VecM::default() };
    envelope::operation(Some(&usdc::issuer()), OperationBody::InvokeHostFunction(body))
}

fn preimage(signer: &DevAccount) -> ContractIdPreimage {
    let AccountId(PublicKey::PublicKeyTypeEd25519(Uint256(salt))) = signer.account_id();
    ContractIdPreimage::Address(ContractIdPreimageFromAddress {
        address: ScAddress::Account(usdc::issuer()),
        salt: Uint256(salt),
    })
}

fn code_hash() -> Hash {
    Hash(Sha256::digest(WASM).into())
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

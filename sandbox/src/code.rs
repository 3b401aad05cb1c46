//! Contract code on the ledger: its hash, its upload, the address of what is made of it, and calls.

use sha2::{Digest, Sha256};
use stellar_xdr::{
    AccountId, ContractId, ContractIdPreimage, Error, Hash, HashIdPreimage,
    HashIdPreimageContractId, HostFunction, InvokeHostFunctionOp, Limits, Operation, OperationBody,
    SorobanAuthorizationEntry, VecM, WriteXdr,
};

use crate::envelope;

/// The name of `wasm` on the ledger: its SHA-256.
pub(crate) fn hash(wasm: &[u8]) -> Hash {
    Hash(Sha256::digest(wasm).into())
}

/// Uploads `wasm` as `source`, or as the transaction's source.
pub(crate) fn upload(source: Option<&AccountId>, wasm: &[u8]) -> Result<Operation, Error> {
    Ok(invoke(source, HostFunction::UploadContractWasm(wasm.try_into()?)))
}

/// The address of the contract that `preimage` makes.
pub(crate) fn contract_id(
    network_id: &Hash,
    preimage: ContractIdPreimage,
) -> Result<ContractId, Error> {
    let preimage = HashIdPreimage::ContractId(HashIdPreimageContractId {
        network_id: network_id.clone(),
        contract_id_preimage: preimage,
    });
    Ok(ContractId(hash(&preimage.to_xdr(Limits::none())?)))
}

/// A call by `source`, or by the transaction's source, that nobody else authorizes.
pub(crate) fn invoke(source: Option<&AccountId>, host_function: HostFunction) -> Operation {
    let body = InvokeHostFunctionOp { host_function, auth: VecM::default() };
    envelope::operation(source, OperationBody::InvokeHostFunction(body))
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

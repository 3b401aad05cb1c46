//! USDC as the testnet has it: the issuer's address, the asset, and the address of its contract.

use sha2::{Digest, Sha256};
use stellar_strkey::{Contract, ed25519::PublicKey};
use stellar_xdr::{
    AccountId, AlphaNum4, Asset, AssetCode4, ContractId, ContractIdPreimage, Hash, HashIdPreimage,
    HashIdPreimageContractId, Limits, PublicKey as XdrPublicKey, Uint256, WriteXdr,
};

/// The testnet's issuer of USDC; nobody here has its key.
pub const USDC_ISSUER: &str = "GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5";

/// Base units in one USDC, and stroops in one XLM.
pub const UNITS: i64 = 10_000_000;

/// The issuer as XDR has it.
pub(crate) fn issuer() -> AccountId {
    let key = PublicKey::from_string(USDC_ISSUER).expect("the constant is an address");
    AccountId(XdrPublicKey::PublicKeyTypeEd25519(Uint256(key.0)))
}

/// The asset.
pub(crate) fn asset() -> Asset {
    Asset::CreditAlphanum4(AlphaNum4 { asset_code: AssetCode4(*b"USDC"), issuer: issuer() })
}

/// The id of the asset's contract on the network `network_id`.
pub(crate) fn contract_id(network_id: &Hash) -> ContractId {
    let preimage = HashIdPreimage::ContractId(HashIdPreimageContractId {
        network_id: network_id.clone(),
        contract_id_preimage: ContractIdPreimage::Asset(asset()),
    });
    let bytes = preimage.to_xdr(Limits::none()).expect("a preimage of fixed size encodes");
    ContractId(Hash(Sha256::digest(bytes).into()))
}

/// The `C…` address of the asset's contract on the network `network_id`.
pub(crate) fn contract_address(network_id: &Hash) -> String {
    format!("{}", Contract(contract_id(network_id).0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contract_on_testnet_is_the_well_known_one() {
        let testnet = Hash(Sha256::digest("Test SDF Network ; September 2015").into());
        let address = contract_address(&testnet);
        assert_eq!(address, "CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA");
    }
}

//! What the host charges for each kind of work, in instructions and in bytes of memory.
//!
//! The numbers are the calibration that the linked host carries as its default and does not export; a test compares them
//! with a probe of it. The linear terms are in units of 1/128.

use stellar_xdr::{ContractCostParamEntry, ContractCostParams, ContractCostType, ExtensionPoint};

use crate::ledger::xdr::list;

/// The instructions table.
pub(super) fn cpu() -> ContractCostParams {
    params(|(_, cpu, _)| *cpu)
}

/// The memory table.
pub(super) fn memory() -> ContractCostParams {
    params(|(_, _, memory)| *memory)
}

fn params(term: impl Fn(&Row) -> [i64; 2]) -> ContractCostParams {
    ContractCostParams(list(
        COSTS
            .iter()
            .map(|row| {
                let [const_term, linear_term] = term(row);
                ContractCostParamEntry { ext: ExtensionPoint::V0, const_term, linear_term }
            })
            .collect(),
    ))
}

/// A kind of work, its instructions and its memory, each as constant and linear term.
type Row = (ContractCostType, [i64; 2], [i64; 2]);

/// In the order of [`ContractCostType`], which is the order of the setting on the ledger.
const COSTS: [Row; 95] = [
    (ContractCostType::WasmInsnExec, [4, 0], [0, 0]),
    (ContractCostType::MemAlloc, [434, 16], [16, 128]),
    (ContractCostType::MemCpy, [42, 16], [0, 0]),
    (ContractCostType::MemCmp, [44, 16], [0, 0]),
    (ContractCostType::DispatchHostFunction, [295, 0], [0, 0]),
    (ContractCostType::VisitObject, [60, 0], [0, 0]),
    (ContractCostType::ValSer, [221, 26], [242, 384]),
    (ContractCostType::ValDeser, [331, 4369], [0, 384]),
    (ContractCostType::ComputeSha256Hash, [3636, 7013], [0, 0]),
    (ContractCostType::ComputeEd25519PubKey, [40_256, 0], [0, 0]),
    (ContractCostType::VerifyEd25519Sig, [377_551, 4059], [0, 0]),
    (ContractCostType::VmInstantiation, [417_482, 45_712], [132_773, 4903]),
    (ContractCostType::VmCachedInstantiation, [41_142, 634], [69_472, 1217]),
    (ContractCostType::InvokeVmFunction, [1945, 0], [14, 0]),
    (ContractCostType::ComputeKeccak256Hash, [6481, 5943], [0, 0]),
    (ContractCostType::DecodeEcdsaCurve256Sig, [711, 0], [0, 0]),
    (ContractCostType::RecoverEcdsaSecp256k1Key, [2_314_804, 0], [181, 0]),
    (ContractCostType::Int256AddSub, [4176, 0], [99, 0]),
    (ContractCostType::Int256Mul, [4716, 0], [99, 0]),
    (ContractCostType::Int256Div, [4680, 0], [99, 0]),
    (ContractCostType::Int256Pow, [4256, 0], [99, 0]),
    (ContractCostType::Int256Shift, [884, 0], [99, 0]),
    (ContractCostType::ChaCha20DrawBytes, [1059, 502], [0, 0]),
    (ContractCostType::ParseWasmInstructions, [73_077, 25_410], [17_564, 6457]),
    (ContractCostType::ParseWasmFunctions, [0, 540_752], [0, 47_464]),
    (ContractCostType::ParseWasmGlobals, [0, 176_363], [0, 13_420]),
    (ContractCostType::ParseWasmTableEntries, [0, 29_989], [0, 6285]),
    (ContractCostType::ParseWasmTypes, [0, 1_061_449], [0, 64_670]),
    (ContractCostType::ParseWasmDataSegments, [0, 237_336], [0, 29_074]),
    (ContractCostType::ParseWasmElemSegments, [0, 328_476], [0, 48_095]),
    (ContractCostType::ParseWasmImports, [0, 701_845], [0, 103_229]),
    (ContractCostType::ParseWasmExports, [0, 429_383], [0, 36_394]),
    (ContractCostType::ParseWasmDataSegmentBytes, [0, 28], [0, 257]),
    (ContractCostType::InstantiateWasmInstructions, [43_030, 0], [70_704, 0]),
    (ContractCostType::InstantiateWasmFunctions, [0, 7556], [0, 14_613]),
    (ContractCostType::InstantiateWasmGlobals, [0, 10_711], [0, 6833]),
    (ContractCostType::InstantiateWasmTableEntries, [0, 3300], [0, 1025]),
    (ContractCostType::InstantiateWasmTypes, [0, 0], [0, 0]),
    (ContractCostType::InstantiateWasmDataSegments, [0, 23_038], [0, 129_632]),
    (ContractCostType::InstantiateWasmElemSegments, [0, 42_488], [0, 13_665]),
    (ContractCostType::InstantiateWasmImports, [0, 828_974], [0, 97_637]),
    (ContractCostType::InstantiateWasmExports, [0, 297_100], [0, 9176]),
    (ContractCostType::InstantiateWasmDataSegmentBytes, [0, 14], [0, 126]),
    (ContractCostType::Sec1DecodePointUncompressed, [1882, 0], [0, 0]),
    (ContractCostType::VerifyEcdsaSecp256r1Sig, [3_000_906, 0], [0, 0]),
    (ContractCostType::Bls12381EncodeFp, [661, 0], [0, 0]),
    (ContractCostType::Bls12381DecodeFp, [985, 0], [0, 0]),
    (ContractCostType::Bls12381G1CheckPointOnCurve, [1934, 0], [0, 0]),
    (ContractCostType::Bls12381G1CheckPointInSubgroup, [730_510, 0], [0, 0]),
    (ContractCostType::Bls12381G2CheckPointOnCurve, [5921, 0], [0, 0]),
    (ContractCostType::Bls12381G2CheckPointInSubgroup, [1_057_822, 0], [0, 0]),
    (ContractCostType::Bls12381G1ProjectiveToAffine, [92_642, 0], [0, 0]),
    (ContractCostType::Bls12381G2ProjectiveToAffine, [100_742, 0], [0, 0]),
    (ContractCostType::Bls12381G1Add, [7689, 0], [0, 0]),
    (ContractCostType::Bls12381G1Mul, [2_458_985, 0], [0, 0]),
    (ContractCostType::Bls12381G1Msm, [2_347_584, 94_135_478], [109_494, 266_603]),
    (ContractCostType::Bls12381MapFpToG1, [1_020_885, 0], [2776, 0]),
    (ContractCostType::Bls12381HashToG1, [2_638_451, 6803], [5896, 0]),
    (ContractCostType::Bls12381G2Add, [25_207, 0], [0, 0]),
    (ContractCostType::Bls12381G2Mul, [7_873_219, 0], [0, 0]),
    (ContractCostType::Bls12381G2Msm, [7_663_880, 298_580_871], [219_654, 266_603]),
    (ContractCostType::Bls12381MapFp2ToG2, [1_856_539, 0], [1672, 0]),
    (ContractCostType::Bls12381HashToG2, [6_315_452, 7232], [3960, 0]),
    (ContractCostType::Bls12381Pairing, [10_558_948, 632_860_943], [2204, 9_340_474]),
    (ContractCostType::Bls12381FrFromU256, [1994, 0], [0, 0]),
    (ContractCostType::Bls12381FrToU256, [1155, 0], [248, 0]),
    (ContractCostType::Bls12381FrAddSub, [74, 0], [0, 0]),
    (ContractCostType::Bls12381FrMul, [332, 0], [0, 0]),
    (ContractCostType::Bls12381FrPow, [691, 74_558], [0, 128]),
    (ContractCostType::Bls12381FrInv, [35_421, 0], [0, 0]),
    (ContractCostType::Bn254EncodeFp, [344, 0], [0, 0]),
    (ContractCostType::Bn254DecodeFp, [476, 0], [0, 0]),
    (ContractCostType::Bn254G1CheckPointOnCurve, [904, 0], [0, 0]),
    (ContractCostType::Bn254G2CheckPointOnCurve, [2811, 0], [0, 0]),
    (ContractCostType::Bn254G2CheckPointInSubgroup, [1_706_052, 0], [0, 0]),
    (ContractCostType::Bn254G1ProjectiveToAffine, [61, 0], [0, 0]),
    (ContractCostType::Bn254G1Add, [3623, 0], [0, 0]),
    (ContractCostType::Bn254G1Mul, [1_150_435, 0], [0, 0]),
    (ContractCostType::Bn254Pairing, [5_263_916, 392_472_814], [1821, 6_232_546]),
    (ContractCostType::Bn254FrFromU256, [2052, 0], [0, 0]),
    (ContractCostType::Bn254FrToU256, [1133, 0], [312, 0]),
    (ContractCostType::Bn254FrAddSub, [74, 0], [0, 0]),
    (ContractCostType::Bn254FrMul, [332, 0], [0, 0]),
    (ContractCostType::Bn254FrPow, [755, 68_930], [0, 0]),
    (ContractCostType::Bn254FrInv, [33_151, 0], [0, 0]),
    (ContractCostType::Bn254G1Msm, [1_185_193, 41_568_084], [73_061, 229_779]),
    (ContractCostType::MlDsa44DecodeVerifyingKey, [849_110, 0], [24_656, 0]),
    (ContractCostType::MlDsa65DecodeVerifyingKey, [1_505_271, 0], [43_088, 0]),
    (ContractCostType::MlDsa87DecodeVerifyingKey, [2_625_760, 0], [73_808, 0]),
    (ContractCostType::MlDsa44DecodeSignature, [37_888, 0], [4104, 0]),
    (ContractCostType::MlDsa65DecodeSignature, [47_691, 0], [5128, 0]),
    (ContractCostType::MlDsa87DecodeSignature, [66_346, 0], [7176, 0]),
    (ContractCostType::VerifyMlDsa44Sig, [685_165, 6103], [0, 0]),
    (ContractCostType::VerifyMlDsa65Sig, [983_619, 6103], [0, 0]),
    (ContractCostType::VerifyMlDsa87Sig, [1_437_210, 6102], [0, 0]),
];

#[cfg(test)]
mod tests {
    use soroban_env_host::budget::Budget;

    use super::*;

    /// Charges one unit of work to a fresh default budget: the host's own view of what it costs.
    fn probe(kind: ContractCostType, input: Option<u64>) -> Option<(u64, u64)> {
        let budget = Budget::default();
        budget.charge(kind, input).ok()?;
        Some((budget.get_cpu_insns_consumed().ok()?, budget.get_mem_bytes_consumed().ok()?))
    }

    #[test]
    fn the_table_has_every_kind_of_work_in_order() {
        let kinds: Vec<_> = COSTS.iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(kinds, ContractCostType::variants());
    }

    #[test]
    fn the_table_is_what_the_host_charges() {
        let units = |terms: [i64; 2], input: i64| {
            let [constant, linear] = terms;
            let linear = linear.checked_mul(input).unwrap().checked_div(128).unwrap();
            u64::try_from(constant.checked_add(linear).unwrap()).unwrap()
        };
        for (kind, cpu, memory) in COSTS {
            // Constant kinds take no input; the dearest exceed the default budget with any but a small one.
            let inputs = if cpu[1] == 0 && memory[1] == 0 { &[0][..] } else { &[128, 1] };
            let charged = inputs.iter().find_map(|input| {
                let asked = (*input > 0).then(|| u64::try_from(*input).unwrap());
                Some((*input, probe(kind, asked)?))
            });
            let (input, charged) = charged.unwrap_or_else(|| panic!("{kind:?} cannot be probed"));
            assert_eq!(charged, (units(cpu, input), units(memory, input)), "{kind:?}");
        }
    }
}

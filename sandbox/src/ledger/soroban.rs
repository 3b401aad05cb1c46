//! The contract operations: invoke, extend, restore.
//!
//! Source: stellar-core's `InvokeHostFunctionOpFrame`, `ExtendFootprintTTLOpFrame` and `RestoreFootprintOpFrame`, as of
//! protocol 23 and later: live contract state costs no disk reads, and archived entries listed by the transaction are
//! restored on the way.

mod invoke;
pub(super) mod resource;
mod ttl;

use soroban_env_host::ModuleCache;
use stellar_xdr::{
    ContractEvent, DiagnosticEvent, OperationBody, OperationResult, OperationResultTr, ScVal,
    SorobanTransactionData,
};

use super::admission::Header;
use super::frame::Frame;
use super::network::Network;
use super::outcome::Failure;
use super::store::Working;

/// What a contract operation needs to know besides the state.
pub(super) struct Scene<'a> {
    pub(super) frame: &'a Frame,
    pub(super) data: &'a SorobanTransactionData,
    pub(super) network: &'a Network,
    pub(super) modules: &'a ModuleCache,
    pub(super) header: Header,
}

/// What a contract operation did, or why it failed.
#[derive(Default)]
pub(super) struct Effect {
    pub(super) events: Vec<ContractEvent>,
    pub(super) return_value: Option<ScVal>,
    pub(super) diagnostics: Vec<DiagnosticEvent>,
    /// What it used of the refundable fee, rent included, in stroops. Nothing when it failed.
    pub(super) refundable_fee: i64,
    /// The rent alone, in stroops.
    pub(super) rent_fee: i64,
}

/// Carries out the one operation of a contract transaction. What a failed one has changed, the caller undoes.
pub(super) fn apply(
    state: &mut Working,
    scene: &Scene<'_>,
    body: &OperationBody,
) -> (OperationResult, Effect) {
    let mut effect = Effect::default();
    let result = match body {
        OperationBody::InvokeHostFunction(op) => {
            OperationResultTr::InvokeHostFunction(invoke::apply(state, scene, op, &mut effect))
        }
        OperationBody::ExtendFootprintTtl(op) => {
            OperationResultTr::ExtendFootprintTtl(ttl::extend(state, scene, op, &mut effect))
        }
        OperationBody::RestoreFootprint(_) => {
            OperationResultTr::RestoreFootprint(ttl::restore(state, scene, &mut effect))
        }
        _ => return (OperationResult::OpNotSupported, effect),
    };
    (OperationResult::OpInner(result), effect)
}

/// Refuses what no state of the ledger could make valid.
pub(super) fn check(body: &OperationBody, data: &SorobanTransactionData) -> Result<(), Failure> {
    let failed = match body {
        OperationBody::InvokeHostFunction(op) => {
            invoke::check(op).map(OperationResultTr::InvokeHostFunction)
        }
        OperationBody::ExtendFootprintTtl(op) => {
            ttl::check_extend(op, data).map(OperationResultTr::ExtendFootprintTtl)
        }
        OperationBody::RestoreFootprint(_) => {
            ttl::check_restore(data).map(OperationResultTr::RestoreFootprint)
        }
        _ => return Err(OperationResult::OpNotSupported.into()),
    };
    failed.map_or(Ok(()), |failed| Err(OperationResult::OpInner(failed).into()))
}

//! The classic operations: what each asks of signers, when it is malformed, and which part carries it out.

mod asset;
mod options;
mod owned;
mod payment;

use stellar_xdr::{
    AccountId, BumpSequenceResult, ContractEvent, Operation, OperationBody, OperationResult,
    OperationResultTr,
};

pub(super) use self::asset::is_valid as is_valid_asset;
pub(super) use self::options::drop_signer;
use super::account;
use super::admission::Header;
use super::frame::Frame;
use super::network::Network;
use super::outcome::Failure;
use super::signature::Threshold;
use super::store::Working;

/// What an operation did.
pub(super) struct Done {
    pub(super) result: OperationResultTr,
    pub(super) events: Vec<ContractEvent>,
}

/// An operation with all that it needs to know.
pub(super) struct Act<'a> {
    pub(super) frame: &'a Frame,
    pub(super) network: &'a Network,
    pub(super) header: Header,
    pub(super) source: AccountId,
}

/// The weight that `operation` asks of its source's signers.
pub(super) fn threshold(operation: &Operation) -> Threshold {
    match &operation.body {
        OperationBody::AccountMerge(_) => Threshold::High,
        OperationBody::SetOptions(options) if options::touches_signers(options) => Threshold::High,
        OperationBody::BumpSequence(_)
        | OperationBody::ExtendFootprintTtl(_)
        | OperationBody::RestoreFootprint(_)
        | OperationBody::AllowTrust(_)
        | OperationBody::SetTrustLineFlags(_)
        | OperationBody::ClaimClaimableBalance(_)
        | OperationBody::Inflation => Threshold::Low,
        _ => Threshold::Medium,
    }
}

/// Refuses what no state of the ledger could make valid.
pub(super) fn check(operation: &Operation, source: &AccountId) -> Result<(), Failure> {
    match &operation.body {
        OperationBody::CreateAccount(op) => payment::check_create(op, source),
        OperationBody::Payment(op) => payment::check(op),
        OperationBody::AccountMerge(to) => owned::check_merge(to, source),
        OperationBody::ChangeTrust(op) => owned::check_trust(op, source),
        OperationBody::ManageData(op) => owned::check_data(op),
        OperationBody::SetOptions(op) => options::check(op, source),
        OperationBody::BumpSequence(op) if op.bump_to.0 < 0 => {
            Err(inner(OperationResultTr::BumpSequence(BumpSequenceResult::BadSeq)))
        }
        OperationBody::BumpSequence(_) => Ok(()),
        _ => Err(OperationResult::OpNotSupported.into()),
    }
}

/// Carries `operation` out on `state`; what a failed one has changed, the caller undoes.
pub(super) fn apply(
    state: &mut Working,
    operation: &Operation,
    act: &Act<'_>,
) -> Result<Done, Failure> {
    check(operation, &act.source)?;
    let source = account::load(state, &act.source)
        .ok_or_else(|| Failure::from(OperationResult::OpNoAccount))?
        .clone();
    match &operation.body {
        OperationBody::CreateAccount(op) => payment::create(state, op, source, act),
        OperationBody::Payment(op) => payment::pay(state, op, act),
        OperationBody::AccountMerge(to) => owned::merge(state, to, source, act),
        OperationBody::ChangeTrust(op) => owned::trust(state, op, source),
        OperationBody::ManageData(op) => owned::data(state, op, source),
        OperationBody::SetOptions(op) => options::set(state, op, source),
        OperationBody::BumpSequence(op) => {
            if op.bump_to.0 > source.seq_num.0 {
                let mut source = source;
                let Header { sequence, close_time } = act.header;
                account::spend_sequence(&mut source, op.bump_to.0, sequence, close_time);
                account::store(state, source);
            }
            Ok(silent(OperationResultTr::BumpSequence(BumpSequenceResult::Success)))
        }
        _ => Err(OperationResult::OpNotSupported.into()),
    }
}

/// An operation that moved nothing.
fn silent(result: OperationResultTr) -> Done {
    Done { result, events: Vec::new() }
}

fn inner(result: OperationResultTr) -> Failure {
    OperationResult::OpInner(result).into()
}

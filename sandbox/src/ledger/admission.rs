//! Whether a transaction is valid: its shape, its time, its fee, its sequence number, its signatures.
//!
//! Source: stellar-core's `TransactionFrame::checkValid` and `FeeBumpTransactionFrame::checkValid`, in their order, since
//! the first reason found is the one that a client sees. Soroban transactions are held to the network's limits here,
//! before they cost anything.

use stellar_xdr::{
    AccountEntry, AccountId, DiagnosticEvent, Operation, OperationResult, SignerKey,
    TransactionExt, TransactionResult,
};

use super::frame::{FeeBump, Frame, is_soroban};
use super::network::Network;
use super::outcome::{Refusal, Verdict, untried};
use super::signature::{Signatures, Threshold};
use super::store::Read;
use super::{account, classic, soroban};

/// The ledger that a transaction would be in.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) sequence: u32,
    /// Unix seconds.
    pub(super) close_time: u64,
}

/// Why a transaction is not admitted.
#[derive(Debug)]
pub(super) struct Rejection {
    pub(super) result: TransactionResult,
    pub(super) diagnostics: Vec<DiagnosticEvent>,
}

/// How far a transaction got before it was refused: from where on its sequence number is spent all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Progress {
    /// Its sequence number stays.
    Nothing,
    /// Its sequence number is right, and spent.
    Sequence,
}

/// A refusal of the transaction itself, its fee bump aside.
#[derive(Debug)]
pub(super) struct Refused {
    pub(super) progress: Progress,
    pub(super) refusal: Refusal,
    pub(super) diagnostics: Vec<DiagnosticEvent>,
}

/// Decides whether `frame` may wait for the ledger `header`, given the state of the one before.
///
/// # Errors
/// [`Rejection`] with the result that stellar-core would answer.
pub(super) fn validate(
    frame: &Frame,
    state: &impl Read,
    header: Header,
    network: &Network,
    trusted: &[AccountId],
) -> Result<(), Rejection> {
    if !has_sound_fees(frame) {
        return Err(plain(Refusal::Malformed.into_result(0)));
    }
    let fee = frame.fee_to_quote();
    if let Some(bump) = &frame.bump {
        check_bump(frame, bump, state, trusted)?;
    }
    let mut signatures = Signatures::new(&frame.hash, &frame.signatures, trusted);
    let stage = Stage::Submitting;
    common(frame, state, header, network, &mut signatures, stage).map_err(|refused| Rejection {
        result: Verdict::Refused(refused.refusal).into_result(frame, fee),
        diagnostics: refused.diagnostics,
    })?;
    check_operations(frame, state, &mut signatures)
        .map_err(|operations| plain(Verdict::Failed(operations).into_result(frame, fee)))?;
    if !signatures.all_used() {
        return Err(plain(Verdict::Refused(Refusal::BadAuthExtra).into_result(frame, fee)));
    }
    Ok(())
}

/// Whether the preconditions of time, which alone can lapse while a transaction waits, hold in `header`.
pub(super) fn is_timely(frame: &Frame, header: Header) -> bool {
    !is_too_early(frame, header) && !is_too_late(frame, header)
}

/// When a transaction is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// On the way in: its fee must still be at hand.
    Submitting,
    /// When it is applied: its fee is charged already.
    Applying,
}

/// The checks that are made both on the way in and when the transaction is applied.
pub(super) fn common(
    frame: &Frame,
    state: &impl Read,
    header: Header,
    network: &Network,
    signatures: &mut Signatures<'_>,
    stage: Stage,
) -> Result<(), Refused> {
    let refuse = |progress, refusal| Err(Refused { progress, refusal, diagnostics: Vec::new() });
    let pays_itself = frame.bump.is_none();
    if let Err((refusal, diagnostics)) = check_shape(frame, network) {
        return Err(Refused { progress: Progress::Nothing, refusal, diagnostics });
    }
    if is_too_early(frame, header) {
        return refuse(Progress::Nothing, Refusal::TooEarly);
    }
    if is_too_late(frame, header) {
        return refuse(Progress::Nothing, Refusal::TooLate);
    }
    if pays_itself && frame.inclusion_fee() < frame.min_inclusion_fee() {
        return refuse(Progress::Nothing, Refusal::InsufficientFee);
    }
    let Some(source) = account::load(state, &frame.source()) else {
        return refuse(Progress::Nothing, Refusal::NoAccount);
    };
    if is_bad_sequence(frame, source, header) {
        return refuse(Progress::Nothing, Refusal::BadSeq);
    }
    if is_too_early_for(frame, source, header) {
        return refuse(Progress::Sequence, Refusal::BadMinSeqAgeOrGap);
    }
    let extra: &[SignerKey] = frame.conditions().map_or(&[], |c| c.extra_signers.as_slice());
    if !signatures.authorize(source, Threshold::Low) || !signatures.authorize_extra(extra) {
        return refuse(Progress::Sequence, Refusal::BadAuth);
    }
    let due = if stage == Stage::Applying { 0 } else { frame.full_fee() };
    if pays_itself && account::available(source) < due {
        return refuse(Progress::Sequence, Refusal::InsufficientBalance);
    }
    Ok(())
}

/// Whether every operation has its signatures, by the sources as they are now; the results, if one has not.
pub(super) fn check_authority(
    frame: &Frame,
    state: &impl Read,
    signatures: &mut Signatures<'_>,
) -> Result<(), Vec<OperationResult>> {
    let mut results = Vec::new();
    let mut all = true;
    for operation in frame.tx.operations.iter() {
        let authorized = has_authority(frame, operation, state, signatures);
        all &= authorized;
        results.push(if authorized { untried(operation) } else { OperationResult::OpBadAuth });
    }
    if all { Ok(()) } else { Err(results) }
}

/// Whether the signers of an operation's source signed with the weight that it asks.
fn has_authority(
    frame: &Frame,
    operation: &Operation,
    state: &impl Read,
    signatures: &mut Signatures<'_>,
) -> bool {
    let source = frame.operation_source(operation);
    match account::load(state, &source) {
        Some(account) => signatures.authorize(account, classic::threshold(operation)),
        None => signatures.authorize_missing(&source),
    }
}

/// Checks operations until one is not valid; the results, with that one's reason.
fn check_operations(
    frame: &Frame,
    state: &impl Read,
    signatures: &mut Signatures<'_>,
) -> Result<(), Vec<OperationResult>> {
    for (place, operation) in frame.tx.operations.iter().enumerate() {
        let authorized = has_authority(frame, operation, state, signatures);
        let checked = if !authorized {
            Err(OperationResult::OpBadAuth.into())
        } else if let (true, Some(data)) = (is_soroban(operation), frame.soroban_data()) {
            soroban::check(&operation.body, data)
        } else {
            classic::check(operation, &frame.operation_source(operation))
        };
        if let Err(failed) = checked {
            let mut results: Vec<_> = frame.tx.operations.iter().map(untried).collect();
            if let Some(result) = results.get_mut(place) {
                *result = *failed;
            }
            return Err(results);
        }
    }
    Ok(())
}

/// The checks of a fee bump's own part: its fee, its payer, its signatures.
fn check_bump(
    frame: &Frame,
    bump: &FeeBump,
    state: &impl Read,
    trusted: &[AccountId],
) -> Result<(), Rejection> {
    let fee = frame.fee_to_quote();
    let refuse = |refusal: Refusal| Err(plain(refusal.into_result(fee)));
    if frame.inclusion_fee() < frame.min_inclusion_fee() {
        return refuse(Refusal::InsufficientFee);
    }
    // The bump must offer at least as much for each operation as the transaction in it does.
    let inner_min = i128::from(frame.inner_min_inclusion_fee());
    let inner_offer = i128::from(frame.inner_inclusion_fee());
    let offered = i128::from(frame.inclusion_fee()).saturating_mul(inner_min);
    let needed = inner_offer.saturating_mul(i128::from(frame.min_inclusion_fee()));
    if inner_offer >= 0 && offered < needed {
        let rounded_up = needed.saturating_add(inner_min.saturating_sub(1));
        let quote = rounded_up.checked_div(inner_min).and_then(|fee| i64::try_from(fee).ok());
        return Err(plain(Refusal::InsufficientFee.into_result(quote.unwrap_or(i64::MAX))));
    }
    let Some(payer) = account::load(state, &bump.source) else {
        return refuse(Refusal::NoAccount);
    };
    let mut signatures = Signatures::new(&bump.hash, &bump.signatures, trusted);
    if !signatures.authorize(payer, Threshold::Low) {
        return refuse(Refusal::BadAuth);
    }
    if account::available(payer) < frame.full_fee() {
        return refuse(Refusal::InsufficientBalance);
    }
    if !signatures.all_used() {
        return refuse(Refusal::BadAuthExtra);
    }
    Ok(())
}

/// Whether the fees are such that they can be reckoned with at all.
fn has_sound_fees(frame: &Frame) -> bool {
    let declared = match frame.soroban_data() {
        Some(data) => (0..=MAX_RESOURCE_FEE).contains(&data.resource_fee),
        None => !frame.is_soroban(),
    };
    declared && frame.full_fee() >= 0
}

fn check_shape(frame: &Frame, network: &Network) -> Result<(), (Refusal, Vec<DiagnosticEvent>)> {
    let refuse = |refusal| Err((refusal, Vec::new()));
    if let Some(conditions) = frame.conditions() {
        let signers = conditions.extra_signers.as_slice();
        let twice = matches!(signers, [first, second] if first == second);
        let empty = signers.iter().any(|signer| {
            matches!(signer, SignerKey::Ed25519SignedPayload(signed) if signed.payload.is_empty())
        });
        if twice || empty {
            return refuse(Refusal::Malformed);
        }
    }
    let operations = frame.tx.operations.as_slice();
    if operations.is_empty() {
        return refuse(Refusal::MissingOperation);
    }
    let contracts = operations.iter().filter(|operation| is_soroban(operation)).count();
    if contracts > 0 && operations.len() != 1 {
        return refuse(Refusal::Malformed);
    }
    match (contracts > 0, &frame.tx.ext) {
        (true, TransactionExt::V1(data)) => soroban::resource::check(frame, data, network)
            .map_err(|diagnostic| (Refusal::SorobanInvalid, vec![*diagnostic])),
        (false, TransactionExt::V0) => Ok(()),
        _ => refuse(Refusal::Malformed),
    }
}

fn is_too_early(frame: &Frame, header: Header) -> bool {
    frame.time_bounds().is_some_and(|bounds| bounds.min_time.0 > header.close_time)
        || frame.ledger_bounds().is_some_and(|bounds| bounds.min_ledger > header.sequence)
}

fn is_too_late(frame: &Frame, header: Header) -> bool {
    let by_time = frame
        .time_bounds()
        .is_some_and(|bounds| bounds.max_time.0 != 0 && bounds.max_time.0 < header.close_time);
    let by_ledger = frame
        .ledger_bounds()
        .is_some_and(|bounds| bounds.max_ledger != 0 && bounds.max_ledger <= header.sequence);
    by_time || by_ledger
}

fn is_bad_sequence(frame: &Frame, source: &AccountEntry, header: Header) -> bool {
    let wanted = frame.tx.seq_num.0;
    let current = source.seq_num.0;
    if wanted == account::starting_sequence(header.sequence) {
        return true;
    }
    let least = frame.conditions().and_then(|conditions| conditions.min_seq_num.as_ref());
    match least {
        Some(least) => current < least.0 || current >= wanted,
        None => current.checked_add(1) != Some(wanted),
    }
}

/// Whether the account has spent a sequence number too recently for the transaction's preconditions.
fn is_too_early_for(frame: &Frame, source: &AccountEntry, header: Header) -> bool {
    let Some(conditions) = frame.conditions() else { return false };
    let (ledger, time) = account::sequence_mark(source);
    let by_time =
        header.close_time.checked_sub(conditions.min_seq_age.0).is_none_or(|latest| latest < time);
    let by_ledger = header
        .sequence
        .checked_sub(conditions.min_seq_ledger_gap)
        .is_none_or(|latest| latest < ledger);
    by_time || by_ledger
}

fn plain(result: TransactionResult) -> Rejection {
    Rejection { result, diagnostics: Vec::new() }
}

/// More than this no transaction may declare, in stroops.
const MAX_RESOURCE_FEE: i64 = 1 << 50;

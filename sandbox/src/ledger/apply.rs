//! Applying a ledger's transactions: fees first, then one after the other, then refunds.
//!
//! Source: stellar-core's order since protocol 23: all fees are charged before anything runs, classic transactions run
//! before contracts, and what contracts did not use of their fees goes back when all have run.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use soroban_env_host::ModuleCache;
use stellar_xdr::{
    AccountId, ContractEvent, ExtendFootprintTtlResult, InvokeHostFunctionResult,
    LedgerEntryChanges, OperationBody, OperationMetaV2, OperationResult, OperationResultTr,
    RestoreFootprintResult, SignerKey, SorobanTransactionMetaExt, SorobanTransactionMetaExtV1,
    SorobanTransactionMetaV2, TransactionEvent, TransactionEventStage, TransactionMeta,
    TransactionMetaV4, Uint256,
};

use super::admission::{Header, Progress, Stage, check_authority, common};
use super::classic::{self, Act, drop_signer};
use super::frame::{Frame, is_soroban};
use super::network::Network;
use super::outcome::{Refusal, Verdict};
use super::queue::Waiting;
use super::record::{ApplyFault, TransactionRecord, TransactionStatus};
use super::signature::Signatures;
use super::soroban::{self, Effect, Scene};
use super::store::{Entries, Snapshot, Working};
use super::xdr::{count, list};
use super::{account, event};

/// What transactions are applied with.
pub(super) struct Surroundings<'a> {
    pub(super) network: &'a Network,
    pub(super) modules: &'a ModuleCache,
    pub(super) trusted: &'a [AccountId],
    pub(super) header: Header,
}

/// What the transactions of a ledger came to.
pub(super) struct Applied {
    pub(super) entries: Entries,
    pub(super) fee_pool: i64,
    pub(super) records: Vec<TransactionRecord>,
}

impl Applied {
    /// No transactions over `head`.
    pub(super) fn nothing(head: &Snapshot) -> Self {
        let fee_pool = head.ledger.header.fee_pool;
        Self { entries: head.entries.clone(), fee_pool, records: Vec::new() }
    }
}

/// Applies `waiting` over `head`, contracts last, otherwise in the order given.
pub(super) fn apply(
    head: &Snapshot,
    waiting: &[Arc<Waiting>],
    surroundings: &Surroundings<'_>,
) -> Applied {
    let (contracts, classic): (Vec<_>, Vec<_>) =
        waiting.iter().partition(|waiting| waiting.frame.is_soroban());
    let order: Vec<_> = classic.into_iter().chain(contracts).collect();
    let state = Working::new(head.entries.clone(), surroundings.header.sequence);
    let mut run = Run { state, fee_pool: head.ledger.header.fee_pool, surroundings };
    let charged: Vec<_> = order.iter().map(|waiting| run.charge(&waiting.frame)).collect();
    let mut done: Vec<_> =
        order.iter().zip(charged).map(|(waiting, fee)| run.transaction(waiting, fee)).collect();
    for (waiting, done) in order.iter().zip(&mut done) {
        run.refund(&waiting.frame, done);
    }
    let records = order
        .iter()
        .zip(done)
        .enumerate()
        .map(|(place, (waiting, done))| {
            record(&waiting.frame, done, count(place).saturating_add(1), surroundings.header)
        })
        .collect();
    Applied { entries: run.state.into_entries(), fee_pool: run.fee_pool, records }
}

struct Run<'a> {
    state: Working,
    fee_pool: i64,
    surroundings: &'a Surroundings<'a>,
}

/// A transaction that has run.
struct Done {
    verdict: Verdict,
    fee_charged: i64,
    changes_before: LedgerEntryChanges,
    operations: Vec<OperationMetaV2>,
    events: Vec<TransactionEvent>,
    /// Of a contract transaction: what it did and what it cost.
    contract: Option<Contract>,
}

struct Contract {
    effect: Effect,
    non_refundable: i64,
    refund: i64,
}

impl Run<'_> {
    /// Takes the fee, or what there is of it.
    fn charge(&mut self, frame: &Frame) -> i64 {
        let Some(payer) = account::load(&self.state, &frame.fee_source()) else { return 0 };
        let mut payer = payer.clone();
        let fee = frame.fee_to_charge().min(payer.balance);
        payer.balance = payer.balance.saturating_sub(fee);
        account::store(&mut self.state, payer);
        self.fee_pool = self.fee_pool.saturating_add(fee);
        fee
    }

    fn transaction(&mut self, waiting: &Waiting, fee_charged: i64) -> Done {
        let frame = &waiting.frame;
        let network_id = &self.surroundings.network.id;
        let stage = TransactionEventStage::BeforeAllTxs;
        let paid = event::fee(network_id, &frame.fee_source(), fee_charged, stage);
        self.state.begin();
        let ready = self.prepare(waiting);
        let changes_before = self.state.commit();
        let mut done = Done {
            verdict: Verdict::Success(Vec::new()),
            fee_charged,
            changes_before,
            operations: Vec::new(),
            events: vec![paid],
            contract: self.contract(frame),
        };
        self.state.begin();
        done.verdict = match ready {
            Err(verdict) => verdict,
            Ok(()) if waiting.fault == Some(ApplyFault::Fail) => Verdict::Failed(faulted(frame)),
            Ok(()) => self.operations(frame, &mut done),
        };
        if matches!(done.verdict, Verdict::Success(_)) {
            self.state.merge();
        } else {
            self.state.rollback();
            done.operations.clear();
        }
        done
    }

    /// Checks the transaction once more, spends its sequence number and its one-time signers.
    fn prepare(&mut self, waiting: &Waiting) -> Result<(), Verdict> {
        let frame = &waiting.frame;
        let Surroundings { network, header, .. } = *self.surroundings;
        let trusted = if waiting.trusted { self.surroundings.trusted } else { &[] };
        let mut signatures = Signatures::new(&frame.hash, &frame.signatures, trusted);
        let checked = common(frame, &self.state, header, network, &mut signatures, Stage::Applying);
        let spends = checked
            .as_ref()
            .map_or_else(|refused| refused.progress == Progress::Sequence, |()| true);
        if spends && let Some(source) = account::load(&self.state, &frame.source()) {
            let mut source = source.clone();
            let Header { sequence, close_time } = header;
            account::spend_sequence(&mut source, frame.tx.seq_num.0, sequence, close_time);
            account::store(&mut self.state, source);
        }
        let authorized = match checked {
            Err(refused) => Err(Verdict::Refused(refused.refusal)),
            Ok(()) => match check_authority(frame, &self.state, &mut signatures) {
                Err(operations) => Err(Verdict::Failed(operations)),
                Ok(()) if !signatures.all_used() => Err(Verdict::Refused(Refusal::BadAuthExtra)),
                Ok(()) => Ok(()),
            },
        };
        self.spend_one_time_signers(frame);
        authorized
    }

    fn spend_one_time_signers(&mut self, frame: &Frame) {
        let inner = SignerKey::PreAuthTx(Uint256(frame.hash.0));
        let mut accounts = vec![(frame.source(), inner.clone())];
        for operation in frame.tx.operations.iter() {
            accounts.push((frame.operation_source(operation), inner.clone()));
        }
        if let Some(bump) = &frame.bump {
            accounts.push((bump.source.clone(), SignerKey::PreAuthTx(Uint256(bump.hash.0))));
        }
        for (id, key) in accounts {
            let Some(account) = account::load(&self.state, &id) else { continue };
            if account.signers.is_empty() {
                continue;
            }
            let mut account = account.clone();
            if drop_signer(&mut account, &key) {
                account::store(&mut self.state, account);
            }
        }
    }

    /// Runs the operations one after the other, also after one has failed: each has its own result.
    fn operations(&mut self, frame: &Frame, done: &mut Done) -> Verdict {
        let mut results = Vec::new();
        let mut success = true;
        for operation in frame.tx.operations.iter() {
            self.state.begin();
            let outcome = if is_soroban(operation) {
                self.contract_operation(frame, &operation.body, done)
            } else {
                let act = Act {
                    frame,
                    network: self.surroundings.network,
                    header: self.surroundings.header,
                    source: frame.operation_source(operation),
                };
                let outcome = classic::apply(&mut self.state, operation, &act);
                Ok(match outcome {
                    Ok(done) => (OperationResult::OpInner(done.result), done.events, true),
                    Err(failed) => (*failed, Vec::new(), false),
                })
            };
            let (result, events, applied) = match outcome {
                Ok(outcome) => outcome,
                Err(Broken) => {
                    self.state.rollback();
                    return Verdict::Refused(Refusal::InternalError);
                }
            };
            if applied {
                let changes = self.state.commit();
                done.operations.push(OperationMetaV2 {
                    ext: stellar_xdr::ExtensionPoint::V0,
                    changes,
                    events: list(events),
                });
            } else {
                self.state.rollback();
            }
            success &= applied;
            results.push(result);
        }
        if success { Verdict::Success(results) } else { Verdict::Failed(results) }
    }

    fn contract_operation(
        &mut self,
        frame: &Frame,
        body: &OperationBody,
        done: &mut Done,
    ) -> Result<(OperationResult, Vec<ContractEvent>, bool), Broken> {
        let Some(data) = frame.soroban_data() else { return Err(Broken) };
        let scene = Scene {
            frame,
            data,
            network: self.surroundings.network,
            modules: self.surroundings.modules,
            header: self.surroundings.header,
        };
        let state = &mut self.state;
        // The host is not ours: whatever it panics on costs this transaction and no other.
        let run = catch_unwind(AssertUnwindSafe(|| soroban::apply(state, &scene, body)));
        let (result, effect) = run.map_err(|_| Broken)?;
        let succeeded = is_success(&result);
        let events = effect.events.clone();
        if let Some(contract) = &mut done.contract {
            contract.refund = contract.refund.saturating_sub(effect.refundable_fee);
            contract.effect = effect;
        }
        Ok((result, events, succeeded))
    }

    /// What a contract transaction has paid, before it has used any of what can come back.
    fn contract(&self, frame: &Frame) -> Option<Contract> {
        if !frame.is_soroban() {
            return None;
        }
        let data = frame.soroban_data()?;
        let (non_refundable, _) =
            soroban::resource::fees(frame, data, self.surroundings.network, 0);
        let refund = data.resource_fee.saturating_sub(non_refundable).max(0);
        Some(Contract { effect: Effect::default(), non_refundable, refund })
    }

    /// Gives back what a contract transaction did not use of its fee, unless the payer is gone.
    fn refund(&mut self, frame: &Frame, done: &mut Done) {
        let Some(refund) = done.contract.as_ref().map(|contract| contract.refund) else { return };
        let refund = refund.min(done.fee_charged);
        let payer = frame.fee_source();
        let Some(account) = account::load(&self.state, &payer) else { return };
        let mut account = account.clone();
        if refund <= 0 || !account::add_balance(&mut account, refund) {
            return;
        }
        account::store(&mut self.state, account);
        self.fee_pool = self.fee_pool.saturating_sub(refund);
        done.fee_charged = done.fee_charged.saturating_sub(refund);
        let stage = TransactionEventStage::AfterAllTxs;
        let network_id = &self.surroundings.network.id;
        done.events.push(event::fee(network_id, &payer, refund.saturating_neg(), stage));
    }
}

/// The host panicked.
struct Broken;

fn is_success(result: &OperationResult) -> bool {
    matches!(
        result,
        OperationResult::OpInner(
            OperationResultTr::InvokeHostFunction(InvokeHostFunctionResult::Success(_))
                | OperationResultTr::ExtendFootprintTtl(ExtendFootprintTtlResult::Success)
                | OperationResultTr::RestoreFootprint(RestoreFootprintResult::Success)
        )
    )
}

/// The results of a transaction that fails because it was told to.
fn faulted(frame: &Frame) -> Vec<OperationResult> {
    frame
        .tx
        .operations
        .iter()
        .map(|operation| match &operation.body {
            OperationBody::InvokeHostFunction(_) => OperationResult::OpInner(
                OperationResultTr::InvokeHostFunction(InvokeHostFunctionResult::Trapped),
            ),
            _ => OperationResult::OpExceededWorkLimit,
        })
        .collect()
}

fn record(frame: &Frame, done: Done, application_order: u32, header: Header) -> TransactionRecord {
    let success = matches!(done.verdict, Verdict::Success(_));
    let contract_events = done.operations.iter().map(|meta| meta.events.to_vec()).collect();
    let (soroban_meta, diagnostics) = match done.contract {
        None => (None, Vec::new()),
        Some(Contract { effect, non_refundable, .. }) => {
            let fees = SorobanTransactionMetaExtV1 {
                ext: stellar_xdr::ExtensionPoint::V0,
                total_non_refundable_resource_fee_charged: non_refundable,
                total_refundable_resource_fee_charged: effect.refundable_fee,
                rent_fee_charged: effect.rent_fee,
            };
            let meta = SorobanTransactionMetaV2 {
                ext: SorobanTransactionMetaExt::V1(fees),
                return_value: effect.return_value,
            };
            (Some(meta), effect.diagnostics)
        }
    };
    let meta = TransactionMeta::V4(TransactionMetaV4 {
        ext: stellar_xdr::ExtensionPoint::V0,
        tx_changes_before: done.changes_before,
        operations: list(done.operations),
        tx_changes_after: LedgerEntryChanges::default(),
        soroban_meta,
        events: list(done.events.clone()),
        diagnostic_events: list(diagnostics.clone()),
    });
    TransactionRecord {
        status: if success { TransactionStatus::Success } else { TransactionStatus::Failed },
        hash: frame.full_hash().clone(),
        inner_hash: frame.bump.as_ref().map(|_| frame.hash.clone()),
        ledger: header.sequence,
        close_time: header.close_time,
        application_order,
        envelope: frame.envelope.clone(),
        result: done.verdict.into_result(frame, done.fee_charged),
        meta,
        diagnostics,
        transaction_events: done.events,
        contract_events,
    }
}

//! Running a contract operation against a snapshot, to learn its footprint, its cost and its result.
//!
//! Source: stellar-rpc's `simulateTransaction` and its preflight library.

use std::rc::Rc;

use soroban_env_host::HostError;
use soroban_env_host::e2e_invoke::RecordingInvocationAuthMode;
use soroban_env_host::storage::{EntryWithLiveUntil, SnapshotSource};
use soroban_simulation::AutoRestoringSnapshotSource;
use soroban_simulation::simulation::{
    SimulationAdjustmentConfig, simulate_extend_ttl_op, simulate_invoke_host_function_op,
    simulate_restore_op,
};
use stellar_xdr::{
    DiagnosticEvent, ExtendFootprintTtlOp, InvokeHostFunctionOp, LedgerEntry, LedgerFootprint,
    LedgerKey, OperationBody, SorobanTransactionData, TransactionEnvelope,
};

use super::frame::Frame;
use super::host::on_big_stack;
use super::network::Network;
use super::record::{
    AuthMode, RestorePreamble, SimulateOptions, Simulation, SimulationFailure, StateChange,
};
use super::store::{Entries, Snapshot};

/// Simulates the one operation of `envelope` on `snapshot`.
///
/// # Errors
/// [`SimulationFailure`] when it is not one contract operation, or when the host refuses it.
pub(super) fn simulate(
    snapshot: &Snapshot,
    envelope: &TransactionEnvelope,
    options: SimulateOptions,
    network: &Network,
) -> Result<Simulation, SimulationFailure> {
    let frame = Frame::new(envelope.clone(), &network.id);
    let run = Run { snapshot, frame: &frame, options, network };
    on_big_stack(|| run.simulate()).unwrap_or_else(|broken| Err(run.failure(broken.to_string())))
}

#[derive(Clone, Copy)]
struct Run<'a> {
    snapshot: &'a Snapshot,
    frame: &'a Frame,
    options: SimulateOptions,
    network: &'a Network,
}

impl Run<'_> {
    fn simulate(self) -> Result<Simulation, SimulationFailure> {
        let [operation] = self.frame.tx.operations.as_slice() else {
            return Err(self.failure("Transaction contains more than one operation".to_owned()));
        };
        match &operation.body {
            OperationBody::InvokeHostFunction(op) => self.invoke(op),
            OperationBody::ExtendFootprintTtl(op) => self.extend(op),
            OperationBody::RestoreFootprint(_) => self.restore(),
            other => Err(self.failure(format!(
                "Transaction contains unsupported operation type: {}",
                other.name()
            ))),
        }
    }

    fn invoke(self, operation: &InvokeHostFunctionOp) -> Result<Simulation, SimulationFailure> {
        let source = self
            .frame
            .tx
            .operations
            .first()
            .map_or_else(|| self.frame.source(), |op| self.frame.operation_source(op));
        let mut adjustment = SimulationAdjustmentConfig::default_adjustment();
        let leeway = u32::try_from(self.options.instruction_leeway).unwrap_or(u32::MAX);
        let least = &mut adjustment.instructions.additive_factor;
        *least = leeway.max(*least);
        let found = simulate_invoke_host_function_op(
            Rc::new(View(self.snapshot.entries.clone())),
            &self.network.config,
            &adjustment,
            &self.ledger_info(),
            operation.host_function.clone(),
            self.auth_mode(operation)?,
            &source,
            self.frame.hash.0,
            true,
        )
        .map_err(|error| self.failure(format!("{error:?}")))?;
        let events = found.diagnostic_events;
        let result = match found.invoke_result {
            Ok(value) => value,
            Err(error) => return Err(self.failed_with(format!("{error:?}"), events)),
        };
        let Some(transaction_data) = found.transaction_data else {
            return Err(self.failed_with("the host gave no resources".to_owned(), events));
        };
        let state_changes = found
            .modified_entries
            .into_iter()
            .filter_map(|diff| state_change(diff.state_before, diff.state_after))
            .collect();
        Ok(Simulation {
            auth: found.auth,
            result: Some(result),
            events,
            state_changes,
            ..self.found(transaction_data)
        })
    }

    fn extend(self, operation: &ExtendFootprintTtlOp) -> Result<Simulation, SimulationFailure> {
        let footprint = self.footprint()?;
        let info = self.ledger_info();
        let adjustment = SimulationAdjustmentConfig::default_adjustment();
        let view = Rc::new(View(self.snapshot.entries.clone()));
        let restoring = AutoRestoringSnapshotSource::new(view, &info)
            .map_err(|error| self.failure(format!("{error:?}")))?;
        let found = simulate_extend_ttl_op(
            &restoring,
            &self.network.config,
            &adjustment,
            &info,
            footprint.read_only.as_slice(),
            operation.extend_to,
        )
        .map_err(|error| self.failure(format!("{error:?}")))?;
        let preamble = restoring
            .simulate_restore_keys_op(&self.network.config, &adjustment, &info)
            .map_err(|error| self.failure(format!("{error:?}")))?;
        Ok(Simulation {
            restore_preamble: preamble.map(|restore| RestorePreamble {
                min_resource_fee: restore.transaction_data.resource_fee,
                transaction_data: restore.transaction_data,
            }),
            ..self.found(found.transaction_data)
        })
    }

    fn restore(self) -> Result<Simulation, SimulationFailure> {
        let footprint = self.footprint()?;
        let found = simulate_restore_op(
            &View(self.snapshot.entries.clone()),
            &self.network.config,
            &SimulationAdjustmentConfig::default_adjustment(),
            &self.ledger_info(),
            footprint.read_write.as_slice(),
        )
        .map_err(|error| self.failure(format!("{error:?}")))?;
        Ok(self.found(found.transaction_data))
    }

    fn auth_mode(
        self,
        operation: &InvokeHostFunctionOp,
    ) -> Result<RecordingInvocationAuthMode, SimulationFailure> {
        let given = !operation.auth.is_empty();
        let default = if given { AuthMode::Enforce } else { AuthMode::Record };
        let record = |mode, disable_non_root| {
            if given {
                let message = format!("cannot set authMode to '{mode}' with an auth footprint");
                return Err(self.failure(message));
            }
            let use_address_v2 = self.options.use_upgraded_auth;
            Ok(RecordingInvocationAuthMode::recording(disable_non_root, use_address_v2))
        };
        match self.options.auth_mode.unwrap_or(default) {
            AuthMode::Enforce => {
                Ok(RecordingInvocationAuthMode::Enforcing(operation.auth.to_vec()))
            }
            AuthMode::Record => record("record", true),
            AuthMode::RecordAllowNonroot => record("record_allow_nonroot", false),
        }
    }

    fn footprint(&self) -> Result<&LedgerFootprint, SimulationFailure> {
        self.frame.soroban_data().map(|data| &data.resources.footprint).ok_or_else(|| {
            self.failure(
                "To perform a SimulateTransaction for ExtendFootprintTtl or RestoreFootprint operations, \
                 SorobanTransactionData must be provided"
                    .to_owned(),
            )
        })
    }

    fn ledger_info(&self) -> soroban_env_host::LedgerInfo {
        self.network.ledger_info(self.snapshot.ledger.sequence, self.snapshot.ledger.close_time)
    }

    fn found(&self, transaction_data: SorobanTransactionData) -> Simulation {
        Simulation {
            ledger: self.snapshot.ledger.sequence,
            min_resource_fee: transaction_data.resource_fee,
            transaction_data,
            auth: Vec::new(),
            result: None,
            events: Vec::new(),
            state_changes: Vec::new(),
            restore_preamble: None,
        }
    }

    fn failure(&self, message: String) -> SimulationFailure {
        self.failed_with(message, Vec::new())
    }

    fn failed_with(&self, message: String, events: Vec<DiagnosticEvent>) -> SimulationFailure {
        SimulationFailure { ledger: self.snapshot.ledger.sequence, message, events }
    }
}

fn state_change(before: Option<LedgerEntry>, after: Option<LedgerEntry>) -> Option<StateChange> {
    let key = before.as_ref().or(after.as_ref())?.to_key();
    Some(StateChange { key, before, after })
}

/// The snapshot as the host reads it: archived entries as they were.
struct View(Entries);

impl SnapshotSource for View {
    fn get(&self, key: &Rc<LedgerKey>) -> Result<Option<EntryWithLiveUntil>, HostError> {
        Ok(self
            .0
            .get(key.as_ref())
            .map(|stored| (Rc::new(stored.entry.as_ref().clone()), stored.live_until)))
    }
}

//! What servers do: take writes, follow, die, and become the primary.

use std::sync::Arc;

use tollgate::store::channel::Account;

use super::{
    Fleet,
    state::{Gateway, Record, Role, Stage, State},
};
use crate::Mutant;

impl Fleet {
    /// A write is carried out if what it expects still stands, and whoever waits for it is told.
    pub(super) fn arrive(&self, state: &mut State, place: usize) {
        let swap = state.wire.remove(place);
        let by = &mut state.gateways[swap.by];
        let is_awaited = |stage: Stage| stage == Stage::Sent(swap.revision);
        let Gateway { task, journal, .. } = by;
        let task = task.as_mut().filter(|task| is_awaited(task.stage));
        let node = &mut state.nodes[swap.to];
        if node.epoch().is_none() {
            // The connection has ended.
            if let Some(task) = task {
                task.stage = Stage::Doubt(swap.revision);
            }
            return;
        }
        let is_expected = node.record.revision == swap.expected;
        if is_expected || self.is(Mutant::CheckThenSet) {
            node.offset += 1;
            let lineage = node.record.lineage | swap.revision.bit();
            node.record = Arc::new(Record { lineage, ..Record::clone(&swap.record) });
        }
        let is_stored = node.record.revision == swap.revision;
        state.seen.refused |= !is_stored && task.is_none();
        if is_stored && self.is(Mutant::JournalBeforeAck) {
            *journal = swap.record.entry();
        }
        if let Some(task) = task {
            task.stage = if is_stored {
                let (revision, offset) = (swap.revision, node.offset);
                Stage::Written { revision, offset, entry: swap.record.entry() }
            } else {
                Stage::Begin
            };
        }
    }
}

impl State {
    pub(super) fn crash(&mut self, node: usize) {
        self.left.crashes -= 1;
        self.nodes[node].is_up = false;
        // Its connections end, with all that was on them.
        self.wire.retain(|swap| swap.to != node);
        for gateway in 0..self.gateways.len() {
            if self.gateways[gateway].node == node {
                self.doubt(gateway);
            }
        }
    }

    /// What was on its disk is there. It has another id, so this is another epoch.
    pub(super) fn restart(&mut self, node: usize) {
        let is_primary = node == self.primary;
        let epochs = self.epochs;
        let it = &mut self.nodes[node];
        it.is_up = true;
        match it.role {
            Role::Primary { .. } if is_primary => {
                it.role = Role::Primary { epoch: epochs };
                self.epochs += 1;
            }
            Role::Primary { .. } => it.role = Role::Deposed,
            Role::Replica { .. } | Role::Deposed => {}
        }
    }

    pub(super) fn replicate(&mut self, node: usize) {
        let Role::Replica { epoch } = self.nodes[node].role else { return };
        if let Some(of) = self.nodes.iter().position(|it| it.epoch() == Some(epoch)) {
            self.copy(of, node);
        }
    }

    pub(super) fn follow(&mut self, node: usize) {
        let Some(epoch) = self.nodes[self.primary].epoch() else { return };
        self.copy(self.primary, node);
        self.nodes[node].role = Role::Replica { epoch };
    }

    /// Whoever was the primary until now may go on thinking that it is.
    pub(super) fn promote(&mut self, node: usize) {
        self.left.failovers -= 1;
        self.nodes[node].role = Role::Primary { epoch: self.epochs };
        self.primary = node;
        self.epochs += 1;
        let lineage = self.nodes[node].record.lineage;
        self.seen.rolled_back |= self.seen.acknowledged & !lineage != 0;
    }

    pub(super) fn expire(&mut self) {
        self.left.expiries -= 1;
        let node = &mut self.nodes[self.primary];
        node.offset += 1;
        let record = Record { account: Account::default(), ..Record::clone(&node.record) };
        node.record = Arc::new(record);
    }

    fn copy(&mut self, from: usize, to: usize) {
        let (offset, record) = (self.nodes[from].offset, Arc::clone(&self.nodes[from].record));
        let it = &mut self.nodes[to];
        (it.offset, it.record) = (offset, record);
    }
}

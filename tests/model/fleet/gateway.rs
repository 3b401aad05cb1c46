//! What gateways do: plan, have it stored, wait until it is safe, and only then act on it.

use std::sync::Arc;

use tollgate::store::channel::{Reserving, Step, Stepped};

use super::{
    Fleet,
    state::{Entry, Gateway, Node, Paid, Record, Revision, Role, Stage, State, Swap, Task, Work},
};
use crate::Mutant;

impl Fleet {
    /// Whether a gateway may begin to work in `epoch`: one that it has left never comes back.
    pub(super) fn may_enter(&self, gateway: &Gateway, epoch: u8) -> bool {
        gateway.epoch != Some(epoch)
            && (gateway.left & (1 << epoch) == 0 || self.is(Mutant::EpochReturns))
    }

    pub(super) fn request(&self, state: &mut State, gateway: usize, credential: usize) {
        state.left.requests[credential] &= !(1 << gateway);
        let payment = self.payment(credential);
        let is_copy = |work: Work| work.credential().map(|it| self.payment(it)) == Some(payment);
        let mut tasks = state.gateways.iter().filter_map(|it| it.task);
        let is_alone = !tasks.any(|task| is_copy(task.work));
        state.seen.alone[payment] = is_alone.then_some(gateway);
        state.seen.told_free[payment] = false;
        let token = state.draw(gateway);
        state.begin(gateway, Work::Reserve(Paid { credential, token }));
    }

    pub(super) fn reconcile(&self, state: &mut State, gateway: usize) {
        let it = &mut state.gateways[gateway];
        if let Some(epoch) = state.nodes[it.node].epoch() {
            // Before anybody may count on it: what it does from now on would not be in what it brings.
            if !self.is(Mutant::LeavesLate) {
                it.leave();
            }
            state.begin(gateway, Work::Reconcile { epoch });
        }
    }

    /// Carries the step out on what is stored now, and sends what comes of it.
    pub(super) fn plan(&self, state: &mut State, gateway: usize) {
        let it = &state.gateways[gateway];
        let node = &state.nodes[it.node];
        let (Some(task), Some(epoch)) = (it.task, node.epoch()) else { return };
        let mut record = Record::clone(&node.record);
        let expected = record.revision;
        if self.is(Mutant::AsyncReplicaRead)
            && let Some(replica) = replica_of(&state.nodes, epoch)
        {
            record.account = replica.record.account.clone();
        }
        if !self.may_work(&task.work, it, &record, epoch) {
            return self.give_up(state, gateway);
        }
        let step = match task.work {
            Work::Reserve(paid) => {
                let ask = self.ask(state, paid.credential, paid.token, Some(gateway));
                Some(Step::Reserve(Box::new(ask)))
            }
            Work::Keep(Paid { token, .. }) => {
                Some(Step::Keep { token: token.token(), status: 200 })
            }
            Work::GiveBack(Paid { token, .. }) | Work::TakeBack(Paid { token, .. }) => {
                Some(Step::GiveBack { token: token.token(), tried: true })
            }
            Work::Reconcile { epoch } => {
                record.fence[gateway] = epoch;
                it.journal.map(|Entry { commitment, spent, steps }| Step::Restore {
                    commitment,
                    spent,
                    steps,
                    now: 0,
                })
            }
        };
        let told: Vec<_> = it.told.iter().map(|token| token.token()).collect();
        let step = step.map(|step| match (told.is_empty(), &step) {
            (true, _) | (_, Step::Restore { .. }) => step,
            _ => Step::After { told, then: Box::new(step) },
        });
        let stepped = step.map_or(Stepped::Done(false), |step| record.account.step(&step));
        let is_restored = stepped == Stepped::Done(true);
        let is_written = stepped.may_have_changed() || matches!(task.work, Work::Reconcile { .. });
        if !is_written {
            return self.tell(state, gateway, task.work, &stepped);
        }
        state.seen.restored |= is_restored;
        let revision = state.draw(gateway);
        record.revision = revision;
        let to = state.gateways[gateway].node;
        let swap = Swap { by: gateway, to, revision, expected, record: Arc::new(record) };
        let place = state.wire.partition_point(|other| other.revision < revision);
        state.wire.insert(place, swap);
        state.set(gateway, Stage::Sent(revision));
        if matches!(task.work, Work::Reconcile { .. }) && state.left.losses == 0 {
            // One that finds another revision begins anew, so nothing is lost by letting it arrive at once.
            self.arrive(state, place);
        }
    }

    /// Looks whether a write whose answer was lost was carried out.
    pub(super) fn look(&self, state: &mut State, gateway: usize) {
        let it = &state.gateways[gateway];
        let node = &state.nodes[it.node];
        let (Some(Task { work, stage: Stage::Doubt(revision) }), Some(epoch)) =
            (it.task, node.epoch())
        else {
            return;
        };
        let is_mine = node.has(revision);
        let (offset, entry) = (node.offset, node.record.entry());
        if !self.may_work(&work, it, &node.record, epoch) {
            return self.give_up(state, gateway);
        }
        state.seen.resolved |= is_mine;
        let stage = if is_mine { Stage::Written { revision, offset, entry } } else { Stage::Begin };
        state.set(gateway, stage);
    }

    /// Whether the write is on every server that may be promoted, and the epoch is the one that it was made in.
    pub(super) fn is_acknowledged(
        &self,
        state: &State,
        gateway: usize,
        work: Work,
        offset: u8,
    ) -> bool {
        let it = &state.gateways[gateway];
        let Some(epoch) = state.nodes[it.node].epoch() else { return false };
        if self.is(Mutant::ServeBeforeAck) {
            return true;
        }
        let meant = match work {
            Work::Reconcile { epoch } => Some(epoch),
            _ => it.epoch,
        };
        if Some(epoch) != meant && !self.is(Mutant::EpochUnchecked) {
            return false;
        }
        let follows = |node: &&Node| node.is_up && node.role == Role::Replica { epoch };
        let attached = state.nodes.iter().filter(follows);
        let (mut all, mut acknowledging) = (0, 0);
        for node in attached {
            all += 1;
            acknowledging += usize::from(node.offset >= offset);
        }
        self.is(Mutant::WaitCountIgnored) || acknowledging >= self.promotable.max(all)
    }

    pub(super) fn acknowledge(&self, state: &mut State, gateway: usize) {
        let it = &state.gateways[gateway];
        let Some(Task { work, stage: Stage::Written { revision, entry, .. } }) = it.task else {
            return;
        };
        let record = Arc::clone(&state.nodes[it.node].record);
        let is_kept = state.nodes[state.primary].has(revision);
        let holders = state.nodes.iter().filter(|node| node.has(revision)).count();
        state.seen.acknowledged |= revision.bit();
        state.seen.rolled_back |= !is_kept;
        state.gateways[gateway].told.clear();
        state.gateways[gateway].journal = entry;
        match work {
            Work::Reserve(_) => state.set(gateway, Stage::Forward),
            Work::Keep(Paid { credential, token }) => {
                state.gateways[gateway].told.push(token);
                let node = state.gateways[gateway].node;
                state.gateways[gateway].task = None;
                let seen = &mut state.seen;
                seen.undurable |= holders <= self.promotable;
                seen.served[credential] += 1;
                seen.served_after |= node != 0;
                let sold = state.sold();
                state.seen.uncovered |= record.account.delivered().units() < sold;
            }
            Work::GiveBack(Paid { credential, .. }) => {
                state.gateways[gateway].task = None;
                self.tell_free(state, gateway, credential);
            }
            Work::TakeBack(_) => state.gateways[gateway].task = None,
            Work::Reconcile { epoch } => {
                let it = &mut state.gateways[gateway];
                it.leave();
                it.epoch = Some(epoch);
                it.task = None;
            }
        }
    }

    /// Says that nobody knows.
    pub(super) fn give_up(&self, state: &mut State, gateway: usize) {
        let Some(task) = state.gateways[gateway].task.take() else { return };
        let is_begun = !matches!(task, Task { work: Work::Reserve(_), stage: Stage::Begin });
        state.seen.unknown |= is_begun;
        let (Work::Reserve(paid) | Work::Keep(paid) | Work::GiveBack(paid)) = task.work else {
            return;
        };
        if matches!(task.work, Work::Keep(_)) {
            state.seen.excused[paid.credential] += 1;
            if self.is(Mutant::AnswerOnUnknown) {
                state.seen.served[paid.credential] += 1;
            }
        }
        if self.is(Mutant::UnknownIsFailed) {
            self.tell_free(state, gateway, paid.credential);
        } else if is_begun {
            // Whatever became of it, it is given back as soon as can be.
            state.begin(gateway, Work::TakeBack(paid));
        }
    }

    /// Says that nothing was charged. That is the last word only if no other copy is on its way.
    fn tell_free(&self, state: &mut State, gateway: usize, credential: usize) {
        let payment = self.payment(credential);
        state.seen.told_free[payment] = state.seen.alone[payment] == Some(gateway);
    }

    /// Says what came of a step that changed nothing.
    fn tell(&self, state: &mut State, gateway: usize, work: Work, stepped: &Stepped) {
        let Some(task) = state.gateways[gateway].task.take() else { return };
        match (work, stepped) {
            (Work::Reserve(paid), Stepped::Reserving(outcome)) => match outcome {
                Reserving::InFlight | Reserving::Bought { .. }
                    if self.is(Mutant::RetryWithoutIdempotency)
                        && state.gateways[gateway].drawn > paid.token.drawn() =>
                {
                    // It has asked before and heard nothing: so this was its own doing.
                    state.gateways[gateway].task = Some(Task { stage: Stage::Forward, ..task });
                }
                Reserving::Refused(_) => self.tell_free(state, gateway, paid.credential),
                _ => {}
            },
            (Work::Keep(_), Stepped::Stands(Err(_))) => state.seen.lapsed = true,
            _ => {}
        }
    }

    /// Whether what was read may be worked on.
    fn may_work(&self, work: &Work, gateway: &Gateway, record: &Record, epoch: u8) -> bool {
        let own = matches!(work, Work::Reconcile { epoch: meant } if *meant == epoch);
        let is_open = if self.is(Mutant::FenceOpensEarly) {
            true
        } else {
            record.fence.iter().all(|at| *at == epoch)
        };
        own || (gateway.epoch == Some(epoch) && is_open && !matches!(work, Work::Reconcile { .. }))
    }
}

impl State {
    fn begin(&mut self, gateway: usize, work: Work) {
        self.gateways[gateway].task = Some(Task { work, stage: Stage::Begin });
    }

    fn set(&mut self, gateway: usize, stage: Stage) {
        if let Some(task) = &mut self.gateways[gateway].task {
            task.stage = stage;
        }
    }

    pub(super) fn doubt(&mut self, gateway: usize) {
        if let Some(task) = &mut self.gateways[gateway].task
            && let Stage::Sent(revision) | Stage::Written { revision, .. } = task.stage
        {
            task.stage = Stage::Doubt(revision);
        }
    }

    pub(super) fn upstream(&mut self, gateway: usize, is_good: bool) {
        let Some(Task { work: Work::Reserve(paid), .. }) = self.gateways[gateway].task else {
            return;
        };
        if is_good {
            self.seen.acts[paid.credential] += 1;
            self.begin(gateway, Work::Keep(paid));
        } else {
            self.left.failures -= 1;
            self.begin(gateway, Work::GiveBack(paid));
        }
    }

    pub(super) fn connect(&mut self, gateway: usize, node: usize) {
        if node != self.primary {
            self.left.strays -= 1;
        }
        self.gateways[gateway].node = node;
        // Whether a write was acknowledged is asked on the connection that it was made on.
        self.doubt(gateway);
    }

    pub(super) fn die(&mut self, gateway: usize) {
        self.left.deaths -= 1;
        self.gateways[gateway].told.clear();
        if let Some(Task { work: Work::Keep(paid), .. }) = self.gateways[gateway].task.take() {
            self.seen.excused[paid.credential] += 1;
        }
    }
}

impl Gateway {
    fn leave(&mut self) {
        if let Some(epoch) = self.epoch.take() {
            self.left |= 1 << epoch;
        }
    }
}

impl Node {
    pub(super) fn has(&self, revision: Revision) -> bool {
        self.record.lineage & revision.bit() != 0
    }
}

fn replica_of(nodes: &[Node], epoch: u8) -> Option<&Node> {
    nodes.iter().find(|node| node.is_up && node.role == Role::Replica { epoch })
}

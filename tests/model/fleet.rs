//! The stores of a fleet of gateways, where servers and gateways die, answers are lost or late, and replicas are promoted.
//!
//! One record on several servers: a primary that takes writes by comparing revisions, and replicas that follow it in order.
//! A gateway plans a step on what it reads, has it stored, waits until every server that may be promoted has it, looks
//! whether the epoch is still the same, writes its journal, and only then says anything. Where the epoch has changed it
//! takes no payments before every member has brought its journal in. The account's steps are the product's own.

mod gateway;
mod property;
mod server;
mod state;
mod tests;

use std::time::Duration;

use stateright::{Model, Property};
use tollgate::{
    protocol::money::Amount,
    store::{
        Binding, Redelivery,
        channel::{ChallengeDigest, Held, Reserve},
    },
};

use self::state::{Credential, Left, Revision, Role, Stage, State, Work};
use crate::Mutant;

/// What is modelled, and how much of it.
#[derive(Clone)]
pub(crate) struct Fleet {
    pub(crate) mutant: Option<Mutant>,
    pub(crate) nodes: usize,
    pub(crate) gateways: usize,
    /// Replicas that must acknowledge.
    pub(crate) promotable: usize,
    pub(crate) credentials: &'static [Credential],
    /// What the channel was given.
    pub(crate) deposited: i128,
    pub(crate) left: Left,
    /// Whether it begins when the second server has become the primary, and the first one has not noticed.
    pub(crate) is_split: bool,
    /// What must be seen to happen.
    pub(crate) sometimes: Vec<Property<Self>>,
}

/// What happens next. Gateways, servers, credentials and writes by their places.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// A request comes in.
    Request {
        gateway: usize,
        credential: usize,
    },
    /// The gateway has noticed that the epoch is another one.
    Reconcile {
        gateway: usize,
    },
    /// It reads, carries its step out on what it read, and sends what comes of it.
    Plan {
        gateway: usize,
    },
    /// A write arrives, and its answer too if anybody waits for it.
    Arrive {
        swap: usize,
    },
    /// The gateway waits for that answer no more.
    LoseAnswer {
        gateway: usize,
    },
    /// It reads what became of its write.
    Look {
        gateway: usize,
    },
    /// Its write is acknowledged by all that must.
    Acknowledge {
        gateway: usize,
    },
    /// It knows no more than before, and says so.
    GiveUp {
        gateway: usize,
    },
    Upstream {
        gateway: usize,
        is_good: bool,
    },
    Connect {
        gateway: usize,
        node: usize,
    },
    /// It dies, and begins anew.
    Die {
        gateway: usize,
    },
    Crash {
        node: usize,
    },
    Restart {
        node: usize,
    },
    Replicate {
        node: usize,
    },
    /// It is told who the primary is, and takes all that is there.
    Follow {
        node: usize,
    },
    Promote {
        node: usize,
    },
    EndLeases,
    /// The record is forgotten by the primary.
    Expire,
}

impl Fleet {
    /// The credentials that are the same payment as `this`: they have its amount and its challenge.
    fn copies(&self, this: usize) -> impl Iterator<Item = usize> {
        let same = self.credentials[this];
        let is_same = move |other: &Credential| {
            other.amount == same.amount && other.challenge == same.challenge
        };
        (0..self.credentials.len()).filter(move |other| is_same(&self.credentials[*other]))
    }

    /// Names the payment that a credential is.
    fn payment(&self, credential: usize) -> usize {
        self.copies(credential).next().unwrap_or(credential)
    }

    fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }

    /// What is asked of the account for a credential. `by` is the gateway that asks: it has a journal.
    fn ask(&self, state: &State, this: usize, token: Revision, by: Option<usize>) -> Reserve {
        let Credential { amount, challenge, request } = self.credentials[this];
        let journal = by.and_then(|gateway| state.gateways[gateway].journal);
        let believed = if self.is(Mutant::UncollectableOverwrite) { FAR } else { self.deposited };
        let now = if state.is_late { LATE } else { EARLY };
        Reserve {
            commitment: held(amount),
            challenge: ChallengeDigest([challenge; 16]),
            base: Amount::ZERO,
            binding: Binding([request; 32]),
            price: Amount::ONE,
            deposited: units(believed),
            withdrawn: Amount::ZERO,
            at_least: journal.map_or(Amount::ZERO, |entry| entry.commitment.amount),
            most_unsettled: units(FAR),
            expired: false,
            token: token.token(),
            now,
            lease_until: now + LEASE,
            redelivery: Redelivery { attempts: 3, within: Duration::from_secs(LATE) },
        }
    }

    fn of_gateways(&self, state: &State, actions: &mut Vec<Action>) {
        for (gateway, it) in state.gateways.iter().enumerate() {
            let node = &state.nodes[it.node];
            if state.left.deaths > 0 && (it.task.is_some() || it.journal.is_some()) {
                actions.push(Action::Die { gateway });
            }
            for (other, to) in state.nodes.iter().enumerate() {
                let is_primary = other == state.primary;
                if other != it.node && to.epoch().is_some() && (is_primary || state.left.strays > 0)
                {
                    actions.push(Action::Connect { gateway, node: other });
                }
            }
            let Some(task) = it.task else {
                if it.epoch.is_some() && node.epoch() == it.epoch {
                    let asked = state.left.requests.iter().enumerate();
                    for (credential, _) in asked.filter(|(_, to)| **to & (1 << gateway) != 0) {
                        actions.push(Action::Request { gateway, credential });
                    }
                } else if node.epoch().is_some_and(|epoch| self.may_enter(it, epoch)) {
                    actions.push(Action::Reconcile { gateway });
                }
                continue;
            };
            match task.stage {
                Stage::Begin if node.epoch().is_some() => actions.push(Action::Plan { gateway }),
                Stage::Sent(_) if state.left.losses > 0 => {
                    actions.push(Action::LoseAnswer { gateway });
                }
                Stage::Sent(_) | Stage::Begin => {}
                Stage::Doubt(_) if node.epoch().is_some() => actions.push(Action::Look { gateway }),
                Stage::Doubt(_) => {}
                Stage::Written { offset, .. } => {
                    if self.is_acknowledged(state, gateway, task.work, offset) {
                        actions.push(Action::Acknowledge { gateway });
                    }
                }
                Stage::Forward => {
                    actions.push(Action::Upstream { gateway, is_good: true });
                    if state.left.failures > 0 {
                        actions.push(Action::Upstream { gateway, is_good: false });
                    }
                }
            }
            let meant = match task.work {
                Work::Reconcile { epoch } => Some(epoch),
                _ => it.epoch,
            };
            let is_stuck = meant.is_none() || node.epoch() != meant;
            let may_give_up = match task.stage {
                Stage::Doubt(_) => true,
                Stage::Written { .. } => is_stuck || state.left.losses > 0,
                Stage::Begin => is_stuck,
                Stage::Sent(_) | Stage::Forward => false,
            };
            if may_give_up {
                actions.push(Action::GiveUp { gateway });
            }
        }
    }

    fn of_servers(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend((0..state.wire.len()).map(|swap| Action::Arrive { swap }));
        let primary = &state.nodes[state.primary];
        for (node, it) in state.nodes.iter().enumerate() {
            let is_primary = node == state.primary;
            if !it.is_up {
                actions.push(Action::Restart { node });
                continue;
            }
            if state.left.crashes > 0 {
                actions.push(Action::Crash { node });
            }
            if let Role::Replica { epoch } = it.role
                && state.nodes.iter().any(|on| on.epoch() == Some(epoch) && on.offset > it.offset)
            {
                actions.push(Action::Replicate { node });
            }
            if !is_primary
                && let Some(epoch) = primary.epoch()
                && it.role != (Role::Replica { epoch })
            {
                actions.push(Action::Follow { node });
            }
            if !is_primary && state.left.failovers > 0 && matches!(it.role, Role::Replica { .. }) {
                actions.push(Action::Promote { node });
            }
        }
        if state.left.lateness > 0 {
            actions.push(Action::EndLeases);
        }
        if state.left.expiries > 0 && primary.is_up {
            actions.push(Action::Expire);
        }
    }
}

impl Model for Fleet {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        let mut state = State::new(self.nodes, self.gateways, self.left);
        if self.is_split {
            state.split();
        }
        vec![state]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        self.of_gateways(state, actions);
        self.of_servers(state, actions);
    }

    fn next_state(&self, last: &State, action: Action) -> Option<State> {
        let mut state = last.clone();
        match action {
            Action::Request { gateway, credential } => {
                self.request(&mut state, gateway, credential);
            }
            Action::Reconcile { gateway } => self.reconcile(&mut state, gateway),
            Action::Plan { gateway } => self.plan(&mut state, gateway),
            Action::LoseAnswer { gateway } => {
                state.left.losses -= 1;
                state.doubt(gateway);
            }
            Action::Look { gateway } => self.look(&mut state, gateway),
            Action::Acknowledge { gateway } => self.acknowledge(&mut state, gateway),
            Action::GiveUp { gateway } => {
                let task = state.gateways[gateway].task;
                if let Some(Stage::Written { .. }) = task.map(|task| task.stage) {
                    state.left.losses = state.left.losses.saturating_sub(1);
                }
                self.give_up(&mut state, gateway);
            }
            Action::Upstream { gateway, is_good } => state.upstream(gateway, is_good),
            Action::Connect { gateway, node } => state.connect(gateway, node),
            Action::Die { gateway } => state.die(gateway),
            Action::Arrive { swap } => self.arrive(&mut state, swap),
            Action::Crash { node } => state.crash(node),
            Action::Restart { node } => state.restart(node),
            Action::Replicate { node } => state.replicate(node),
            Action::Follow { node } => state.follow(node),
            Action::Promote { node } => state.promote(node),
            Action::EndLeases => {
                state.left.lateness -= 1;
                state.is_late = true;
            }
            Action::Expire => state.expire(),
        }
        (state != *last).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = property::always();
        all.extend(self.sometimes.iter().cloned());
        all
    }
}

fn held(amount: i128) -> Held {
    Held { amount: units(amount), signature: [7; 64] }
}

fn units(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}

/// In seconds since 1970: before any lease has ended, and after all that were made until then.
const EARLY: u64 = 1_000;
const LATE: u64 = 10_000;
const LEASE: u64 = 500;

/// More units than anybody has.
const FAR: i128 = 1_000;

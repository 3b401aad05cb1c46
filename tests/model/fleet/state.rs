//! Everything there is in the model of the stores, and the faults that are left to happen.

use std::sync::Arc;

use tollgate::{
    protocol::money::Amount,
    store::channel::{Account, Held, Token},
};

/// One moment.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) nodes: Vec<Node>,
    /// Who was last named the primary.
    pub(crate) primary: usize,
    /// How often one was; each time begins an epoch, which has a name that nobody had before.
    pub(crate) epochs: u8,
    pub(crate) gateways: Vec<Gateway>,
    /// Writes that were sent and have not arrived: each may arrive whenever it likes, or never.
    pub(crate) wire: Vec<Swap>,
    /// Whether so much time has passed that every lease has ended.
    pub(crate) is_late: bool,
    pub(crate) left: Left,
    pub(crate) seen: Seen,
}

/// A server of the store: what is on its disk, and whom it follows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) is_up: bool,
    pub(crate) role: Role,
    /// Writes in its history.
    pub(crate) offset: u8,
    pub(crate) record: Arc<Record>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Role {
    /// It takes writes, and thinks that nobody else does.
    Primary { epoch: u8 },
    /// Of the primary of that epoch.
    Replica { epoch: u8 },
    /// It was a primary, and has been told that it is none.
    Deposed,
}

/// What is stored: one channel's account, and the fence.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    pub(crate) revision: Revision,
    /// Every write in its history, as a set: its lineage.
    pub(crate) lineage: u64,
    pub(crate) account: Account,
    /// By gateway, the epoch that it has reconciled at.
    pub(crate) fence: Vec<u8>,
}

/// Names one write, or one reservation: who drew it, and the how manieth it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Revision(pub(crate) u8);

/// A compare-and-set on its way.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Swap {
    pub(crate) by: usize,
    pub(crate) to: usize,
    pub(crate) revision: Revision,
    pub(crate) expected: Revision,
    pub(crate) record: Arc<Record>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Gateway {
    /// The server that it is connected to.
    pub(crate) node: usize,
    /// The epoch that it works in, if any, and those that it has left, as a set.
    pub(crate) epoch: Option<u8>,
    pub(crate) left: u8,
    pub(crate) drawn: u8,
    /// On its own disk: the last step that was acknowledged.
    pub(crate) journal: Option<Entry>,
    /// Reservations that it knows to be kept, and whose account has not heard so.
    pub(crate) told: Vec<Revision>,
    pub(crate) task: Option<Task>,
}

/// What a journal says of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Entry {
    pub(crate) commitment: Held,
    pub(crate) spent: Amount,
    pub(crate) steps: u64,
}

/// What a gateway is busy with. It does one thing at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Task {
    pub(crate) work: Work,
    pub(crate) stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Work {
    Reserve(Paid),
    Keep(Paid),
    GiveBack(Paid),
    /// As `GiveBack`, once its caller was told that nobody knows.
    TakeBack(Paid),
    /// Brings the journal into that epoch.
    Reconcile {
        epoch: u8,
    },
}

/// A request that comes with a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Paid {
    pub(crate) credential: usize,
    pub(crate) token: Revision,
}

/// How far a step has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Stage {
    Begin,
    Sent(Revision),
    /// No answer came: it may have been carried out, may be later, or never.
    Doubt(Revision),
    /// Carried out where that many writes are in the history.
    Written {
        revision: Revision,
        offset: u8,
        entry: Option<Entry>,
    },
    /// Reserved: the upstream is asked.
    Forward,
}

/// What may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Left {
    /// By credential, the gateways that a request with it still comes to, as a set.
    pub(crate) requests: [u8; CREDENTIALS],
    /// Answers of the store that do not come, or not in time.
    pub(crate) losses: u8,
    /// Deaths of gateways.
    pub(crate) deaths: u8,
    /// Deaths of servers.
    pub(crate) crashes: u8,
    /// Replicas that are made the primary, whatever became of the last one.
    pub(crate) failovers: u8,
    /// Gateways that find a server which was the primary once.
    pub(crate) strays: u8,
    /// Answers of the upstream that are not charged for.
    pub(crate) failures: u8,
    /// Whether leases may end.
    pub(crate) lateness: u8,
    /// Records that are forgotten, where a mutant has them forgotten.
    pub(crate) expiries: u8,
}

/// What has happened, as nobody in the world knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub(crate) struct Seen {
    /// Answers that left, by credential.
    pub(crate) served: [u8; CREDENTIALS],
    /// Answers of the upstream that are charged for, by credential.
    pub(crate) acts: [u8; CREDENTIALS],
    /// Of them, how often a crash, or a store that said nothing, came between answer and record.
    pub(crate) excused: [u8; CREDENTIALS],
    /// By payment, the gateway that a request with it came to while none was under way, if no other one has come since.
    pub(crate) alone: [Option<usize>; CREDENTIALS],
    /// By payment, whether the last word to its payer is that nothing was charged.
    pub(crate) told_free: [bool; CREDENTIALS],
    /// Writes that were acknowledged, as a set.
    pub(crate) acknowledged: u64,
    /// An answer left whose record was not on every server that it must be on.
    pub(crate) undurable: bool,
    /// An answer left that what is stored does not cover, or a mark below one that was served was paid from.
    pub(crate) uncovered: bool,
    /// A server became the primary that lacks what was acknowledged: more servers may be promoted than must acknowledge.
    pub(crate) rolled_back: bool,
    /// A journal raised an account.
    pub(crate) restored: bool,
    /// A write was found to have been carried out although its answer was lost.
    pub(crate) resolved: bool,
    /// A request ended without anybody knowing what became of it.
    pub(crate) unknown: bool,
    /// An answer was held back, since its reservation had been given back.
    pub(crate) lapsed: bool,
    /// An answer left in an epoch after the first.
    pub(crate) served_after: bool,
    /// A write came too late and was refused by its revision.
    pub(crate) refused: bool,
}

/// What a payer has signed, and for which request it comes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Credential {
    pub(crate) amount: i128,
    pub(crate) challenge: u8,
    pub(crate) request: u8,
}

impl State {
    pub(crate) fn new(nodes: usize, gateways: usize, left: Left) -> Self {
        let record = Arc::new(Record {
            revision: Revision(NOBODY),
            lineage: 0,
            account: Account::default(),
            fence: vec![0; gateways],
        });
        let node = |role| Node { is_up: true, role, offset: 0, record: Arc::clone(&record) };
        let mut all = vec![node(Role::Replica { epoch: 0 }); nodes];
        all[0].role = Role::Primary { epoch: 0 };
        let gateway = Gateway {
            node: 0,
            epoch: Some(0),
            left: 0,
            drawn: 0,
            journal: None,
            told: Vec::new(),
            task: None,
        };
        Self {
            nodes: all,
            primary: 0,
            epochs: 1,
            gateways: vec![gateway; gateways],
            wire: Vec::new(),
            is_late: false,
            left,
            seen: Seen::default(),
        }
    }

    /// The second server becomes the primary, and every gateway works there.
    pub(crate) fn split(&mut self) {
        self.primary = 1;
        self.epochs = 2;
        self.nodes[1].role = Role::Primary { epoch: 1 };
        let record = Arc::make_mut(&mut self.nodes[1].record);
        record.fence.fill(1);
        for gateway in &mut self.gateways {
            gateway.node = 1;
            gateway.epoch = Some(1);
            gateway.left = 1;
        }
    }

    /// What stands on the primary, if payments may be taken there: every member has reconciled.
    pub(crate) fn open(&self) -> Option<&Record> {
        let node = &self.nodes[self.primary];
        let epoch = node.epoch()?;
        (node.is_up && node.record.fence.iter().all(|at| *at == epoch)).then_some(&*node.record)
    }

    /// The value of what was served; every request costs one unit.
    pub(crate) fn sold(&self) -> i128 {
        self.seen.served.iter().map(|served| i128::from(*served)).sum()
    }

    /// The value of what the upstream delivered.
    pub(crate) fn delivered(&self) -> i128 {
        self.seen.acts.iter().map(|acts| i128::from(*acts)).sum()
    }

    /// Draws a name for `gateway`.
    pub(crate) fn draw(&mut self, gateway: usize) -> Revision {
        let drawn = &mut self.gateways[gateway].drawn;
        *drawn += 1;
        assert!(*drawn < DRAWS, "more names are drawn than there are");
        Revision(u8::try_from(gateway).unwrap() * DRAWS + *drawn)
    }
}

impl Record {
    /// What a journal says of it.
    pub(crate) fn entry(&self) -> Option<Entry> {
        let standing = self.account.standing();
        let commitment = *self.account.held().last()?;
        Some(Entry { commitment, spent: standing.spent, steps: self.account.steps() })
    }
}

impl Node {
    /// The epoch that it is the primary of, as it thinks.
    pub(crate) const fn epoch(&self) -> Option<u8> {
        match self.role {
            Role::Primary { epoch } if self.is_up => Some(epoch),
            _ => None,
        }
    }
}

impl Work {
    /// The credential that it is about.
    pub(crate) const fn credential(self) -> Option<usize> {
        match self {
            Self::Reserve(paid)
            | Self::Keep(paid)
            | Self::GiveBack(paid)
            | Self::TakeBack(paid) => Some(paid.credential),
            Self::Reconcile { .. } => None,
        }
    }
}

impl Revision {
    pub(crate) const fn bit(self) -> u64 {
        1 << self.0
    }

    /// The how manieth one its gateway has drawn.
    pub(crate) const fn drawn(self) -> u8 {
        self.0 % DRAWS
    }

    pub(crate) const fn token(self) -> Token {
        Token([self.0; 16])
    }
}

/// Credentials at most.
pub(crate) const CREDENTIALS: usize = 3;

/// Names that one gateway may draw.
const DRAWS: u8 = 30;

/// Drew the name of what stands at the beginning.
const NOBODY: u8 = 63;

//! What the channel remembers, in its instance: so that all of it is read, extended and archived as one.

use soroban_sdk::storage::Instance;
use soroban_sdk::{Address, BytesN, Env, IntoVal, TryFromVal, Val, contracttype};

/// The entries' names; each key is a vector of one symbol.
#[contracttype]
#[derive(Clone, Copy)]
pub enum Key {
    /// The first ledger in which the close is effective; absent until there is one.
    CloseEffectiveAtLedger,
    /// The ed25519 key whose signatures commit.
    CommitmentKey,
    /// Who pays.
    From,
    /// In ledgers.
    RefundWaitingPeriod,
    /// Who is paid.
    To,
    /// In what.
    Token,
    /// What was paid to `To`; absent while that is nothing.
    WithdrawnAmount,
}

/// The instance's entries, typed.
pub(crate) struct State(Instance);

impl State {
    pub(crate) fn new(env: &Env) -> Self {
        Self(env.storage().instance())
    }

    /// Writes what never changes.
    pub(crate) fn open(
        &self,
        token: &Address,
        from: &Address,
        commitment_key: &BytesN<32>,
        to: &Address,
        refund_waiting_period: u32,
    ) {
        self.0.set(&Key::Token, token);
        self.0.set(&Key::From, from);
        self.0.set(&Key::CommitmentKey, commitment_key);
        self.0.set(&Key::To, to);
        self.0.set(&Key::RefundWaitingPeriod, &refund_waiting_period);
    }

    pub(crate) fn token(&self) -> Address {
        self.constant(Key::Token)
    }

    pub(crate) fn from(&self) -> Address {
        self.constant(Key::From)
    }

    pub(crate) fn commitment_key(&self) -> BytesN<32> {
        self.constant(Key::CommitmentKey)
    }

    pub(crate) fn to(&self) -> Address {
        self.constant(Key::To)
    }

    pub(crate) fn refund_waiting_period(&self) -> u32 {
        self.constant(Key::RefundWaitingPeriod)
    }

    pub(crate) fn withdrawn(&self) -> i128 {
        self.0.get(&Key::WithdrawnAmount).unwrap_or(0)
    }

    pub(crate) fn set_withdrawn(&self, total: i128) {
        self.0.set(&Key::WithdrawnAmount, &total);
    }

    pub(crate) fn close_effective_at_ledger(&self) -> Option<u32> {
        self.0.get(&Key::CloseEffectiveAtLedger)
    }

    pub(crate) fn set_close_effective_at_ledger(&self, ledger: u32) {
        self.0.set(&Key::CloseEffectiveAtLedger, &ledger);
    }

    fn constant<T>(&self, key: Key) -> T
    where
        T: IntoVal<Env, Val> + TryFromVal<Env, Val>,
    {
        self.0.get(&key).expect("the constructor wrote it")
    }
}

//! A one-way payment channel: `from` deposits a token once, signs growing commitments off the ledger, and `to` cashes
//! the highest one.
//!
//! A commitment states a total since the channel's opening, so that a later one replaces an earlier one and paying the
//! same one twice pays nothing. `to` can cash at any time, also after a close, for as long as the channel holds
//! something. `from` gets the rest back, alone only after a waiting period in which `to` can cash its last commitment.
//!
//! It does not know what is bought, does not extend the life of its entries, and keeps no balance of its own: what it
//! holds is what the token says.

#![no_std]

mod commitment;
mod event;
mod state;

use soroban_sdk::token::TokenClient;
use soroban_sdk::{Address, Bytes, BytesN, Env, contract, contracterror, contractimpl};

use crate::event::{Close, Open, Refund, Withdraw};
use crate::state::State;

/// Why the channel refuses. A wrong signature and a token's refusal are not among these: they trap.
#[contracterror]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Error {
    /// An amount is below zero.
    NegativeAmount = 1,
    /// No close was started.
    NotClosed = 2,
    /// A close was started and is not effective yet.
    RefundWaitingPeriodNotElapsed = 3,
    /// A close is effective already.
    AlreadyClosed = 4,
}

/// The channel.
#[contract]
pub struct Channel;

#[contractimpl]
impl Channel {
    /// Opens the channel and moves `amount` of `token` from `from` into it, which `from` authorizes if it is not zero.
    ///
    /// `refund_waiting_period` is in ledgers.
    pub fn __constructor(
        env: Env,
        token: Address,
        from: Address,
        commitment_key: BytesN<32>,
        to: Address,
        amount: i128,
        refund_waiting_period: u32,
    ) -> Result<(), Error> {
        let state = State::new(&env);
        state.open(&token, &from, &commitment_key, &to, refund_waiting_period);
        Open { token, from, commitment_key, to, amount, refund_waiting_period }.publish(&env);
        deposit(&env, &state, amount)
    }

    /// Moves `amount` more from `from` into the channel, which `from` authorizes if it is not zero.
    pub fn top_up(env: Env, amount: i128) -> Result<(), Error> {
        deposit(&env, &State::new(&env), amount)
    }

    /// Pays `to` what the commitment to the total `amount` adds to what was paid before. `to` authorizes it.
    pub fn settle(env: Env, amount: i128, sig: BytesN<64>) -> Result<(), Error> {
        withdraw(&env, &State::new(&env), amount, &sig)
    }

    /// Settles, closes the channel at once, and gives the rest back to `from`. `to` authorizes it.
    ///
    /// If `from` cannot be paid, the close holds all the same and `refund` gives the rest back later.
    pub fn close(env: Env, amount: i128, sig: BytesN<64>) -> Result<(), Error> {
        let state = State::new(&env);
        withdraw(&env, &state, amount, &sig)?;
        let now = env.ledger().sequence();
        if !is_effective(state.close_effective_at_ledger(), now) {
            close_at(&env, &state, now);
        }
        let (token, rest, from) = (token(&env, &state), balance(&env, &state), state.from());
        let channel = env.current_contract_address();
        if rest > 0 && matches!(token.try_transfer(&channel, &from, &rest), Ok(Ok(()))) {
            Refund { from, amount: rest }.publish(&env);
        }
        Ok(())
    }

    /// Starts a close, effective after the waiting period. `from` authorizes it.
    ///
    /// Again before that, it starts the waiting period anew.
    pub fn close_start(env: Env) -> Result<(), Error> {
        let state = State::new(&env);
        state.from().require_auth();
        let now = env.ledger().sequence();
        if is_effective(state.close_effective_at_ledger(), now) {
            return Err(Error::AlreadyClosed);
        }
        // A period beyond the last ledger is no reason to trap: the close is then never effective.
        close_at(&env, &state, now.saturating_add(state.refund_waiting_period()));
        Ok(())
    }

    /// Gives all that the channel holds to `from`, once a close is effective. `from` authorizes it.
    pub fn refund(env: Env) -> Result<(), Error> {
        let state = State::new(&env);
        let effective_at = state.close_effective_at_ledger().ok_or(Error::NotClosed)?;
        if !is_effective(Some(effective_at), env.ledger().sequence()) {
            return Err(Error::RefundWaitingPeriodNotElapsed);
        }
        let from = state.from();
        from.require_auth();
        let amount = balance(&env, &state);
        if amount > 0 {
            token(&env, &state).transfer(&env.current_contract_address(), &from, &amount);
            Refund { from, amount }.publish(&env);
        }
        Ok(())
    }

    /// The bytes whose signature by the commitment key commits to the total `amount`.
    pub fn prepare_commitment(env: Env, amount: i128) -> Result<Bytes, Error> {
        not_negative(amount)?;
        Ok(commitment::bytes(&env, amount))
    }

    /// The token that the channel holds.
    pub fn token(env: Env) -> Address {
        State::new(&env).token()
    }

    /// Who pays.
    pub fn from(env: Env) -> Address {
        State::new(&env).from()
    }

    /// Who is paid.
    pub fn to(env: Env) -> Address {
        State::new(&env).to()
    }

    /// How many ledgers lie between the start of a close by `from` and its effect.
    pub fn refund_waiting_period(env: Env) -> u32 {
        State::new(&env).refund_waiting_period()
    }

    /// What the channel holds.
    pub fn balance(env: Env) -> i128 {
        balance(&env, &State::new(&env))
    }

    /// What the channel holds and what it has paid to `to`.
    pub fn deposited(env: Env) -> i128 {
        let state = State::new(&env);
        balance(&env, &state) + state.withdrawn()
    }

    /// What the channel has paid to `to`.
    pub fn withdrawn(env: Env) -> i128 {
        State::new(&env).withdrawn()
    }
}

fn deposit(env: &Env, state: &State, amount: i128) -> Result<(), Error> {
    not_negative(amount)?;
    if amount > 0 {
        let from = state.from();
        from.require_auth();
        token(env, state).transfer(&from, env.current_contract_address(), &amount);
    }
    Ok(())
}

/// Pays what the commitment to `total` adds. The signature is checked even where that is nothing.
fn withdraw(env: &Env, state: &State, total: i128, signature: &BytesN<64>) -> Result<(), Error> {
    not_negative(total)?;
    let to = state.to();
    to.require_auth();
    let bytes = commitment::bytes(env, total);
    env.crypto().ed25519_verify(&state.commitment_key(), &bytes, signature);
    let withdrawn = state.withdrawn();
    if total > withdrawn {
        let amount = total - withdrawn;
        state.set_withdrawn(total);
        token(env, state).transfer(&env.current_contract_address(), &to, &amount);
        Withdraw { to, amount }.publish(env);
    }
    Ok(())
}

fn close_at(env: &Env, state: &State, effective_at_ledger: u32) {
    state.set_close_effective_at_ledger(effective_at_ledger);
    Close { effective_at_ledger }.publish(env);
}

fn is_effective(effective_at: Option<u32>, now: u32) -> bool {
    effective_at.is_some_and(|at| at <= now)
}

fn not_negative(amount: i128) -> Result<(), Error> {
    if amount < 0 { Err(Error::NegativeAmount) } else { Ok(()) }
}

fn balance(env: &Env, state: &State) -> i128 {
    token(env, state).balance(&env.current_contract_address())
}

fn token<'a>(env: &'a Env, state: &State) -> TokenClient<'a> {
    TokenClient::new(env, &state.token())
}

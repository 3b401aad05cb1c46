//! Opens payment channels, all of one code that an admin sets.
//!
//! It holds no money: a channel's deposit goes straight from its payer into the channel.

#![no_std]

use soroban_sdk::xdr::ToXdr;
use soroban_sdk::{Address, BytesN, Env, contract, contractimpl, contracttype};

/// The entries' names; each key is a vector of one symbol.
#[contracttype]
#[derive(Clone, Copy)]
pub enum Key {
    /// Who sets the code.
    Admin,
    /// The SHA-256 of the channels' code.
    WasmHash,
}

/// The factory.
#[contract]
pub struct ChannelFactory;

#[contractimpl]
impl ChannelFactory {
    /// Remembers who sets the code, and the code of the first channels.
    pub fn __constructor(env: Env, admin: Address, wasm_hash: BytesN<32>) {
        env.storage().instance().set(&Key::Admin, &admin);
        env.storage().instance().set(&Key::WasmHash, &wasm_hash);
    }

    /// Opens a channel and answers its address. `from` authorizes it, with its deposit.
    ///
    /// The address follows from `from` and `salt`, so that nobody else can take it.
    pub fn open(
        env: Env,
        salt: BytesN<32>,
        token: Address,
        from: Address,
        commitment_key: BytesN<32>,
        to: Address,
        amount: i128,
        refund_waiting_period: u32,
    ) -> Address {
        from.require_auth();
        let mut seed = from.clone().to_xdr(&env);
        seed.append(&salt.into());
        let salt = env.crypto().sha256(&seed).to_bytes();
        let arguments = (token, from, commitment_key, to, amount, refund_waiting_period);
        env.deployer()
            .with_current_contract(salt)
            .deploy_v2(Self::wasm_hash(env.clone()), arguments)
    }

    /// Sets the code of the channels to come. The admin authorizes it.
    pub fn set_wasm(env: Env, wasm_hash: BytesN<32>) {
        Self::admin(env.clone()).require_auth();
        env.storage().instance().set(&Key::WasmHash, &wasm_hash);
    }

    /// Who sets the code.
    pub fn admin(env: Env) -> Address {
        env.storage().instance().get(&Key::Admin).expect("the constructor wrote it")
    }

    /// The SHA-256 of the channels' code.
    pub fn wasm_hash(env: Env) -> BytesN<32> {
        env.storage().instance().get(&Key::WasmHash).expect("the constructor wrote it")
    }
}

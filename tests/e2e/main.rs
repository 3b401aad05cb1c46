//! What a client and an operator see, through real sockets: a sandbox ledger, a gateway from YAML, a recording upstream.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    unreachable_pub,
    reason = "a test ends where it finds something else than it expects"
)]

mod admin;
mod attack;
mod binding;
mod budget;
mod cache;
mod callers;
mod charge;
mod commands;
mod contract;
mod crowd;
mod fault;
mod fee;
mod heist;
mod identifier;
mod load;
mod operate;
mod order;
mod plain;
mod reload;
mod replay;
mod replica;
mod scarce;
mod servers;
mod signature;
mod table;
mod thrift;
mod transfer;
mod untouched;
mod upgrade;
mod valve;
mod webhooks;

#[path = "../support/agent.rs"]
mod agent;
#[path = "../support/charge.rs"]
mod charging;
mod forge;
#[path = "../support/hook.rs"]
mod hook;
#[path = "../support/origins.rs"]
mod origins;
mod process;
#[path = "../support/redis.rs"]
mod server;
mod upstream;
mod world;

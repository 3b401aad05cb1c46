//! What a client and an operator see, through real sockets: a sandbox ledger, a gateway from YAML, a recording upstream.

mod binding;
mod order;
mod reload;
mod replay;
mod transfer;
mod valve;

mod upstream;
mod world;

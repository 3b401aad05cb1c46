//! The pipe without its valve: server, routes and upstream, through real sockets.
//!
//! Both ends are raw: the client writes bytes, and the upstream (`Origin`) reads bytes and answers by a script, so that
//! what is tested is what is on the wire.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    reason = "a test fails where its helpers do"
)]

mod bodies;
mod edge;
mod exchange;
mod far_h2;
mod faults;
mod flow;
mod foreign;
mod harness;
mod headers;
mod http2;
mod links;
mod reload;
mod servers;
mod shutdown;
mod switching;
mod uploads;
mod waiting;

//! Tollgate puts a price on any HTTP API: a reverse proxy whose priced routes are paid in USDC on Stellar.
//!
//! # The life of a request
//!
//! The modules stand in the order of the road:
//!
//! 1. [`server`] accepts the connection (HTTP/1.1 or HTTP/2) and reads one request, strictly. Its target gets one
//!    canonical reading ([`protocol::target`]); what has two readings is answered 400 and goes no further.
//! 2. [`route`] finds the one route that this method and target belong to. What matches nothing is 404.
//! 3. [`guard`] is the valve. A free route passes, and on any other who may call it without paying ([`callers`]). A priced one needs a credential: without one the guard answers
//!    402 with a challenge of each method that the route offers and that can take payments now. With one it has that
//!    method ([`pay::x402`], [`pay::charge`] or [`pay::channel`]) verify it, claim it in the [`store`] so that it buys one delivery, and
//!    settle it through the [`ledger`], before or after the upstream has answered. A payment that its payer has put on
//!    the ledger itself is settled when it comes; a commitment of a channel is kept, and collected later.
//! 4. [`upstream`] forwards what the guard admitted, and only that: it takes [`guard::Admitted`], which nothing else
//!    can build. Bodies stream both ways, but for requests that a payment buys with their very body, which the guard
//!    has read; payment headers stay behind.
//!
//! Beside the road stand [`protocol`], the pure rules of money and wire formats; [`telemetry`], time and logs; [`haste`],
//! how slow a client may be, and [`subnet`], what counts as one;
//! [`closer`], which takes out of payment channels what was delivered; [`events`], what the operator's systems are told;
//! [`config`], which turns `gateway.yaml` into the typed settings of each part; [`app`], which wires them and shuts
//! them down, and has what a crash left pending found out; and [`client`], the other end of the road, an HTTP client
//! that pays. [`facilitate`] serves the gateway's facilitator to others, [`setup`] prepares the first gateway of a
//! newcomer, [`admin`] is the operator's own port, [`checkup`] asks the ledger whether a configuration can be paid, `demo` shows all of it at work, and
//! [`cli`] has the commands.
#![cfg_attr(
    test,
    expect(
        clippy::arithmetic_side_effects,
        clippy::string_slice,
        clippy::let_underscore_must_use,
        reason = "a test that panics has failed, which is what it is for"
    )
)]

pub mod cli;

pub mod admin;
pub mod app;
pub mod checkup;
pub mod config;
#[cfg(feature = "sandbox")]
pub mod demo;
pub mod facilitate;
pub mod setup;

pub mod server;
pub mod upstream;

pub mod guard;
pub mod route;

pub mod callers;

pub mod haste;
pub mod subnet;
pub mod tunnel;
pub mod workers;

pub mod pay;

pub mod closer;

pub mod events;

pub mod ledger;
pub mod store;

pub mod client;
pub mod telemetry;

pub mod protocol;

#[cfg(any(test, fuzzing))]
pub mod fuzz;

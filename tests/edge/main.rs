//! The edge: what the gateway takes from the internet, by the rows E to I of its threat catalogue.
//!
//! A real gateway from YAML, clients that write bytes and frames by hand, and an upstream that records what reaches it.
//! Each refusal stands beside the same request with one thing put right, which is served.

#![expect(
    clippy::arithmetic_side_effects,
    clippy::disallowed_methods,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test fails where its helpers do"
)]

mod differential;
mod frames;
mod framing;
mod http2;
mod limits;
mod loops;
mod patience;
mod site;
mod tls;
mod unread;

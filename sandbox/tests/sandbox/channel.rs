//! The channel's committed code in the real host, through the RPC: what it pays, to whom, when, and what it refuses.

#[path = "channel/life.rs"]
mod life;

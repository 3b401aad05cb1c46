//! The channel's committed code in the real host, through the RPC: what it pays, to whom, when, and what it refuses.

#[path = "channel/kit.rs"]
mod kit;

#[path = "channel/life.rs"]
mod life;

#[path = "channel/refusal.rs"]
mod refusal;

#[path = "channel/shape.rs"]
mod shape;

#[path = "channel/factory.rs"]
mod factory;

#[path = "channel/archive.rs"]
mod archive;

//! A store on Redis, and what can happen to a server.

mod failing;
mod lost;
mod unfit;

//! A store on Redis, and what can happen to a server.

mod chaos;
mod failing;
mod lost;
mod reach;
mod replicas;
mod unfit;

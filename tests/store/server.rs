//! A store on Redis, and what can happen to a server.

mod chaos;
mod cluster;
mod failing;
mod journals;
mod lost;
mod reach;
mod replicas;
mod sentinel;
mod unfit;

pub(crate) use self::replicas::attached;

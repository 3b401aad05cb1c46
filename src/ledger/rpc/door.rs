//! Answers read without a server: the way in for the checks of [`crate::fuzz`].

use http::StatusCode;

use super::{Error, EventPage, Lookup, Simulation, Snapshot, Submission, read_answer, wire};
use crate::protocol::stellar::{Network, TxHash};

/// What an answer says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    Network(String),
    Fee(u32),
    Snapshot(Snapshot),
    Simulation(Simulation),
    Submission(Submission),
    Lookup(Lookup),
    Events(EventPage),
}

/// Reads the body of an answer to `method`, about the transaction `hash` where it is about one.
///
/// # Errors
/// As the calls of [`super::Rpc`] have it; the answer to a method that is not known is garbage.
pub(crate) fn read(
    method: &str,
    status: StatusCode,
    body: &[u8],
    hash: TxHash,
    network: Network,
) -> Result<Told, Error> {
    let methods = [
        "getNetwork",
        "getFeeStats",
        "getLedgerEntries",
        "simulateTransaction",
        "sendTransaction",
        "getTransaction",
        "getEvents",
    ];
    let known = methods.into_iter().find(|known| *known == method);
    let method = known.ok_or_else(|| super::garbage("", "method"))?;
    let garbage = |what| super::garbage(method, what);
    match method {
        "getNetwork" => {
            let answer: wire::Network = read_answer(method, status, body)?;
            Ok(Told::Network(answer.passphrase))
        }
        "getFeeStats" => {
            let answer: wire::FeeStats = read_answer(method, status, body)?;
            answer.inclusion().map(Told::Fee).map_err(garbage)
        }
        "getLedgerEntries" => {
            let answer: wire::Entries = read_answer(method, status, body)?;
            answer.snapshot().map(Told::Snapshot).map_err(garbage)
        }
        "simulateTransaction" => {
            let answer: wire::Simulation = read_answer(method, status, body)?;
            answer.read().map(Told::Simulation).map_err(garbage)
        }
        "sendTransaction" => {
            let answer: wire::Sent = read_answer(method, status, body)?;
            answer.read().map(Told::Submission).map_err(garbage)
        }
        "getTransaction" => {
            let answer: wire::Found = read_answer(method, status, body)?;
            answer.read(hash, network).map(Told::Lookup).map_err(garbage)
        }
        _ => {
            let answer: wire::Events = read_answer(method, status, body)?;
            answer.read().map(Told::Events).map_err(garbage)
        }
    }
}

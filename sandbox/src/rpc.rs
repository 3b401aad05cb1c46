//! The Stellar RPC: JSON-RPC 2.0 calls in, answers out.
//!
//! It knows the ledger and the faults, not the sockets. Source: Stellar RPC, protocol `stellar-rpc` as of protocol 30,
//! `xdrFormat` base64 only; `getLedgers` is not served.

mod event;
mod message;
mod method;
mod read;
mod simulate;
mod time;
mod transaction;
mod view;
mod xdr;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

pub use self::method::Method;

use self::message::{Error, Message};
use self::view::View;
use crate::fault::{Fault, Faults, Moment, Way};
use crate::ledger::Ledger;

/// The RPC over one ledger; clones share it.
#[derive(Clone)]
pub(crate) struct Rpc {
    ledger: Ledger,
    faults: Faults,
    calls: Arc<Mutex<HashMap<Method, u64>>>,
    /// Where calls go on whose callers are gone, until `stop`.
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// What the transport does with a request's answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Sends it.
    Json(Vec<u8>),
    /// Sends nothing: every call was a notification.
    Nothing,
    /// Closes the connection.
    HangUp,
    /// Sends this instead.
    Http {
        /// The status code.
        status: u16,
        /// The body.
        body: String,
    },
}

impl Rpc {
    /// An RPC whose held calls run in `tasks` until `stop`.
    pub(crate) fn new(
        ledger: Ledger,
        faults: Faults,
        tasks: TaskTracker,
        stop: CancellationToken,
    ) -> Self {
        Self { ledger, faults, calls: Arc::default(), tasks, stop }
    }

    /// How many calls of `method` have come, faults included.
    pub(crate) fn calls(&self, method: Method) -> u64 {
        let calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        calls.get(&method).copied().unwrap_or_default()
    }

    /// Answers the body of one HTTP request: a call or a batch. `friendbot` is the URL to tell to clients.
    pub(crate) async fn answer(&self, body: &[u8], friendbot: &str) -> Answer {
        let message = match serde_json::from_slice(body) {
            Ok(message) => message,
            Err(error) => return Answer::json(&message::failed(Value::Null, Error::parse(&error))),
        };
        let Value::Array(batch) = message else {
            return match self.call(message, friendbot).await {
                Ok(Some(answer)) => Answer::json(&answer),
                Ok(None) => Answer::Nothing,
                Err(instead) => instead,
            };
        };
        if batch.is_empty() || batch.len() > BATCH {
            let error = Error::invalid_request(format!("a batch has 1 to {BATCH} calls"));
            return Answer::json(&message::failed(Value::Null, error));
        }
        let mut answers = Vec::with_capacity(batch.len());
        for one in batch {
            match self.call(one, friendbot).await {
                Ok(answer) => answers.extend(answer),
                Err(instead) => return instead,
            }
        }
        if answers.is_empty() { Answer::Nothing } else { Answer::json(&Value::Array(answers)) }
    }

    /// Answers one call; `Err` when a fault takes the place of the whole HTTP answer.
    async fn call(&self, call: Value, friendbot: &str) -> Result<Option<Value>, Answer> {
        let Message { id, method, params } = match message::parse(call) {
            Ok(call) => call,
            Err((id, error)) => return Ok(Some(message::failed(id, error))),
        };
        let Some(method) = Method::from_name(&method) else {
            return Ok(id.map(|id| message::failed(id, Error::no_method(&method))));
        };
        self.count(method);
        if !self.faults.holds().concern(method) {
            return self.carry_out(id, method, params, friendbot).await;
        }
        // A task of its own, which goes on when the caller hangs up and this future is dropped.
        let (rpc, friendbot, stop) = (self.clone(), friendbot.to_owned(), self.stop.clone());
        let held = async move { rpc.carry_out(id, method, params, &friendbot).await };
        let ended = self.tasks.spawn(async move { stop.run_until_cancelled(held).await }).await;
        ended.ok().flatten().unwrap_or(Err(Answer::HangUp))
    }

    /// As [`Rpc::call`], for a call that was counted.
    async fn carry_out(
        &self,
        id: Option<Value>,
        method: Method,
        params: Option<Value>,
        friendbot: &str,
    ) -> Result<Option<Value>, Answer> {
        let holds = self.faults.holds();
        if holds.pass(method, Moment::BeforeEffect, params.as_ref()).await == Way::Out {
            return Err(Answer::HangUp);
        }
        let fault = self.faults.meet(method);
        let mut view = View::latest(&self.ledger);
        let mut patience = None;
        let mut hang_up = false;
        match fault {
            None => {}
            Some(Fault::Delay(time)) => {
                tokio::time::sleep(time).await;
                view = View::latest(&self.ledger);
            }
            Some(Fault::DelayAnswer(time)) => patience = Some(time),
            Some(Fault::Drop) => return Err(Answer::HangUp),
            Some(Fault::DropAnswer) => hang_up = true,
            Some(Fault::Http { status, body }) => return Err(Answer::Http { status, body }),
            Some(Fault::Stale { ledgers }) => view = View::behind(&self.ledger, ledgers),
            Some(Fault::Error { code, message }) => {
                let error = Error { code, message };
                return Ok(id.map(|id| message::failed(id, error)));
            }
            Some(Fault::TryAgainLater) if method == Method::SendTransaction => {
                let answer = transaction::try_again_later(&view, params);
                return Ok(id.map(|id| message::ended(id, answer)));
            }
            Some(Fault::NotFound) => view = View::without_transactions(&self.ledger),
            Some(Fault::TryAgainLater) => {}
        }
        let asked = params.clone().filter(|_| holds.concern(method));
        let answer = dispatch(method, view, params, friendbot).await;
        if holds.pass(method, Moment::AfterEffect, asked.as_ref()).await == Way::Out {
            return Err(Answer::HangUp);
        }
        if let Some(time) = patience {
            tokio::time::sleep(time).await;
        }
        if hang_up {
            return Err(Answer::HangUp);
        }
        Ok(id.map(|id| message::ended(id, answer)))
    }

    fn count(&self, method: Method) {
        let mut calls = self.calls.lock().unwrap_or_else(PoisonError::into_inner);
        let count = calls.entry(method).or_default();
        *count = count.saturating_add(1);
    }
}

impl Answer {
    fn json(value: &Value) -> Self {
        Self::Json(value.to_string().into_bytes())
    }
}

async fn dispatch(
    method: Method,
    view: View,
    params: Option<Value>,
    friendbot: &str,
) -> Result<Value, Error> {
    match method {
        Method::GetHealth => message::result(read::health(&view)),
        Method::GetNetwork => message::result(read::network(&view, friendbot)),
        Method::GetVersionInfo => message::result(read::version_info()),
        Method::GetLatestLedger => message::result(read::latest_ledger(&view)),
        Method::GetFeeStats => message::result(read::fee_stats(&view)),
        Method::GetLedgerEntries => {
            message::result(read::ledger_entries(&view, message::params(params)?))
        }
        Method::SimulateTransaction => {
            message::result(simulate::simulate(view, message::params(params)?).await)
        }
        Method::SendTransaction => {
            message::result(transaction::send(&view, message::params(params)?))
        }
        Method::GetTransaction => {
            message::result(transaction::get(&view, message::params(params)?))
        }
        Method::GetTransactions => {
            message::result(transaction::list(&view, message::params(params)?))
        }
        Method::GetEvents => message::result(event::get(&view, message::params(params)?)),
    }
}

/// The calls that one batch may hold.
const BATCH: usize = 100;

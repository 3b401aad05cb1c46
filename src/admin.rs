//! The operator's own port: whether the gateway is alive and ready, its figures, what its channels owe, and the order to
//! collect it.
//!
//! GET tells and changes nothing; POST settles, closes or adopts. Both are for the operator alone, which is who has the token, or
//! where there is none who calls from this machine. Only `/healthz` and `/readyz` (`/live` and `/ready`) are for everybody, and tell nothing else.
//! What is told and done is [`Administered`]'s; here are no routes of the gateway, no payments and no configuration.
//! Source: design.md section 8, operations.md section 2.3.

mod asked;
mod gate;
mod tell;

use std::{borrow::Cow, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::Full;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tracing::{info, warn};

pub use self::gate::Token;
use self::{
    asked::{Asked, check_order},
    gate::Gate,
};
use crate::{
    closer::{CloseError, Collected, Standing, Standings},
    protocol::{
        money::Amount,
        stellar::{Asset, ContractId},
    },
    server::{Arriving, Inbound, Limits, Refused, Service},
    store::{self, Member, MemberId, Pending, channel::Phase},
    telemetry::{page, worth::Worth},
};

/// What an operator looks after: a gateway with its channels.
pub trait Administered: Clone + Send + Sync + 'static {
    /// Whether it gets round to the requests that come.
    fn is_alive(&self) -> bool;

    /// Whether it takes requests that pay.
    ///
    /// # Errors
    /// A sentence that says what stands in the way.
    fn ready(&self) -> Result<(), Cow<'static, str>>;

    /// The assets that it knows.
    fn assets(&self) -> Vec<Asset>;

    /// Its figures, as [`page::MEDIA_TYPE`].
    fn metrics(&self) -> String;

    /// What it is configured with, without what must stay secret.
    fn config(&self) -> Value;

    /// Its routes, and what they ask.
    fn routes(&self) -> Value;

    /// Has it read its configuration anew; what it runs on then, with the digest of the file.
    ///
    /// # Errors
    /// Everything that is wrong, as text; it goes on as before.
    fn reload(&self) -> impl Future<Output = Result<Value, String>> + Send;

    /// Where every channel stands.
    ///
    /// # Errors
    /// Those of the store.
    fn list(&self) -> impl Future<Output = Result<Standings, store::Error>> + Send;

    /// Where one channel stands; `None` if nothing was ever paid from it.
    ///
    /// # Errors
    /// Those of the store.
    fn show(
        &self,
        channel: ContractId,
    ) -> impl Future<Output = Result<Option<Standing>, store::Error>> + Send;

    /// Settles a channel.
    ///
    /// # Errors
    /// [`CloseError`].
    ///
    /// # Cancellation
    /// It goes on.
    fn settle(
        &self,
        channel: ContractId,
    ) -> impl Future<Output = Result<Collected, CloseError>> + Send;

    /// Closes a channel.
    ///
    /// # Errors
    /// [`CloseError`].
    ///
    /// # Cancellation
    /// It goes on.
    fn close(
        &self,
        channel: ContractId,
    ) -> impl Future<Output = Result<Collected, CloseError>> + Send;

    /// Has a channel whose account was rolled back go on from what the ledger shows; what counts as authorised then.
    ///
    /// # Errors
    /// [`CloseError`].
    fn adopt(&self, channel: ContractId)
    -> impl Future<Output = Result<Amount, CloseError>> + Send;

    /// The gateways that share the store; none where it is this gateway's alone, or no replica may take over.
    ///
    /// # Errors
    /// Those of the store.
    fn members(&self) -> impl Future<Output = Result<Vec<Member>, store::Error>> + Send;

    /// Waits no more for a gateway that is gone with its journal. Whether it was waited for.
    ///
    /// # Errors
    /// Those of the store.
    fn dismiss(&self, member: MemberId) -> impl Future<Output = Result<bool, store::Error>> + Send;

    /// The payments whose outcome is not known and that no request holds, so many at most.
    ///
    /// # Errors
    /// If the store cannot tell.
    fn unresolved(
        &self,
        most: usize,
    ) -> impl Future<Output = Result<Vec<Unresolved>, store::Error>> + Send;
}

/// A payment that was sent to the ledger, and of which nobody knows yet what became.
#[derive(Clone, Debug)]
pub struct Unresolved {
    /// What the store has of it.
    pub pending: Pending,
    /// Its method and what it comes to; `None` if what was remembered of it does not read.
    pub payment: Option<(&'static str, Worth)>,
}

/// The port's service. Clones share it.
#[derive(Clone, Debug)]
pub struct Admin<A> {
    administered: A,
    gate: Arc<Gate>,
}

impl<A: Administered> Admin<A> {
    /// The port of `administered`, for who has `token`; without one for who calls from this machine, so it must not be
    /// reachable from elsewhere then.
    #[must_use]
    pub fn new(administered: A, token: impl Into<Token>) -> Self {
        Self { administered, gate: Arc::new(Gate::new(token.into())) }
    }

    async fn respond(self, request: Request<Arriving>) -> Answer {
        let (head, body) = request.into_parts();
        let asked = Asked::read(&head.method, head.uri.path());
        match asked {
            Ok(Asked::Health) => return self.health(),
            Ok(Asked::Ready) => return self.ready(),
            _ => {}
        }
        if let Err(barred) = self.gate.admit(&head.headers) {
            return barred.answer();
        }
        let asked = match asked {
            Ok(asked) => asked,
            Err(not_asked) => return not_asked.answer(),
        };
        if asked.changes_something()
            && let Err(not_asked) = check_order(asked, &head.headers, body).await
        {
            return not_asked.answer();
        }
        self.carry_out(asked).await
    }

    async fn carry_out(self, asked: Asked) -> Answer {
        let assets = self.administered.assets();
        match asked {
            Asked::Health => self.health(),
            Asked::Ready => self.ready(),
            Asked::Metrics => answer_as(page::MEDIA_TYPE, self.administered.metrics()),
            Asked::Config => answer(StatusCode::OK, &self.administered.config()),
            Asked::Routes => answer(StatusCode::OK, &self.administered.routes()),
            Asked::Reload => {
                info!("an operator has the configuration read anew");
                match self.administered.reload().await {
                    Ok(taken) => answer(StatusCode::OK, &taken),
                    Err(faults) => error(StatusCode::UNPROCESSABLE_ENTITY, &faults),
                }
            }
            Asked::List => match self.administered.list().await {
                Ok(all) => {
                    let channels = all.channels.iter();
                    let channels: Vec<_> =
                        channels.map(|standing| tell::standing(standing, &assets)).collect();
                    let unreadable = all.unreadable.iter().map(ContractId::to_string);
                    let unreadable: Vec<_> = unreadable.collect();
                    let all = json!({ "channels": channels, "unreadable": unreadable });
                    answer(StatusCode::OK, &all)
                }
                Err(error) => store_failed(&error),
            },
            Asked::Show(channel) => match self.administered.show(channel).await {
                Ok(Some(standing)) => answer(StatusCode::OK, &tell::standing(&standing, &assets)),
                Ok(None) => error(StatusCode::NOT_FOUND, &CloseError::Unknown(channel).to_string()),
                Err(error) => store_failed(&error),
            },
            Asked::Settle(channel) => {
                info!(%channel, "an operator has a channel settled");
                collected(channel, self.administered.settle(channel).await)
            }
            Asked::Close(channel) => {
                info!(%channel, "an operator has a channel closed");
                collected(channel, self.administered.close(channel).await)
            }
            Asked::Adopt(channel) => match self.administered.adopt(channel).await {
                Ok(authorised) => answer(StatusCode::OK, &tell::adopted(channel, authorised)),
                Err(why) => refused(&why),
            },
            Asked::CloseAll => self.close_all().await,
            Asked::Members => match self.administered.members().await {
                Ok(members) => {
                    let members: Vec<_> = members.iter().map(tell::member).collect();
                    answer(StatusCode::OK, &json!({ "members": members }))
                }
                Err(error) => store_failed(&error),
            },
            Asked::Payments => match self.administered.unresolved(MOST_PAYMENTS).await {
                Ok(payments) => {
                    let is_all = payments.len() < MOST_PAYMENTS;
                    answer(StatusCode::OK, &tell::payments(&payments, is_all, &assets))
                }
                Err(error) => store_failed(&error),
            },
            Asked::Dismiss(member) => match self.administered.dismiss(member).await {
                Ok(true) => {
                    warn!(%member, "an operator says that a gateway is gone, with its journal");
                    answer(StatusCode::OK, &json!({ "dismissed": member.to_string() }))
                }
                Ok(false) => error(StatusCode::NOT_FOUND, &format!("`{member}` is no member")),
                Err(error) => store_failed(&error),
            },
        }
    }

    /// Closes every channel that is not closed, some at a time, and says of each what came of it.
    async fn close_all(self) -> Answer {
        let all = match self.administered.list().await {
            Ok(all) => all,
            Err(error) => return store_failed(&error),
        };
        let open = all
            .channels
            .into_iter()
            .filter(|standing| !matches!(standing.phase, Phase::Closed { .. }));
        let mut waiting: Vec<_> = open.map(|standing| standing.channel).collect();
        info!(channels = waiting.len(), "an operator has all channels closed");
        // The last comes first out of it.
        waiting.reverse();
        let mut under_way = JoinSet::new();
        let (mut closed, mut nothing, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        loop {
            while under_way.len() < AT_ONCE
                && let Some(channel) = waiting.pop()
            {
                let administered = self.administered.clone();
                under_way.spawn(async move { (channel, administered.close(channel).await) });
            }
            match under_way.join_next().await {
                None => break,
                Some(Ok((channel, Ok(done)))) => closed.push(tell::collected(channel, &done)),
                Some(Ok((channel, Err(CloseError::Nothing)))) => nothing.push(channel.to_string()),
                Some(Ok((channel, Err(why)))) => {
                    failed.push(json!({ "channel": channel.to_string(), "error": said(&why) }));
                }
                Some(Err(panic)) => warn!(%panic, "closing a channel broke off"),
            }
        }
        let outcome = json!({ "closed": closed, "nothing_to_collect": nothing, "failed": failed });
        answer(StatusCode::OK, &outcome)
    }

    fn health(&self) -> Answer {
        match self.administered.is_alive() {
            true => answer(StatusCode::OK, &json!({ "status": "ok" })),
            false => error(StatusCode::SERVICE_UNAVAILABLE, "a worker does not get on: restart it"),
        }
    }

    fn ready(&self) -> Answer {
        match self.administered.ready() {
            Ok(()) => answer(StatusCode::OK, &json!({ "status": "ready" })),
            Err(why) => {
                let why = json!({ "status": "not ready", "error": why });
                answer(StatusCode::SERVICE_UNAVAILABLE, &why)
            }
        }
    }
}

impl<A: Administered> Service for Admin<A> {
    type Body = Full<Bytes>;

    fn answer(&self, inbound: Inbound) -> impl Future<Output = Answer> + Send + 'static {
        self.clone().respond(inbound.request)
    }

    fn refuse(&self, refused: Refused, _: &HeaderMap) -> Answer {
        error(refused.status(), &refused.to_string())
    }
}

/// What the port's server bounds: its callers are few and say little, and none keeps the others out.
pub const LIMITS: Limits = Limits {
    connections: 64,
    connections_of_one: 16,
    header_bytes: 16 * 1024,
    streams: 16,
    ..Limits::USUAL
};

type Answer = Response<Full<Bytes>>;

fn collected(channel: ContractId, outcome: Result<Collected, CloseError>) -> Answer {
    match outcome {
        Ok(done) => answer(StatusCode::OK, &tell::collected(channel, &done)),
        Err(why) => refused(&why),
    }
}

fn refused(why: &CloseError) -> Answer {
    let status = match why {
        CloseError::Unknown(_) => StatusCode::NOT_FOUND,
        CloseError::Nothing
        | CloseError::Closed
        | CloseError::NotBehind
        | CloseError::OtherPayee { .. } => StatusCode::CONFLICT,
        CloseError::Pending(_) => StatusCode::ACCEPTED,
        CloseError::Refused(_) | CloseError::Failed(_) => StatusCode::BAD_GATEWAY,
        CloseError::Store(_) | CloseError::Stopping | CloseError::Unseen(_) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
    };
    error(status, &said(why))
}

fn store_failed(why: &store::Error) -> Answer {
    error(StatusCode::SERVICE_UNAVAILABLE, &said(why))
}

/// An error with its causes: whoever hears it is the operator.
fn said(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

fn error(status: StatusCode, what: &str) -> Answer {
    answer(status, &json!({ "error": what }))
}

fn answer(status: StatusCode, json: &Value) -> Answer {
    let mut answer = answer_as("application/json", json.to_string());
    *answer.status_mut() = status;
    answer
}

fn answer_as(media_type: &'static str, text: String) -> Answer {
    let mut answer = Response::new(Full::from(text));
    let value = http::HeaderValue::from_static;
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, value(media_type));
    headers.insert(header::CACHE_CONTROL, value("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, value("nosniff"));
    answer
}

/// Payments that are told at once.
const MOST_PAYMENTS: usize = 1_024;
/// Channels that are closed side by side.
const AT_ONCE: usize = 16;

#[cfg(test)]
mod tests;

//! Asks servers how they are, beside the requests and on connections of its own.
//!
//! A server that fails its checks is asked by no request until it passes one again. Where no checks are wanted, one
//! connection is made to each new server, so that no payment is taken for one that was never there.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, Request, header, uri::PathAndQuery, uri::Scheme};
use http_body::Body;
use http_body_util::Empty;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::{
    BoxError,
    body::Upload,
    choice::Member,
    connect::{DialError, Dialer},
    headers,
    pace::Pace,
    pool::Line,
};

/// How the servers of an upstream are asked how they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// What is asked for, with GET.
    pub path: PathAndQuery,
    /// How often, and once a second at least while the answer is bad.
    pub interval: Duration,
    /// How long a server has for its answer.
    pub timeout: Duration,
    /// How many good answers in a row end a bad time.
    pub healthy_after: u32,
    /// How many bad ones in a row begin it. The very first answer counts at once.
    pub unhealthy_after: u32,
    /// The statuses of a good answer.
    pub expect: RangeInclusive<u16>,
}

/// Checks `members` again and again; never ends.
pub(super) async fn check_all<B>(
    members: Vec<Arc<Member<B>>>,
    dialer: Dialer,
    check: Check,
    set_headers: Vec<(HeaderName, HeaderValue)>,
) where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let watching = members.iter().map(|member| {
        let (dialer, check, set_headers) = (&dialer, &check, &set_headers);
        async move {
            loop {
                let asked = timeout(check.timeout, ask(member, dialer, check, set_headers)).await;
                let outcome = asked.unwrap_or(Err(Failure::TimedOut(check.timeout)));
                match &outcome {
                    Err(Failure::Dial(error)) if error.is_ours() => {
                        debug!(%error, "no health check, and nothing is known of the server");
                    }
                    outcome => {
                        if let Err(Failure::Dial(error)) = outcome {
                            member.set_down(dialer, error);
                        }
                        note(member, check, outcome);
                    }
                }
                let is_fine = outcome.is_ok();
                sleep(if is_fine { check.interval } else { check.interval.min(SOON) }).await;
            }
        }
    });
    join_all(watching).await;
}

/// Makes one connection to each server that nothing is known of.
pub(super) async fn greet_all<B>(members: Vec<Arc<Member<B>>>, dialer: Dialer)
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    let unknown = members.iter().filter(|member| member.health.is_first_look());
    let greeting = unknown.map(|member| async {
        if let Err(error) = dialer.dial::<B>(&member.server.address, false).await {
            member.set_down(&dialer, &error);
        }
    });
    join_all(greeting).await;
}

async fn ask<B>(
    member: &Member<B>,
    dialer: &Dialer,
    check: &Check,
    set_headers: &[(HeaderName, HeaderValue)],
) -> Result<(), Failure> {
    let address = &member.server.address;
    let line = dialer.dial::<Empty<Bytes>>(address, false).await.map_err(Failure::Dial)?;
    let body = Upload::new(Empty::new(), check.timeout, None, 0, Pace::none(), None);
    let mut request = Request::new(body);
    *request.uri_mut() = check.path.clone().into();
    let headers = request.headers_mut();
    headers.insert(header::USER_AGENT, HeaderValue::from_static("tollgate-health"));
    for (name, value) in set_headers {
        headers.insert(name, value.clone());
    }
    let answer = match line {
        Line::Link { mut sender, .. } => {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            headers::fit_h1(&mut request, address).map_err(Failure::Unwritable)?;
            sender.send_request(request).await
        }
        Line::Session { mut sender, .. } => {
            let scheme = if dialer.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
            headers::fit_h2(&mut request, scheme, address).map_err(Failure::Unwritable)?;
            sender.send_request(request).await
        }
    };
    let status = answer.map_err(Failure::Broken)?.status().as_u16();
    if check.expect.contains(&status) { Ok(()) } else { Err(Failure::Status(status)) }
}

fn note<B>(member: &Member<B>, check: &Check, outcome: &Result<(), Failure>) {
    let after = (check.healthy_after, check.unhealthy_after);
    let is_new = member.health.note_check(outcome.is_ok(), after);
    let server = &member.server.address;
    match outcome {
        Ok(()) if is_new => info!(%server, "a server passes its health check again"),
        Ok(()) => {}
        Err(error) if is_new => warn!(%server, %error, "a server fails its health check"),
        Err(error) => debug!(%server, %error, "a bad answer to a health check"),
    }
}

/// Why a check was not passed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("{0}")]
    Dial(#[source] DialError),
    #[error("no answer within {0:?}")]
    TimedOut(Duration),
    #[error("{0}")]
    Broken(#[source] hyper::Error),
    #[error("{0}")]
    Unwritable(#[source] http::Error),
    #[error("status {0}")]
    Status(u16),
}

/// How soon a server is asked again that gave a bad answer.
const SOON: Duration = Duration::from_secs(1);

//! A request on its way to a server, and to the next one if nothing of it was sent.

use std::{
    error::Error as StdError, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration,
};

use bytes::Bytes;
use http::{
    Request, Response,
    uri::{Authority, Scheme},
};
use http_body::Body;
use hyper::{body::Incoming, client::conn::TrySendError};
use tokio::time::{Instant, timeout_at};

use super::{
    BoxError, answer,
    body::Upload,
    choice::{Member, Servers},
    connect::Dialer,
    headers,
    lease::Lease,
    outgoing::Upward,
    pace::{GoAhead, Pace},
    pool::{Link, Server, Stream, Use},
};
use crate::guard::{Obstacle, Reached};

/// How a request is sent.
pub(super) struct Sending<'a, B> {
    pub(super) dialer: &'a Dialer,
    pub(super) servers: &'a Servers<B>,
    pub(super) patience: Duration,
    pub(super) needs_h1: bool,
    pub(super) pace: Pace,
    pub(super) go_ahead: Option<GoAhead>,
    pub(super) reached: &'a Reached,
}

impl<B> Sending<'_, B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    /// Sends the request to one server after the other until one has seen something of it, and waits for the head of its
    /// answer.
    pub(super) async fn send(
        self,
        mut request: Upward<B>,
    ) -> Result<(Response<Incoming>, Lease<B>), Obstacle> {
        // Whoever waits for connections waits no longer than for an answer; nothing of the request is sent yet.
        let until = Instant::now().checked_add(self.patience).unwrap_or_else(Instant::now);
        let mut tried = Vec::new();
        let mut obstacle = Obstacle::Down;
        while let Some(member) = self.servers.choose(&tried, self.patience) {
            match self.send_to(member, request, until).await {
                Outcome::Answered(answer, lease) => return Ok((answer, lease)),
                Outcome::Failed(obstacle) => return Err(obstacle),
                Outcome::Unsent(unsent, why) => {
                    request = unsent;
                    obstacle = why;
                    tried.push(member.clone());
                }
            }
        }
        Err(obstacle)
    }

    async fn send_to(
        &self,
        member: &Arc<Member<B>>,
        mut request: Upward<B>,
        until: Instant,
    ) -> Outcome<B> {
        let server = &member.server;
        loop {
            // It counts from here on, so that those who come while it connects go elsewhere.
            let load = server.load.clone();
            let (connection, is_new) = match timeout_at(until, self.connect(member)).await {
                Ok(Ok(connected)) => connected,
                Ok(Err(why)) => return Outcome::Unsent(request, why),
                Err(_) => {
                    self.servers.note_failure(member);
                    let what = format!("it was not connected within {:?}", self.patience);
                    return Outcome::Failed(Obstacle::Unreachable(what));
                }
            };
            self.reached.set(true);
            let sent = match connection {
                Use::Link(link) => self.send_h1(server, link, load, request).await,
                Use::Stream(stream) => self.send_h2(&server.address, stream, load, request).await,
            };
            let (sent, lease) = match sent {
                Ok(sent) => sent,
                Err(obstacle) => {
                    if matches!(obstacle, Obstacle::TimedOut) {
                        self.servers.note_failure(member);
                    }
                    return Outcome::Failed(obstacle);
                }
            };
            let mut failure = match sent {
                Ok(answer) => return self.judged(member, answer, lease),
                Err(failure) => failure,
            };
            let unsent = failure.take_message();
            self.reached.set(unsent.is_none());
            match unsent {
                // The connection was closed before anything of the request was on it.
                Some(unsent) if !is_new => request = Box::new(unsent),
                Some(unsent) => {
                    self.servers.note_failure(member);
                    let why = Obstacle::Unreachable(causes(failure.error()));
                    return Outcome::Unsent(Box::new(unsent), why);
                }
                // The client's doing, or the server's.
                None => match self.pace.take_lost() {
                    Some(lost) => return Outcome::Failed(lost),
                    None => return self.broken(member, causes(failure.error())),
                },
            }
        }
    }

    /// A connection to the server, and whether it is new; if there is none to be had, why.
    async fn connect(&self, member: &Arc<Member<B>>) -> Result<(Use<B>, bool), Obstacle> {
        let mut connected = pin!(member.server.connection(self.dialer, self.needs_h1));
        let is_shared = self.dialer.may_speak_h2() && !self.needs_h1;
        let connected = match poll_fn(|cx| Poll::Ready(connected.as_mut().poll(cx))).await {
            Poll::Ready(connected) => connected,
            // All of them wait for one to connect, and need not find out one after the other that it cannot.
            Poll::Pending if is_shared => tokio::select! {
                biased;
                () = member.is_gone() => {
                    return Err(Obstacle::Unreachable("others could not connect to it".to_owned()));
                }
                connected = connected => connected,
            },
            Poll::Pending => connected.await,
        };
        connected.map_err(|error| {
            // A server that speaks only HTTP/2 is not down because one request cannot be sent by that.
            if is_shared || !self.dialer.may_speak_h2() {
                member.set_down(self.dialer, &error);
            }
            if error.is_ours() {
                self.servers.note_scarcity(&error);
                Obstacle::Busy
            } else {
                Obstacle::Unreachable(error.to_string())
            }
        })
    }

    /// What two could read in two ways is no answer.
    fn judged(
        &self,
        member: &Member<B>,
        answer: Response<Incoming>,
        lease: Lease<B>,
    ) -> Outcome<B> {
        match answer::ambiguity(answer.headers()) {
            Some(fault) => self.broken(member, fault.to_owned()),
            None => {
                self.servers.note_answer(member, answer.status());
                Outcome::Answered(answer, lease)
            }
        }
    }

    fn broken(&self, member: &Member<B>, why: String) -> Outcome<B> {
        self.servers.note_failure(member);
        Outcome::Failed(Obstacle::Broken(why))
    }

    async fn send_h1(
        &self,
        server: &Arc<Server<B>>,
        mut link: Link<B>,
        load: Arc<()>,
        mut request: Upward<B>,
    ) -> Result<(Sent<B>, Lease<B>), Obstacle> {
        headers::frame(&mut request);
        headers::fit_h1(&mut request, &server.address).map_err(unwritable)?;
        answer::watch_interim(&mut request, link.cutter(), self.go_ahead.clone());
        let answer = pin!(link.sender.try_send_request(*request));
        // Dropped while it waits, it cuts the connection off.
        self.pace.hold(&load);
        let lease = Lease::of_link(link, server.clone(), load, self.pace.clone());
        let sent = self.pace.wait(self.patience, answer).await.ok_or(Obstacle::TimedOut)?;
        Ok((sent, lease))
    }

    async fn send_h2(
        &self,
        address: &Authority,
        mut stream: Stream<B>,
        load: Arc<()>,
        mut request: Upward<B>,
    ) -> Result<(Sent<B>, Lease<B>), Obstacle> {
        let scheme = if self.dialer.tls.is_some() { Scheme::HTTPS } else { Scheme::HTTP };
        headers::fit_h2(&mut request, scheme, address).map_err(unwritable)?;
        request.extensions_mut().clear();
        // Nothing tells here that the upstream wants the body.
        if let Some(go_ahead) = &self.go_ahead {
            go_ahead.give();
        }
        // Its body may go on when the answer has ended.
        self.pace.hold(&load);
        self.pace.hold(&stream.place);
        let lease = Lease::of_stream(stream.place.clone(), load);
        let answer = pin!(stream.sender.try_send_request(*request));
        let sent = self.pace.wait(self.patience, answer).await.ok_or(Obstacle::TimedOut)?;
        Ok((sent, lease))
    }
}

/// What became of a request at one server.
enum Outcome<B>
where
    B: Body<Data = Bytes, Error: Into<BoxError>> + Send + Unpin + 'static,
{
    Answered(Response<Incoming>, Lease<B>),
    /// Nothing of it was sent, and why.
    Unsent(Upward<B>, Obstacle),
    Failed(Obstacle),
}

type Sent<B> = Result<Response<Incoming>, TrySendError<Request<Upload<B>>>>;

fn unwritable(error: http::Error) -> Obstacle {
    Obstacle::Unreachable(error.to_string())
}

/// An error with all that caused it.
fn causes(error: &hyper::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

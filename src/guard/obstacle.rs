//! Why there is no answer from the upstream, and how that is told to who asked: truly, where money is concerned.

use std::{fmt, time::Duration};

use http::{Response, StatusCode};
use tracing::{debug, warn};

use super::problem::Problem;
use crate::{pay::Redelivery, route::Route};

/// Why the upstream gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Obstacle {
    /// It has as many requests as it may have.
    #[error("the upstream has no room for another request")]
    Busy,
    /// None of its servers can be asked now, which was known before.
    #[error("no server of the upstream can be asked now")]
    Down,
    /// It could not be reached; it has seen nothing of the request.
    #[error("the upstream cannot be reached: {0}")]
    Unreachable(String),
    /// It did not begin to answer in time.
    #[error("the upstream did not begin to answer in time")]
    TimedOut,
    /// It asks for money itself, which the client would take for the gateway's question.
    #[error("the upstream answers 402 to a paid request")]
    AsksForMoney,
    /// The connection broke, or the answer was no HTTP.
    #[error("the upstream broke off: {0}")]
    Broken(String),
    /// The client did not send the whole body of its request, or took too long.
    #[error("the request's body did not come: {0}")]
    BodyLost(String),
    /// The body of the request is longer than its route takes.
    #[error("the request's body is longer than the {0} bytes that its route takes")]
    BodyTooLong(u64),
}

/// What became of the money of a request without an answer.
#[derive(Clone, Copy, Debug)]
pub(super) enum Money {
    /// It did not move for this request, or is back where it was.
    Still,
    /// The payment was not looked at: it may have moved before.
    Unknown,
    /// It has moved, and the payment may be presented again as often as before.
    Ready,
    /// It has moved, and this was one of the times that the payment may be presented.
    Tried(Redelivery),
}

impl Obstacle {
    /// Whether what was sent counts as an attempt to deliver.
    ///
    /// A body that is too long does not: its end never reached the upstream, and to send as much again costs its client no
    /// less than the upstream. Who breaks off earlier might do so for as little as it likes, again and again.
    pub(super) const fn is_an_attempt(&self) -> bool {
        !matches!(self, Self::Busy | Self::Down | Self::Unreachable(_) | Self::BodyTooLong(_))
    }
}

impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Still => f.write_str("nothing was charged for this request"),
            Self::Unknown => f.write_str(
                "the payment was not looked at: present it again with the same request, this did not count",
            ),
            Self::Ready => f.write_str(
                "the payment is settled: present it again with the same request, this did not count",
            ),
            Self::Tried(Redelivery { attempts, within }) => {
                let within = within.as_secs();
                write!(
                    f,
                    "the payment is settled: it may be presented {attempts} times in all with the same request, within \
                     {within} s, and this was one of them"
                )
            }
        }
    }
}

/// A client that has paid must not be asked again by somebody else.
pub(super) fn not_asked_for_more<B>(response: Response<B>) -> Result<Response<B>, Obstacle> {
    if response.status() == StatusCode::PAYMENT_REQUIRED {
        return Err(Obstacle::AsksForMoney);
    }
    Ok(response)
}

/// What is told of an obstacle.
pub(super) fn problem_of(obstacle: &Obstacle, route: &Route, money: Money) -> Problem {
    match obstacle {
        // The client's doing: nothing for an operator, and as often as the client likes.
        Obstacle::BodyLost(_) | Obstacle::BodyTooLong(_) => {
            debug!(route = %route.name, %obstacle, "a request's body is not taken");
        }
        // That was told when it was found out.
        Obstacle::Down => debug!(route = %route.name, %obstacle, "a request is not forwarded"),
        _ => warn!(route = %route.name, %obstacle, "no answer from the upstream"),
    }
    match obstacle {
        Obstacle::Busy => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format_args!("the service has as much to do as it can take; {money}"),
        )
        .with_retry_after(Duration::from_secs(1)),
        Obstacle::Down => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            format_args!("the service behind the gateway cannot be reached now; {money}"),
        )
        .with_retry_after(Duration::from_secs(1)),
        Obstacle::Unreachable(_) | Obstacle::Broken(_) | Obstacle::AsksForMoney => Problem::new(
            StatusCode::BAD_GATEWAY,
            format_args!("the service behind the gateway gave no answer; {money}"),
        ),
        Obstacle::TimedOut => Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            format_args!("the service behind the gateway did not answer in time; {money}"),
        ),
        Obstacle::BodyLost(_) => Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            format_args!("the request's body did not come, or not in time; {money}"),
        ),
        Obstacle::BodyTooLong(_) => {
            Problem::new(StatusCode::PAYLOAD_TOO_LARGE, format_args!("{obstacle}; {money}"))
        }
    }
}

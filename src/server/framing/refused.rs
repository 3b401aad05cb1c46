//! Why a request is not let in, and what it is told.

use http::StatusCode;

use crate::protocol::target::Ambiguous;

/// Why a request is not let in; nothing of it goes further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The target has more than one reading.
    #[error(transparent)]
    Target(#[from] Ambiguous),
    /// A first line that is not a method, a target and a version between single blanks.
    #[error("the request's first line is not `METHOD target HTTP/1.1`")]
    FirstLine,
    /// Another version than HTTP/1.0 and HTTP/1.1, on a connection of those.
    #[error("the request is of another version than HTTP/1.0 and HTTP/1.1")]
    Version,
    /// A line feed without a carriage return, or the other way round.
    #[error("a line of the request does not end with CR LF")]
    LineEnd,
    /// A control character.
    #[error("the request's head has a control character")]
    Control,
    /// A header that is not a name, a colon and a value, or whose name can be taken for another.
    #[error("a header of the request is not `Name: value`")]
    Field,
    /// A header that goes on in the next line.
    #[error("a header of the request goes on in the next line")]
    Folded,
    /// More headers than the listener takes.
    #[error("the request has too many headers")]
    TooManyFields,
    /// A head that is longer than the listener takes.
    #[error("the request's head is too long")]
    HeadTooLong,
    /// A head that does not come to its end in time.
    #[error("the request's head did not come in time")]
    Slow,
    /// A `Content-Length` that is no plain number.
    #[error("the request's `Content-Length` is not a number of bytes")]
    Length,
    /// More than one `Content-Length`.
    #[error("the request has more than one `Content-Length`")]
    TwoLengths,
    /// `Content-Length` beside `Transfer-Encoding`.
    #[error("the request has both `Content-Length` and `Transfer-Encoding`")]
    LengthAndChunks,
    /// `Transfer-Encoding` in HTTP/1.0.
    #[error("a request of HTTP/1.0 has no `Transfer-Encoding`")]
    OldChunks,
    /// A body in HTTP/1.0 on a connection that is to stay.
    #[error("a request of HTTP/1.0 with a body ends its connection")]
    OldBody,
    /// A chunk, or a trailer, in another form than all readers agree on.
    #[error("the chunks of the request's body are malformed")]
    Chunk,
    /// A transfer coding other than one `chunked`.
    #[error("the request has another transfer coding than one `chunked`")]
    TransferCoding,
    /// More than one `Host`.
    #[error("the request has more than one `Host`")]
    TwoHosts,
    /// No `Host`, where the protocol demands one.
    #[error("the request has no `Host`")]
    NoHost,
    /// A `Host` or `:authority` that is not `host` or `host:port`.
    #[error("the request's host is not `host` or `host:port`")]
    BadHost,
    /// `Host` is another than the one in the target or in `:authority`.
    #[error("the request names two hosts")]
    OtherHost,
    /// A host that the certificate shown to this client is not for, where others are shown too.
    #[error("the request is for another host than its connection: open one for that host")]
    Misdirected,
    /// A method that the gateway does not know.
    #[error("the request's method is not one of GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS")]
    UnknownMethod,
    /// CONNECT or TRACE.
    #[error("CONNECT and TRACE are not served")]
    ForbiddenMethod,
    /// An `Expect` other than `100-continue`.
    #[error("the request expects something else than `100-continue`")]
    Expectation,
}

impl Refused {
    /// The status of the answer.
    #[must_use]
    pub const fn status(self) -> StatusCode {
        match self {
            Self::Target(Ambiguous::TooLong) => StatusCode::URI_TOO_LONG,
            Self::UnknownMethod | Self::TransferCoding => StatusCode::NOT_IMPLEMENTED,
            Self::ForbiddenMethod => StatusCode::METHOD_NOT_ALLOWED,
            Self::Expectation => StatusCode::EXPECTATION_FAILED,
            Self::TooManyFields | Self::HeadTooLong => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::Slow => StatusCode::REQUEST_TIMEOUT,
            Self::Version => StatusCode::HTTP_VERSION_NOT_SUPPORTED,
            _ => StatusCode::BAD_REQUEST,
        }
    }
}

//! Where the messages on an HTTP/1 connection begin and end, read in the one way that every reader agrees on.
//!
//! A request whose end two readers see in two places is how one request is smuggled in another. What hyper tolerates is
//! refused here, before hyper sees it: a length beside chunks, a second length, a line that ends with a bare line feed, a
//! fragment, and the like. Heads are let through whole or not at all, bodies as they come. Nothing is copied, and what came
//! of a head is looked at again only where its last line was not whole.
//!
//! Pure: bytes in, a count of bytes out. It knows the framing and the grammar and no more; what hosts, methods and targets
//! may be is the [edge](super::edge)'s. Source: RFC 9112.

mod chunk;
mod head;
mod refused;

#[cfg(test)]
mod tests;

pub use self::refused::Refused;
use self::{
    chunk::Chunks,
    head::{Body, Head, Read},
};

/// The messages of one connection, as they come.
#[derive(Debug)]
pub(super) struct Framing {
    bounds: Bounds,
    state: State,
    /// The heads that were let through.
    heads: u64,
}

/// The most that a head may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub(super) bytes: usize,
    pub(super) fields: usize,
}

/// What may be done with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    /// As many of them may go on. The others have to be shown again, with what comes behind them.
    pub(super) length: usize,
    /// Why nothing that comes behind those may ever go on.
    pub(super) refused: Option<Refused>,
}

#[derive(Debug)]
enum State {
    /// Before the end of a head.
    Head(Head),
    /// In a body of which so much is left.
    Counted {
        left: u64,
        asks: bool,
    },
    Chunked {
        chunks: Chunks,
        asks: bool,
    },
    /// Behind a request that asks for another protocol: what comes next is HTTP only if it is refused that.
    Asked,
    /// The protocol has changed.
    Open,
    /// Something was refused.
    Closed,
}

impl Framing {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self { bounds, state: State::default(), heads: 0 }
    }

    /// Looks at the bytes behind those that went on.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Passed {
        let mut length = 0;
        loop {
            let rest = bytes.get(length..).unwrap_or_default();
            if rest.is_empty() {
                return Passed { length, refused: None };
            }
            match self.step(rest) {
                Ok(0) => return Passed { length, refused: None },
                Ok(more) => length = length.saturating_add(more),
                Err((more, refused)) => {
                    let length = length.saturating_add(more);
                    return Passed { length, refused: Some(refused) };
                }
            }
        }
    }

    /// How many of the bytes go on in this state; of refused ones, those before the first that is wrong.
    fn step(&mut self, bytes: &[u8]) -> Result<usize, (usize, Refused)> {
        match &mut self.state {
            State::Head(head) => match head.read(bytes, self.bounds) {
                Ok(None) => Ok(0),
                Ok(Some(read)) => {
                    self.heads = self.heads.saturating_add(1);
                    self.state = State::behind(&read, self.bounds);
                    Ok(read.length)
                }
                Err(refused) => {
                    self.state = State::Closed;
                    Err((0, refused))
                }
            },
            State::Counted { left, asks } => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left = left.saturating_sub(u64::try_from(length).unwrap_or(u64::MAX));
                if *left == 0 {
                    self.state = State::after(*asks);
                }
                Ok(length)
            }
            State::Chunked { chunks, asks } => match chunks.read(bytes) {
                Ok((length, is_end)) => {
                    if is_end {
                        self.state = State::after(*asks);
                    }
                    Ok(length)
                }
                Err(length) => Err((length, Refused::Chunk)),
            },
            State::Open => Ok(bytes.len()),
            State::Asked | State::Closed => Ok(0),
        }
    }

    /// The heads that were let through.
    pub(super) const fn heads(&self) -> u64 {
        self.heads
    }

    /// Whether the next byte is a request's, be it the first or a later one of its head.
    pub(super) const fn is_in_head(&self) -> bool {
        matches!(self.state, State::Head(_))
    }

    /// Whether the next byte is a body's.
    pub(super) const fn is_in_body(&self) -> bool {
        matches!(self.state, State::Counted { .. } | State::Chunked { .. })
    }

    /// Whether the last request asks for another protocol, and was not answered yet.
    pub(super) const fn is_asked(&self) -> bool {
        matches!(self.state, State::Asked)
    }

    /// Whether the last request asks for another protocol, be it that its body is yet to come.
    pub(super) const fn asks(&self) -> bool {
        match self.state {
            State::Counted { asks, .. } | State::Chunked { asks, .. } => asks,
            State::Asked => true,
            State::Head(_) | State::Open | State::Closed => false,
        }
    }

    /// Whether the protocol has changed.
    pub(super) const fn is_open(&self) -> bool {
        matches!(self.state, State::Open)
    }

    /// Whether nothing goes on any more.
    pub(super) const fn is_closed(&self) -> bool {
        matches!(self.state, State::Closed)
    }

    /// Changes the protocol if the request for that was granted, and goes on with HTTP otherwise.
    pub(super) fn answer(&mut self, is_granted: bool) {
        self.state = if is_granted { State::Open } else { State::default() };
    }

    /// Lets nothing go on any more.
    pub(super) fn close(&mut self) {
        self.state = State::Closed;
    }
}

impl State {
    fn behind(read: &Read, bounds: Bounds) -> Self {
        let asks = read.asks_for_upgrade;
        match read.body {
            Body::Counted(0) => Self::after(asks),
            Body::Counted(left) => Self::Counted { left, asks },
            Body::Chunked => Self::Chunked { chunks: Chunks::new(bounds), asks },
        }
    }

    fn after(asks: bool) -> Self {
        if asks { Self::Asked } else { Self::default() }
    }
}

impl Default for State {
    fn default() -> Self {
        Self::Head(Head::default())
    }
}

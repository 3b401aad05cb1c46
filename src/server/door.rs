//! The framing and the edge without a connection: the way in for the checks of [`crate::fuzz`].

use http::{Request, uri::Scheme};

use super::{
    Inbound, Proxies,
    edge::{self, Way},
    framing::{Bounds, Framing},
};

/// How a connection's bytes were split into requests.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Split {
    /// Where the head and the body end, of each request whose head was let through; a body may not have come to its end.
    pub(crate) requests: Vec<(usize, Option<usize>)>,
    /// As many of the bytes were let through.
    pub(crate) passed: usize,
    /// Whether the next one was refused.
    pub(crate) is_refused: bool,
}

/// Shows `bytes` in pieces of so many as `size` says, and grants no other protocol.
///
/// In pieces of one byte it knows where each body ends; in others it leaves that out.
pub(crate) fn split(bytes: &[u8], mut size: impl FnMut() -> usize) -> Split {
    let mut framing = Framing::new(Bounds { bytes: 16 << 10, fields: 100 });
    let (mut split, mut shown) = (Split::default(), 0_usize);
    loop {
        let more = bytes.get(split.passed..shown).unwrap_or_default();
        let heads = framing.heads();
        let read = framing.read(more);
        split.passed = split.passed.saturating_add(read.length);
        if framing.heads() > heads {
            split.requests.push((split.passed, None));
        }
        let is_between = framing.is_in_head() || framing.is_asked();
        if let (true, true, Some((_, end @ None))) =
            (is_between, read.length > 0, split.requests.last_mut())
        {
            *end = Some(split.passed);
        }
        if read.refused.is_some() {
            split.is_refused = true;
            return split;
        }
        if framing.is_asked() {
            framing.answer(false);
            continue;
        }
        if shown >= bytes.len() {
            return split;
        }
        shown = shown.saturating_add(size().max(1)).min(bytes.len());
    }
}

/// Reads a request's head as it came on a connection without TLS.
pub(crate) fn read<B>(request: Request<B>) -> Option<Inbound<B>> {
    let peer = ([192, 0, 2, 1], 4711).into();
    let way = Way { peer, scheme: Scheme::HTTP, named: None, proxies: Proxies::default() };
    edge::read(request, way).ok()
}

//! How much a client may take of a listener, and for how long.

use std::time::Duration;

/// What a server bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at once; more are turned away.
    pub connections: usize,
    /// How many of them may come from one address, or one network of IPv6 (/64).
    pub connections_of_one: usize,
    /// The most bytes that a request's head may have.
    pub header_bytes: usize,
    /// The most headers that a request may have.
    pub headers: usize,
    /// How long a request's head may take from its first byte on, and that byte on a new connection.
    pub header_timeout: Duration,
    /// How long a connection may stay unused behind an answer.
    pub idle_timeout: Duration,
    /// How long 4 KiB of a request's body may take while nothing is answered.
    pub body_timeout: Duration,
    /// How long 4 KiB of what a client is sent may take, as far as the kernel tells: see `stream::keep_little_unsent`.
    pub write_timeout: Duration,
    /// How long a TLS handshake may take.
    pub handshake_timeout: Duration,
    /// The streams that an HTTP/2 client may have open.
    pub streams: u32,
}

impl Limits {
    /// Those of a listener that nothing else is said of.
    pub const USUAL: Self = Self {
        connections: 16_384,
        // One address alone keeps nobody out, and a load balancer has room.
        connections_of_one: 8192,
        header_bytes: 32 * 1024,
        headers: 100,
        header_timeout: Duration::from_secs(10),
        idle_timeout: Duration::from_secs(60),
        body_timeout: Duration::from_secs(30),
        write_timeout: Duration::from_secs(30),
        handshake_timeout: Duration::from_secs(10),
        streams: 100,
    };

    /// How many are told at a time that there is no place for them; more are cut off.
    #[must_use]
    pub fn foyer(&self) -> usize {
        self.connections.div_ceil(8).min(FOYER)
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::USUAL
    }
}

/// As many are told at a time, however many there is room for.
pub(super) const FOYER: usize = 256;

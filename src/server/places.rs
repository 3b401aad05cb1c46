//! Room for connections: so many at a listener, and so many of them from one address. Who finds none is told so at once.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::AsyncWriteExt as _,
    net::TcpStream,
    sync::Semaphore,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{Limits, Manner, limits::FOYER, linger::linger, stream::Stream};
use crate::subnet;

/// The places of one listener; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Places(Arc<Shared>);

/// One of them, until it is dropped.
#[derive(Debug)]
pub(super) struct Place {
    places: Places,
    network: IpAddr,
}

/// Why there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Full {
    #[error("the listener has as many connections as it may have")]
    Listener,
    #[error("one address has as many connections as it may have")]
    Address,
}

#[derive(Debug)]
struct Shared {
    book: Mutex<Book>,
    /// Room for those who are told that there is none.
    foyer: Semaphore,
}

impl Default for Shared {
    fn default() -> Self {
        Self { book: Mutex::default(), foyer: Semaphore::new(FOYER) }
    }
}

#[derive(Debug, Default)]
struct Book {
    taken: usize,
    of_network: HashMap<IpAddr, usize>,
    turned_away: u64,
    /// When the log was told last.
    told: Option<Instant>,
}

impl Places {
    /// Takes a place for a connection from `address`, of as many as there are by `limits`.
    pub(super) fn take(&self, address: IpAddr, limits: &Limits) -> Result<Place, Full> {
        let network = subnet::of(address);
        let mut book = self.book();
        if book.taken >= limits.connections {
            return Err(Full::Listener);
        }
        let taken = book.of_network.get(&network).copied().unwrap_or_default();
        if taken >= limits.connections_of_one {
            return Err(Full::Address);
        }
        let of_network = book.of_network.entry(network).or_default();
        *of_network = of_network.saturating_add(1);
        book.taken = book.taken.saturating_add(1);
        Ok(Place { places: self.clone(), network })
    }

    /// How many are taken.
    pub(super) fn taken(&self) -> usize {
        self.book().taken
    }

    /// Tells the log, now and then, that connections are turned away.
    pub(super) fn note(&self, full: Full) {
        let mut book = self.book();
        book.turned_away = book.turned_away.saturating_add(1);
        let now = Instant::now();
        if book.told.is_none_or(|told| now.saturating_duration_since(told) > TOLD_EVERY) {
            book.told = Some(now);
            warn!(reason = %full, connections = book.turned_away, "turned connections away");
        }
    }

    /// Says that there is no place, if that can be said without TLS and not too many are being told the same.
    pub(super) fn turn_away(
        self,
        stream: TcpStream,
        manner: &Manner,
        stop: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        let (is_plain, most) = (manner.tls.is_none(), manner.limits.foyer());
        self.tell(stream, is_plain, most, stop)
    }

    async fn tell(
        self,
        mut stream: TcpStream,
        is_plain: bool,
        most: usize,
        stop: CancellationToken,
    ) {
        let told = FOYER.saturating_sub(self.0.foyer.available_permits());
        if told >= most {
            return;
        }
        let Ok(_room) = self.0.foyer.try_acquire() else { return };
        if is_plain && let Ok(Ok(())) = timeout(TOLD_WITHIN, stream.write_all(FULL)).await {
            linger(Stream::Plain(stream), &stop).await;
        }
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place {
    /// Gives this place back for one of `address`; where there is none is who tells so.
    pub(super) fn moved_to(self, address: IpAddr, limits: &Limits) -> Result<Self, (Places, Full)> {
        let places = self.places.clone();
        drop(self);
        places.take(address, limits).map_err(|full| (places, full))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut book = self.places.book();
        book.taken = book.taken.saturating_sub(1);
        if let Entry::Occupied(mut of_network) = book.of_network.entry(self.network) {
            let left = of_network.get().saturating_sub(1);
            if left == 0 {
                of_network.remove();
            } else {
                of_network.insert(left);
            }
        }
    }
}

const TOLD_WITHIN: Duration = Duration::from_secs(1);
const TOLD_EVERY: Duration = Duration::from_secs(10);
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\n\
cache-control: no-store\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 116\r\n\r\n\
{\"detail\":\"there is no room for another connection\",\"status\":503,\"title\":\"Service Unavailable\",\
\"type\":\"about:blank\"}";

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(connections: usize, connections_of_one: usize) -> Limits {
        Limits { connections, connections_of_one, ..Limits::USUAL }
    }

    #[test]
    fn a_listener_has_so_many_places_and_an_address_so_many_of_them() {
        let (places, limits) = (Places::default(), limits(3, 2));
        let [one, other]: [IpAddr; 2] =
            ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let first = places.take(one, &limits).unwrap();
        let _second = places.take("::ffff:192.0.2.1".parse().unwrap(), &limits).unwrap();
        assert_eq!(places.take(one, &limits).unwrap_err(), Full::Address);
        let _third = places.take(other, &limits).unwrap();
        assert_eq!(places.take(other, &limits).unwrap_err(), Full::Listener);
        drop(first);
        assert_eq!(places.taken(), 2);
        assert!(places.take(one, &limits).is_ok());
        drop((_second, _third));
        assert_eq!((places.taken(), places.book().of_network.len()), (0, 0));
    }

    #[test]
    fn a_network_of_ipv6_counts_as_one_address() {
        let (places, limits) = (Places::default(), limits(3, 1));
        let address = |text: &str| text.parse().unwrap();
        let _first = places.take(address("2001:db8:1:2::1"), &limits).unwrap();
        assert_eq!(
            places.take(address("2001:db8:1:2:ffff::2"), &limits).unwrap_err(),
            Full::Address
        );
        assert!(places.take(address("2001:db8:1:3::1"), &limits).is_ok());
    }

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(FULL).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())), "{}", body.len());
        assert!(serde_json::from_str::<serde_json::Value>(body).is_ok());
    }
}

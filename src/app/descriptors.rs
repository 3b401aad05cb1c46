//! How many files and sockets the process may have open, and how many of them are for customers.
//!
//! One too many is refused as any other, and told so. Without that the process would run out of them: nothing could be
//! accepted then, on the admin port neither, and no connection to an upstream made.

use std::{num::NonZero, thread::available_parallelism};

use rlimit::Resource;
use tracing::{debug, warn};

use crate::config::Settings;

/// Has the process have as many open as the system lets it: shells and service managers leave the limit low for programs
/// that cannot count as far.
pub fn raise_file_limit() {
    match rlimit::increase_nofile_limit(u64::MAX) {
        Ok(limit) => debug!(limit, "the limit on open files"),
        Err(error) => warn!(%error, "the limit on open files stays as it is"),
    }
}

/// Leaves to the listeners no more connections than there can be.
pub(super) fn fit(settings: &mut Settings) {
    let Ok((limit, _)) = Resource::NOFILE.get() else { return };
    let limit = usize::try_from(limit).unwrap_or(usize::MAX);
    let of = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    let links = settings.upstreams.iter().map(|upstream| of(upstream.max_in_flight));
    let links = links.fold(0, usize::saturating_add);
    let wanted = settings.listeners.iter().map(|listener| listener.limits.connections);
    let wanted = wanted.fold(0, usize::saturating_add);
    let most = most_connections(limit, links, kept());
    if wanted <= most {
        return;
    }
    warn!(
        limit,
        configured = wanted,
        connections = most,
        "the limit on open files leaves room for fewer connections than the listeners may have: raise it"
    );
    for listener in &mut settings.listeners {
        let limits = &mut listener.limits;
        limits.connections = share(limits.connections, most, wanted);
        // One address alone keeps nobody out.
        limits.connections_of_one = limits.connections_of_one.min(limits.connections.div_ceil(2));
    }
}

/// How many connections there may be with a `limit`, where upstreams take as many as `links`, and all else what is `kept`.
fn most_connections(limit: usize, links: usize, kept: usize) -> usize {
    // Where that leaves hardly any: not all upstreams are busy at once, and who finds none left for its request may come
    // again.
    let half = limit.div_ceil(2).min(limit.saturating_sub(kept));
    let most = limit.saturating_sub(kept).saturating_sub(links).max(half);
    // For each eight that are in, one may be told that there is no room.
    most.saturating_sub(most.div_ceil(9))
}

/// What `wanted` of `all` has of `most`.
fn share(wanted: usize, most: usize, all: usize) -> usize {
    let share = wanted.saturating_mul(most).checked_div(all);
    share.unwrap_or(wanted).clamp(1, wanted.max(1))
}

/// For what is no customer: each thread's own, and the store, the ledger, the logs and the admin port.
fn kept() -> usize {
    let threads = available_parallelism().map_or(1, NonZero::get);
    threads.saturating_mul(4).saturating_add(48)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn customers_have_what_the_rest_leaves_and_half_at_least() {
        for (limit, links, most) in [
            (1 << 20, 256, 931_783),
            (1024, 256, 625),
            (1024, 4096, 455),
            (128, 256, 56),
            (100, 256, 32),
            (10, 256, 0),
        ] {
            assert_eq!(most_connections(limit, links, 64), most, "{limit} {links}");
        }
    }

    #[test]
    fn listeners_share_them_as_they_were_to_have_them() {
        assert_eq!([16_384, 4096].map(|wanted| share(wanted, 704, 20_480)), [563, 140]);
        assert_eq!(share(1, 0, 2), 1);
    }
}

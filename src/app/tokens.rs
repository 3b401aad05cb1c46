//! The keys of those whose tokens pass, from where they are published: fetched at once, again from time to time, and when
//! one is named that is not among them.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{config::TokenSource, ledger::Http, telemetry::Clock};

/// Goes on with the keys that were fetched for a configuration before, so that a reload shuts nobody out.
pub(super) fn go_on(new: &[TokenSource], old: &[TokenSource]) {
    for source in new {
        if let Some(known) = old.iter().find(|known| known.url == source.url) {
            source.keys.go_on_from(&known.keys);
        }
    }
}

/// Fetches the keys of `sources` on `tasks` until `stop`. Where that fails, the last ones stay.
///
/// A token that names a key which is not there has them fetched soon.
pub(super) fn fetch(
    sources: &[TokenSource],
    tasks: &TaskTracker,
    stop: &CancellationToken,
    clock: &Clock,
) {
    for source in sources {
        let (source, stop) = (source.clone(), stop.clone());
        let clock = clock.clone();
        tasks.spawn(stop.run_until_cancelled_owned(async move {
            let http = Http::new();
            loop {
                let pause = match fetch_once(&source, &http, clock.now()).await {
                    Ok(()) => {
                        info!(issuer = source.host(), "fetched the keys of tokens");
                        AGAIN
                    }
                    Err(why) => {
                        warn!(issuer = source.host(), %why, "the keys of tokens are not fetched");
                        SOON
                    }
                };
                let least = pause.min(LEAST);
                sleep(least).await;
                // Elapsed or not, it is time.
                drop(timeout(pause.saturating_sub(least), source.keys.wanted()).await);
            }
        }));
    }
}

async fn fetch_once(source: &TokenSource, http: &Http, now: u64) -> Result<(), String> {
    let mut request = Request::new(Bytes::new());
    *request.uri_mut() = source.url.clone();
    let sent = http.send(request, PATIENCE, MOST_BYTES).await;
    let (status, body) = sent.map_err(|error| error.to_string())?;
    if status != StatusCode::OK {
        return Err(format!("the answer is {status}"));
    }
    source.keys.replace(&body, now).map_err(|error| error.to_string())
}

const AGAIN: Duration = Duration::from_secs(300);
const SOON: Duration = Duration::from_secs(5);
/// Anybody can name a key that is not there.
const LEAST: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(10);
const MOST_BYTES: usize = 1 << 20;

//! Reads the channels that are in use or kept watched again and again, so that what happens to them is seen within about a
//! ledger.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::{
    Shared,
    reader::{MOST_CHANNELS, Wanted},
};

/// Goes round until `stop`.
pub(super) async fn watch(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = interval(PAUSE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut network_checked, mut rounds) = (false, 0_u32);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        rounds = rounds.wrapping_add(1);
        shared.memory.sweep(Instant::now(), rounds.is_multiple_of(SWEEP_ROUNDS));
        // The ledger of another network is worse than none.
        network_checked |= shared.health.trouble().is_none();
        if network_checked {
            tokio::select! {
                () = stop.cancelled() => return,
                () = round(&shared) => {}
            }
        }
    }
}

async fn round(shared: &Shared) {
    let now = Instant::now();
    shared.hear_health();
    if let Err(error) = shared.reader.refresh_codes(now).await {
        debug!(%error, "the code of channels could not be looked at");
    }
    let mut due = shared.memory.due(now).into_iter();
    for call in 0..MOST_CALLS {
        // The first call tells whether there is a new ledger: if there is none, the others would tell nothing new.
        let latest = shared.memory.latest().filter(|_| call > 0);
        let news = |wanted: &Wanted| {
            latest.is_none_or(|latest| {
                shared.memory.seen_at(wanted.channel).is_none_or(|seen| seen < latest)
            })
        };
        let batch: Vec<Wanted> = due.by_ref().filter(news).take(MOST_CHANNELS).collect();
        if batch.is_empty() {
            return;
        }
        let asked = Instant::now();
        match shared.reader.read(&batch).await {
            Ok(read) => {
                for (channel, judged) in read {
                    if let Err(error) = shared.memory.take(channel, judged, asked) {
                        debug!(%error, "a channel could not be watched");
                    }
                }
            }
            Err(error) => {
                debug!(%error, "channels could not be watched");
                return;
            }
        }
    }
}

/// Between two rounds.
const PAUSE: Duration = Duration::from_secs(1);
/// In one round: two thousand channels. With more in use, each is read less often.
const MOST_CALLS: usize = 20;
/// Between two looks for channels that nobody uses any more.
const SWEEP_ROUNDS: u32 = 30;

//! Reads channels from the ledger, many in one call, each with its balance and the life of its code as of one ledger.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use stellar_xdr as xdr;
use tokio::time::Instant;

use super::{
    Settings,
    view::{Found, Judged, judge},
};
use crate::{
    ledger::rpc::{self, MOST_ENTRIES, Rpc, Snapshot},
    protocol::{
        channel::{Instance, balance_key, instance_key},
        stellar::ContractId,
    },
};

/// A channel to be read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    pub(super) channel: ContractId,
    /// Its token, if it was read before; a token never changes.
    pub(super) token: Option<ContractId>,
}

/// Reads channels, and vets them by the operator's settings.
#[derive(Debug)]
pub(super) struct Reader {
    rpc: Rpc,
    settings: Settings,
    /// By the hash of trusted code, once it was asked for.
    codes: Mutex<HashMap<[u8; 32], Code>>,
}

/// What is known of trusted code on the ledger.
#[derive(Clone, Copy, Debug)]
struct Code {
    /// `None` where it is not on the ledger.
    live_until: Option<u32>,
    /// Whether it has months to live, or weeks at least.
    lasts: bool,
    asked: Instant,
}

impl Reader {
    pub(super) fn new(rpc: Rpc, settings: Settings) -> Self {
        Self { rpc, settings, codes: Mutex::default() }
    }

    /// Reads at most [`MOST_CHANNELS`] channels in one call; in two, if there are some whose token has to be found out first
    /// and is not USDC. Balance and instance of one channel are always of one ledger: what is withdrawn between two
    /// readings would be counted twice.
    pub(super) async fn read(
        &self,
        wanted: &[Wanted],
    ) -> Result<Vec<(ContractId, Judged)>, rpc::Error> {
        self.learn_codes(|code| code.is_none()).await?;
        let usual = self.rpc.network().usdc().contract;
        let keys = wanted.iter().map(|one| (one.channel, one.token.unwrap_or(usual)));
        let keys: Vec<_> = keys.collect();
        let mut read = Vec::with_capacity(wanted.len());
        let mut again = Vec::new();
        let snapshot = self.snapshot(&keys).await?;
        for (channel, token) in keys {
            match token_of(channel, &snapshot) {
                Some(other) if other != token => again.push((channel, other)),
                _ => read.push((channel, self.judge(channel, token, &snapshot))),
            }
        }
        if !again.is_empty() {
            let snapshot = self.snapshot(&again).await?;
            let judged = |(channel, token)| (channel, self.judge(channel, token, &snapshot));
            read.extend(again.into_iter().map(judged));
        }
        Ok(read)
    }

    /// Looks again at trusted code that was not looked at for a while: its life may have been extended.
    pub(super) async fn refresh_codes(&self, now: Instant) -> Result<(), rpc::Error> {
        self.learn_codes(|code| {
            code.is_none_or(|code| {
                let pause = if code.lasts { LASTING_PAUSE } else { CODE_PAUSE };
                now.saturating_duration_since(code.asked) >= pause
            })
        })
        .await
    }

    /// Code by code: an answer has the whole of it.
    async fn learn_codes(&self, due: impl Fn(Option<&Code>) -> bool) -> Result<(), rpc::Error> {
        for code in &self.settings.code {
            if !due(self.codes().get(code)) {
                continue;
            }
            let asked = Instant::now();
            let hash = xdr::Hash(*code);
            let key = xdr::LedgerKey::ContractCode(xdr::LedgerKeyContractCode { hash });
            let snapshot = self.rpc.snapshot(std::slice::from_ref(&key)).await?;
            let live_until = snapshot.entries.get(&key).and_then(|entry| entry.live_until);
            let lasts = live_until
                .is_some_and(|until| until.saturating_sub(snapshot.ledger) > LASTING_LEDGERS);
            self.codes().insert(*code, Code { live_until, lasts, asked });
        }
        Ok(())
    }

    async fn snapshot(&self, keys: &[(ContractId, ContractId)]) -> Result<Snapshot, rpc::Error> {
        let keys = keys
            .iter()
            .flat_map(|(channel, token)| [instance_key(*channel), balance_key(*token, *channel)]);
        self.rpc.snapshot(&keys.collect::<Vec<_>>()).await
    }

    fn judge(&self, channel: ContractId, token: ContractId, snapshot: &Snapshot) -> Judged {
        let instance = snapshot.entries.get(&instance_key(channel));
        let code = instance.and_then(super::view::code_of);
        let code_live_until =
            code.and_then(|code| self.codes().get(&code).and_then(|code| code.live_until));
        let found = Found {
            ledger: snapshot.ledger,
            instance,
            balance: snapshot.entries.get(&balance_key(token, channel)),
            code_live_until,
        };
        judge(channel, &self.settings, &found)
    }

    fn codes(&self) -> MutexGuard<'_, HashMap<[u8; 32], Code>> {
        self.codes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn token_of(channel: ContractId, snapshot: &Snapshot) -> Option<ContractId> {
    let entry = snapshot.entries.get(&instance_key(channel))?;
    Some(Instance::read(channel, &entry.data).ok()?.token)
}

/// As many channels as one call reads: each has an instance and a balance.
pub(super) const MOST_CHANNELS: usize = MOST_ENTRIES / 2;
/// Between two looks at code, which an answer has the whole of,
const CODE_PAUSE: Duration = Duration::from_secs(5);
/// and at code whose life nobody has a reason to extend yet.
const LASTING_PAUSE: Duration = Duration::from_secs(300);
/// About a week of ledgers of five seconds.
const LASTING_LEDGERS: u32 = 120_960;

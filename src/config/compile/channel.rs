//! The section `payments.mpp.channel`: which channels are good, when their money is collected, and with whose key.

use std::{ops::RangeInclusive, time::Duration};

use super::{asset::Assets, payment::Money, price};
use crate::{
    closer,
    config::{
        read::{Fields, Keys, Spot},
        settings::Channel,
    },
    ledger::channels,
    protocol::{
        channel::CODE,
        money::Amount,
        stellar::{AddressError, ContractId},
    },
};

/// Reads the section; `None` if a part of it is faulty, which was noted.
pub(super) fn read(spot: &Spot<'_>, money: &Money<'_>) -> Option<Channel> {
    let fields = spot.fields(&CHANNEL)?;
    let code = read_code(&fields, money);
    let waiting = fields.get("min_refund_waiting_ledgers");
    let waiting = waiting.map_or(Some(WAITING), |spot| spot.number(WAITINGS));
    let age = fields.get("max_state_age");
    let age = age.map_or(Some(STATE_AGE), |spot| spot.duration_in(STATE_AGES, STATE_AGE_HINT));
    let closer = read_closer(&fields, waiting, &money.assets);
    let hint = "only the payee can collect from a channel: `signer: { env: RECIPIENT_SECRET }`, \
                the key of `stellar.pay_to`";
    let signer = fields.need("signer", hint).and_then(|spot| spot.seed());
    let configured = match fields.get("channel") {
        Some(spot) => read_contract(&spot).map(Some),
        None => Some(None),
    };
    Some(Channel {
        vet: channels::Settings {
            code: code?,
            min_refund_waiting_ledgers: waiting?,
            max_state_age: age?,
        },
        closer: closer?,
        signer: signer?,
        configured: configured?,
    })
}

/// The code that is trusted: what is named, or on a ledger of this machine our own.
fn read_code(fields: &Fields<'_>, money: &Money<'_>) -> Option<Vec<[u8; 32]>> {
    let own = hex::encode(CODE);
    let Some(list) = fields.get("wasm_hashes") else {
        if money.has_local_ledger() {
            return Some(vec![CODE]);
        }
        return fields.spot.fault(
            "`wasm_hashes` is missing: the code of a channel decides who gets the money in it",
            format!(
                "name the code that you trust: `tollgate channel show C…` tells the hash of a channel's. \
                 Tollgate's own contract is `{own}`, and trusted unasked where the RPC is a sandbox on this machine"
            ),
        );
    };
    let items = list.items()?;
    if items.is_empty() {
        return list.fault(
            "there is no hash, so no channel would be good",
            format!("name the code that you trust: `[{own}]` is Tollgate's own contract"),
        );
    }
    let mut code = Vec::new();
    for item in &items {
        let hash = item.text().and_then(|text| {
            let mut hash = [0; 32];
            match hex::decode_to_slice(text.text.as_ref(), &mut hash) {
                Ok(()) if code.contains(&Some(hash)) => {
                    text.fault("is in the list already", "name it once")
                }
                Ok(()) => Some(hash),
                Err(_) => text.fault(
                    "is no hash of a contract's code",
                    "write 64 hexadecimal digits: `tollgate channel show C…` tells those of a channel",
                ),
            }
        });
        code.push(hash);
    }
    code.into_iter().collect()
}

fn read_closer(
    fields: &Fields<'_>,
    waiting: Option<u32>,
    assets: &Assets,
) -> Option<closer::Settings> {
    let limit = fields.get("max_unsettled");
    let max_unsettled = match &limit {
        Some(spot) => price::read_limit(spot, assets),
        None => usual(MAX_UNSETTLED, assets),
    };
    let close = match fields.get("close") {
        Some(spot) => Some(spot.fields(&CLOSE)?),
        None => None,
    };
    let get = |key| close.as_ref().and_then(|close| close.get(key));
    let at = get("at_claimable");
    let at_claimable = match &at {
        Some(spot) => price::read_limit(spot, assets),
        None => usual(AT_CLAIMABLE, assets).zip(max_unsettled).map(|(usual, most)| usual.min(most)),
    };
    let least = get("min_value");
    let min_value = match &least {
        Some(spot) => price::read_limit(spot, assets),
        None => at_claimable.map(|most| most.min(least_value(assets))),
    };
    let duration = |key, usual| {
        get(key).map_or(Some(usual), |spot| spot.duration_in(INTERVALS, INTERVAL_HINT))
    };
    let (unsettled_for, idle_for) =
        (duration("unsettled_for", UNSETTLED_FOR), duration("idle_for", IDLE_FOR));
    let before_refund =
        waiting.and_then(|waiting| read_before_refund(get("before_refund"), waiting));
    let (at_claimable, max_unsettled, min_value) = (at_claimable?, max_unsettled?, min_value?);
    if at_claimable > max_unsettled {
        return at.as_ref()?.fault(
            "is above `payments.mpp.channel.max_unsettled`, from which on nothing is delivered",
            "write at most as much, so that a channel is settled before it stands still",
        );
    }
    if min_value > at_claimable {
        return least.as_ref()?.fault(
            "is above `payments.mpp.channel.close.at_claimable`, at which a channel is settled",
            "write what a transaction costs, such as `$0.01`",
        );
    }
    Some(closer::Settings {
        at_claimable,
        max_unsettled,
        min_value,
        unsettled_for: unsettled_for?,
        idle_for: idle_for?,
        before_refund: before_refund?,
    })
}

/// A channel has to be closed in the time that its payer waits for the refund.
fn read_before_refund(spot: Option<Spot<'_>>, waiting: u32) -> Option<Duration> {
    let longest = Duration::from_secs(u64::from(waiting).saturating_mul(LEDGER_SECONDS));
    let Some(spot) = spot else {
        return Some(BEFORE_REFUND.min(longest.checked_div(2)?));
    };
    let before = spot.duration()?;
    if before > longest {
        return spot.fault(
            format!(
                "a payer may have to wait {waiting} ledgers for the refund, which is {} s",
                longest.as_secs()
            ),
            "shorten it, or raise `payments.mpp.channel.min_refund_waiting_ledgers`",
        );
    }
    Some(before)
}

fn read_contract(spot: &Spot<'_>) -> Option<ContractId> {
    let text = spot.text()?;
    match text.text.parse::<ContractId>() {
        Ok(contract) => Some(contract),
        Err(AddressError::Secret) => spot.fault(
            "expected a channel (`C…`), got a secret key",
            "take the key out of this file and use another one: it is known now",
        ),
        Err(_) => text.fault(
            "is no channel's address",
            "a channel is a contract: `C…`, 56 characters, as `tollgate channel open` prints it",
        ),
    }
}

/// So many whole units of the default asset; the most that there can be where its units do not fit.
fn usual(units: &str, assets: &Assets) -> Option<Amount> {
    let amount = Amount::parse_decimal(units, assets.default.decimals).ok();
    amount.or_else(|| Amount::from_units(i128::MAX))
}

/// About what a transaction that collects costs; nothing where the default asset has no units so small.
fn least_value(assets: &Assets) -> Amount {
    Amount::parse_decimal(MIN_VALUE, assets.default.decimals).unwrap_or(Amount::ZERO)
}

const CHANNEL: Keys = Keys {
    known: &[
        "wasm_hashes",
        "max_unsettled",
        "max_state_age",
        "min_refund_waiting_ledgers",
        "close",
        "signer",
        "channel",
    ],
    later: &[],
};
const CLOSE: Keys = Keys {
    known: &["at_claimable", "min_value", "unsettled_for", "idle_for", "before_refund"],
    later: &[],
};

/// In whole units of the default asset.
const MAX_UNSETTLED: &str = "50";
const AT_CLAIMABLE: &str = "5";
const MIN_VALUE: &str = "0.01";
const UNSETTLED_FOR: Duration = Duration::from_secs(3_600);
const IDLE_FOR: Duration = Duration::from_secs(12 * 3_600);
const BEFORE_REFUND: Duration = Duration::from_secs(2 * 3_600);
const INTERVALS: RangeInclusive<Duration> =
    Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);
const INTERVAL_HINT: &str = "write a duration from `1s` to `720h`";

/// A day of ledgers.
const WAITING: u32 = 17_280;
/// From what leaves time to settle in, to a year.
const WAITINGS: RangeInclusive<u32> = 10..=6_307_200;
const STATE_AGE: Duration = Duration::from_secs(30);
/// From two ledgers.
const STATE_AGES: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_secs(600);
const STATE_AGE_HINT: &str = "write a duration from `10s` to `10m`";
/// The usual time between two ledgers.
const LEDGER_SECONDS: u64 = 5;

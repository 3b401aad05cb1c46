//! Channels as plain columns and lines for people.

use super::{Channel, Deadline};
use crate::cli::{
    amount::unit,
    columns::{at, columns},
};

/// Every channel in a line.
pub(super) fn list(channels: &[Channel]) -> String {
    if channels.is_empty() {
        return "nothing was paid from a channel yet".to_owned();
    }
    let rows = channels.iter().map(|channel| {
        let asset = channel.asset.as_ref();
        [
            channel.channel.clone(),
            channel.state.clone(),
            unit(asset).to_owned(),
            channel.authorised.number(asset),
            channel.spent.number(asset),
            channel.settled.number(asset),
            channel.at_risk.number(asset),
            channel.deadline.map_or_else(|| "-".to_owned(), Deadline::text),
        ]
    });
    columns(HEADS, rows)
}

/// One channel, a line for each thing that is known.
pub(super) fn show(channel: &Channel) -> String {
    let asset = channel.asset.as_ref();
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let lines = [
        ("channel", channel.channel.clone()),
        ("state", channel.state.clone()),
        ("authorised", channel.authorised.with_unit(asset)),
        ("spent", channel.spent.with_unit(asset)),
        ("delivered", channel.delivered.with_unit(asset)),
        ("settled", channel.settled.with_unit(asset)),
        ("at risk", channel.at_risk.with_unit(asset)),
        ("deposited", or_none(channel.deposited.map(|units| units.with_unit(asset)))),
        ("deadline", or_none(channel.deadline.map(Deadline::text))),
        ("unsettled since", or_none(channel.unsettled_since.map(at))),
        ("last used", at(channel.used_at)),
        ("lives until", or_none(channel.live_until.map(|ledger| format!("ledger {ledger}")))),
        ("collecting", or_none(channel.collecting.clone())),
        ("closed by", or_none(channel.closed_by.clone())),
    ];
    let line = |(name, value): (&str, String)| format!("{name:<16} {value}");
    lines.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

impl Deadline {
    fn text(self) -> String {
        let Self { ledger, seconds } = self;
        let (hours, minutes) = (seconds.div_euclid(3_600), seconds.div_euclid(60).rem_euclid(60));
        match (hours, minutes) {
            (0, 0) => format!("ledger {ledger}, in {seconds}s"),
            (0, minutes) => format!("ledger {ledger}, in {minutes}m"),
            (hours, minutes) => format!("ledger {ledger}, in {hours}h{minutes}m"),
        }
    }
}

const HEADS: [&str; 8] =
    ["CHANNEL", "STATE", "ASSET", "AUTHORISED", "SPENT", "SETTLED", "AT RISK", "DEADLINE"];

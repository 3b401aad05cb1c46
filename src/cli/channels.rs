//! `tollgate channels`: what the channels of a running gateway owe, and the order to collect it, through its admin port.

mod table;

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::{
    Output,
    amount::{Asset, Units},
    fail,
    port::{self, At, Error, Port},
    say,
};
use crate::{protocol::stellar::ContractId, store::MemberId};

/// Tells what the channels of a running gateway owe, and settles, closes or adopts them.
///
/// It asks the gateway's admin port, which `admin` in its configuration opens.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    #[command(flatten)]
    at: At,
    /// How the answer is written; without this a table on a terminal, and JSON in a pipe.
    #[arg(short, long, global = true, value_enum)]
    output: Option<Output>,
    #[command(subcommand)]
    order: Order,
}

#[derive(Debug, Subcommand)]
enum Order {
    /// Lists every channel that something was paid from.
    List,
    /// Tells all that is known of one channel.
    Show {
        /// The channel's address (`C…`).
        channel: ContractId,
    },
    /// Takes what is owed out of a channel, which goes on.
    Settle {
        /// The channel's address (`C…`).
        channel: ContractId,
        /// Only tells what would be collected.
        #[arg(long)]
        dry_run: bool,
    },
    /// Takes what is owed out of a channel and ends it: its payer gets the rest back.
    Close {
        /// The channel's address (`C…`).
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        channel: Option<ContractId>,
        /// Closes every channel that is not closed yet.
        #[arg(long)]
        all: bool,
        /// Only tells what would be collected.
        #[arg(long)]
        dry_run: bool,
    },
    /// Has a channel pay again whose account was rolled back, which every payment of it is refused for.
    ///
    /// What the ledger shows as withdrawn counts as authorised and spent from now on. What was delivered beyond that is lost,
    /// so look for a newer backup of the store first.
    Adopt {
        /// The channel's address (`C…`).
        channel: ContractId,
    },
    /// Lists the gateways that share a store of which replicas may take over.
    ///
    /// After that each has to compare the store with its journal, and until all have, no channel pays.
    Members,
    /// Waits no more for a gateway that is gone for good, and its journal with it.
    ///
    /// What it alone remembers of payments is lost then. One that comes back is a member again.
    Dismiss {
        /// As `members` tells it.
        member: MemberId,
    },
}

/// Carries the command out.
pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let port = match arguments.at.port() {
        Ok(port) => port,
        Err(code) => return code,
    };
    match arguments.carry_out(&port).await {
        Ok(code) => code,
        Err(error) => fail(&error),
    }
}

impl Arguments {
    async fn carry_out(&self, port: &Port) -> Result<ExitCode, Error> {
        match &self.order {
            Order::List => {
                let told = port.ask(Method::GET, "/channels", LOOK).await?;
                let listed: Listed = port::read(&told)?;
                self.tell(&told, || table::list(&listed.channels));
                for channel in &listed.unreadable {
                    eprintln!(
                        "tollgate: the account of the channel {channel} cannot be read: the gateway's log says why"
                    );
                }
                Ok(ExitCode::SUCCESS)
            }
            Order::Show { channel } => {
                let (told, channel) = show(port, *channel).await?;
                self.tell(&told, || table::show(&channel));
                Ok(ExitCode::SUCCESS)
            }
            Order::Settle { channel, dry_run } => {
                self.collect(port, *channel, "settle", *dry_run).await
            }
            Order::Close { channel: Some(channel), dry_run, .. } => {
                self.collect(port, *channel, "close", *dry_run).await
            }
            Order::Close { channel: None, dry_run, .. } => self.close_all(port, *dry_run).await,
            Order::Adopt { channel } => {
                let path = format!("/channels/{channel}/adopt");
                let told = port.ask(Method::POST, &path, LOOK).await?;
                let adopted: Adopted = port::read(&told)?;
                self.tell(&told, || adopted.line());
                Ok(ExitCode::SUCCESS)
            }
            Order::Members => {
                let told = port.ask(Method::GET, "/members", LOOK).await?;
                let Members { members } = port::read(&told)?;
                self.tell(&told, || {
                    members.iter().map(Member::line).collect::<Vec<_>>().join("\n")
                });
                Ok(ExitCode::SUCCESS)
            }
            Order::Dismiss { member } => {
                let path = format!("/members/{member}/dismiss");
                let told = port.ask(Method::POST, &path, LOOK).await?;
                self.tell(&told, || format!("{member}: is not waited for any more"));
                Ok(ExitCode::SUCCESS)
            }
        }
    }

    async fn collect(
        &self,
        port: &Port,
        channel: ContractId,
        order: &str,
        dry_run: bool,
    ) -> Result<ExitCode, Error> {
        let (told, before) = show(port, channel).await?;
        if dry_run {
            self.tell(&json!({ "would": order, "channels": [told] }), || before.preview(order));
            return Ok(ExitCode::SUCCESS);
        }
        let path = format!("/channels/{channel}/{order}");
        let told = port.ask(Method::POST, &path, COLLECT).await?;
        let collected: Collected = port::read(&told)?;
        self.tell(&told, || collected.line(before.asset.as_ref()));
        Ok(ExitCode::SUCCESS)
    }

    async fn close_all(&self, port: &Port, dry_run: bool) -> Result<ExitCode, Error> {
        let told = port.ask(Method::GET, "/channels", LOOK).await?;
        let Listed { channels: before, .. } = port::read(&told)?;
        if dry_run {
            let open = |channel: &Value| channel.get("state") != Some(&json!("closed"));
            let all = told.get("channels").and_then(Value::as_array).cloned().unwrap_or_default();
            let open: Vec<_> = all.into_iter().filter(open).collect();
            let previews = || {
                let open = before.iter().filter(|channel| !channel.is_closed());
                let lines: Vec<_> = open.map(|channel| channel.preview("close")).collect();
                lines.join("\n")
            };
            self.tell(&json!({ "would": "close", "channels": open }), previews);
            return Ok(ExitCode::SUCCESS);
        }
        let told = port.ask(Method::POST, "/channels/close", COLLECT_ALL).await?;
        let outcome: ClosedAll = port::read(&told)?;
        self.tell(&told, || outcome.lines(&before));
        Ok(if outcome.failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Writes what the port told, or what `table` makes of it; nothing where that is nothing.
    fn tell(&self, told: &Value, table: impl FnOnce() -> String) {
        match Output::or_by_reader(self.output) {
            Output::Json => say(&format_args!("{told:#}")),
            Output::Table => {
                let text = table();
                if !text.is_empty() {
                    say(&text);
                }
            }
        }
    }
}

async fn show(port: &Port, channel: ContractId) -> Result<(Value, Channel), Error> {
    let told = port.ask(Method::GET, &format!("/channels/{channel}"), LOOK).await?;
    let channel = port::read(&told)?;
    Ok((told, channel))
}

#[derive(Debug, Deserialize)]
struct Listed {
    channels: Vec<Channel>,
    /// Channels whose accounts the gateway cannot read.
    #[serde(default)]
    unreadable: Vec<String>,
}

/// A channel as the port tells of it.
#[derive(Debug, Deserialize)]
struct Channel {
    channel: String,
    state: String,
    asset: Option<Asset>,
    authorised: Units,
    spent: Units,
    delivered: Units,
    settled: Units,
    at_risk: Units,
    deposited: Option<Units>,
    deadline: Option<Deadline>,
    unsettled_since: Option<u64>,
    used_at: u64,
    live_until: Option<u32>,
    collecting: Option<String>,
    closed_by: Option<String>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Deadline {
    ledger: u32,
    seconds: u64,
}

#[derive(Debug, Deserialize)]
struct Collected {
    channel: String,
    transaction: Option<String>,
    settled: Units,
    closed: bool,
}

#[derive(Debug, Deserialize)]
struct Adopted {
    channel: String,
    authorised: Units,
}

#[derive(Debug, Deserialize)]
struct Members {
    members: Vec<Member>,
}

/// A gateway that shares the store.
#[derive(Debug, Deserialize)]
struct Member {
    id: String,
    name: String,
    is_reconciled: bool,
}

#[derive(Debug, Deserialize)]
struct ClosedAll {
    closed: Vec<Collected>,
    nothing_to_collect: Vec<String>,
    failed: Vec<Failed>,
}

#[derive(Debug, Deserialize)]
struct Failed {
    channel: String,
    error: String,
}

impl Channel {
    fn is_closed(&self) -> bool {
        self.state == "closed"
    }

    fn preview(&self, order: &str) -> String {
        if self.is_closed() {
            return format!("{}: is closed already", self.channel);
        }
        let at_risk = self.at_risk.with_unit(self.asset.as_ref());
        let done = if order == "close" { "closed" } else { "settled" };
        format!("{}: would be {done}, {at_risk} to collect", self.channel)
    }
}

impl Collected {
    fn line(&self, asset: Option<&Asset>) -> String {
        let done = if self.closed { "closed" } else { "settled" };
        let settled = self.settled.with_unit(asset);
        let by = match &self.transaction {
            Some(transaction) => format!("transaction {transaction}"),
            None => "not by a transaction of this gateway".to_owned(),
        };
        format!("{}: {done}, {settled} in all, {by}", self.channel)
    }
}

impl Adopted {
    fn line(&self) -> String {
        let authorised = self.authorised.with_unit(None);
        format!("{}: adopted, pays again with commitments above {authorised}", self.channel)
    }
}

impl Member {
    fn line(&self) -> String {
        let state = match self.is_reconciled {
            true => "has compared the store with its journal",
            false => "is WAITED FOR: it has yet to compare the store with its journal",
        };
        format!("{} on `{}`: {state}", self.id, self.name)
    }
}

impl ClosedAll {
    /// A line for each channel; `before` knows their assets.
    fn lines(&self, before: &[Channel]) -> String {
        let asset =
            |name: &str| before.iter().find(|channel| channel.channel == name)?.asset.as_ref();
        let closed = self.closed.iter().map(|closed| closed.line(asset(&closed.channel)));
        let nothing = self.nothing_to_collect.iter();
        let nothing = nothing.map(|channel| format!("{channel}: left open, nothing to collect"));
        let failed = self.failed.iter();
        let failed =
            failed.map(|failed| format!("{}: NOT closed, {}", failed.channel, failed.error));
        closed.chain(nothing).chain(failed).collect::<Vec<_>>().join("\n")
    }
}

const LOOK: Duration = Duration::from_secs(10);
/// A few ledgers, and the requests that are in flight.
const COLLECT: Duration = Duration::from_secs(180);
const COLLECT_ALL: Duration = Duration::from_secs(1_800);

#[cfg(test)]
mod tests;

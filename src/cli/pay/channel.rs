//! `tollgate pay --method channel`: pays out of a channel, one request or many.

use std::{num::NonZeroU32, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use clap::Args;
use tokio::task::JoinSet;

use super::{super::stellar::commitment_seed, Arguments, note, what};
use crate::{
    client::{
        self, Limit,
        channel::{Event, Limits, Paid, Payer, Purse, PurseError, contract},
    },
    config::Env,
    ledger::{Http, rpc::Rpc},
    protocol::{
        money::{self, Amount},
        stellar::{AccountId, Asset, ContractId},
    },
};

/// What only a payment out of a channel needs.
#[derive(Debug, Args)]
#[command(next_help_heading = "With `--method channel`, whose key is in COMMITMENT_SECRET")]
pub(super) struct Flags {
    /// The channel to pay out of (`C…`).
    #[arg(long, value_name = "CONTRACT")]
    channel: Option<ContractId>,
    /// Where what was signed is written down [default: a file of the channel in `$XDG_STATE_HOME/tollgate`].
    #[arg(long, value_name = "FILE")]
    state: Option<PathBuf>,
    /// What was signed on the channel before, in its asset, where that file was lost.
    #[arg(long, value_name = "AMOUNT", default_value = "0")]
    signed: String,
    /// The most to sign on the channel in all, in its asset [default: its deposit].
    #[arg(long, value_name = "AMOUNT")]
    max_total: Option<String>,
    /// Asks the server to close the channel with the last request.
    #[arg(long)]
    close: bool,
    /// Sends the request this many times.
    #[arg(long, value_name = "TIMES", default_value = "1")]
    repeat: NonZeroU32,
    /// This many of them at a time.
    #[arg(long, value_name = "REQUESTS", default_value = "1")]
    parallel: NonZeroU32,
}

/// Carries the command out.
pub(super) async fn run(arguments: &Arguments, env: &Env) -> Result<ExitCode, super::Error> {
    let flags = &arguments.channel;
    let request = arguments.request()?;
    let purse = open(arguments, env).await?;
    let payer = Payer::new(Arc::clone(&purse), Duration::from_secs(arguments.patience));
    let mut out = arguments.out()?;

    let (repeat, parallel) = (flags.repeat.get(), usize::try_from(flags.parallel.get()));
    let parallel = parallel.unwrap_or(usize::MAX);
    let mut sending = JoinSet::new();
    let mut left = if flags.close { repeat.saturating_sub(1) } else { repeat };
    let mut good = true;
    while left > 0 || !sending.is_empty() {
        if left > 0 && sending.len() < parallel {
            left = left.saturating_sub(1);
            let (payer, request, purse) = (payer.clone(), request.clone(), Arc::clone(&purse));
            sending.spawn(async move { payer.send(request, |event| tell(&purse, event)).await });
            continue;
        }
        let Some(Ok(sent)) = sending.join_next().await else { break };
        let Paid { response, payment } = sent.map_err(super::Error::Client)?;
        if payment.is_some_and(|payment| payment.receipt.is_none()) {
            note(&"the server does not say that it took the commitment");
        }
        good &= arguments.write(&mut *out, response).await?;
    }
    if flags.close {
        let closed = payer.close(request, |event| tell(&purse, event)).await;
        let Paid { response, payment } = closed.map_err(super::Error::Client)?;
        match payment.and_then(|payment| payment.receipt) {
            Some(receipt) => {
                let transaction: String =
                    receipt.reference.chars().filter(char::is_ascii_graphic).take(100).collect();
                note(&format_args!("closed, transaction {transaction}"));
            }
            None => {
                note(&"the server does not say that it closed the channel");
                good = false;
            }
        }
        good &= arguments.write(&mut *out, response).await?;
    }
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The purse of the channel, as the ledger has that.
async fn open(arguments: &Arguments, env: &Env) -> Result<Arc<Purse>, super::Error> {
    let flags = &arguments.channel;
    let channel = flags.channel.ok_or(super::Error::Channel(Error::NoChannel))?;
    let seed = commitment_seed(env)?.ok_or(super::Error::Channel(Error::NoSecret))?;
    let network = arguments.stellar.network(env)?;
    let rpc = Rpc::new(Http::new(), arguments.stellar.rpc_url(network, env)?, network);
    rpc.check_network().await.map_err(|error| super::Error::Client(client::Error::Rpc(error)))?;
    let standing = contract::look_up(&rpc, channel).await.map_err(super::Error::Client)?;
    if standing.instance.commitment_key != seed.key().to_bytes() {
        return Err(super::Error::Channel(Error::OtherKey {
            own: AccountId(seed.key().to_bytes()),
        }));
    }
    if let Some(ledger) = standing.instance.close_effective_at {
        note(&format_args!("the channel is being closed, from ledger {ledger} on"));
    }
    let terms = standing.terms(network, channel);
    let Limit { amount: each, asset } = arguments.limit(network)?;
    if asset.contract != terms.asset.contract {
        let (max, own) = (asset.name.to_string(), terms.asset.name.to_string());
        return Err(super::Error::Channel(Error::OtherAsset { max, own }));
    }
    let total = flags.max_total.as_deref().map(|text| read("--max-total", text, &asset));
    let limits = Limits { each: Some(each), total: total.transpose()? };
    let signed = read("--signed", &flags.signed, &asset)?;
    let path = match &flags.state {
        Some(path) => path.clone(),
        None => usual_path(env, channel).ok_or(super::Error::Channel(Error::NoFolder))?,
    };
    let purse = Purse::on_file(&path, terms, seed, limits, signed)
        .map_err(|error| super::Error::Channel(Error::Purse(error)))?;
    Ok(Arc::new(purse))
}

fn read(flag: &'static str, text: &str, asset: &Asset) -> Result<Amount, super::Error> {
    Amount::parse_decimal(text, asset.decimals)
        .map_err(|source| super::Error::Channel(Error::Amount { flag, source }))
}

/// Where the state of a channel is kept, as the XDG Base Directory Specification has it.
fn usual_path(env: &Env, channel: ContractId) -> Option<PathBuf> {
    let absolute = |name, within: &str| {
        let folder = PathBuf::from(env.var(name)?);
        folder.is_absolute().then(|| folder.join(within))
    };
    let folder = absolute("XDG_STATE_HOME", "").or_else(|| absolute("HOME", ".local/state"))?;
    Some(folder.join("tollgate/channels").join(format!("{channel}.json")))
}

/// Tells on stderr what happens to the money.
fn tell(purse: &Purse, event: Event<'_>) {
    match event {
        Event::Asked(offer) => {
            let money = purse.money(offer.request.amount);
            let (what, terms) = (what(offer.description()), purse.terms());
            let (payee, network) = (terms.payee, terms.network);
            note(&format_args!("asked {money}{what}, to {payee} on {network}, by channel"));
        }
        Event::Signed(total) => {
            note(&format_args!("signed a commitment to {} in all", purse.money(total)));
        }
        Event::Refused => note(&"the commitment was not taken, and more is asked"),
        Event::Pending { wait } => {
            note(&format_args!(
                "the outcome is not known yet; the same commitment goes out again in {} s",
                wait.as_secs()
            ));
        }
        Event::Taken(receipt) => {
            let (accepted, spent) = (purse.money(receipt.accepted), purse.money(receipt.spent));
            note(&format_args!("paid: {spent} is spent of {accepted}"));
        }
    }
}

/// Why nothing can be paid out of the channel.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("no channel: name it with --channel")]
    NoChannel,
    #[error("no key: set COMMITMENT_SECRET to what `tollgate channel open` used or made")]
    NoSecret,
    #[error("the channel's commitments are signed by another key than COMMITMENT_SECRET's {own}")]
    OtherKey { own: AccountId },
    #[error("--max is in {max}, and the channel pays in {own}")]
    OtherAsset { max: String, own: String },
    #[error("{flag} is no amount")]
    Amount { flag: &'static str, source: money::Error },
    #[error("no folder for what was signed: set HOME, or name a file with --state")]
    NoFolder,
    #[error(transparent)]
    Purse(PurseError),
}

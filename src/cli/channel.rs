//! `tollgate channel`: opens, tops up, ends and shows a payment channel, for who pays by it.
//!
//! What was asked for goes to stdout, and nothing else does: of `open` the address of the channel.

use std::{process::ExitCode, time::Duration};

use clap::{Args, Subcommand};
use rand_core::{OsRng, RngCore as _};

use super::{
    say,
    stellar::{self, Stellar, commitment_seed, seed},
};
use crate::{
    client::{
        self, Client, Mode, Money, Settings,
        channel::contract::{self, Standing},
    },
    config::Env,
    ledger::{Http, rpc::Rpc},
    protocol::{
        channel::{CODE, Opening},
        commitment::{CommitmentKey, CommitmentSeed},
        money::{self, Amount, Decimals},
        stellar::{Address, ContractId, Network},
    },
};

/// Opens, tops up, ends and shows a payment channel. The key that pays is in `STELLAR_SECRET_KEY`.
#[derive(Debug, Subcommand)]
pub(super) enum Command {
    Open(Open),
    TopUp(TopUp),
    CloseStart(Named),
    Refund(Named),
    Show(Named),
}

/// Opens a channel and prints its address.
///
/// Requests are paid by commitments that the key in `COMMITMENT_SECRET` signs: 64 hex digits. Without one, a key is made
/// and told on stderr: keep it, since nothing else can pay out of the channel.
#[derive(Debug, Args)]
pub(super) struct Open {
    /// How much to pay in.
    #[arg(long, value_name = "AMOUNT")]
    deposit: String,
    /// Of what: USDC or XLM.
    #[arg(long, value_name = "ASSET", default_value = "USDC")]
    asset: String,
    /// Who is paid: the account (`G…`) that the gateway settles with.
    #[arg(long, value_name = "ADDRESS")]
    to: Address,
    /// How many ledgers after `close-start` what is left can be taken back: about 17280 a day.
    #[arg(long, value_name = "LEDGERS")]
    refund_waiting_ledgers: u32,
    /// The hash of the channel's code, which the network must have [default: of the code that comes with Tollgate].
    #[arg(long, value_name = "HASH", value_parser = code)]
    code: Option<[u8; 32]>,
    #[command(flatten)]
    stellar: Stellar,
}

/// Pays more into a channel.
#[derive(Debug, Args)]
pub(super) struct TopUp {
    /// The channel (`C…`).
    channel: ContractId,
    /// How much to pay in, of what the channel holds.
    #[arg(long, value_name = "AMOUNT")]
    amount: String,
    #[command(flatten)]
    stellar: Stellar,
}

/// A channel, to be shown or ended.
///
/// `show` prints what the ledger has of it. `close-start` begins to end it: the payee may still collect until the waiting
/// period is over. `refund` then takes back what is left.
#[derive(Debug, Args)]
pub(super) struct Named {
    /// The channel (`C…`).
    channel: ContractId,
    #[command(flatten)]
    stellar: Stellar,
}

/// Carries the command out.
pub(super) async fn run(command: Command) -> ExitCode {
    let env = stellar::env();
    let done = match command {
        Command::Open(open) => open.run(&env).await,
        Command::TopUp(top_up) => top_up.run(&env).await,
        Command::CloseStart(named) => named.close_start(&env).await,
        Command::Refund(named) => named.refund(&env).await,
        Command::Show(named) => named.show(&env).await,
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => super::fail(&error),
    }
}

impl Open {
    async fn run(self, env: &Env) -> Result<(), Error> {
        let client = client(&self.stellar, env)?;
        let network = client.rpc().network();
        let asset = [network.usdc(), network.xlm()]
            .into_iter()
            .find(|asset| *asset.name == *self.asset)
            .ok_or_else(|| Error::Asset { name: self.asset.clone() })?;
        let amount = read("--deposit", &self.deposit, asset.decimals)?;
        let key = match commitment_seed(env)? {
            Some(seed) => seed.key(),
            None => made_key(),
        };
        let opening = Opening {
            token: asset.contract,
            from: Address::Account(client.account()),
            commitment_key: key,
            to: self.to,
            amount,
            refund_waiting_period: self.refund_waiting_ledgers,
        };
        let code = self.code.unwrap_or(CODE);
        let opened = client.open_channel(&opening, code).await.map_err(Error::Client)?;
        let money = Money::of(amount, &asset);
        note(&format_args!("opened with {money}, transaction {}", opened.transaction));
        say(&opened.channel);
        Ok(())
    }
}

impl TopUp {
    async fn run(self, env: &Env) -> Result<(), Error> {
        let client = client(&self.stellar, env)?;
        let standing = look_up(client.rpc(), self.channel).await?;
        let asset = standing.asset(client.rpc().network());
        let amount = read("--amount", &self.amount, asset.decimals)?;
        let transaction = client.top_up(self.channel, amount).await.map_err(Error::Client)?;
        let money = Money::of(amount, &asset);
        note(&format_args!("paid {money} in, transaction {transaction}"));
        Ok(())
    }
}

impl Named {
    async fn close_start(self, env: &Env) -> Result<(), Error> {
        let client = client(&self.stellar, env)?;
        let transaction = client.close_start(self.channel).await.map_err(Error::Client)?;
        note(&format_args!("began to close, transaction {transaction}"));
        if let Some(ledger) = look_up(client.rpc(), self.channel).await?.instance.close_effective_at
        {
            note(&format_args!("what is left can be taken back from ledger {ledger} on"));
        }
        Ok(())
    }

    async fn refund(self, env: &Env) -> Result<(), Error> {
        let client = client(&self.stellar, env)?;
        let before = look_up(client.rpc(), self.channel).await?;
        // The network would refuse it too, in words of its own.
        let effective_at = before.instance.close_effective_at.ok_or(Error::NotClosing)?;
        let latest = latest(client.rpc()).await?;
        if effective_at > latest {
            return Err(Error::TooEarly { effective_at, latest });
        }
        let transaction = client.refund(self.channel).await.map_err(Error::Client)?;
        let money = Money::of(before.balance, &before.asset(client.rpc().network()));
        note(&format_args!("took {money} back, transaction {transaction}"));
        Ok(())
    }

    async fn show(self, env: &Env) -> Result<(), Error> {
        let network = self.stellar.network(env)?;
        let rpc = Rpc::new(Http::new(), self.stellar.rpc_url(network, env)?, network);
        rpc.check_network().await.map_err(|error| Error::Client(client::Error::Rpc(error)))?;
        let standing = look_up(&rpc, self.channel).await?;
        let latest = latest(&rpc).await?;
        for (name, value) in shown(self.channel, &standing, network, latest) {
            say(&format_args!("{name}: {value}"));
        }
        Ok(())
    }
}

/// What `show` tells of a channel, in its order.
fn shown(
    channel: ContractId,
    standing: &Standing,
    network: Network,
    latest: u32,
) -> Vec<(&'static str, String)> {
    let Standing { instance, balance } = standing;
    let asset = standing.asset(network);
    let money = |amount| Money::of(amount, &asset).to_string();
    let key = match CommitmentKey::from_bytes(instance.commitment_key) {
        Ok(key) => key.to_string(),
        Err(_) => format!("{} (weak: no gateway takes it)", hex::encode(instance.commitment_key)),
    };
    let close = match instance.close_effective_at {
        None => "none".to_owned(),
        Some(at) if at <= latest => format!("effective since ledger {at}"),
        Some(at) => {
            format!(
                "begun, effective from ledger {at} on, in {} ledgers",
                at.saturating_sub(latest)
            )
        }
    };
    vec![
        ("channel", channel.to_string()),
        ("balance", money(*balance)),
        ("withdrawn", money(instance.withdrawn)),
        ("token", instance.token.to_string()),
        ("from", instance.from.to_string()),
        ("to", instance.to.to_string()),
        ("waiting period", format!("{} ledgers", instance.refund_waiting_period)),
        ("close", close),
        ("commitment key", key),
        ("code", hex::encode(instance.code)),
    ]
}

fn client(flags: &Stellar, env: &Env) -> Result<Client, Error> {
    let network = flags.network(env)?;
    Ok(Client::new(Settings {
        seed: seed(None, "STELLAR_SECRET_KEY", "", env)?,
        network,
        rpc_url: flags.rpc_url(network, env)?,
        limit: None,
        method: client::Method::Any,
        mode: Mode::Push,
        patience: PATIENCE,
    }))
}

async fn look_up(rpc: &Rpc, channel: ContractId) -> Result<Standing, Error> {
    contract::look_up(rpc, channel).await.map_err(Error::Client)
}

async fn latest(rpc: &Rpc) -> Result<u32, Error> {
    let latest = rpc.latest_ledger().await;
    Ok(latest.map_err(|error| Error::Client(client::Error::Rpc(error)))?.sequence)
}

/// Makes a key, and tells it before anything is paid to it.
fn made_key() -> CommitmentKey {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    note(&"made a key; keep this line, since nothing else can pay out of the channel:");
    note(&format_args!("COMMITMENT_SECRET={}", hex::encode(bytes)));
    CommitmentSeed::from_bytes(&bytes).key()
}

fn read(flag: &'static str, text: &str, decimals: Decimals) -> Result<Amount, Error> {
    let amount = Amount::parse_decimal(text, decimals);
    amount.map_err(|source| Error::Amount { flag, text: text.to_owned(), source })
}

fn code(text: &str) -> Result<[u8; 32], &'static str> {
    let mut hash = [0; 32];
    hex::decode_to_slice(text, &mut hash).map_err(|_| "expected 64 hex digits")?;
    Ok(hash)
}

fn note(line: &dyn std::fmt::Display) {
    eprintln!("tollgate: {line}");
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(transparent)]
    Stellar(#[from] stellar::Error),
    #[error("--asset is `{name}`: expected USDC or XLM")]
    Asset { name: String },
    #[error("{flag} is `{text}`")]
    Amount { flag: &'static str, text: String, source: money::Error },
    #[error("nothing can be taken back yet: begin with `tollgate channel close-start`")]
    NotClosing,
    #[error("nothing can be taken back before ledger {effective_at}, and the latest is {latest}")]
    TooEarly { effective_at: u32, latest: u32 },
    #[error(transparent)]
    Client(client::Error),
}

/// For a transaction to land.
const PATIENCE: Duration = Duration::from_secs(120);

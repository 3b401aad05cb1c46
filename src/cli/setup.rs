//! `tollgate setup`: a folder with all that a first gateway on a test network needs.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

use clap::{Args, ValueEnum};
use http::Uri;

use super::{fail, say, stellar};
use crate::{
    config::Env,
    protocol::money::Decimals,
    setup::{self, Event, Role, Settings, TestNetwork},
    telemetry::Clock,
};

/// Prepares a folder for a first gateway on a test network: keys, funded accounts, USDC trustlines, `.env`, `gateway.yaml`.
///
/// What is there already is left as it is, so running it again completes what is missing and changes nothing else.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// The network; `sandbox` is the one of `tollgate sandbox`.
    #[arg(long, value_enum, value_name = "NAME", default_value = "testnet")]
    network: Network,
    /// The folder of the files.
    #[arg(long, value_name = "FOLDER", default_value = ".")]
    dir: PathBuf,
    /// The Stellar RPC [default: `STELLAR_RPC_URL`, or testnet's public one, or the sandbox's usual place].
    #[arg(long, value_name = "URL", value_parser = stellar::url)]
    rpc_url: Option<Uri>,
    /// Where the gateway is to listen.
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8402")]
    listen: SocketAddr,
    /// The API that it is to stand in front of.
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:3000", value_parser = stellar::url)]
    upstream: Uri,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Network {
    #[value(alias = "stellar:testnet")]
    Testnet,
    Sandbox,
    #[value(alias = "stellar:pubnet", hide = true)]
    Pubnet,
}

/// Carries the command out.
pub(super) async fn run(arguments: Arguments) -> ExitCode {
    match arguments.run(&Env::process()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

impl Arguments {
    async fn run(self, env: &Env) -> Result<(), Error> {
        let network = match self.network {
            Network::Testnet => TestNetwork::Testnet,
            Network::Sandbox => TestNetwork::Sandbox,
            Network::Pubnet => return Err(Error::RealMoney),
        };
        let told = env.var("STELLAR_RPC_URL");
        let rpc_url = match (self.rpc_url, told) {
            (Some(url), _) => Some(url),
            (None, Some(text)) => Some(stellar::url(&text).map_err(|_| Error::RpcUrl)?),
            (None, None) => None,
        };
        let settings = Settings {
            folder: self.dir,
            network,
            rpc_url,
            listen: self.listen,
            upstream: self.upstream,
        };
        let mut steps = Vec::new();
        let mut tell = |event| match to_do(&event) {
            Some(step) => steps.push(step),
            None => say(&done(&event)),
        };
        setup::run(&settings, env, &Clock::system(), &mut tell).await.map_err(Error::Setup)?;
        for (index, step) in steps.iter().enumerate() {
            let number = index.saturating_add(1);
            say(&format_args!("\n{number}. {step}"));
        }
        say(&"\nThen: tollgate check --online && tollgate run");
        Ok(())
    }
}

/// What stands now.
fn done(event: &Event) -> String {
    let usdc = |role: Role| format!("{} may hold USDC", role.as_str());
    match event {
        Event::Wrote { path, names } if names.is_empty() => {
            format!("{}: written", path.display())
        }
        Event::Wrote { path, names } => {
            format!("{}: written, with {}; only you can read it", path.display(), names.join(", "))
        }
        Event::Kept(path) => format!("{}: as it was", path.display()),
        Event::Exists(role, account) => format!("{} {account} exists", role.as_str()),
        Event::Funded(role, account) => {
            format!("{} {account} created by friendbot", role.as_str())
        }
        Event::Trusts(role) => usdc(*role),
        Event::Trusted(role, hash) => format!("{} now, transaction {hash}", usdc(*role)),
        Event::Holds(amount) => {
            format!("payer holds {} USDC", amount.to_decimal(Decimals::STELLAR))
        }
        Event::Received(amount) => {
            format!("payer got {} USDC from the faucet", amount.to_decimal(Decimals::STELLAR))
        }
        Event::Shadowed(_) | Event::Owner(_) | Event::NeedsUsdc(_) | Event::NeedsFacilitatorKey => {
            String::new()
        }
    }
}

/// What is left to do by hand, if it is that.
fn to_do(event: &Event) -> Option<String> {
    match event {
        Event::Shadowed(name) => Some(format!(
            "{name} has another value in this shell, which wins over the file: unset {name}"
        )),
        Event::Owner(account) => Some(format!(
            "Have the recipient's owner open a USDC trustline for {account}: its key is not here"
        )),
        Event::NeedsUsdc(account) => Some(format!(
            "In a browser: USDC for the payer, from https://faucet.circle.com\n   \
             choose USDC and Stellar Testnet, and send it to {account}"
        )),
        Event::NeedsFacilitatorKey => Some(
            "In a browser, and only if somebody else is to settle: a key for a remote facilitator, from\n   \
             https://channels.openzeppelin.com/testnet/gen; put it into .env as OZ_API_KEY=…, and into gateway.yaml\n   \
             facilitator: { url: \"https://channels.openzeppelin.com/x402/testnet\", api_key: { env: OZ_API_KEY } }"
                .to_owned(),
        ),
        _ => None,
    }
}

/// Why nothing, or not all, was prepared.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        "stellar:pubnet is real money: make the keys yourself, keep the recipient's away from this machine, and begin \
         with gateway.yaml of the README; this command is for testnet and sandbox"
    )]
    RealMoney,
    #[error("STELLAR_RPC_URL is no URL with `http://` or `https://`")]
    RpcUrl,
    #[error(transparent)]
    Setup(setup::Error),
}

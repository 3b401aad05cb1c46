//! `tollgate sandbox`: a local Stellar network for people.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use tollgate_sandbox::{Clock, Options, Sandbox};

use super::{fail, say, stop_signal};
use crate::config::Env;

/// Starts a local Stellar network: the RPC, friendbot and a USDC faucet, in memory, with funded accounts.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where the RPC listens over HTTP.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// Where the RPC listens over HTTPS too, with a self-signed certificate: the reference clients refuse HTTP.
    #[arg(long)]
    tls_listen: Option<SocketAddr>,
    /// Where to write that certificate.
    #[arg(long, default_value = "sandbox.pem", requires = "tls_listen")]
    certificate: PathBuf,
    /// How often a ledger closes: `1s`, `200ms`.
    #[arg(long, default_value = "1s", value_parser = duration)]
    ledger: Duration,
    /// Where to write addresses and keys as `KEY=value` lines.
    #[arg(long)]
    env_file: Option<PathBuf>,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    let options = Options {
        listen: arguments.listen,
        certificate: arguments.tls_listen.map(|_| arguments.certificate),
        tls_listen: arguments.tls_listen,
        extra_ca_certs: Env::process().var("NODE_EXTRA_CA_CERTS").map(PathBuf::from),
        clock: Clock::Interval(arguments.ledger),
    };
    let sandbox = match Sandbox::start(options).await {
        Ok(sandbox) => sandbox,
        Err(error) => return fail(&error),
    };
    say(&sandbox);
    if let Some(path) = &arguments.env_file {
        if let Err(error) = sandbox.write_env_file(path) {
            return fail(&error);
        }
        say(&format_args!("The same in {}: set -a; . {0}; set +a", path.display()));
    }
    say(&"Stop with Ctrl-C.");
    stop_signal().await;
    sandbox.shutdown().await;
    ExitCode::SUCCESS
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let number: u64 = number.parse().map_err(|_| "expected a number and a unit, as `1s`")?;
    match unit {
        "ms" if number > 0 => Ok(Duration::from_millis(number)),
        "s" if number > 0 => Ok(Duration::from_secs(number)),
        _ => Err("expected a duration above zero in `ms` or `s`, as `1s` or `200ms`".to_owned()),
    }
}

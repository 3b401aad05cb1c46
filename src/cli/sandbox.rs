//! `tollgate sandbox`: a local Stellar network for people.

use std::{io, net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

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
    /// Where the RPC listens over HTTPS, with a self-signed certificate: the reference clients refuse HTTP [default: the
    /// port after the one of `--listen`].
    #[arg(long)]
    tls_listen: Option<SocketAddr>,
    /// Where to write that certificate, for `NODE_EXTRA_CA_CERTS`.
    #[arg(long, default_value = "sandbox.pem")]
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
        certificate: Some(arguments.certificate),
        tls_listen: Some(arguments.tls_listen.unwrap_or_else(|| next_port(arguments.listen))),
        extra_ca_certs: Env::process().var("NODE_EXTRA_CA_CERTS").map(PathBuf::from),
        clock: Clock::Interval(arguments.ledger),
    };
    let sandbox = match Sandbox::start(options).await {
        Ok(sandbox) => sandbox,
        Err(error) => return fail(&error),
    };
    say(&sandbox);
    if let Some(path) = &arguments.env_file {
        if let Err(source) = sandbox.write_env_file(path) {
            return fail(&NotWritten { path: path.clone(), source });
        }
        say(&format_args!("The same in {}: set -a; . {0}; set +a", path.display()));
    }
    say(&"Stop with Ctrl-C.");
    stop_signal().await;
    sandbox.shutdown().await;
    ExitCode::SUCCESS
}

/// The env file could not be written.
#[derive(Debug, thiserror::Error)]
#[error("write the env file `{path}`")]
struct NotWritten {
    path: PathBuf,
    source: io::Error,
}

/// The port after `address`'s; a free one if that is free to choose as well.
const fn next_port(address: SocketAddr) -> SocketAddr {
    let port = if address.port() == 0 { 0 } else { address.port().wrapping_add(1) };
    SocketAddr::new(address.ip(), port)
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

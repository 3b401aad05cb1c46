//! The commands of `tollgate`.
//!
//! Exit codes: 0 done, 1 failure, 2 usage, 78 bad configuration (`EX_CONFIG`, which service managers know).

mod amount;
mod channel;
mod channels;
mod check;
mod columns;
mod facilitator;
mod gateway;
mod operate;
mod pay;
mod payments;
mod port;
mod routes;
#[cfg(feature = "sandbox")]
mod sandbox;
mod service;
mod setup;
mod signals;
mod stellar;

use std::{error::Error, fmt, io::IsTerminal as _, process::ExitCode};

use clap::{Parser, Subcommand};
use tracing_subscriber::EnvFilter;

#[cfg(feature = "sandbox")]
use crate::demo;

/// Puts a price on any HTTP API, paid in USDC on Stellar.
///
/// Ends with 0 if it is done, 1 if it failed, 2 if the command line does not read, and 78 if the configuration is wrong.
#[derive(Debug, Parser)]
#[command(name = "tollgate", version, after_help = EXAMPLES)]
struct Arguments {
    /// How logs are written to stderr.
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(gateway::Run),
    #[command(visible_alias = "validate")]
    Check(check::Arguments),
    Routes(routes::Routes),
    Pay(Box<pay::Arguments>),
    #[command(subcommand)]
    Channel(channel::Command),
    Channels(channels::Arguments),
    Payments(payments::Arguments),
    Schema(operate::Schema),
    Reload(operate::Reload),
    Health(operate::Health),
    Version(operate::Version),
    Facilitator(facilitator::Arguments),
    Setup(setup::Arguments),

    #[cfg(feature = "sandbox")]
    Sandbox(sandbox::Arguments),
    #[cfg(feature = "sandbox")]
    Demo(demo::Arguments),
}

/// Runs the command that the process was started with.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log_to_stderr(arguments.log_format, &arguments.command);
    let sockets = service::sockets();
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error),
    };
    let code = runtime.block_on(async {
        match arguments.command {
            Command::Run(run) => run.run(sockets).await,
            Command::Check(arguments) => check::run(arguments).await,
            Command::Routes(routes) => routes.run(),
            Command::Pay(arguments) => pay::run(*arguments).await,
            Command::Channel(command) => channel::run(command).await,
            Command::Channels(arguments) => channels::run(arguments).await,
            Command::Payments(arguments) => payments::run(arguments).await,
            Command::Schema(schema) => schema.run(),
            Command::Reload(reload) => reload.run().await,
            Command::Health(health) => health.run().await,
            Command::Version(version) => version.run(),
            Command::Facilitator(arguments) => facilitator::run(arguments).await,
            Command::Setup(arguments) => setup::run(arguments).await,
            #[cfg(feature = "sandbox")]
            Command::Sandbox(arguments) => sandbox::run(arguments).await,
            #[cfg(feature = "sandbox")]
            Command::Demo(arguments) => match demo::run(arguments, stop_signal()).await {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&*error),
            },
        }
    });
    // What is still at work there is not waited for: whoever is done has waited for what matters.
    runtime.shutdown_background();
    code
}

/// `RUST_LOG` decides what is logged; without it, what an operator wants to know, and for the other commands only trouble.
fn log_to_stderr(format: LogFormat, command: &Command) {
    let usual = match command {
        Command::Run(_) | Command::Facilitator(_) => "info,hyper=error",
        _ => "warn",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(usual));
    let lines = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().init(),
    }
}

/// Writes a line to stdout. A closed pipe is the reader's choice, not our failure.
fn say(line: &dyn fmt::Display) {
    use std::io::Write as _;
    if writeln!(std::io::stdout(), "{line}").is_err() {
        tracing::debug!("nobody reads stdout");
    }
}

/// Tells an error with its causes on stderr; the exit code of a failure.
fn fail(error: &dyn Error) -> ExitCode {
    eprint!("tollgate: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprint!(": {error}");
        cause = error.source();
    }
    eprintln!();
    ExitCode::FAILURE
}

/// Ends when the process is asked to stop: SIGINT (Ctrl-C) or SIGTERM.
async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupted = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminated) => {
            tokio::select! { _ = interrupted => {} _ = terminated.recv() => {} }
        }
        // Without SIGTERM there is still Ctrl-C.
        Err(_) => drop(interrupted.await),
    }
}

/// How what a command found is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Output {
    /// For people.
    Table,
    /// For programs.
    Json,
}

impl Output {
    /// As asked for, or else for whoever reads: a person at a terminal, a program behind a pipe.
    fn or_by_reader(asked: Option<Self>) -> Self {
        asked.unwrap_or_else(|| match std::io::stdout().is_terminal() {
            true => Self::Table,
            false => Self::Json,
        })
    }
}

const BAD_CONFIGURATION: u8 = 78;
const EXAMPLES: &str = "Examples:
  tollgate demo                                 everything at work, on this machine alone
  tollgate setup                                keys, money of the test network and a gateway.yaml
  tollgate check --online                       what is wrong with gateway.yaml, here and on the ledger
  tollgate routes --test \"GET /weather\"        which route takes a request, and why
  tollgate run                                  the gateway";

//! `tollgate facilitator`: serves the gateway's own facilitator to others.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, process::ExitCode, time::Duration};

use clap::{Args, builder::RangedI64ValueParser};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use super::{
    fail,
    stellar::{self, Stellar, seed},
    stop_signal,
};
use crate::{
    config::Env,
    facilitate::Facilitate,
    ledger::{Budget, Http, own, rpc::Rpc},
    server::{self, Limits},
    telemetry::Clock,
};

/// Serves `/verify`, `/settle` and `/supported` of x402 v2 to other resource servers.
///
/// Settles with the sponsor key in `SPONSOR_SECRET`, or in a file. With `FACILITATOR_API_KEY` set, callers need it as
/// `Authorization: Bearer`; off loopback it must be set.
#[derive(Debug, Args)]
pub(super) struct Arguments {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:4022")]
    listen: SocketAddr,
    #[command(flatten)]
    stellar: Stellar,
    /// A file with the sponsor's secret key (`S…`), instead of `SPONSOR_SECRET`.
    #[arg(long, value_name = "FILE")]
    sponsor_file: Option<PathBuf>,
    /// How many accounts the sponsor owns: so many payments settle in one ledger.
    #[arg(long, value_name = "COUNT", default_value_t = own::LANES, value_parser = number(own::LANE_COUNTS))]
    lanes: u32,
    /// The most that one transaction may cost, in stroops.
    #[arg(long, value_name = "STROOPS", default_value_t = own::MAX_FEE_STROOPS, value_parser = number(own::MAX_FEES))]
    max_fee_stroops: u32,
    /// The most that all transactions of an hour may cost, in stroops.
    #[arg(long, value_name = "STROOPS", default_value_t = Budget::USUAL.stroops)]
    budget_stroops: u64,
    /// The most that one payer's transactions may cost in an hour without paying, in stroops.
    #[arg(long, value_name = "STROOPS", default_value_t = Budget::USUAL.per_payer)]
    budget_per_payer_stroops: u64,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    match arguments.serve(&stellar::env()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

impl Arguments {
    async fn serve(self, env: &Env) -> Result<(), Error> {
        let api_key = env.var("FACILITATOR_API_KEY").map(SecretString::from);
        if api_key.is_none() && !self.listen.ip().is_loopback() {
            return Err(Error::Open { listen: self.listen });
        }
        let network = self.stellar.network(env)?;
        let rpc_url = self.stellar.rpc_url(network, env)?;
        let sponsor = seed(self.sponsor_file.as_deref(), "SPONSOR_SECRET", "--sponsor-file", env)?;
        let settings = own::Settings {
            network,
            sponsors: vec![sponsor],
            lanes: self.lanes,
            max_fee_stroops: self.max_fee_stroops,
            budget: Budget {
                stroops: self.budget_stroops,
                per_payer: self.budget_per_payer_stroops,
                per: Budget::USUAL.per,
            },
            excluded: Vec::new(),
        };
        let listener = TcpListener::bind(self.listen).await;
        let listener = listener.map_err(|source| Error::Listen { address: self.listen, source })?;
        let address = listener.local_addr().unwrap_or(self.listen);
        info!(%address, network = %network, "facilitator listening");

        let (background, settling) = (TaskTracker::new(), TaskTracker::new());
        let (stop, stop_background) = (CancellationToken::new(), CancellationToken::new());
        let clock = Clock::system();
        let rpc = Rpc::new(Http::new(), rpc_url, network);
        let facilitator = own::Facilitator::start(
            settings,
            rpc,
            clock.clone(),
            &background,
            stop_background.clone(),
        );
        let service = Facilitate::new(facilitator, network, api_key, clock, settling.clone());
        let serving = server::serve(listener, service, Limits::default(), GRACE, stop.clone());
        let stopping = async {
            stop_signal().await;
            info!("stopping");
            stop.cancel();
        };
        tokio::join!(serving, stopping);
        settling.close();
        settling.wait().await;
        stop_background.cancel();
        background.close();
        background.wait().await;
        Ok(())
    }
}

/// Why the facilitator does not run.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        "`{listen}` can be reached from elsewhere: set FACILITATOR_API_KEY, or listen on 127.0.0.1"
    )]
    Open { listen: SocketAddr },
    #[error(transparent)]
    Stellar(#[from] stellar::Error),
    #[error("listen on `{address}`")]
    Listen { address: SocketAddr, source: std::io::Error },
}

fn number(range: RangeInclusive<u32>) -> RangedI64ValueParser<u32> {
    RangedI64ValueParser::new().range(i64::from(*range.start())..=i64::from(*range.end()))
}

/// How long requests under way may take once it stops.
const GRACE: Duration = Duration::from_secs(30);

//! `tollgate facilitator`: serves the gateway's own facilitator to others.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;
use http::Uri;
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::info;

use super::{fail, stop_signal};
use crate::{
    config::Env,
    facilitate::Facilitate,
    ledger::{Budget, Http, own, rpc::Rpc, signer::Seed},
    protocol::stellar::Network,
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
    /// The network to settle on [default: `STELLAR_NETWORK`, or `stellar:testnet`].
    #[arg(long, value_name = "NAME")]
    network: Option<Network>,
    /// The Stellar RPC [default: `STELLAR_RPC_URL`].
    #[arg(long, value_name = "URL")]
    rpc_url: Option<Uri>,
    /// A file with the sponsor's secret key (`S…`), instead of `SPONSOR_SECRET`.
    #[arg(long, value_name = "FILE")]
    sponsor_file: Option<PathBuf>,
    /// How many accounts the sponsor owns: so many payments settle in one ledger.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=100))]
    lanes: u32,
    /// The most that one transaction may cost, in stroops.
    #[arg(long, default_value_t = 200_000)]
    max_fee_stroops: u32,
    /// The most that all transactions of an hour may cost, in stroops.
    #[arg(long, default_value_t = 100_000_000)]
    budget_stroops: u64,
    /// The most that the transactions of one payer may cost in an hour, in stroops.
    #[arg(long, default_value_t = 2_000_000)]
    budget_per_payer_stroops: u64,
}

pub(super) async fn run(arguments: Arguments) -> ExitCode {
    match arguments.serve(&Env::process()).await {
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
        let network = match (self.network, env.var("STELLAR_NETWORK")) {
            (Some(network), _) => network,
            (None, Some(name)) => name.parse().map_err(|_| Error::Network)?,
            (None, None) => Network::Testnet,
        };
        let rpc_url = match (&self.rpc_url, env.var("STELLAR_RPC_URL")) {
            (Some(url), _) => url.clone(),
            (None, Some(url)) => url.parse().map_err(|_| Error::RpcUrl)?,
            (None, None) => return Err(Error::NoRpc),
        };
        let settings = own::Settings {
            network,
            sponsors: vec![self.sponsor(env)?],
            lanes: self.lanes,
            max_fee_stroops: self.max_fee_stroops,
            budget: Budget {
                stroops: self.budget_stroops,
                per_payer: self.budget_per_payer_stroops,
                per: Duration::from_secs(3_600),
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

    fn sponsor(&self, env: &Env) -> Result<Seed, Error> {
        let text = match &self.sponsor_file {
            Some(path) => std::fs::read_to_string(path)
                .map_err(|source| Error::SponsorFile { path: path.clone(), source })?,
            None => env.var("SPONSOR_SECRET").ok_or(Error::NoSponsor)?,
        };
        text.trim().parse().map_err(|_| Error::Sponsor)
    }
}

/// Why the facilitator does not run.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error(
        "`{listen}` can be reached from elsewhere: set FACILITATOR_API_KEY, or listen on 127.0.0.1"
    )]
    Open { listen: SocketAddr },
    #[error("STELLAR_NETWORK is neither `stellar:testnet` nor `stellar:pubnet`")]
    Network,
    #[error("STELLAR_RPC_URL is no URL")]
    RpcUrl,
    #[error("which Stellar RPC? set STELLAR_RPC_URL, or give --rpc-url")]
    NoRpc,
    #[error("who pays the network's fees? set SPONSOR_SECRET, or give --sponsor-file")]
    NoSponsor,
    #[error("read the sponsor's key from `{path}`")]
    SponsorFile { path: PathBuf, source: std::io::Error },
    #[error("the sponsor's key is no secret seed (`S…`, 56 characters)")]
    Sponsor,
    #[error("listen on `{address}`")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// How long requests under way may take once it stops.
const GRACE: Duration = Duration::from_secs(30);

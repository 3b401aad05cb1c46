//! A local Stellar network in one process, to develop on and to test against.
//!
//! ```no_run
//! # async fn example() -> Result<(), tollgate_sandbox::Error> {
//! use tollgate_sandbox::{Clock, Options, Sandbox};
//!
//! let sandbox = Sandbox::start(Options { clock: Clock::Manual, ..Options::default() }).await?;
//! println!("{}", sandbox.rpc_url());
//! sandbox.close_ledger().await;
//! sandbox.shutdown().await;
//! # Ok(())
//! # }
//! ```
//!
//! A request comes in at a socket (`server`), is a JSON-RPC call (`rpc`) or asks for money (`faucet`), and ends at
//! the [`ledger`], which runs the real Soroban host. `bootstrap` sets the network up, [`Clock`] closes its ledgers, and
//! [`Faults`] make it misbehave. The passphrase and the USDC issuer are the testnet's, so that the USDC contract has its
//! well-known address.
//!
//! It is a substitute: no consensus, no congestion, no fees of a real network. Its state lives in memory, its keys are public.

mod server;

mod rpc;

mod faucet;
mod treasury;

mod bootstrap;
mod channel;
mod contract_account;
mod dev_accounts;
mod usdc;

mod clock;

mod fault;

pub mod ledger;

mod balance;
mod blocking;
mod code;
mod env_file;
mod envelope;
mod tls;

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use stellar_xdr::{ContractId, Hash};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

pub use self::bootstrap::Error as BootstrapError;
pub use self::channel::{
    CHANNEL_FACTORY_WASM, CHANNEL_WASM, OpenChannel, channel_code, channel_factory_code,
};
pub use self::clock::Clock;
pub use self::contract_account::ContractPayer;
pub use self::dev_accounts::{DevAccount, DevAccounts};
pub use self::fault::{Fault, Faults, Hold, Moment, Times};
pub use self::rpc::Method;
pub use self::tls::Error as TlsError;
pub use self::treasury::{Error as FundError, Funds};
pub use self::usdc::{UNITS, USDC_ISSUER};

use self::ledger::{ClosedLedger, Ledger, LedgerConfig};
use self::rpc::Rpc;
use self::server::{Endpoint, Service};
use self::tls::Identity;
use self::treasury::{Inclusion, Treasury};

/// The network's passphrase: the testnet's.
pub const PASSPHRASE: &str = "Test SDF Network ; September 2015";

/// The network's name as x402 and MPP write it.
pub const NETWORK: &str = "stellar:testnet";

/// How a sandbox starts.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where plain HTTP listens; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where HTTPS listens, if it does.
    pub tls_listen: Option<SocketAddr>,
    /// Where the self-signed certificate is written (PEM), for `NODE_EXTRA_CA_CERTS`.
    pub certificate: Option<PathBuf>,
    /// A file of certificates to write behind it: what `NODE_EXTRA_CA_CERTS` named before.
    pub extra_ca_certs: Option<PathBuf>,
    /// What closes ledgers.
    pub clock: Clock,
}

impl Default for Options {
    /// HTTP on a free loopback port, no TLS, a ledger a second.
    fn default() -> Self {
        Self {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            tls_listen: None,
            certificate: None,
            extra_ca_certs: None,
            clock: Clock::default(),
        }
    }
}

/// Why a sandbox did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A listener could not be opened.
    #[error("listen on `{address}`")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// There is no certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The network did not come up.
    #[error(transparent)]
    Bootstrap(#[from] BootstrapError),
}

/// A running network. It stops when dropped; [`Sandbox::shutdown`] also waits for it.
pub struct Sandbox {
    ledger: Ledger,
    faults: Faults,
    accounts: DevAccounts,
    service: Arc<Service>,
    url: String,
    tls: Option<TlsFace>,
    tasks: TaskTracker,
    stop: DropGuard,
}

/// How the sandbox is reached over TLS.
struct TlsFace {
    url: String,
    pem: String,
    certificate: Option<PathBuf>,
}

impl Sandbox {
    /// Starts one: the network is up and its listeners accept when this returns. Call it inside a tokio runtime.
    ///
    /// # Errors
    /// [`Error`] by what could not be set up; nothing is left running then.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let listener = bind(options.listen).await?;
        let url = server::url("http", address(&listener, options.listen)?);
        let mut endpoints = vec![Endpoint { listener, tls: None, url: url.clone() }];
        let mut tls = None;
        if let Some(wanted) = options.tls_listen {
            let identity = Identity::new(wanted.ip())?;
            if let Some(path) = &options.certificate {
                tls::write_bundle(path, &identity.pem, options.extra_ca_certs.as_deref())?;
            }
            let listener = bind(wanted).await?;
            let url = server::url("https", address(&listener, wanted)?);
            let acceptor = TlsAcceptor::from(identity.config);
            endpoints.push(Endpoint { listener, tls: Some(acceptor), url: url.clone() });
            tls = Some(TlsFace { url, pem: identity.pem, certificate: options.certificate });
        }

        let mut config = LedgerConfig::new(PASSPHRASE, clock::unix_now());
        config.trusted = vec![usdc::issuer()];
        let ledger = Ledger::new(config);
        let treasury = Treasury::new(ledger.clone(), options.clock);
        let accounts = DevAccounts::new();
        bootstrap::run(&ledger, &treasury, &accounts).await?;

        let faults = Faults::new(ledger.clone());
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());
        let rpc = Rpc::new(ledger.clone(), faults.clone(), tasks.clone(), stop.clone());
        let service = Arc::new(Service { rpc, treasury });
        if let Clock::Interval(interval) = options.clock {
            tasks.spawn(clock::run(ledger.clone(), interval, stop.clone()));
        }
        for endpoint in endpoints {
            let (service, of_connections) = (service.clone(), tasks.clone());
            tasks.spawn(server::serve(endpoint, service, of_connections, stop.clone()));
        }
        let stop = stop.drop_guard();
        Ok(Self { ledger, faults, accounts, service, url, tls, tasks, stop })
    }

    /// Stops listening and closing ledgers, gives answers under way a second, and returns when every task has ended.
    pub async fn shutdown(self) {
        drop(self.stop);
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// The RPC over HTTP, as `http://127.0.0.1:8000`.
    pub fn rpc_url(&self) -> &str {
        &self.url
    }

    /// The RPC over HTTPS, if it listens there.
    pub fn tls_rpc_url(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.url.as_str())
    }

    /// The self-signed certificate of the HTTPS listener (PEM).
    pub fn certificate_pem(&self) -> Option<&str> {
        self.tls.as_ref().map(|tls| tls.pem.as_str())
    }

    /// Gives 10,000 XLM to a new account: `?addr=G…`.
    pub fn friendbot_url(&self) -> String {
        server::friendbot_url(&self.url)
    }

    /// Gives USDC to an account with a trustline: `?addr=G…&amount=10`.
    pub fn faucet_url(&self) -> String {
        server::faucet_url(&self.url)
    }

    /// The address of the USDC contract.
    pub fn usdc_contract(&self) -> String {
        usdc::contract_address(&self.network_id())
    }

    /// The ledger itself.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The accounts that every sandbox starts with.
    pub fn accounts(&self) -> &DevAccounts {
        &self.accounts
    }

    /// What may go wrong on purpose.
    pub fn faults(&self) -> &Faults {
        &self.faults
    }

    /// How many calls of `method` have come over the RPC.
    pub fn calls(&self, method: Method) -> u64 {
        self.service.rpc.calls(method)
    }

    /// Closes a ledger now, whatever the clock.
    ///
    /// # Panics
    /// If the ledger does: that is a bug of the sandbox.
    pub async fn close_ledger(&self) -> Arc<ClosedLedger> {
        self.close_ledger_at(clock::unix_now()).await
    }

    /// Closes a ledger with this close time (Unix seconds), or the previous one's if that is later.
    ///
    /// # Panics
    /// If the ledger does: that is a bug of the sandbox.
    pub async fn close_ledger_at(&self, now: u64) -> Arc<ClosedLedger> {
        clock::close(&self.ledger, now).await.expect("closing a ledger does not panic")
    }

    /// Lets `count` ledgers pass at once, one at least, and answers the last: the others are empty and leave no trace.
    ///
    /// Their number is what it is about: waiting periods end, contract entries near the end of their life (120,960 ledgers
    /// after they were created) or are archived. Close times move as in [`Sandbox::close_ledger`].
    ///
    /// # Panics
    /// If the ledger does: that is a bug of the sandbox.
    pub async fn skip_ledgers(&self, count: u32) -> Arc<ClosedLedger> {
        let closed =
            clock::close_after(&self.ledger, count.saturating_sub(1), clock::unix_now()).await;
        closed.expect("closing a ledger does not panic")
    }

    /// The base units of USDC that an account's trustline or a contract holds; `None` where there is neither.
    pub fn usdc_balance(&self, address: &str) -> Option<i128> {
        balance::usdc(&self.ledger.snapshot(), &self.network_id(), address)
    }

    /// The stroops that an account holds, reserve included; `None` where there is no account.
    pub fn xlm_balance(&self, address: &str) -> Option<i64> {
        balance::xlm(&self.ledger.snapshot(), address)
    }

    /// Creates `count` new payers with `funds` each, 19 a ledger, and closes those ledgers.
    ///
    /// # Errors
    /// [`FundError`] by what the network refused; payers of earlier ledgers exist then.
    pub async fn new_payers(
        &self,
        count: usize,
        funds: Funds,
    ) -> Result<Vec<DevAccount>, FundError> {
        self.service.treasury.new_payers(count, funds).await
    }

    /// Deploys a new payer that is a contract, with `usdc_units`, and closes the ledgers for it.
    ///
    /// # Errors
    /// [`FundError`] by what the network refused; the contract may be there without money then.
    pub async fn new_contract_payer(&self, usdc_units: i64) -> Result<ContractPayer, FundError> {
        self.service.treasury.new_contract_payer(usdc_units).await
    }

    /// Opens a channel, and closes the ledger. Its payer needs no lumens: the sandbox pays the fee.
    ///
    /// # Errors
    /// [`FundError`] by what the network refused.
    pub async fn open_channel(&self, wanted: &OpenChannel<'_>) -> Result<ContractId, FundError> {
        self.service.treasury.open_channel(wanted).await
    }

    /// Moves `units` more from `payer` into `channel`, and closes the ledger.
    ///
    /// # Errors
    /// [`FundError`] by what the network refused.
    pub async fn top_up(
        &self,
        channel: &ContractId,
        payer: &DevAccount,
        units: i128,
    ) -> Result<(), FundError> {
        let args = vec![units.into()];
        self.service.treasury.call_channel(channel, payer, "top_up", args).await
    }

    /// Starts a close of `channel` as its payer, and closes the ledger.
    ///
    /// # Errors
    /// [`FundError`] by what the network refused.
    pub async fn close_start(
        &self,
        channel: &ContractId,
        payer: &DevAccount,
    ) -> Result<(), FundError> {
        self.service.treasury.call_channel(channel, payer, "close_start", vec![]).await
    }

    /// Gives what `channel` holds back to its payer, once a close is effective, and closes the ledger.
    ///
    /// # Errors
    /// [`FundError`] by what the network refused.
    pub async fn refund(&self, channel: &ContractId, payer: &DevAccount) -> Result<(), FundError> {
        self.service.treasury.call_channel(channel, payer, "refund", vec![]).await
    }

    /// Creates `account` with `stroops`, and closes the ledger.
    ///
    /// # Errors
    /// [`FundError`] by what the network refused.
    pub async fn create_account(
        &self,
        account: &DevAccount,
        stroops: i64,
    ) -> Result<(), FundError> {
        let treasury = &self.service.treasury;
        treasury.create_account(&account.account_id(), stroops, Inclusion::AtOnce).await.map(drop)
    }

    /// Issues `units` of USDC to `account`, and closes the ledger.
    ///
    /// # Errors
    /// [`FundError`] by what the network refused.
    pub async fn send_usdc(&self, account: &DevAccount, units: i64) -> Result<(), FundError> {
        let treasury = &self.service.treasury;
        treasury.send_usdc(&account.account_id(), units, Inclusion::AtOnce).await.map(drop)
    }

    /// What a shell needs to reach this sandbox, as `KEY` and value. The TLS lines stand there only with TLS.
    pub fn env_lines(&self) -> Vec<(&'static str, String)> {
        let mut lines =
            vec![("STELLAR_NETWORK", NETWORK.to_owned()), ("STELLAR_RPC_URL", self.url.clone())];
        if let Some(tls) = &self.tls {
            lines.push(("STELLAR_RPC_TLS_URL", tls.url.clone()));
            if let Some(path) = &tls.certificate {
                // A relative path would mean another file wherever the env file is read.
                let path = std::path::absolute(path).unwrap_or_else(|_| path.clone());
                lines.push(("NODE_EXTRA_CA_CERTS", path.display().to_string()));
            }
        }
        let accounts = &self.accounts;
        lines.extend([
            ("USDC_CONTRACT", self.usdc_contract()),
            ("CHANNEL_CODE", hex::encode(channel_code())),
            ("STELLAR_RECIPIENT", accounts.recipient.address()),
            ("RECIPIENT_SECRET", accounts.recipient.secret()),
            ("STELLAR_SECRET_KEY", accounts.payer.secret()),
            ("ZERO_XLM_SECRET_KEY", accounts.zero_xlm_payer.secret()),
            ("SPONSOR_SECRET", accounts.sponsor.secret()),
            ("FRIENDBOT_URL", self.friendbot_url()),
            ("FAUCET_URL", self.faucet_url()),
        ]);
        lines
    }

    /// Writes [`Sandbox::env_lines`] to `path`, `KEY=value` a line.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn write_env_file(&self, path: &Path) -> io::Result<()> {
        env_file::write(path, &self.env_lines())
    }

    fn network_id(&self) -> Hash {
        self.ledger.network_id()
    }
}

impl fmt::Display for Sandbox {
    /// What a person wants to see at the start: URLs, addresses, and who holds what.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "RPC        {}", self.url)?;
        if let Some(tls) = &self.tls {
            writeln!(f, "           {}", tls.url)?;
            if let Some(path) = &tls.certificate {
                writeln!(f, "           NODE_EXTRA_CA_CERTS={}", path.display())?;
            }
        }
        writeln!(f, "Friendbot  {}?addr=G…", self.friendbot_url())?;
        writeln!(f, "Faucet     {}?addr=G…&amount=10", self.faucet_url())?;
        writeln!(f, "Network    {NETWORK} ({PASSPHRASE})")?;
        writeln!(f, "USDC       {}", self.usdc_contract())?;
        writeln!(f, "Channels   code {}", hex::encode(channel_code()))?;
        writeln!(f, "\nAccounts, the same at every start; never use one on a real network:")?;
        let DevAccounts { recipient, payer, zero_xlm_payer, sponsor } = &self.accounts;
        for (role, account, holds) in [
            ("recipient", recipient, "100 XLM, a USDC trustline"),
            ("payer", payer, "100 XLM, 1,000 USDC"),
            ("payer", zero_xlm_payer, "no XLM beyond its reserve, 100 USDC"),
            ("sponsor", sponsor, "10,000 XLM"),
        ] {
            writeln!(f, "  {role:<10} {}  {holds}", account.address())?;
            writeln!(f, "  {:<10} {}", "", account.secret())?;
        }
        Ok(())
    }
}

impl fmt::Debug for Sandbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sandbox").field("url", &self.url).finish_non_exhaustive()
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, Error> {
    TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })
}

fn address(listener: &TcpListener, address: SocketAddr) -> Result<SocketAddr, Error> {
    listener.local_addr().map_err(|source| Error::Listen { address, source })
}

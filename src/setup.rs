//! Prepares a folder for a first gateway on a test network: keys, accounts, trustlines, `.env` and `gateway.yaml`.
//!
//! Every step looks before it acts, so a second run changes nothing, and a run that was cut off is completed by the next
//! one: keys are in the file before anything is sent to their accounts. What exists is never overwritten. It knows no real
//! money: on pubnet nobody's first keys should be made by a program that writes them into one file.

mod account;
mod keys;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use http::Uri;

use self::{account::Accounts, keys::Keys};
use crate::{
    config::{Diagnostics, Env, EnvFile},
    ledger::{
        Http, HttpError, classic,
        rpc::{self, Rpc},
    },
    protocol::{
        money::Amount,
        stellar::{AccountId, Network, TxHash},
    },
    telemetry::Clock,
};

/// What to prepare.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the files go; it is made if it is not there.
    pub folder: PathBuf,
    /// For which network.
    pub network: TestNetwork,
    /// The RPC that was named; else the one in `.env`, or the usual one.
    pub rpc_url: Option<Uri>,
    /// Where the gateway is to listen.
    pub listen: SocketAddr,
    /// What it is to stand in front of.
    pub upstream: Uri,
}

/// A network on which money is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TestNetwork {
    /// Stellar's public one.
    Testnet,
    /// `tollgate sandbox`.
    Sandbox,
}

impl TestNetwork {
    const fn rpc_url(self) -> &'static str {
        match self {
            Self::Testnet => rpc::TESTNET_URL,
            Self::Sandbox => "http://127.0.0.1:8000",
        }
    }
}

/// What was found, done, or is left to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A file got these lines, or was made.
    Wrote {
        /// Which file.
        path: PathBuf,
        /// The names whose lines are new; empty for a file that is no `.env`.
        names: Vec<&'static str>,
    },
    /// A file has all that it needs, and is as it was.
    Kept(PathBuf),
    /// The process has another value for this name than the file, and `tollgate run` would take that one.
    Shadowed(&'static str),
    /// An account stands already.
    Exists(Role, AccountId),
    /// Friendbot made an account.
    Funded(Role, AccountId),
    /// A USDC trustline stands already.
    Trusts(Role),
    /// A USDC trustline was opened by this transaction.
    Trusted(Role, TxHash),
    /// The recipient's key is not in the file: who has it has to make the account hold USDC.
    Owner(AccountId),
    /// The payer holds USDC already.
    Holds(Amount),
    /// The sandbox's faucet gave the payer USDC.
    Received(Amount),
    /// The payer needs USDC, which only a browser can get.
    NeedsUsdc(AccountId),
    /// There is no key of a remote facilitator, which only a browser can get.
    NeedsFacilitatorKey,
}

/// What an account is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Is paid.
    Recipient,
    /// Pays the network's fees.
    Sponsor,
    /// Pays for requests.
    Payer,
}

impl Role {
    /// Its name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Recipient => "recipient",
            Self::Sponsor => "sponsor",
            Self::Payer => "payer",
        }
    }
}

/// Prepares what `settings` say, telling each step as it is taken. `env` is the environment of the process.
///
/// # Errors
/// [`Error`] names the step that could not be taken; those before it stand, and the next run goes on from there.
pub async fn run(
    settings: &Settings,
    env: &Env,
    clock: &Clock,
    mut tell: impl FnMut(Event),
) -> Result<(), Error> {
    let folder = &settings.folder;
    let env_path = folder.join(EnvFile::NAME);
    let found = EnvFile::read(&env_path).map_err(Error::EnvFile)?;
    let (rpc, http) = reach(settings, found.as_ref()).await?;

    std::fs::create_dir_all(folder)
        .map_err(|source| Error::Write { path: folder.clone(), source })?;
    let rpc_url = settings.rpc_url(found.as_ref())?;
    let added = keys::complete(&env_path, found.as_ref(), &rpc_url)?;
    tell(match added.is_empty() {
        true => Event::Kept(env_path.clone()),
        false => Event::Wrote { path: env_path.clone(), names: added },
    });
    tell(write_config(settings)?);
    // What counts is what the next run will find.
    let written = EnvFile::read(&env_path).map_err(Error::EnvFile)?.ok_or(Error::Gone)?;
    let keys = Keys::read(&written)?;
    for name in keys::NAMES {
        let theirs = env.var(name);
        if theirs.is_some() && theirs.as_deref() != written.get(name) {
            tell(Event::Shadowed(name));
        }
    }

    let accounts =
        Accounts { rpc: &rpc, http: &http, rpc_url: &rpc_url, network: settings.network, clock };
    accounts.fund(&keys, &mut tell).await?;
    accounts.trust(&keys, &mut tell).await?;
    accounts.supply(&keys, &mut tell).await?;
    let has_key =
        |value: Option<String>| value.or_else(|| written.get(FACILITATOR_KEY).map(str::to_owned));
    if settings.network == TestNetwork::Testnet && has_key(env.var(FACILITATOR_KEY)).is_none() {
        tell(Event::NeedsFacilitatorKey);
    }
    Ok(())
}

impl Settings {
    /// The RPC to use: the one that is named, the one of the last run, or the usual one.
    fn rpc_url(&self, found: Option<&EnvFile>) -> Result<Uri, Error> {
        let value = found.and_then(|file| file.get(keys::RPC_URL)).filter(|url| !url.is_empty());
        let kept = match value {
            Some(text) => Some(text.parse::<Uri>().map_err(|_| Error::Value {
                name: keys::RPC_URL,
                expected: "a URL with `http://` or `https://`",
            })?),
            None => None,
        };
        match (&self.rpc_url, kept) {
            (Some(named), Some(kept)) if *named != kept => Err(Error::OtherRpc),
            (Some(url), _) => Ok(url.clone()),
            (None, Some(url)) => Ok(url),
            (None, None) => Ok(Uri::from_static(self.network.rpc_url())),
        }
    }
}

/// Finds the RPC, before anything is written that would stay: it must serve the network that was asked for.
async fn reach(settings: &Settings, found: Option<&EnvFile>) -> Result<(Rpc, Http), Error> {
    let network = found.and_then(|file| file.get(keys::NETWORK)).filter(|name| !name.is_empty());
    if let Some(name) = network.filter(|name| *name != Network::Testnet.name()) {
        return Err(Error::OtherNetwork { name: name.to_owned() });
    }
    let (http, url) = (Http::new(), settings.rpc_url(found)?);
    let rpc = Rpc::new(http.clone(), url.clone(), Network::Testnet);
    let unreachable = |source| Error::Rpc { place: rpc.place(), source };
    rpc.check_network().await.map_err(unreachable)?;
    let is_sandbox = account::is_sandbox(&http, &url).await;
    match (settings.network, is_sandbox) {
        (TestNetwork::Testnet, true) => Err(Error::IsSandbox { place: rpc.place() }),
        (TestNetwork::Sandbox, false) => Err(Error::NoSandbox { place: rpc.place() }),
        _ => Ok((rpc, http)),
    }
}

/// Writes the configuration that comes with the source, if there is none yet.
fn write_config(settings: &Settings) -> Result<Event, Error> {
    let path = settings.folder.join("gateway.yaml");
    let upstream = settings.upstream.to_string();
    let text = include_str!("../gateway.yaml")
        .replace("127.0.0.1:8402", &settings.listen.to_string())
        .replace("http://127.0.0.1:3000", upstream.trim_end_matches('/'))
        .replace("mpp: { charge:", "mpp: { secret_key: { env: MPP_SECRET_KEY }, charge:");
    match write_new(&path, &text) {
        Ok(true) => Ok(Event::Wrote { path, names: Vec::new() }),
        Ok(false) => Ok(Event::Kept(path)),
        Err(source) => Err(Error::Write { path, source }),
    }
}

/// Writes a file all at once, unless there is one; says whether it did.
fn write_new(path: &Path, text: &str) -> io::Result<bool> {
    if path.try_exists()? {
        return Ok(false);
    }
    keys::replace(path, text, 0o644)?;
    Ok(true)
}

/// Why a step could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The `.env` file cannot be read.
    #[error(transparent)]
    EnvFile(Diagnostics),
    /// A file could not be written.
    #[error("write `{path}`")]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The `.env` file went away while we worked.
    #[error("`.env` is gone: run this again")]
    Gone,
    /// A line of `.env` does not hold what it should. Never repeats what it holds.
    #[error("{name} in `.env` is not {expected}")]
    Value {
        /// The line's name.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// The recipient's key and address do not belong together.
    #[error(
        "RECIPIENT_SECRET in `.env` is not the key of STELLAR_RECIPIENT: remove one of the two"
    )]
    NoPair,
    /// The folder belongs to another network.
    #[error("`.env` is for `{name}`: use another --dir for stellar:testnet")]
    OtherNetwork {
        /// Its network.
        name: String,
    },
    /// The folder belongs to another RPC.
    #[error(
        "`.env` has another STELLAR_RPC_URL than this one: change that line, or use another --dir"
    )]
    OtherRpc,
    /// The RPC does not answer, or serves another network.
    #[error("ask `{place}`")]
    Rpc {
        /// Where it is.
        place: String,
        /// What it said.
        source: rpc::Error,
    },
    /// The sandbox was asked for, and this is none.
    #[error("`{place}` is no sandbox: start `tollgate sandbox`, or say where it is with --rpc-url")]
    NoSandbox {
        /// Where it is.
        place: String,
    },
    /// Testnet was asked for, and this is a sandbox.
    #[error("`{place}` is a sandbox: use --network sandbox, or name testnet's RPC with --rpc-url")]
    IsSandbox {
        /// Where it is.
        place: String,
    },
    /// The network does not say who gives lumens.
    #[error("`{place}` names no friendbot: fund {account} with XLM yourself, and run this again")]
    NoFriendbot {
        /// The RPC.
        place: String,
        /// Who needs lumens.
        account: AccountId,
    },
    /// Friendbot or the faucet did not answer.
    #[error("ask `{giver}` for the {} {account}", role.as_str())]
    Silent {
        /// Who was asked.
        giver: String,
        /// For whom.
        role: Role,
        /// Its account.
        account: AccountId,
        /// Why there is no answer.
        source: HttpError,
    },
    /// Friendbot or the faucet gave nothing.
    #[error("`{giver}` gave the {} {account} nothing ({status}): {said}", role.as_str())]
    Refused {
        /// Who was asked.
        giver: String,
        /// For whom.
        role: Role,
        /// Its account.
        account: AccountId,
        /// The status of its answer.
        status: http::StatusCode,
        /// The beginning of its answer.
        said: String,
    },
    /// Friendbot says yes, and the RPC shows no account.
    #[error("the {} {account} was funded, and `{place}` does not show it yet: run this again", role.as_str())]
    Unseen {
        /// The RPC.
        place: String,
        /// Whose account.
        role: Role,
        /// Which one.
        account: AccountId,
    },
    /// A trustline could not be opened.
    #[error("open the USDC trustline of the {}", role.as_str())]
    Trustline {
        /// Whose.
        role: Role,
        /// Why not.
        source: classic::Error,
    },
}

/// What the configuration of a remote facilitator calls its key.
const FACILITATOR_KEY: &str = "OZ_API_KEY";

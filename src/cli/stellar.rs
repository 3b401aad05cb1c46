//! What commands without a configuration take from flags or the environment: the network, its RPC, a key, URLs.

use std::path::{Path, PathBuf};

use clap::Args;
use http::Uri;
use zeroize::Zeroizing;

use crate::{
    config::Env,
    ledger::{rpc, signer::Seed},
    protocol::{commitment::CommitmentSeed, stellar::Network},
};

/// Where a command finds the ledger.
#[derive(Debug, Args)]
pub(super) struct Stellar {
    /// The network [default: `STELLAR_NETWORK`, or `stellar:testnet`].
    #[arg(long, value_name = "NAME")]
    network: Option<Network>,
    /// The Stellar RPC [default: `STELLAR_RPC_URL`, or the public one of testnet].
    #[arg(long, value_name = "URL", value_parser = url)]
    rpc_url: Option<Uri>,
}

impl Stellar {
    pub(super) fn network(&self, env: &Env) -> Result<Network, Error> {
        match (self.network, env.var("STELLAR_NETWORK")) {
            (Some(network), _) => Ok(network),
            (None, Some(name)) => name.parse().map_err(|_| Error::Network { name }),
            (None, None) => Ok(Network::Testnet),
        }
    }

    pub(super) fn rpc_url(&self, network: Network, env: &Env) -> Result<Uri, Error> {
        match (&self.rpc_url, env.var("STELLAR_RPC_URL")) {
            (Some(given), _) => Ok(given.clone()),
            (None, Some(text)) => url(&text).map_err(|_| Error::RpcUrl),
            (None, None) if network == Network::Testnet => Ok(Uri::from_static(rpc::TESTNET_URL)),
            (None, None) => Err(Error::NoRpc { network }),
        }
    }
}

/// The environment of a command without a configuration: the process's, and `.env` where it was started.
pub(super) fn env() -> Env {
    Env::in_folder(Path::new(""))
}

/// The key in `file`, if that is given, else in the variable `name`. `flag` is how a file is given.
pub(super) fn seed(
    file: Option<&Path>,
    name: &'static str,
    flag: &'static str,
    env: &Env,
) -> Result<Seed, Error> {
    let (text, origin) = match file {
        Some(path) => {
            let text = std::fs::read_to_string(path)
                .map_err(|source| Error::ReadKey { path: path.to_owned(), source })?;
            (text, path.display().to_string())
        }
        None => (env.var(name).ok_or(Error::NoKey { name, flag })?, name.to_owned()),
    };
    Zeroizing::new(text).trim().parse().map_err(|_| Error::Key { origin })
}

/// The seed of commitments in `COMMITMENT_SECRET`, if that is set.
pub(super) fn commitment_seed(env: &Env) -> Result<Option<CommitmentSeed>, Error> {
    let Some(text) = env.var("COMMITMENT_SECRET") else { return Ok(None) };
    let seed = Zeroizing::new(text).trim().parse();
    seed.map(Some).map_err(|_| Error::CommitmentSecret)
}

/// An absolute URL, as a flag takes it.
pub(super) fn url(text: &str) -> Result<Uri, &'static str> {
    text.parse::<Uri>()
        .ok()
        .filter(|url| matches!(url.scheme_str(), Some("http" | "https")))
        .filter(|url| url.host().is_some_and(|host| !host.is_empty()))
        .ok_or("expected a URL with `http://` or `https://`")
}

/// What is missing or cannot be read. Repeats no key and no RPC's URL, in which a key may stand.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("STELLAR_NETWORK is `{name}`: expected `stellar:testnet` or `stellar:pubnet`")]
    Network { name: String },
    #[error("STELLAR_RPC_URL is no URL with `http://` or `https://`")]
    RpcUrl,
    #[error("{network} has no RPC that is everybody's: set STELLAR_RPC_URL, or use --rpc-url")]
    NoRpc { network: Network },
    #[error("no key: set {name}, or name a file with {flag}")]
    NoKey { name: &'static str, flag: &'static str },
    #[error("read the key in `{path}`")]
    ReadKey { path: PathBuf, source: std::io::Error },
    #[error("what is in COMMITMENT_SECRET is no seed of commitments (64 hex digits)")]
    CommitmentSecret,
    #[error("what is in `{origin}` is not a Stellar secret key (`S…`, 56 characters)")]
    Key { origin: String },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(lines: &[(&str, &str)]) -> Env {
        Env::fixed(lines.iter().copied())
    }

    #[test]
    fn a_flag_comes_before_the_environment_and_testnet_after_both() {
        let none = Stellar { network: None, rpc_url: None };
        let rpc = Uri::from_static("http://rpc");
        let flags = Stellar { network: Some(Network::Pubnet), rpc_url: Some(rpc.clone()) };
        let told = [("STELLAR_NETWORK", "stellar:pubnet"), ("STELLAR_RPC_URL", "https://told/key")];
        let wrong = [("STELLAR_NETWORK", "pubnet"), ("STELLAR_RPC_URL", "told/key")];

        assert_eq!(flags.network(&env(&wrong)).unwrap(), Network::Pubnet);
        assert_eq!(flags.rpc_url(Network::Pubnet, &env(&wrong)).unwrap(), rpc);
        assert_eq!(none.network(&env(&told)).unwrap(), Network::Pubnet);
        assert_eq!(none.rpc_url(Network::Pubnet, &env(&told)).unwrap(), "https://told/key");
        assert_eq!(none.network(&env(&[])).unwrap(), Network::Testnet);
        assert_eq!(none.rpc_url(Network::Testnet, &env(&[])).unwrap(), rpc::TESTNET_URL);

        let said = none.network(&env(&wrong)).unwrap_err().to_string();
        assert_eq!(
            said,
            "STELLAR_NETWORK is `pubnet`: expected `stellar:testnet` or `stellar:pubnet`"
        );
        let said = none.rpc_url(Network::Testnet, &env(&wrong)).unwrap_err().to_string();
        assert_eq!(said, "STELLAR_RPC_URL is no URL with `http://` or `https://`");
        let none_for_pubnet = none.rpc_url(Network::Pubnet, &env(&[]));
        assert!(matches!(none_for_pubnet, Err(Error::NoRpc { network: Network::Pubnet })));
    }

    #[test]
    fn a_key_comes_from_a_file_or_a_variable_and_is_never_repeated() {
        let secret = "SAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC5MY";
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), format!("{secret}\n")).unwrap();
        let of = |file: Option<&Path>, lines: &[(&str, &str)]| {
            seed(file, "KEY", "--key-file", &env(lines)).map(|seed| seed.account())
        };
        let account = of(Some(file.path()), &[]).unwrap();
        assert_eq!(of(None, &[("KEY", secret)]).unwrap(), account);
        assert_eq!(of(Some(file.path()), &[("KEY", "wrong")]).unwrap(), account);

        let said = |file, lines| of(file, lines).unwrap_err().to_string();
        assert_eq!(said(None, &[]), "no key: set KEY, or name a file with --key-file");
        assert_eq!(
            said(None, &[("KEY", "a secret")]),
            "what is in `KEY` is not a Stellar secret key (`S…`, 56 characters)"
        );
        assert_eq!(said(Some(Path::new("/no/such")), &[]), "read the key in `/no/such`");
    }

    #[test]
    fn a_url_is_absolute() {
        for text in ["http://a", "https://a.example:1/b?c"] {
            assert_eq!(url(text).unwrap().to_string().trim_end_matches('/'), text);
        }
        for text in ["a.example", "localhost:8402/x", "/x", "ftp://a", "http://", ""] {
            assert!(url(text).is_err(), "{text}");
        }
    }
}

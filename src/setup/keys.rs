//! The `.env` file: which keys it holds, and how those that are missing get into it.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use http::Uri;
use rand_core::{OsRng, RngCore as _};
use zeroize::Zeroizing;

use super::{Error, Role};
use crate::{
    config::EnvFile,
    ledger::signer::Seed,
    protocol::stellar::{AccountId, Network},
};

/// The accounts of the file.
#[derive(Debug)]
pub(super) struct Keys {
    pub(super) recipient: AccountId,
    /// The recipient's key, unless its owner keeps it elsewhere.
    pub(super) recipient_seed: Option<Seed>,
    pub(super) sponsor: Seed,
    pub(super) payer: Seed,
}

impl Keys {
    /// Reads a file that [`complete`] has seen.
    pub(super) fn read(file: &EnvFile) -> Result<Self, Error> {
        let seed = |name| match file.get(name).filter(|text| !text.is_empty()) {
            None => Ok(None),
            Some(text) => {
                let expected = "a Stellar secret key (`S…`, 56 characters)";
                text.parse::<Seed>().map(Some).map_err(|_| Error::Value { name, expected })
            }
        };
        let needed = |name, expected| Error::Value { name, expected };
        let recipient_seed = seed(RECIPIENT_SECRET)?;
        let recipient = file.get(RECIPIENT).unwrap_or_default().parse();
        let recipient =
            recipient.map_err(|_| needed(RECIPIENT, "an account (`G…`, 56 characters)"))?;
        if recipient_seed.as_ref().is_some_and(|seed| seed.account() != recipient) {
            return Err(Error::NoPair);
        }
        Ok(Self {
            recipient,
            recipient_seed,
            sponsor: seed(SPONSOR_SECRET)?.ok_or_else(|| needed(SPONSOR_SECRET, "set"))?,
            payer: seed(PAYER_SECRET)?.ok_or_else(|| needed(PAYER_SECRET, "set"))?,
        })
    }

    /// The accounts in the order in which they are told.
    pub(super) fn accounts(&self) -> [(Role, AccountId); 3] {
        [
            (Role::Recipient, self.recipient),
            (Role::Sponsor, self.sponsor.account()),
            (Role::Payer, self.payer.account()),
        ]
    }
}

/// Adds to the file at `path` the lines that it lacks, behind those that it has, and says which.
///
/// The file is replaced at once, and only its owner can read it then.
pub(super) fn complete(
    path: &Path,
    found: Option<&EnvFile>,
    rpc_url: &Uri,
) -> Result<Vec<&'static str>, Error> {
    let has = |name| found.and_then(|file| file.get(name)).is_some_and(|value| !value.is_empty());
    let mut lines = Lines { text: Zeroizing::new(String::new()), names: Vec::new() };
    if !has(NETWORK) {
        lines.add("", NETWORK, Network::Testnet.name());
    }
    if !has(RPC_URL) {
        // Without the slash that `Uri` adds where there was no path.
        let text = rpc_url.to_string();
        let bare = text.strip_suffix('/').filter(|_| rpc_url.path() == "/");
        lines.add("", RPC_URL, bare.unwrap_or(&text));
    }
    match (has(RECIPIENT), has(RECIPIENT_SECRET)) {
        // Whoever brings an address keeps its key.
        (true, _) => {}
        (false, true) => {
            let text = found.and_then(|file| file.get(RECIPIENT_SECRET)).unwrap_or_default();
            let seed: Seed = text.parse().map_err(|_| Error::Value {
                name: RECIPIENT_SECRET,
                expected: "a Stellar secret key (`S…`, 56 characters)",
            })?;
            lines.add(RECIPIENT_NOTE, RECIPIENT, &seed.account().to_string());
        }
        (false, false) => {
            let (seed, secret) = draw_seed();
            lines.add(RECIPIENT_NOTE, RECIPIENT, &seed.account().to_string());
            lines.add("", RECIPIENT_SECRET, &secret);
        }
    }
    if !has(SPONSOR_SECRET) {
        lines.add(SPONSOR_NOTE, SPONSOR_SECRET, &draw_seed().1);
    }
    if !has(PAYER_SECRET) {
        lines.add(PAYER_NOTE, PAYER_SECRET, &draw_seed().1);
    }
    if !has(MPP_SECRET) {
        lines.add(MPP_NOTE, MPP_SECRET, &Zeroizing::new(hex::encode(draw().as_slice())));
    }
    if lines.names.is_empty() {
        return Ok(lines.names);
    }
    let failed = |source| Error::Write { path: path.to_owned(), source };
    let before = match fs::read_to_string(path) {
        Ok(text) => Zeroizing::new(text),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Zeroizing::new(HEADER.to_owned()),
        Err(error) => return Err(failed(error)),
    };
    let gap = if before.ends_with('\n') { "" } else { "\n" };
    let text = Zeroizing::new([before.as_str(), gap, lines.text.as_str()].concat());
    replace(path, &text, 0o600).map_err(failed)?;
    Ok(lines.names)
}

/// Puts `text` at `path` at once and durably, readable as `mode` says: a reader sees the old file or the new one.
pub(super) fn replace(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    // What a link names is replaced, not the link.
    let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    match fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&beside, &path)
}

/// Lines to add.
struct Lines {
    text: Zeroizing<String>,
    names: Vec<&'static str>,
}

impl Lines {
    fn add(&mut self, note: &str, name: &'static str, value: &str) {
        for part in [note, name, "=", value, "\n"] {
            self.text.push_str(part);
        }
        self.names.push(name);
    }
}

/// A fresh key, and how it is written.
fn draw_seed() -> (Seed, Zeroizing<String>) {
    let bytes = draw();
    let key = stellar_strkey::ed25519::PrivateKey(*bytes);
    (Seed::from_bytes(&bytes), Zeroizing::new(format!("{}", key.as_unredacted())))
}

fn draw() -> Zeroizing<[u8; 32]> {
    let mut bytes = Zeroizing::new([0; 32]);
    OsRng.fill_bytes(bytes.as_mut_slice());
    bytes
}

pub(super) const NETWORK: &str = "STELLAR_NETWORK";
pub(super) const RPC_URL: &str = "STELLAR_RPC_URL";
const RECIPIENT: &str = "STELLAR_RECIPIENT";
const RECIPIENT_SECRET: &str = "RECIPIENT_SECRET";
const SPONSOR_SECRET: &str = "SPONSOR_SECRET";
const PAYER_SECRET: &str = "STELLAR_SECRET_KEY";
const MPP_SECRET: &str = "MPP_SECRET_KEY";

/// The names that the gateway or `tollgate pay` read.
pub(super) const NAMES: [&str; 6] =
    [NETWORK, RPC_URL, RECIPIENT, SPONSOR_SECRET, PAYER_SECRET, MPP_SECRET];

const HEADER: &str =
    "# Written by `tollgate setup`. It holds secret keys: keep it to yourself, and out of git.\n";
const RECIPIENT_NOTE: &str = "\n# Who is paid. The gateway needs the address alone: with real money, its key belongs on another machine.\n";
const SPONSOR_NOTE: &str = "\n# Pays the network's fees.\n";
const PAYER_NOTE: &str =
    "\n# What `tollgate pay` pays with: an agent's key, and none of the gateway's.\n";
const MPP_NOTE: &str = "\n# Binds MPP challenges to this gateway: 32 random bytes.\n";

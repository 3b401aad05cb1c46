//! What the accounts need on the ledger: to exist, to hold USDC, and to have some.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode, Uri};
use tokio::time::sleep;

use super::{Error, Event, Role, TestNetwork, keys::Keys};
use crate::{
    ledger::{Http, HttpError, classic::ClassicAsset, rpc::Rpc},
    protocol::{
        money::{Amount, Decimals},
        stellar::{AccountId, Network},
    },
    telemetry::Clock,
};

/// The ledger, and who gives there.
#[derive(Debug)]
pub(super) struct Accounts<'a> {
    pub(super) rpc: &'a Rpc,
    pub(super) http: &'a Http,
    pub(super) rpc_url: &'a Uri,
    pub(super) network: TestNetwork,
    pub(super) clock: &'a Clock,
}

impl Accounts<'_> {
    /// Has friendbot make the accounts that do not exist.
    pub(super) async fn fund(
        &self,
        keys: &Keys,
        tell: &mut impl FnMut(Event),
    ) -> Result<(), Error> {
        for (role, account) in keys.accounts() {
            if self.exists(account).await? {
                tell(Event::Exists(role, account));
                continue;
            }
            let friendbot = self.friendbot(account).await?;
            if let Err(error) = self.ask(&friendbot, "", role, account).await {
                // It may have been carried out all the same, or by another run.
                if !self.exists(account).await? {
                    return Err(error);
                }
            }
            self.until_seen(role, account).await?;
            tell(Event::Funded(role, account));
        }
        Ok(())
    }

    /// Opens the USDC trustlines of who is paid and of who pays.
    pub(super) async fn trust(
        &self,
        keys: &Keys,
        tell: &mut impl FnMut(Event),
    ) -> Result<(), Error> {
        let usdc = ClassicAsset::usdc(Network::Testnet);
        let payer = keys.payer.account();
        for (role, account, seed) in [
            (Role::Recipient, keys.recipient, keys.recipient_seed.as_ref()),
            (Role::Payer, payer, Some(&keys.payer)),
        ] {
            let trustline = usdc.trustline(self.rpc, account).await;
            if trustline.map_err(|source| self.unreachable(source))?.is_some() {
                tell(Event::Trusts(role));
                continue;
            }
            let Some(seed) = seed else {
                tell(Event::Owner(account));
                continue;
            };
            let opened = usdc.open_trustline(self.rpc, self.clock, seed).await;
            tell(Event::Trusted(role, opened.map_err(|source| Error::Trustline { role, source })?));
        }
        Ok(())
    }

    /// Sees to it that the payer has USDC, where anybody may ask for some.
    pub(super) async fn supply(
        &self,
        keys: &Keys,
        tell: &mut impl FnMut(Event),
    ) -> Result<(), Error> {
        let payer = keys.payer.account();
        let held = self.usdc(payer).await?;
        if !held.is_zero() {
            tell(Event::Holds(held));
        } else if self.network == TestNetwork::Testnet {
            tell(Event::NeedsUsdc(payer));
        } else {
            let amount = Amount::from_units(FAUCET_UNITS).unwrap_or_default();
            let query = format!("&amount={}", amount.to_decimal(Decimals::STELLAR));
            let faucet = beside(self.rpc_url, "/faucet");
            self.ask(&faucet, &query, Role::Payer, payer).await?;
            tell(Event::Received(amount));
        }
        Ok(())
    }

    async fn exists(&self, account: AccountId) -> Result<bool, Error> {
        let found = self.rpc.accounts(&[account]).await;
        Ok(!found.map_err(|source| self.unreachable(source))?.is_empty())
    }

    async fn usdc(&self, account: AccountId) -> Result<Amount, Error> {
        let usdc = ClassicAsset::usdc(Network::Testnet);
        let trustline = usdc.trustline(self.rpc, account).await;
        let trustline = trustline.map_err(|source| self.unreachable(source))?;
        let balance = trustline.map_or(0, |trustline| trustline.balance);
        Ok(Amount::from_units(balance.into()).unwrap_or_default())
    }

    async fn friendbot(&self, account: AccountId) -> Result<String, Error> {
        if self.network == TestNetwork::Sandbox {
            return Ok(beside(self.rpc_url, "/friendbot"));
        }
        let named = self.rpc.friendbot().await.map_err(|source| self.unreachable(source))?;
        named.ok_or_else(|| Error::NoFriendbot { place: self.rpc.place(), account })
    }

    /// Asks `giver` to give to `account`.
    async fn ask(
        &self,
        giver: &str,
        query: &str,
        role: Role,
        account: AccountId,
    ) -> Result<(), Error> {
        let silent = |source| Error::Silent { giver: giver.to_owned(), role, account, source };
        let mark = if giver.contains('?') { '&' } else { '?' };
        let request = Request::get(format!("{giver}{mark}addr={account}{query}"))
            .body(Bytes::new())
            .map_err(|_| silent(HttpError::Connect))?;
        let (status, body) = self.http.send(request, GIVER_TIMEOUT, CAP).await.map_err(silent)?;
        let said = String::from_utf8_lossy(&body);
        if status.is_success() {
            return Ok(());
        }
        let said = said.chars().filter(|letter| !letter.is_control()).take(300).collect();
        Err(Error::Refused { giver: giver.to_owned(), role, account, status, said })
    }

    /// Waits until the RPC, which may be behind friendbot's node, knows the account.
    async fn until_seen(&self, role: Role, account: AccountId) -> Result<(), Error> {
        for _ in 0..LOOKS {
            if self.exists(account).await? {
                return Ok(());
            }
            sleep(LOOK_PAUSE).await;
        }
        Err(Error::Unseen { place: self.rpc.place(), role, account })
    }

    fn unreachable(&self, source: crate::ledger::rpc::Error) -> Error {
        Error::Rpc { place: self.rpc.place(), source }
    }
}

/// Whether a sandbox answers at `rpc_url`: it says what it is to whoever looks.
pub(super) async fn is_sandbox(http: &Http, rpc_url: &Uri) -> bool {
    let Ok(request) = Request::get(rpc_url.clone()).body(Bytes::new()) else { return false };
    match http.send(request, LOOK_TIMEOUT, CAP).await {
        Ok((StatusCode::OK, body)) => String::from_utf8_lossy(&body).contains("Tollgate sandbox"),
        _ => false,
    }
}

/// The URL of `path` on the server of `url`.
fn beside(url: &Uri, path: &str) -> String {
    let scheme = url.scheme_str().unwrap_or("http");
    let authority = url.authority().map(ToString::to_string).unwrap_or_default();
    format!("{scheme}://{authority}{path}")
}

/// What the sandbox's faucet is asked for: 100 USDC.
const FAUCET_UNITS: i128 = 1_000_000_000;
/// Friendbot answers once its transaction is in a ledger.
const GIVER_TIMEOUT: Duration = Duration::from_secs(60);
const LOOK_TIMEOUT: Duration = Duration::from_secs(10);
const LOOKS: u32 = 60;
const LOOK_PAUSE: Duration = Duration::from_millis(500);
const CAP: usize = 256 << 10;

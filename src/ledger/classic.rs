//! Classic assets: what an account must hold open to be paid in one, and how it is opened.
//!
//! A classic asset (`CODE:G…`) has a contract that moves it, and an account holds it in a trustline, which only its own
//! signature opens. Knows nothing of prices or of whose accounts these are.
//! Source: Stellar, `TrustLineEntry` and `ChangeTrustOp`.

use std::{fmt, str::FromStr, time::Duration};

use stellar_xdr as xdr;
use tokio::time::{sleep, timeout};
use xdr::{LedgerEntryData, LedgerKey};

use super::{
    rpc::{self, Lookup, Rpc, Submission},
    signer::Seed,
};
use crate::{
    protocol::stellar::{AccountId, ContractId, Network, TxHash},
    telemetry::Clock,
};

/// A classic asset: a code and who issues it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicAsset {
    code: xdr::AssetCode,
    issuer: AccountId,
}

impl ClassicAsset {
    /// USDC on `network`.
    ///
    /// # Panics
    /// Never: the issuer of USDC is built in.
    #[must_use]
    pub fn usdc(network: Network) -> Self {
        let issuer = network.usdc().issuer.expect("the issuer of USDC is built in");
        Self { code: xdr::AssetCode::CreditAlphanum4(xdr::AssetCode4(*b"USDC")), issuer }
    }

    /// Who issues it, and can hold none of it.
    #[must_use]
    pub const fn issuer(&self) -> AccountId {
        self.issuer
    }

    /// The contract that moves it on `network`.
    #[must_use]
    pub fn contract(&self, network: Network) -> ContractId {
        let issuer = self.issuer.to_xdr();
        let asset = match self.code.clone() {
            xdr::AssetCode::CreditAlphanum4(asset_code) => {
                xdr::Asset::CreditAlphanum4(xdr::AlphaNum4 { asset_code, issuer })
            }
            xdr::AssetCode::CreditAlphanum12(asset_code) => {
                xdr::Asset::CreditAlphanum12(xdr::AlphaNum12 { asset_code, issuer })
            }
        };
        ContractId::of_asset(asset, network)
    }

    /// The key of the trustline in which `account` holds it.
    #[must_use]
    pub fn trustline_key(&self, account: AccountId) -> LedgerKey {
        let issuer = self.issuer.to_xdr();
        let asset = match self.code.clone() {
            xdr::AssetCode::CreditAlphanum4(asset_code) => {
                xdr::TrustLineAsset::CreditAlphanum4(xdr::AlphaNum4 { asset_code, issuer })
            }
            xdr::AssetCode::CreditAlphanum12(asset_code) => {
                xdr::TrustLineAsset::CreditAlphanum12(xdr::AlphaNum12 { asset_code, issuer })
            }
        };
        LedgerKey::Trustline(xdr::LedgerKeyTrustLine { account_id: account.to_xdr(), asset })
    }

    /// The trustline in which `account` holds it; `None` without one.
    ///
    /// # Errors
    /// What kept the server from answering.
    pub async fn trustline(
        &self,
        rpc: &Rpc,
        account: AccountId,
    ) -> Result<Option<xdr::TrustLineEntry>, rpc::Error> {
        let found = rpc.entries(&[self.trustline_key(account)]).await?;
        Ok(found.into_iter().find_map(|(_, data)| match data {
            LedgerEntryData::Trustline(entry) => Some(entry),
            _ => None,
        }))
    }

    /// Opens a trustline of any amount for the account of `seed`, and waits until it stands. The account pays the fee.
    ///
    /// # Errors
    /// [`Error`]; doing it again is safe, whatever became of it.
    pub async fn open_trustline(
        &self,
        rpc: &Rpc,
        clock: &Clock,
        seed: &Seed,
    ) -> Result<TxHash, Error> {
        let mut tries = TRIES;
        loop {
            let valid_until = now(rpc, clock).await?.saturating_add(LIFE_SECONDS);
            let account = account(rpc, seed.account()).await?;
            let transaction = self.change_trust(&account, seed.account(), valid_until);
            let envelope = sign(transaction, seed, rpc.network()).ok_or(Error::Unencodable)?;
            let hash = rpc.hash(&envelope).ok_or(Error::Unencodable)?;
            match rpc.send(&envelope).await? {
                Submission::Pending | Submission::Duplicate => {
                    return follow(rpc, clock, hash, valid_until).await;
                }
                // Something else of this account is on its way, and changes its sequence.
                Submission::TryAgainLater
                | Submission::Refused(xdr::TransactionResultCode::TxBadSeq)
                    if tries > 1 =>
                {
                    tries = tries.saturating_sub(1);
                    sleep(RETRY_PAUSE).await;
                }
                Submission::TryAgainLater => return Err(Error::Busy),
                Submission::Refused(code) => return Err(Error::Refused(code)),
            }
        }
    }

    fn change_trust(
        &self,
        entry: &xdr::AccountEntry,
        account: AccountId,
        valid_until: u64,
    ) -> xdr::Transaction {
        let issuer = self.issuer.to_xdr();
        let line = match self.code.clone() {
            xdr::AssetCode::CreditAlphanum4(asset_code) => {
                xdr::ChangeTrustAsset::CreditAlphanum4(xdr::AlphaNum4 { asset_code, issuer })
            }
            xdr::AssetCode::CreditAlphanum12(asset_code) => {
                xdr::ChangeTrustAsset::CreditAlphanum12(xdr::AlphaNum12 { asset_code, issuer })
            }
        };
        let operation = xdr::Operation {
            source_account: None,
            body: xdr::OperationBody::ChangeTrust(xdr::ChangeTrustOp { line, limit: i64::MAX }),
        };
        xdr::Transaction {
            source_account: account.to_muxed(),
            fee: FEE_BID,
            seq_num: xdr::SequenceNumber(entry.seq_num.0.saturating_add(1)),
            cond: xdr::Preconditions::Time(xdr::TimeBounds {
                min_time: xdr::TimePoint(0),
                max_time: xdr::TimePoint(valid_until),
            }),
            memo: xdr::Memo::None,
            operations: vec![operation].try_into().expect("one operation is below the bound"),
            ext: xdr::TransactionExt::V0,
        }
    }
}

/// As Horizon and classic tools write it: `USDC:G…`.
impl fmt::Display for ClassicAsset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match &self.code {
            xdr::AssetCode::CreditAlphanum4(code) => code.0.as_slice(),
            xdr::AssetCode::CreditAlphanum12(code) => code.0.as_slice(),
        };
        let code = String::from_utf8_lossy(code);
        write!(f, "{}:{}", code.trim_end_matches('\0'), self.issuer)
    }
}

impl FromStr for ClassicAsset {
    type Err = NotClassic;

    fn from_str(text: &str) -> Result<Self, NotClassic> {
        let (code, issuer) = text.split_once(':').ok_or(NotClassic)?;
        let issuer = issuer.parse().map_err(|_| NotClassic)?;
        if !code.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
            return Err(NotClassic);
        }
        let mut padded = [0; 12];
        let place = padded.get_mut(..code.len()).ok_or(NotClassic)?;
        place.copy_from_slice(code.as_bytes());
        let code = match code.len() {
            1..=4 => {
                let [a, b, c, d, ..] = padded;
                xdr::AssetCode::CreditAlphanum4(xdr::AssetCode4([a, b, c, d]))
            }
            5..=12 => xdr::AssetCode::CreditAlphanum12(xdr::AssetCode12(padded)),
            _ => return Err(NotClassic),
        };
        Ok(Self { code, issuer })
    }
}

/// The text names no classic asset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a classic asset (`CODE:G…`)")]
pub struct NotClassic;

/// Why a trustline does not stand.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The ledger cannot be asked.
    #[error(transparent)]
    Rpc(#[from] rpc::Error),
    /// There is no account to open it for.
    #[error("the account {0} does not exist")]
    NoAccount(AccountId),
    /// The account's lumens do not reach.
    #[error(
        "the account has {balance} stroops, and needs {needed} to hold a trustline and pay the fee"
    )]
    TooPoor {
        /// What it has.
        balance: i64,
        /// What it needs.
        needed: i64,
    },
    /// The network does not take the transaction.
    #[error("the network refused the transaction: {}", .0.name())]
    Refused(xdr::TransactionResultCode),
    /// Its queue is full, or another transaction of the account is in it.
    #[error("the network is busy, or another transaction of the account is under way")]
    Busy,
    /// It landed, and did nothing.
    #[error("the transaction {0} failed")]
    Failed(TxHash),
    /// It did not land in time, and cannot any more.
    #[error("the transaction {0} did not get into a ledger in time")]
    Lost(TxHash),
    /// Never, for what is built here.
    #[error("the transaction cannot be encoded")]
    Unencodable,
}

/// What an account with so many entries besides itself has to hold back.
pub(super) fn reserve_stroops(sub_entries: u32) -> i64 {
    i64::from(sub_entries).saturating_add(OWN_ENTRIES).saturating_mul(RESERVE_STROOPS)
}

/// The lumens that an account can pay fees with, in stroops: neither its reserve nor what it has on offer.
#[must_use]
pub(super) fn spendable_stroops(account: &xdr::AccountEntry) -> i64 {
    let mut entries = i64::from(account.num_sub_entries).saturating_add(OWN_ENTRIES);
    let mut on_offer = 0;
    if let xdr::AccountEntryExt::V1(ext) = &account.ext {
        on_offer = ext.liabilities.selling;
        if let xdr::AccountEntryExtensionV1Ext::V2(ext) = &ext.ext {
            // Others hold the reserve of what they sponsor.
            entries = entries
                .saturating_add(ext.num_sponsoring.into())
                .saturating_sub(ext.num_sponsored.into());
        }
    }
    let reserve = entries.max(0).saturating_mul(RESERVE_STROOPS);
    account.balance.saturating_sub(reserve).saturating_sub(on_offer)
}

/// The ledger's time, which a transaction's bounds are judged by; ours where the server does not tell.
async fn now(rpc: &Rpc, clock: &Clock) -> Result<u64, rpc::Error> {
    Ok(rpc.latest_ledger().await?.closed_at.unwrap_or_else(|| clock.now()))
}

/// The account, if it can pay for one more trustline.
async fn account(rpc: &Rpc, account: AccountId) -> Result<xdr::AccountEntry, Error> {
    let found = rpc.accounts(&[account]).await?.into_iter().next();
    let entry = found.ok_or(Error::NoAccount(account))?;
    let entries = entry.num_sub_entries.saturating_add(1);
    let needed = reserve_stroops(entries).saturating_add(FEE_BID.into());
    let balance = entry.balance;
    if balance < needed { Err(Error::TooPoor { balance, needed }) } else { Ok(entry) }
}

fn sign(tx: xdr::Transaction, seed: &Seed, network: Network) -> Option<xdr::TransactionEnvelope> {
    let hash = tx.hash(network.id()).ok()?;
    let signatures = vec![seed.sign(&hash)].try_into().ok()?;
    Some(xdr::TransactionEnvelope::Tx(xdr::TransactionV1Envelope { tx, signatures }))
}

/// Watches a transaction to its end. A lost answer of the server is no end.
async fn follow(rpc: &Rpc, clock: &Clock, hash: TxHash, valid_until: u64) -> Result<TxHash, Error> {
    let watch = async {
        loop {
            match rpc.transaction(hash).await {
                Ok(Lookup::Applied(transaction)) if transaction.success => return Ok(hash),
                Ok(Lookup::Applied(_)) => return Err(Error::Failed(hash)),
                Ok(Lookup::NotFound { latest, .. })
                    if latest.closed_at.unwrap_or_else(|| clock.now()) > valid_until =>
                {
                    return Err(Error::Lost(hash));
                }
                Ok(Lookup::NotFound { .. }) | Err(_) => sleep(POLL).await,
            }
        }
    };
    timeout(PATIENCE, watch).await.unwrap_or(Err(Error::Lost(hash)))
}

/// What a transaction may cost, in stroops; the network charges what is usual, 100.
const FEE_BID: u32 = 10_000;
/// What the network wants reserved for each ledger entry.
const RESERVE_STROOPS: i64 = 5_000_000;
/// An account counts as two entries.
const OWN_ENTRIES: i64 = 2;
/// How long a transaction may wait for a ledger.
const LIFE_SECONDS: u64 = 60;
const PATIENCE: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(500);
const TRIES: u32 = 5;
const RETRY_PAUSE: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_classic_asset_is_known_by_its_code_and_issuer() {
        let usdc = ClassicAsset::usdc(Network::Testnet);
        let issuer = "GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5";
        assert_eq!(usdc.to_string(), format!("USDC:{issuer}"));
        assert_eq!(usdc.contract(Network::Testnet), Network::Testnet.usdc().contract);
        for code in ["A", "USDC", "EURMTL", "TWELVELETTER"] {
            let text = format!("{code}:{issuer}");
            assert_eq!(text.parse::<ClassicAsset>().unwrap().to_string(), text);
        }
        let contract = Network::Testnet.usdc().contract.to_string();
        for text in ["native", "USDC", "USDC:", "THIRTEENCHARS:G", &format!("USDC:{contract}")] {
            assert_eq!(text.parse::<ClassicAsset>(), Err(NotClassic), "{text}");
        }
        for code in ["", "THIRTEENCHARS", "U-D"] {
            let text = format!("{code}:{issuer}");
            assert_eq!(text.parse::<ClassicAsset>(), Err(NotClassic), "{text}");
        }
    }
}

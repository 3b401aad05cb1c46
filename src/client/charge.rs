//! What an MPP charge asks, and the payment that answers it, step by step.
//!
//! A charge is paid by one transfer. Where the server pays the fee, the payer signs an authorization (pull, sponsored).
//! Else the transaction is the payer's own, and either the server sends it (pull) or the payer does (push). Each step is
//! public, so that a test can put something else between two of them.
//! Source: draft-stellar-charge-00, as `@stellar/mpp` 0.7 speaks it.

use serde_json::Value;
use stellar_xdr as xdr;

use super::{
    Credential, Error, Mode, Overrides, Until,
    offer::shown,
    transaction::{Made, Order, Sender, Signer, encode, life},
};
use crate::{
    ledger::signer::Seed,
    protocol::{
        mpp::{
            self,
            charge::{
                CredentialType, INTENT, METHOD, Payload, Request, Source, signed_hash_message,
            },
            timestamp,
        },
        stellar::{Address, Asset, Network, TxHash},
        transfer,
    },
};

/// A charge that this client can pay.
#[derive(Clone, Debug)]
pub struct ChargeOffer {
    /// The challenge, to be echoed.
    pub challenge: mpp::Challenge,
    /// What it asks.
    pub request: Request,
    /// When it ends, in Unix seconds, if it tells.
    pub expires: Option<u64>,
}

impl ChargeOffer {
    /// Reads a challenge; or why it cannot be paid on `network`, in `asset` if that is given, the way of `mode`.
    pub(super) fn read(
        challenge: &mpp::Challenge,
        network: Network,
        asset: Option<&Asset>,
        mode: Mode,
    ) -> Result<Self, String> {
        let mpp::Challenge { method, intent, .. } = challenge;
        if method != METHOD || intent != INTENT {
            let (method, intent) = (shown(method), shown(intent));
            return Err(format!("it is `{method}/{intent}`, not `{METHOD}/{INTENT}`"));
        }
        let request = Request::decode(&challenge.request)
            .map_err(|error| format!("its charge cannot be read: {error}"))?;
        if request.network != network {
            return Err(format!("it is on `{}`, not `{network}`", request.network));
        }
        if let Some(asset) = asset
            && asset.contract != request.currency
        {
            return Err(format!("it is in {}, not {}", request.currency, asset.name));
        }
        if mode == Mode::Push && request.fee_payer {
            return Err(
                "the server pays its fee and sends the transaction itself, so it cannot be pushed"
                    .to_owned(),
            );
        }
        let needed = match mode {
            Mode::Pull => CredentialType::Transaction,
            Mode::Push => CredentialType::SignedHash,
        };
        if !request.credential_types.contains(&needed) {
            return Err(format!("it takes no payload of type `{}`", needed.name()));
        }
        let expires = match challenge.expires.as_deref().map(timestamp::read) {
            Some(Err(_)) => return Err("its end is no time".to_owned()),
            Some(Ok(ms)) => Some(ms.div_euclid(1_000)),
            None => None,
        };
        Ok(Self { challenge: challenge.clone(), request, expires })
    }

    /// What is sold, in the server's words; may be empty.
    #[must_use]
    pub fn description(&self) -> &str {
        self.challenge.description.as_deref().unwrap_or_default()
    }

    /// A credential of this challenge that says `payload`, and that `source` pays.
    #[must_use]
    pub fn credential(&self, payload: &Value, source: Option<String>) -> mpp::Credential {
        let payload = Some(payload.clone());
        mpp::Credential { challenge: self.challenge.clone(), payload, source }
    }

    /// Pays with a transaction that the server is to send.
    ///
    /// # Errors
    /// [`Error::Sign`] if it cannot be encoded.
    pub fn pull(
        &self,
        envelope: &xdr::TransactionEnvelope,
        payer: Address,
    ) -> Result<Credential, Error> {
        let payload = Payload::Transaction(encode(envelope)?).to_json();
        Ok(Credential::charge(self.credential(&payload, Some(self.source(payer)))))
    }

    /// Pays with a transaction that `seed`'s account has put on the ledger.
    #[must_use]
    pub fn push(&self, hash: TxHash, seed: &Seed) -> Credential {
        let message = signed_hash_message(&self.challenge.id, &hash);
        let signature = seed.sign_message(message.as_bytes());
        let payload = Payload::SignedHash { hash, signature }.to_json();
        let source = self.source(Address::Account(seed.account()));
        Credential::charge(self.credential(&payload, Some(source)))
    }

    /// How a credential names its payer.
    #[must_use]
    pub fn source(&self, payer: Address) -> String {
        Source { network: self.request.network, address: payer }.to_string()
    }

    /// The transfer that it asks, made by the sender that pays its fee.
    fn order(&self, overrides: &Overrides, now: u64) -> Result<Order, Error> {
        let sponsored = overrides.sponsored.unwrap_or(self.request.fee_payer);
        let expires = self.expires.unwrap_or_else(|| now.saturating_add(UNTOLD_SECONDS));
        if expires <= now && overrides.max_time.is_none() {
            return Err(Error::Ended);
        }
        let left = expires.saturating_sub(now).min(LONGEST_SECONDS);
        Ok(Order {
            asset: self.request.currency,
            payee: self.request.recipient,
            amount: self.request.amount,
            sender: if sponsored { Sender::Sponsor } else { Sender::Payer },
            life: life(u32::try_from(left).unwrap_or(u32::MAX)),
            max_time: now.saturating_add(left),
        })
    }
}

/// The transaction that pays a charge, signed as the charge wants it.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// Unsigned where a sponsor sends its own around the authorization in it, else signed by its source.
    pub envelope: xdr::TransactionEnvelope,
    /// Who pays.
    pub payer: Address,
    /// Until when it can be settled.
    pub until: Until,
}

impl Signer<'_> {
    /// Makes the transaction that pays `offer`, at `now` in Unix seconds.
    pub(super) async fn transaction(
        &self,
        offer: &ChargeOffer,
        overrides: &Overrides,
        now: u64,
    ) -> Result<Transaction, Error> {
        let order = offer.order(overrides, now)?;
        let Made { tx, payer, until } = self.make(&order, overrides).await?;
        let envelope = match order.sender {
            Sender::Sponsor => transfer::unsigned(tx),
            Sender::Payer => {
                let seed = overrides.seed.as_ref().unwrap_or(self.seed);
                seal(tx, &[seed], overrides.network.unwrap_or(self.network))?
            }
        };
        Ok(Transaction { envelope, payer, until })
    }
}

/// `tx`, signed by each of `seeds`.
///
/// # Errors
/// [`Error::Sign`] if it cannot be encoded, or for more than 20 seeds.
pub fn seal(
    tx: xdr::Transaction,
    seeds: &[&Seed],
    network: Network,
) -> Result<xdr::TransactionEnvelope, Error> {
    let hash = tx.hash(network.id()).map_err(|_| MALFORMED)?;
    let signatures: Vec<_> = seeds.iter().map(|seed| seed.sign(&hash)).collect();
    let signatures = signatures.try_into().map_err(|_| MALFORMED)?;
    Ok(xdr::TransactionEnvelope::Tx(xdr::TransactionV1Envelope { tx, signatures }))
}

/// `inner` with a fee of `fee` stroops, which `payer` pays and signs for.
///
/// # Errors
/// [`Error::Sign`] if it cannot be encoded, or is a fee bump already.
pub fn bump(
    inner: &xdr::TransactionEnvelope,
    payer: &Seed,
    fee: i64,
    network: Network,
) -> Result<xdr::TransactionEnvelope, Error> {
    let xdr::TransactionEnvelope::Tx(inner) = inner else { return Err(MALFORMED) };
    let tx = xdr::FeeBumpTransaction {
        fee_source: payer.account().to_muxed(),
        fee,
        inner_tx: xdr::FeeBumpTransactionInnerTx::Tx(inner.clone()),
        ext: xdr::FeeBumpTransactionExt::V0,
    };
    let hash = tx.hash(network.id()).map_err(|_| MALFORMED)?;
    let signatures = vec![payer.sign(&hash)].try_into().map_err(|_| MALFORMED)?;
    Ok(xdr::TransactionEnvelope::TxFeeBump(xdr::FeeBumpTransactionEnvelope { tx, signatures }))
}

const MALFORMED: Error = Error::Sign(transfer::Error::Malformed);

/// How long a payment can be settled where the challenge does not tell, as the reference client has it.
const UNTOLD_SECONDS: u64 = 180;
/// A payment that could be settled much later is one that is forgotten until then, whatever the server would like.
const LONGEST_SECONDS: u64 = 3_600;

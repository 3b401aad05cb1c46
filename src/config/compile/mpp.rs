//! The section `payments.mpp`: how challenges are made, and who pays the fee of a charge. Channels are [`channel`]'s.

use std::{ops::RangeInclusive, sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};

use super::{channel, payment::Money};
use crate::{
    config::{
        read::{Fields, Keys, Spot},
        settings,
        value::is_name,
    },
    protocol::{
        money::Amount,
        mpp::{Secrets, harmless},
        stellar::{AccountId, Asset},
    },
};

/// The section; what is faulty in it was noted, and is stood in for.
#[derive(Debug)]
pub(super) struct Mpp {
    pub(super) challenge_ttl: Duration,
    /// Whether a charge is sponsored where its route says nothing else.
    pub(super) sponsored: bool,
    realm: Option<Arc<str>>,
    secrets: Option<Secrets>,
    charge: Option<settings::Charge>,
    channel: Option<settings::Channel>,
}

impl Mpp {
    /// Reads the section.
    pub(super) fn read(spot: &Spot<'_>, money: &Money<'_>) -> Option<Self> {
        let fields = spot.fields(&MPP)?;
        let has_sponsors = money.has_sponsors();
        let realm = fields.get("realm").and_then(|spot| read_realm(&spot));
        let secrets = read_secrets(&fields);
        let ttl = fields.get("challenge_ttl");
        let ttl = ttl.and_then(|spot| spot.duration_in(CHALLENGE_TTLS, CHALLENGE_TTL_HINT));
        let channel = fields.get("channel");
        let charge = match channel {
            Some(_) => fields.get("charge"),
            None => fields.need("charge", MISSING_HINT),
        };
        let charge = charge.and_then(|charge| charge.fields(&CHARGE));
        let flag = |key| charge.as_ref().and_then(|charge| charge.get(key));
        let sponsored = flag("sponsored").and_then(|spot| read_sponsored(&spot, has_sponsors));
        let unsigned_push = flag("unsigned_push").and_then(|spot| read_unsigned_push(&spot));
        Some(Self {
            challenge_ttl: ttl.unwrap_or(CHALLENGE_TTL),
            sponsored: charge.is_some() && sponsored.unwrap_or(has_sponsors),
            realm,
            secrets,
            charge: charge
                .map(|_| settings::Charge { unsigned_push: unsigned_push.unwrap_or(false) }),
            channel: channel.and_then(|spot| channel::read(&spot, money)),
        })
    }

    /// The account that channels pay: that of the key which collects from them; `None` if there is none, or it is faulty.
    pub(super) fn channel_payee(&self) -> Option<AccountId> {
        self.channel.as_ref().map(|channel| channel.signer.account())
    }

    /// Whether a channel may owe as much as one request costs: `price`, in the asset of the section's own amounts.
    pub(super) fn check_channel_price(
        &self,
        route: &Spot<'_>,
        price: Amount,
        asset: &Asset,
    ) -> Option<()> {
        // What is faulty was noted.
        let Some(channel) = &self.channel else { return Some(()) };
        let most = channel.closer.max_unsettled;
        if price <= most {
            return Some(());
        }
        let text = |amount: Amount| format!("{} {}", amount.to_decimal(asset.decimals), asset.name);
        route.fault(
            format!(
                "costs {}, and a channel may owe no more than {} (`payments.mpp.channel.max_unsettled`): no channel could pay",
                text(price),
                text(most)
            ),
            "raise `max_unsettled` to the price at least, or leave `mpp.channel` out of `accept`",
        )
    }

    /// The settings; without a realm of their own they take the host of `public_url`.
    pub(super) fn finish(self, public_url: Option<&str>) -> settings::Mpp {
        let host = || {
            let url = public_url?.parse::<http::Uri>().ok()?;
            Some(Arc::from(url.host()?))
        };
        settings::Mpp {
            realm: self.realm.or_else(host).unwrap_or_else(|| Arc::from(REALM)),
            secrets: self.secrets,
            challenge_ttl: self.challenge_ttl,
            charge: self.charge,
            channel: self.channel,
        }
    }
}

/// Whether the gateway pays a charge's fee, which takes a sponsor.
pub(super) fn read_sponsored(spot: &Spot<'_>, has_sponsors: bool) -> Option<bool> {
    let sponsored = spot.flag()?;
    if sponsored && !has_sponsors {
        return spot.fault(
            "a sponsored charge takes keys that pay its fee, and `stellar.sponsors` names none",
            "name one, `sponsors: [{ env: SPONSOR_SECRET }]`, or say `sponsored: false`",
        );
    }
    Some(sponsored)
}

fn read_realm(spot: &Spot<'_>) -> Option<Arc<str>> {
    let text = spot.text()?;
    if !is_name(&text.text) || text.text.contains(['"', '\\']) {
        return text.fault(
            "is no realm",
            "write the host that clients know, such as `api.example.com`: up to 200 printable ASCII \
             characters, no quotes and no backslash",
        );
    }
    // What ids are made of, and what clients show, is the text as it stands.
    let harmless = harmless(&text.text);
    if harmless != text.text {
        let hint = format!("write `{harmless}`");
        return text.fault("is a realm that some clients would misread", hint);
    }
    Some(harmless.into())
}

/// The keys of challenges: the one that issues, and those that it took the place of.
fn read_secrets(fields: &Fields<'_>) -> Option<Secrets> {
    let current = fields.get("secret_key").map(|spot| read_secret_key(&spot));
    let list = fields.get("previous_secret_keys");
    let items = list.as_ref().and_then(Spot::items).unwrap_or_default();
    let previous: Vec<_> = items.iter().map(|item| (item, read_secret_key(item))).collect();
    let Some(current) = current else {
        if let Some(list) = list.filter(|_| !items.is_empty()) {
            list.fault::<()>(
                "there are previous keys, and `secret_key` is missing",
                "name the key that took their place: `secret_key: { env: MPP_SECRET_KEY }`",
            );
        }
        return None;
    };
    let current = current?;
    for (item, secret) in &previous {
        let is_current = |secret: &SecretString| secret.expose_secret() == current.expose_secret();
        if secret.as_ref().is_some_and(is_current) {
            item.warn(
                "is the same key as `payments.mpp.secret_key`",
                "name the key that was in use before it",
            );
        }
    }
    Secrets::new(current, previous.into_iter().filter_map(|(_, secret)| secret)).ok()
}

fn read_secret_key(spot: &Spot<'_>) -> Option<SecretString> {
    let secret = spot.secret()?;
    let bytes = secret.text.expose_secret().len();
    if bytes < Secrets::MIN_BYTES {
        return spot.fault(
            format!(
                "{} has {bytes} bytes, and needs at least {}",
                secret.origin,
                Secrets::MIN_BYTES
            ),
            "make a key that nobody guesses: `openssl rand -base64 32`",
        );
    }
    Some(secret.text)
}

fn read_unsigned_push(spot: &Spot<'_>) -> Option<bool> {
    let taken = spot.flag()?;
    if taken {
        spot.warn(
            "the bare hash of a transaction pays, and anyone who watches the ledger has it",
            "leave it off: clients that push can sign the hash (`signedHash`)",
        );
    }
    Some(taken)
}

const MPP: Keys = Keys {
    known: &["realm", "secret_key", "previous_secret_keys", "challenge_ttl", "charge", "channel"],
    later: &[],
};
const MISSING_HINT: &str =
    "say what is taken: `charge: {}`, or `channel: { signer: { env: RECIPIENT_SECRET } }`, or both";
const CHARGE: Keys = Keys { known: &["sponsored", "unsigned_push"], later: &[] };

/// What `challenge_ttl` may be.
pub(super) const CHALLENGE_TTLS: RangeInclusive<Duration> =
    Duration::from_secs(30)..=Duration::from_secs(1_800);
const CHALLENGE_TTL_HINT: &str = "write a duration from `30s` to `30m`";
const CHALLENGE_TTL: Duration = Duration::from_secs(300);
const REALM: &str = "tollgate";

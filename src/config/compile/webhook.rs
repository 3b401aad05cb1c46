//! The section `webhooks`: who is told of what happens.

use secrecy::ExposeSecret as _;

use crate::{
    config::{
        diagnostic::{nearest, one_of},
        read::{Keys, Spot},
        secret::Secret,
    },
    events::{self, Kind, Webhook},
};

/// Reads the section.
pub(super) fn read(spot: &Spot<'_>) -> Option<Vec<Webhook>> {
    let items = spot.items()?;
    if items.len() > MOST {
        return spot.fault(
            format!("there are {} webhooks", items.len()),
            format!("name {MOST} at most: one that tells the others, if need be"),
        );
    }
    let mut webhooks: Vec<Option<Webhook>> = Vec::new();
    for item in items {
        let webhook = read_one(&item);
        let of_same_url =
            |known: &&Webhook| webhook.as_ref().is_some_and(|new| new.url == known.url);
        if webhooks.iter().flatten().find(of_same_url).is_some() {
            item.fault::<()>(
                "this URL is given twice",
                "one webhook hears of all `events` that it names: keep one of the two",
            );
        }
        webhooks.push(webhook);
    }
    webhooks.into_iter().collect()
}

/// Where nobody can pay, nobody will be told of anything.
pub(super) fn warn_of_silence(spot: &Spot<'_>) {
    spot.warn(
        "no route asks for money, so there is nothing to tell",
        "give a route a price, or remove `webhooks`",
    );
}

fn read_one(spot: &Spot<'_>) -> Option<Webhook> {
    let fields = spot.fields(&WEBHOOK)?;
    let url = fields.need("url", format!("say where: `url: {EXAMPLE}`"));
    let url = url.and_then(|spot| spot.url_with_query(EXAMPLE));
    if let Some(url) = url.as_ref().filter(|url| !url.is_https() && !url.is_loopback()) {
        url.text.spot.warn(
            format!("{} is not `https`, and leaves this machine", url.text.shown()),
            "whoever is on the way reads who paid how much: write the URL with `https`",
        );
    }
    let secret = fields.need("secret", "what is sent is signed: `secret: { env: WEBHOOK_SECRET }`");
    let secret = secret.and_then(|spot| read_secret(&spot));
    let kinds = match fields.get("events") {
        Some(spot) => read_kinds(&spot),
        None => Some(Kind::ALL.to_vec()),
    };
    Some(Webhook { url: url?.uri, secret: secret?, kinds: kinds? })
}

fn read_secret(spot: &Spot<'_>) -> Option<events::Secret> {
    let Secret { text, origin, .. } = spot.secret()?;
    match events::Secret::read(text.expose_secret()) {
        Ok(secret) => Some(secret),
        Err(error) => spot.fault(
            format!("{origin} is {error}"),
            "make one: `echo \"whsec_$(openssl rand -base64 32)\"`",
        ),
    }
}

fn read_kinds(spot: &Spot<'_>) -> Option<Vec<Kind>> {
    let items = spot.items()?;
    if items.is_empty() {
        return spot.fault("there is no event", "name one, or leave `events` out to hear of all");
    }
    let kinds: Vec<_> = items.iter().map(read_kind).collect();
    kinds.into_iter().collect()
}

fn read_kind(spot: &Spot<'_>) -> Option<Kind> {
    let text = spot.text()?;
    if let Some(kind) = Kind::ALL.into_iter().find(|kind| kind.as_str() == text.text) {
        return Some(kind);
    }
    let names = Kind::ALL.map(Kind::as_str);
    let hint = nearest(&text.text, names).map_or_else(
        || format!("write {}", one_of(names)),
        |meant| format!("did you mean `{meant}`?"),
    );
    text.fault("is no event", hint)
}

const WEBHOOK: Keys = Keys { known: &["url", "secret", "events"], later: &[] };
const EXAMPLE: &str = "https://ops.example.com/tollgate";
const MOST: usize = 16;

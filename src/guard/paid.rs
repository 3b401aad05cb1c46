//! What goes on answers to paid requests: the receipt, and what keeps caches from handing them to others.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, header};
use http_body_util::{Either, Full};
use tokio_util::task::TaskTracker;
use tracing::error;

use super::{Body, lasting::Lasting, own, problem::Problem, tally::Tally};
use crate::{
    pay::{Denied, Fault, Receipt, Replay, channel::Channel, methods::Asked},
    protocol::mpp,
    telemetry::label::Outcome,
};

/// The stored outcome of a payment: status and receipt, and never a body.
pub(super) fn replayed(replay: Replay) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::default());
    *response.status_mut() = replay.status;
    with_receipt(response, Some(replay.receipt))
}

/// What a payer is told that asked for its channel to be closed.
pub(super) fn closed(body: &serde_json::Value) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(body.to_string()));
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// Puts the receipt on a paid answer, and keeps shared caches from handing it to those who did not pay.
pub(super) fn with_receipt<B>(mut response: Response<B>, receipt: Option<Receipt>) -> Response<B> {
    if let Some(receipt) = receipt {
        let goes = receipt.with_failures || response.status().as_u16() < 400;
        let headers = response.headers_mut();
        if goes {
            headers.insert(receipt.header.0, receipt.header.1);
            if let Some((name, value)) = receipt.next {
                headers.insert(name, value);
            }
        }
        make_private(headers);
    }
    response
}

/// The answer that `work` comes to, which is done to its end whatever becomes of its client; a panic is told of its payment.
pub(super) async fn to_its_end<B: Send + 'static>(
    work: impl Future<Output = Response<Body<B>>> + Send + 'static,
    tasks: &TaskTracker,
    tally: Tally,
) -> Response<Body<B>> {
    Lasting::new(work, tasks).await.unwrap_or_else(|failure| {
        error!(%failure, "a paid request was cut short");
        tally.ended(Outcome::Pending);
        own(Problem::from(&Fault::pending("cut short", None)))
    })
}

/// The answer to a payer that asks for its channel to be closed: the upstream has no part in it.
pub(super) async fn close<B>(
    channel: &Channel,
    credential: mpp::Credential,
    tally: &Tally,
    asked: &Asked,
) -> Result<Response<Body<B>>, Denied> {
    let Asked { terms, bound, asker, .. } = asked;
    let done = channel.close(terms, bound, asker, credential).await?;
    tally.ended(Outcome::Closed);
    Ok(with_receipt(closed(&done.body), Some(done.receipt)).map(Either::Left))
}

/// `Cache-Control` without `public` and `s-maxage`, and with `private` unless `no-store` says more; and nothing that some
/// shared caches believe before it.
pub(super) fn make_private(headers: &mut HeaderMap) {
    let overriding: Vec<HeaderName> = headers
        .keys()
        .filter(|name| {
            let name = name.as_str();
            name.ends_with("cdn-cache-control") || OVER_CACHE_CONTROL.contains(&name)
        })
        .cloned()
        .collect();
    for name in overriding {
        headers.remove(name);
    }
    let mut directives: Vec<String> = headers
        .get_all(header::CACHE_CONTROL)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|directive| directive.trim().to_owned())
        .filter(|directive| !directive.is_empty())
        .collect();
    let name = |directive: &str| {
        directive.split('=').next().unwrap_or_default().trim().to_ascii_lowercase()
    };
    directives.retain(|directive| !matches!(name(directive).as_str(), "public" | "s-maxage"));
    if !directives.iter().any(|d| matches!(name(d).as_str(), "private" | "no-store")) {
        directives.insert(0, "private".to_owned());
    }
    let value =
        HeaderValue::try_from(directives.join(", ")).unwrap_or(HeaderValue::from_static("private"));
    headers.insert(header::CACHE_CONTROL, value);
}

/// Read before `Cache-Control`: by nginx, by Varnish and Fastly, by Akamai, by LiteSpeed. RFC 9213 names the others.
const OVER_CACHE_CONTROL: [&str; 4] =
    ["x-accel-expires", "surrogate-control", "edge-control", "x-litespeed-cache-control"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paid_answers_are_private_whatever_the_upstream_says() {
        for (given, made) in [
            (None, "private"),
            (Some("public, s-maxage=600"), "private"),
            (Some("public, max-age=60, S-MaxAge=600"), "private, max-age=60"),
            (Some("no-store"), "no-store"),
            (Some("Private"), "Private"),
            (Some("max-age=60"), "private, max-age=60"),
        ] {
            let mut headers = HeaderMap::new();
            if let Some(given) = given {
                headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(given));
            }
            make_private(&mut headers);
            assert_eq!(headers[header::CACHE_CONTROL], made, "{given:?}");
        }
    }
}

//! What a route says of its callers: who passes, and never by which key.

use serde_json::{Value, json};

use super::REDACTED;
use crate::callers::{Allow, Keys, Mode, Quota, Rate, Rules, Tokens};

/// The rules of a route, as its operator is told of them.
pub(super) fn of(rules: &Rules) -> Value {
    let rate = |rate: &Option<Rate>| rate.as_ref().map(|rate| rate.per_second.get());
    json!({
        "mode": match rules.mode {
            Mode::Enforce => "enforce",
            Mode::Observe => "observe",
        },
        "allow": rules.allow.iter().map(allow).collect::<Vec<_>>(),
        "free_quota": rules.free.as_ref().map(quota),
        "unpaid_rps_per_ip": rate(&rules.unpaid),
        "paid_rps_per_payer": rate(&rules.paid),
    })
}

fn allow(allow: &Allow) -> Value {
    match allow {
        Allow::Keys(keys) => json!({ "api_key": api_key(keys) }),
        Allow::Tokens(tokens) => json!({ "jwt": jwt(tokens) }),
    }
}

fn api_key(keys: &Keys) -> Value {
    json!({ "header": keys.header().as_str(), "keys": REDACTED, "count": keys.count() })
}

fn jwt(tokens: &Tokens) -> Value {
    json!({
        "issuer": tokens.issuer(),
        "audience": tokens.audience(),
        "keys": REDACTED,
        "count": tokens.keys().count(),
    })
}

fn quota(quota: &Quota) -> Value {
    json!({
        "requests": quota.requests.get(),
        "per_seconds": quota.per.as_secs(),
        "api_key": quota.keys.as_ref().map(api_key),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::HeaderName;

    use super::*;
    use crate::callers::TokenKeys;

    #[test]
    fn callers_are_told_without_the_keys_that_they_pass_by() {
        let keys = Keys::new(HeaderName::from_static("x-key"), vec![Keys::digest(b"canary")]);
        let secret = TokenKeys::shared(b"canary-canary-canary-canary-canary");
        let tokens = Tokens::new("me".into(), vec!["api".to_owned()], secret);
        let rate = Rate { per_second: 20.try_into().unwrap(), scope: "".into() };
        let rules = Rules {
            mode: Mode::Observe,
            allow: [Allow::Keys(keys.clone()), Allow::Tokens(tokens)].into(),
            free: Some(Quota {
                requests: 5.try_into().unwrap(),
                per: Duration::from_secs(60),
                keys: Some(keys),
                scope: "".into(),
            }),
            unpaid: Some(rate),
            paid: None,
        };
        let api_key = json!({ "header": "x-key", "keys": "[redacted]", "count": 1 });
        let jwt = json!({ "issuer": "me", "audience": ["api"], "keys": "[redacted]", "count": 1 });
        let expected = json!({
            "mode": "observe",
            "allow": [{ "api_key": api_key }, { "jwt": jwt }],
            "free_quota": { "requests": 5, "per_seconds": 60, "api_key": api_key },
            "unpaid_rps_per_ip": 20,
            "paid_rps_per_payer": null,
        });
        assert_eq!(of(&rules), expected);
    }
}

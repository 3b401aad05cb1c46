use ed25519_dalek::{Signer as _, SigningKey};
use futures_util::FutureExt as _;
use hmac::{Hmac, Mac as _};
use http::HeaderValue;
use serde_json::{Value, json};
use sha2::Sha256;

use super::*;

const NOW: u64 = 1_800_000_000;
const SECRET: &[u8] = b"a secret of thirty-two characters";

fn ours() -> SigningKey {
    SigningKey::from_bytes(&[7; 32])
}

/// The set that the issuer publishes.
fn set() -> TokenKeys {
    TokenKeys::set(
        json!({ "keys": [jwk(&ours(), json!({ "kid": "one" }))] }).to_string().as_bytes(),
    )
    .unwrap()
}

fn jwk(key: &SigningKey, more: Value) -> Value {
    let x = URL_SAFE_NO_PAD.encode(key.verifying_key().as_bytes());
    let mut jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
    jwk.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    jwk
}

fn claims() -> Value {
    json!({ "iss": "https://id.example.com", "aud": "api", "sub": "someone", "exp": NOW + 60 })
}

/// A token with `header` and `claims`, and what `sign` makes of them.
fn token(header: &Value, claims: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) -> String {
    let encode = |part: &Value| URL_SAFE_NO_PAD.encode(part.to_string());
    let message = format!("{}.{}", encode(header), encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(sign(message.as_bytes()));
    format!("{message}.{signature}")
}

fn signed(header: &Value, claims: &Value) -> String {
    token(header, claims, |message| ours().sign(message).to_vec())
}

fn mac(secret: &[u8]) -> impl Fn(&[u8]) -> Vec<u8> {
    move |message| {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).unwrap();
        mac.update(message);
        mac.finalize().into_bytes().to_vec()
    }
}

fn admits(keys: TokenKeys, token: &str) -> bool {
    let audience = vec!["other".to_owned(), "api".to_owned()];
    let tokens = Tokens::new("https://id.example.com".into(), audience, keys);
    let mut headers = HeaderMap::new();
    headers
        .insert(header::AUTHORIZATION, HeaderValue::try_from(format!("Bearer {token}")).unwrap());
    let once = tokens.judge(&headers, NOW, 8) == Verdict::Passes;
    let again = headers[header::AUTHORIZATION].clone();
    headers.append(header::AUTHORIZATION, again);
    assert_eq!(tokens.judge(&headers, NOW, 8), Verdict::Fails, "one that comes twice is none");
    once
}

#[test]
fn a_token_of_the_issuer_for_this_audience_in_its_time_passes() {
    let header = json!({ "alg": "EdDSA", "kid": "one" });
    let with = |key: &str, value: Value| {
        let mut claims = claims();
        claims[key] = value;
        signed(&header, &claims)
    };
    for good in [
        signed(&header, &claims()),
        signed(&json!({ "alg": "EdDSA" }), &claims()),
        with("aud", json!(["x", "other"])),
        with("exp", json!(NOW - 29)),
        with("nbf", json!(NOW + 30)),
    ] {
        assert!(admits(set(), &good), "{good}");
    }
    for (what, bad) in [
        ("another issuer", with("iss", json!("https://id.example.com/"))),
        ("two issuers", with("iss", json!(["https://id.example.com"]))),
        ("another audience", with("aud", json!("apis"))),
        ("no audience", with("aud", json!([]))),
        ("null", with("aud", Value::Null)),
        ("late", with("exp", json!(NOW - 30))),
        ("no number", with("exp", json!("9999999999"))),
        ("no end", with("exp", Value::Null)),
        ("below zero", with("exp", json!(-1))),
        ("early", with("nbf", json!(NOW + 31))),
    ] {
        assert!(!admits(set(), &bad), "{what}");
    }
}

#[test]
fn a_token_that_a_key_of_the_issuer_did_not_sign_does_not_pass() {
    let header = json!({ "alg": "EdDSA", "kid": "one" });
    let stranger = SigningKey::from_bytes(&[8; 32]);
    let public = ours().verifying_key();
    let good = signed(&header, &claims());
    let (unsigned, _) = good.rsplit_once('.').unwrap();
    for (what, bad) in [
        ("a stranger's", token(&header, &claims(), |message| stranger.sign(message).to_vec())),
        ("unsigned", token(&json!({ "alg": "none" }), &claims(), |_| Vec::new())),
        ("without its signature", format!("{unsigned}.")),
        ("cut off", unsigned.to_owned()),
        ("another part", format!("{good}.x")),
        ("empty", String::new()),
        ("another key's name", signed(&json!({ "alg": "EdDSA", "kid": "two" }), &claims())),
        // The oldest of all: the public key taken for a shared secret.
        (
            "confused",
            token(&json!({ "alg": "HS256", "kid": "one" }), &claims(), mac(public.as_bytes())),
        ),
        (
            "read otherwise",
            signed(&json!({ "alg": "EdDSA", "kid": "one", "crit": ["exp"] }), &claims()),
        ),
    ] {
        assert!(!admits(set(), &bad), "{what}");
    }
    assert!(admits(set(), &good));
    assert!(!admits(TokenKeys::unknown(), &good));
}

#[test]
fn a_shared_secret_verifies_what_was_made_with_it_and_nothing_else() {
    let header = json!({ "alg": "HS256" });
    let keys = || TokenKeys::shared(SECRET);
    assert!(admits(keys(), &token(&header, &claims(), mac(SECRET))));
    assert!(!admits(keys(), &token(&header, &claims(), mac(b"another"))));
    assert!(!admits(keys(), &signed(&json!({ "alg": "EdDSA" }), &claims())));
    assert!(!admits(set(), &token(&header, &claims(), mac(SECRET))));
}

#[test]
fn of_a_set_only_public_keys_for_signatures_count() {
    let header = json!({ "alg": "EdDSA" });
    let oct = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET), "alg": "HS256" });
    for (what, key, is_usable) in [
        ("plain", jwk(&ours(), json!({})), true),
        ("for signatures", jwk(&ours(), json!({ "use": "sig", "alg": "EdDSA" })), true),
        ("for encryption", jwk(&ours(), json!({ "use": "enc" })), false),
        ("of another algorithm", jwk(&ours(), json!({ "alg": "RS256" })), false),
        ("of another curve", jwk(&ours(), json!({ "crv": "X25519" })), false),
        ("a secret", oct.clone(), false),
    ] {
        let text = json!({ "keys": [key] }).to_string();
        let keys = TokenKeys::set(text.as_bytes());
        assert_eq!(keys.is_ok(), is_usable, "{what}");
        if let Ok(keys) = keys {
            assert!(admits(keys, &signed(&header, &claims())), "{what}");
        }
    }
    let both = json!({ "keys": [oct, jwk(&ours(), json!({}))] }).to_string();
    let keys = TokenKeys::set(both.as_bytes()).unwrap();
    assert!(!admits(keys, &token(&json!({ "alg": "HS256" }), &claims(), mac(SECRET))));
    assert!(matches!(TokenKeys::set(b"{"), Err(NotUsable::NoSet(_))));
}

#[test]
fn keys_that_are_replaced_count_for_all_who_have_them_and_bad_ones_replace_nothing() {
    let keys = TokenKeys::unknown();
    let shared = keys.clone();
    let good = signed(&json!({ "alg": "EdDSA" }), &claims());
    assert!(!admits(shared.clone(), &good));
    let set = json!({ "keys": [jwk(&ours(), json!({}))] }).to_string();
    keys.replace(set.as_bytes(), NOW).unwrap();
    assert!(admits(shared.clone(), &good));
    keys.replace(b"{\"keys\":[]}", NOW + 1).unwrap_err();
    assert_eq!(keys.taken_at(), NOW);
    assert!(admits(shared, &good));
}

/// What becomes of this token by `keys`, of which so many may be tried.
fn verdict(keys: &TokenKeys, token: &str, most: usize) -> Verdict {
    let tokens = Tokens::new("https://id.example.com".into(), vec!["api".to_owned()], keys.clone());
    let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
    tokens.judge(&HeaderMap::from_iter([(header::AUTHORIZATION, value)]), NOW, most)
}

#[test]
fn a_token_that_may_count_by_keys_that_are_not_known_yet_is_not_judged() {
    let header = json!({ "alg": "EdDSA", "kid": "one" });
    let unknown = TokenKeys::unknown();
    assert_eq!(verdict(&unknown, &signed(&header, &claims()), 8), Verdict::Unknown);
    let mut others = claims();
    others["iss"] = json!("https://elsewhere.example.com");
    assert_eq!(verdict(&unknown, &signed(&header, &others), 8), Verdict::Fails);
    assert_eq!(verdict(&unknown, "nothing", 8), Verdict::Fails);
}

#[test]
fn a_key_that_is_named_and_not_there_is_wanted() {
    let keys = set();
    let is_wanted = || keys.wanted().now_or_never().is_some();
    let good = signed(&json!({ "alg": "EdDSA", "kid": "one" }), &claims());
    assert_eq!(verdict(&keys, &good, 8), Verdict::Passes);
    assert!(!is_wanted());
    let newer = json!({ "alg": "EdDSA", "kid": "two" });
    assert_eq!(verdict(&keys, &signed(&newer, &claims()), 8), Verdict::Fails);
    assert!(is_wanted() && !is_wanted());
    let mut late = claims();
    late["exp"] = json!(NOW - 60);
    assert_eq!(verdict(&keys, &signed(&newer, &late), 8), Verdict::Fails);
    assert!(!is_wanted(), "not by what would not count");
}

#[test]
fn no_more_keys_are_tried_than_may_be() {
    let keys = [8, 9, 7].map(|seed| jwk(&SigningKey::from_bytes(&[seed; 32]), json!({})));
    let keys = TokenKeys::set(json!({ "keys": keys }).to_string().as_bytes()).unwrap();
    let nameless = signed(&json!({ "alg": "EdDSA" }), &claims());
    let verdicts = [1, 2, 3].map(|most| verdict(&keys, &nameless, most));
    assert_eq!(verdicts, [Verdict::Fails, Verdict::Fails, Verdict::Passes]);
}

#[test]
fn j06_what_is_shown_of_tokens_is_no_secret() {
    let shown =
        format!("{:?}", Tokens::new("me".into(), vec!["api".into()], TokenKeys::shared(SECRET)));
    assert_eq!(shown, "Tokens(of `me` for [\"api\"], 1 keys)");
}

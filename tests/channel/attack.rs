//! What attackers send to a gateway that takes channels, and the positive twin of each refusal.

use http::{HeaderValue, StatusCode, header::AUTHORIZATION};
use serde_json::json;
use tollgate::protocol::{
    commitment::CommitmentSeed,
    money::Amount,
    mpp::channel::{Action, PAYMENT_CHANNEL, Payload},
    stellar::Network,
};
use tollgate_sandbox::OpenChannel;

use crate::{
    payer::{Payer, credential, due},
    upstream::Script,
    world::{DEPOSIT, PRICE, Plan, WAITING, World},
};

#[tokio::test]
async fn a01_c01_a_commitment_that_bought_its_answer_is_told_so_and_buys_no_other() {
    let world = World::start().await;
    let payer = world.payer().await;
    let challenge = payer.challenge("/weather").await;
    let credential = payer.commit(&challenge, PRICE);
    payer.present("/weather", &credential).await.assert_channel_paid();
    let again = payer.present("/weather", &credential).await;
    assert_eq!(again.assert_channel_paid(), (PRICE, PRICE), "the stored outcome");
    assert!(again.body.is_empty(), "and no body: {again:?}");
    assert_eq!(world.hits(), 1);
    payer.pay("/weather").await.assert_channel_paid();
    assert_eq!(world.hits(), 2);
    world.end().await;
}

#[tokio::test]
async fn a07_c01_a_commitment_that_bought_its_answer_tells_nothing_of_it_to_another_request() {
    let world = World::start().await;
    let payer = world.payer().await;
    let credential = payer.commit(&payer.challenge("/weather").await, PRICE);
    payer.present("/weather", &credential).await.assert_channel_paid();
    for (is_heard, authorised) in [(false, PRICE), (true, 2 * PRICE)] {
        let other = payer.present("/weather?other=1", &credential).await;
        other.assert_channel_refused("invalid-challenge", "commitment_used");
        let again = payer.present("/weather", &credential).await;
        assert_eq!(again.assert_channel_paid(), (authorised, PRICE));
        assert!(again.body.is_empty());
        // With the next request the account hears that the answer has left.
        if !is_heard {
            let scarce = payer.commit(&payer.challenge("/weather").await, 2 * PRICE);
            world.upstream.play(Script { status: StatusCode::BAD_GATEWAY, ..Script::default() });
            assert_eq!(payer.present("/weather", &scarce).await.status, StatusCode::BAD_GATEWAY);
        }
    }
    // The refusal carries a challenge that pays for the other request.
    world.upstream.play(Script::default());
    payer.pay("/weather?other=1").await.assert_channel_paid();
    world.end().await;
}

#[tokio::test]
async fn a02_c17_copies_of_a_commitment_buy_one_answer() {
    let world = World::start().await;
    let payer = world.payer().await;
    let challenge = payer.challenge("/weather").await;
    let credential = payer.commit(&challenge, PRICE);
    let copies = (0..50).map(|_| {
        let (payer, credential) = (payer.clone(), credential.clone());
        tokio::spawn(async move { payer.present("/weather", &credential).await })
    });
    let mut served = 0;
    for copy in copies.collect::<Vec<_>>() {
        let answer = copy.await.unwrap();
        match answer.status {
            StatusCode::OK if !answer.body.is_empty() => served += 1,
            // The stored outcome, or one that is under way.
            StatusCode::OK | StatusCode::CONFLICT => {}
            status => panic!("{status}: {answer:?}"),
        }
    }
    assert_eq!((served, world.hits()), (1, 1));
    let account = world.end_and_read(payer.channel).await.unwrap();
    assert_eq!(account.standing().spent.units(), PRICE);
}

#[tokio::test]
async fn a06_a07_a_commitment_for_one_route_buys_nothing_of_another() {
    let world = World::start().await;
    let payer = world.payer().await;
    let challenge = payer.challenge("/weather").await;
    let generous = payer.commit(&challenge, 50 * PRICE);
    for path in ["/dear", "/sibling"] {
        let refused = payer.present(path, &generous).await;
        refused.assert_channel_refused("invalid-challenge", "invalid_challenge");
    }
    assert_eq!(world.hits(), 0);
    payer.present("/weather", &generous).await.assert_channel_paid();
    world.end().await;
}

#[tokio::test]
async fn a10_a11_a_challenge_that_was_changed_is_not_ours() {
    let world = World::start().await;
    let payer = world.payer().await;
    let honest = payer.challenge("/weather").await;
    let flip = |text: &str| {
        let mut text = text.to_owned();
        let last = if text.pop() == Some('A') { 'B' } else { 'A' };
        text.push(last);
        text
    };
    let mut changed = Vec::new();
    for n in 0..7 {
        let mut challenge = honest.clone();
        match n {
            0 => challenge.realm = flip(&challenge.realm),
            1 => challenge.method = flip(&challenge.method),
            2 => challenge.intent = "session".to_owned(),
            3 => challenge.request = flip(&challenge.request),
            4 => challenge.expires = challenge.expires.map(|text| flip(&text)),
            5 => challenge.opaque = challenge.opaque.map(|text| flip(&text)),
            _ => challenge.digest = Some("sha-256=:AAAA:".to_owned()),
        }
        changed.push(challenge);
    }
    for challenge in &changed {
        let refused = payer.present("/weather", &payer.commit(challenge, PRICE)).await;
        assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED, "{challenge:?}: {refused:?}");
    }
    assert_eq!(world.hits(), 0);
    payer.present("/weather", &payer.commit(&honest, PRICE)).await.assert_channel_paid();
    world.end().await;
}

#[tokio::test]
async fn c02_one_unit_short_is_refused_and_not_kept_as_a_tip() {
    let world = World::start().await;
    let payer = world.payer().await;
    let challenge = payer.challenge("/weather").await;
    let short = payer.present("/weather", &payer.commit(&challenge, PRICE - 1)).await;
    short.assert_channel_refused("session/insufficient-balance", "insufficient_balance");
    let paid = payer.present("/weather", &payer.commit(&challenge, PRICE)).await;
    assert_eq!(paid.assert_channel_paid(), (PRICE, PRICE));
    world.end().await;
}

#[tokio::test]
async fn c01_c03_what_is_not_a_commitment_is_refused() {
    let world = World::start().await;
    let payer = world.payer().await;
    let challenge = payer.challenge("/weather").await;
    let good = payer.seed.sign(Network::Testnet, payer.channel, units(PRICE));
    let hexed = hex::encode(good.signature);
    let amount = PRICE.to_string();
    let payloads = [
        json!({ "action": "voucher", "amount": "0", "signature": hexed }),
        json!({ "action": "voucher", "amount": "-1", "signature": hexed }),
        json!({ "action": "voucher", "amount": format!("0{amount}"), "signature": hexed }),
        json!({ "action": "voucher", "amount": format!("+{amount}"), "signature": hexed }),
        json!({ "action": "voucher", "amount": format!("{amount}.0"), "signature": hexed }),
        json!({ "action": "voucher", "amount": "1e4", "signature": hexed }),
        json!({ "action": "voucher", "amount": PRICE, "signature": hexed }),
        json!({ "action": "voucher", "amount": amount, "signature": hex::encode(&good.signature[1..]) }),
        json!({ "action": "voucher", "amount": amount, "signature": format!("{hexed}00") }),
        json!({ "action": "open", "amount": amount, "signature": hexed }),
        json!({ "amount": amount, "signature": hexed }),
        json!("voucher"),
    ];
    for payload in payloads {
        let refused = payer.present("/weather", &credential(&challenge, payload.clone())).await;
        assert_eq!(refused.status, StatusCode::PAYMENT_REQUIRED, "{payload}: {refused:?}");
        refused.assert_channel_refused("invalid-payload", "invalid_payload");
    }
    let upper = json!({ "action": "voucher", "amount": amount, "signature": hexed.to_uppercase() });
    payer.present("/weather", &credential(&challenge, upper)).await.assert_channel_paid();
    world.end().await;
}

#[tokio::test]
async fn c03_c05_c06_a_signature_that_is_not_the_channels_over_this_amount_is_refused() {
    let world = World::start().await;
    let payer = world.payer().await;
    let other = world.payer().await;
    let challenge = payer.challenge("/weather").await;
    let good = payer.seed.sign(Network::Testnet, payer.channel, units(PRICE));
    let stranger = CommitmentSeed::from_bytes(&[9; 32]);
    let mut flipped = good;
    flipped.signature[40] ^= 1;
    let mut none = good;
    none.signature = [0; 64];
    let mut raised = good;
    raised.amount = units(PRICE + 1);
    let wrong = [
        flipped,
        none,
        raised,
        stranger.sign(Network::Testnet, payer.channel, units(PRICE)),
        payer.seed.sign(Network::Pubnet, payer.channel, units(PRICE)),
        // The same key and payee, and another channel.
        payer.seed.sign(Network::Testnet, other.channel, units(PRICE)),
    ];
    for commitment in wrong {
        let payload = Payload::new(Action::Voucher, commitment).to_json();
        let refused = payer.present("/weather", &credential(&challenge, payload)).await;
        refused.assert_channel_refused("session/invalid-signature", "invalid_signature");
    }
    let payload = Payload::new(Action::Voucher, good).to_json();
    payer.present("/weather", &credential(&challenge, payload)).await.assert_channel_paid();
    assert_eq!(world.hits(), 1);
    world.end().await;
}

#[tokio::test]
async fn c07_a_commitment_above_the_deposit_never_replaces_a_collectable_one() {
    let world = World::start().await;
    let payer = world.payer().await;
    payer.pay("/weather").await.assert_channel_paid();
    let challenge = payer.challenge("/weather").await;
    let over = payer.present("/weather", &payer.commit(&challenge, DEPOSIT + 1)).await;
    over.assert_channel_refused("session/amount-exceeds-deposit", "amount_exceeds_deposit");
    let all = payer.present("/weather", &payer.commit(&challenge, DEPOSIT)).await;
    assert_eq!(all.assert_channel_paid(), (DEPOSIT, 2 * PRICE));
    let account = world.end_and_read(payer.channel).await.unwrap();
    assert_eq!(account.held().last().unwrap().amount.units(), DEPOSIT);
}

#[tokio::test]
async fn c12_c14_a_channel_that_does_not_pay_here_is_told_which_rule_it_breaks() {
    let world = World::start().await;
    let accounts = world.sandbox.accounts();
    let usdc = world.sandbox.usdc_contract();
    let xlm = Network::Testnet.xlm().contract.to_string();
    let payee = accounts.recipient.address();
    let stranger = accounts.payer.address();
    let seed = || CommitmentSeed::from_bytes(&[3; 32]);
    let good = OpenChannel {
        payer: &accounts.payer,
        payee: &payee,
        token: &usdc,
        commitment_key: seed().key().to_bytes(),
        deposit: DEPOSIT,
        refund_waiting_ledgers: WAITING,
    };
    let identity = {
        let mut key = [0; 32];
        key[0] = 1;
        key
    };
    let bad = [
        ("waiting", OpenChannel { refund_waiting_ledgers: WAITING - 1, ..good }),
        ("token", OpenChannel { token: &xlm, deposit: 0, ..good }),
        ("paid to", OpenChannel { payee: &stranger, ..good }),
        ("deposit", OpenChannel { deposit: PRICE - 1, ..good }),
        ("commitment key", OpenChannel { commitment_key: identity, ..good }),
    ];
    for (rule, wanted) in bad {
        let payer = world.open(&wanted, seed()).await;
        let answer = payer.ask("/weather").await;
        answer.assert_channel_refused("session/channel-rejected", "channel_rejected");
        let detail = answer.json()["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(rule), "{rule}: {detail}");
        assert!(answer.channel_challenge().is_none(), "{rule}");
    }
    let payer = world.open(&good, seed()).await;
    payer.pay("/weather").await.assert_channel_paid();
    assert_eq!(world.hits(), 1);
    world.end().await;
}

#[tokio::test]
async fn c13_a_channel_of_other_code_is_refused() {
    let world = World::build(Plan::default()).await;
    let payer = world.payer().await;
    payer.pay("/weather").await.assert_channel_paid();
    // The token's own contract has code too, and it is none that is trusted.
    let mut request = payer.request(http::Method::GET, "/weather");
    let token = HeaderValue::try_from(world.sandbox.usdc_contract()).unwrap();
    request.headers_mut().insert(PAYMENT_CHANNEL, token);
    let answer = payer.send(request).await;
    answer.assert_channel_refused("session/channel-rejected", "channel_rejected");
    world.end().await;
}

#[tokio::test]
async fn c25_a_channel_has_one_spelling() {
    let world = World::start().await;
    let payer = world.payer().await;
    let right = payer.channel.to_string();
    let mut wrong_sum = right.clone();
    wrong_sum.pop();
    wrong_sum.push(if right.ends_with('A') { 'B' } else { 'A' });
    let account = world.sandbox.accounts().payer.address();
    for spelling in [right.to_lowercase(), format!("{right}x"), wrong_sum, account, String::new()] {
        let mut request = payer.request(http::Method::GET, "/weather");
        let value = HeaderValue::try_from(spelling.as_str()).unwrap();
        request.headers_mut().insert(PAYMENT_CHANNEL, value);
        let answer = payer.send(request).await;
        answer.assert_channel_refused("malformed-credential", "malformed_channel");
    }
    let mut twice = payer.request(http::Method::GET, "/weather");
    twice.headers_mut().append(PAYMENT_CHANNEL, HeaderValue::try_from(right).unwrap());
    payer.send(twice).await.assert_channel_refused("malformed-credential", "malformed_channel");
    assert!(payer.ask("/weather").await.channel_challenge().is_some());
    world.end().await;
}

#[tokio::test]
async fn c26_channels_that_nobody_knows_cost_no_writes_and_few_calls() {
    let world = World::start().await;
    let payer = world.payer().await;
    let before = std::fs::read(world.store_path()).unwrap();
    let calls = world.sandbox.calls(tollgate_sandbox::Method::GetLedgerEntries);
    for n in 0..500_u32 {
        let mut id = [7; 32];
        id[..4].copy_from_slice(&n.to_be_bytes());
        let stranger =
            Payer { channel: tollgate::protocol::stellar::ContractId(id), ..payer.clone() };
        let answer = stranger.ask("/weather").await;
        assert_ne!(answer.status, StatusCode::OK);
    }
    let calls = world.sandbox.calls(tollgate_sandbox::Method::GetLedgerEntries) - calls;
    assert!(calls < 100, "{calls} calls for 500 made-up channels");
    assert_eq!(before, std::fs::read(world.store_path()).unwrap());
    world.end().await;
}

#[tokio::test]
async fn a23_two_payments_in_one_request_are_ambiguous() {
    let world = World::start().await;
    let payer = world.payer().await;
    let challenge = payer.challenge("/weather").await;
    let value = payer.commit(&challenge, PRICE).encode();
    let mut request = payer.request(http::Method::GET, "/weather");
    request.headers_mut().append(AUTHORIZATION, value.clone());
    request.headers_mut().append(AUTHORIZATION, value);
    assert_eq!(payer.send(request).await.status, StatusCode::BAD_REQUEST);
    assert_eq!(world.hits(), 0);
    payer.present("/weather", &payer.commit(&challenge, PRICE)).await.assert_channel_paid();
    world.end().await;
}

#[tokio::test]
async fn c19_what_comes_again_comes_for_the_same_request_and_only_so_often() {
    let world = World::start().await;
    let payer = world.payer().await;
    let challenge = payer.challenge("/weather").await;
    let credential = payer.commit(&challenge, PRICE);
    world.upstream.play(Script { status: StatusCode::BAD_GATEWAY, ..Script::default() });
    for _ in 0..3 {
        assert_eq!(payer.present("/weather", &credential).await.status, StatusCode::BAD_GATEWAY);
    }
    world.upstream.play(Script::default());
    let target = payer.present("/weather?other=1", &credential).await;
    target.assert_channel_refused("invalid-challenge", "commitment_used");
    let fourth = payer.present("/weather", &credential).await;
    fourth.assert_channel_refused("invalid-challenge", "commitment_used");
    // What it did not buy is credit.
    let challenge = payer.challenge("/weather").await;
    assert_eq!(due(&challenge), PRICE + 1);
    payer.present("/weather", &payer.commit(&challenge, PRICE + 1)).await.assert_channel_paid();
    world.end().await;
}

fn units(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}

#[tokio::test]
async fn c16_c27_a_payer_closes_its_channel_and_a_stranger_does_not() {
    let channel = ", close: { at_claimable: \"$0.002\" }";
    let world = World::build(Plan { channel, ..Plan::default() }).await;
    let payer = world.payer().await;
    let before = world.payee_usdc();
    payer.pay("/weather").await.assert_channel_paid();
    payer.pay("/weather").await.assert_channel_paid();
    while world.payee_usdc() - before < 2 * PRICE {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    // What was collected is on the ledger, for all to see.
    for amount in [PRICE, 2 * PRICE] {
        let challenge = payer.challenge("/weather").await;
        let public = payer.commit_for(Action::Close, &challenge, amount);
        let refused = payer.present("/weather", &public).await;
        refused.assert_channel_refused("session/delta-too-small", "stale_close");
    }
    payer.pay("/weather").await.assert_channel_paid();
    let challenge = payer.challenge("/weather").await;
    let late = payer.commit(&payer.challenge("/weather").await, 4 * PRICE);
    let seen = payer.commit_for(Action::Close, &payer.challenge("/weather").await, 3 * PRICE);
    let refused = payer.present("/weather", &seen).await;
    refused.assert_channel_refused("session/delta-too-small", "stale_close");
    let close = payer.commit_for(Action::Close, &challenge, 3 * PRICE + 1);
    let closed = payer.present("/weather", &close).await;
    assert_eq!(closed.status, StatusCode::OK, "{closed:?}");
    assert_eq!(closed.json()["closed"], true);
    assert_eq!(closed.json()["amount"], (3 * PRICE).to_string(), "a close costs nothing");
    let hash = closed.json()["txHash"].as_str().unwrap().to_owned();
    assert_eq!(closed.receipt().unwrap().reference, hash);
    assert_eq!(world.payee_usdc() - before, 3 * PRICE);
    assert_eq!(world.hits(), 3, "the upstream is not asked");
    let refused = payer.present("/weather", &late).await;
    assert_eq!(refused.status, StatusCode::GONE, "{refused:?}");
    assert_eq!(refused.json()["reason"], "channel_finalized");
    assert!(refused.channel_challenge().is_none());
    let again = payer.present("/weather", &close).await;
    assert_eq!(again.json()["txHash"], hash, "the same outcome: {again:?}");
    assert_eq!(world.payee_usdc() - before, 3 * PRICE);
    world.end().await;
}

#[tokio::test]
async fn c10_a_channel_that_its_payer_begins_to_close_is_settled_and_takes_no_more() {
    let channel = ", close: { min_value: \"$0.001\" }";
    let world = World::build(Plan { channel, ..Plan::default() }).await;
    let payer = world.payer().await;
    payer.pay("/weather").await.assert_channel_paid();
    let spare = payer.challenge("/weather").await;
    let before = world.payee_usdc();
    let channel = stellar_xdr::ContractId(stellar_xdr::Hash(payer.channel.0));
    let accounts = world.sandbox.accounts();
    world.sandbox.close_start(&channel, &accounts.payer).await.unwrap();
    let mut served = 0;
    let mut amount = 2 * PRICE;
    let refused = loop {
        let answer = payer.present("/weather", &payer.commit(&spare, amount)).await;
        if answer.status != StatusCode::OK {
            break answer;
        }
        (served, amount) = (served + 1, amount + PRICE);
        assert!(served <= 1, "a challenge is answered once");
    };
    let told = |answer: &crate::agent::Answer| answer.status == StatusCode::GONE;
    let mut last = refused;
    while !told(&last) {
        last = payer.present("/weather", &payer.commit(&spare, amount)).await;
    }
    let asked = payer.ask("/weather").await;
    asked.assert_channel_refused("session/channel-rejected", "channel_rejected");
    let all = (1 + served) * PRICE;
    while world.payee_usdc() - before < all {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(world.payee_usdc() - before, all);
    world.end().await;
}

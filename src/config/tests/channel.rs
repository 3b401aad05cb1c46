//! The section `payments.mpp.channel`: which channels are good, when they are collected from, with whose key.

use std::time::Duration;

use insta::assert_snapshot;

use super::{
    RECIPIENT, SPONSOR_ACCOUNT, changed,
    mpp::{alone, methods, terms},
    read_with, variables,
};
use crate::{
    config::{Channel, Env, Settings},
    pay::MethodName,
    protocol::channel::CODE,
};

/// The seed of 32 bytes that are 2, whose account is [`PAYEE`].
const SIGNER: &str = "SABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNE7";
const PAYEE: &str = "GCATS5YOVB6ROX2WUNKGNQ2MP3GMXDMKSG2O4N5CLX3A6W4PZGZZI55U";
const CHANNEL: &str = "CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ";

/// A file whose one route is paid from channels, the section being what `section` says besides the signer.
fn only(section: &str) -> String {
    alone(&format!("{{ channel: {{ signer: {{ env: SIGNER }}, {section} }} }}"))
        .replace("[mpp.charge]", "[mpp.channel]")
}

fn env() -> Env {
    let mut variables = variables();
    variables.retain(|(name, _)| *name != "STELLAR_RECIPIENT");
    variables.extend([("STELLAR_RECIPIENT", PAYEE), ("SIGNER", SIGNER)]);
    Env::fixed(variables)
}

fn good(text: &str) -> Settings {
    read_with(text, &env()).unwrap_or_else(|faults| panic!("{faults}"))
}

fn bad(text: &str) -> String {
    read_with(text, &env()).expect_err("the file has a fault")
}

fn channel(text: &str) -> Channel {
    good(text).payment.unwrap().mpp.unwrap().channel.unwrap()
}

fn remote(text: &str) -> String {
    text.replace("{ env: STELLAR_RPC_URL }", "https://rpc.example")
}

const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn channels_need_a_signer_and_little_else() {
    let settings = good(&only("").replace("  sponsors: [{ env: SPONSOR_SECRET }]\n", ""));
    assert_eq!(methods(&terms(&settings).offers), [MethodName::Channel]);
    assert_eq!(terms(&settings).channel().unwrap().amount.units(), 10_000);
    let payment = settings.payment.unwrap();
    assert!(payment.charge().is_none() && payment.sponsor.is_none());
    let channel = payment.channel().unwrap();
    assert_eq!(channel.signer.account().to_string(), PAYEE);
    assert_eq!(channel.vet.code, [CODE]);
    assert_eq!(channel.vet.min_refund_waiting_ledgers, 17_280);
    assert_eq!(channel.vet.max_state_age, seconds(30));
    let closer = &channel.closer;
    assert_eq!(closer.at_claimable.units(), 50_000_000);
    assert_eq!(closer.max_unsettled.units(), 500_000_000);
    assert_eq!(closer.min_value.units(), 100_000);
    assert_eq!((closer.unsettled_for, closer.idle_for), (seconds(3_600), seconds(43_200)));
    assert_eq!(closer.before_refund, seconds(7_200));
    assert!(channel.configured.is_none());
    let sponsor = good(&only("")).payment.unwrap().sponsor.unwrap();
    assert_eq!(sponsor.lanes, 32, "a sponsor that is named has its lanes collect too");

    let without = alone("{ channel: {} }").replace("[mpp.charge]", "[mpp.channel]");
    assert_snapshot!(bad(&without), @r"
    gateway.yaml:9:29: payments.mpp.channel: `signer` is missing

    hint: only the payee can collect from a channel: `signer: { env: RECIPIENT_SECRET }`, the key of `stellar.pay_to`
    ");
}

#[test]
fn every_key_of_channels_can_be_set() {
    let hash = "ab".repeat(32);
    let text = only(&format!(
        "wasm_hashes: [{hash}, {}], max_unsettled: \"$2\", max_state_age: 12s, channel: {CHANNEL},
      min_refund_waiting_ledgers: 20, close: {{ at_claimable: \"$2.00\", min_value: \"$0.5\", unsettled_for: 90s,
      idle_for: 2h, before_refund: 100s }}",
        "CD".repeat(32)
    ));
    let channel = channel(&text);
    assert_eq!(channel.vet.code, [[0xab; 32], [0xcd; 32]]);
    assert_eq!(channel.vet.min_refund_waiting_ledgers, 20);
    assert_eq!(channel.vet.max_state_age, seconds(12));
    let closer = &channel.closer;
    assert_eq!(
        (closer.at_claimable, closer.max_unsettled.units()),
        (closer.max_unsettled, 20_000_000)
    );
    assert_eq!(closer.min_value.units(), 5_000_000);
    assert_eq!((closer.unsettled_for, closer.idle_for), (seconds(90), seconds(7_200)));
    assert_eq!(closer.before_refund, seconds(100));
    assert_eq!(channel.configured.unwrap().to_string(), CHANNEL);
}

#[test]
fn channels_stand_beside_the_other_methods() {
    let mpp = "{ charge: {}, channel: { signer: { env: SIGNER } } }";
    let text = changed("self }", &format!("self }}, mpp: {mpp}"));
    let all = text.replace("[x402]", "[mpp.channel, x402, mpp.charge]");
    let charge = MethodName::Charge { sponsored: true };
    assert_eq!(
        methods(&terms(&good(&all)).offers),
        [MethodName::Channel, MethodName::X402, charge]
    );
    let inherited = text.replace(", accept: [x402]", "");
    assert_eq!(
        methods(&terms(&good(&inherited)).offers),
        [MethodName::X402, charge, MethodName::Channel]
    );
    let prices = "{ x402: { price: \"$0.02\" }, mpp.channel: { price: \"$0.015\" } }";
    let priced =
        good(&text.replace("price: \"$0.001\", accept: [x402]", &format!("accept: {prices}")));
    let offers: Vec<_> =
        terms(&priced).offers.iter().map(|offer| (offer.method, offer.amount.units())).collect();
    assert_eq!(offers, [(MethodName::X402, 200_000), (MethodName::Channel, 150_000)]);
    assert_snapshot!(bad(&text.replace("[x402]", "{ mpp.channel: { price: \"$1\", sponsored: true } }")), @r"
    gateway.yaml:12:83: routes[0].accept.mpp.channel: unknown key `sponsored`

    hint: known here: `price`
    ");
    let without = alone("{ charge: {} }").replace("[mpp.charge]", "[mpp.channel]");
    assert_snapshot!(bad(&without), @r"
    gateway.yaml:12:54: routes[0].accept[0]: `mpp.channel` is not configured under `payments`

    hint: configure it: `payments: { mpp: { channel: { signer: { env: RECIPIENT_SECRET } } } }`
    ");
    assert_snapshot!(bad(&only("").replace("[mpp.channel]", "[mpp.charge]")), @r"
    gateway.yaml:12:54: routes[0].accept[0]: `mpp.charge` is not configured under `payments`

    hint: configure it: `payments: { mpp: { charge: {} } }`
    ");
}

/// C13: whoever wrote a channel's code decides who gets the money in it.
#[test]
fn c13_the_code_of_channels_is_named_but_for_a_ledger_of_this_machine() {
    assert_snapshot!(bad(&remote(&only(""))), @r"
    gateway.yaml:9:29: payments.mpp.channel: `wasm_hashes` is missing: the code of a channel decides who gets the money in it

    hint: name the code that you trust: `tollgate channel show C…` tells the hash of a channel's. Tollgate's own contract is `a4ed6ed00c2910f425b86be53c1f5b154e916a8ec4528a91cde7c92707abfa6a`, and trusted unasked where the RPC is a sandbox on this machine
    ");
    let named = format!("wasm_hashes: [{}]", "0a".repeat(32));
    assert_eq!(channel(&remote(&only(&named))).vet.code, [[0x0a; 32]]);
    let local = "http://[::1]:8000";
    let text = only("").replace("{ env: STELLAR_RPC_URL }", &format!("\"{local}\""));
    assert_eq!(channel(&text).vet.code, [CODE]);
    // What a sandbox stands for is the test network alone.
    let public = text.replace("stellar:testnet", "stellar:pubnet");
    assert!(bad(&public).contains("`wasm_hashes` is missing"));
    assert_snapshot!(bad(&only("wasm_hashes: []")), @r"
    gateway.yaml:9:69: payments.mpp.channel.wasm_hashes: there is no hash, so no channel would be good

    hint: name the code that you trust: `[a4ed6ed00c2910f425b86be53c1f5b154e916a8ec4528a91cde7c92707abfa6a]` is Tollgate's own contract
    ");
    let hashes =
        format!("[abcd, {0}, {0}, C{1}, {{ env: NOT_THERE }}]", "0a".repeat(32), "0a".repeat(32));
    assert_snapshot!(bad(&only(&format!("wasm_hashes: {hashes}"))), @r"
    gateway.yaml:9:70: payments.mpp.channel.wasm_hashes[0]: `abcd` is no hash of a contract's code

    hint: write 64 hexadecimal digits: `tollgate channel show C…` tells those of a channel
    gateway.yaml:9:142: payments.mpp.channel.wasm_hashes[2]: `0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a` is in the list already

    hint: name it once
    gateway.yaml:9:208: payments.mpp.channel.wasm_hashes[3]: `C0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a` is no hash of a contract's code

    hint: write 64 hexadecimal digits: `tollgate channel show C…` tells those of a channel
    gateway.yaml:9:275: payments.mpp.channel.wasm_hashes[4]: the environment variable `NOT_THERE` is not set

    hint: set `NOT_THERE`, or give a default: `{ env: NOT_THERE, default: … }`
    ");
}

#[test]
fn limits_of_channels_are_amounts_of_the_default_asset() {
    assert_snapshot!(bad(&only("max_unsettled: 0, close: { at_claimable: lots }")), @r"
    gateway.yaml:9:71: payments.mpp.channel.max_unsettled: `0` is no amount

    hint: write more than nothing, such as `$5.00`
    gateway.yaml:9:97: payments.mpp.channel.close.at_claimable: `lots` is not an amount

    hint: write a decimal number, such as `$0.001`
    ");
    assert_snapshot!(bad(&only("max_unsettled: 1 XLM, close: { at_claimable: \"$0.00000001\" }")), @r"
    gateway.yaml:9:71: payments.mpp.channel.max_unsettled: expected an amount of USDC, the default asset, got one of XLM

    hint: write it in USDC
    gateway.yaml:9:101: payments.mpp.channel.close.at_claimable: `$0.00000001` has 8 decimals, but USDC (CBIE…DAMA) has 7

    hint: the smallest amount is 0.0000001
    ");
    assert_snapshot!(bad(&only("max_unsettled: { amount: \"0\", asset: USDC }")), @r"
    gateway.yaml:9:81: payments.mpp.channel.max_unsettled.amount: `0` is no amount

    hint: write more than nothing, such as `$5.00`
    ");
    assert_snapshot!(bad(&only("max_unsettled: \"$1.00\", close: { at_claimable: \"$1.01\" }")), @r"
    gateway.yaml:9:103: payments.mpp.channel.close.at_claimable: is above `payments.mpp.channel.max_unsettled`, from which on nothing is delivered

    hint: write at most as much, so that a channel is settled before it stands still
    ");
    assert_snapshot!(bad(&only("close: { at_claimable: \"$0.05\", min_value: \"$0.06\" }")), @r"
    gateway.yaml:9:99: payments.mpp.channel.close.min_value: is above `payments.mpp.channel.close.at_claimable`, at which a channel is settled

    hint: write what a transaction costs, such as `$0.01`
    ");
    let tiny = channel(&only("close: { at_claimable: \"$0.002\" }"));
    assert_eq!(tiny.closer.min_value, tiny.closer.at_claimable);
    let small = channel(&only("max_unsettled: \"$1.00\""));
    assert_eq!(small.closer.at_claimable, small.closer.max_unsettled);
    let base = only("")
        .replace("  pay_to", "  default_asset: XLM\n  pay_to")
        .replace("\"$0.001\"", "0.5 XLM");
    assert_eq!(channel(&base).closer.at_claimable.units(), 50_000_000);
}

#[test]
fn times_of_channels_have_bounds() {
    assert_snapshot!(bad(&only(
        "max_state_age: 9s, min_refund_waiting_ledgers: 9, close: { unsettled_for: 500ms, idle_for: 721h, before_refund: 0s }"
    )), @r"
    gateway.yaml:9:71: payments.mpp.channel.max_state_age: `9s` is out of range

    hint: write a duration from `10s` to `10m`
    gateway.yaml:9:103: payments.mpp.channel.min_refund_waiting_ledgers: `9` is out of range

    hint: write a whole number from 10 to 6307200
    gateway.yaml:9:130: payments.mpp.channel.close.unsettled_for: `500ms` is out of range

    hint: write a duration from `1s` to `720h`
    gateway.yaml:9:147: payments.mpp.channel.close.idle_for: `721h` is out of range

    hint: write a duration from `1s` to `720h`
    ");
    assert_snapshot!(bad(&only("close: { before_refund: 0s }")), @r"
    gateway.yaml:9:80: payments.mpp.channel.close.before_refund: `0s` is no time at all

    hint: write a duration above zero, such as `30s`
    ");
    assert_snapshot!(bad(&only("close: { before_refund: 25h }")), @r"
    gateway.yaml:9:80: payments.mpp.channel.close.before_refund: a payer may have to wait 17280 ledgers for the refund, which is 86400 s

    hint: shorten it, or raise `payments.mpp.channel.min_refund_waiting_ledgers`
    ");
    let short = channel(&only("min_refund_waiting_ledgers: 120"));
    assert_eq!(short.closer.before_refund, seconds(300), "half of what a payer waits");
    assert_snapshot!(bad(&only("closes: {}, close: { at: 1s }")), @r"
    gateway.yaml:9:56: payments.mpp.channel: unknown key `closes`

    hint: did you mean `close`?
    gateway.yaml:9:77: payments.mpp.channel.close: unknown key `at`

    hint: known here: `at_claimable`, `min_value`, `unsettled_for`, `idle_for` or `before_refund`
    ");
    assert_snapshot!(bad(&only("close: 1h")), @r"
    gateway.yaml:9:63: payments.mpp.channel.close: expected a mapping, got text

    hint: write a mapping here
    ");
}

/// K01: a channel whose payee's key is not here cannot be collected from.
#[test]
fn the_signer_is_the_key_of_whoever_channels_pay() {
    let stranger = only("").replace("{ env: STELLAR_RECIPIENT }", RECIPIENT);
    assert_snapshot!(bad(&stranger), @r"
    gateway.yaml:7:11: stellar.pay_to: `GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG` is paid from channels, and `payments.mpp.channel.signer` is the key of `GCATS5YOVB6ROX2WUNKGNQ2MP3GMXDMKSG2O4N5CLX3A6W4PZGZZI55U`

    hint: only its payee can collect from a channel: name the payee's key as `signer`, or pay into the account of that key
    ");
    let by_route = stranger.replace("accept:", &format!("pay_to: {PAYEE}, accept:"));
    assert_eq!(terms(&good(&by_route)).channel().unwrap().payee.to_string(), PAYEE);
    let other = only("").replace("accept:", &format!("pay_to: {RECIPIENT}, accept:"));
    assert_snapshot!(bad(&other), @r"
    gateway.yaml:12:53: routes[0].pay_to: `GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAG` is paid from channels, and `payments.mpp.channel.signer` is the key of `GCATS5YOVB6ROX2WUNKGNQ2MP3GMXDMKSG2O4N5CLX3A6W4PZGZZI55U`

    hint: only its payee can collect from a channel: name the payee's key as `signer`, or pay into the account of that key
    ");
    let contract = only("").replace("accept:", &format!("pay_to: {CHANNEL}, accept:"));
    assert_snapshot!(bad(&contract), @r"
    gateway.yaml:12:53: routes[0].pay_to: `CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ` is paid from channels, and `payments.mpp.channel.signer` is the key of `GCATS5YOVB6ROX2WUNKGNQ2MP3GMXDMKSG2O4N5CLX3A6W4PZGZZI55U`

    hint: only its payee can collect from a channel: name the payee's key as `signer`, or pay into the account of that key
    ");
    assert_snapshot!(bad(&only("").replace("{ env: SIGNER }", "{ env: STELLAR_RECIPIENT }")), @r"
    gateway.yaml:9:39: payments.mpp.channel.signer: the value of `STELLAR_RECIPIENT` is an address, not a Stellar secret key

    hint: a secret key begins with `S` and has 56 characters
    ");
    assert_snapshot!(bad(&only("").replace("{ env: SIGNER }", SIGNER)), @r"
    gateway.yaml:9:39: payments.mpp.channel.signer: a secret must not be written in this file

    hint: put it into the environment, `{ env: NAME }`, or a file, `{ file: PATH }`
    ");
    let sponsor = only("").replace("{ env: STELLAR_RECIPIENT }", SPONSOR_ACCOUNT);
    assert_snapshot!(bad(&sponsor.replace("{ env: SIGNER }", "{ env: SPONSOR_SECRET }")), @r"
    gateway.yaml:7:11: stellar.pay_to: `GCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOJR` is the account of `stellar.sponsors[0]`, which pays the network's fees

    hint: be paid into an account whose key is not on this machine
    ");
}

#[test]
fn channels_pay_in_the_default_asset() {
    assert_snapshot!(bad(&only("").replace("\"$0.001\"", "0.5 XLM")), @r"
    gateway.yaml:12:5: routes[0]: `mpp.channel` is priced in XLM, and the amounts of `payments.mpp.channel` are in USDC

    hint: give it a price in USDC, or leave `mpp.channel` out of `accept`
    ");
}

/// A channel is settled before it may owe more, and one request is more.
#[test]
fn a_request_costs_no_more_than_a_channel_may_owe() {
    let at = |price: &str| only("max_unsettled: \"$1.00\"").replace("\"$0.001\"", price);
    assert_eq!(terms(&good(&at("\"$1.00\""))).channel().unwrap().amount.units(), 10_000_000);
    assert_snapshot!(bad(&at("\"$1.01\"")), @r"
    gateway.yaml:12:5: routes[0]: costs 1.01 USDC, and a channel may owe no more than 1 USDC (`payments.mpp.channel.max_unsettled`): no channel could pay

    hint: raise `max_unsettled` to the price at least, or leave `mpp.channel` out of `accept`
    ");
}

#[test]
fn the_channel_of_those_who_name_none_is_a_contract() {
    assert_snapshot!(bad(&only(&format!("channel: {PAYEE}"))), @r"
    gateway.yaml:9:65: payments.mpp.channel.channel: `GCATS5YOVB6ROX2WUNKGNQ2MP3GMXDMKSG2O4N5CLX3A6W4PZGZZI55U` is no channel's address

    hint: a channel is a contract: `C…`, 56 characters, as `tollgate channel open` prints it
    ");
    assert_snapshot!(bad(&only(&format!("channel: {SIGNER}"))), @r"
    gateway.yaml:9:65: payments.mpp.channel.channel: expected a channel (`C…`), got a secret key

    hint: take the key out of this file and use another one: it is known now
    ");
}

#[test]
fn j06_the_signer_does_not_show() {
    let settings = good(&only(""));
    let shown = format!("{settings:?}{settings:#?}{}", settings.warnings);
    assert!(shown.contains("at_claimable") && !shown.contains(SIGNER), "{shown}");
}

#[test]
fn the_headers_of_mpp_mean_something_where_channels_are_paid() {
    let text = only("").replace("accept:", "credential_header: payment-authorization, accept:");
    assert!(terms(&good(&text)).channel().is_some());
}

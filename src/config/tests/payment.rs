//! The network, its RPC server, facilitators and sponsors.

use insta::assert_snapshot;

use super::{SHORT, broken, changed, read, read_with, variables};
use crate::{
    config::{Env, FacilitatorSettings},
    protocol::stellar::Network,
    route::Access,
};

#[test]
fn the_network_is_named_as_the_wire_names_it() {
    let network =
        |text: &str| broken("{ env: STELLAR_NETWORK, default: \"stellar:testnet\" }", text);
    assert_snapshot!(network("testnet"), @r"
    gateway.yaml:4:10: network: `testnet` is no Stellar network

    hint: write `stellar:testnet`
    ");
    assert_snapshot!(network("mainnet"), @r"
    gateway.yaml:4:10: network: `mainnet` is no Stellar network

    hint: write `stellar:pubnet`
    ");
    assert_snapshot!(network("base-sepolia"), @r"
    gateway.yaml:4:10: network: `base-sepolia` is no Stellar network

    hint: write `stellar:testnet` or `stellar:pubnet`
    ");
}

#[test]
fn an_rpc_server_has_a_default_on_testnet_only() {
    let text = changed("  rpc_url: { env: STELLAR_RPC_URL }\n", "");
    let payment = read(&text).unwrap().payment.unwrap();
    assert_eq!(payment.rpc_url, "https://soroban-testnet.stellar.org");
    assert_snapshot!(read(&text.replace(":testnet", ":pubnet")).unwrap_err(), @r"
    gateway.yaml:6:3: stellar: `rpc_url` is missing, and `stellar:pubnet` has no default

    hint: take an RPC provider's: `rpc_url: { env: STELLAR_RPC_URL }`
    ");
}

#[test]
fn j01_testnet_and_pubnet_do_not_mix() {
    let mut mixed = variables();
    mixed.push(("STELLAR_NETWORK", "stellar:pubnet"));
    mixed.retain(|(name, _)| *name != "STELLAR_RPC_URL");
    mixed.push(("STELLAR_RPC_URL", "https://soroban-testnet.stellar.org"));
    assert_snapshot!(read_with(SHORT, &Env::fixed(mixed)).unwrap_err(), @r"
    gateway.yaml:6:12: stellar.rpc_url: the value of `STELLAR_RPC_URL` names `testnet`, and the network is `stellar:pubnet`

    hint: network, RPC and facilitator belong together: change all of them
    ");
    let remote = "{ url: \"https://facilitator.example/x402/pubnet\" }";
    assert_snapshot!(broken("self", remote), @r"
    gateway.yaml:9:41: payments.x402.facilitator.url: `https://facilitator.example/x402/pubnet` names `pubnet`, and the network is `stellar:testnet`

    hint: network, RPC and facilitator belong together: change all of them
    ");
}

#[test]
fn an_rpc_server_elsewhere_without_tls_is_a_warning() {
    let settings =
        read(&changed("{ env: STELLAR_RPC_URL }", "http://rpc.internal:8000/?key=k")).unwrap();
    assert_snapshot!(settings.warnings, @r"
    gateway.yaml:6:12: stellar.rpc_url: `http://rpc.internal:8000/?…` is not `https`, and leaves this machine

    hint: whoever is on the way can lie about the ledger: reach it by `https`
    ");
    assert!(read(SHORT).unwrap().warnings.is_empty());
}

/// D07: a facilitator decides what is paid; it is reached by TLS, or on this machine.
#[test]
fn d07_a_facilitator_is_reached_by_https_or_on_loopback() {
    let remote = |url: &str| format!("{{ url: {url} }}");
    assert_snapshot!(broken("self", &remote("http://facilitator.example/x402")), @r"
    gateway.yaml:9:41: payments.x402.facilitator.url: `http://facilitator.example/x402` is not `https`, and leaves this machine

    hint: a facilitator decides what is paid: reach it by `https`
    ");
    assert_snapshot!(broken("self", &remote("http://127.0.0.1.example.com/")), @r"
    gateway.yaml:9:41: payments.x402.facilitator.url: `http://127.0.0.1.example.com/` is not `https`, and leaves this machine

    hint: a facilitator decides what is paid: reach it by `https`
    ");
    assert_snapshot!(broken("self", &remote("https://key:hunter2@facilitator.example")), @r"
    gateway.yaml:9:41: payments.x402.facilitator.url: the URL carries a user name or password

    hint: write it like `https://channels.openzeppelin.com/x402/testnet`
    ");
    assert_snapshot!(broken("self", &remote("https://facilitator.example/?key=k")), @r"
    gateway.yaml:9:41: payments.x402.facilitator.url: `https://facilitator.example/?…` has a query

    hint: write it like `https://channels.openzeppelin.com/x402/testnet`
    ");
    assert_snapshot!(broken("self", "{ api_key: { env: OZ_API_KEY } }"), @r"
    gateway.yaml:9:34: payments.x402.facilitator: `url` is missing

    hint: say where it is: `url: https://channels.openzeppelin.com/x402/testnet`
    gateway.yaml:9:45: payments.x402.facilitator.api_key: the environment variable `OZ_API_KEY` is not set

    hint: set `OZ_API_KEY`
    ");
    assert_snapshot!(broken("self", "other"), @r"
    gateway.yaml:9:34: payments.x402.facilitator: `other` is no facilitator

    hint: write `self`, or `{ url: https://…, api_key: { env: OZ_API_KEY } }`
    ");
    for url in [
        "https://facilitator.example/x402",
        "http://127.0.0.1:4021",
        "\"http://[::1]:4021\"",
        "http://localhost:4021",
    ] {
        assert!(read(&changed("self", &remote(url))).is_ok(), "{url}");
    }
}

#[test]
fn a_facilitator_of_its_own_needs_sponsors() {
    assert_snapshot!(broken("  sponsors: [{ env: SPONSOR_SECRET }]\n", ""), @r"
    gateway.yaml:8:34: payments.x402.facilitator: `self` settles with keys of its own, and `stellar.sponsors` names none

    hint: name one: `sponsors: [{ env: SPONSOR_SECRET }]`
    ");
    assert_snapshot!(broken("[{ env: SPONSOR_SECRET }]", "[]"), @r"
    gateway.yaml:8:13: stellar.sponsors: there is no sponsor

    hint: name one: `[{ env: SPONSOR_SECRET }]`
    ");
    assert_snapshot!(broken("[{ env: SPONSOR_SECRET }]", "[{ env: SPONSOR_SECRET }, { env: SPONSOR_SECRET }]"), @r"
    gateway.yaml:8:39: stellar.sponsors[1]: is the same key as `stellar.sponsors[0]`

    hint: name each key once
    ");
    assert_snapshot!(broken("[{ env: SPONSOR_SECRET }]", "[{ env: STELLAR_RECIPIENT }]"), @r"
    gateway.yaml:8:14: stellar.sponsors[0]: the value of `STELLAR_RECIPIENT` is an address, not a Stellar secret key

    hint: a secret key begins with `S` and has 56 characters
    ");
    assert_snapshot!(broken("[{ env: SPONSOR_SECRET }]", "[{ env: STELLAR_RPC_URL }]"), @r"
    gateway.yaml:8:14: stellar.sponsors[0]: the value of `STELLAR_RPC_URL` is not a Stellar secret key

    hint: a secret key begins with `S` and has 56 characters
    ");
}

#[test]
fn one_payers_budget_is_part_of_the_whole() {
    let budget =
        |text: &str| changed("  sponsors:", &format!("  sponsor_budget: {text}\n  sponsors:"));
    assert_snapshot!(read(&budget("{ stroops: 10, per: 1h, per_payer: 11 }")).unwrap_err(), @r"
    gateway.yaml:8:54: stellar.sponsor_budget.per_payer: one payer's share is above the 10 stroops of all

    hint: write at most as much as `stroops`
    ");
    assert_snapshot!(read(&budget("{ stroops: 0, per: 0s }")).unwrap_err(), @r"
    gateway.yaml:8:30: stellar.sponsor_budget.stroops: `0` is out of range

    hint: write a whole number from 1 to 1054439020873472865
    gateway.yaml:8:38: stellar.sponsor_budget.per: `0s` is no time at all

    hint: write a duration above zero, such as `30s`
    ");
    let settings = read(&budget("{ stroops: 1000, per: 5m }")).unwrap();
    let own = settings.payment.unwrap().sponsor.unwrap();
    assert_eq!((own.budget.stroops, own.budget.per_payer), (1_000, 1_000));
    assert_eq!(own.budget.per.as_secs(), 300);
}

#[test]
fn from_testnet_to_pubnet_only_the_environment_changes() {
    let remote = changed(
        "self",
        "{ url: { env: FACILITATOR_URL, default: \"https://channels.openzeppelin.com/x402/testnet\" }, api_key: { env: OZ_API_KEY } }",
    );
    let mut testnet = variables();
    testnet.push(("OZ_API_KEY", "oz-key"));
    let mut pubnet = testnet.clone();
    pubnet.retain(|(name, _)| *name != "STELLAR_RPC_URL");
    pubnet.extend([
        ("STELLAR_NETWORK", "stellar:pubnet"),
        ("STELLAR_RPC_URL", "https://rpc.example/KEY"),
        ("FACILITATOR_URL", "https://channels.openzeppelin.com/x402"),
    ]);
    for (network, variables, host) in
        [(Network::Testnet, testnet, "/x402/testnet"), (Network::Pubnet, pubnet, "/x402")]
    {
        let env = Env::fixed(variables);
        for text in [SHORT, &remote] {
            let settings = read_with(text, &env).unwrap();
            let payment = settings.payment.unwrap();
            assert_eq!(payment.network, network);
            let Access::Priced(terms) = &settings.table.routes()[0].access else { panic!() };
            assert_eq!(terms.offers[0].asset, network.usdc());
            assert_eq!(terms.offers[0].network, network);
            if let FacilitatorSettings::Remote(remote) = payment.x402.unwrap().facilitator {
                assert_eq!((remote.network, remote.url.path()), (network, host));
                assert_eq!(remote.api_key_name.as_deref(), Some("OZ_API_KEY"));
            }
        }
    }
}

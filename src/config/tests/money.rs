//! Prices, assets and payees.

use std::sync::Arc;

use insta::assert_snapshot;

use super::{RECIPIENT, SPONSOR, SPONSOR_ACCOUNT, broken, changed, read};
use crate::{pay::Terms, route::Access};

/// The terms of a route with the price `written`.
fn terms(written: &str) -> Arc<Terms> {
    let settings = read(&changed("\"$0.001\"", written)).unwrap();
    match &settings.table.routes()[0].access {
        Access::Priced(terms) => terms.clone(),
        other => panic!("{other:?}"),
    }
}

fn price(written: &str) -> String {
    broken("\"$0.001\"", written)
}

#[test]
fn a_price_is_exact_base_units() {
    for (written, units, asset) in [
        ("\"$0.001\"", 10_000, "USDC"),
        ("$0.0000001", 1, "USDC"),
        ("0.0010", 10_000, "USDC"),
        ("1", 10_000_000, "USDC"),
        ("\"$1 USD\"", 10_000_000, "USDC"),
        ("0.5 XLM", 5_000_000, "XLM"),
        ("{ amount: \"200000\", asset: USDC }", 200_000, "USDC"),
        ("{ env: PRICE, default: \"$2\" }", 20_000_000, "USDC"),
    ] {
        let terms = terms(written);
        assert_eq!(terms.offers[0].amount.units(), units, "{written}");
        assert_eq!(&*terms.offers[0].asset.name, asset, "{written}");
    }
}

/// B26: what is no exact decimal is refused at load; it is never rounded, and never nothing.
#[test]
fn b26_a_price_that_is_no_exact_decimal_is_refused() {
    assert_snapshot!(price("0.1+0.2"), @r"
    gateway.yaml:12:35: routes[0].price: `0.1+0.2` is not a price

    hint: write a decimal number, such as `$0.001`: a number, nothing to compute
    ");
    assert_snapshot!(price("1e-7"), @r"
    gateway.yaml:12:35: routes[0].price: `1e-7` is not a price

    hint: write a decimal number, such as `$0.001`: all digits, no exponent; the smallest is 0.0000001
    ");
    assert_snapshot!(price("\"1,000\""), @r"
    gateway.yaml:12:35: routes[0].price: `1,000` is not a price

    hint: write a decimal number, such as `$0.001`: no separators, and a point for the decimals
    ");
    assert_snapshot!(price("٣"), @r"
    gateway.yaml:12:35: routes[0].price: `٣` is not a price

    hint: write a decimal number, such as `$0.001`
    ");
    assert_snapshot!(price("0x10"), @r"
    gateway.yaml:12:35: routes[0].price: `0x10` is not a price

    hint: write a decimal number, such as `$0.001`
    ");
    assert_snapshot!(price("NaN"), @r"
    gateway.yaml:12:35: routes[0].price: `NaN` is not a price

    hint: write a decimal number, such as `$0.001`
    ");
    assert_snapshot!(price(".5"), @r"
    gateway.yaml:12:35: routes[0].price: `.5` is not a price

    hint: write a decimal number, such as `$0.001`
    ");
    assert_snapshot!(price("-1"), @r"
    gateway.yaml:12:35: routes[0].price: `-1` is not a price

    hint: write a decimal number, such as `$0.001`
    ");
    assert_snapshot!(price("\"$0.00000001\""), @r"
    gateway.yaml:12:35: routes[0].price: `$0.00000001` has 8 decimals, but USDC (CBIE…DAMA) has 7

    hint: the smallest price is 0.0000001
    ");
    assert_snapshot!(price("\"$0.001USDC\""), @r"
    gateway.yaml:12:35: routes[0].price: `$0.001USDC` is not a price

    hint: put a space between number and asset: `0.001 USDC`
    ");
    assert_snapshot!(price("99999999999999999999999999999999"), @r"
    gateway.yaml:12:35: routes[0].price: `99999999999999999999999999999999` is larger than any amount on the ledger

    hint: write a smaller price
    ");
    assert_snapshot!(price("\"\""), @r"
    gateway.yaml:12:35: routes[0].price: `` is not a price

    hint: write a decimal number, such as `$0.001`
    ");
}

#[test]
fn a_price_of_nothing_is_said_as_free() {
    assert_snapshot!(price("\"$0\""), @r"
    gateway.yaml:12:35: routes[0].price: `$0` is no price

    hint: a route that costs nothing says `free: true`
    ");
    assert_snapshot!(price("0.0000000"), @r"
    gateway.yaml:12:35: routes[0].price: `0.0000000` is no price

    hint: a route that costs nothing says `free: true`
    ");
    assert_snapshot!(price("{ amount: \"0\", asset: USDC }"), @r"
    gateway.yaml:12:45: routes[0].price.amount: `0` is no price

    hint: a route that costs nothing says `free: true`
    ");
}

#[test]
fn a_price_names_an_asset_of_the_configuration() {
    assert_snapshot!(price("1 EUR"), @r"
    gateway.yaml:12:35: routes[0].price: `1 EUR` is in no asset of this configuration

    hint: write `$0.001`, or name the asset behind the number: `USDC` or `XLM`
    ");
    assert_snapshot!(price("\"$1 XLM\""), @r"
    gateway.yaml:12:35: routes[0].price: `$1 XLM` is in dollars, but XLM is not pegged to the dollar

    hint: write it in its own unit, such as `0.5 XLM`, or in another asset
    ");
    assert_snapshot!(price("{ amount: \"1\", asset: USCD }"), @r"
    gateway.yaml:12:57: routes[0].price.asset: `USCD` is no asset of this configuration

    hint: did you mean `USDC`?
    ");
    assert_snapshot!(price("{ amount: 1.5, asset: USDC }"), @r#"
    gateway.yaml:12:45: routes[0].price.amount: `1.5` is not a whole number of base units

    hint: write digits only, such as `"10000"`, or a decimal price such as `"$0.001"`
    "#);
    assert_snapshot!(price("{ amount: \"10000\" }"), @r"
    gateway.yaml:12:35: routes[0].price: `asset` is missing

    hint: name the asset: `USDC` or `XLM`
    ");
    assert_snapshot!(
        price("{ amount: \"1\", asset: \"USDC:GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5\" }"),
        @r"
    gateway.yaml:12:57: routes[0].price.asset: `USDC:GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5` is a classic asset or its issuer; here an asset is named

    hint: write `USDC` or `XLM`, or add it to `stellar.assets` by its contract
    "
    );
    assert_snapshot!(
        price("{ amount: \"1\", asset: CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA }"),
        @r"
    gateway.yaml:12:57: routes[0].price.asset: `CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA` is a contract; here an asset is named

    hint: give the contract a name under `stellar.assets`, and write the name here
    "
    );
}

#[test]
fn an_asset_is_named_by_its_contract() {
    let asset = |text: &str| broken("  sponsors:", &format!("  assets: {{ {text} }}\n  sponsors:"));
    assert_snapshot!(
        asset("TUSD: { contract: GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5, decimals: 7 }"),
        @r"
    gateway.yaml:8:31: stellar.assets.TUSD.contract: `GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5` is a classic asset or its issuer, not a contract (`C…`)

    hint: the contract of that asset is `CDG5EKHSM7YCZGLTPXSH374IBE4I5UEMEDXAYECCRPEXDAH2T5F6TBRV`
    "
    );
    // The hint computes the contract: for USDC of the network it is the built-in one.
    assert_snapshot!(
        asset("TUSD: { contract: \"USDC:GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5\", decimals: 7 }"),
        @r"
    gateway.yaml:8:31: stellar.assets.TUSD.contract: `USDC:GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5` is a classic asset or its issuer, not a contract (`C…`)

    hint: the contract of that asset is `CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA`
    "
    );
    assert_snapshot!(
        asset("PUSD: { contract: CCW67TSZV3SSS2HXMBQ5JFGCKJNXKZM7UQUWUZPUTHXSTZLEO7SJMI75, decimals: 7 }"),
        @r"
    gateway.yaml:8:31: stellar.assets.PUSD.contract: `CCW67TSZV3SSS2HXMBQ5JFGCKJNXKZM7UQUWUZPUTHXSTZLEO7SJMI75` is a contract of `stellar:pubnet`, and the network is `stellar:testnet`

    hint: take the contract of this network
    "
    );
    assert_snapshot!(asset("TUSD: { contract: nonsense }"), @r"
    gateway.yaml:8:19: stellar.assets.TUSD: `decimals` is missing

    hint: say how many decimals its amounts have: `decimals: 7`
    gateway.yaml:8:31: stellar.assets.TUSD.contract: `nonsense` is not a contract (`C…`)

    hint: an asset is named by its contract: `C…`, 56 characters
    ");
    assert_snapshot!(
        asset("USDC: { contract: CDLZFC3SYJYDZT7K67VZ75HPJVIEUVNIXF47ZG2FB2RMQQVU2HHGCYSC, decimals: 7 }"),
        @r"
    gateway.yaml:8:13: stellar.assets: `USDC` is built in

    hint: remove it, or give your asset another name
    "
    );
    let text = changed(
        "  sponsors:",
        "  assets: { EURC: { contract: CAAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQC526, decimals: 2 } }\n  sponsors:",
    );
    let settings = read(&text.replace("\"$0.001\"", "0.01 EURC")).unwrap();
    let Access::Priced(terms) = &settings.table.routes()[0].access else { panic!() };
    assert_eq!(terms.offers[0].amount.units(), 1);
    assert_snapshot!(broken("  sponsors:", "  default_asset: USDT\n  sponsors:"), @r"
    gateway.yaml:8:18: stellar.default_asset: `USDT` is no asset of this configuration

    hint: did you mean `USDC`?
    ");
}

#[test]
fn dollars_are_of_a_pegged_asset() {
    let text = changed("  sponsors:", "  default_asset: XLM\n  sponsors:");
    assert_snapshot!(read(&text).unwrap_err(), @r"
    gateway.yaml:13:35: routes[0].price: `$0.001` is in dollars, but XLM is not pegged to the dollar

    hint: write it in its own unit, such as `0.5 XLM`, or in another asset
    ");
    assert!(read(&text.replace("\"$0.001\"", "0.5")).is_ok());
}

#[test]
fn the_payee_can_keep_the_money() {
    let payee = |address: &str| broken("{ env: STELLAR_RECIPIENT }", address);
    assert_snapshot!(payee("GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5"), @r"
    gateway.yaml:7:11: stellar.pay_to: `GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5` is the issuer of USDC (CBIE…DAMA): what is paid to it is gone

    hint: name an account of your own
    ");
    assert_snapshot!(payee("CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA"), @r"
    gateway.yaml:7:11: stellar.pay_to: `CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA` is the contract of USDC (CBIE…DAMA): what is paid to it is gone

    hint: name an account of your own
    ");
    assert_snapshot!(
        payee("MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ"),
        @r"
    gateway.yaml:7:11: stellar.pay_to: `MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ` is a muxed account (`M…`), which cannot be paid this way

    hint: write the account behind it, `G…`
    "
    );
    assert_snapshot!(payee(SPONSOR_ACCOUNT), @r"
    gateway.yaml:7:11: stellar.pay_to: `GCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOJR` is the account of `stellar.sponsors[0]`, which pays the network's fees

    hint: be paid into an account whose key is not on this machine
    ");
    assert_snapshot!(payee(SPONSOR), @r"
    gateway.yaml:7:11: stellar.pay_to: expected an address, got a secret key

    hint: write the account's address, `G…`; the key is no secret any more: replace it
    ");
    assert_snapshot!(payee("GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAA"), @r"
    gateway.yaml:7:11: stellar.pay_to: `GDWUSKGGFDI4FRXK5EBTRECZSVQSSWJHHJOGH6JWG3AUMFFMQ435DIAA` is not a Stellar address

    hint: an address begins with `G` (or `C` for a contract) and has 56 characters
    ");
    assert_snapshot!(broken("  pay_to: { env: STELLAR_RECIPIENT }\n", ""), @r"
    gateway.yaml:6:3: stellar: `pay_to` is missing

    hint: name the account that is paid: `pay_to: { env: STELLAR_RECIPIENT }`
    ");
    assert_snapshot!(
        broken("accept: [x402]", "pay_to: GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5"),
        @r"
    gateway.yaml:12:53: routes[0].pay_to: `GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5` is the issuer of USDC (CBIE…DAMA): what is paid to it is gone

    hint: name an account of your own
    "
    );
}

#[test]
fn one_payee_at_fault_is_one_fault_however_many_routes_it_has() {
    let issuer = "GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5";
    let text = changed("{ env: STELLAR_RECIPIENT }", issuer);
    let text = text.replace("free: true", "price: \"$1\"");
    assert_snapshot!(read(&text).unwrap_err(), @r"
    gateway.yaml:7:11: stellar.pay_to: `GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5` is the issuer of USDC (CBIE…DAMA): what is paid to it is gone

    hint: name an account of your own
    ");
}

#[test]
fn a_route_may_have_a_payee_of_its_own() {
    let text = changed("  pay_to: { env: STELLAR_RECIPIENT }\n", "");
    let text = text.replace("accept: [x402]", &format!("pay_to: {RECIPIENT}"));
    let settings = read(&text).unwrap();
    let Access::Priced(terms) = &settings.table.routes()[0].access else { panic!() };
    assert_eq!(terms.offers[0].payee.to_string(), RECIPIENT);
}

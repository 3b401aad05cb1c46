//! What `tollgate check --online` says of each fault, as a ledger that runs the real host and a facilitator show it.

use insta::assert_snapshot;
use serde_json::json;
use tollgate::{
    ledger::classic::ClassicAsset,
    protocol::stellar::{ContractId, Network},
    telemetry::Clock,
};
use tollgate_sandbox::DevAccount;

use crate::{
    binary::{Said, with_env},
    site::{Site, require_authorization, trust},
    stub::{Reply, Stub},
};

/// A configuration in which all is well, and what a test makes of it.
const GOOD: &str = r#"version: 1
listen: 127.0.0.1:0
public_url: https://api.example
upstream: http://127.0.0.1:3000
network: stellar:testnet
stellar:
  rpc_url: { env: STELLAR_RPC_URL }
  pay_to: { env: STELLAR_RECIPIENT }
  sponsors: [{ env: SPONSOR_SECRET }]
payments: { x402: { facilitator: self } }
store: { embedded: { path: ./state.redb } }
routes:
  - { name: weather, match: GET /weather, price: "$0.001", accept: [x402] }
  - { name: health, match: GET /health, free: true }
"#;

fn with(changes: &[(&str, &str)]) -> String {
    changes.iter().fold(GOOD.to_owned(), |text, (old, new)| {
        assert!(text.contains(old), "the configuration has no `{old}`");
        text.replacen(old, new, 1)
    })
}

fn paid_to(payee: &str) -> String {
    with(&[("{ env: STELLAR_RECIPIENT }", payee)])
}

/// The faults and their hints alone.
fn faults(report: &str) -> String {
    let lines = report.lines().filter(|line| !line.starts_with("ok: "));
    lines.map(|line| format!("{line}\n")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_well_is_said_in_a_line_each() {
    let site = Site::start().await;
    let now = Clock::system().now();
    site.sandbox.close_ledger_at(now).await;
    let clock = Clock::fixed(now);
    assert_snapshot!(site.examine_at(GOOD, &clock).await, @r"
    ok: rpc: http://SANDBOX serves stellar:testnet
    ok: clock: the latest ledger closed 0 s ago
    ok: asset: USDC is CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA, with 7 decimals
    ok: payee: GBLZE4QSHSHMXQDZP34LM6A3C3NRH2X7B3A77IC3BKRWNT7L7FYDGNQE can be paid in USDC, for `weather`
    ok: sponsor: GCYJX3LGAY3TQXBKQYF5IMM2ZO3SI3PIA7JEORRNYBWHTLQQD3E7PKVP has 10000 XLM
    ");
    let free = with(&[("price: \"$0.001\", accept: [x402]", "free: true")]);
    assert_snapshot!(site.examine_at(&free, &clock).await, @r"
    ok: rpc: http://SANDBOX serves stellar:testnet
    ok: clock: the latest ledger closed 0 s ago
    ok: sponsor: GCYJX3LGAY3TQXBKQYF5IMM2ZO3SI3PIA7JEORRNYBWHTLQQD3E7PKVP has 10000 XLM
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payee_that_cannot_be_paid_is_told() {
    let site = Site::start().await;
    let missing = DevAccount::from_label("nobody").address();
    assert_snapshot!(faults(&site.examine(&paid_to(&missing)).await), @r"
    error: payee-missing: the payee GCMUNA4LJ5L7YNKDQIA726EUAYMVS2JBFP27B5HIA7NHEJW32V7TPTHN does not exist on stellar:testnet, for `weather`

    hint: create the account by sending it XLM, or see `pay_to` and `network`
    ");

    let bare = site.account("without a trustline", 10).await;
    assert_snapshot!(faults(&site.examine(&paid_to(&bare.address())).await), @r"
    error: payee-trustline: the payee GBLDAT4G7JMLPLGJY46N3P3MPOWS4PGMV36EWT3CMF7HVE5PEI5QXFTV has no trustline for USDC, for `weather`

    hint: have the account open one for USDC:GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5: in its wallet, or by `tollgate setup` on a test network
    ");

    let usdc = ClassicAsset::usdc(Network::Testnet);
    let full = site.account("a full trustline", 10).await;
    site.apply(&full, trust(&usdc, 10_050)).await;
    site.sandbox.send_usdc(&full, 100).await.unwrap();
    assert_snapshot!(faults(&site.examine(&paid_to(&full.address())).await), @r"
    error: payee-limit: the payee GC5RC4E6Y2PP6LWPMNXSZKP5URVDUSMFJFWFISBEQGCERJBEIT5KHP4I can take 0.000995 USDC more, and 0.001 is asked, for `weather`

    hint: raise the limit of its trustline, or move some of what it holds
    ");

    let contract = "CDLZFC3SYJYDZT7K67VZ75HPJVIEUVNIXF47ZG2FB2RMQQVU2HHGCYSC";
    assert_snapshot!(faults(&site.examine(&paid_to(contract)).await), @r"
    error: payee-missing: the payee CDLZFC3SYJYDZT7K67VZ75HPJVIEUVNIXF47ZG2FB2RMQQVU2HHGCYSC does not exist on stellar:testnet, for `weather`: what is paid to it may be gone

    hint: see `pay_to` and `network`: it must be a contract that can pay out again, or an account (`G…`)
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_asset_and_a_payee_of_ones_own_are_looked_at_as_well() {
    let site = Site::start().await;
    let issuer = site.account("issuer", 1_000).await;
    let eur: ClassicAsset = format!("EUR:{}", issuer.address()).parse().unwrap();
    let contract = site.deploy(&issuer, &eur).await;
    let in_eur = |payee: &str, decimals: u8| {
        let assets = format!("assets: {{ EUR: {{ contract: {contract}, decimals: {decimals} }} }}");
        with(&[
            ("sponsors:", &format!("{assets}\n  default_asset: EUR\n  sponsors:")),
            ("{ env: STELLAR_RECIPIENT }", payee),
        ])
    };
    // The contract of an asset is nobody who could pay out again.
    assert_snapshot!(faults(&site.examine(&paid_to(&contract.to_string())).await), @r"
    error: payee-kind: the payee CACCJZ6ADSNZ6M4O4KWNWF7DHUDSZH6GJIJN6FW4OOJD5AZJOTVM4NAG is the contract of an asset, for `weather`: what is paid to it is gone

    hint: name an account (`G…`) in `pay_to`; the asset is named by the price
    ");
    assert_snapshot!(faults(&site.examine(&in_eur(&issuer.address(), 7)).await), @r"
    error: payee-issuer: the payee GBDJRXRXX2MNWEAALV7ODDDEJYVM42Z2MBFLRNLNOITIZ4ENQZZE4JIU is the issuer of EUR, for `weather`: what is paid to it is gone

    hint: name an account of your own in `pay_to`
    ");

    let payee = site.account("holder of EUR", 10).await;
    site.apply(&issuer, require_authorization()).await;
    site.apply(&payee, trust(&eur, i64::MAX)).await;
    assert_snapshot!(faults(&site.examine(&in_eur(&payee.address(), 7)).await), @r"
    error: payee-unauthorized: the payee GDR2XTLYW6MUYLPSFYT6GMFPRC67UBYXPVEBD7SPEJK3FE2K7TU2A4RP is not authorized to hold EUR, for `weather`

    hint: ask the issuer GBDJRXRXX2MNWEAALV7ODDDEJYVM42Z2MBFLRNLNOITIZ4ENQZZE4JIU to authorize its trustline
    ");

    let lucky = site.account("holder of EUR, in time", 10).await;
    let report = site.examine(&in_eur(&lucky.address(), 6)).await;
    assert_snapshot!(faults(&report), @r"
    error: asset-decimals: EUR has 7 decimals, and the configuration says 6: every price in it is wrong

    hint: write `decimals: 7` for it under `stellar.assets`
    error: payee-trustline: the payee GD4URVP72RMKFUM35YDTDLWCGDFOF3GQNH6S7CUPGPLW6P5V2MGVPGPT has no trustline for EUR, for `weather`

    hint: have the account open one for EUR:GBDJRXRXX2MNWEAALV7ODDDEJYVM42Z2MBFLRNLNOITIZ4ENQZZE4JIU: in its wallet, or by `tollgate setup` on a test network
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_contract_that_is_no_asset_is_told() {
    let site = Site::start().await;
    let nothing = site.deploy_nothing(&site.account("deployer", 1_000).await).await;
    let configured = |contract: &str| {
        let assets = format!("assets: {{ PTS: {{ contract: {contract}, decimals: 2 }} }}");
        with(&[("sponsors:", &format!("{assets}\n  sponsors:"))])
    };
    let missing = ContractId([2; 32]).to_string();
    assert_snapshot!(faults(&site.examine(&configured(&missing)).await), @r"
    error: asset-contract: the contract CABAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAEAQCAIBAFNSZ of PTS does not exist on stellar:testnet

    hint: see `contract` of it under `stellar.assets`, and `network`: the contract belongs to one network
    ");
    assert_snapshot!(faults(&site.examine(&configured(&nothing.to_string())).await), @r"
    error: asset-contract: the contract CDJFDYZDTIU5OKW3CTOOC2AJRMJREOEQGMLDA2CJM4HLSVILKR22AVPP of PTS is no token: `decimals()` fails: HostError: Error(WasmVm, MissingValue)

    hint: name a contract with the interface of SEP-41 under `stellar.assets`
    ");
    // As a payee it is one of those that may know what they do.
    let report = site.examine(&paid_to(&nothing.to_string())).await;
    assert_eq!(faults(&report), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sponsor_that_cannot_pay_is_told() {
    let site = Site::start().await;
    let folder = tempfile::tempdir().unwrap();
    let sponsored_by = |account: &DevAccount| {
        let path = folder.path().join("sponsor");
        std::fs::write(&path, account.secret()).unwrap();
        with(&[("{ env: SPONSOR_SECRET }", &format!("{{ file: {} }}", path.display()))])
    };
    let missing = DevAccount::from_label("no sponsor");
    assert_snapshot!(faults(&site.examine(&sponsored_by(&missing)).await), @r"
    error: sponsor-missing: the sponsor GAHHIU5ZQN2CMUI7MFEOFP3INDBLE5YORQPL6LHC7MJWLJHEP25RXNCQ does not exist on stellar:testnet

    hint: fund it with at least 34.64 XLM
    ");
    let poor = site.account("a poor sponsor", 3).await;
    assert_snapshot!(faults(&site.examine(&sponsored_by(&poor)).await), @r"
    error: sponsor-funds: the sponsor GATOKQMRXVNQPSHAUXIOZCRDBZGKTH23QAJNLB6T5HVDQR3PNLPXJWSI has 3 XLM, and needs 34.64 for 32 lanes to create and for fees

    hint: fund it with at least 31.64 XLM more, or set fewer `stellar.lanes`
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_rpc_that_is_of_no_use_is_told() {
    let site = Site::start().await;
    let pubnet = with(&[("network: stellar:testnet", "network: stellar:pubnet")]);
    assert_snapshot!(faults(&site.examine(&pubnet).await), @r"
    error: rpc-network: the Stellar RPC at http://SANDBOX serves another network than stellar:pubnet

    hint: `network` and `stellar.rpc_url` belong together: change one of them; what is on the ledger was not asked
    ");
    let silent = with(&[("{ env: STELLAR_RPC_URL }", "http://127.0.0.1:1/key")]);
    assert_snapshot!(faults(&site.examine(&silent).await), @r"
    error: rpc-unreachable: the Stellar RPC did not answer `getNetwork` (http://127.0.0.1:1): cannot connect

    hint: see `stellar.rpc_url`: no payment is taken without it; what is on the ledger was not asked
    ");
    let broken = Stub::start(|_| Reply::Json(503, json!("later"))).await;
    let busy = with(&[("{ env: STELLAR_RPC_URL }", &format!("{}/key", broken.url))]);
    let report = site.examine(&busy).await.replace(&broken.url, "http://RPC");
    assert_snapshot!(faults(&report), @r"
    error: rpc-unreachable: the Stellar RPC answered `getNetwork` with status 503 Service Unavailable (http://RPC)

    hint: see `stellar.rpc_url`: no payment is taken without it; what is on the ledger was not asked
    ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_off_is_told() {
    let site = Site::start().await;
    let now = Clock::system().now();
    site.sandbox.close_ledger_at(now).await;
    let behind = site.examine_at(GOOD, &Clock::fixed(now - 40)).await;
    assert_snapshot!(faults(&behind), @r"
    error: clock: this machine's clock is 40 s behind

    hint: have it set by NTP: offers and payments expire by it
    ");
    let ahead = site.examine_at(GOOD, &Clock::fixed(now + 1_000)).await;
    // The date of an answer is some moment after `now`.
    let seconds: u64 = faults(&ahead).split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!((900..=1_000).contains(&seconds), "{ahead}");
    let ahead = faults(&ahead).replace(&seconds.to_string(), "1000");
    assert_snapshot!(ahead, @r"
    error: clock: this machine's clock is 1000 s ahead

    hint: have it set by NTP: offers and payments expire by it
    ");
    for off in [now - 25, now + 25] {
        assert_eq!(faults(&site.examine_at(GOOD, &Clock::fixed(off)).await), "");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_facilitator_that_takes_no_payments_is_told() {
    let site = Site::start().await;
    let kind = |network: &str| {
        json!({ "kinds": [{ "x402Version": 2, "scheme": "exact", "network": network,
            "extra": { "areFeesSponsored": true } }] })
    };
    let facilitator = Stub::start(|_| Reply::Json(200, json!({}))).await;
    let remote = |key: &str| {
        with(&[
            ("  sponsors: [{ env: SPONSOR_SECRET }]\n", ""),
            ("self", &format!("{{ url: {}{key} }}", facilitator.url)),
        ])
    };
    // The sandbox's payer's key stands for the facilitator's: it is a variable that is set.
    let keyed = remote(", api_key: { env: STELLAR_SECRET_KEY }");
    let told = async |reply: Reply, yaml: &str| {
        facilitator.script(move |_| reply.clone());
        site.examine(yaml).await.replace(&facilitator.url, "http://FACILITATOR")
    };
    let refused = || Reply::Json(401, json!({ "error": "unauthorized" }));
    assert_snapshot!(faults(&told(refused(), &keyed).await), @r"
    error: facilitator-key: the facilitator at http://FACILITATOR refuses the key (status 401 Unauthorized)

    hint: get a new key from who runs it, and put it into STELLAR_SECRET_KEY
    ");
    assert_snapshot!(faults(&told(refused(), &remote("")).await), @r"
    error: facilitator-key: the facilitator at http://FACILITATOR refuses the key (status 401 Unauthorized)

    hint: it wants a key: `api_key: { env: OZ_API_KEY }`
    ");
    assert_snapshot!(faults(&told(Reply::Json(403, json!({})), &keyed).await), @r"
    error: facilitator-key: the facilitator at http://FACILITATOR refuses the key (status 403 Forbidden)

    hint: get a new key from who runs it, and put it into STELLAR_SECRET_KEY
    ");
    let elsewhere = Reply::Json(200, kind("stellar:pubnet"));
    assert_snapshot!(faults(&told(elsewhere, &keyed).await), @r"
    error: facilitator-kind: the facilitator at http://FACILITATOR offers no x402 `exact` on stellar:testnet

    hint: take one that settles x402 `exact` on stellar:testnet and pays the fees, or `facilitator: self`
    ");
    assert_snapshot!(faults(&told(Reply::Json(404, json!({})), &keyed).await), @r"
    error: facilitator: the facilitator at http://FACILITATOR answered /supported with status 404 Not Found

    hint: see `payments.x402.facilitator.url`: `/supported` is appended to it
    ");
    assert_snapshot!(faults(&told(Reply::Text(200, "x: y", "<html>".into()), &keyed).await), @r"
    error: facilitator: the facilitator at http://FACILITATOR answered /supported with nonsense

    hint: see `payments.x402.facilitator.url`: `/supported` is appended to it
    ");
    assert_snapshot!(faults(&told(Reply::Cut, &keyed).await), @r"
    error: facilitator-unreachable: the facilitator at http://FACILITATOR is out of reach (the connection broke)

    hint: see `payments.x402.facilitator.url`, or settle by yourself: `facilitator: self`
    ");
    let good = told(Reply::Json(200, kind("stellar:testnet")), &keyed).await;
    assert_eq!(
        good.lines().last().unwrap(),
        "ok: facilitator: http://FACILITATOR settles on stellar:testnet"
    );
    let key = facilitator.asked("GET /supported").pop().unwrap().authorization.unwrap();
    assert_eq!(key, format!("Bearer {}", site.sandbox.accounts().payer.secret()));
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_told_in_one_run() {
    let site = Site::start().await;
    let facilitator = Stub::start(|_| Reply::Json(401, json!({}))).await;
    let remote = format!("{{ url: {} }}", facilitator.url);
    let nobody = DevAccount::from_label("nobody").address();
    let other = DevAccount::from_label("somebody else").address();
    let yaml = with(&[
        ("self", &remote),
        ("{ env: STELLAR_RECIPIENT }", &nobody),
        (
            "accept: [x402] }",
            &format!(
                "accept: [x402] }}\n  - {{ match: GET /a, price: \"$1\", pay_to: {other} }}\n  - {{ match: GET /b, price: \"1 XLM\" }}"
            ),
        ),
    ]);
    let report = site.examine_at(&yaml, &Clock::fixed(Clock::system().now() - 3_600)).await;
    let names: Vec<_> =
        report.lines().filter_map(|line| line.strip_prefix("error: ")?.split(':').next()).collect();
    assert_eq!(
        names,
        ["clock", "asset-contract", "payee-missing", "payee-missing", "facilitator-key"],
        "{report}"
    );
}

/// What `tollgate check` with the arguments in `line` says of `yaml`, in `folder`.
async fn told(site: &Site, folder: &std::path::Path, yaml: &str, line: &[&str]) -> Said {
    std::fs::write(folder.join("gateway.yaml"), yaml).unwrap();
    let lines = site.sandbox.env_lines();
    let env: Vec<_> = lines.iter().map(|(name, value)| (*name, value.as_str())).collect();
    with_env(folder, &[&["check"], line].concat(), &env).await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_command_ends_with_what_it_found() {
    let site = Site::start().await;
    let folder = tempfile::tempdir().unwrap();
    let check = async |yaml: &str, line: &[&str]| told(&site, folder.path(), yaml, line).await;
    let good = check(GOOD, &["--online"]).await;
    assert_eq!((good.code, good.stderr.as_str()), (0, ""));
    let nobody = paid_to(&DevAccount::from_label("nobody").address());
    let offline = check(&nobody, &[]).await;
    assert_eq!((offline.code, offline.stdout.as_str()), (0, "gateway.yaml: good, 2 routes\n"));
    let online = check(&nobody, &["--online"]).await;
    assert_eq!(online.code, 1);
    assert!(online.stderr.starts_with("error: payee-missing: "), "{online:?}");
    assert!(online.stdout.contains("ok: sponsor: "), "the rest is told all the same: {online:?}");

    let json = check(&nobody, &["--online", "--format", "json"]).await;
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    assert_eq!((json.code, &document["good"]), (1, &json!(false)));
    let of = |severity: &str| {
        let all = document["findings"].as_array().unwrap().iter();
        let names = all.filter(|finding| finding["severity"] == severity);
        names.map(|finding| finding["name"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(of("error"), ["payee-missing"]);
    assert_eq!(of("ok"), ["rpc", "clock", "asset", "sponsor"]);

    // What the file alone shows ends before anybody is asked.
    let issuer = "GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5";
    let asset = format!("assets: {{ EURC: {{ contract: {issuer}, decimals: 7 }} }}\n  sponsors:");
    let issuer = check(&with(&[("sponsors:", &asset)]), &["--online"]).await;
    assert_eq!((issuer.code, issuer.stdout.as_str()), (78, ""));
    assert_snapshot!(issuer.stderr, @r"
    gateway.yaml:9:31: stellar.assets.EURC.contract: `GBBD47IF6LWK7P7MDEVSCWR7DPUWV3NY3DTQEVFL4NAT4AQH3ZLLFLA5` is a classic asset or its issuer, not a contract (`C…`)

    hint: the contract of that asset is `CDOIV56NSBNVNZN4XPTOT7JVRK6AW4RUISEPYUZYIIKMVIY7X3OH4S5X`
    ");
    let sponsor = paid_to(&site.sandbox.accounts().sponsor.address());
    let sponsor = check(&sponsor, &["--online"]).await;
    assert_eq!(sponsor.code, 78);
    assert_snapshot!(sponsor.stderr, @r"
    gateway.yaml:8:11: stellar.pay_to: `GCYJX3LGAY3TQXBKQYF5IMM2ZO3SI3PIA7JEORRNYBWHTLQQD3E7PKVP` is the account of `stellar.sponsors[0]`, which pays the network's fees

    hint: be paid into an account whose key is not on this machine
    ");
    let muxed = "MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ";
    let muxed = check(&paid_to(muxed), &["--online"]).await;
    assert_eq!(muxed.code, 78);
    assert_snapshot!(muxed.stderr, @r"
    gateway.yaml:8:11: stellar.pay_to: `MA7QYNF7SOWQ3GLR2BGMZEHXAVIRZA4KVWLTJJFC7MGXUA74P7UJUAAAAAAAAAAAACJUQ` is a muxed account (`M…`), which cannot be paid this way

    hint: write the account behind it, `G…`
    ");
    let usdc = check(&paid_to(&Network::Testnet.usdc().contract.to_string()), &["--online"]).await;
    assert_eq!(usdc.code, 78);
    assert_snapshot!(usdc.stderr, @r"
    gateway.yaml:8:11: stellar.pay_to: `CBIELTK6YBZJU5UP2WWQEUCYKLPU6AUNZ2BQ4WWFEIE3USCIHMXQDAMA` is the contract of USDC (CBIE…DAMA): what is paid to it is gone

    hint: name an account of your own
    ");
    let json = check(&paid_to("nobody"), &["--format", "json"]).await;
    let document: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let finding = &document["findings"][0];
    assert_eq!((json.code, &finding["line"], &finding["name"]), (78, &json!(8), &json!("config")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warning_is_a_mistake_where_the_command_is_strict() {
    let site = Site::start().await;
    let folder = tempfile::tempdir().unwrap();
    let check = async |yaml: &str, line: &[&str]| told(&site, folder.path(), yaml, line).await;
    let doubtful = with(&[
        ("listen: 127.0.0.1:0", "listen: 0.0.0.0:4020"),
        ("public_url: https://api.example\n", ""),
    ]);
    assert_eq!(check(GOOD, &["--strict"]).await.code, 0);
    assert_eq!(check(&doubtful, &[]).await.code, 0);
    let strict = check(&doubtful, &["--strict"]).await;
    assert_eq!((strict.code, strict.stdout.as_str()), (78, ""));
    assert!(strict.stderr.starts_with("warning: gateway.yaml:1:1: "), "{strict:?}");
    let document = check(&doubtful, &["--strict", "--format", "json"]).await;
    let document: serde_json::Value = serde_json::from_str(&document.stdout).unwrap();
    assert_eq!(document["good"], json!(false));

    let told = check(&doubtful, &["--format", "github"]).await;
    assert_eq!(told.code, 0);
    assert!(told.stdout.starts_with("::warning file=gateway.yaml,line=1,col=1::"), "{told:?}");
    assert_eq!(told.stdout.lines().count(), 1, "{told:?}");
    let strict = check(&doubtful, &["--strict", "--format", "github"]).await;
    assert!(strict.code == 78 && strict.stdout.starts_with("::error file="), "{strict:?}");
    let wrong = with(&[("GET /weather", "GET weather 100%")]);
    let wrong = check(&wrong, &["--format", "github"]).await;
    assert!(wrong.code == 78 && wrong.stdout.contains("100%25"), "{wrong:?}");
    assert!(wrong.stdout.starts_with("::error file=gateway.yaml,line="), "{wrong:?}");
}

//! What `tollgate setup` does in every state that it can find: nothing there, all there, half of it, something else.

use std::{path::PathBuf, time::Duration};

use insta::assert_snapshot;
use tempfile::TempDir;
use tokio::task::block_in_place;
use tollgate::{
    config::{self, Env, EnvFile},
    ledger::{Http, classic::ClassicAsset, rpc::Rpc, signer::Seed},
    pay::MethodName,
    protocol::stellar::Network,
    route::Access,
    setup::{self, Event, Settings, TestNetwork},
    telemetry::Clock,
};
use tollgate_sandbox::{Clock as Ledgers, DevAccount, Fault, Method, Options, Sandbox, Times};

use crate::{
    binary::{Server, with_env},
    site::{Site, id, seed, trust},
    stub::{Reply, Stub},
};

/// A sandbox and a folder to set up for it.
struct Place {
    sandbox: Sandbox,
    folder: TempDir,
}

impl Place {
    async fn start() -> Self {
        let clock = Ledgers::Interval(Duration::from_millis(100));
        let sandbox = Sandbox::start(Options { clock, ..Options::default() }).await.unwrap();
        Self { sandbox, folder: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    fn settings(&self) -> Settings {
        Settings {
            folder: self.folder.path().to_owned(),
            network: TestNetwork::Sandbox,
            rpc_url: Some(self.sandbox.rpc_url().parse().unwrap()),
            listen: ([127, 0, 0, 1], 8402).into(),
            upstream: "http://127.0.0.1:3000".parse().unwrap(),
        }
    }

    async fn setup(&self) -> Result<Vec<Event>, setup::Error> {
        self.setup_with(&self.settings(), &Env::fixed([("", ""); 0])).await
    }

    async fn setup_with(&self, settings: &Settings, env: &Env) -> Result<Vec<Event>, setup::Error> {
        let mut events = Vec::new();
        setup::run(settings, env, &Clock::system(), |event| events.push(event)).await?;
        Ok(events)
    }

    /// What stopped a run, with its causes.
    async fn stopped(&self) -> String {
        told(&self.setup().await.unwrap_err()).replace(self.sandbox.rpc_url(), "http://SANDBOX")
    }

    /// How many transactions there are, the faucet's included.
    fn transactions(&self) -> usize {
        let ledger = self.sandbox.ledger();
        (1..=ledger.latest().sequence).map(|sequence| ledger.transactions_in(sequence).len()).sum()
    }

    /// The keys of the file, by name.
    fn keys(&self) -> Vec<Option<String>> {
        let file = EnvFile::read(&self.path(".env")).unwrap().unwrap();
        let names = ["STELLAR_RECIPIENT", "RECIPIENT_SECRET", "SPONSOR_SECRET"];
        let names = names.into_iter().chain(["STELLAR_SECRET_KEY", "MPP_SECRET_KEY"]);
        names.map(|name| file.get(name).map(str::to_owned)).collect()
    }
}

fn told(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

/// Whether nothing was left to do.
fn is_complete(events: &[Event]) -> bool {
    events.iter().all(|event| {
        matches!(event, Event::Kept(_) | Event::Exists(..) | Event::Trusts(_) | Event::Holds(_))
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_run_changes_no_file_and_sends_no_transaction() {
    let place = Place::start().await;
    place.setup().await.unwrap();
    let (env, yaml) = (place.read(".env"), place.read("gateway.yaml"));
    let (transactions, sent) = (place.transactions(), place.sandbox.calls(Method::SendTransaction));
    let again = place.setup().await.unwrap();
    assert!(is_complete(&again), "{again:?}");
    place.sandbox.close_ledger().await;
    assert_eq!((place.read(".env"), place.read("gateway.yaml")), (env, yaml));
    assert_eq!(place.transactions(), transactions);
    assert_eq!(place.sandbox.calls(Method::SendTransaction), sent);
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_offers_every_way_to_pay_at_these_addresses() {
    let place = Place::start().await;
    let settings = Settings {
        listen: ([127, 0, 0, 2], 9000).into(),
        upstream: "http://api.example:80/".parse().unwrap(),
        ..place.settings()
    };
    place.setup_with(&settings, &Env::process()).await.unwrap();
    let env = Env::in_folder(place.folder.path());
    let settings = config::load(&place.path("gateway.yaml"), &env).unwrap();
    assert_eq!(settings.listeners[0].address.to_string(), "127.0.0.2:9000");
    assert_eq!(settings.upstreams[0].servers[0].to_string(), "api.example:80");
    let Access::Priced(terms) = &settings.table.routes()[0].access else { panic!("it is free") };
    let methods: Vec<_> = terms.offers.iter().map(|offer| offer.method).collect();
    assert_eq!(methods, [MethodName::X402, MethodName::Charge { sponsored: true }]);
    assert!(settings.payment.unwrap().mpp.unwrap().secrets.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_cut_off_is_completed_with_the_same_keys() {
    let place = Place::start().await;
    let error = || Fault::Error { code: -32603, message: "unwell".to_owned() };
    place.sandbox.faults().arm(Method::SendTransaction, Times::Next(1), error());
    assert_snapshot!(place.stopped().await, @"open the USDC trustline of the recipient: the Stellar RPC refused `sendTransaction` with code -32603: unwell");
    let keys = place.keys();
    assert!(keys.iter().all(Option::is_some), "the keys are kept before they are used");

    place.sandbox.faults().fail_transactions(1, |_| true);
    let stopped = place.stopped().await;
    assert!(
        stopped.starts_with("open the USDC trustline of the recipient: the transaction "),
        "{stopped}"
    );
    assert!(stopped.ends_with(" failed"), "{stopped}");

    // A network that is busy for a moment is no reason to stop.
    place.sandbox.faults().arm(Method::SendTransaction, Times::Next(1), Fault::TryAgainLater);
    place.setup().await.unwrap();
    assert_eq!(place.keys(), keys);
    assert!(is_complete(&place.setup().await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_run_that_was_killed_is_completed_wherever_it_was() {
    let place = Place::start().await;
    let url = place.sandbox.rpc_url();
    let line = ["setup", "--network", "sandbox", "--rpc-url", url];
    let mut keys = None;
    for seen in [".env:", "recipient ", "sponsor ", "payer ", "recipient may", "payer may"] {
        let mut run = Server::start(place.folder.path(), &line, true);
        run.line(seen).await;
        run.kill().await;
        let now = place.keys();
        assert_eq!(*keys.get_or_insert_with(|| now.clone()), now);
    }
    place.setup().await.unwrap();
    assert_eq!(Some(place.keys()), keys);
    assert!(is_complete(&place.setup().await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_before_the_network_has_answered() {
    let place = Place::start().await;
    let nowhere =
        Settings { rpc_url: Some("http://127.0.0.1:1".parse().unwrap()), ..place.settings() };
    let none = Env::fixed([("", ""); 0]);
    let stopped = told(&place.setup_with(&nowhere, &none).await.unwrap_err());
    assert_snapshot!(stopped, @"ask `http://127.0.0.1:1`: the Stellar RPC did not answer `getNetwork`: cannot connect");

    let testnet = Settings { network: TestNetwork::Testnet, ..place.settings() };
    let stopped = told(&place.setup_with(&testnet, &none).await.unwrap_err());
    assert_snapshot!(stopped.replace(place.sandbox.rpc_url(), "http://SANDBOX"), @"`http://SANDBOX` is a sandbox: use --network sandbox, or name testnet's RPC with --rpc-url");

    // A server that speaks as testnet's RPC does, and is no sandbox.
    let rpc = testnet_like(place.sandbox.rpc_url()).await;
    let sandbox = Settings { rpc_url: Some(rpc.url.parse().unwrap()), ..place.settings() };
    let stopped = told(&place.setup_with(&sandbox, &none).await.unwrap_err());
    assert_snapshot!(stopped.replace(&rpc.url, "http://RPC"), @"`http://RPC` is no sandbox: start `tollgate sandbox`, or say where it is with --rpc-url");
    let pubnet = with_env(place.folder.path(), &["setup", "--network", "pubnet"], &[]).await;
    assert_eq!(pubnet.code, 1);
    assert_snapshot!(pubnet.stderr, @"tollgate: stellar:pubnet is real money: make the keys yourself, keep the recipient's away from this machine, and begin with gateway.yaml of the README; this command is for testnet and sandbox");
    assert_eq!(std::fs::read_dir(place.folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_there_is_completed_and_never_overwritten() {
    let place = Place::start().await;
    let (sponsor, payer) = (&place.sandbox.accounts().sponsor, &place.sandbox.accounts().payer);
    let before = format!(
        "# mine\nexport SPONSOR_SECRET='{}'\nOTHER=1\nSTELLAR_SECRET_KEY={}",
        sponsor.secret(),
        payer.secret()
    );
    std::fs::write(place.path(".env"), &before).unwrap();
    std::fs::write(place.path("gateway.yaml"), "mine").unwrap();
    let events = place.setup().await.unwrap();
    assert!(place.read(".env").starts_with(&format!("{before}\n")), "{}", place.read(".env"));
    assert_eq!(place.read("gateway.yaml"), "mine");
    let names = [
        "STELLAR_NETWORK",
        "STELLAR_RPC_URL",
        "STELLAR_RECIPIENT",
        "RECIPIENT_SECRET",
        "MPP_SECRET_KEY",
    ];
    assert_eq!(events[0], Event::Wrote { path: place.path(".env"), names: names.to_vec() });
    use std::os::unix::fs::PermissionsExt as _;
    let mode = place.path(".env").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "a file with keys in it is its owner's alone");
    assert!(is_complete(&place.setup().await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_recipient_whose_key_is_elsewhere_is_left_to_its_owner() {
    let place = Place::start().await;
    let owner = DevAccount::from_label("owner");
    std::fs::write(place.path(".env"), format!("STELLAR_RECIPIENT={}\n", owner.address())).unwrap();
    let events = place.setup().await.unwrap();
    assert!(events.contains(&Event::Owner(id(&owner))), "{events:?}");
    assert!(!place.read(".env").contains("RECIPIENT_SECRET"));
    // With its key the rest is done, and with another's it is a mistake.
    let rest = place.read(".env");
    let with = |secret: String| {
        std::fs::write(place.path(".env"), format!("{rest}RECIPIENT_SECRET={secret}\n"))
    };
    with(place.sandbox.accounts().sponsor.secret()).unwrap();
    assert_snapshot!(place.stopped().await, @"RECIPIENT_SECRET in `.env` is not the key of STELLAR_RECIPIENT: remove one of the two");
    with("nothing".to_owned()).unwrap();
    assert_snapshot!(place.stopped().await, @"RECIPIENT_SECRET in `.env` is not a Stellar secret key (`S…`, 56 characters)");
    with(owner.secret()).unwrap();
    let events = place.setup().await.unwrap();
    assert!(events.iter().any(|event| matches!(event, Event::Trusted(..))), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_another_network_is_left_alone() {
    let place = Place::start().await;
    std::fs::write(place.path(".env"), "STELLAR_NETWORK=stellar:pubnet\n").unwrap();
    assert_snapshot!(place.stopped().await, @"`.env` is for `stellar:pubnet`: use another --dir for stellar:testnet");
    std::fs::write(place.path(".env"), "STELLAR_RPC_URL=http://127.0.0.1:1/key\n").unwrap();
    assert_snapshot!(place.stopped().await, @"`.env` has another STELLAR_RPC_URL than this one: change that line, or use another --dir");
    std::fs::write(place.path(".env"), "STELLAR_RPC_URL\n").unwrap();
    let stopped = place.stopped().await;
    assert!(stopped.contains(".env:1:1: the line cannot be read"), "{stopped}");
    assert!(!place.path("gateway.yaml").exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_variable_of_the_shell_that_would_win_is_told() {
    let place = Place::start().await;
    let env = Env::fixed([("SPONSOR_SECRET", "another")]);
    let events = place.setup_with(&place.settings(), &env).await.unwrap();
    assert!(events.contains(&Event::Shadowed("SPONSOR_SECRET")), "{events:?}");
    let same = Env::fixed([("STELLAR_NETWORK", "stellar:testnet")]);
    assert!(is_complete(&place.setup_with(&place.settings(), &same).await.unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_that_cannot_afford_a_trustline_is_told() {
    let site = Site::start().await;
    let poor = site.account("poor", 1).await;
    let usdc = ClassicAsset::usdc(Network::Testnet);
    let url = site.sandbox.rpc_url().parse().unwrap();
    let rpc = Rpc::new(Http::new(), url, Network::Testnet);
    let refused = usdc.open_trustline(&rpc, &Clock::system(), &seed(&poor)).await.unwrap_err();
    assert_snapshot!(refused, @"the account has 10000000 stroops, and needs 15010000 to hold a trustline and pay the fee");
    let rich = site.account("rich", 2).await;
    site.apply(&rich, trust(&usdc, i64::MAX)).await;
    assert!(usdc.trustline(&rpc, id(&rich)).await.unwrap().is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn on_testnet_the_steps_of_a_browser_are_told_with_their_links() {
    let place = Place::start().await;
    let rpc = testnet_like(place.sandbox.rpc_url()).await;
    let line = ["setup", "--rpc-url", &rpc.url];
    let said = with_env(place.folder.path(), &line, &[]).await.ok();
    let payer: Seed = place.keys()[3].as_deref().unwrap().parse().unwrap();
    let payer = payer.account().to_string();
    let left = said.split_once("\n\n").unwrap().1.replace(&payer, "PAYER");
    assert_snapshot!(left, @r#"
    1. In a browser: USDC for the payer, from https://faucet.circle.com
       choose USDC and Stellar Testnet, and send it to PAYER

    2. In a browser, and only if somebody else is to settle: a key for a remote facilitator, from
       https://channels.openzeppelin.com/testnet/gen; put it into .env as OZ_API_KEY=…, and into gateway.yaml
       facilitator: { url: "https://channels.openzeppelin.com/x402/testnet", api_key: { env: OZ_API_KEY } }

    Then: tollgate check --online && tollgate run
    "#);
    let asked = rpc.asked(&format!("GET /friendbot/?addr={payer}"));
    assert_eq!(asked.len(), 1, "friendbot is asked where the RPC says that it is");

    // Once both are there, nothing is left to do.
    let faucet = format!("/faucet?addr={payer}&amount=5");
    assert_eq!(forward(place.sandbox.rpc_url(), "GET", &faucet, "").0, 200);
    let keyed = format!("{}OZ_API_KEY=key\n", place.read(".env"));
    std::fs::write(place.path(".env"), keyed).unwrap();
    let said = with_env(place.folder.path(), &line, &[]).await.ok();
    assert!(said.contains("payer holds 5 USDC"), "{said}");
    assert!(!said.contains("browser"), "{said}");
}

/// A server that serves the sandbox's ledger as testnet's RPC does: with a friendbot elsewhere, and no faucet.
async fn testnet_like(sandbox: &str) -> Stub {
    let stub = Stub::start(|_| Reply::Cut).await;
    let (sandbox, friendbot) = (sandbox.to_owned(), format!("{}/friendbot/", stub.url));
    stub.script(move |asked| {
        let (method, path) = asked.line.split_once(' ').unwrap();
        if let Some(query) = path.strip_prefix("/friendbot/") {
            let (status, body) =
                block_in_place(|| forward(&sandbox, "GET", &format!("/friendbot{query}"), ""));
            return Reply::Text(status, "x-stub: 1", body);
        }
        if method != "POST" {
            return Reply::Text(405, "allow: POST", String::new());
        }
        let (status, body) =
            block_in_place(|| forward(&sandbox, "POST", "/", &asked.body.to_string()));
        let own = format!("{sandbox}/friendbot");
        Reply::Text(status, "content-type: application/json", body.replace(&own, &friendbot))
    });
    stub
}

/// The sandbox's answer to a request; waits for it without letting others run: see [`block_in_place`].
fn forward(url: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    use std::io::{Read as _, Write as _};
    let address = url.strip_prefix("http://").unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: {address}\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
    );
    stream.write_all((head + body).as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

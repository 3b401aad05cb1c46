//! `tollgate channels` and the admin port, on channels of a real ledger.

use std::{borrow::Cow, process::Output, time::Duration};

use serde_json::Value;
use tokio::{net::TcpListener, process::Command};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tollgate::{
    admin::{Admin, Administered, LIMITS, Unresolved},
    closer::{CloseError, Closer, Collected, Standing, Standings},
    protocol::{
        money::Amount,
        stellar::{Asset, ContractId, Network},
    },
    server,
    store::{
        self, Member, MemberId, Store,
        channel::{Phase, Reserving, Unfit},
    },
    telemetry::metrics::Metrics,
};

use super::world::{World, amount};

const TOKEN: &str = "canary-token-canary-token-canary-token";

/// A closer is all that the port asks for channels.
#[derive(Clone)]
struct Desk(Closer, Metrics);

impl Administered for Desk {
    fn is_alive(&self) -> bool {
        true
    }

    fn ready(&self) -> Result<(), Cow<'static, str>> {
        Ok(())
    }

    fn assets(&self) -> Vec<Asset> {
        vec![Network::Testnet.usdc()]
    }

    fn metrics(&self) -> String {
        self.1.text()
    }

    fn config(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    fn routes(&self) -> serde_json::Value {
        serde_json::Value::Null
    }

    async fn reload(&self) -> Result<serde_json::Value, String> {
        Err("there is nothing to reload".to_owned())
    }

    async fn list(&self) -> Result<Standings, store::Error> {
        self.0.list().await
    }

    async fn show(&self, channel: ContractId) -> Result<Option<Standing>, store::Error> {
        self.0.show(channel).await
    }

    async fn settle(&self, channel: ContractId) -> Result<Collected, CloseError> {
        self.0.settle(channel).await
    }

    async fn close(&self, channel: ContractId) -> Result<Collected, CloseError> {
        self.0.close(channel).await
    }

    async fn members(&self) -> Result<Vec<Member>, store::Error> {
        Ok(Vec::new())
    }

    async fn dismiss(&self, _: MemberId) -> Result<bool, store::Error> {
        Ok(false)
    }

    async fn unresolved(&self, _: usize) -> Result<Vec<Unresolved>, store::Error> {
        Ok(Vec::new())
    }

    async fn adopt(&self, channel: ContractId) -> Result<Amount, CloseError> {
        self.0.adopt(channel).await
    }
}

struct Port {
    url: String,
    stop: CancellationToken,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Port {
    async fn start(closer: &Closer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let metrics = Metrics::default();
        closer.expose(&metrics);
        let service =
            Admin::new(Desk(closer.clone(), metrics), Some(secrecy::SecretString::from(TOKEN)));
        let stop = CancellationToken::new();
        let grace = Duration::from_secs(1);
        TaskTracker::new().spawn(server::serve(listener, service, LIMITS, grace, stop.clone()));
        Self { url, stop }
    }

    /// `tollgate channels` with the arguments in `line`, as at a terminal where they do not say otherwise.
    async fn run(&self, line: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        let output: &[&str] = if line.contains("-o json") { &[] } else { &["-o", "table"] };
        command.args(["channels", "--admin", &self.url, "--token-env", "TOKEN"]);
        command
            .args(line.split_whitespace())
            .args(output)
            .env("TOKEN", TOKEN)
            .output()
            .await
            .unwrap()
    }

    /// What it says, when it succeeds.
    async fn said(&self, line: &str) -> String {
        let output = self.run(line).await;
        assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
    }
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_sees_what_a_channel_owes_settles_it_and_closes_it() {
    let (world, channel, it) = World::watched(30).await;
    let in_flight = world.reserve(&channel, 50, 20).await;
    let port = Port::start(&it.closer).await;
    let id = channel.id;

    let listed = port.said("list").await;
    let row: Vec<_> = listed.lines().nth(1).unwrap().split_whitespace().collect();
    let id_text = id.to_string();
    let expected = [&id_text, "open", "USDC", "0.000005", "0.000005", "0", "0.000003", "-"];
    assert_eq!(row, expected, "authorised, spent, settled, at risk, deadline: {listed}");

    let before = world.sequence().await;
    let preview = format!("{id}: would be settled, 0.000003 USDC to collect");
    assert_eq!(port.said(&format!("settle {id} --dry-run")).await, preview);
    let preview = port.said(&format!("close {id} --dry-run -o json")).await;
    assert_eq!(json(&preview)["channels"][0]["at_risk"], "30");
    assert_eq!(world.sequence().await, before, "nothing was sent");
    assert_eq!(world.account(&channel).await.phase(), Phase::Open);

    let settled = json(&port.said(&format!("settle {id} -o json")).await);
    assert_eq!((&settled["settled"], &settled["closed"]), (&"30".into(), &false.into()));
    assert_eq!(world.balance(&world.payee()), 30);
    let again = port.run(&format!("settle {id}")).await;
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let nothing = "tollgate: nothing was delivered that is not withdrawn already\n";
    assert_eq!(String::from_utf8(again.stderr).unwrap(), nothing);

    world.store.keep(in_flight, 200).await.unwrap();
    let closed = port.said(&format!("close {id}")).await;
    let transaction = world.until_closed(&channel).await.unwrap();
    assert_eq!(closed, format!("{id}: closed, 0.000005 USDC in all, transaction {transaction}"));
    assert_eq!(world.balance(&world.payee()), 50);
    assert_eq!(world.account(&channel).await.withdrawn(), amount(50));
    let shown = json(&port.said(&format!("show {id} -o json")).await);
    assert_eq!((&shown["state"], &shown["at_risk"]), (&"closed".into(), &"0".into()));
    assert_eq!(shown["closed_by"], transaction.to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_closes_all_channels_that_are_open() {
    let world = World::start().await;
    let it = world.closer();
    let port = Port::start(&it.closer).await;
    let mut channels = Vec::new();
    for _ in 0..3 {
        let channel = world.open().await;
        it.know(&channel).await;
        world.pay(&channel, 20, 20).await;
        channels.push(channel);
    }
    let first = channels[0].id;
    port.said(&format!("close {first}")).await;
    let preview = port.said("close --all --dry-run").await;
    assert_eq!(preview.lines().count(), 2, "{preview}");
    assert!(!preview.contains(&first.to_string()), "{preview}");
    let closed = json(&port.said("close --all -o json").await);
    assert_eq!(closed["closed"].as_array().unwrap().len(), 2, "{closed}");
    assert_eq!((&closed["failed"], &closed["nothing_to_collect"]), (&json("[]"), &json("[]")));
    for channel in &channels {
        assert!(world.until_closed(channel).await.is_some());
    }
    assert_eq!(world.balance(&world.payee()), 60);
    assert_eq!(port.said("close --all").await, "", "there is none left");
}

/// Case K12: a store that was lost, and a channel that was collected from before.
#[tokio::test(flavor = "multi_thread")]
async fn k12_an_operator_has_a_channel_pay_again_whose_account_was_rolled_back() {
    let mut world = World::start().await;
    let channel = world.open().await;
    let id = channel.id;
    let it = world.closer();
    it.know(&channel).await;
    world.pay(&channel, 30, 30).await;
    it.closer.settle(id).await.unwrap();
    it.crash().await;
    world.store = Store::in_memory().await.unwrap();

    let it = world.closer();
    it.know(&channel).await;
    let port = Port::start(&it.closer).await;
    // Before anybody looked, it paid.
    world.pay(&channel, 10, 10).await;
    it.closer.nudge(id);
    world.until(&channel, |account| account.withdrawn() == amount(30)).await;
    let refused = world.try_reserve(&channel, 40, 10).await.unwrap_err();
    assert_eq!(refused, Reserving::RolledBack { found: amount(10), at_least: amount(30) });

    let adopted = port.said(&format!("adopt {id}")).await;
    let expected = format!("{id}: adopted, pays again with commitments above 30 base units");
    assert_eq!(adopted, expected);
    let used = world.try_reserve(&channel, 30, 10).await.unwrap_err();
    assert_eq!(used, Reserving::Refused(Unfit::Used));
    world.pay(&channel, 40, 10).await;
    it.closer.settle(id).await.unwrap();
    assert_eq!(world.balance(&world.payee()), 40);

    let again = port.run(&format!("adopt {id}")).await;
    let why = "tollgate: the account of the channel is not behind what was withdrawn from it\n";
    assert_eq!(String::from_utf8(again.stderr).unwrap(), why);
}

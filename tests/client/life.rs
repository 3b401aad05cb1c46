//! The life of a channel by the payer's commands, on a ledger.

use std::process::{Command, Output};

use stellar_xdr as xdr;
use tollgate::{
    client::{
        channel::contract::{Standing, look_up},
        charge::seal,
    },
    ledger::{
        Http,
        rpc::{AuthMode, Rpc, Simulation, Submission},
        signer::Seed,
    },
    protocol::{
        channel::close,
        commitment::{Commitment, CommitmentSeed},
        stellar::{ContractId, Network},
    },
};
use tollgate_sandbox::{DevAccount, Sandbox, UNITS};

use super::{amount, push::while_ledgers_close, sandbox, toll::Toll};

/// The command line, in a folder of its own.
struct Terminal<'a> {
    sandbox: &'a Sandbox,
    folder: tempfile::TempDir,
    secret: Option<String>,
}

impl Terminal<'_> {
    async fn run(&self, line: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
        command
            .args(line)
            .current_dir(self.folder.path())
            .env("STELLAR_NETWORK", "stellar:testnet")
            .env("STELLAR_RPC_URL", self.sandbox.rpc_url())
            .env("STELLAR_SECRET_KEY", self.sandbox.accounts().payer.secret())
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .env_remove("COMMITMENT_SECRET");
        if let Some(secret) = &self.secret {
            command.env("COMMITMENT_SECRET", secret);
        }
        let done = tokio::task::spawn_blocking(move || command.output().unwrap());
        while_ledgers_close(self.sandbox, done).await.unwrap()
    }

    /// What a command that succeeds says on stdout.
    async fn said(&self, line: &[&str]) -> String {
        let output = self.run(line).await;
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The last line that a command that fails says on stderr.
    async fn refused(&self, line: &[&str]) -> String {
        let output = self.run(line).await;
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{output:?}");
        errors(&output).lines().last().unwrap().to_owned()
    }

    async fn open(&self, line: &[&str]) -> ContractId {
        let to = self.sandbox.accounts().recipient.address();
        let open = ["channel", "open", "--to", &to, "--refund-waiting-ledgers", "20"];
        let said = self.said(&[&open, line].concat()).await;
        said.strip_suffix('\n').unwrap().parse().unwrap()
    }
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn terminal<'a>(sandbox: &'a Sandbox, secret: Option<&str>) -> Terminal<'a> {
    let (folder, secret) = (tempfile::tempdir().unwrap(), secret.map(str::to_owned));
    Terminal { sandbox, folder, secret }
}

fn rpc(sandbox: &Sandbox) -> Rpc {
    Rpc::new(Http::new(), sandbox.rpc_url().parse().unwrap(), Network::Testnet)
}

async fn standing(sandbox: &Sandbox, channel: ContractId) -> Standing {
    look_up(&rpc(sandbox), channel).await.unwrap()
}

fn usdc(sandbox: &Sandbox, account: &DevAccount) -> i128 {
    sandbox.usdc_balance(&account.address()).unwrap()
}

/// Closes `channel` with `commitment`, as its payee would.
async fn close_as_payee(sandbox: &Sandbox, channel: ContractId, commitment: &Commitment) {
    let payee = Seed::from_bytes(sandbox.accounts().recipient.key().as_bytes());
    let rpc = rpc(sandbox);
    let call = close(channel, commitment);
    let root = xdr::SorobanAuthorizedInvocation {
        function: xdr::SorobanAuthorizedFunction::ContractFn(call.clone()),
        sub_invocations: xdr::VecM::default(),
    };
    let entry = xdr::SorobanAuthorizationEntry {
        credentials: xdr::SorobanCredentials::SourceAccount,
        root_invocation: root,
    };
    let operation = xdr::Operation {
        source_account: None,
        body: xdr::OperationBody::InvokeHostFunction(xdr::InvokeHostFunctionOp {
            host_function: xdr::HostFunction::InvokeContract(call),
            auth: vec![entry].try_into().unwrap(),
        }),
    };
    let account = rpc.accounts(&[payee.account()]).await.unwrap().remove(0);
    let mut tx = xdr::Transaction {
        source_account: payee.account().to_muxed(),
        fee: 10_000_000,
        seq_num: xdr::SequenceNumber(account.seq_num.0 + 1),
        cond: xdr::Preconditions::None,
        memo: xdr::Memo::None,
        operations: vec![operation].try_into().unwrap(),
        ext: xdr::TransactionExt::V0,
    };
    let envelope = seal(tx.clone(), &[], Network::Testnet).unwrap();
    let simulated = rpc.simulate(&envelope, AuthMode::Enforce).await.unwrap();
    let Simulation::Success(simulated) = simulated else { panic!("{simulated:?}") };
    tx.ext = xdr::TransactionExt::V1(simulated.data);
    let envelope = seal(tx, &[&payee], Network::Testnet).unwrap();
    assert_eq!(rpc.send(&envelope).await.unwrap(), Submission::Pending);
    sandbox.close_ledger().await;
}

const SECRET: &str = "0101010101010101010101010101010101010101010101010101010101010101";

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_is_opened_topped_up_paid_from_and_closed_to_the_last_unit() {
    let sandbox = sandbox().await;
    let accounts = sandbox.accounts();
    let terminal = terminal(&sandbox, Some(SECRET));
    let before = [&accounts.payer, &accounts.recipient].map(|account| usdc(&sandbox, account));
    let channel = terminal.open(&["--deposit", "1"]).await;
    let name = channel.to_string();
    assert_eq!(usdc(&sandbox, &accounts.payer), before[0] - i128::from(UNITS));

    let show = ["channel", "show", &name];
    let shown = terminal.said(&show).await;
    let expected = format!(
        "channel: {name}\nbalance: 1 USDC\nwithdrawn: 0 USDC\ntoken: {}\nfrom: {}\nto: {}\n\
         waiting period: 20 ledgers\nclose: none\n\
         commitment key: GCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOJR\ncode: {}\n",
        sandbox.usdc_contract(),
        accounts.payer.address(),
        accounts.recipient.address(),
        hex::encode(tollgate_sandbox::channel_code()),
    );
    assert_eq!(shown, expected);

    assert_eq!(terminal.said(&["channel", "top-up", &name, "--amount", "0.5"]).await, "");
    let held = standing(&sandbox, channel).await;
    assert_eq!(held.deposited(), amount(15_000_000));
    assert_eq!(usdc(&sandbox, &accounts.payer), before[0] - 15_000_000);

    let toll = Toll::open(channel, SECRET.parse::<CommitmentSeed>().unwrap().key()).await;
    let url = toll.stub.get().uri().to_string();
    let pay = ["pay", &url, "--method", "channel", "--channel", &name];
    let output = terminal.run(&pay).await;
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(0), &b"the thing"[..]));
    let said = [
        format!(
            "tollgate: asked 0.001 USDC for \"A thing\", to {} on stellar:testnet, by channel",
            accounts.recipient.address()
        ),
        "tollgate: signed a commitment to 0.001 USDC in all".to_owned(),
        "tollgate: paid: 0.001 USDC is spent of 0.001 USDC".to_owned(),
    ];
    assert_eq!(errors(&output).lines().collect::<Vec<_>>(), said);
    let many = [&pay[..], &["--repeat", "10", "--parallel", "4", "--close"]].concat();
    let output = terminal.run(&many).await;
    assert_eq!(output.stdout, b"the thing".repeat(10), "{output:?}");
    let last = format!("tollgate: closed, transaction {}", "cd".repeat(32));
    assert_eq!(errors(&output).lines().last(), Some(&*last));
    assert!(toll.closed());
    assert_eq!(toll.account().delivered(), amount(11 * 10_000));

    let best = toll.account().collectable().unwrap().commitment;
    assert_eq!(best.amount, amount(11 * 10_000));
    let best = Commitment { amount: best.amount, signature: best.signature };
    close_as_payee(&sandbox, channel, &best).await;
    let after = [&accounts.payer, &accounts.recipient].map(|account| usdc(&sandbox, account));
    assert_eq!(after, [before[0] - 110_000, before[1] + 110_000]);
    assert_eq!(standing(&sandbox, channel).await.balance, amount(0));
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_payer_alone_gets_the_deposit_back_after_the_waiting_period() {
    let sandbox = sandbox().await;
    let payer = &sandbox.accounts().payer;
    let terminal = terminal(&sandbox, Some(SECRET));
    let before = usdc(&sandbox, payer);
    let channel = terminal.open(&["--deposit", "2.5"]).await;
    let name = channel.to_string();
    let refund = ["channel", "refund", &name];
    let refused = terminal.refused(&refund).await;
    assert_eq!(
        refused,
        "tollgate: nothing can be taken back yet: begin with `tollgate channel close-start`"
    );

    assert_eq!(terminal.said(&["channel", "close-start", &name]).await, "");
    let at = standing(&sandbox, channel).await.instance.close_effective_at.unwrap();
    assert!(
        terminal.said(&["channel", "show", &name]).await.contains("\nclose: begun, effective ")
    );
    let refused = terminal.refused(&refund).await;
    let said = format!("tollgate: nothing can be taken back before ledger {at}");
    assert!(refused.starts_with(&said), "{refused}");
    let left = at - sandbox.ledger().latest().sequence;
    sandbox.skip_ledgers(left).await;
    let shown = terminal.said(&["channel", "show", &name]).await;
    assert!(shown.contains(&format!("\nclose: effective since ledger {at}\n")), "{shown}");
    assert_eq!(terminal.said(&refund).await, "");
    assert_eq!(usdc(&sandbox, payer), before);
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_made_is_told_before_it_is_paid_to_and_pays() {
    let sandbox = sandbox().await;
    let mut terminal = terminal(&sandbox, None);
    let to = sandbox.accounts().recipient.address();
    let open = ["channel", "open", "--to", &to, "--refund-waiting-ledgers", "20", "--deposit", "0"];
    let output = terminal.run(&open).await;
    let channel = String::from_utf8(output.stdout.clone()).unwrap().trim_end().to_owned();
    let told = errors(&output);
    let secret = told.lines().find_map(|line| line.strip_prefix("tollgate: COMMITMENT_SECRET="));
    let seed: CommitmentSeed = secret.unwrap().parse().unwrap();
    let held = standing(&sandbox, channel.parse().unwrap()).await;
    assert_eq!(held.instance.commitment_key, seed.key().to_bytes());
    assert_eq!(held.deposited(), amount(0));

    // Nothing is signed with another key, or beyond the deposit.
    let toll = Toll::open(channel.parse().unwrap(), seed.key()).await;
    let url = toll.stub.get().uri().to_string();
    let pay = ["pay", &url, "--method", "channel", "--channel", &channel];
    let refused = terminal.refused(&pay).await;
    let said =
        "tollgate: no key: set COMMITMENT_SECRET to what `tollgate channel open` used or made";
    assert_eq!(refused, said);
    terminal.secret = Some(SECRET.to_owned());
    let refused = terminal.refused(&pay).await;
    let said = "tollgate: the channel's commitments are signed by another key than COMMITMENT_SECRET's \
                GCFIRY65OQE7DFP5KLNS2PF2LVZMUZYJX4OZIEQ36N2IQANUB5XVYOJR";
    assert_eq!(refused, said);
    terminal.secret = Some(secret.unwrap().to_owned());
    let refused = terminal.refused(&pay).await;
    let said = "tollgate: 0.001 USDC would have to be signed in all, and at most 0 USDC may be: top the channel up";
    assert_eq!(refused, said);
    assert_eq!(toll.presented().len(), 0);
    assert_eq!(terminal.said(&["channel", "top-up", &channel, "--amount", "0.001"]).await, "");
    assert_eq!(terminal.said(&pay).await, "the thing");
    sandbox.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_channel_or_cannot_be_meant_is_refused_with_a_sentence() {
    let sandbox = sandbox().await;
    let terminal = terminal(&sandbox, Some(SECRET));
    let usdc = sandbox.usdc_contract();
    let refused = terminal.refused(&["channel", "show", &usdc]).await;
    let said =
        format!("tollgate: {usdc} is no payment channel: a contract without code of its own");
    assert_eq!(refused, said);
    let nothing = ContractId([7; 32]).to_string();
    let refused = terminal.refused(&["channel", "show", &nothing]).await;
    assert_eq!(refused, format!("tollgate: {nothing} is no payment channel"));
    let to = sandbox.accounts().recipient.address();
    let open = ["channel", "open", "--to", &to, "--refund-waiting-ledgers", "20"];
    for (line, said) in [
        (["--deposit", "1", "--asset", "EUR"], "tollgate: --asset is `EUR`: expected USDC or XLM"),
        (["--deposit", "1", "--code", "00"], ""),
    ] {
        let output = terminal.run(&[&open[..], &line].concat()).await;
        let code = if said.is_empty() { 2 } else { 1 };
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(said.is_empty() || errors(&output).trim_end() == said, "{output:?}");
    }
    let refused = terminal.refused(&["pay", "http://a", "--method", "channel"]).await;
    assert_eq!(refused, "tollgate: no channel: name it with --channel");
    sandbox.shutdown().await;
}

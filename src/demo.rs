//! `tollgate demo`: the whole thing on one machine, told step by step.
//!
//! A local Stellar network, an upstream that knows nothing of money, a gateway from a generated `gateway.yaml`, and an
//! agent that is refused, pays by each rail, and is served. Everything it shows is read from what really happened.

mod upstream;

use std::{
    error::Error, fmt::Write as _, io::Write as _, net::SocketAddr, path::Path, time::Duration,
};

use bytes::Bytes;
use clap::Args;
use http::{Request, StatusCode};
use tollgate_sandbox::{Options, Sandbox};

use crate::{
    app::Gateway,
    client::{self, Client},
    config::{self, Env},
    ledger::read_body,
    protocol::{
        money::{Amount, Decimals},
        stellar::Network,
        x402,
    },
    telemetry::Clock,
};

/// Shows a gateway at work: a local Stellar network, an upstream, a gateway, and an agent that pays. Nothing else is needed.
#[derive(Debug, Args)]
pub struct Arguments {
    /// Exit once the agent has been served, instead of serving on until Ctrl-C.
    #[arg(long)]
    once: bool,
    /// Where the gateway listens; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
}

/// Runs the demo until it is done, or until `stop` ends.
///
/// # Errors
/// Whatever did not work, and balances that do not add up.
pub async fn run(
    arguments: Arguments,
    stop: impl Future<Output = ()>,
) -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    step(1, "A local Stellar network: the real Soroban host, in this process");
    let sandbox = Sandbox::start(Options::default()).await?;
    tell(&format_args!(
        "RPC {}, a ledger a second, USDC is {}",
        sandbox.rpc_url(),
        sandbox.usdc_contract()
    ));

    step(2, "An upstream that knows nothing of money");
    let upstream = upstream::Upstream::start().await?;
    tell(&format_args!(
        "http://{} answers GET /weather and GET /health to anyone who asks",
        upstream.address()
    ));

    step(3, "A gateway in front of it, from this gateway.yaml");
    let path = folder.path().join("gateway.yaml");
    std::fs::write(&path, yaml(arguments.listen, upstream.address()))?;
    show(&std::fs::read_to_string(&path)?);
    let gateway = start(&sandbox, &path).await?;
    let url = format!("http://{}/weather", gateway.addresses().first().ok_or("no listener")?);

    let before = Balances::read(&sandbox)?;
    let outcome = pay_twice(&sandbox, &url).await;
    if outcome.is_ok() {
        step(8, "The ledger, before and after");
        let after = Balances::read(&sandbox)?;
        show(&before.beside(&after));
        before.check(&after)?;
        tell(&format_args!(
            "The payee has exactly both prices, the payer holds no less XLM than before: the sponsor paid the fees."
        ));
    }
    if outcome.is_ok() && !arguments.once {
        invite(&sandbox, &url);
        stop.await;
    }
    gateway.stop().await;
    upstream.stop().await;
    sandbox.shutdown().await;
    outcome
}

async fn start(sandbox: &Sandbox, path: &Path) -> Result<Gateway, Box<dyn Error>> {
    let env = Env::fixed(sandbox.env_lines());
    let settings = config::load(path, &env)?;
    let gateway = Gateway::start(settings, Clock::system()).await?;
    gateway.ready(Duration::from_secs(30)).await?;
    Ok(gateway)
}

/// An agent asks, is refused, pays, and is served; then it pays once more, by the other rail.
async fn pay_twice(sandbox: &Sandbox, url: &str) -> Result<(), Box<dyn Error>> {
    let agent = Client::new(client::Settings {
        seed: sandbox.accounts().payer.secret().parse()?,
        network: Network::Testnet,
        rpc_url: sandbox.rpc_url().parse()?,
        limit: None,
        method: client::Method::X402,
        mode: client::Mode::Pull,
        patience: Duration::from_secs(60),
    });
    step(4, "An agent asks for GET /weather, and is refused");
    let refused = agent.exchange(Request::get(url).body(Bytes::new())?).await?;
    let challenge = refused
        .headers()
        .get(x402::PAYMENT_REQUIRED)
        .ok_or("the gateway sent no challenge")
        .and_then(|value| {
            x402::PaymentRequired::decode(value.as_bytes())
                .map_err(|_| "the challenge cannot be read")
        })?;
    tell(&format_args!("HTTP {}; the PAYMENT-REQUIRED header says, decoded:", refused.status()));
    show(&serde_json::to_string_pretty(&challenge.to_json())?);
    tell(&format_args!("and the WWW-Authenticate header asks for the same by MPP charge"));

    step(5, "It signs a USDC transfer, and asks again with the payment");
    let body = pay(&agent, url).await?;

    step(6, "The gateway settled it on the ledger, and the upstream's answer came through");
    show(&body);

    step(7, "The same by the other rail, an MPP charge: no third party, no XLM either");
    let agent = agent.paying_by(client::Method::Charge, client::Mode::Pull);
    show(&pay(&agent, url).await?);
    Ok(())
}

/// The agent pays for one request; answers the body that it got.
async fn pay(agent: &Client, url: &str) -> Result<String, Box<dyn Error>> {
    let started = std::time::Instant::now();
    let paid = agent.send(Request::get(url).body(Bytes::new())?, |_| {}).await?;
    let payment = paid.payment.ok_or("the agent was served without paying")?;
    let settlement = payment.settlement.ok_or("the answer carries no receipt")?;
    tell(&format_args!("paid {}; transaction {}", payment.offer.money(), settlement.transaction));
    tell(&format_args!(
        "settled and served in {:.1} s; a ledger closes each second",
        started.elapsed().as_secs_f32(),
    ));
    let (head, body) = paid.response.into_parts();
    if head.status != StatusCode::OK {
        return Err(format!("the paid request got HTTP {}", head.status).into());
    }
    tell(&format_args!("HTTP {}", head.status));
    Ok(String::from_utf8_lossy(&read_body(body, 64 << 10).await?).into_owned())
}

/// What the accounts hold: USDC in base units, XLM in stroops.
struct Balances {
    payer_usdc: i128,
    payer_xlm: i64,
    payee_usdc: i128,
    sponsor_xlm: i64,
}

impl Balances {
    fn read(sandbox: &Sandbox) -> Result<Self, Box<dyn Error>> {
        let accounts = sandbox.accounts();
        let usdc =
            |address: &str| sandbox.usdc_balance(address).ok_or("an account has no USDC trustline");
        let xlm = |address: &str| sandbox.xlm_balance(address).ok_or("an account does not exist");
        Ok(Self {
            payer_usdc: usdc(&accounts.payer.address())?,
            payer_xlm: xlm(&accounts.payer.address())?,
            payee_usdc: usdc(&accounts.recipient.address())?,
            sponsor_xlm: xlm(&accounts.sponsor.address())?,
        })
    }

    fn beside(&self, after: &Self) -> String {
        let mut table = format!("{:<14}{:>22}{:>22}{:>16}\n", "", "before", "after", "change");
        for (name, before, after) in [
            ("payer USDC", self.payer_usdc, after.payer_usdc),
            ("payee USDC", self.payee_usdc, after.payee_usdc),
            ("payer XLM", self.payer_xlm.into(), after.payer_xlm.into()),
            ("sponsor XLM", self.sponsor_xlm.into(), after.sponsor_xlm.into()),
        ] {
            let (change, sign) = if after < before {
                (before.saturating_sub(after), "-")
            } else {
                (after.saturating_sub(before), "+")
            };
            let change = format!("{sign}{}", whole(change));
            // Writing to a string does not fail.
            let _written =
                writeln!(table, "{name:<14}{:>22}{:>22}{change:>16}", whole(before), whole(after));
        }
        table
    }

    /// Both prices left the payer and reached the payee, and the sponsor alone paid the fees.
    fn check(&self, after: &Self) -> Result<(), Box<dyn Error>> {
        let paid = self.payer_usdc.checked_sub(after.payer_usdc);
        let received = after.payee_usdc.checked_sub(self.payee_usdc);
        let both = PRICE_UNITS.checked_mul(2);
        let adds_up = paid == both
            && received == both
            && after.payer_xlm == self.payer_xlm
            && after.sponsor_xlm < self.sponsor_xlm;
        if adds_up { Ok(()) } else { Err("the balances do not add up".into()) }
    }
}

/// The example that comes with the source, at these addresses.
fn yaml(listen: SocketAddr, upstream: SocketAddr) -> String {
    include_str!("../gateway.yaml")
        .replace("127.0.0.1:8402", &listen.to_string())
        .replace("127.0.0.1:3000", &upstream.to_string())
}

fn invite(sandbox: &Sandbox, url: &str) {
    step(9, "Try it by hand");
    let tollgate = std::env::current_exe()
        .map_or_else(|_| "tollgate".to_owned(), |path| path.display().to_string());
    show(&format!(
        "curl -i {url}\n\nSTELLAR_SECRET_KEY={} \\\n  {tollgate} pay --rpc-url {} --max 0.01 {url}\n",
        sandbox.accounts().payer.secret(),
        sandbox.rpc_url(),
    ));
    tell(&"Serving until Ctrl-C.");
}

fn whole(units: i128) -> String {
    Amount::from_units(units)
        .map_or_else(|| "?".to_owned(), |amount| amount.to_decimal(Decimals::STELLAR))
}

fn step(number: u8, title: &str) {
    print(&format_args!("\n{number}. {title}\n"));
}

fn tell(line: &dyn std::fmt::Display) {
    print(&format_args!("   {line}\n"));
}

fn show(text: &str) {
    for line in text.lines() {
        print(&format_args!("   | {line}\n"));
    }
}

/// A closed pipe is the reader's choice, not a failure of the demo.
fn print(text: &dyn std::fmt::Display) {
    if write!(std::io::stdout(), "{text}").is_err() {
        tracing::debug!("nobody reads stdout");
    }
}

/// `$0.001` in base units.
const PRICE_UNITS: i128 = 10_000;

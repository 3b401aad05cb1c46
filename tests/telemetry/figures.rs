//! The figures against what clients saw, what the upstream logged, and what the ledger holds.
//!
//! `TOLLGATE_TRAFFIC_SECONDS=600` has the traffic go on for ten minutes.

use std::{
    collections::BTreeMap,
    process::Stdio,
    sync::Mutex,
    time::{Duration, Instant},
};

use futures_util::join;
use http::{HeaderValue, Method, StatusCode};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    process::Command,
};
use tollgate::client::{Credential, Overrides};

use crate::{
    agent::{Agent, Answer, read},
    page::Page,
    payer::{Payer, due},
    site::Site,
    upstream::Script,
};

/// What is expected of every series, as its script goes on.
#[derive(Debug, Default)]
struct Journal(Mutex<BTreeMap<Vec<&'static str>, u128>>);

impl Journal {
    fn add(&self, key: &[&'static str], value: u128) {
        *self.0.lock().unwrap().entry(key.to_vec()).or_default() += value;
    }

    /// A request to `route` was answered so.
    #[track_caller]
    fn answered(&self, route: &'static str, method: &Method, answer: &Answer, status: u16) {
        assert_eq!(answer.status.as_u16(), status, "{route}: {answer:?}");
        let method = match *method {
            Method::GET => "GET",
            Method::POST => "POST",
            _ => "HEAD",
        };
        let code = match status {
            200 => "200",
            402 => "402",
            404 => "404",
            500 => "500",
            _ => panic!("{status}"),
        };
        self.add(&["requests", route, method, code], 1);
        if status == 402 {
            self.add(&["challenges", route], 1);
        }
    }

    fn payment(&self, route: &'static str, rail: &'static str, outcome: &'static str) {
        self.add(&["payments", route, rail, outcome], 1);
    }

    fn rejected(&self, route: &'static str, rail: &'static str, reason: &'static str) {
        self.payment(route, rail, "rejected");
        self.add(&["rejections", route, rail, reason], 1);
    }

    fn delivered(&self, route: &'static str, rail: &'static str, price: u128) {
        self.payment(route, rail, "delivered");
        self.add(&["revenue", route, rail], price);
    }

    /// What all keys that begin so came to.
    fn sum(&self, start: &[&str]) -> u128 {
        let journal = self.0.lock().unwrap();
        journal.iter().filter(|(key, _)| key.starts_with(start)).map(|(_, value)| value).sum()
    }

    /// Every series that is expected is there, and no other is.
    fn check(&self, page: &Page, asset: &str) {
        for (key, expected) in &*self.0.lock().unwrap() {
            let told = match key[..] {
                ["requests", route, method, code] => page.value(
                    "gateway_requests_total",
                    &[("route", route), ("method", method), ("code", code)],
                ),
                ["challenges", route] => {
                    page.value("gateway_challenges_total", &[("route", route)])
                }
                ["payments", route, rail, outcome] => page.value(
                    "gateway_payments_total",
                    &[("route", route), ("method", rail), ("outcome", outcome)],
                ),
                ["rejections", route, rail, reason] => page.value(
                    "gateway_payment_rejections_total",
                    &[("route", route), ("method", rail), ("reason", reason)],
                ),
                ["revenue", route, rail] => page.value(
                    "gateway_revenue_base_units_total",
                    &[("route", route), ("method", rail), ("asset", asset)],
                ),
                _ => panic!("{key:?}"),
            };
            assert_eq!(told, *expected, "{key:?}");
        }
        for (kind, name) in [
            ("requests", "gateway_requests_total"),
            ("challenges", "gateway_challenges_total"),
            ("payments", "gateway_payments_total"),
            ("rejections", "gateway_payment_rejections_total"),
            ("revenue", "gateway_revenue_base_units_total"),
        ] {
            assert_eq!(page.sum(name, &[]), self.sum(&[kind]), "{name}");
        }
        // Those that the edge refuses have taken no time.
        let timed = page.sum("gateway_request_duration_seconds_count", &[]);
        assert_eq!(timed, self.sum(&["requests"]) - self.sum(&["requests", "(edge)"]));
        for route in ["weather", "report", "stream", "order"] {
            let told = page.value("gateway_paid_not_served_total", &[("route", route)]);
            let journal = self.0.lock().unwrap();
            let not_served =
                |key: &Vec<&str>| key[0] == "payments" && key[1] == route && key[3] == "not_served";
            let expected: u128 =
                journal.iter().filter(|(key, _)| not_served(key)).map(|(_, value)| value).sum();
            assert_eq!(told, expected, "{route}");
        }
    }
}

/// Customers who each pay in their own way.
struct Customers {
    agent: Agent,
    charged: Agent,
    payer: Payer,
}

impl Customers {
    /// The upstream answers: each rail pays, one payment comes twice, and some requests are not for it.
    async fn well(&self, journal: &Journal, n: usize) {
        let x402 = async {
            let credential = self.signed(journal, "weather", "/weather").await;
            let paid = self.agent.present_with(Method::GET, "/weather", &credential).await;
            journal.answered("weather", &Method::GET, &paid, 200);
            journal.delivered("weather", X402, 10_000);
            let again = self.agent.present_with(Method::GET, "/weather", &credential).await;
            journal.answered("weather", &Method::GET, &again, 402);
            journal.rejected("weather", X402, "not_offered");
        };
        let charge = async {
            let credential = self.charged.sign_charge("/report", &Overrides::default()).await;
            journal.add(&["requests", "report", "GET", "402"], 1);
            journal.add(&["challenges", "report"], 1);
            let paid = self.charged.present_with(Method::GET, "/report", &credential).await;
            journal.answered("report", &Method::GET, &paid, 200);
            journal.delivered("report", CHARGE, 20_003);
        };
        let channel = async {
            let asked = self.payer.ask("/stream").await;
            journal.answered("stream", &Method::GET, &asked, 402);
            let mut challenge = asked.channel_challenge().unwrap();
            for _ in 0..5 {
                let credential = self.payer.commit(&challenge, due(&challenge));
                let paid = self.payer.present("/stream", &credential).await;
                journal.answered("stream", &Method::GET, &paid, 200);
                journal.delivered("stream", CHANNEL, 7);
                challenge = paid.next().unwrap();
            }
        };
        let rest = async {
            for method in [Method::GET, Method::HEAD] {
                let answer = self.agent.ask(method.clone(), "/health").await;
                journal.answered("health", &method, &answer, 200);
            }
            let lost = self.agent.ask(Method::GET, &format!("/nothing/{n}?of={n}")).await;
            journal.answered("(unmatched)", &Method::GET, &lost, 404);
            let mut odd = self.agent.request(Method::GET, "/weather");
            odd.headers_mut().insert("payment-signature", HeaderValue::from_static("?"));
            let odd = read(self.agent.client.exchange(odd).await.unwrap()).await;
            journal.answered("weather", &Method::GET, &odd, 402);
            journal.rejected("weather", "unknown", "malformed");
            self.two_hosts().await;
            journal.add(&["requests", "(edge)", "other", "400"], 1);
        };
        join!(x402, charge, channel, rest);
    }

    /// The upstream fails: what is not settled before goes back, and what is may come again.
    async fn badly(&self, journal: &Journal, site: &Site) {
        let get = self.signed(journal, "weather", "/weather").await;
        let offer = self.agent.offer_of(Method::POST, "/order").await;
        let post = self.agent.client.sign_x402(&offer, &Overrides::default()).await.unwrap();
        let asked = self.payer.ask("/stream").await;
        journal.answered("stream", &Method::GET, &asked, 402);
        journal.add(&["requests", "order", "POST", "402"], 1);
        journal.add(&["challenges", "order"], 1);
        let challenge = asked.channel_challenge().unwrap();
        let commitment = self.payer.commit(&challenge, due(&challenge));

        site.upstream
            .play(Script { status: StatusCode::INTERNAL_SERVER_ERROR, ..Script::default() });
        for status in [500, 200] {
            let (got, posted, streamed) = join!(
                self.agent.present_with(Method::GET, "/weather", &get),
                self.agent.present_with(Method::POST, "/order", &post),
                self.payer.present("/stream", &commitment),
            );
            journal.answered("weather", &Method::GET, &got, status);
            journal.answered("order", &Method::POST, &posted, status);
            journal.answered("stream", &Method::GET, &streamed, status);
            if status == 500 {
                journal.payment("weather", X402, "returned");
                journal.payment("order", X402, "not_served");
                journal.payment("stream", CHANNEL, "returned");
            } else {
                journal.delivered("weather", X402, 10_000);
                journal.delivered("order", X402, 50_000);
                journal.delivered("stream", CHANNEL, 7);
            }
            site.upstream.play(Script::default());
        }
    }

    async fn signed(&self, journal: &Journal, route: &'static str, path: &str) -> Credential {
        let offer = self.agent.offer_of(Method::GET, path).await;
        journal.add(&["requests", route, "GET", "402"], 1);
        journal.add(&["challenges", route], 1);
        self.agent.client.sign_x402(&offer, &Overrides::default()).await.unwrap()
    }

    /// A request that has two readings.
    async fn two_hosts(&self) {
        let address = self.agent.base.strip_prefix("http://").unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_equal_the_upstreams_log_and_the_ledger_to_the_base_unit() {
    let site = Site::start("").await;
    let accounts = site.sandbox.accounts();
    site.sandbox.send_usdc(&accounts.payer, 10_000_000_000).await.unwrap();
    let customers = Customers {
        agent: site.agent(),
        charged: site.charged(),
        payer: site.payer([7; 32], 10_000_000).await,
    };
    let before = site.payee_usdc();
    let journal = Journal::default();
    // Getting ready took some requests.
    let first = site.page().await;

    let seconds = std::env::var("TOLLGATE_TRAFFIC_SECONDS").map(|text| text.parse().unwrap());
    let hits_before = site.upstream.hits().len();
    assert_eq!(hits_before, 0, "who does not pay is not forwarded");
    let (began, mut rounds) = (Instant::now(), 0);
    while rounds < 3 || began.elapsed() < Duration::from_secs(seconds.clone().unwrap_or(0)) {
        customers.well(&journal, rounds).await;
        customers.badly(&journal, &site).await;
        rounds += 1;
    }

    let text = site.figures().await;
    let page = Page::read(&text).since(&first);
    journal.check(&page, &site.sandbox.usdc_contract());
    // The upstream was asked for what was delivered or given back, and for what is free: nothing else.
    let reached = ["delivered", "returned", "not_served"];
    for (path, route) in
        [("/weather", "weather"), ("/report", "report"), ("/stream", "stream"), ("/order", "order")]
    {
        let hits = site.upstream.hits().iter().filter(|hit| hit.target == path).count();
        let told = reached.map(|outcome| {
            page.sum("gateway_payments_total", &[("route", route), ("outcome", outcome)])
        });
        assert_eq!(told.iter().sum::<u128>(), u128::try_from(hits).unwrap(), "{route}");
    }
    let free = site.upstream.hits().iter().filter(|hit| hit.target == "/health").count();
    assert_eq!(
        page.sum("gateway_requests_total", &[("route", "health")]),
        u128::try_from(free).unwrap()
    );
    // On the ledger stands what was paid one by one, and once it is collected what was committed to.
    let revenue = |rail| page.sum("gateway_revenue_base_units_total", &[("method", rail)]);
    let moved = u128::try_from(site.payee_usdc() - before).unwrap();
    assert_eq!(moved, revenue(X402) + revenue(CHARGE));
    let settle = format!("/channels/{}/settle", customers.payer.channel);
    let (status, told) = site.admin(Method::POST, &settle).await;
    assert_eq!(status, StatusCode::OK, "{told}");
    let moved = u128::try_from(site.payee_usdc() - before).unwrap();
    assert_eq!(moved, revenue(X402) + revenue(CHARGE) + revenue(CHANNEL));
    let collected = site.page().await;
    let settled = [("kind", "settle"), ("outcome", "landed")];
    assert_eq!(collected.value("gateway_settlements_total", &settled), 1);

    let server = site.upstream.address.to_string();
    let labels = [("upstream", "upstream"), ("server", server.as_str())];
    assert_eq!(page.value("gateway_upstream_healthy", &labels), 1, "{text}");
    assert_eq!(page.value("gateway_config_last_reload_successful", &[]), 1);
    assert_eq!(page.labels("gateway_config_info")[0]["hash"].len(), 64);
    let total = page.sum("gateway_requests_total", &[]);
    println!(
        "{rounds} rounds in {:?}: {total} requests, {} base units, all equal",
        began.elapsed(),
        moved
    );
    promtool(&text).await;
}

/// Has `promtool` judge the page, where there is one: the strict reading holds everywhere.
async fn promtool(text: &str) {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        println!("there is no promtool here");
        return;
    };
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap();
    let said = String::from_utf8_lossy(&output.stderr) + String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
    println!("promtool has nothing to say");
}

const X402: &str = "x402";
const CHARGE: &str = "mpp.charge";
const CHANNEL: &str = "mpp.channel";

//! The lines of requests, and what they are called from end to end.

use std::time::Duration;

use http::{HeaderValue, Method};
use serde_json::Value;
use tokio::process::Command;
use tollgate::client::Overrides;

use crate::{
    agent::{Answer, read},
    page::Page,
    payer::due,
    site::Site,
};

const LOG: &str = "access_log: { output: ./access.log }\n";

/// The lines that there are, once there are so many.
async fn lines(site: &Site, file: &str, count: usize) -> Vec<Value> {
    let path = site.folder.path().join(file);
    for _ in 0..1_000 {
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        if text.ends_with('\n') && text.lines().count() >= count {
            return text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not in time: {count} lines in {}", path.display());
}

fn id(answer: &Answer) -> &str {
    answer.headers["x-request-id"].to_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_request_has_a_line_that_tells_what_was_paid() {
    let site = Site::start(LOG).await;
    let (agent, charged) = (site.agent(), site.charged());
    let offer = agent.offer_of(Method::GET, "/weather").await;
    let weather = agent.client.sign_x402(&offer, &Overrides::default()).await.unwrap();
    let paid = agent.present_with(Method::GET, "/weather", &weather).await;
    let report = charged.sign_charge("/report", &Overrides::default()).await;
    let charge = charged.present_with(Method::GET, "/report", &report).await;
    let payer = site.payer([7; 32], 1_000_000).await;
    let challenge = payer.challenge("/stream").await;
    let amount = due(&challenge);
    let streamed = payer.present("/stream", &payer.commit(&challenge, amount)).await;
    let mut odd = agent.request(Method::GET, "/health?key=canary-query");
    for (name, value) in [
        ("x-request-id", "the-clients-own.name"),
        ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
        ("authorization", "Bearer canary-customer"),
        ("user-agent", "a\u{1b}[31m\" b"),
    ] {
        odd.headers_mut().insert(
            name,
            HeaderValue::from_bytes(value.as_bytes())
                .unwrap_or_else(|_| HeaderValue::from_static("x")),
        );
    }
    let free = read(agent.client.exchange(odd).await.unwrap()).await;
    assert_eq!(id(&free), "the-clients-own.name");
    let hit =
        site.upstream.hits().into_iter().find(|hit| hit.target.starts_with("/health")).unwrap();
    assert_eq!(hit.headers["x-request-id"], "the-clients-own.name");
    let parent = hit.headers["traceparent"].to_str().unwrap();
    assert!(parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"), "{parent}");
    assert!(!parent.contains("00f067aa0ba902b7"), "{parent}");

    let page = site.page().await;
    let asked = usize::try_from(page.sum("gateway_requests_total", &[])).unwrap();
    let lines = lines(&site, "access.log", asked).await;
    assert_eq!(lines.len(), asked);
    let line_of = |answer: &Answer| {
        let line = lines.iter().find(|line| line["request_id"] == id(answer));
        line.unwrap_or_else(|| panic!("{answer:?}")).clone()
    };
    let body = u64::try_from(paid.body.len()).unwrap();
    for (answer, route, method, amount) in [
        (&paid, "weather", "x402", "10000"),
        (&charge, "report", "mpp.charge", "20003"),
        (&streamed, "stream", "mpp.channel", "7"),
    ] {
        assert_eq!(answer.status, 200, "{answer:?}");
        let line = line_of(answer);
        assert_eq!(line["route"], route, "{line}");
        assert_eq!((&line["status"], &line["bytes_out"]), (&200.into(), &body.into()), "{line}");
        assert_eq!(line["upstream"], "upstream", "{line}");
        let (all, upstream) = (line["duration_ms"].as_f64(), line["upstream_ms"].as_f64());
        assert!(all.unwrap() >= upstream.unwrap(), "{line}");
        assert_eq!(line["client_ip"], "127.0.0.1", "{line}");
        let payment = &line["payment"];
        assert_eq!(payment["method"], method, "{line}");
        assert_eq!(payment["outcome"], "delivered", "{line}");
        assert_eq!(payment["amount"], amount, "{line}");
        assert_eq!(payment["asset"], site.sandbox.usdc_contract(), "{line}");
    }
    let payer_address = site.sandbox.accounts().payer.address();
    assert_eq!(line_of(&paid)["payment"]["payer"], payer_address);
    assert_eq!(line_of(&paid)["payment"]["tx"], paid.assert_paid());
    assert_eq!(line_of(&charge)["payment"]["tx"], charge.assert_charge_paid());
    let channel = &line_of(&streamed)["payment"];
    assert_eq!(channel["channel"], payer.channel.to_string());
    assert_eq!(channel["cumulative"], amount.to_string());
    let free = line_of(&free);
    assert_eq!(free["path"], "/health");
    assert_eq!(free["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert!(free.get("payment").is_none(), "{free}");
    let text = std::fs::read_to_string(site.folder.path().join("access.log")).unwrap();
    assert!(!text.contains("canary"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_those_that_pay_nothing_is_sampled_however_it_is_told_and_counted_as_what_it_is()
{
    let more = "  - { name: pressed, match: GET /pressed, price: \"$0.001\", accept: [x402], timeout: 5s, \
                  limits: { unpaid_rps_per_ip: 1 } }\n  \
                - { name: seen, match: GET /seen, price: \"$0.001\", accept: [x402], timeout: 5s, mode: observe }\n\
                access_log: { output: ./access.log, sample_unpaid: 0 }\n";
    let site = Site::start(more).await;
    let agent = site.agent();
    let mut call = agent.request(Method::GET, "/weather");
    call.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let before = site.page().await;
    let told = read(agent.client.exchange(call).await.unwrap()).await;
    assert_eq!((told.status.as_u16(), &told.headers["grpc-status"]), (200, &"9".parse().unwrap()));
    let mut statuses = Vec::new();
    for _ in 0..20 {
        statuses.push(agent.ask(Method::GET, "/pressed").await.status.as_u16());
    }
    assert!(statuses.contains(&402) && statuses.contains(&429), "{statuses:?}");
    for path in ["/seen", "/seen", "/health"] {
        assert_eq!(agent.ask(Method::GET, path).await.status, 200);
    }
    let faults = page_faults(&before);
    let lines = lines(&site, "access.log", faults + 3).await;
    let paths: Vec<_> = lines[faults..].iter().map(|line| line["path"].as_str().unwrap()).collect();
    assert_eq!(paths, ["/seen", "/seen", "/health"], "what was not ready yet, and those");
    let page = site.page().await.since(&before);
    let counted = |route, code| {
        let labels = [("route", route), ("method", "GET"), ("code", code)];
        page.value("gateway_requests_total", &labels)
    };
    assert_eq!((counted("weather", "402"), counted("weather", "200")), (1, 0));
    assert_eq!(page.value("gateway_observed_charges_total", &[("route", "seen")]), 2);
    let asset = site.sandbox.usdc_contract();
    let labels = [("route", "seen"), ("asset", &*asset)];
    assert_eq!(page.value("gateway_observed_revenue_base_units_total", &labels), 20_000);
    // Its operator is told which routes ask for money.
    let (_, routes) = site.admin(Method::GET, "/routes").await;
    let routes: Value = serde_json::from_str(&routes).unwrap();
    let route = |name| routes.as_array().unwrap().iter().find(|one| one["name"] == name).unwrap();
    assert_eq!(
        (&route("seen")["access"], &route("pressed")["access"]),
        (&"observed".into(), &"priced".into())
    );
    assert_eq!(route("pressed")["callers"]["unpaid_rps_per_ip"], 1);
    assert!(route("health")["callers"].is_null());
}

/// How often payments were not taken yet.
fn page_faults(page: &Page) -> usize {
    usize::try_from(page.sum("gateway_requests_total", &[("code", "503")])).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sigusr1_begins_the_file_anew() {
    let site = Site::start(LOG).await;
    let agent = site.agent();
    agent.ask(Method::GET, "/health").await;
    let page = site.page().await;
    let before = usize::try_from(page.sum("gateway_requests_total", &[])).unwrap();
    lines(&site, "access.log", before).await;
    let folder = site.folder.path();
    std::fs::rename(folder.join("access.log"), folder.join("access.log.1")).unwrap();
    let id = site.process.child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-USR1", &id]).status().await.unwrap().success());
    for _ in 0..1_000 {
        if folder.join("access.log").exists() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    agent.ask(Method::GET, "/health?again").await;
    assert_eq!(lines(&site, "access.log", 1).await.len(), 1);
    assert_eq!(lines(&site, "access.log.1", before).await.len(), before);
    assert_eq!(agent.ask(Method::GET, "/health").await.status, 200);
}

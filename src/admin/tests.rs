mod order;
mod told;

use std::{
    net::SocketAddr,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use secrecy::SecretString;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{asked::PATIENCE, *};
use crate::{
    closer::Deadline,
    ledger::Http,
    protocol::{
        money::Amount,
        stellar::{Network, TxHash},
    },
    server,
    store::{ClaimKey, Submitting},
};

const TOKEN: &str = "canary-token-canary-token-canary-token";
const OPEN: ContractId = ContractId([2; 32]);
const EMPTY: ContractId = ContractId([3; 32]);
const OVER: ContractId = ContractId([4; 32]);
const LOST: ContractId = ContractId([6; 32]);

/// A gateway of three channels, and what was asked of it.
#[derive(Clone, Debug, Default)]
struct Stub {
    trouble: Option<&'static str>,
    orders: Arc<Mutex<Vec<String>>>,
}

const MEMBER: MemberId = MemberId([9; 16]);
const STUCK: &str = "a worker is stuck";

impl Stub {
    fn order(&self, what: &str, channel: ContractId) {
        let order = format!("{what} {channel}");
        self.orders.lock().unwrap_or_else(PoisonError::into_inner).push(order);
    }

    fn orders(&self) -> Vec<String> {
        let mut orders = self.orders.lock().unwrap().clone();
        orders.sort();
        orders
    }
}

fn units(units: i128) -> Amount {
    Amount::from_units(units).unwrap()
}

fn no_store() -> store::Error {
    store::Error::Unavailable { reason: "no store".into() }
}

fn standing_of(channel: ContractId, phase: Phase) -> Standing {
    Standing {
        channel,
        token: Some(Network::Testnet.usdc().contract),
        authorised: units(30_000),
        spent: units(20_000),
        delivered: units(15_000),
        settled: units(5_000),
        at_risk: units(10_000),
        deposited: Some(units(i128::MAX)),
        phase,
        collecting: None,
        deadline: Some(Deadline { ledger: 77, seconds: 35 }),
        unsettled_since: Some(5),
        used_at: 6,
        live_until: None,
    }
}

impl Administered for Stub {
    fn is_alive(&self) -> bool {
        self.trouble != Some(STUCK)
    }

    fn ready(&self) -> Result<(), Cow<'static, str>> {
        self.trouble.map_or(Ok(()), |trouble| Err(trouble.into()))
    }

    fn assets(&self) -> Vec<Asset> {
        vec![Network::Testnet.xlm(), Network::Testnet.usdc()]
    }

    fn metrics(&self) -> String {
        "gateway_channels{state=\"open\"} 1\n".to_owned()
    }

    fn config(&self) -> Value {
        json!({ "hash": "abc" })
    }

    async fn reload(&self) -> Result<Value, String> {
        match self.trouble {
            None => Ok(json!({ "config": "abc" })),
            Some(trouble) => Err(format!("gateway.yaml:1:1: {trouble}")),
        }
    }

    fn routes(&self) -> Value {
        json!([{ "name": "weather" }])
    }

    async fn list(&self) -> Result<Standings, store::Error> {
        if self.trouble.is_some() {
            return Err(no_store());
        }
        let closed = Phase::Closed { transaction: Some(TxHash([7; 32])) };
        let phases = [(OPEN, Phase::Open), (EMPTY, Phase::Closing), (OVER, closed)];
        let channels = phases.into_iter().map(|(channel, phase)| standing_of(channel, phase));
        Ok(Standings { channels: channels.collect(), unreadable: vec![LOST] })
    }

    async fn show(&self, channel: ContractId) -> Result<Option<Standing>, store::Error> {
        Ok(self.list().await?.channels.into_iter().find(|standing| standing.channel == channel))
    }

    async fn settle(&self, channel: ContractId) -> Result<Collected, CloseError> {
        self.order("settle", channel);
        self.collect(channel, false)
    }

    async fn close(&self, channel: ContractId) -> Result<Collected, CloseError> {
        self.order("close", channel);
        self.collect(channel, true)
    }

    async fn members(&self) -> Result<Vec<Member>, store::Error> {
        self.list().await?;
        Ok(vec![Member { id: MEMBER, name: "one".to_owned(), is_reconciled: false }])
    }

    async fn dismiss(&self, member: MemberId) -> Result<bool, store::Error> {
        self.list().await?;
        Ok(member == MEMBER)
    }

    async fn adopt(&self, channel: ContractId) -> Result<Amount, CloseError> {
        self.order("adopt", channel);
        match channel {
            OPEN => Ok(units(15_000)),
            _ => Err(CloseError::NotBehind),
        }
    }

    async fn unresolved(&self, most: usize) -> Result<Vec<Unresolved>, store::Error> {
        if self.trouble.is_some() {
            return Err(no_store());
        }
        let submitting = Submitting {
            transaction: Some(TxHash([7; 32])),
            valid_until: 1_700_000_000,
            since_ledger: 1,
            memo: Bytes::new(),
        };
        let pending = Pending { key: ClaimKey([1; 32]), submitting };
        let worth = Worth::of(Network::Testnet.usdc().contract, units(70_000));
        let known = Unresolved { pending: pending.clone(), payment: Some(("x402", worth)) };
        let unreadable = Unresolved { pending, payment: None };
        Ok([known, unreadable].into_iter().take(most).collect())
    }
}

impl Stub {
    fn collect(&self, channel: ContractId, closed: bool) -> Result<Collected, CloseError> {
        match channel {
            _ if self.trouble.is_some() => Err(CloseError::Store(no_store())),
            OPEN => Ok(Collected {
                transaction: Some(TxHash([9; 32])),
                withdrawn: units(15_000),
                closed,
            }),
            EMPTY => Err(CloseError::Nothing),
            OVER => Err(CloseError::Closed),
            other => Err(CloseError::Unknown(other)),
        }
    }
}

struct Port {
    address: SocketAddr,
    stub: Stub,
    http: Http,
    stop: CancellationToken,
}

impl Drop for Port {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Port {
    async fn start(token: Option<&str>, stub: Stub) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Admin::new(stub.clone(), token.map(SecretString::from));
        let stop = CancellationToken::new();
        let grace = Duration::from_secs(1);
        TaskTracker::new().spawn(server::serve(listener, service, LIMITS, grace, stop.clone()));
        Self { address, stub, http: Http::new(), stop }
    }

    async fn ask(&self, line: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        self.send(line, headers, "").await
    }

    /// An order as the command sends it.
    async fn order(&self, path: &str, headers: &[(&str, &str)]) -> (u16, Value) {
        let headers = [headers, &[("content-type", "application/json")]].concat();
        self.send(&format!("POST {path}"), &headers, "{}").await
    }

    async fn send(&self, line: &str, headers: &[(&str, &str)], body: &str) -> (u16, Value) {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request =
            Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Bytes::copy_from_slice(body.as_bytes())).unwrap();
        let (status, body) = self.http.send(request, PATIENCE, 1 << 16).await.unwrap();
        (status.as_u16(), serde_json::from_slice(&body).unwrap_or_default())
    }
}

fn bearer() -> String {
    format!("Bearer {TOKEN}")
}

#[tokio::test]
async fn health_and_readiness_are_for_everybody_and_tell_nothing_else() {
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    let rebound = [("host", "gateway.example"), ("origin", "https://evil.example")];
    assert_eq!(port.ask("GET /healthz", &rebound).await, (200, json!({ "status": "ok" })));
    assert_eq!(port.ask("GET /readyz", &rebound).await, (200, json!({ "status": "ready" })));
    assert_eq!(port.ask("POST /readyz", &rebound).await.0, 403);
    assert_eq!(port.ask("HEAD /readyz", &[]).await, (200, Value::Null));

    let stub = Stub { trouble: Some("the store has stopped"), ..Stub::default() };
    let port = Port::start(Some(TOKEN), stub).await;
    assert_eq!(port.ask("GET /healthz", &[]).await.0, 200);
    let not_ready = json!({ "status": "not ready", "error": "the store has stopped" });
    assert_eq!(port.ask("GET /readyz", &[]).await, (503, not_ready));
}

#[tokio::test]
async fn channels_are_told_with_what_they_owe() {
    let port = Port::start(None, Stub::default()).await;
    let expected = json!({
        "channel": OPEN.to_string(),
        "state": "open",
        "token": Network::Testnet.usdc().contract.to_string(),
        "asset": { "name": "USDC", "decimals": 7 },
        "authorised": "30000",
        "spent": "20000",
        "delivered": "15000",
        "settled": "5000",
        "at_risk": "10000",
        "deposited": "170141183460469231731687303715884105727",
        "deadline": { "ledger": 77, "seconds": 35 },
        "unsettled_since": 5,
        "used_at": 6,
        "live_until": null,
        "collecting": null,
        "closed_by": null,
    });
    assert_eq!(port.ask(&format!("GET /channels/{OPEN}"), &[]).await, (200, expected.clone()));
    let (status, all) = port.ask("GET /channels", &[]).await;
    assert_eq!((status, &all["channels"][0]), (200, &expected));
    assert_eq!(all["unreadable"], json!([LOST.to_string()]));
    assert_eq!(all["channels"][1]["state"], "closing");
    assert_eq!(all["channels"][2]["state"], "closed");
    assert_eq!(all["channels"][2]["closed_by"], "07".repeat(32));

    let unknown = ContractId([5; 32]);
    let (status, told) = port.ask(&format!("GET /channels/{unknown}"), &[]).await;
    assert_eq!(
        (status, &told["error"]),
        (404, &json!(format!("no commitment of the channel {unknown} is held")))
    );
    assert_eq!(port.ask("GET /channels/C123", &[]).await.0, 404);
    assert_eq!(port.ask("GET /", &[]).await, (404, json!({ "error": "not found" })));
    assert_eq!(port.stub.orders(), [""; 0]);
}

#[tokio::test]
async fn who_shares_the_store_is_told_and_one_that_is_gone_is_dismissed() {
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    let bearer = bearer();
    let token = [("authorization", bearer.as_str())];
    let (status, told) = port.ask("GET /members", &token).await;
    let member = json!({ "id": MEMBER.to_string(), "name": "one", "is_reconciled": false });
    assert_eq!((status, told), (200, json!({ "members": [member] })));
    let dismiss = |member: &str| format!("/members/{member}/dismiss");
    let (status, told) = port.order(&dismiss(&MEMBER.to_string()), &token).await;
    assert_eq!((status, told), (200, json!({ "dismissed": MEMBER.to_string() })));
    for (member, why) in [
        (MemberId([8; 16]).to_string(), "is no member"),
        ("x".to_owned(), "a member is 32 hexadecimal digits"),
    ] {
        let (status, told) = port.order(&dismiss(&member), &token).await;
        assert!(status == 404 && told.to_string().contains(why), "{status} {told}");
    }
    assert_eq!(port.order(&dismiss(&MEMBER.to_string()), &[]).await.0, 401);
    assert_eq!(port.ask("GET /members", &[]).await.0, 401);
}

#[tokio::test]
async fn figures_are_told_as_text_to_who_has_the_token() {
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    assert_eq!(port.ask("GET /metrics", &[]).await.0, 401);
    let bearer = bearer();
    assert_eq!(port.ask("POST /metrics", &[("authorization", &bearer)]).await.0, 405);
    let mut stream = TcpStream::connect(port.address).await.unwrap();
    let asked = format!(
        "GET /metrics HTTP/1.1\r\nhost: {}\r\nauthorization: {bearer}\r\nconnection: close\r\n\r\n",
        port.address
    );
    stream.write_all(asked.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert!(head.contains("content-type: text/plain; version=0.0.4"), "{head}");
    assert_eq!(body, port.stub.metrics());
}

#[tokio::test]
async fn channels_are_settled_and_closed_by_order() {
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    let bearer = bearer();
    let token = [("authorization", bearer.as_str())];
    let done = |closed: bool| {
        json!({
            "channel": OPEN.to_string(),
            "transaction": "09".repeat(32),
            "settled": "15000",
            "closed": closed,
        })
    };
    assert_eq!(port.order(&format!("/channels/{OPEN}/settle"), &token).await, (200, done(false)));
    assert_eq!(port.order(&format!("/channels/{OPEN}/close"), &token).await, (200, done(true)));
    let nothing = "nothing was delivered that is not withdrawn already";
    let told = port.order(&format!("/channels/{EMPTY}/settle"), &token).await;
    assert_eq!(told, (409, json!({ "error": nothing })));
    let told = port.order(&format!("/channels/{OVER}/close"), &token).await;
    assert_eq!(told, (409, json!({ "error": "the channel is closed" })));
    let unknown = ContractId([5; 32]);
    assert_eq!(port.order(&format!("/channels/{unknown}/close"), &token).await.0, 404);
    assert_eq!(port.stub.orders().len(), 5);

    let port = Port::start(Some(TOKEN), Stub::default()).await;
    let (status, told) = port.order("/channels/close", &token).await;
    let expected = json!({
        "closed": [done(true)],
        "nothing_to_collect": [EMPTY.to_string()],
        "failed": [],
    });
    assert_eq!((status, told), (200, expected));
    let orders = [format!("close {OPEN}"), format!("close {EMPTY}")];
    assert_eq!(port.stub.orders(), orders, "what is closed is left alone");
}

#[tokio::test]
async fn an_account_that_was_rolled_back_goes_on_by_order() {
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    let (bearer, path) = (bearer(), format!("/channels/{OPEN}/adopt"));
    assert_eq!(port.order(&path, &[]).await.0, 401);
    let token = [("authorization", bearer.as_str())];
    assert_eq!(port.ask(&format!("GET {path}"), &token).await.0, 405);
    assert_eq!(port.stub.orders(), [""; 0]);
    let adopted = json!({ "channel": OPEN.to_string(), "authorised": "15000" });
    assert_eq!(port.order(&path, &token).await, (200, adopted));
    let why = "the account of the channel is not behind what was withdrawn from it";
    let told = port.order(&format!("/channels/{OVER}/adopt"), &token).await;
    assert_eq!(told, (409, json!({ "error": why })));
}

#[tokio::test]
async fn a_store_that_does_not_answer_is_our_fault() {
    let stub = Stub { trouble: Some("no store"), ..Stub::default() };
    let port = Port::start(None, stub).await;
    assert_eq!(port.ask("GET /channels", &[]).await.0, 503);
    assert_eq!(port.order(&format!("/channels/{OPEN}/close"), &[]).await.0, 503);
    assert_eq!(port.order("/channels/close", &[]).await.0, 503);
}

/// J07: whoever reaches the port has nothing of it without the token.
#[tokio::test]
async fn j07_lists_and_orders_are_for_who_has_the_token() {
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    let bearer = bearer();
    let longer = format!("{bearer}x");
    let show = format!("/channels/{OPEN}");
    let wrong: [&[(&str, &str)]; 6] = [
        &[],
        &[("authorization", TOKEN)],
        &[("authorization", "Bearer ")],
        &[("authorization", &longer)],
        &[("authorization", &bearer[..bearer.len() - 1])],
        &[("authorization", "Basic Y2FuYXJ5OmNhbmFyeQ==")],
    ];
    for headers in wrong {
        for path in ["/channels", &show, "/", "/channels/nothing"] {
            let (status, told) = port.ask(&format!("GET {path}"), headers).await;
            let missing = json!({ "error": "the token is missing or wrong" });
            assert_eq!((status, told), (401, missing), "{path} {headers:?}");
        }
        for path in [format!("{show}/settle"), format!("{show}/close"), "/channels/close".into()] {
            assert_eq!(port.order(&path, headers).await.0, 401, "{path} {headers:?}");
        }
    }
    assert_eq!(port.stub.orders(), [""; 0]);
    let right = [("authorization", bearer.as_str()), ("host", "gateway.internal:9901")];
    assert_eq!(port.ask("GET /channels", &right).await.0, 200);
    assert_eq!(port.order(&format!("{show}/settle"), &right).await.0, 200);
}

/// J07: a page in the operator's browser reaches the port, by its address or by a name of its own that points to it.
#[tokio::test]
async fn j07_no_page_uses_the_port_through_the_operators_browser() {
    let port = Port::start(None, Stub::default()).await;
    let own = format!("127.0.0.1:{}", port.address.port());
    let origin = format!("http://{own}");
    let barred: [&[(&str, &str)]; 8] = [
        &[("host", "evil.example")],
        &[("host", "localhost.evil.example:9901")],
        &[("host", "127.0.0.1.evil.example")],
        &[("host", "10.0.0.7:9901")],
        &[("origin", "https://evil.example")],
        &[("origin", "null")],
        &[("origin", "http://127.0.0.1:1")],
        &[("sec-fetch-site", "cross-site")],
    ];
    let close = format!("/channels/{OPEN}/close");
    for headers in barred {
        assert_eq!(port.ask("GET /channels", headers).await.0, 403, "{headers:?}");
        assert_eq!(port.order(&close, headers).await.0, 403, "{headers:?}");
    }
    // A form needs nobody's leave to be sent, and cannot say that it is JSON.
    for kind in ["application/x-www-form-urlencoded", "text/plain", "multipart/form-data"] {
        let headers = [("content-type", kind)];
        assert_eq!(port.send(&format!("POST {close}"), &headers, "{}").await.0, 415, "{kind}");
    }
    assert_eq!(port.stub.orders(), [""; 0]);
    for headers in [
        &[][..],
        &[("host", "localhost")],
        &[("host", "[::1]:9901")],
        &[("origin", &origin)],
        &[("sec-fetch-site", "none")],
        &[("sec-fetch-site", "same-origin"), ("origin", &origin)],
    ] {
        assert_eq!(port.ask("GET /channels", headers).await.0, 200, "{headers:?}");
        assert_eq!(port.order(&close, headers).await.0, 200, "{headers:?}");
    }
    assert_eq!(port.stub.orders().len(), 6);
    // A token does not make a page of another site welcome.
    let port = Port::start(Some(TOKEN), Stub::default()).await;
    let bearer = bearer();
    let page = [("authorization", bearer.as_str()), ("origin", "https://evil.example")];
    assert_eq!(port.order(&close, &page).await.0, 403);
    assert_eq!(port.stub.orders(), [""; 0]);
}

#[test]
fn the_token_does_not_show() {
    let shown = format!("{:?}", Admin::new(Stub::default(), Some(SecretString::from(TOKEN))));
    assert!(shown.contains("Gate") && !shown.contains("canary"), "{shown}");
}

//! G11: a request that comes back to its gateway ends there, however the gateway came to be its own upstream.

use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};
use tollgate::{app::Gateway, telemetry::Clock};

use crate::site::{Origin, Site, Wire, settings, status_of};

const GET: &str = "GET /free/x HTTP/1.1\r\nHost: gw\r\nConnection: close\r\n\r\n";

async fn gateway(upstream: std::net::SocketAddr) -> (Gateway, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let settings = settings("listen: 127.0.0.1:0", upstream, folder.path()).unwrap();
    (Gateway::start(settings, Clock::system()).await.unwrap(), folder)
}

async fn ask(gateway: &Gateway, request: &str) -> String {
    let mut client = Wire::new(TcpStream::connect(gateway.addresses()[0]).await.unwrap());
    client.send(request).await;
    client.rest().await
}

/// As many gateways one behind the other as `between` says, the last of which leads to the first; what a request to the
/// first is answered, and how many requests came back to it.
async fn round(between: usize) -> (String, usize) {
    let relay = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut upstream = relay.local_addr().unwrap();
    let mut gateways = Vec::new();
    for _ in 0..=between {
        gateways.push(gateway(upstream).await);
        upstream = gateways.last().unwrap().0.addresses()[0];
    }
    let (count, counted) = watch::channel(0);
    let mut relaying = JoinSet::new();
    relaying.spawn(async move {
        let mut conversations = JoinSet::new();
        while let Ok((near, _)) = relay.accept().await {
            let (mut near, count) = (Wire::new(near), count.clone());
            conversations.spawn(async move {
                let mut far = Wire::new(TcpStream::connect(upstream).await.unwrap());
                while let Some(request) = near.message().await {
                    count.send_modify(|count| *count += 1);
                    far.send(request).await;
                    near.send(far.message().await.unwrap_or_default()).await;
                }
            });
        }
    });
    let answer = ask(&gateways.last().unwrap().0, GET).await;
    let count = *counted.borrow();
    (answer, count)
}

#[tokio::test]
async fn g11_a_gateway_that_is_its_own_upstream_ends_the_loop() {
    for between in [0, 1, 3] {
        let (answer, times) = round(between).await;
        assert_eq!(status_of(&answer), 508, "{between}: {answer}");
        assert!(answer.contains("\r\ncontent-type: application/problem+json\r\n"), "{answer}");
        assert_eq!(times, 1, "{between}");
    }
}

#[tokio::test]
async fn g11_gateways_may_stand_one_behind_the_other_and_the_upstream_is_told() {
    let origin = Origin::start().await;
    let (inner, _inner) = gateway(origin.address).await;
    let (outer, _outer) = gateway(inner.addresses()[0]).await;
    let said = GET.replace("Host: gw", "Host: gw\r\nCDN-Loop: cdn.example; v=1");
    assert_eq!(status_of(&ask(&outer, &said).await), 200);
    let requests = origin.requests();
    let hops = || requests[0].lines().filter_map(|line| line.strip_prefix("cdn-loop: "));
    let [first, outer, inner] = hops().collect::<Vec<_>>()[..] else { panic!("{requests:?}") };
    assert_eq!(first, "cdn.example; v=1");
    assert!(outer.starts_with("tollgate-") && inner.starts_with("tollgate-") && outer != inner);
}

#[tokio::test]
async fn g11_a_request_that_went_through_many_gateways_goes_no_further() {
    let site = Site::start().await;
    let hops = |count: usize| {
        let hops: Vec<String> = (0..count).map(|hop| format!("tollgate-{hop:016x}")).collect();
        GET.replace("Host: gw", &format!("Host: gw\r\nCDN-Loop: {}", hops.join(", ")))
    };
    assert_eq!(status_of(&site.exchange(hops(8)).await), 508);
    assert_eq!(site.origin.requests(), Vec::<String>::new());
    assert_eq!(status_of(&site.exchange(hops(7)).await), 200);
}

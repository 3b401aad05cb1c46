//! How long a payment waits for its request to be forwarded. What is decided of real payments is tested from end to end.

use std::sync::Mutex;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    callers::Rate,
    pay::{Challenge, ChargeWhen, Draw, Fault, Offer, Receipt, Redelivery, Refusal, Worth},
    protocol::{
        money::Amount,
        mpp::{CredentialHeader, PAYMENT_RECEIPT},
        stellar::{Address, ContractId},
    },
    route::Pattern,
    store::Pending,
    telemetry::{
        label::Rail,
        page::Page,
        traffic::{Counts, Traffic},
    },
};

/// An upstream that answers after a while, as one does whose client takes so long to send the body; it may be reached at
/// once, or not before it answers.
#[derive(Clone)]
struct Slow {
    takes: Duration,
    is_reached: bool,
}

impl<B: Send + 'static> Forward<B> for Slow {
    type Slot = ();
    type Body = Full<Bytes>;

    async fn reserve(&self, _: &Route, _: Comer, _: Duration) -> Result<(), Obstacle> {
        Ok(())
    }

    async fn forward(
        &self,
        (): (),
        _: &Route,
        request: Admitted<Box<Request<B>>>,
    ) -> Result<Response<Full<Bytes>>, Obstacle> {
        request.into_inner().extensions().get::<Reached>().unwrap().set(self.is_reached);
        sleep(self.takes).await;
        Ok(Response::new(Full::from("the answer")))
    }
}

/// A payment that is reserved for so long, and how it ended.
struct Lease {
    patience: Duration,
    is_settled: bool,
    /// Whether a delivery can be recorded.
    is_kept: bool,
    ended: Mutex<Vec<End>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Delivered(StatusCode),
    Released { tried: bool },
}

impl Lease {
    fn end(&self, end: End) {
        self.ended.lock().unwrap().push(end);
    }
}

impl Method for Lease {
    const RAIL: Rail = Rail::Charge;

    type Credential = ();
    type Verified = ();

    fn ready(&self, _: &Terms) -> Result<(), Fault> {
        Ok(())
    }

    fn challenge(&self, _: &Offer, _: &Terms, _: &Bound, _: &Draw, _: &str) -> Option<Challenge> {
        None
    }

    fn parse(&self, _: &Terms, _: &HeaderMap) -> Result<Option<()>, Refusal> {
        Ok(Some(()))
    }

    async fn verify(
        &self,
        _: &Arc<Terms>,
        _: &Bound,
        (): (),
        seat: &mut Seat,
    ) -> Result<(), Denied> {
        Ok(seat.pay_as(Address::Contract(ContractId([3; 32])))?)
    }

    async fn settle(&self, (): ()) -> Result<((), Receipt), Denied> {
        let header = (PAYMENT_RECEIPT, http::HeaderValue::from_static("paid"));
        Ok(((), Receipt { header, next: None, with_failures: false }))
    }

    async fn deliver(&self, (): (), status: StatusCode) -> Result<(), Fault> {
        if !self.is_kept {
            return Err(Fault::pending("not recorded", None));
        }
        self.end(End::Delivered(status));
        Ok(())
    }

    async fn release(&self, (): (), tried: bool) {
        self.end(End::Released { tried });
    }

    fn patience(&self, _: &Terms, _: &Bound) -> Duration {
        self.patience
    }

    fn is_settled(&self, (): &()) -> bool {
        self.is_settled
    }

    fn worth(&self, (): &()) -> Worth {
        Worth::of(ContractId([7; 32]), Amount::ONE)
    }

    async fn resume(&self, _: &Pending, _: &Value) -> Result<(), Denied> {
        Ok(())
    }
}

fn asked() -> Asked {
    let terms = Terms {
        route: "act".into(),
        description: "".into(),
        offers: Vec::new(),
        settle: SettleOrder::BeforeForward,
        charge_when: ChargeWhen { below: 400 },
        redelivery: Redelivery { attempts: 3, within: Duration::from_secs(60) },
        timeout: Duration::from_secs(1),
        credential_header: CredentialHeader::default(),
        bind_body: false,
    };
    let bound =
        Bound { method: HttpMethod::POST, target: "/act".to_owned(), body: None, streams: true };
    let (wanted, asker) = (Wanted::default(), Asker::default());
    Asked { terms: Arc::new(terms), bound, wanted, asker }
}

fn route_of(asked: &Asked, counts: Counts) -> Route {
    Route {
        name: "act".into(),
        pattern: Pattern::parse("POST /act").unwrap(),
        access: Access::Priced(asked.terms.clone()),
        upstream: 0,
        timeout: asked.terms.timeout,
        body_limit: 1_024,
        tunnel: None,
        rewrite: None,
        counts,
        callers: Default::default(),
    }
}

/// Forwards a request to an upstream within the patience of `lease`; its answer, and when it came.
async fn carried(lease: &Lease, slow: Slow) -> (Response<Body<Full<Bytes>>>, Duration) {
    let asked = asked();
    let route = route_of(&asked, Counts::default());
    let guard = Guard::new(slow, Methods::default(), Clock::fixed(1_000), TaskTracker::new());
    let request = Box::new(Request::new(Either::Left(Full::<Bytes>::default())));
    let seat = guard.rooms.paying.enter(None);
    let begun = Instant::now();
    let response = guard.carry(lease, (), seat, request, &route, &asked).await.unwrap();
    (response, begun.elapsed())
}

const fn lease(is_settled: bool) -> Lease {
    Lease { patience: MINUTE, is_settled, is_kept: true, ended: Mutex::new(Vec::new()) }
}

/// Carries as many payments of one payer as there are leases, to a route that it may pay once a second; the last answer's
/// status, unless it was denied, and what was counted of all.
async fn counted(leases: &[Lease]) -> (Option<StatusCode>, Vec<String>) {
    let (asked, traffic) = (asked(), Traffic::default());
    let mut route = route_of(&asked, traffic.of("act"));
    let per_second = 1.try_into().unwrap();
    route.callers.paid = Some(Rate { per_second, scope: "".into() });
    let upstream = Slow { takes: Duration::ZERO, is_reached: true };
    let guard = Guard::new(upstream, Methods::default(), Clock::fixed(1_000), TaskTracker::new());
    let mut last = None;
    for lease in leases {
        let request = Box::new(Request::new(Either::Left(Full::<Bytes>::default())));
        let seat = guard.rooms.paying.enter(None);
        let carried = guard.carry(lease, (), seat, request, &route, &asked).await;
        last = carried.ok().map(|response| response.status());
    }
    (last, told_of(&traffic))
}

fn told_of(traffic: &Traffic) -> Vec<String> {
    let mut page = Page::default();
    traffic.tell(&mut page);
    let text = page.into_text();
    text.lines().filter(|line| line.starts_with("gateway_pa")).map(str::to_owned).collect()
}

async fn told(response: Response<Body<Full<Bytes>>>) -> String {
    let Either::Left(mut own) = response.into_body() else { panic!("it is not the gateway's") };
    let frame = http_body_util::BodyExt::frame(&mut own).await.unwrap().unwrap();
    let body = frame.into_data().unwrap();
    let document: Value = serde_json::from_slice(&body).unwrap();
    document["detail"].as_str().unwrap().to_owned()
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_request_that_is_longer_on_its_way_than_its_payment_waits_is_cut_off_and_not_charged() {
    let lease = lease(false);
    let slow = Slow { takes: 10 * MINUTE, is_reached: true };
    let (response, waited) = carried(&lease, slow).await;
    assert_eq!((response.status(), waited), (StatusCode::GATEWAY_TIMEOUT, MINUTE + SLACK));
    assert_eq!(*lease.ended.lock().unwrap(), [End::Released { tried: true }]);
    let told = told(response).await;
    assert!(told.ends_with("; nothing was charged for this request"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_slow_and_in_time_is_delivered() {
    let lease = lease(false);
    let slow = Slow { takes: MINUTE - Duration::from_secs(1), is_reached: true };
    let (response, _) = carried(&lease, slow).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(*lease.ended.lock().unwrap(), [End::Delivered(StatusCode::OK)]);
}

#[tokio::test(start_paused = true)]
async fn a_payment_that_moved_counts_as_tried_only_if_its_request_went_out() {
    for (is_reached, words) in [
        (
            false,
            "the payment is settled: present it again with the same request, this did not count",
        ),
        (
            true,
            "the payment is settled: it may be presented 3 times in all with the same request, within 60 s, and this was \
             one of them",
        ),
    ] {
        let lease = lease(true);
        let (response, _) = carried(&lease, Slow { takes: 10 * MINUTE, is_reached }).await;
        assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
        assert_eq!(*lease.ended.lock().unwrap(), [End::Released { tried: is_reached }]);
        let told = told(response).await;
        assert!(told.ends_with(words), "{told}");
    }
}

#[tokio::test]
async fn an_answer_that_is_held_back_behind_a_payment_that_moved_counts_as_paid_and_not_served() {
    let unrecorded = |is_settled| Lease { is_kept: false, ..lease(is_settled) };
    let (status, counted_of) = counted(&[unrecorded(true)]).await;
    let expected = [
        r#"gateway_payments_total{route="act",method="mpp.charge",outcome="not_served"} 1"#,
        r#"gateway_paid_not_served_total{route="act"} 1"#,
    ];
    assert_eq!((status, counted_of), (Some(StatusCode::SERVICE_UNAVAILABLE), to_vec(&expected)));
    // What has not moved is denied, and counted as that by who hears so.
    assert_eq!(counted(&[unrecorded(false)]).await, (None, Vec::new()));
}

#[tokio::test]
async fn a_payment_that_moved_and_is_one_too_many_of_its_payer_counts_as_paid_and_not_served() {
    for (is_settled, outcome, unserved) in [(true, "not_served", 1), (false, "turned_away", 0)] {
        let (status, counted) = counted(&[lease(false), lease(is_settled)]).await;
        let of = |outcome: &str| {
            format!(
                r#"gateway_payments_total{{route="act",method="mpp.charge",outcome="{outcome}"}} 1"#
            )
        };
        let unserved = format!(r#"gateway_paid_not_served_total{{route="act"}} {unserved}"#);
        assert_eq!(status, Some(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(counted, [of("delivered"), of(outcome), unserved]);
    }
}

#[tokio::test]
async fn a_payment_whose_work_panics_counts_as_pending() {
    let traffic = Traffic::default();
    let route = route_of(&asked(), traffic.of("act"));
    let tally = Tally::new(&route, Rail::X402, &http::Extensions::new());
    let work = panicking();
    let answer = paid::to_its_end(work, &TaskTracker::new(), tally).await;
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    let expected = [
        r#"gateway_payments_total{route="act",method="x402",outcome="pending"} 1"#,
        r#"gateway_paid_not_served_total{route="act"} 0"#,
    ];
    assert_eq!(told_of(&traffic), expected);
}

async fn panicking() -> Response<Body<Full<Bytes>>> {
    panic!("told")
}

fn to_vec(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn a_body_that_is_too_long_is_no_attempt_and_one_that_broke_off_is() {
    assert!(!Obstacle::BodyTooLong(1).is_an_attempt());
    assert!(Obstacle::BodyLost(String::new()).is_an_attempt());
    assert!(Obstacle::TimedOut.is_an_attempt() && !Obstacle::Busy.is_an_attempt());
}

#[test]
fn a_payment_must_live_as_long_as_an_upload_may_take_before_it_settles() {
    let Asked { terms, bound, .. } = asked();
    let seconds = Duration::from_secs;
    for (settle, streams, life, forwarding, needed) in [
        (SettleOrder::AfterHead, false, 60, 1, 2),
        // Half of what the upstream's second and a ledger to settle in leave.
        (SettleOrder::AfterHead, true, 60, 28, 7),
        (SettleOrder::AfterHead, true, 600, 61, 14),
        (SettleOrder::AfterHead, true, 3, 1, 2),
        (SettleOrder::BeforeForward, true, 60, 61, 1),
        (SettleOrder::ByMethod, true, 60, 61, 1),
    ] {
        let terms = Terms { settle, ..(*terms).clone() };
        let bound = Bound { streams, ..bound.clone() };
        let found =
            (terms.forwarding(&bound, seconds(life)), terms.life_needed(&bound, seconds(life)));
        assert_eq!(found, (seconds(forwarding), needed), "{settle:?} {streams} {life}");
    }
}

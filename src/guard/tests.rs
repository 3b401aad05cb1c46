//! How long a payment waits for its request to be forwarded. What is decided of real payments is tested from end to end.

use std::sync::Mutex;

use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::*;
use crate::{
    pay::{Challenge, ChargeWhen, Offer, Receipt, Redelivery},
    protocol::{mpp::CredentialHeader, mpp::PAYMENT_RECEIPT},
    route::Pattern,
    store::Pending,
};

/// An upstream that answers after a while, as one does whose client takes so long to send the body.
#[derive(Clone)]
struct Slow(Duration);

impl<B: Send + 'static> Forward<B> for Slow {
    type Slot = ();
    type Body = Full<Bytes>;

    async fn reserve(&self, _: &Route, _: Duration) -> Result<(), Obstacle> {
        Ok(())
    }

    async fn forward(
        &self,
        (): (),
        _: &Route,
        _: Admitted<Request<B>>,
    ) -> Result<Response<Full<Bytes>>, Obstacle> {
        sleep(self.0).await;
        Ok(Response::new(Full::from("the answer")))
    }
}

/// A payment that is reserved for so long, and how it ended.
#[derive(Default)]
struct Lease {
    patience: Option<Duration>,
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

    async fn verify(&self, _: &Arc<Terms>, _: &Bound, (): ()) -> Result<(), Denied> {
        Ok(())
    }

    async fn settle(&self, (): ()) -> Result<((), Receipt), Denied> {
        let header = (PAYMENT_RECEIPT, http::HeaderValue::from_static("paid"));
        Ok(((), Receipt { header, next: None, with_failures: false }))
    }

    async fn deliver(&self, (): (), status: StatusCode) -> Result<(), Fault> {
        self.end(End::Delivered(status));
        Ok(())
    }

    async fn release(&self, (): (), tried: bool) {
        self.end(End::Released { tried });
    }

    fn patience(&self, _: &Terms) -> Option<Duration> {
        self.patience
    }

    fn is_settled(&self, (): &()) -> bool {
        false
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
    let bound = Bound { method: HttpMethod::POST, target: "/act".to_owned(), body: None };
    let (wanted, asker) = (Wanted::default(), Asker::default());
    Asked { terms: Arc::new(terms), bound, wanted, asker }
}

/// Forwards a request of which the upstream has an answer after `takes`; its status, how its payment ended, and when.
async fn carried(patience: Option<Duration>, takes: Duration) -> (StatusCode, Vec<End>, Duration) {
    let asked = asked();
    let route = Route {
        name: "act".into(),
        pattern: Pattern::parse("POST /act").unwrap(),
        access: Access::Priced(asked.terms.clone()),
        upstream: 0,
        timeout: asked.terms.timeout,
        body_limit: 1_024,
        tunnel: None,
        rewrite: None,
    };
    let guard =
        Guard::new(Slow(takes), Methods::default(), Clock::fixed(1_000), TaskTracker::new());
    let lease = Lease { patience, ..Lease::default() };
    let request = Request::new(Either::Left(Full::<Bytes>::default()));
    let begun = Instant::now();
    let response = guard.carry(&lease, (), request, &route, &asked).await.unwrap();
    (response.status(), lease.ended.into_inner().unwrap(), begun.elapsed())
}

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn a_request_that_is_longer_on_its_way_than_its_payment_is_reserved_is_cut_off_and_not_charged()
 {
    let (status, ended, waited) = carried(Some(MINUTE), 10 * MINUTE).await;
    assert_eq!((status, waited), (StatusCode::GATEWAY_TIMEOUT, MINUTE));
    assert_eq!(ended, [End::Released { tried: true }]);
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_slow_and_in_time_is_delivered() {
    let almost = MINUTE - Duration::from_secs(1);
    let (status, ended, _) = carried(Some(MINUTE), almost).await;
    assert_eq!((status, &*ended), (StatusCode::OK, &[End::Delivered(StatusCode::OK)][..]));
    let (status, ended, _) = carried(None, 10 * MINUTE).await;
    assert_eq!((status, &*ended), (StatusCode::OK, &[End::Delivered(StatusCode::OK)][..]));
}

//! Holds: a test stops calls of a method at an exact place, looks around, and lets them go on or makes them vanish.
//!
//! It knows neither the RPC nor the ledger: [`Held::pass`] is called where a call may be stopped.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;
use tokio::sync::watch;

use crate::rpc::Method;

/// Where a call is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// It has come, and nothing has been done for it.
    BeforeEffect,
    /// It was carried out, and its answer has not left.
    AfterEffect,
}

/// Stops every call of a method, from [`Faults::hold`](crate::Faults::hold) on until it is released or dropped.
///
/// A call that was stopped outlives its caller: when it is released it is carried out, though nobody waits any more, as
/// on a node that had received it.
#[derive(Debug)]
#[must_use = "a hold that is dropped lets its calls go on"]
pub struct Hold {
    held: Arc<Held>,
    all: Holds,
}

/// The holds that are in place; clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Holds(Arc<Mutex<Vec<Arc<Held>>>>);

/// What a hold and the calls that it stops share.
#[derive(Debug)]
pub(crate) struct Held {
    method: Method,
    moment: Moment,
    /// What each call that came asked, as JSON.
    arrived: watch::Sender<Vec<String>>,
    way: watch::Sender<Way>,
}

/// How it goes on for a call that came to a hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Shut,
    On,
    /// The connection is closed, and what was not done yet is not done.
    Out,
}

impl Hold {
    /// Waits until a call stands here; at once if one has come already.
    pub async fn arrived(&self) {
        self.arrived_times(1).await;
    }

    /// Waits until so many calls have come here since the hold was made.
    pub async fn arrived_times(&self, calls: usize) {
        let mut arrived = self.held.arrived.subscribe();
        arrived.wait_for(|asked| asked.len() >= calls).await.expect("this hold owns the sender");
    }

    /// Waits until a call that asks for `text` stands here, whoever else has come.
    pub async fn arrived_with(&self, text: &str) {
        let mut arrived = self.held.arrived.subscribe();
        let is_here = |asked: &Vec<String>| asked.iter().any(|asked| asked.contains(text));
        arrived.wait_for(is_here).await.expect("this hold owns the sender");
    }

    /// How many calls have come here since the hold was made.
    pub fn calls(&self) -> usize {
        self.held.arrived.borrow().len()
    }

    /// Lets the calls go on, those whose callers are gone too, and stops no more.
    pub fn release(self) {}

    /// Closes the connections of the calls, and stops no more. Those stopped before their effect never have one.
    pub fn discard(self) {
        self.held.way.send_replace(Way::Out);
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.all.lock().retain(|held| !Arc::ptr_eq(held, &self.held));
        self.held.way.send_if_modified(|way| {
            let is_shut = *way == Way::Shut;
            if is_shut {
                *way = Way::On;
            }
            is_shut
        });
    }
}

impl Holds {
    /// Puts a hold in place.
    pub(crate) fn add(&self, method: Method, moment: Moment) -> Hold {
        let (arrived, way) = (watch::Sender::new(Vec::new()), watch::Sender::new(Way::Shut));
        let held = Arc::new(Held { method, moment, arrived, way });
        self.lock().push(Arc::clone(&held));
        Hold { held, all: self.clone() }
    }

    /// Whether calls of `method` may be stopped.
    pub(crate) fn concern(&self, method: Method) -> bool {
        self.lock().iter().any(|held| held.method == method)
    }

    /// Waits at every hold for `method` at `moment`, in the order in which they were made.
    pub(crate) async fn pass(&self, method: Method, moment: Moment, asked: Option<&Value>) -> Way {
        let is_here = |held: &&Arc<Held>| held.method == method && held.moment == moment;
        let holds: Vec<_> = self.lock().iter().filter(is_here).cloned().collect();
        for held in holds {
            if held.pass(asked).await == Way::Out {
                return Way::Out;
            }
        }
        Way::On
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Held>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    async fn pass(&self, asked: Option<&Value>) -> Way {
        // Before the arrival is told: whoever hears of it may release at once.
        let mut way = self.way.subscribe();
        let asked = asked.map(Value::to_string).unwrap_or_default();
        self.arrived.send_modify(|all| all.push(asked));
        *way.wait_for(|way| *way != Way::Shut).await.expect("this holds the sender")
    }
}

//! Whose turn it is while a request goes up, and what became of its body.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, Waker},
    time::Duration,
};

use http_body::Body;
use tokio::{
    sync::oneshot,
    time::{Instant, Sleep, sleep, timeout},
};

use super::{body::BodyError, room::Place};
use crate::guard::Obstacle;

/// Whose turn it is while a request goes up: the client's to send more of its body, or the upstream's to take it or to
/// answer.
///
/// An upstream has its time to the first byte of an answer from when it was last given something, not from the beginning
/// of an upload that takes long. A request without a body has nothing to pace.
#[derive(Clone, Debug)]
pub(super) struct Pace(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// How long the body may go on when all of its answer has come.
    after: Duration,
    /// A body that goes on when its answer has ended still takes room at the upstream.
    _place: Place,
}

#[derive(Debug)]
struct State {
    turn: Turn,
    /// What broke the body off, if something did.
    lost: Option<Obstacle>,
    /// When something moved last, in either direction.
    moved: Instant,
    /// What has come of the answer.
    answer: Answer,
    /// Who waits for more of the body.
    waiting: Option<Waker>,
    /// Counts the request at its server until the body has ended too.
    load: Vec<Arc<()>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    None,
    Head,
    /// All of it, or it is of no use any more.
    Whole {
        since: Instant,
    },
}

#[derive(Clone, Copy, Debug)]
enum Turn {
    /// The upstream has to say that it wants the body.
    Held {
        since: Instant,
    },
    Client,
    Upstream {
        since: Instant,
    },
    /// The body has gone up, or nobody wants it any more.
    Over {
        since: Instant,
    },
}

impl Pace {
    /// The pace of a request with `body`, which waits for a gate if it `is_held`; gives `place` back if there is no body.
    /// A direction may be silent for `idle`.
    pub(super) fn new<B: Body>(
        body: &B,
        is_held: bool,
        idle: Duration,
        place: Place,
    ) -> (Self, Option<Place>) {
        if body.is_end_stream() {
            return (Self(None), Some(place));
        }
        let since = Instant::now();
        let turn = if is_held { Turn::Held { since } } else { Turn::Upstream { since } };
        let state = Mutex::new(State {
            turn,
            lost: None,
            moved: since,
            answer: Answer::None,
            waiting: None,
            load: Vec::new(),
        });
        (Self(Some(Arc::new(Shared { state, after: AFTER.min(idle), _place: place }))), None)
    }

    /// The pace of a request without a body.
    pub(super) const fn none() -> Self {
        Self(None)
    }

    /// Waits for `answer` until the upstream has had its turn for as long as `patience`.
    pub(super) async fn wait<F: Future>(
        &self,
        patience: Duration,
        mut answer: Pin<&mut F>,
    ) -> Option<F::Output> {
        let mut left = patience;
        loop {
            if let Ok(output) = timeout(left, answer.as_mut()).await {
                return Some(output);
            }
            left = match self.state()?.turn {
                Turn::Client => patience,
                Turn::Held { since } | Turn::Upstream { since } | Turn::Over { since } => {
                    patience.saturating_sub(since.elapsed())
                }
            };
            if left.is_zero() {
                return None;
            }
        }
    }

    /// Notes that the client's body was asked for more, and whether there was some.
    pub(super) fn note(&self, is_given: bool) {
        if let Some(mut state) = self.state() {
            state.turn =
                if is_given { Turn::Upstream { since: Instant::now() } } else { Turn::Client };
        }
    }

    /// Notes why the body does not go up.
    pub(super) fn lose(&self, error: &BodyError) {
        if let Some(mut state) = self.state() {
            state.lost = Some(match error {
                BodyError::TooLong(limit) => Obstacle::BodyTooLong(*limit),
                lost => Obstacle::BodyLost(lost.to_string()),
            });
        }
    }

    /// Notes that no more of the body goes up.
    pub(super) fn end(&self) {
        if let Some(mut state) = self.state()
            && !matches!(state.turn, Turn::Held { .. })
        {
            state.turn = Turn::Over { since: Instant::now() };
        }
    }

    /// Keeps what counts the request at its server for as long as its body goes up.
    pub(super) fn hold(&self, load: &Arc<()>) {
        if let Some(mut state) = self.state() {
            state.load.push(load.clone());
        }
    }

    /// Notes that something of the body, or of its answer, has moved.
    pub(super) fn note_moved(&self) {
        if let Some(mut state) = self.state() {
            state.moved = Instant::now();
        }
    }

    /// When something moved last, if that is noted here.
    pub(super) fn moved(&self) -> Option<Instant> {
        Some(self.state()?.moved)
    }

    /// Notes that the head of the answer has come.
    pub(super) fn note_answer(&self) {
        if let Some(mut state) = self.state() {
            state.answer = Answer::Head;
        }
    }

    /// Notes that all of the answer has come, or that nobody wants it: what still comes of the body is of little use.
    pub(super) fn finish(&self) {
        let waiting = self.state().and_then(|mut state| {
            state.answer = Answer::Whole { since: Instant::now() };
            state.waiting.take()
        });
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    /// Whether nothing of an answer has come.
    pub(super) fn is_unanswered(&self) -> bool {
        self.state().is_none_or(|state| state.answer == Answer::None)
    }

    /// Until when the body may go on, if all of the answer has come; whoever asks is woken when it has.
    pub(super) fn ends(&self, cx: &Context<'_>) -> Option<Instant> {
        let mut state = self.state()?;
        match state.answer {
            Answer::Whole { since } => Some(since.checked_add(self.after()).unwrap_or(since)),
            Answer::None | Answer::Head => {
                state.waiting = Some(cx.waker().clone());
                None
            }
        }
    }

    /// How long the body may go on when all of its answer has come.
    pub(super) fn after(&self) -> Duration {
        self.0.as_ref().map_or(Duration::ZERO, |shared| shared.after)
    }

    /// What broke the body off.
    pub(super) fn take_lost(&self) -> Option<Obstacle> {
        self.state()?.lost.take()
    }

    /// Whether all of the body has gone up, or there is none.
    pub(super) fn is_over(&self) -> bool {
        self.state().is_none_or(|state| matches!(state.turn, Turn::Over { .. }))
    }

    /// Whether the upstream never asked for the body.
    pub(super) fn is_held(&self) -> bool {
        self.state().is_some_and(|state| matches!(state.turn, Turn::Held { .. }))
    }

    fn state(&self) -> Option<MutexGuard<'_, State>> {
        let shared = self.0.as_ref()?;
        Some(shared.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Holds a body back until the upstream has said `100 Continue`.
///
/// Source: RFC 9110 section 10.1.1.
#[derive(Debug)]
pub(super) struct Gate {
    /// `None` when an answer has come instead: the body stays where it is.
    told: Option<oneshot::Receiver<()>>,
    timer: Pin<Box<Sleep>>,
}

impl Gate {
    /// A gate, and what opens it.
    pub(super) fn new() -> (Self, GoAhead) {
        let (tell, told) = oneshot::channel();
        let go_ahead = GoAhead(Arc::new(Mutex::new(Some(tell))));
        (Self { told: Some(told), timer: Box::pin(sleep(HOLD)) }, go_ahead)
    }

    /// Ready when the body may go up: the upstream said so, or says nothing at all.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(told) = &mut self.told else { return Poll::Pending };
        match Pin::new(told).poll(cx) {
            Poll::Ready(Ok(())) => Poll::Ready(()),
            Poll::Ready(Err(_)) => {
                self.told = None;
                Poll::Pending
            }
            Poll::Pending => self.timer.as_mut().poll(cx),
        }
    }
}

/// Opens a gate. Where all clones are dropped before, it stays shut.
#[derive(Clone, Debug)]
pub(super) struct GoAhead(Arc<Mutex<Option<oneshot::Sender<()>>>>);

impl GoAhead {
    /// Opens the gate, unless it is open.
    pub(super) fn give(&self) {
        if let Some(tell) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            // Nobody listens where the body is of no use any more.
            let _told = tell.send(());
        }
    }
}

/// How long a body may go on at most when all of its answer has come.
const AFTER: Duration = Duration::from_secs(30);
/// How long an upstream may take to say that it wants a body: some never say it, and wait for the body.
const HOLD: Duration = Duration::from_secs(1);

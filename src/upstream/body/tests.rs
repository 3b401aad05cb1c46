//! How long a request's body may take.

use std::{convert::Infallible, future::poll_fn};

use futures_util::{FutureExt as _, Stream, StreamExt as _, stream};
use http_body_util::StreamBody;
use tokio::time::Instant;

use super::*;
use crate::{
    guard::Comer,
    upstream::room::{Bounds, Room},
};

const SECOND: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_secs(20);

type Frames = Pin<Box<dyn Stream<Item = Result<Frame<Bytes>, Infallible>> + Send>>;

/// A body of pieces of `size`, one each `pause`.
fn pieces(size: usize, pause: Duration) -> StreamBody<Frames> {
    let pieces = stream::repeat(()).then(move |()| async move {
        tokio::time::sleep(pause).await;
        Ok(Frame::data(Bytes::from(vec![b'x'; size])))
    });
    StreamBody::new(Box::pin(pieces))
}

fn upload(body: StreamBody<Frames>, haste: Option<Haste>) -> (Upload<StreamBody<Frames>>, Pace) {
    let room = Room::new(Bounds { places: 1, waiting: 0, is_sold: true });
    let comer = Comer { address: None, pays: false };
    let taken = std::sync::Arc::new(room).take(comer, Duration::ZERO).now_or_never();
    let place = taken.unwrap().unwrap();
    let (pace, _) = Pace::new(&body, false, IDLE, place);
    (Upload::new(body, IDLE, haste, u64::MAX, pace.clone(), None), pace)
}

/// Why a body ends, and when; it is left after an hour.
async fn ends(mut upload: Upload<StreamBody<Frames>>) -> (Option<BodyError>, Duration) {
    let begun = Instant::now();
    while begun.elapsed() < 3_600 * SECOND {
        match poll_fn(|cx| Pin::new(&mut upload).poll_frame(cx)).await {
            Some(Ok(_)) => {}
            Some(Err(error)) => return (Some(error), begun.elapsed()),
            None => unreachable!("it goes on"),
        }
    }
    (None, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn i06_a_body_that_dribbles_is_broken_off_whoever_reads_it() {
    let haste = Some(Haste(10 * SECOND));
    for size in [0, 1, 100] {
        let (upload, pace) = upload(pieces(size, SECOND), haste);
        let (error, took) = ends(upload).await;
        assert!(matches!(error, Some(BodyError::Slow(_))), "{size}: {error:?}");
        assert_eq!(took, 10 * SECOND);
        assert!(matches!(pace.take_lost(), Some(crate::guard::Obstacle::BodyLost(_))));
    }
    let (enough, _) = upload(pieces(4096, 9 * SECOND), haste);
    assert!(ends(enough).await.0.is_none());
    // Once the answer has begun it is a conversation.
    let (talk, pace) = upload(pieces(1, 9 * SECOND), haste);
    pace.note_answer();
    assert!(ends(talk).await.0.is_none());
}

#[tokio::test(start_paused = true)]
async fn empty_pieces_are_nothing_and_what_moves_the_other_way_is_something() {
    let (empty, _) = upload(pieces(0, SECOND), None);
    let (error, took) = ends(empty).await;
    assert!(matches!(error, Some(BodyError::Stalled(IDLE))), "{error:?}");
    assert_eq!(took, IDLE);
    let (silent, pace) = upload(pieces(1, 10_000 * SECOND), None);
    let answer = async {
        for _ in 0..10 {
            tokio::time::sleep(IDLE - SECOND).await;
            pace.note_moved();
        }
    };
    let ((error, took), ()) = tokio::join!(ends(silent), answer);
    assert!(matches!(error, Some(BodyError::Stalled(IDLE))), "{error:?}");
    assert_eq!(took, 10 * (IDLE - SECOND) + IDLE);
}

#[tokio::test(start_paused = true)]
async fn a_body_whose_answer_has_ended_has_a_fixed_time() {
    let (late, pace) = upload(pieces(4096, SECOND), None);
    let answer = async {
        tokio::time::sleep(100 * SECOND).await;
        pace.finish();
    };
    let ((error, took), ()) = tokio::join!(ends(late), answer);
    assert!(matches!(error, Some(BodyError::Late(IDLE))), "{error:?}");
    assert_eq!(took, 100 * SECOND + IDLE);
    // One that says nothing is woken when its answer ends.
    let (silent, pace) = upload(pieces(1, 10_000 * SECOND), None);
    pace.finish();
    let (error, took) = ends(silent).await;
    assert!(error.is_some() && took == IDLE, "{error:?} {took:?}");
}

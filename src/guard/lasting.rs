//! Work that is done to its end, whether or not somebody waits for it.
//!
//! It runs in the task of whoever waits, which costs no task of its own; only if that one goes away before the end, it gets
//! one.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
};

use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

/// A future that goes on when it is dropped. Polled and dropped within a runtime.
pub(super) struct Lasting<F>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    /// `None` once it has ended.
    work: Option<Pin<Box<F>>>,
    tasks: TaskTracker,
    /// Whoever waits for the tasks waits for this one from the start.
    _token: TaskTrackerToken,
}

/// The work ended by a panic, whose message is in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("it panicked")]
pub(super) struct Panicked;

impl<F> Lasting<F>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    pub(super) fn new(work: F, tasks: &TaskTracker) -> Self {
        Self { work: Some(Box::pin(work)), tasks: tasks.clone(), _token: tasks.token() }
    }
}

impl<F> Future for Lasting<F>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    type Output = Result<F::Output, Panicked>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(mut work) = self.work.take() else { return Poll::Pending };
        // A panic would take the whole connection with it. The work is dropped then, and nothing of it is seen again.
        match catch_unwind(AssertUnwindSafe(|| (work.as_mut().poll(context), work))) {
            Ok((Poll::Ready(output), _)) => Poll::Ready(Ok(output)),
            Ok((Poll::Pending, work)) => {
                self.work = Some(work);
                Poll::Pending
            }
            Err(_) => Poll::Ready(Err(Panicked)),
        }
    }
}

impl<F> Drop for Lasting<F>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            drop(self.tasks.spawn(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_awaited_ends_as_if_it_were_awaited_itself() {
        let tasks = TaskTracker::new();
        let (go_on, goes_on) = oneshot::channel();
        let work = Lasting::new(goes_on, &tasks);
        go_on.send(7).unwrap();
        assert_eq!(work.await, Ok(Ok(7)));
        assert!(tasks.is_empty());
    }

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_goes_on_and_is_waited_for_at_the_end() {
        let tasks = TaskTracker::new();
        let (go_on, goes_on) = oneshot::channel();
        let (done, is_done) = oneshot::channel();
        let work = async move {
            let heard = goes_on.await;
            done.send(heard).unwrap();
        };
        let mut work = Lasting::new(work, &tasks);
        assert!((&mut work).now_or_never().is_none());
        assert_eq!(tasks.len(), 1);
        drop(work);
        assert_eq!(tasks.len(), 1);
        tasks.close();
        go_on.send(7).unwrap();
        assert_eq!(is_done.await, Ok(Ok(7)));
        tasks.wait().await;
    }

    #[tokio::test]
    async fn a_panic_is_told_to_who_waits_and_goes_no_further() {
        let tasks = TaskTracker::new();
        let work = async { panic!("told") };
        let work: Lasting<Pin<Box<dyn Future<Output = ()> + Send>>> =
            Lasting::new(Box::pin(work), &tasks);
        assert_eq!(work.await, Err(Panicked));
        assert!(tasks.is_empty());
    }
}

//! Where channels are asked for that memory cannot tell of: who asks for the same one shares one reading, and whatever
//! comes while others are read goes into the next call together.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{Semaphore, mpsc, watch},
    time::{Instant, sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::debug;

use super::{LookError, Shared, View, reader::Wanted};
use crate::protocol::stellar::ContractId;

/// What comes of asking.
pub(super) type Answer = Result<Arc<View>, LookError>;

/// Takes the questions.
#[derive(Debug)]
pub(super) struct Desk {
    open: Mutex<Open>,
    /// Channels that are known, or kept watched.
    known: mpsc::Sender<ContractId>,
    strange: mpsc::Sender<ContractId>,
}

/// The other end of the desk's queues.
#[derive(Debug)]
pub(super) struct Queues {
    known: mpsc::Receiver<ContractId>,
    strange: mpsc::Receiver<ContractId>,
}

/// The questions that are open.
#[derive(Debug, Default)]
struct Open {
    waiting: HashMap<ContractId, Asked>,
    /// Those whose call is under way.
    under_way: HashMap<ContractId, Asked>,
}

/// All who wait for one reading.
type Asked = Arc<watch::Sender<Option<Answer>>>;

/// Which readings do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Want {
    /// One that is under way does.
    Any,
    /// It has to begin from now on.
    New,
}

impl Desk {
    pub(super) fn new() -> (Self, Queues) {
        let (known, of_known) = mpsc::channel(MOST_WAITING);
        let (strange, of_strange) = mpsc::channel(MOST_WAITING);
        let desk = Self { open: Mutex::default(), known, strange };
        (desk, Queues { known: of_known, strange: of_strange })
    }

    /// Asks for `channel`. If that takes a reading of its own, `admit` has to let it, or gives the answer.
    pub(super) async fn ask(
        &self,
        channel: ContractId,
        want: Want,
        is_known: bool,
        admit: impl FnOnce() -> Result<(), Answer>,
    ) -> Answer {
        let mut answer = {
            let mut open = self.open();
            let under_way = open.under_way.get(&channel).filter(|_| want == Want::Any);
            match under_way.or_else(|| open.waiting.get(&channel)) {
                Some(sender) => sender.subscribe(),
                None => {
                    if let Err(answer) = admit() {
                        return answer;
                    }
                    let queue = if is_known { &self.known } else { &self.strange };
                    queue
                        .try_send(channel)
                        .map_err(|_| LookError::TooMany { retry_after: BUSY })?;
                    let (sender, answer) = watch::channel(None);
                    open.waiting.insert(channel, Arc::new(sender));
                    answer
                }
            }
        };
        let told = timeout(PATIENCE, answer.wait_for(Option::is_some)).await;
        match told {
            Ok(Ok(told)) => told.clone().unwrap_or_else(|| Err(silent())),
            _ => Err(silent()),
        }
    }

    /// Moves questions to those under way.
    fn set_off(&self, channels: &[ContractId]) -> HashMap<ContractId, Asked> {
        let mut open = self.open();
        let mut off = HashMap::new();
        for channel in channels {
            if let Some(asked) = open.waiting.remove(channel) {
                open.under_way.insert(*channel, asked.clone());
                off.insert(*channel, asked);
            }
        }
        off
    }

    /// Answers all who asked for `channel` before its call was made.
    fn answer(&self, channel: ContractId, asked: &Asked, answer: Answer) {
        let mut open = self.open();
        // A later call for the same channel may be under way as well.
        if open.under_way.get(&channel).is_some_and(|other| Arc::ptr_eq(other, asked)) {
            open.under_way.remove(&channel);
        }
        drop(open);
        asked.send_replace(Some(answer));
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes the calls for what is asked at the desk, a few at once, until `stop`.
pub(super) async fn serve(
    shared: Arc<Shared>,
    mut queues: Queues,
    tasks: TaskTracker,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(MOST_CALLS));
    loop {
        let (mut known, mut strange) = (Vec::new(), Vec::new());
        let next = async {
            let place = places.clone().acquire_owned().await;
            tokio::select! {
                biased;
                _ = queues.known.recv_many(&mut known, MOST_KNOWN_ONES) => {}
                _ = queues.strange.recv_many(&mut strange, MOST_STRANGE_ONES) => {}
            }
            place
        };
        let place = tokio::select! {
            () = stop.cancelled() => return,
            place = next => place,
        };
        let pause = !strange.is_empty();
        let channels = if pause { strange } else { known };
        let asked = shared.desk.set_off(&channels);
        let (of_call, stop_call) = (shared.clone(), stop.clone());
        tasks.spawn(async move {
            tokio::select! {
                () = stop_call.cancelled() => {}
                () = call(&of_call, &asked) => {}
            }
            drop(place);
        });
        if pause {
            // Strangers do not make us call without a pause, and what comes meanwhile goes together.
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(STRANGE_PAUSE) => {}
            }
        }
    }
}

async fn call(shared: &Shared, asked: &HashMap<ContractId, Asked>) {
    let memory = &shared.memory;
    let wanted = |channel: &ContractId| Wanted { channel: *channel, token: memory.token(*channel) };
    let wanted: Vec<_> = asked.keys().map(wanted).collect();
    let began = Instant::now();
    let read = shared.reader.read(&wanted).await;
    let mut answers: HashMap<_, _> = match read {
        Ok(read) => read
            .into_iter()
            .map(|(channel, judged)| (channel, shared.take(channel, judged, began)))
            .collect(),
        Err(error) => {
            debug!(%error, "channels could not be read");
            let failed = || Err(LookError::Failed(error.to_string()));
            asked.keys().map(|channel| (*channel, failed())).collect()
        }
    };
    for (channel, waiting) in asked {
        let answer = answers.remove(channel).unwrap_or_else(|| Err(silent()));
        shared.desk.answer(*channel, waiting, answer);
    }
}

fn silent() -> LookError {
    LookError::Failed("the Stellar RPC did not tell of the channel in time".to_owned())
}

/// How many channels wait to be read at most.
const MOST_WAITING: usize = 1_000;
/// How many calls are under way at once.
const MOST_CALLS: usize = 4;
const MOST_KNOWN_ONES: usize = super::reader::MOST_CHANNELS;
/// Few enough that ten contracts as large as they may be still fit into one answer.
const MOST_STRANGE_ONES: usize = 10;
const STRANGE_PAUSE: Duration = Duration::from_millis(50);
/// How long somebody who asks waits.
const PATIENCE: Duration = Duration::from_secs(5);
/// When to come back if too many wait.
const BUSY: Duration = Duration::from_secs(1);

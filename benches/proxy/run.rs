//! What a load cost the process under it.

use std::{
    fs,
    time::{Duration, Instant},
};

/// A process whose processor time is told, with that of its children: nginx's workers are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched(pub(crate) u32);

/// A load that has begun.
pub(crate) struct Started {
    watched: Watched,
    begin: Instant,
    cpu: Duration,
}

/// What one load brought.
#[derive(Clone, Debug)]
pub(crate) struct Run {
    /// In ascending order.
    latencies: Vec<Duration>,
    took: Duration,
    cpu: Duration,
}

impl Watched {
    pub(crate) fn start(self) -> Started {
        Started { watched: self, begin: Instant::now(), cpu: self.cpu() }
    }

    /// User and system time since it began, to a hundredth of a second.
    fn cpu(self) -> Duration {
        let ticks = |process| {
            let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap();
            // The name, in parentheses, may hold anything.
            let (_, fields) = stat.rsplit_once(')').unwrap();
            let ticks = fields.split_whitespace().skip(11).take(2);
            ticks.map(|ticks| ticks.parse::<u64>().unwrap()).sum::<u64>()
        };
        Duration::from_millis(self.processes().into_iter().map(ticks).sum::<u64>() * TICK_MS)
    }

    /// The process and its children.
    fn processes(self) -> Vec<u32> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.0)).unwrap();
        let children = children.split_whitespace().map(|child| child.parse().unwrap());
        std::iter::once(self.0).chain(children).collect()
    }

    /// What it has in memory, in KiB.
    pub(crate) fn resident(self) -> u64 {
        let resident = |process| {
            let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap();
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
            line.trim().trim_end_matches(" kB").parse::<u64>().unwrap()
        };
        self.processes().into_iter().map(resident).sum()
    }
}

impl Started {
    pub(crate) fn end(self, mut latencies: Vec<Duration>) -> Run {
        let (took, cpu) = (self.begin.elapsed(), self.watched.cpu() - self.cpu);
        latencies.sort_unstable();
        assert!(!latencies.is_empty(), "nobody was answered");
        Run { latencies, took, cpu }
    }
}

impl Run {
    /// Requests a second.
    pub(crate) fn rate(&self) -> f64 {
        self.requests() / self.took.as_secs_f64()
    }

    /// Microseconds of the process's time a request.
    pub(crate) fn cpu_us(&self) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / self.requests()
    }

    /// The latency that so many of a hundred do not exceed.
    pub(crate) fn at(&self, percent: usize) -> Duration {
        self.latencies[(self.latencies.len() * percent / 100).min(self.latencies.len() - 1)]
    }

    fn requests(&self) -> f64 {
        f64::from(u32::try_from(self.latencies.len()).unwrap())
    }
}

/// `USER_HZ` is 100 on every Linux that Tollgate runs on.
const TICK_MS: u64 = 10;

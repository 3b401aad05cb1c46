//! The table of a run.

use std::{fmt, time::Duration};

use crate::run::Run;

/// One server under one load, as many times as there were rounds.
pub(crate) struct Row {
    load: &'static str,
    server: String,
    runs: Vec<Run>,
}

impl Row {
    pub(crate) fn new(load: &'static str, server: impl Into<String>) -> Self {
        Self { load, server: server.into(), runs: Vec::new() }
    }

    pub(crate) fn add(&mut self, run: Run) {
        self.runs.push(run);
    }

    /// The latency that half of its answers had at most.
    pub(crate) fn p50(&self) -> Duration {
        self.of(|run| run.at(50)).0
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The median, the lowest and the highest of what the rounds say.
    fn of<T: Copy + PartialOrd>(&self, figure: impl Fn(&Run) -> T) -> (T, T, T) {
        let mut all: Vec<T> = self.runs.iter().map(figure).collect();
        all.sort_by(|one, other| one.partial_cmp(other).unwrap());
        (all[(all.len() - 1) / 2], all[0], all[all.len() - 1])
    }
}

/// All rows, in their order; the first of a load is what the others are compared with.
#[derive(Default)]
pub(crate) struct Table(Vec<Row>);

impl Table {
    pub(crate) fn extend(&mut self, rows: impl IntoIterator<Item = Row>) {
        self.0.extend(rows);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n| load | server | CPU µs | lowest to highest | of the first | requests/s | p50 | p99 |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for row in &self.0 {
            let (cpu, least, most) = row.of(Run::cpu_us);
            let first = self.0.iter().find(|other| other.load == row.load).unwrap_or(row);
            let ratio = cpu / first.of(Run::cpu_us).0;
            writeln!(
                f,
                "| {} | {} | {cpu:.1} | {least:.1} to {most:.1} | {ratio:.2} | {:.0} | {} | {} |",
                row.load,
                row.server,
                row.of(Run::rate).0,
                millis(row.p50()),
                millis(row.of(|run| run.at(99)).0),
            )?;
        }
        Ok(())
    }
}

/// In milliseconds, as a table says it.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1000.0)
}

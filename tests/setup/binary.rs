//! The `tollgate` command, with its own environment and nothing else of this machine's.

use std::{path::Path, process::Stdio, time::Duration};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader, Lines},
    process::{Child, Command},
};

/// What a command said, and how it ended.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Said {
    /// The standard output of a command that did what it was told.
    #[track_caller]
    pub(crate) fn ok(self) -> String {
        assert_eq!(self.code, 0, "{self:?}");
        self.stdout
    }
}

/// Runs `tollgate ARGUMENTS` in `folder` to its end.
pub(crate) async fn tollgate(folder: &Path, arguments: &[&str]) -> Said {
    with_env(folder, arguments, &[]).await
}

/// As [`tollgate`], with these variables set.
pub(crate) async fn with_env(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Said {
    let output = command(folder, arguments).envs(env.iter().copied()).output();
    let output = tokio::time::timeout(PATIENCE, output).await.expect("it ends in time").unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Said {
        code: output.status.code().expect("it ends by itself"),
        stdout: text(output.stdout),
        stderr: text(output.stderr),
    }
}

/// A `tollgate` that serves until it is dropped.
pub(crate) struct Server {
    child: Child,
    said: Vec<String>,
    stdout: Lines<BufReader<Box<dyn AsyncRead + Unpin + Send>>>,
}

impl Server {
    /// Starts `tollgate ARGUMENTS` in `folder`; what it writes to stdout is read if `on_stdout`, else its log.
    pub(crate) fn start(folder: &Path, arguments: &[&str], on_stdout: bool) -> Self {
        let mut command = command(folder, arguments);
        let (out, err) = match on_stdout {
            true => (Stdio::piped(), Stdio::inherit()),
            false => (Stdio::inherit(), Stdio::piped()),
        };
        let mut child = command.stdout(out).stderr(err).spawn().unwrap();
        let read: Box<dyn AsyncRead + Unpin + Send> = match child.stdout.take() {
            Some(stdout) => Box::new(stdout),
            None => Box::new(child.stderr.take().unwrap()),
        };
        Self { child, said: Vec::new(), stdout: BufReader::new(read).lines() }
    }

    /// The first line that has `part`.
    pub(crate) async fn line(&mut self, part: &str) -> String {
        if let Some(line) = self.said.iter().find(|line| line.contains(part)) {
            return line.clone();
        }
        let find = async {
            while let Some(line) = self.stdout.next_line().await.unwrap() {
                self.said.push(line.clone());
                if line.contains(part) {
                    return line;
                }
            }
            panic!("it ended without {part}: {:?}", self.said);
        };
        tokio::time::timeout(PATIENCE, find).await.expect("it says so in time")
    }

    /// Ends it without a warning: `kill -9`.
    pub(crate) async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tollgate"));
    command.args(arguments).current_dir(folder).env_clear().stdin(Stdio::null());
    command.env("PATH", "/usr/bin:/bin").kill_on_drop(true);
    command
}

pub(crate) const PATIENCE: Duration = Duration::from_secs(45);

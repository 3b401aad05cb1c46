//! A program that serves until it is killed, and prints where.

use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// A server that printed its URL; killed when dropped.
pub(crate) struct Server {
    pub(crate) url: String,
    _child: Child,
}

impl Server {
    pub(crate) async fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let url = lines.next_line().await.unwrap().expect("the server prints its URL");
        Self { url, _child: child }
    }
}

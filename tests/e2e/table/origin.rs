//! The server behind the gateway, byte by byte: it answers, stands still, or breaks off exactly where it is told to.
//!
//! It speaks as much HTTP/1.1 as that takes: one request a connection, and none of its body is read.

use std::{
    io,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// What the origin does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Conduct {
    /// Answers with this status.
    Answers(u16),
    /// Resets the connection before a byte of the answer.
    Resets,
    /// Answers with 200 once [`Origin::go_on`] is called.
    WaitsThenAnswers,
    /// Resets the connection once [`Origin::go_on`] is called, before a byte of the answer.
    WaitsThenResets,
    /// Answers with 200 and half of the body, and with the rest once [`Origin::go_on`] is called.
    Streams,
    /// As [`Conduct::Streams`], with a reset in place of the rest.
    BreaksOff,
}

/// A running origin; it stops when dropped.
pub(super) struct Origin {
    pub(super) address: SocketAddr,
    state: Arc<State>,
    task: JoinHandle<()>,
}

struct State {
    conduct: Mutex<Conduct>,
    /// How many requests have come.
    reached: watch::Sender<usize>,
    /// How often it was told to go on.
    turns: watch::Sender<usize>,
}

/// An address where somebody listens until the gateway has seen it, and then nobody for as long as this lives.
pub(crate) struct Deserted {
    pub(crate) address: SocketAddr,
    listener: Mutex<Option<TcpListener>>,
    _socket: TcpSocket,
}

impl Origin {
    pub(super) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            conduct: Mutex::new(Conduct::Answers(200)),
            reached: watch::Sender::new(0),
            turns: watch::Sender::new(0),
        });
        let task = tokio::spawn(accept(listener, state.clone()));
        Self { address, state, task }
    }

    /// Behaves so from the next request on.
    pub(super) fn behave(&self, conduct: Conduct) {
        *self.state.conduct.lock().unwrap() = conduct;
    }

    /// How many requests have come.
    pub(super) fn reached(&self) -> usize {
        *self.state.reached.borrow()
    }

    /// Waits until so many requests have come.
    pub(super) async fn until_reached(&self, times: usize) {
        self.state.reached.subscribe().wait_for(|reached| *reached >= times).await.unwrap();
    }

    /// Lets the requests that stand still go on.
    pub(super) fn go_on(&self) {
        self.state.turns.send_modify(|turns| *turns += 1);
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Deserted {
    pub(crate) fn new() -> Self {
        let at = |address: SocketAddr| {
            let socket = TcpSocket::new_v4().unwrap();
            socket.set_reuseport(true).unwrap();
            socket.bind(address).unwrap();
            socket
        };
        let socket = at("127.0.0.1:0".parse().unwrap());
        let address = socket.local_addr().unwrap();
        let listener = Mutex::new(Some(at(address).listen(8).unwrap()));
        Self { address, listener, _socket: socket }
    }

    /// Goes away, once the gateway has connected to see who is there.
    pub(crate) async fn leave(&self) {
        let listener = self.listener.lock().unwrap().take();
        if let Some(listener) = listener {
            listener.accept().await.unwrap();
        }
    }
}

impl State {
    async fn answer(&self, mut stream: TcpStream) -> io::Result<()> {
        // Before the request is told of: who hears of it may call at once.
        let mut turns = self.turns.subscribe();
        turns.mark_unchanged();
        read_head(&mut stream).await?;
        let conduct = *self.conduct.lock().unwrap();
        self.reached.send_modify(|reached| *reached += 1);
        let (first, rest) = BODY.split_at(BODY.len() / 2);
        match conduct {
            Conduct::Answers(status) => {
                stream.write_all(&head(status)).await?;
                stream.write_all(BODY).await?;
            }
            Conduct::Resets => stream.set_zero_linger()?,
            Conduct::WaitsThenAnswers => {
                go_on(&mut turns).await?;
                stream.write_all(&head(200)).await?;
                stream.write_all(BODY).await?;
            }
            Conduct::WaitsThenResets => {
                go_on(&mut turns).await?;
                stream.set_zero_linger()?;
            }
            Conduct::Streams => {
                stream.write_all(&head(200)).await?;
                stream.write_all(first).await?;
                go_on(&mut turns).await?;
                stream.write_all(rest).await?;
            }
            Conduct::BreaksOff => {
                stream.write_all(&head(200)).await?;
                stream.write_all(first).await?;
                go_on(&mut turns).await?;
                stream.set_zero_linger()?;
            }
        }
        Ok(())
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let state = state.clone();
        // A gateway that hangs up is none of its business.
        tokio::spawn(async move { drop(state.answer(stream).await) });
    }
}

async fn go_on(turns: &mut watch::Receiver<usize>) -> io::Result<()> {
    turns.changed().await.map_err(io::Error::other)
}

async fn read_head(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    Ok(())
}

fn head(status: u16) -> Vec<u8> {
    let length = BODY.len();
    format!(
        "HTTP/1.1 {status} As Told\r\nContent-Length: {length}\r\n{MARK}: 1\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

/// What the origin answers, whatever its status.
pub(super) const BODY: &[u8] = b"{\"the work\": \"that was paid for\"}\n";
/// A header of every answer of the origin, and of no other.
pub(super) const MARK: &str = "x-origin";

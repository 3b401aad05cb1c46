//! HTTP/1.1 clients that cost next to nothing: a thread and a blocking socket each, requests written in advance.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::Barrier,
    thread,
    time::{Duration, Instant},
};

use crate::run::{Run, Watched};

/// What every client of a load asks for, and what it must be answered.
#[derive(Clone)]
pub(crate) struct Ask {
    /// The whole request, body included.
    request: Vec<u8>,
    status: &'static str,
    /// The length of the answer's body, where it is known.
    length: Option<usize>,
}

impl Ask {
    /// A GET that is answered 200 with a body of so many bytes.
    pub(crate) fn get(path: &str, length: usize) -> Self {
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n\r\n").into_bytes();
        Self { request, status: "200", length: Some(length) }
    }

    /// A POST of so many bytes that is answered 200.
    pub(crate) fn post(path: &str, length: usize) -> Self {
        let head =
            format!("POST {path} HTTP/1.1\r\nhost: bench\r\ncontent-length: {length}\r\n\r\n");
        let mut request = head.into_bytes();
        request.resize(request.len() + length, b'x');
        Self { request, status: "200", length: None }
    }

    /// A GET that is answered 402; `channel` is the one that it names.
    pub(crate) fn unpaid(path: &str, channel: Option<&str>) -> Self {
        let channel = channel.map(|channel| format!("payment-channel: {channel}\r\n"));
        let channel = channel.unwrap_or_default();
        let request = format!("GET {path} HTTP/1.1\r\nhost: bench\r\n{channel}\r\n").into_bytes();
        Self { request, status: "402", length: None }
    }

    /// The same on a connection that is closed behind the answer.
    pub(crate) fn closing(mut self) -> Self {
        let host = b"host: bench\r\n";
        let at = self.request.windows(host.len()).position(|window| window == host).unwrap();
        let close = b"connection: close\r\n".iter().copied();
        self.request.splice(at..at, close);
        self
    }
}

/// How a load goes on.
#[derive(Clone, Copy)]
pub(crate) enum Pace {
    /// Each client asks as soon as it is answered.
    Closed,
    /// As [`Pace::Closed`], by a new connection for each request, and so many requests at most.
    New(usize),
    /// So many requests a second in all, at even intervals, as long as the answers keep up.
    Rate(f64),
}

/// Puts a load of so many clients on `address` for so long, and measures from when all have had an answer.
pub(crate) fn load(
    address: SocketAddr,
    watched: Watched,
    (clients, ask, pace): (usize, &Ask, Pace),
    each: Duration,
) -> Run {
    let (ready, begin) = (Barrier::new(clients + 1), Barrier::new(clients + 1));
    thread::scope(|scope| {
        let client = |number: usize| {
            let (ready, begin) = (&ready, &begin);
            move || {
                let mut client = Client::connect(address);
                if !matches!(pace, Pace::New(_)) {
                    client.one(ask);
                }
                ready.wait();
                begin.wait();
                let place = Place { number, clients };
                client.drive(ask, pace, place, Instant::now() + each)
            }
        };
        let running: Vec<_> = (0..clients).map(|number| scope.spawn(client(number))).collect();
        ready.wait();
        let started = watched.start();
        begin.wait();
        let latencies = running.into_iter().flat_map(|client| client.join().unwrap()).collect();
        started.end(latencies)
    })
}

/// One of the clients of a load.
struct Place {
    number: usize,
    clients: usize,
}

/// A connection.
pub(crate) struct Client {
    address: SocketAddr,
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self { address, stream: connect(address), buffer: vec![0; BUFFER] }
    }

    /// A connection that has had an answer and nothing else to do.
    pub(crate) fn idle(address: SocketAddr, ask: &Ask) -> TcpStream {
        let mut client = Self { buffer: vec![0; 4096], ..Self::connect(address) };
        client.one(ask);
        client.stream
    }

    /// Asks until the answer's head has all of `sought`, as long as a gateway may take to get ready.
    pub(crate) fn wait(address: SocketAddr, ask: &Ask, sought: &[&str]) {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut client = Self::connect(address);
            client.stream.write_all(&ask.request).unwrap();
            let (end, _) = client.head();
            let head = String::from_utf8_lossy(&client.buffer[..end]).to_lowercase();
            if sought.iter().all(|sought| head.contains(sought)) {
                return;
            }
            assert!(Instant::now() < until, "not in time: {sought:?} in {head}");
            thread::sleep(PAUSE);
        }
    }

    fn drive(&mut self, ask: &Ask, pace: Pace, place: Place, until: Instant) -> Vec<Duration> {
        let mut latencies = Vec::new();
        match pace {
            Pace::Closed => {
                while Instant::now() < until {
                    latencies.push(self.one(ask));
                }
            }
            Pace::New(most) => {
                while Instant::now() < until && latencies.len() < most / place.clients {
                    let begin = Instant::now();
                    self.stream = connect(self.address);
                    self.one(ask);
                    latencies.push(begin.elapsed());
                }
            }
            Pace::Rate(rate) => {
                let clients = f64::from(u32::try_from(place.clients).unwrap());
                let number = f64::from(u32::try_from(place.number).unwrap());
                let between = Duration::from_secs_f64(clients / rate);
                let mut next = Instant::now() + between.mul_f64(number / clients);
                while next < until {
                    thread::sleep(next.saturating_duration_since(Instant::now()));
                    latencies.push(self.one(ask));
                    // Who is late does not catch up: a burst would be another load.
                    next = (next + between).max(Instant::now());
                }
            }
        }
        latencies
    }

    /// One request and its whole answer.
    pub(crate) fn one(&mut self, ask: &Ask) -> Duration {
        let sent = Instant::now();
        // Nobody reads while a body is written: the upstream answers when it has all of it.
        self.stream.write_all(&ask.request).unwrap();
        let (head, filled) = self.head();
        let length = check(&self.buffer[..head], ask);
        let mut left = (head + length).checked_sub(filled).expect("no more than was asked for");
        while left > 0 {
            let read = self.read(0);
            left = left.checked_sub(read).expect("no more than was asked for");
        }
        sent.elapsed()
    }

    /// Reads until the head of an answer is there: where it ends, and how much was read.
    fn head(&mut self) -> (usize, usize) {
        let mut filled = 0;
        loop {
            filled += self.read(filled);
            let window = &self.buffer[..filled];
            if let Some(end) = window.windows(4).position(|window| window == b"\r\n\r\n") {
                return (end + 4, filled);
            }
        }
    }

    fn read(&mut self, from: usize) -> usize {
        let read = self.stream.read(&mut self.buffer[from..]).unwrap();
        assert!(read > 0, "{} closed before it had answered", self.address);
        read
    }
}

/// Checks the head of an answer; the length of its body.
fn check(head: &[u8], ask: &Ask) -> usize {
    let text = std::str::from_utf8(head).unwrap();
    assert_eq!(text.get(9..12), Some(ask.status), "{text}");
    let length = text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().unwrap())
    });
    let length = length.unwrap_or_else(|| panic!("an answer says its length: {text}"));
    assert!(ask.length.is_none_or(|expected| expected == length), "{text}");
    length
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = loop {
        match TcpStream::connect(address) {
            // Its connections before this one still wait to be forgotten.
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => thread::yield_now(),
            stream => break stream.unwrap(),
        }
    };
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

const BUFFER: usize = 128 * 1024;
const PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(100);

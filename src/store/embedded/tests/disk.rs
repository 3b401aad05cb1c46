//! A disk that the test controls.

use std::{
    io,
    sync::{Arc, Mutex, mpsc},
};

use redb::StorageBackend;
use tokio::sync::oneshot;

/// A disk in memory that remembers every write and every sync, and can fail.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    log: Vec<Event>,
    /// Syncs that still succeed; `None` is all of them.
    syncs_left: Option<u32>,
    /// The next sync says that it has come this far, and waits to be let on.
    stall: Option<(oneshot::Sender<()>, mpsc::Receiver<()>)>,
}

#[derive(Clone, Debug)]
pub(super) enum Event {
    Write { offset: usize, data: Vec<u8> },
    Length(usize),
    Sync,
}

impl Disk {
    pub(super) fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(State { bytes, ..State::default() })))
    }

    pub(super) fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().bytes.clone()
    }

    pub(super) fn events(&self) -> usize {
        self.0.lock().unwrap().log.len()
    }

    /// Everything that was done to it, in order.
    pub(super) fn log(&self) -> Vec<Event> {
        self.0.lock().unwrap().log.clone()
    }

    /// Makes the next sync wait: when it has begun, and what lets it go on.
    pub(super) fn stall(&self) -> (oneshot::Receiver<()>, mpsc::Sender<()>) {
        let (begun, is_begun) = oneshot::channel();
        let (go_on, goes_on) = mpsc::channel();
        self.0.lock().unwrap().stall = Some((begun, goes_on));
        (is_begun, go_on)
    }

    pub(super) fn fail_syncs_after(&self, syncs: Option<u32>) {
        self.0.lock().unwrap().syncs_left = syncs;
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().bytes.len().try_into().unwrap())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let state = self.0.lock().unwrap();
        let read = state.bytes.get(offset..offset + out.len());
        out.copy_from_slice(read.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let length = usize::try_from(len).unwrap();
        let mut state = self.0.lock().unwrap();
        state.log.push(Event::Length(length));
        state.bytes.resize(length, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let stall = self.0.lock().unwrap().stall.take();
        if let Some((begun, goes_on)) = stall {
            begun.send(()).unwrap();
            goes_on.recv().unwrap();
        }
        let mut state = self.0.lock().unwrap();
        match &mut state.syncs_left {
            Some(0) => return Err(io::Error::other("EIO")),
            Some(left) => *left -= 1,
            None => {}
        }
        state.log.push(Event::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let event = Event::Write { offset: usize::try_from(offset).unwrap(), data: data.into() };
        let mut state = self.0.lock().unwrap();
        event.apply(&mut state.bytes);
        state.log.push(event);
        Ok(())
    }
}

impl Event {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(data);
            }
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Sync => {}
        }
    }

    /// The write as far as `sectors` of it got to the disk.
    fn torn(&self, sectors: usize) -> Self {
        match self {
            Self::Write { offset, data } => Self::Write {
                offset: *offset,
                data: data[..data.len().min(sectors * 512)].to_vec(),
            },
            event => event.clone(),
        }
    }
}

/// What a disk may hold after the power went, for every point at which it may go: how much of `log` it had seen, and its
/// bytes.
pub(super) fn after_power_losses(log: &[Event]) -> impl Iterator<Item = (usize, Vec<u8>)> {
    let mut random = numbers(11);
    let mut synced = Vec::new();
    let mut unsynced: Vec<Event> = Vec::new();
    log.iter().enumerate().map(move |(index, event)| {
        match event {
            Event::Sync => unsynced.drain(..).for_each(|event| event.apply(&mut synced)),
            event => unsynced.push(event.clone()),
        }
        // The disk kept any part of what was not synced, in any order, and some of it in part.
        let mut after = synced.clone();
        let mut kept = unsynced.clone();
        while !kept.is_empty() {
            let event = kept.swap_remove(random(kept.len()));
            match random(4) {
                0 => {}
                1 => event.torn(random(9)).apply(&mut after),
                _ => event.apply(&mut after),
            }
        }
        (index + 1, after)
    })
}

/// Numbers below the argument, the same at every run.
pub(super) fn numbers(seed: u64) -> impl FnMut(usize) -> usize {
    let mut state = seed;
    move |below| {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    }
}

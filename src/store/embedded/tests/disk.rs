//! A disk that the test controls.

use std::{
    io,
    sync::{Arc, Mutex},
};

use redb::StorageBackend;

/// A disk in memory that remembers every write and every sync, and can fail.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    log: Vec<Event>,
    /// Syncs that still succeed; `None` is all of them.
    syncs_left: Option<u32>,
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

    /// Keeps everyone from it while the answer lives.
    pub(super) fn block(&self) -> impl Sized + '_ {
        self.0.lock().unwrap()
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
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
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
    pub(super) fn torn(&self, sectors: usize) -> Self {
        match self {
            Self::Write { offset, data } => Self::Write {
                offset: *offset,
                data: data[..data.len().min(sectors * 512)].to_vec(),
            },
            event => event.clone(),
        }
    }
}

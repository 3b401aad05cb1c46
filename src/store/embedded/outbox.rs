//! The outbox in the file: rows by receiver and number, so that those to one receiver stand in their order.
//!
//! The table is made when the first notice is stored, and a version that does not know it leaves it as it is.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use redb::{ReadOnlyTable, TableDefinition, TableError, WriteTransaction};
use tracing::error;

use super::{
    Embedded, Reply, Wish as AnyWish,
    tables::{Fault, View},
    writer::{Batch, Writer},
};
use crate::store::{
    ClaimKey, Delivery, Error, Notice, Place, Receiver, Waiting,
    outbox::{MOST_WAITING, PAGE},
};

/// What callers want of the outbox.
pub(super) enum Wish {
    Tell(Vec<Notice>, Reply<()>),
    Waiting { receiver: Receiver, after: Option<Place>, reply: Reply<Waiting> },
    Arrived { receiver: Receiver, places: Vec<Place>, reply: Reply<()> },
    Forget { before: u64, reply: Reply<()> },
    Delivery { key: ClaimKey, reply: Reply<Delivery> },
}

/// What is known of it without looking: nobody else writes.
pub(super) struct Known {
    /// The number of the next row.
    next: u64,
    /// How many rows each receiver has.
    waiting: HashMap<Receiver, u64>,
    /// How many it has lost since it was told so.
    dropped: HashMap<Receiver, u64>,
}

/// What one commit changes of it.
#[derive(Default)]
pub(super) struct Changes {
    put: BTreeMap<Row, Vec<u8>>,
    gone: BTreeSet<Row>,
}

/// Receiver and number, most significant byte first.
type Row = [u8; 16];

impl Changes {
    pub(super) fn is_empty(&self) -> bool {
        self.put.is_empty() && self.gone.is_empty()
    }

    pub(super) fn store(&self, tx: &WriteTransaction) -> Result<(), redb::Error> {
        let mut table = tx.open_table(OUTBOX)?;
        for row in &self.gone {
            table.remove(row)?;
        }
        for (row, stored) in &self.put {
            table.insert(row, stored.as_slice())?;
        }
        Ok(())
    }
}

impl Embedded {
    pub(in crate::store) async fn tell(&self, notices: Vec<Notice>) -> Result<(), Error> {
        self.ask(|reply| AnyWish::Outbox(Wish::Tell(notices, reply))).await
    }

    pub(in crate::store) async fn waiting(
        &self,
        receiver: Receiver,
        after: Option<Place>,
    ) -> Result<Waiting, Error> {
        self.ask(|reply| AnyWish::Outbox(Wish::Waiting { receiver, after, reply })).await
    }

    pub(in crate::store) async fn arrived(
        &self,
        receiver: Receiver,
        places: Vec<Place>,
    ) -> Result<(), Error> {
        self.ask(|reply| AnyWish::Outbox(Wish::Arrived { receiver, places, reply })).await
    }

    pub(in crate::store) async fn delivery(&self, key: ClaimKey) -> Result<Delivery, Error> {
        self.ask(|reply| AnyWish::Outbox(Wish::Delivery { key, reply })).await
    }

    pub(in crate::store) async fn forget_notices(&self, before: u64) -> Result<(), Error> {
        self.ask(|reply| AnyWish::Outbox(Wish::Forget { before, reply })).await
    }
}

impl Writer {
    pub(super) fn serve_outbox(
        &mut self,
        wish: Wish,
        batch: &mut Batch,
    ) -> Result<(), redb::Error> {
        match wish {
            Wish::Tell(notices, reply) => {
                let told = self.tell(notices, batch);
                batch.answer(reply, told)
            }
            Wish::Waiting { receiver, after, reply } => {
                let page = self.waiting(receiver, after, batch);
                batch.answer(reply, page)
            }
            Wish::Arrived { receiver, places, reply } => {
                let rows = places.into_iter().map(|place| row(receiver, place)).collect();
                let done = self.take_out(rows, batch);
                batch.answer(reply, done)
            }
            Wish::Delivery { key, reply } => {
                let delivery = self.delivery(key, batch);
                batch.answer(reply, delivery)
            }
            Wish::Forget { before, reply } => {
                let done = batch.view.told_before(before).map_err(Fault::from);
                let done = done.and_then(|rows| self.take_out(rows, batch));
                batch.answer(reply, done)
            }
        }
    }

    /// Stores notices; of a receiver that has too many the oldest make room.
    pub(super) fn tell(&mut self, notices: Vec<Notice>, batch: &mut Batch) -> Result<(), Fault> {
        for notice in notices {
            let known = known(&mut self.outbox, batch)?;
            let receiver = notice.receiver;
            let number = known.next;
            known.next = known.next.saturating_add(1);
            let waiting = known.waiting.entry(receiver).or_default();
            if *waiting < MOST_WAITING {
                *waiting = waiting.saturating_add(1);
            } else if let Some(oldest) = batch.oldest(receiver)? {
                batch.changes.outbox.drop_row(oldest);
                let dropped = known.dropped.entry(receiver).or_default();
                *dropped = dropped.saturating_add(1);
            }
            batch.changes.outbox.put.insert(row(receiver, Place(0, number)), notice.encode());
        }
        Ok(())
    }

    fn waiting(
        &mut self,
        receiver: Receiver,
        after: Option<Place>,
        batch: &Batch,
    ) -> Result<Waiting, Fault> {
        let known = known(&mut self.outbox, batch)?;
        let mut page = Waiting {
            waiting: known.waiting.get(&receiver).copied().unwrap_or_default(),
            dropped: known.dropped.remove(&receiver).unwrap_or_default(),
            ..Waiting::default()
        };
        let first = after.map_or(0, |Place(_, number)| number.saturating_add(1));
        let Some(table) = batch.view.outbox()? else { return Ok(page) };
        let (first, last) = (row(receiver, Place(0, first)), row(receiver, Place(0, u64::MAX)));
        // Whether or not it is shown.
        let mut read = None;
        for (count, entry) in table.range::<&Row>(&first..=&last)?.enumerate() {
            let (row, stored) = entry?;
            if count >= PAGE {
                page.next = read;
                break;
            }
            let (row, place) = (row.value(), place(row.value()));
            read = Some(place);
            if batch.changes.outbox.gone.contains(row) {
                continue;
            }
            match Notice::decode(receiver, stored.value()) {
                Some(notice) => page.notices.push((place, notice)),
                None => error!(?receiver, ?place, "what is in the outbox does not read"),
            }
        }
        Ok(page)
    }

    fn take_out(&mut self, rows: Vec<Row>, batch: &mut Batch) -> Result<(), Fault> {
        let known = known(&mut self.outbox, batch)?;
        let Some(table) = batch.view.outbox()? else { return Ok(()) };
        for row in rows {
            if table.get(&row)?.is_some()
                && batch.changes.outbox.gone.insert(row)
                && let Some(waiting) = known.waiting.get_mut(&receiver(&row))
            {
                *waiting = waiting.saturating_sub(1);
            }
        }
        Ok(())
    }
}

impl Batch {
    /// The oldest row of `receiver` that is not on its way out.
    fn oldest(&self, receiver: Receiver) -> Result<Option<Row>, Fault> {
        let (first, last) = (row(receiver, Place(0, 0)), row(receiver, Place(0, u64::MAX)));
        let changed = &self.changes.outbox;
        if let Some(table) = self.view.outbox()? {
            for entry in table.range::<&Row>(&first..=&last)? {
                let row = *entry?.0.value();
                if !changed.gone.contains(&row) {
                    return Ok(Some(row));
                }
            }
        }
        Ok(changed.put.range(first..=last).next().map(|(row, _)| *row))
    }
}

impl Changes {
    /// A row is stored no more, or never.
    fn drop_row(&mut self, row: Row) {
        if self.put.remove(&row).is_none() {
            self.gone.insert(row);
        }
    }
}

impl View {
    fn outbox(&self) -> Result<Option<ReadOnlyTable<&'static Row, &'static [u8]>>, redb::Error> {
        match self.tx.open_table(OUTBOX) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// The rows of what came to be before `before`. What does not read stays: it may be a newer version's, and its age is not
    /// known.
    fn told_before(&self, before: u64) -> Result<Vec<Row>, redb::Error> {
        let mut rows = Vec::new();
        let Some(table) = self.outbox()? else { return Ok(rows) };
        for entry in table.range::<&Row>(..)? {
            let (row, stored) = entry?;
            let notice = Notice::decode(receiver(row.value()), stored.value());
            if notice.is_some_and(|notice| notice.at < before) {
                rows.push(*row.value());
            }
        }
        Ok(rows)
    }
}

/// What is known of the outbox; the first time it is read.
fn known<'k>(slot: &'k mut Option<Known>, batch: &Batch) -> Result<&'k mut Known, Fault> {
    if slot.is_none() {
        let mut known = Known { next: 0, waiting: HashMap::new(), dropped: HashMap::new() };
        if let Some(table) = batch.view.outbox()? {
            for entry in table.range::<&Row>(..)? {
                let row = *entry?.0.value();
                let Place(_, number) = place(&row);
                known.next = known.next.max(number.saturating_add(1));
                let waiting = known.waiting.entry(receiver(&row)).or_default();
                *waiting = waiting.saturating_add(1);
            }
        }
        *slot = Some(known);
    }
    Ok(slot.as_mut().expect("it is known from now on"))
}

fn row(receiver: Receiver, place: Place) -> Row {
    let mut row = [0; 16];
    let (to, number) = row.split_at_mut(8);
    to.copy_from_slice(&receiver.0);
    number.copy_from_slice(&place.1.to_be_bytes());
    row
}

fn receiver(row: &Row) -> Receiver {
    Receiver(*row.first_chunk().expect("16 bytes begin with 8"))
}

fn place(row: &Row) -> Place {
    Place(0, u64::from_be_bytes(*row.last_chunk().expect("16 bytes end with 8")))
}

const OUTBOX: TableDefinition<'_, &Row, &[u8]> = TableDefinition::new("outbox");

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use redb::Database;

    use super::*;
    use crate::store::Store;

    const HERE: Receiver = Receiver([7; 8]);

    fn notice(at: u64) -> Notice {
        Notice { receiver: HERE, id: [1; 16], at, body: Bytes::from_static(b"it") }
    }

    /// The ages of what reads, over all pages.
    async fn ages(store: &Store) -> Vec<u64> {
        let (mut ages, mut after) = (Vec::new(), None);
        loop {
            let page = store.waiting(HERE, after).await.unwrap();
            ages.extend(page.notices.iter().map(|(_, notice)| notice.at));
            after = page.next;
            if after.is_none() {
                return ages;
            }
        }
    }

    #[tokio::test]
    async fn rows_of_a_newer_version_hide_nothing_and_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("tollgate.redb");
        let page = u64::try_from(PAGE).unwrap();
        Store::open(file.clone()).await.unwrap().close().await.unwrap();
        {
            let db = Database::open(&file).unwrap();
            let tx = db.begin_write().unwrap();
            {
                let mut table = tx.open_table(OUTBOX).unwrap();
                for number in 0..2 * page {
                    let newer = [&[u8::MAX], &notice(1).encode()[1..]].concat();
                    table.insert(&row(HERE, Place(0, number)), newer.as_slice()).unwrap();
                }
            }
            tx.commit().unwrap();
        }
        let store = Store::open(file.clone()).await.unwrap();
        store.tell([1, 5, 9].map(notice).to_vec()).await.unwrap();
        assert_eq!(ages(&store).await, [1, 5, 9]);
        store.forget_notices(5).await.unwrap();
        assert_eq!(ages(&store).await, [5, 9]);
        let left = store.waiting(HERE, None).await.unwrap().waiting;
        assert_eq!(left, 2 * page + 2, "what does not read has no age");
    }
}

//! The outbox: rows of events that were committed with the change they tell of. The audit trail takes the events from here, and a
//! row goes once its event is durable there, so that a change without its record cannot be. Must never read what an event says.

use crate::{
    error::StoreError,
    meta::{Batch, Partition, Scan},
    rows::{self, open_record, seal_bytes},
    store::{Shared, Store, partition},
};
use bytes::Bytes;
use futures_util::StreamExt;
use minicbor::bytes::ByteVec;
use std::{collections::BTreeMap, sync::Arc};
use tresor_envelope::RecordKey;
use tresor_model::{BucketId, ChangeRecord, EventId};

/// Rows read at a time: at most 64 MiB of events.
const PAGE: usize = 1000;
/// Batches on their way at the same time when rows are removed: the engine joins them into one durable write, which writers that come
/// meanwhile wait for.
const REMOVALS: usize = 8;
/// Events moved out of a bucket at a time: all of them fit a batch.
const MOVED: usize = 12;

/// An event that waits for the trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WaitingEvent {
    pub partition: Partition,
    pub id: EventId,
    /// The event's JSON.
    pub event: Vec<u8>,
}

/// The row that puts a record into a commit of `partition`: key and value.
pub fn outbox_row(key: &RecordKey, partition: Partition, record: &ChangeRecord) -> (Vec<u8>, Bytes) {
    let row = rows::event(&record.id());
    let value = seal_bytes(key, partition, &row, record.event());
    (row, value)
}

/// Notes that a commit with the record succeeded.
pub(crate) fn kept(partition: Partition, record: Option<&ChangeRecord>) {
    if let Some(record) = record {
        record.kept_in(partition.0);
    }
}

impl Shared {
    /// Adds the record's row, unless an earlier commit of the same request holds it already.
    pub(crate) fn with_record(&self, partition: Partition, batch: Batch, record: Option<&ChangeRecord>) -> Batch {
        match record.filter(|record| !record.is_kept_in(partition.0)) {
            None => batch,
            Some(record) => {
                record.sent_to(partition.0);
                let (row, value) = outbox_row(&self.keys.records, partition, record);
                batch.put(row, value)
            }
        }
    }

    pub(crate) fn sealed_event(&self, partition: Partition, row: &[u8], event: &[u8]) -> Bytes {
        seal_bytes(&self.keys.records, partition, row, event)
    }

    /// The events of a bucket's deletion, of which there is one for each try that a crash broke off.
    pub(crate) async fn closing_rows(&self, bucket: BucketId) -> Result<Vec<(Vec<u8>, Bytes)>, StoreError> {
        let prefix = rows::CLOSING.to_vec();
        let scan = Scan { from: prefix.clone(), prefix, limit: MOVED };
        Ok(self.meta.scan(partition(bucket), scan).await?.entries)
    }

    /// Moves the events of a bucket that goes to the catalogue: those of its life at once, that of its end by `forget`, which the
    /// caller commits there. The caller holds `outbox`.
    pub(crate) async fn move_events(&self, bucket: BucketId, forget: Batch) -> Result<Batch, StoreError> {
        let place = partition(bucket);
        let moved = |batch: Batch, prefix: &[u8], row: &[u8], value: &Bytes| -> Result<Batch, StoreError> {
            let event: ByteVec = open_record(&self.keys.records, place, row, value)?;
            let id = row.strip_prefix(prefix).and_then(|id| id.try_into().ok());
            let row = rows::event(&id.ok_or(StoreError::Corrupt("an event's row has no valid id"))?);
            let value = self.sealed_event(Partition::CATALOG, &row, &event);
            Ok(batch.put(row, value))
        };
        loop {
            let prefix = rows::EVENTS.to_vec();
            let page = self.meta.scan(place, Scan { from: prefix.clone(), prefix, limit: MOVED }).await?;
            let (mut there, mut here) = (Batch::default(), Batch::default());
            for (row, value) in &page.entries {
                there = moved(there, rows::EVENTS, row, value)?;
                here = here.delete(row.clone());
            }
            if page.entries.is_empty() {
                break;
            }
            self.meta.commit(Partition::CATALOG, there).await?;
            self.meta.commit(place, here).await?;
        }
        let mut forget = forget;
        for (row, value) in self.closing_rows(bucket).await? {
            forget = moved(forget, rows::CLOSING, &row, &value)?;
        }
        Ok(forget)
    }
}

impl Store {
    /// Every partition that may hold events.
    pub async fn outbox_partitions(&self) -> Result<Vec<Partition>, StoreError> {
        let mut all = vec![Partition::KMS, Partition::IAM, Partition::CATALOG];
        all.extend(self.all_buckets().await?.iter().map(|bucket| partition(bucket.id)));
        Ok(all)
    }

    /// Waiting events of a partition behind `after`, by id; the flag tells that more follow. A row that does not authenticate is
    /// told of in the log and left where it is.
    pub async fn waiting_events(
        &self,
        place: Partition,
        after: Option<EventId>,
    ) -> Result<(Vec<WaitingEvent>, bool), StoreError> {
        let prefix = rows::EVENTS.to_vec();
        let from = after.map_or_else(|| prefix.clone(), |id| [rows::event(&id), vec![0]].concat());
        let page = self.shared.meta.scan(place, Scan { prefix, from, limit: PAGE }).await?;
        let mut waiting = Vec::with_capacity(page.entries.len());
        for (row, value) in page.entries {
            let id = row.strip_prefix(rows::EVENTS).and_then(|id| EventId::try_from(id).ok());
            match (id, open_record::<ByteVec>(&self.shared.keys.records, place, &row, &value)) {
                (Some(id), Ok(event)) => waiting.push(WaitingEvent { partition: place, id, event: event.into() }),
                _ => tracing::error!(?place, row = hex::encode(&row), "a waiting audit event is damaged"),
            }
        }
        Ok((waiting, page.more))
    }

    /// One waiting event.
    pub async fn waiting_event(&self, place: Partition, id: &EventId) -> Result<Option<Vec<u8>>, StoreError> {
        let row = rows::event(id);
        match self.shared.get(place, &row).await? {
            None => Ok(None),
            Some(value) => {
                let event: ByteVec = open_record(&self.shared.keys.records, place, &row, &value)?;
                Ok(Some(event.into()))
            }
        }
    }

    /// Removes the rows of events that the trail holds durably. Rows that are not there do not matter.
    pub async fn settle(&self, done: &[(Partition, EventId)]) -> Result<(), StoreError> {
        let shared = &self.shared;
        let _moving = shared.outbox.lock().await;
        let mut by_place: BTreeMap<Partition, Vec<EventId>> = BTreeMap::new();
        for (place, id) in done {
            by_place.entry(*place).or_default().push(*id);
        }
        let mut gone = Vec::new();
        for (place, ids) in &by_place {
            // A bucket on its way out has moved its events to the catalogue, or begun to.
            if !place.is_own() && shared.get(*place, &rows::bucket_state()).await? != Some(shared.open_state(*place)) {
                gone.extend_from_slice(ids);
            }
        }
        by_place.entry(Partition::CATALOG).or_default().append(&mut gone);
        let mut removals = Vec::new();
        for (place, ids) in by_place {
            for some in ids.chunks(Batch::MAX_KEYS) {
                let batch = some.iter().fold(Batch::default(), |batch, id| batch.delete(rows::event(id)));
                let meta = Arc::clone(&shared.meta);
                removals.push(async move { meta.commit(place, batch).await });
            }
        }
        let mut removals = futures_util::stream::iter(removals).buffer_unordered(REMOVALS);
        while let Some(removed) = removals.next().await {
            removed?;
        }
        Ok(())
    }
}

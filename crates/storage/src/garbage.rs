//! What is removed after the commit that made it unreachable, and what a crash left behind. Work lies in rows, so that none is
//! forgotten; the channel only makes it prompt.

use crate::{
    blob::BlobId,
    error::StoreError,
    figures::add,
    meta::{Batch, Scan},
    record::{Bucket, Garbage, PartRecord},
    rows::{self, open_record},
    store::{Shared, Store, partition},
};
use parking_lot::Mutex;
use std::{collections::HashMap, sync::Arc};
use tokio::sync::Notify;
use tresor_model::{BucketId, UploadId};

/// Garbage rows that wait for the background task.
#[derive(Debug, Default)]
pub(crate) struct Collector {
    waiting: Mutex<Vec<(BucketId, [u8; 16])>>,
    notify: Notify,
    /// How many reads are using the blobs of a write or an upload; garbage waits for them.
    reading: Mutex<HashMap<[u8; 16], usize>>,
}

/// As long as it lives, the blobs of its owner are not removed.
pub(crate) struct ReadGuard {
    shared: Arc<Shared>,
    owner: [u8; 16],
}

impl ReadGuard {
    pub(crate) fn new(shared: &Arc<Shared>, owner: [u8; 16]) -> Self {
        *shared.collector.reading.lock().entry(owner).or_default() += 1;
        Self { shared: Arc::clone(shared), owner }
    }
}

impl Drop for ReadGuard {
    fn drop(&mut self) {
        let mut reading = self.shared.collector.reading.lock();
        if let Some(count) = reading.get_mut(&self.owner) {
            *count -= 1;
            if *count == 0 {
                reading.remove(&self.owner);
                self.shared.collector.notify.notify_one();
            }
        }
    }
}

/// Rows kept in memory; more are found again by their rows at the next start.
const MAX_WAITING: usize = 100_000;
/// Rows and blobs looked at together.
const PAGE: usize = 500;

impl Collector {
    /// Rows that wait.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.lock().len()
    }
    pub(crate) fn wake(&self, bucket: BucketId, row: Option<[u8; 16]>) {
        let Some(row) = row else { return };
        let mut waiting = self.waiting.lock();
        if waiting.len() < MAX_WAITING {
            waiting.push((bucket, row));
        }
        self.notify.notify_one();
    }
}

impl Store {
    /// The background task: repairs what a crash left, sweeps orphans, then removes garbage as it comes. Never returns.
    pub async fn tend(self) {
        if let Err(error) = self.recover().await {
            tracing::error!(%error, "repairing the store after its last run failed");
        }
        // Rows whose blobs were being read when their turn came.
        let mut parked = Vec::new();
        loop {
            let next = self.shared.collector.waiting.lock().pop();
            match next {
                Some((bucket, row)) => match collect_row(&self.shared, bucket, &rows::garbage(&row)).await {
                    Ok(true) => {}
                    Ok(false) => parked.push((bucket, row)),
                    Err(error) => {
                        add(&self.shared.counts.collector_errors, 1);
                        tracing::warn!(%error, "garbage stays until the next start");
                    }
                },
                None => {
                    self.shared.collector.notify.notified().await;
                    self.shared.collector.waiting.lock().append(&mut parked);
                }
            }
        }
    }

    /// Finishes half-done deletes, removes garbage and orphaned blobs. Safe beside a running server.
    pub async fn recover(&self) -> Result<(), StoreError> {
        self.finish_deletes().await?;
        for bucket in self.all_buckets().await? {
            collect_bucket(&self.shared, bucket.id).await?;
        }
        let removed = self.sweep_orphans().await?;
        if removed > 0 {
            tracing::info!(removed, "removed blobs that no commit names");
        }
        Ok(())
    }

    /// Carries out the deletions of buckets that the last run began.
    pub async fn finish_deletes(&self) -> Result<(), StoreError> {
        for bucket in self.all_buckets().await? {
            let state = self.shared.get(partition(bucket.id), &rows::bucket_state()).await?;
            if state != Some(self.shared.bucket_state(bucket.id, crate::record::BucketState::Open)) {
                match self.finish_delete(&bucket).await {
                    Ok(()) | Err(StoreError::BucketNotEmpty) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }

    /// Removes blobs that neither a row nor a write in progress names; returns their number.
    pub async fn sweep_orphans(&self) -> Result<usize, StoreError> {
        let (mut after, mut removed) = (None, 0);
        loop {
            let page = self.shared.blobs.list(after, PAGE).await?;
            for id in &page {
                // In this order: what is committed between the two looks was in flight at the first.
                if !self.shared.in_flight.lock().contains(id) && !is_owned(&self.shared, id).await? {
                    self.shared.blobs.remove(id).await?;
                    add(&self.shared.counts.blobs_removed, 1);
                    removed += 1;
                }
            }
            match page.last() {
                Some(last) => after = Some(*last),
                None => return Ok(removed),
            }
        }
    }
}

/// Whether a row names the blob.
pub(crate) async fn is_owned(shared: &Shared, id: &BlobId) -> Result<bool, StoreError> {
    let place = partition(id.bucket);
    if id.part == 0 {
        return Ok(shared.get(place, &rows::blob_owner(&id.owner, &id.nonce)).await?.is_some());
    }
    let row = rows::part(&UploadId::from_bytes(id.owner), id.part);
    match shared.get(place, &row).await? {
        None => Ok(false),
        Some(value) => {
            let record: PartRecord = open_record(&shared.keys.records, place, &row, &value)?;
            Ok(record.nonce == id.nonce)
        }
    }
}

/// Everything that waits in one bucket.
pub(crate) async fn collect_bucket(shared: &Arc<Shared>, bucket: BucketId) -> Result<(), StoreError> {
    loop {
        let scan = Scan { prefix: rows::GARBAGE.to_vec(), from: rows::GARBAGE.to_vec(), limit: PAGE };
        let page = shared.meta.scan(partition(bucket), scan).await?;
        for (row, _) in &page.entries {
            collect_row(shared, bucket, row).await?;
        }
        if !page.more {
            return Ok(());
        }
    }
}

/// Does one row's work, then removes the row; false when a read holds it back. Every step may be repeated.
async fn collect_row(shared: &Arc<Shared>, bucket: BucketId, row: &[u8]) -> Result<bool, StoreError> {
    let Some(value) = shared.get(partition(bucket), row).await? else { return Ok(true) };
    let garbage = minicbor::decode(&value).map_err(|_| StoreError::Corrupt("a garbage row cannot be decoded"))?;
    let owner = match &garbage {
        Garbage::Blob { owner, .. } => *owner,
        Garbage::Parts { upload, .. } => *upload.as_bytes(),
    };
    if shared.collector.reading.lock().contains_key(&owner) {
        return Ok(false);
    }
    match garbage {
        Garbage::Blob { owner, part, nonce } => {
            let id = BlobId { bucket, owner, part, nonce };
            // The row is not authenticated, so it may not remove what an authentic row names.
            if !is_owned(shared, &id).await? {
                shared.blobs.remove(&id).await?;
                add(&shared.counts.blobs_removed, 1);
            }
        }
        Garbage::Parts { upload, keep } => drop_parts(shared, bucket, &upload, &keep).await?,
    }
    shared.meta.commit(partition(bucket), Batch::default().delete(row.to_vec())).await?;
    add(&shared.counts.garbage_collected, 1);
    Ok(true)
}

/// Removes the parts of an upload but those in `keep`: blob first, then row, so that a crash leaves the row to do it again.
async fn drop_parts(
    shared: &Arc<Shared>,
    bucket: BucketId,
    upload: &UploadId,
    keep: &[(u16, u16)],
) -> Result<(), StoreError> {
    let prefix = rows::parts(upload);
    let mut from = prefix.clone();
    loop {
        let page =
            shared.meta.scan(partition(bucket), Scan { prefix: prefix.clone(), from, limit: Batch::MAX_KEYS }).await?;
        let mut batch = Batch::default();
        for (row, value) in &page.entries {
            let record: PartRecord = open_record(&shared.keys.records, partition(bucket), row, value)?;
            let number = record.sealed.number;
            if keep.iter().any(|(first, last)| (*first..=*last).contains(&number)) {
                continue;
            }
            let id = BlobId { bucket, owner: *upload.as_bytes(), part: number, nonce: record.nonce };
            shared.blobs.remove(&id).await?;
            add(&shared.counts.blobs_removed, 1);
            batch = batch.delete(row.clone());
        }
        if !batch.writes.is_empty() {
            shared.meta.commit(partition(bucket), batch).await?;
        }
        match page.entries.last() {
            Some((row, _)) if page.more => from = [&row[..], &[0]].concat(),
            _ => return Ok(()),
        }
    }
}

/// Drops all uploads of a bucket that is being deleted.
pub(crate) async fn drain_uploads(shared: &Arc<Shared>, bucket: &Bucket) -> Result<(), StoreError> {
    loop {
        let scan = Scan { prefix: rows::UPLOADS.to_vec(), from: rows::UPLOADS.to_vec(), limit: PAGE };
        let page = shared.meta.scan(partition(bucket.id), scan).await?;
        for (row, value) in page.entries {
            let upload = shared.open_upload(bucket, &row, value)?;
            drop_parts(shared, bucket.id, &upload.id, &[]).await?;
            shared.meta.commit(partition(bucket.id), Batch::default().delete(row)).await?;
        }
        if !page.more {
            return Ok(());
        }
    }
}

//! Buckets and their documents. A bucket's name lies in the catalogue, everything else in the bucket's own partition, so creating
//! and deleting are two steps that a crash between them leaves repairable.

use crate::{
    error::StoreError,
    garbage,
    meta::{Batch, Expected, MetaError, Partition, Scan},
    outbox::kept,
    record::{Bucket, BucketRecord, BucketState},
    rows::{self, open_record, seal_bytes, seal_record},
    store::{Shared, Store, partition},
};
use bytes::Bytes;
use tresor_model::{AccountId, BucketId, BucketName};

/// Rows read at a time.
const PAGE: usize = 1000;
/// The longest document of a bucket, in bytes.
const MAX_DOCUMENT: usize = 60 * 1024;

impl Store {
    pub async fn bucket(&self, name: &BucketName) -> Result<Option<Bucket>, StoreError> {
        let row = rows::bucket(name.as_str());
        match self.shared.get(Partition::CATALOG, &row).await? {
            Some(value) => self.shared.open_bucket(name.clone(), &row, &value).map(Some),
            None => Ok(None),
        }
    }

    /// Buckets of one account by name, above `after` and below `prefix`; the flag tells that more follow.
    pub async fn buckets(
        &self,
        owner: &AccountId,
        prefix: &str,
        after: Option<&str>,
        limit: usize,
    ) -> Result<(Vec<Bucket>, bool), StoreError> {
        let mut found = Vec::new();
        let mut from = after.map_or_else(|| rows::bucket(prefix), |name| [rows::bucket(name), vec![0]].concat());
        loop {
            let scan = Scan { prefix: rows::bucket(prefix), from, limit: PAGE };
            let page = self.shared.meta.scan(Partition::CATALOG, scan).await?;
            for (row, value) in &page.entries {
                let bucket = self.shared.open_bucket(bucket_name(row)?, row, value)?;
                if bucket.owner == *owner {
                    if found.len() == limit {
                        return Ok((found, true));
                    }
                    found.push(bucket);
                }
            }
            match page.entries.last() {
                Some((row, _)) if page.more => from = [&row[..], &[0]].concat(),
                _ => return Ok((found, false)),
            }
        }
    }

    /// Every bucket of every account, for background work.
    pub(crate) async fn all_buckets(&self) -> Result<Vec<Bucket>, StoreError> {
        let mut all = Vec::new();
        let mut from = rows::BUCKETS.to_vec();
        loop {
            let scan = Scan { prefix: rows::BUCKETS.to_vec(), from, limit: PAGE };
            let page = self.shared.meta.scan(Partition::CATALOG, scan).await?;
            for (row, value) in &page.entries {
                all.push(self.shared.open_bucket(bucket_name(row)?, row, value)?);
            }
            match page.entries.last() {
                Some((row, _)) if page.more => from = [&row[..], &[0]].concat(),
                _ => return Ok(all),
            }
        }
    }

    /// Makes a bucket with its first documents (kind and bytes). Errors: BucketExists.
    /// Objects and bytes whose data keys hang on a KMS key, in all buckets: what its loss makes unreadable.
    pub async fn key_impact(&self, key_id: &str) -> Result<(u64, u64), StoreError> {
        let (mut objects, mut bytes) = (0_u64, 0_u64);
        let mut from = rows::BUCKETS.to_vec();
        loop {
            let scan = Scan { prefix: rows::BUCKETS.to_vec(), from, limit: PAGE };
            let page = self.shared.meta.scan(Partition::CATALOG, scan).await?;
            for (row, value) in &page.entries {
                let bucket = self.shared.open_bucket(bucket_name(row)?, row, value)?;
                let prefix = rows::key_counts(key_id);
                // One row for each material: their number is limited.
                let scan = Scan { from: prefix.clone(), prefix, limit: PAGE };
                for (_, count) in self.shared.meta.scan(partition(bucket.id), scan).await?.entries {
                    let sum = |n: usize| {
                        count.get(n..n + 8).and_then(|sum| sum.try_into().ok()).map_or(0, u64::from_be_bytes)
                    };
                    objects += sum(0);
                    bytes += sum(8);
                }
            }
            match page.entries.last() {
                Some((row, _)) if page.more => from = [&row[..], &[0]].concat(),
                _ => return Ok((objects, bytes)),
            }
        }
    }

    pub async fn create_bucket(
        &self,
        name: &BucketName,
        owner: &AccountId,
        region: &str,
        documents: Vec<(&str, Vec<u8>)>,
    ) -> Result<Bucket, StoreError> {
        let shared = &self.shared;
        if let Some(existing) = self.bucket(name).await? {
            return Err(StoreError::BucketExists { owner: existing.owner });
        }
        let created = shared.clock.now();
        let id = BucketId::fresh(created, &*shared.entropy);
        let bucket = Bucket { id, name: name.clone(), owner: owner.clone(), created, region: region.to_owned() };
        // The partition first: a crash here leaves two small rows under an id that nothing names.
        let mut first = Batch::default()
            .guard(rows::bucket_state(), Expected::Absent)
            .put(rows::bucket_state(), shared.bucket_state(id, BucketState::Open));
        for (kind, bytes) in documents {
            let row = rows::document(kind);
            let value = seal_bytes(&shared.keys.records, partition(id), &row, &bytes);
            first = first.put(row, value);
        }
        shared.meta.commit(partition(id), first).await?;
        let row = rows::bucket(name.as_str());
        let record = BucketRecord { id, owner: owner.clone(), created, region: region.to_owned() };
        let value = seal_record(&shared.keys.records, Partition::CATALOG, &row, &record);
        let record = self.record.as_ref();
        let name_it = Batch::default().guard(row.clone(), Expected::Absent).put(row, value);
        match shared.meta.commit(Partition::CATALOG, shared.with_record(Partition::CATALOG, name_it, record)).await {
            Ok(()) => {
                kept(Partition::CATALOG, record);
                Ok(bucket)
            }
            Err(MetaError::Conflict) => {
                shared.clear(id).await?;
                match self.bucket(name).await? {
                    Some(winner) => Err(StoreError::BucketExists { owner: winner.owner }),
                    None => Err(StoreError::Conflict),
                }
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Deletes an empty bucket; uploads in progress are aborted with it. Errors: BucketNotEmpty, NoSuchBucket.
    pub async fn delete_bucket(&self, bucket: &Bucket) -> Result<(), StoreError> {
        let shared = &self.shared;
        let state = |state| shared.bucket_state(bucket.id, state);
        let mut close = Batch::default()
            .guard(rows::bucket_state(), Expected::Value(state(BucketState::Open)))
            .put(rows::bucket_state(), state(BucketState::Closing));
        if let Some(record) = &self.record {
            // Where the row lies once the bucket is gone.
            record.sent_to(Partition::CATALOG.0);
            let row = rows::closing(&record.id());
            let value = shared.sealed_event(partition(bucket.id), &row, record.event());
            close = close.put(row, value);
        }
        match shared.meta.commit(partition(bucket.id), close).await {
            Err(MetaError::Conflict) => return Err(StoreError::NoSuchBucket),
            other => other?,
        }
        self.finish_delete(bucket).await
    }

    /// From Closing to gone, or back to Open when the bucket is not empty. Also run for buckets that a crash left Closing.
    pub(crate) async fn finish_delete(&self, bucket: &Bucket) -> Result<(), StoreError> {
        let shared = &self.shared;
        let scan = Scan { prefix: rows::OBJECTS.to_vec(), from: rows::OBJECTS.to_vec(), limit: 1 };
        if !shared.meta.scan(partition(bucket.id), scan).await?.entries.is_empty() {
            let reopen = Batch::default().put(rows::bucket_state(), shared.bucket_state(bucket.id, BucketState::Open));
            let reopen =
                shared.closing_rows(bucket.id).await?.into_iter().fold(reopen, |batch, (row, _)| batch.delete(row));
            shared.meta.commit(partition(bucket.id), reopen).await?;
            return Err(StoreError::BucketNotEmpty);
        }
        garbage::drain_uploads(shared, bucket).await?;
        let _moving = shared.outbox.lock().await;
        let row = rows::bucket(bucket.name.as_str());
        let stored = shared.get(Partition::CATALOG, &row).await?;
        let forget = Batch::default().unchanged(row.clone(), stored.as_ref()).delete(row);
        let forget = shared.move_events(bucket.id, forget).await?;
        match shared.meta.commit(Partition::CATALOG, forget).await {
            Err(MetaError::Conflict) => return Err(StoreError::Conflict),
            other => other?,
        }
        garbage::collect_bucket(shared, bucket.id).await?;
        shared.clear(bucket.id).await
    }

    pub async fn get_document(&self, bucket: &Bucket, kind: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let row = rows::document(kind);
        match self.shared.get(partition(bucket.id), &row).await? {
            None => Ok(None),
            Some(value) => {
                let bytes: minicbor::bytes::ByteVec =
                    open_record(&self.shared.keys.records, partition(bucket.id), &row, &value)?;
                Ok(Some(bytes.into()))
            }
        }
    }

    /// Errors: NoSuchBucket when the bucket was deleted meanwhile.
    pub async fn put_document(&self, bucket: &Bucket, kind: &str, bytes: Vec<u8>) -> Result<(), StoreError> {
        if bytes.len() > MAX_DOCUMENT {
            return Err(StoreError::Meta(format!("a document of {} bytes is too long", bytes.len())));
        }
        let row = rows::document(kind);
        let value = seal_bytes(&self.shared.keys.records, partition(bucket.id), &row, &bytes);
        self.shared.commit(bucket, Batch::default().put(row, value), self.record.as_ref()).await
    }

    pub async fn delete_document(&self, bucket: &Bucket, kind: &str) -> Result<(), StoreError> {
        self.shared.commit(bucket, Batch::default().delete(rows::document(kind)), self.record.as_ref()).await
    }
}

fn bucket_name(row: &[u8]) -> Result<BucketName, StoreError> {
    let corrupt = || StoreError::Corrupt("a bucket's row has no valid name");
    let name = row.strip_prefix(rows::BUCKETS).and_then(|name| std::str::from_utf8(name).ok()).ok_or_else(corrupt)?;
    name.parse().map_err(|_| corrupt())
}

impl Shared {
    /// A row of the catalogue as the bucket it is. Errors: Corrupt.
    pub(crate) fn open_bucket_row(&self, row: &[u8], value: &Bytes) -> Result<Bucket, StoreError> {
        self.open_bucket(bucket_name(row)?, row, value)
    }
    fn open_bucket(&self, name: BucketName, row: &[u8], value: &Bytes) -> Result<Bucket, StoreError> {
        if let Some(known) = self.recent.bucket(&name, value) {
            return Ok(known);
        }
        let record: BucketRecord = open_record(&self.keys.records, Partition::CATALOG, row, value)?;
        let BucketRecord { id, owner, created, region } = record;
        let bucket = Bucket { id, name, owner, created, region };
        self.recent.keep_bucket(value, &bucket);
        Ok(bucket)
    }

    /// Removes every row of a partition that nothing names any more.
    async fn clear(&self, bucket: BucketId) -> Result<(), StoreError> {
        loop {
            let scan = Scan { prefix: Vec::new(), from: Vec::new(), limit: Batch::MAX_KEYS };
            let page = self.meta.scan(partition(bucket), scan).await?;
            let more = page.more;
            let batch = page.entries.into_iter().fold(Batch::default(), |batch, (row, _)| batch.delete(row));
            if !batch.writes.is_empty() {
                self.meta.commit(partition(bucket), batch).await?;
            }
            if !more {
                return Ok(());
            }
        }
    }
}

//! The store: the one door to metadata and blobs, and the small things that all its operations share.

use crate::{
    blob::{BlobId, BlobStore},
    error::StoreError,
    figures::{Counts, StoreFigures},
    garbage::Collector,
    meta::{Batch, MetaError, MetaStore, Partition},
    outbox::kept,
    parts::PartsCache,
    recent::Recent,
    record::{Bucket, BucketState, Version, VersionRecord},
    rows::{self, open_record, seal_record},
};
use bytes::Bytes;
use parking_lot::Mutex;
use std::{collections::HashSet, fmt, sync::Arc, time::Duration};
use tresor_envelope::{IndexKey, RecordKey};
use tresor_model::{BucketId, ChangeRecord, Clock, ETag, Entropy, ObjectKey, VersionId};

/// The server-held keys of stored metadata.
pub struct StoreKeys {
    pub records: RecordKey,
    /// Root of the per-bucket keys of entity tags.
    pub index: zeroize_index::IndexRoot,
}

/// The index root as a type of its own, so that it is wiped and never printed.
pub mod zeroize_index {
    /// 32 bytes.
    pub struct IndexRoot(pub(crate) tresor_memory::LockedKey);
    impl IndexRoot {
        pub fn new(bytes: &[u8; 32]) -> Self {
            Self(tresor_memory::LockedKey::new(bytes))
        }
    }
}

impl fmt::Debug for StoreKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StoreKeys")
    }
}

/// Buckets, objects, versions and uploads. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) shared: Arc<Shared>,
    /// What the changes made through this handle carry into their commits.
    pub(crate) record: Option<ChangeRecord>,
}

pub(crate) struct Shared {
    pub meta: Arc<dyn MetaStore>,
    pub blobs: Arc<dyn BlobStore>,
    pub keys: StoreKeys,
    pub clock: Arc<dyn Clock>,
    pub entropy: Arc<dyn Entropy>,
    /// Blobs that are written but not yet part of a commit: the orphan sweep leaves them alone.
    pub in_flight: Mutex<HashSet<BlobId>>,
    pub collector: Collector,
    pub counts: Counts,
    pub parts: PartsCache,
    pub recent: Recent,
    /// Held while rows of events are removed, or moved out of a bucket that goes.
    pub outbox: tokio::sync::Mutex<()>,
    /// This run of the server; an upload that another run was completing is free again.
    pub run: [u8; 16],
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Shared({:?}, {:?})", self.meta, self.blobs)
    }
}

/// How often a commit that lost against another is tried again.
pub(crate) const COMMIT_ATTEMPTS: u32 = 20;

impl Store {
    /// What happened since the start.
    pub fn figures(&self) -> StoreFigures {
        self.shared.counts.figures(self.shared.collector.waiting())
    }

    pub fn new(
        meta: Arc<dyn MetaStore>,
        blobs: Arc<dyn BlobStore>,
        keys: StoreKeys,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        let mut run = [0; 16];
        entropy.fill(&mut run);
        let in_flight = Mutex::default();
        let shared = Shared {
            meta,
            blobs,
            keys,
            clock,
            entropy,
            in_flight,
            collector: Collector::default(),
            counts: Counts::default(),
            parts: PartsCache::default(),
            recent: Recent::default(),
            outbox: tokio::sync::Mutex::default(),
            run,
        };
        Self { shared: Arc::new(shared), record: None }
    }

    /// A handle whose changes carry the record of what asks for them into their own commits.
    #[must_use]
    pub fn recording(&self, record: Option<ChangeRecord>) -> Self {
        Self { shared: Arc::clone(&self.shared), record }
    }
}

impl Shared {
    pub(crate) async fn get(&self, partition: Partition, row: &[u8]) -> Result<Option<Bytes>, StoreError> {
        Ok(self.meta.get(partition, row).await?)
    }

    /// Commits what guards the bucket's being open, with the record of the change. Errors: NoSuchBucket when it is not; Conflict
    /// when another guard failed.
    pub(crate) async fn commit(
        &self,
        bucket: &Bucket,
        batch: Batch,
        record: Option<&ChangeRecord>,
    ) -> Result<(), StoreError> {
        let partition = partition(bucket.id);
        let batch = self.with_record(partition, batch, record);
        let open = self.open_state(partition);
        let batch = batch.guard(rows::bucket_state(), crate::Expected::Value(open.clone()));
        for attempt in 0..COMMIT_ATTEMPTS {
            match self.meta.commit(partition, batch.clone()).await {
                Err(MetaError::Retry) => self.back_off(attempt).await,
                Err(MetaError::Conflict) if self.get(partition, &rows::bucket_state()).await? != Some(open.clone()) => {
                    return Err(StoreError::NoSuchBucket);
                }
                other => {
                    other?;
                    kept(partition, record);
                    return Ok(());
                }
            }
        }
        Err(StoreError::Busy)
    }

    /// Waits 0 to 2^attempt milliseconds, at most 64, at random.
    pub(crate) async fn back_off(&self, attempt: u32) {
        let mut byte = [0; 1];
        self.entropy.fill(&mut byte);
        let most = 1_u64 << attempt.min(6);
        tokio::time::sleep(Duration::from_millis(u64::from(byte[0]) * most / 255)).await;
    }

    pub(crate) fn bucket_state(&self, bucket: BucketId, state: BucketState) -> Bytes {
        seal_record(&self.keys.records, partition(bucket), &rows::bucket_state(), &state)
    }

    /// What an open bucket's state row holds.
    pub(crate) fn open_state(&self, partition: Partition) -> Bytes {
        let bucket = BucketId::from_bytes(partition.0);
        self.recent.open_state(bucket, || self.bucket_state(bucket, BucketState::Open))
    }

    pub(crate) fn index_key(&self, bucket: BucketId) -> Arc<IndexKey> {
        self.recent.index_key(bucket, || IndexKey::derive(self.keys.index.0.expose(), bucket.as_bytes()))
    }

    /// Decodes the row of a current version.
    pub(crate) fn version(
        &self,
        bucket: &Bucket,
        index: &IndexKey,
        key: ObjectKey,
        value: &[u8],
    ) -> Result<Version, StoreError> {
        let record: VersionRecord = open_record(&self.keys.records, partition(bucket.id), &rows::object(&key), value)?;
        Ok(to_version(index, key, record))
    }
}

pub(crate) fn partition(bucket: BucketId) -> Partition {
    Partition(*bucket.as_bytes())
}

pub(crate) fn to_version(index: &IndexKey, key: ObjectKey, record: VersionRecord) -> Version {
    let digest = index.open(record.write.as_bytes(), &record.sealed_etag);
    Version {
        key,
        version_id: if record.null { VersionId::Null } else { VersionId::Id(record.write) },
        write: record.write,
        delete_marker: record.delete_marker,
        owner: record.owner,
        modified: record.modified,
        size: record.size,
        etag: ETag { digest, parts: record.parts },
        parts_count: record.parts,
        envelope: record.envelope,
        key_id: record.key_id,
        material_id: record.material_id,
        meta: record.meta,
        tags: record.tags,
        checksums: record.checksums,
        acl: record.acl,
        body: record.body,
    }
}

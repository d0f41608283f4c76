//! What was worked out for the buckets and versions that were asked lately, so that it is not worked out for every request. Nothing here
//! can be out of date: a bucket and a version are known by the very row they were read from, and an index key never changes.

use crate::record::{Bucket, Version};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::{collections::HashMap, sync::Arc};
use tresor_envelope::IndexKey;
use tresor_model::{BucketId, BucketName, ObjectKey};

/// Buckets kept at once.
const MAX_BUCKETS: usize = 4096;
/// Places for versions. Each row has one, so a version takes the place of another at once and nothing is swept.
const VERSIONS: usize = 4096;
/// Longer rows are not kept, in bytes: all versions together take about 8 MiB, most of them half of it.
const MAX_ROW: usize = 1024;

pub(crate) struct Recent {
    versions: Box<[Mutex<Option<KeptVersion>>]>,
    index_keys: RwLock<HashMap<BucketId, Arc<IndexKey>>>,
    /// What the state row of an open bucket holds.
    open_states: RwLock<HashMap<BucketId, Bytes>>,
    /// The row's authentic value, and the bucket it says.
    buckets: RwLock<HashMap<BucketName, (Bytes, Bucket)>>,
}

struct KeptVersion {
    bucket: BucketId,
    /// The row's authentic value.
    value: Bytes,
    version: Arc<Version>,
}

impl Default for Recent {
    fn default() -> Self {
        Self {
            versions: (0..VERSIONS).map(|_| Mutex::default()).collect(),
            index_keys: RwLock::default(),
            open_states: RwLock::default(),
            buckets: RwLock::default(),
        }
    }
}

impl Recent {
    /// The version of a row whose value was authenticated before, in this place.
    pub(crate) fn version(&self, bucket: BucketId, key: &ObjectKey, value: &[u8]) -> Option<Arc<Version>> {
        let kept = self.place(value)?.lock();
        let kept =
            kept.as_ref().filter(|kept| kept.bucket == bucket && kept.value == value && kept.version.key == *key)?;
        Some(Arc::clone(&kept.version))
    }

    pub(crate) fn keep_version(&self, bucket: BucketId, value: &Bytes, version: &Arc<Version>) {
        let Some(place) = self.place(value).filter(|_| value.len() <= MAX_ROW) else { return };
        *place.lock() = Some(KeptVersion { bucket, value: value.clone(), version: Arc::clone(version) });
    }

    /// By the end of the row's MAC, which is as good as random.
    fn place(&self, value: &[u8]) -> Option<&Mutex<Option<KeptVersion>>> {
        let tail = u32::from_be_bytes(*value.last_chunk()?);
        self.versions.get(tail as usize % VERSIONS)
    }

    pub(crate) fn index_key(&self, bucket: BucketId, derive: impl FnOnce() -> IndexKey) -> Arc<IndexKey> {
        recall(&self.index_keys, bucket, || Arc::new(derive()))
    }

    pub(crate) fn open_state(&self, bucket: BucketId, seal: impl FnOnce() -> Bytes) -> Bytes {
        recall(&self.open_states, bucket, seal)
    }

    /// The bucket of a row whose value was authenticated before.
    pub(crate) fn bucket(&self, name: &BucketName, value: &[u8]) -> Option<Bucket> {
        self.buckets.read().get(name).filter(|(known, _)| known == value).map(|(_, bucket)| bucket.clone())
    }

    pub(crate) fn keep_bucket(&self, value: &Bytes, bucket: &Bucket) {
        keep(&mut self.buckets.write(), bucket.name.clone(), (value.clone(), bucket.clone()));
    }
}

/// What is kept for a bucket, or is made and kept now.
fn recall<V: Clone>(all: &RwLock<HashMap<BucketId, V>>, bucket: BucketId, make: impl FnOnce() -> V) -> V {
    if let Some(known) = all.read().get(&bucket) {
        return known.clone();
    }
    let made = make();
    keep(&mut all.write(), bucket, made.clone());
    made
}

fn keep<K: Eq + std::hash::Hash, V>(all: &mut HashMap<K, V>, key: K, value: V) {
    if all.len() >= MAX_BUCKETS {
        all.clear();
    }
    all.insert(key, value);
}

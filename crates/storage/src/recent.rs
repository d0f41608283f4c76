//! What was worked out for the buckets that were asked lately, so that it is not worked out for every request. Nothing here can be out
//! of date: a bucket is known by the very row it was read from, and an index key never changes.

use crate::record::Bucket;
use bytes::Bytes;
use parking_lot::RwLock;
use std::{collections::HashMap, sync::Arc};
use tresor_envelope::IndexKey;
use tresor_model::{BucketId, BucketName};

/// Buckets kept at once.
const MAX_BUCKETS: usize = 4096;

#[derive(Default)]
pub(crate) struct Recent {
    index_keys: RwLock<HashMap<BucketId, Arc<IndexKey>>>,
    /// What the state row of an open bucket holds.
    open_states: RwLock<HashMap<BucketId, Bytes>>,
    /// The row's authentic value, and the bucket it says.
    buckets: RwLock<HashMap<BucketName, (Bytes, Bucket)>>,
}

impl Recent {
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

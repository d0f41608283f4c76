//! Bucket keys in memory: material only. Who may use the key, and its state, are judged on every request before this is asked.

use parking_lot::Mutex;
use std::{collections::HashMap, fmt, sync::Arc};
use tresor_memory::LockedKey;
use tresor_model::Timestamp;

/// How long a bucket key serves, in milliseconds.
const LIFETIME_MS: u64 = 5 * 60 * 1000;
/// Bucket keys kept at once.
const MAX_CACHED: usize = 10_000;

/// A key that stands between a KMS key and the objects of a bucket.
pub(crate) struct BucketKey {
    pub bytes: LockedKey,
    pub wrapped: Vec<u8>,
    until: Timestamp,
}

impl BucketKey {
    pub(crate) fn new(bytes: LockedKey, wrapped: Vec<u8>, now: Timestamp) -> Self {
        Self { bytes, wrapped, until: now.plus_millis(LIFETIME_MS) }
    }
}

/// By what they serve: one slot for each bucket, KMS key, material, requester and context, or for each wrapped form and requester.
#[derive(Default)]
pub(crate) struct BucketKeys(Mutex<HashMap<[u8; 32], Arc<BucketKey>>>);

impl fmt::Debug for BucketKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BucketKeys({})", self.0.lock().len())
    }
}

impl BucketKeys {
    pub(crate) fn get(&self, slot: &[u8; 32], now: Timestamp) -> Option<Arc<BucketKey>> {
        self.0.lock().get(slot).filter(|key| key.until > now).cloned()
    }
    /// Forgets all: a key was destroyed.
    pub(crate) fn clear(&self) {
        self.0.lock().clear();
    }
    pub(crate) fn put(&self, slot: [u8; 32], key: BucketKey, now: Timestamp) -> Arc<BucketKey> {
        let key = Arc::new(key);
        let mut cached = self.0.lock();
        if cached.len() >= MAX_CACHED {
            cached.retain(|_, key| key.until > now);
            if cached.len() >= MAX_CACHED {
                cached.clear();
            }
        }
        cached.insert(slot, Arc::clone(&key));
        key
    }
}

//! What the rows of multipart objects' parts say, kept from one read to the next: the rows are read and held against the root hash in
//! their version's record every time, but a small range of a large object need not open each of them again.

use crate::{blob::BlobId, record::PartRow};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    sync::Arc,
};
use tresor_envelope::SealedPart;
use tresor_model::{BucketId, UploadId};

/// Parts of all objects that are kept: about 4 MiB.
const MAX_PARTS: usize = 32 * 1024;

/// Bucket, upload, and the hash over the rows of its chosen parts.
pub(crate) type PartsName = (BucketId, UploadId, [u8; 32]);

/// The parts of one object, and the blobs of their ciphertexts.
#[derive(Clone)]
pub(crate) struct FoundParts {
    pub sealed: Arc<[SealedPart]>,
    pub blobs: Arc<[BlobId]>,
}

impl FoundParts {
    pub(crate) fn new(bucket: BucketId, upload: &UploadId, rows: Vec<PartRow>) -> Self {
        let blob = |row: &PartRow| BlobId { bucket, owner: *upload.as_bytes(), part: row.number, nonce: row.nonce };
        Self { blobs: rows.iter().map(blob).collect(), sealed: rows.into_iter().map(|row| row.sealed).collect() }
    }
}

#[derive(Default)]
pub(crate) struct PartsCache(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    found: HashMap<PartsName, FoundParts>,
    /// Oldest first.
    order: VecDeque<PartsName>,
    parts: usize,
}

impl fmt::Debug for PartsCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PartsCache({} parts)", self.0.lock().parts)
    }
}

impl PartsCache {
    pub(crate) fn get(&self, name: &PartsName) -> Option<FoundParts> {
        self.0.lock().found.get(name).cloned()
    }

    /// Keeps what was checked against its name; the oldest go.
    pub(crate) fn keep(&self, name: PartsName, found: &FoundParts) {
        let mut kept = self.0.lock();
        if kept.found.insert(name, found.clone()).is_some() {
            return;
        }
        kept.order.push_back(name);
        kept.parts += found.sealed.len();
        while kept.parts > MAX_PARTS
            && let Some(oldest) = kept.order.pop_front()
        {
            kept.parts -= kept.found.remove(&oldest).map_or(0, |found| found.sealed.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_go_when_there_are_too_many_parts() {
        let cache = PartsCache::default();
        let name = |n: u8| (BucketId::from_bytes([n; 16]), UploadId::from_bytes([n; 16]), [n; 32]);
        let part = SealedPart { number: 1, salt: [0; 32], stream: [0; 16], length: 1 };
        let found = FoundParts { sealed: vec![part; 10_000].into(), blobs: Arc::default() };
        for n in 1..=4 {
            cache.keep(name(n), &found);
            cache.keep(name(n), &found);
        }
        assert_eq!([1, 2, 3, 4].map(|n| cache.get(&name(n)).is_some()), [false, true, true, true]);
        assert_eq!(cache.0.lock().parts, 30_000);
    }
}

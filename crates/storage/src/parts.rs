//! What the rows of multipart objects' parts say, kept from one read to the next under the root hash of all of them, which stands in their
//! version's record: a small range of a large object then needs the rows of the parts it touches, to see that they are what they were.
//! A row that was changed is an error for whoever reads its part, as if nothing were kept.

use crate::{blob::BlobId, record::PartRow};
use parking_lot::Mutex;
use std::{
    collections::{HashMap, VecDeque},
    fmt,
    ops::Range,
    sync::Arc,
};
use tresor_envelope::SealedPart;
use tresor_model::{BucketId, UploadId};

/// Parts of all objects that are kept: about 5 MiB.
const MAX_PARTS: usize = 32 * 1024;

/// Bucket, upload, and the hash over the rows of its chosen parts.
pub(crate) type PartsName = (BucketId, UploadId, [u8; 32]);

/// The parts of one object, and the blobs of their ciphertexts.
#[derive(Clone)]
pub(crate) struct FoundParts {
    pub sealed: Arc<[SealedPart]>,
    pub blobs: Arc<[BlobId]>,
    /// SHA-256 of each row, as it was when all of them had the root hash.
    rows: Arc<[[u8; 32]]>,
}

impl FoundParts {
    pub(crate) fn new(bucket: BucketId, upload: &UploadId, rows: Vec<PartRow>) -> Self {
        let blob = |row: &PartRow| BlobId { bucket, owner: *upload.as_bytes(), part: row.number, nonce: row.nonce };
        Self {
            blobs: rows.iter().map(blob).collect(),
            rows: rows.iter().map(|row| tresor_digest::sha256(&row.raw)).collect(),
            sealed: rows.into_iter().map(|row| row.sealed).collect(),
        }
    }

    /// The parts, counted from 0, that a range of the plaintext has bytes of, and those without any that lie in it or beside it.
    pub(crate) fn touched(&self, range: &Range<u64>) -> Range<usize> {
        let mut end = 0;
        let ends = self.sealed.iter().map(|part| {
            end += part.length;
            end
        });
        let (mut first, mut last) = (self.sealed.len(), 0);
        for (part, end) in ends.enumerate() {
            let start = end - self.sealed[part].length;
            let empty = start == end && range.start <= start && end <= range.end;
            if empty || start < range.end && range.start < end {
                first = first.min(part);
                last = part + 1;
            }
        }
        first.min(last)..last
    }

    /// Whether a part's row is the one that was kept.
    pub(crate) fn is_row(&self, part: usize, row: &[u8]) -> bool {
        self.rows.get(part) == Some(&tresor_digest::sha256(row))
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
    fn a_range_touches_the_parts_it_has_bytes_of_and_empty_ones() {
        let part = |length| SealedPart { number: 1, salt: [0; 32], stream: [0; 16], length };
        let sealed = [10, 0, 10, 5].map(part).to_vec().into();
        let found = FoundParts { sealed, blobs: Arc::default(), rows: Arc::default() };
        for (range, parts) in
            [(0..9, 0..1), (9..11, 0..3), (10..20, 1..3), (0..25, 0..4), (24..25, 3..4), (7..7, 0..1), (10..10, 1..2)]
        {
            assert_eq!(found.touched(&range), parts, "{range:?}");
        }
    }

    #[test]
    fn the_oldest_go_when_there_are_too_many_parts() {
        let cache = PartsCache::default();
        let name = |n: u8| (BucketId::from_bytes([n; 16]), UploadId::from_bytes([n; 16]), [n; 32]);
        let part = SealedPart { number: 1, salt: [0; 32], stream: [0; 16], length: 1 };
        let found = FoundParts { sealed: vec![part; 10_000].into(), blobs: Arc::default(), rows: Arc::default() };
        for n in 1..=4 {
            cache.keep(name(n), &found);
            cache.keep(name(n), &found);
        }
        assert_eq!([1, 2, 3, 4].map(|n| cache.get(&name(n)).is_some()), [false, true, true, true]);
        assert_eq!(cache.0.lock().parts, 30_000);
    }
}

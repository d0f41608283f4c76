//! What the store counts about itself since its start, for whoever shows it. Must never know how figures are shown.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counted where it happens.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub inline_writes: AtomicU64,
    pub blob_writes: AtomicU64,
    pub blob_bytes: AtomicU64,
    pub blobs_removed: AtomicU64,
    pub garbage_collected: AtomicU64,
    pub collector_errors: AtomicU64,
}

/// Adds to a count.
pub(crate) fn add(count: &AtomicU64, by: u64) {
    count.fetch_add(by, Ordering::Relaxed);
}

/// The counts at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreFigures {
    /// Small bodies that travelled inside a commit.
    pub inline_writes: u64,
    /// Bodies written to files of their own, and their bytes of ciphertext.
    pub blob_writes: u64,
    pub blob_bytes: u64,
    pub blobs_removed: u64,
    /// Rows whose work the collector has done, and rows that wait in memory.
    pub garbage_collected: u64,
    pub garbage_waiting: u64,
    /// Rows whose work failed; they stay until the next start.
    pub collector_errors: u64,
}

impl Counts {
    pub(crate) fn figures(&self, garbage_waiting: usize) -> StoreFigures {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        StoreFigures {
            inline_writes: read(&self.inline_writes),
            blob_writes: read(&self.blob_writes),
            blob_bytes: read(&self.blob_bytes),
            blobs_removed: read(&self.blobs_removed),
            garbage_collected: read(&self.garbage_collected),
            garbage_waiting: garbage_waiting as u64,
            collector_errors: read(&self.collector_errors),
        }
    }
}

//! Rows that pass: events, of which most wait a second or two for the audit trail. They are in the log like all others, and held here
//! instead of in RocksDB until they are removed; the log keeps its segments from the oldest of them on, so that a start finds them
//! again. Those that stay for long go to the index after all. Must never lose one: it is here, or in the index, or in both.

use crate::{
    index::{full, read_page, read_partition},
    log::Row,
};
use bytes::Bytes;
use parking_lot::Mutex;
use rocksdb::DB;
use std::{
    collections::{BTreeMap, HashSet},
    ops::Bound,
};
use tresor_storage::{MetaError, PASSING, Page, Partition, Scan, successor};

/// Bytes of keys and values held here; more go to the index.
const MAX_BYTES: usize = 32 << 20;
/// Rows of the index that are known by their keys, at about 100 bytes each.
const MAX_KNOWN: usize = 100_000;
/// Rows read at a time at a start.
const PAGE: usize = 1000;

/// Whether a row passes, by its key in the log.
pub(crate) fn is_passing(key: &[u8]) -> bool {
    key.get(16..).is_some_and(|row| row.starts_with(PASSING))
}

/// The rows that pass. Only the committing thread changes them.
#[derive(Debug, Default)]
pub(crate) struct Passing(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    /// By key: the entry of the log that wrote it, and its value.
    rows: BTreeMap<Vec<u8>, (u64, Bytes)>,
    bytes: usize,
    below: Below,
}

/// Rows that the index holds: their removal must reach it.
#[derive(Debug)]
enum Below {
    Known(HashSet<Vec<u8>>),
    /// Too many to know: every removal reaches it.
    Many,
}

impl Default for Below {
    fn default() -> Self {
        Self::Known(HashSet::new())
    }
}

impl Below {
    fn add(&mut self, key: Vec<u8>) {
        match self {
            Self::Known(keys) if keys.len() < MAX_KNOWN => drop(keys.insert(key)),
            Self::Known(_) | Self::Many => *self = Self::Many,
        }
    }
    fn remove(&mut self, key: &[u8]) -> bool {
        match self {
            Self::Known(keys) => keys.remove(key),
            Self::Many => true,
        }
    }
}

impl Held {
    fn put(&mut self, sequence: u64, key: Vec<u8>, value: Bytes) {
        self.bytes += key.len() + value.len();
        let length = key.len();
        if let Some((_, old)) = self.rows.insert(key, (sequence, value)) {
            self.bytes -= length + old.len();
        }
    }
    fn remove(&mut self, key: &[u8]) {
        if let Some((_, value)) = self.rows.remove(key) {
            self.bytes -= key.len() + value.len();
        }
    }
}

impl Passing {
    /// What passes and lies in the index already. Errors: Engine.
    pub(crate) fn below(db: &DB) -> Result<Self, MetaError> {
        let mut below = Below::default();
        let mut after = None;
        while let Some(place) = read_partition(db, after)? {
            let mut from = PASSING.to_vec();
            loop {
                let page = read_page(db, place, &Scan { prefix: PASSING.to_vec(), from, limit: PAGE })?;
                page.entries.iter().for_each(|(row, _)| below.add(full(place, row)));
                match page.entries.last() {
                    Some((last, _)) if page.more => from = [&last[..], &[0]].concat(),
                    _ => break,
                }
            }
            after = Some(place);
        }
        Ok(Self(Mutex::new(Held { below, ..Held::default() })))
    }

    /// Takes what passes out of an entry's rows; what is left is for the index.
    pub(crate) fn take(&self, sequence: u64, rows: Vec<Row>) -> Vec<Row> {
        let mut held = self.0.lock();
        let mut left = Vec::with_capacity(rows.len());
        for (key, value) in rows {
            match value {
                Some(value) if is_passing(&key) => held.put(sequence, key, value),
                None if is_passing(&key) => {
                    held.remove(&key);
                    if held.below.remove(&key) {
                        left.push((key, None));
                    }
                }
                value => left.push((key, value)),
            }
        }
        left
    }

    /// The last entry of the log before the oldest row; `last` when there is no row.
    pub(crate) fn floor(&self, last: u64) -> u64 {
        self.0.lock().rows.values().map(|(sequence, _)| sequence - 1).min().unwrap_or(last)
    }

    pub(crate) fn too_many(&self) -> bool {
        self.0.lock().bytes > MAX_BYTES
    }

    /// Gives every row to the index, by `write`, and holds none afterwards; until then they are in both.
    pub(crate) fn spill<T, E>(&self, write: impl FnOnce(&[Row]) -> Result<T, E>) -> Result<T, E> {
        let rows: Vec<Row> = {
            let held = self.0.lock();
            held.rows.iter().map(|(key, (_, value))| (key.clone(), Some(value.clone()))).collect()
        };
        let written = write(&rows)?;
        let mut held = self.0.lock();
        held.rows.clear();
        held.bytes = 0;
        rows.into_iter().for_each(|(key, _)| held.below.add(key));
        Ok(written)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Bytes> {
        self.0.lock().rows.get(key).map(|(_, value)| value.clone())
    }

    /// What of a scan lies here: one row more than its limit at most.
    pub(crate) fn page(&self, partition: Partition, scan: &Scan) -> Vec<(Vec<u8>, Bytes)> {
        if !PASSING.starts_with(&scan.prefix) && !scan.prefix.starts_with(PASSING) {
            return Vec::new();
        }
        let prefix = full(partition, &scan.prefix);
        let from = full(partition, &scan.from).max(prefix.clone());
        let held = self.0.lock();
        let rows = held.rows.range::<[u8], _>((Bound::Included(&from[..]), Bound::Unbounded));
        let rows = rows.take_while(|(key, _)| key.starts_with(&prefix)).take(scan.limit.saturating_add(1));
        rows.map(|(key, (_, value))| (key[partition.0.len()..].to_vec(), value.clone())).collect()
    }

    /// The first partition above `after` that has a row here.
    pub(crate) fn partition(&self, after: Option<Partition>) -> Option<Partition> {
        let from = after.map_or(Some(Vec::new()), |after| successor(&after.0))?;
        let held = self.0.lock();
        let (key, _) = held.rows.range(from..).next()?;
        key.first_chunk().map(|partition| Partition(*partition))
    }
}

/// One page of what lies in two places; both ascend, and `above` has the newer rows.
pub(crate) fn joined(above: Vec<(Vec<u8>, Bytes)>, below: Page, limit: usize) -> Page {
    if above.is_empty() {
        return below;
    }
    let more = below.more;
    let mut rows: BTreeMap<Vec<u8>, Bytes> = below.entries.into_iter().collect();
    rows.extend(above);
    let more = more || rows.len() > limit;
    Page { entries: rows.into_iter().take(limit).collect(), more }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u8) -> Vec<u8> {
        full(Partition([3; 16]), &[PASSING, &[n]].concat())
    }
    fn put(n: u8) -> Row {
        (key(n), Some(vec![n; 100].into()))
    }

    #[test]
    fn what_passes_reaches_the_index_only_when_it_stays() {
        let passing = Passing::default();
        let other: Row = (full(Partition([3; 16]), b"o/k"), Some("v".into()));
        assert_eq!(passing.take(5, vec![put(1), other.clone(), put(2)]), [other]);
        assert_eq!(passing.take(6, vec![put(3), (key(1), None)]), []);
        assert_eq!((passing.get(&key(1)), passing.get(&key(2)).is_some()), (None, true));
        assert_eq!(passing.floor(9), 4);
        assert_eq!(passing.take(7, vec![(key(2), None)]), []);
        assert_eq!(passing.floor(9), 5);
        let failed: Result<(), &str> = passing.spill(|_| Err("no room"));
        assert!(failed.is_err() && passing.get(&key(3)).is_some());
        let mut written = Vec::new();
        let write = |rows: &[Row]| -> Result<(), ()> {
            written.extend_from_slice(rows);
            Ok(())
        };
        passing.spill(write).unwrap();
        assert_eq!(written, [put(3)]);
        assert_eq!((passing.get(&key(3)), passing.floor(9)), (None, 9));
        // Written again above what the index holds, and removed from both.
        assert_eq!(passing.take(8, vec![put(3)]), []);
        assert_eq!(passing.take(9, vec![(key(3), None)]), [(key(3), None)]);
        assert_eq!(passing.take(10, vec![(key(3), None)]), []);
    }

    #[test]
    fn too_many_rows_to_know_are_all_removed_below() {
        let mut below = Below::default();
        (0..=MAX_KNOWN).for_each(|n| below.add(n.to_be_bytes().to_vec()));
        assert!(below.remove(b"any"));
    }
}

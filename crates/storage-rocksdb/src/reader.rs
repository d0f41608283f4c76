//! The metadata of a store that no server has open, read and not changed: the index as it lies on the disk, and above it in memory
//! what only the log holds (after a crash; at most the log's own size).

use crate::{
    index::{Mark, engine, full, read_partition, walk_below},
    log::replay,
    options,
};
use async_trait::async_trait;
use bytes::Bytes;
use rocksdb::DB;
use std::{collections::BTreeMap, fmt, path::Path};
use tresor_storage::{Batch, MetaError, MetaStore, Page, Partition, Scan, Visit, successor};

pub struct RocksReader {
    db: DB,
    /// Rows of the log that the index lacks; no value for one that was deleted.
    newer: BTreeMap<Vec<u8>, Option<Bytes>>,
}

impl fmt::Debug for RocksReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RocksReader({}, {} rows from the log)", self.db.path().display(), self.newer.len())
    }
}

impl RocksReader {
    /// Errors: Engine, also when there is no metadata in `directory`.
    pub fn open(directory: &Path) -> Result<Self, MetaError> {
        let mut options = options();
        options.create_if_missing(false);
        let db = DB::open_for_read_only(&options, directory.join("index"), false).map_err(engine)?;
        let replay = replay(&directory.join("log"), Mark::read(&db)?).map_err(engine)?;
        let newer = replay.entries.into_iter().flat_map(|entry| entry.rows).collect();
        Ok(Self { db, newer })
    }
}

#[async_trait]
impl MetaStore for RocksReader {
    async fn get(&self, partition: Partition, key: &[u8]) -> Result<Option<Bytes>, MetaError> {
        let key = full(partition, key);
        match self.newer.get(&key) {
            Some(value) => Ok(value.clone()),
            None => Ok(self.db.get(key).map_err(engine)?.map(Bytes::from)),
        }
    }

    async fn scan(&self, partition: Partition, scan: Scan) -> Result<Page, MetaError> {
        Page::collect(scan.limit, |visit| self.walk(partition, &scan.prefix, &scan.from, visit))
    }

    fn walk(&self, partition: Partition, prefix: &[u8], from: &[u8], visit: &mut Visit<'_>) -> Result<(), MetaError> {
        let first = full(partition, from.max(prefix));
        let place = full(partition, prefix);
        let newer = self.newer.range(first..).take_while(|(key, _)| key.starts_with(&place));
        let newer = newer.map(|(key, value)| (&key[partition.0.len()..], value.as_deref()));
        walk_below(newer, &self.db, partition, prefix, from, visit)
    }

    async fn next_partition(&self, after: Option<Partition>) -> Result<Option<Partition>, MetaError> {
        let stored = read_partition(&self.db, after)?;
        let from = after.map_or(Some(Vec::new()), |after| successor(&after.0));
        let newer = from.and_then(|from| self.newer.range(from..).find(|(_, value)| value.is_some()));
        let newer = newer.and_then(|(key, _)| key.first_chunk::<16>()).map(|partition| Partition(*partition));
        Ok(stored.into_iter().chain(newer).min())
    }

    async fn commit(&self, _: Partition, _: Batch) -> Result<(), MetaError> {
        Err(MetaError::Engine("the store is open for reading only".into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RocksMeta;

    /// As after a crash: some rows lie in the index, newer ones only in the log.
    #[tokio::test]
    async fn what_only_the_log_holds_is_read_too_and_nothing_is_written() {
        let (directory, copy) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let at = Partition([7; 16]);
        let put = |n: u8, value: u8| Batch::default().put(vec![b'r', n], vec![value; 40]);
        {
            let meta = RocksMeta::open(directory.path()).unwrap();
            for n in 0..50 {
                meta.commit(at, put(n, 1)).await.unwrap();
            }
        }
        let meta = RocksMeta::open(directory.path()).unwrap();
        for n in (0..60).step_by(3) {
            meta.commit(at, put(n, 2)).await.unwrap();
        }
        meta.commit(at, Batch::default().delete(vec![b'r', 1])).await.unwrap();
        meta.commit(Partition([9; 16]), put(1, 3)).await.unwrap();
        let status = std::process::Command::new("cp")
            .arg("-r")
            .arg(directory.path())
            .arg(copy.path().join("c"))
            .status()
            .unwrap();
        assert!(status.success());
        let reader = RocksReader::open(&copy.path().join("c")).unwrap();
        for limit in [1, 2, 7, 100] {
            let mut from = Vec::new();
            let mut seen = Vec::new();
            loop {
                let scan = Scan { prefix: b"r".to_vec(), from: from.clone(), limit };
                let (ours, theirs) = (reader.scan(at, scan.clone()).await.unwrap(), meta.scan(at, scan).await.unwrap());
                assert_eq!((&ours.entries, ours.more), (&theirs.entries, theirs.more));
                seen.extend(ours.entries.iter().map(|(row, _)| row.clone()));
                match ours.entries.last() {
                    Some((row, _)) if ours.more => from = [&row[..], &[0]].concat(),
                    _ => break,
                }
            }
            assert_eq!(seen.len(), 52);
        }
        assert_eq!(reader.get(at, &[b'r', 1]).await.unwrap(), None);
        for after in [None, Some(at), Some(Partition([9; 16]))] {
            assert_eq!(reader.next_partition(after).await.unwrap(), meta.next_partition(after).await.unwrap());
        }
        assert!(reader.commit(at, put(1, 1)).await.is_err());
    }
}
